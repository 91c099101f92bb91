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

from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.metadata_keys import WARNING
from temporis_dagster.metadata_values import Value, text
from temporis_dagster.partition_parts import Parts
from temporis_dagster.refusal import RefusedError
from temporis_dagster.wording import counted
from temporis_dagster.writing.event_metadata import MOST_COUNTED_APART
from temporis_dagster.writing.output import Output, PartitionGuard
from temporis_dagster.writing.partition_series import (
    Conflict,
    as_metadata,
    conflicts,
    others_written,
    with_earlier,
)
from temporis_dagster.writing.written_series import Written


class SeriesGuard(PartitionGuard):
    """Compares what one run's partitions write with what the asset's other partitions wrote.

    Args:
        output: What the step makes. If its option ``outside_partition`` is ``"allow"``, rows that overwrite another
            partition's are only warned of; the other values refuse them.
        instance: Where materializations are recorded.
        asset: The asset.
        parts: How the asset's partition keys are divided.
        written: The series about to be written.
        data_source: The name of the data source.
    """

    def __init__(
        self,
        output: Output,
        instance: dg.DagsterInstance,
        asset: dg.AssetKey,
        parts: Parts,
        written: Written,
        data_source: str,
    ) -> None:
        self._output, self._instance, self._asset = output, instance, asset
        self._parts, self._data_source = parts, data_source
        self._allowed = output.rules.options.outside_partition == "allow"
        self._keys: Sequence[str] = output.rules.partitions or ()
        self._written = written
        self._looked_until = 0
        self._warning = ""
        self._dry_run = False

    def before(self) -> None:
        """Refuse, before anything is sent, what would overwrite rows of another partition.

        Raises:
            RefusedError: Another partition has written some of these series, at times that overlap.
        """
        self._look("Nothing was sent: the rows of one would overwrite those of the other.")

    def after(self, report: UpsertReport) -> None:
        """Look again, unless the run was a dry run: another run may have been writing at the same time.

        Raises:
            RefusedError: Another partition has meanwhile written some of these series.
        """
        self._dry_run = report.dry_run
        if not report.dry_run:
            self.look_again()

    def look_again(self) -> None:
        """Refuse what another partition has written while this run was writing.

        Raises:
            RefusedError: Another partition has written some of these series.
        """
        self._look("It did so while this run was writing, so what is stored now may be the rows of either.")

    def metadata(self) -> Mapping[str, Value]:
        """Return the series that the partitions have written so far, and the warning, if there is one."""
        warning = {WARNING: text(self._warning)} if self._warning else {}
        if self._dry_run:
            return warning
        return {**warning, **as_metadata(self._so_far)}

    def add_lists(self) -> None:
        """Add each partition's list of series to its own materialization, if one list of all would be too long."""
        if self._dry_run or not 1 < len(self._keys) <= MOST_COUNTED_APART or as_metadata(self._so_far):
            return
        for key in self._keys:
            if own := as_metadata(self._so_far, self._parts.of(key)):
                self._output.add_to(key, own)

    @cached_property
    def _so_far(self) -> Written:
        """The series that this run and earlier ones have written."""
        return with_earlier(self._written, self._instance, self._asset, self._keys, self._data_source)

    def _look(self, what_follows: str) -> None:
        others, self._looked_until = others_written(
            self._instance, self._asset, self._parts, self._keys, self._looked_until
        )
        found = list(conflicts(self._written, self._parts, self._keys, others, self._data_source))
        if not found:
            return
        if not self._allowed:
            raise RefusedError(f"{_finding(found)} {what_follows} {self._what_to_do(found[0])}")
        self._warning = f"{_finding(found)} outside_partition='allow' lets them overwrite each other's rows."
        self._output.log.warning("%s", self._warning)

    def _what_to_do(self, first: Conflict) -> str:
        own = f"{first.name}_{{context.partition_key}}"
        allow = self._output.rules.options.frame.spelled("outside_partition", "allow")
        return (
            f"Put the partition's key into the names of its series, such as f{own!r}, or set {allow} if overwriting is "
            "intended."
        )


def _finding(found: Sequence[Conflict]) -> str:
    first = found[0]
    several = f"{counted(len(found), 'series')}, such as {first.name!r}, were"
    series = f"Series {first.name!r} was" if len(found) == 1 else several
    return (
        f"{series} also written by partition {first.partition!r} of this asset, at times that overlap. A data source "
        "has no partitions, only series."
    )
