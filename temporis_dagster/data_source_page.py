"""The page of a data source in Dagster's UI: observations of the external asset that stands for it.

A Dagster observation does not make an external asset "updated" or present, because automation conditions consider
materializations only. So a write that reports one does not request its writer again.

Comes in: a data source, and what a write or a question found out about it. Goes out: ``AssetObservation`` events.
Never: asks the data source, or reports a dry run.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.assets import data_source_key
from temporis_dagster.dagster_metadata import for_dagster
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.metadata_keys import ARCHIVE_STATE
from temporis_dagster.writing.event_metadata import place_values
from temporis_dagster.writing.output import Place


def place(source: Place) -> dict[str, dg.MetadataValue]:
    """Return the metadata that state where the observations are."""
    return for_dagster(place_values(source))


def data_source_observation(
    source: Place, state: ArchiveState | None = None, facts: Mapping[str, dg.MetadataValue] | None = None
) -> dg.AssetObservation:
    """Return one entry for the page of a data source.

    Args:
        source: The data source.
        state: Its archive state, if it is known.
        facts: Further metadata, such as what was written.
    """
    known = {} if state is None else {ARCHIVE_STATE: dg.MetadataValue.text(state.value)}
    return dg.AssetObservation(
        data_source_key(source.name),
        metadata={**known, **(facts or {}), **place(source)},
        description=None if state is None else f"Data source {source.name!r} is {state.value}.",
    )
