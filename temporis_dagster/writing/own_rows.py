"""The stored rows that a run is about: those of the asset's own series in the windows of its partitions.

Comes in: the windows of a run, and the asset's own series. Goes out: a ``Within``.
Never: takes rows that another writer may have stored for the asset's own.
"""

from collections.abc import Sequence

import dagster as dg

from temporis_dagster.data_source.plan import Within
from temporis_dagster.partition_parts import parts_of
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.write_options import OwnSeries


def own_rows(
    definition: dg.PartitionsDefinition | None,
    keys: Sequence[str],
    windows: PartitionWindows | None,
    series: OwnSeries,
) -> Within:
    """Return the stored rows that a run is about.

    If the asset does not name its series, or if partitions share their times and the series' names do not tell them
    apart, these are only the rows of series that are in the frame: the others may be another writer's, or another
    partition's.

    Args:
        definition: The asset's partitions; None if it has none.
        keys: The partitions of the run.
        windows: The time windows of the run; None for those that the frame itself has, series by series.
        series: The asset's own series.
    """
    spans = None if windows is None else tuple(windows.spans())
    if definition is not None:
        if series.templates is None and parts_of(definition) is not None:
            return Within(spans)
        series = series.for_partitions(definition, keys)
    return Within(spans) if series.all else Within(spans, series.names, series.prefixes)
