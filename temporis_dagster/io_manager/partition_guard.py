"""Keeps partitions of one asset that time does not tell apart from silently overwriting each other's rows.

Two such partitions that write the same series, at times that overlap, write the same rows: the second would overwrite
the first. So the guard looks up whether another partition wrote these series: before the upsert and, because runs may
go on side by side, once more after it.

Comes in: an output and what it is about to write. Goes out: a failure or a warning, and the list of series for the
materialization.
Never: sends or reads observations, or hides what it found.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import dagster as dg

from temporis_dagster.asset_options import OutsidePartition
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.event_metadata import MOST_COUNTED_APART, in_a_run, partitions_of
from temporis_dagster.io_manager.partition_series import (
    Conflict,
    Written,
    as_metadata,
    conflicts,
    others_written,
    series_by_part,
    with_earlier,
)
from temporis_dagster.metadata_keys import WARNING
from temporis_dagster.partition_parts import Parts, parts_of
from temporis_dagster.series_templates import SeriesOfParts
from temporis_dagster.wording import counted


class PartitionGuard:
    """The guard where there is nothing to guard: time or templates tell partitions apart, or this is not a run."""

    def before(self) -> None:
        """Refuse, before anything is sent, what would overwrite rows of another partition."""

    def after(self, report: UpsertReport) -> None:
        """Look again: another run may have been writing at the same time."""

    def metadata(self) -> Mapping[str, dg.MetadataValue]:
        """Return the metadata for the materialization."""
        return {}

    def add_lists(self) -> None:
        """Add each partition's list of series to its own materialization, if one list of all would be too long."""


class SeriesGuard(PartitionGuard):
    """Compares what one run's partitions write with what the asset's other partitions wrote.

    Args:
        context: Dagster's context of the output.
        parts: How the asset's partition keys are divided.
        observations: The observations about to be written.
        data_source: The name of the data source.
        outside_partition: ``"allow"`` only warns of rows that overwrite another partition's; the other values refuse
            them.
    """

    def __init__(
        self,
        context: dg.OutputContext,
        parts: Parts,
        observations: Observations,
        data_source: str,
        outside_partition: OutsidePartition,
    ) -> None:
        self._context, self._parts, self._data_source = context, parts, data_source
        self._allowed = outside_partition == "allow"
        self._keys: Sequence[str] = list(map(str, context.asset_partition_keys))
        self._written: Written = series_by_part(observations, sorted({parts.of(key) for key in self._keys}))
        self._looked_until = 0
        self._warning = ""
        self._dry_run = False

    def before(self) -> None:
        """Refuse, before anything is sent, what would overwrite rows of another partition.

        Raises:
            Failure: Another partition has written some of these series, at times that overlap.
        """
        self._look("Nothing was sent: the rows of one would overwrite those of the other.")

    def after(self, report: UpsertReport) -> None:
        """Look again: another run may have been writing at the same time.

        Raises:
            Failure: Another partition has meanwhile written some of these series.
        """
        self._dry_run = report.dry_run
        if not report.dry_run:
            self._look("It did so while this run was writing, so what is stored now may be the rows of either.")

    def metadata(self) -> Mapping[str, dg.MetadataValue]:
        """Return the series that the partitions have written so far, and the warning, if there is one."""
        warning = {WARNING: dg.MetadataValue.text(self._warning)} if self._warning else {}
        if self._dry_run:
            return warning
        return {**warning, **as_metadata(self._so_far)}

    def add_lists(self) -> None:
        """Add each partition's list of series to its own materialization, if one list of all would be too long."""
        if self._dry_run or not 1 < len(self._keys) <= MOST_COUNTED_APART or as_metadata(self._so_far):
            return
        for key in self._keys:
            if own := as_metadata(self._so_far, self._parts.of(key)):
                self._context.step_context.add_asset_metadata(own, self._context.asset_key, key)

    @cached_property
    def _so_far(self) -> Written:
        """The series that this run and earlier ones have written."""
        instance, asset = self._context.step_context.instance, self._context.asset_key
        return with_earlier(self._written, instance, asset, self._keys, self._data_source)

    def _look(self, what_follows: str) -> None:
        instance, asset = self._context.step_context.instance, self._context.asset_key
        others, self._looked_until = others_written(instance, asset, self._parts, self._keys, self._looked_until)
        found = list(conflicts(self._written, self._parts, self._keys, others, self._data_source))
        if not found:
            return
        if not self._allowed:
            raise dg.Failure(f"{_finding(found)} {what_follows} {_what_to_do(found[0])}", allow_retries=False)
        self._warning = f"{_finding(found)} outside_partition='allow' lets them overwrite each other's rows."
        self._context.log.warning("%s", self._warning)


def guard_of(
    context: dg.OutputContext,
    observations: Observations,
    data_source: str,
    outside_partition: OutsidePartition,
    series: SeriesOfParts | None,
) -> PartitionGuard:
    """Return the guard for an output.

    Args:
        context: Dagster's context of the output.
        observations: The observations about to be written.
        data_source: The name of the data source.
        outside_partition: The asset's option of this name.
        series: The series of each partition, if templates tell the partitions apart; None if nothing does.
    """
    partitions_def, _ = partitions_of(context)
    parts = None if partitions_def is None else parts_of(partitions_def)
    if parts is None or series is not None or not in_a_run(context):
        return PartitionGuard()
    return SeriesGuard(context, parts, observations, data_source, outside_partition)


def _finding(found: Sequence[Conflict]) -> str:
    first = found[0]
    several = f"{counted(len(found), 'series')}, such as {first.name!r}, were"
    series = f"Series {first.name!r} was" if len(found) == 1 else several
    return (
        f"{series} also written by partition {first.partition!r} of this asset, at times that overlap. A data source "
        "has no partitions, only series."
    )


def _what_to_do(first: Conflict) -> str:
    own = f"{first.name}_{{context.partition_key}}"
    return (
        f"Put the partition's key into the names of its series, such as f{own!r}, or set outside_partition='allow' if "
        "overwriting is intended."
    )
