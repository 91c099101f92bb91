"""The rules of a write, made of what Dagster knows of a step: definition, partitions, run.

Comes in: options and partitions. Goes out: ``WriteRules``.
Never: looks at data, or connects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import asset_options, contracts_for_partitions, options_given
from temporis_dagster.change_options import change_options, ensure_can_delete
from temporis_dagster.data_source.observations import Series
from temporis_dagster.partition_parts import parts_of
from temporis_dagster.partition_windows import in_own_order, partition_windows
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.write_options import OwnSeries
from temporis_dagster.writing.own_rows import own_rows
from temporis_dagster.writing.rules import WriteRules


@dataclass(frozen=True)
class StepPartitions:
    """The partitions of a step.

    Attributes:
        definition: What partitions the asset has; None if it has none, or if Dagster does not say.
        keys: Those of the step; None if the asset has no partitions.
        of_run: For an op outside of assets: what partitions its job has, and that of the run.
        instance: Knows dynamic partitions; None outside of a run.
    """

    definition: dg.PartitionsDefinition | None
    keys: Sequence[str] | None
    of_run: tuple[dg.PartitionsDefinition, str] | None
    instance: dg.DagsterInstance | None

    @property
    def known(self) -> tuple[dg.PartitionsDefinition | None, Sequence[str]]:
        """What partitions the asset has and those of the step; None and nothing if the former is not known."""
        return (None, ()) if self.definition is None else (self.definition, self.keys or ())

    def in_order(self) -> tuple[str, ...] | None:
        """Return the keys in the order of their definition."""
        if self.keys is None:
            return None
        if self.instance is None or self.definition is None:
            return tuple(map(str, self.keys))
        return tuple(in_own_order(self.definition, self.keys, self.instance))


def write_rules(
    configured: Mapping[str, object],
    definition: Mapping[str, Any],
    stated: Mapping[str, Any],
    partitions: StepPartitions,
    contracts: Sequence[Series] = (),
    *,
    is_asset: bool,
    tags: Mapping[str, str],
) -> WriteRules:
    """Return the rules of a write.

    Args:
        configured: The options of the IO manager, or those that the caller passed, by name.
        definition: The asset's metadata.
        stated: Metadata of the run's output, which override the asset's.
        partitions: The partitions of the step.
        contracts: What the caller states about series, in addition to the asset's metadata.
        is_asset: Whether an asset is written.
        tags: The tags of the run.

    Raises:
        ConfigurationError: An option does not take its value, or does not fit the partitions.
    """
    options = asset_options(configured, definition, stated)
    known, keys = partitions.known
    windows = partition_windows(known, keys) if known is not None else _windows_of_run(partitions)
    series = _series_of(options.series, partitions)
    stated_of_series = contracts_for_partitions([*options.contracts, *contracts], known, keys)
    changes = change_options(options_given(configured, definition, stated))
    if changes.deletes:
        ensure_can_delete(options.series, known, options.outside_partition)
    within = own_rows(known, keys, windows, options.series)
    return WriteRules(
        options=options,
        changes=changes,
        is_asset=is_asset,
        partitions=partitions.in_order(),
        windows=windows,
        series=series,
        within=within,
        parts=_parts_to_guard(partitions) if is_asset and series is None else None,
        contracts=stated_of_series,
        tags=dict(tags),
    )


def _windows_of_run(partitions: StepPartitions) -> PartitionWindows | None:
    if partitions.of_run is None:
        return None
    definition, key = partitions.of_run
    return partition_windows(definition, [key])


def _parts_to_guard(partitions: StepPartitions) -> tuple[str, ...] | None:
    """Return the parts of the run's partitions, if there are any and a run can look up what others wrote."""
    parts = None if partitions.definition is None else parts_of(partitions.definition)
    if parts is None or partitions.instance is None:
        return None
    return tuple(sorted({parts.of(str(key)) for key in partitions.keys or ()}))


def _series_of(series: OwnSeries, partitions: StepPartitions) -> SeriesOfParts | None:
    """Return the series of each of the run's partitions; None if the asset has no templates."""
    if series.templates is None:
        return None
    definition, keys = partitions.known
    series.templates.ensure_apart(definition, keys, partitions.instance)
    return series.templates.of_parts(definition, keys)
