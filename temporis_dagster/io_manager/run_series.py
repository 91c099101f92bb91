"""The series that a run may write: the asset's own and, with templates, only those of the run's partitions.

Comes in: an output, the asset's own series, the observations of a frame. Goes out: the series of each partition, or a
ConfigurationError that names the others.
Never: looks at what other runs wrote (``partition_guard`` does, where there are no templates).
"""

from collections.abc import Sequence

import dagster as dg
import numpy as np

from temporis_dagster.asset_options import OwnSeries, contracts_for_partitions
from temporis_dagster.data_source.observations import Observations, Series
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.event_metadata import in_a_run, partitions_of
from temporis_dagster.series_templates import SeriesOfParts
from temporis_dagster.wording import agreeing, counted


def series_of_run(context: dg.OutputContext, series: OwnSeries) -> SeriesOfParts | None:
    """Return the series of each of the run's partitions; None if the asset has no templates.

    Raises:
        ConfigurationError: The templates do not fit the partitions, or do not tell these apart from others.
    """
    if series.templates is None:
        return None
    partitions_def, keys = partitions_of(context)
    instance = context.step_context.instance if in_a_run(context) else None
    series.templates.ensure_apart(partitions_def, keys, instance)
    return series.templates.of_parts(partitions_def, keys)


def contracts_of_run(context: dg.OutputContext, contracts: Sequence[Series]) -> tuple[Series, ...]:
    """Return what is stated about the series of the run's partitions.

    Raises:
        ConfigurationError: The templates do not fit the partitions.
    """
    return contracts_for_partitions(contracts, *partitions_of(context))


def ensure_own(observations: Observations, series: OwnSeries, of_run: SeriesOfParts | None) -> None:
    """Refuse series that are not the asset's own, or not those of the run's partitions: no load would return them.

    Args:
        observations: The observations of the frame.
        series: The asset's own series.
        of_run: The series of each of the run's partitions; None if the asset has no templates.

    Raises:
        ConfigurationError: There are others.
    """
    used = (observations.names[code] for code in np.unique(observations.codes))
    strange = [name for name in used if (name not in series if of_run is None else of_run.part_of(name) is None)]
    if not strange:
        return
    are = f"{counted(len(strange), 'series')} {agreeing(len(strange), 'is', 'are')}"
    shown = ", ".join(map(repr, strange[:5]))
    if of_run is None:
        raise ConfigurationError(
            f"{are} not the asset's own, such as {shown}. Its 'temporis/series' are {series}: write only these, or add "
            "the others to them."
        )
    raise ConfigurationError(
        f"{are} not of the run's partitions, such as {shown}. The asset's 'temporis/series' are {series}, and this run "
        f"is about {of_run.in_words}: write only the series of these."
    )
