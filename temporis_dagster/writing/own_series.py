"""Refuses series that are not the asset's own, or not those of the run's partitions: no load would return them.

Comes in: the observations of a frame, and the rules of the write. Goes out: a ConfigurationError that names the others.
Never: looks at what other runs wrote (``partition_guard`` does, where there are no templates), or imports Dagster.
"""

from __future__ import annotations

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.wording import agreeing, counted
from temporis_dagster.write_options import AssetOptions


def ensure_own(observations: Observations, options: AssetOptions, of_run: SeriesOfParts | None) -> None:
    """Refuse series that are not the asset's own, or not those of the run's partitions: no load would return them.

    Args:
        observations: The observations of the frame.
        options: Those of the asset, with its own series.
        of_run: The series of each of the run's partitions; None if the asset has no templates.

    Raises:
        ConfigurationError: There are others.
    """
    used, series, option = observations.used_names, options.series, options.frame.spelled("series")
    strange = [name for name in used if (name not in series if of_run is None else of_run.part_of(name) is None)]
    if not strange:
        return
    are = f"{counted(len(strange), 'series')} {agreeing(len(strange), 'is', 'are')}"
    shown = ", ".join(map(repr, strange[:5]))
    if of_run is None:
        raise ConfigurationError(
            f"{are} not the asset's own, such as {shown}. Its own are {series}: write only these, or add the "
            f"others with {option}."
        )
    raise ConfigurationError(
        f"{are} not of the run's partitions, such as {shown}. The asset's own series are {series}, and this run is "
        f"about {of_run.in_words}: write only the series of these."
    )
