"""Ghost rows: stored rows of a run's windows and series that are not in its frame, because they vanished upstream.

Comes in: an output and what it has written. Goes out: how many there are, in metadata and in the log; on request, they
are deleted.
Never: deletes before the frame is stored, in a partition for which the frame has no row, or what was stored while the
run was writing.

The frame is stored first. A run that is killed before it has deleted leaves the new rows and the ghost rows, and its
partitions are not materialized; running it again deletes the rest. The other way round, readers could find neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan import Ghosts, Within
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, NotSupportedError, ReadNotSupportedError, TemporisError
from temporis_dagster.metadata_keys import GHOST_ROWS, GHOSTS
from temporis_dagster.metadata_values import SHOWN_ROWS, Value, first_rows, integer, offending_values
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.wording import agreeing, counted
from temporis_dagster.writing.event_metadata import MOST_COUNTED_APART, add_once, by_partition
from temporis_dagster.writing.output import Output

MOST_READ = 100_000
"""If there are more ghost rows than this, they are not read to tell which partitions have them."""

HOW_TO_DELETE = "An upsert deletes nothing. Delete them with {}, or with `temporis delete`."
NO_DELETE = (
    "An upsert deletes nothing, and the Temporis API has no delete: overwrite their values, or start a new series."
)
NOT_DELETED = (
    "Nothing is deleted in a partition for which the frame has no row at all, or in a series of which a row was "
    "dropped whose timestamp cannot be read. If they vanished upstream for good, delete them with `temporis delete`."
)
ANOTHER_WRITER = (
    "Nothing was deleted, because there are more of them than before the run stored its frame. Another writer is "
    "storing rows of this asset's series: run it again when that one is done."
)


class RunGhosts:
    """The ghost rows of one run.

    Args:
        output: What the step makes.
        source: The data source.
        observations: The observations that were written.
    """

    def __init__(self, output: Output, source: DataSource, observations: Observations) -> None:
        self._output, self._source, self._observations = output, source, observations
        rules = output.rules
        self._windows, self._within, self._series = rules.windows, rules.within, rules.series
        self.found: Ghosts | None = None
        delete = rules.options.frame.spelled("ghost_rows", "delete")
        self._advice = HOW_TO_DELETE.format(delete) if source.can_delete else NO_DELETE
        self._deleted: Mapping[str, Value] = {}

    def count(self, report: UpsertReport) -> None:
        """Count the ghost rows, where they can be read. If that fails, only warn in the log: the write stands.

        Args:
            report: What became of the observations: if all are stored, their keys need not be looked up.
        """
        stored = report.stored + report.unchanged + report.pending == len(self._observations)
        try:
            self.found = self._source.ghosts(self._observations, self._within, stored=stored)
        except (ReadNotSupportedError, DataSourceNotFoundError):
            return
        except TemporisError as error:
            self._output.log.warning("The ghost rows could not be counted; the observations are stored. %s", error)

    def delete(self, expected: int) -> None:
        """Delete the ghost rows of the partitions for which the frame has rows, and count those that are left.

        Args:
            expected: How many there were before the frame was stored, when ``max_ghosts`` was checked. If there are
                more by now, another writer is at work in these windows, and nothing is deleted.

        Raises:
            TemporisError: They could not be counted or deleted. The observations are stored.
        """
        found = self._source.ghosts(self._observations, self._within)
        self._advice = NOT_DELETED if found.count <= expected else ANOTHER_WRITER
        if 0 < found.count <= expected and (filled := self._filled()):
            some = [self._source.ghosts(self._observations, each).rows(SHOWN_ROWS) for each in filled[:SHOWN_ROWS]]
            deleted = sum(self._source.delete_ghosts(self._observations, each) for each in filled)
            self._deleted = offending_values("deleted", pd.concat(some), count=deleted) if deleted else {}
            self._output.log.info("Deleted %s from %s.", counted(deleted, "ghost row"), self._source.name)
            found = self._source.ghosts(self._observations, self._within)
        self.found = found

    def record(self) -> None:
        """Add the number of ghost rows to the metadata, the first of them as a table, and a warning to the log."""
        add_once(self._output, self._deleted)
        if self.found is None:
            return
        self._add_counts(self.found)
        if not self.found.count:
            return
        first = self.found.rows(SHOWN_ROWS)
        add_once(self._output, {GHOSTS: first_rows(first)})
        row = first.iloc[0]
        self._output.log.warning(
            "%s %s stored but not in the frame, such as %r at %s. %s",
            counted(self.found.count, "ghost row"),
            agreeing(self.found.count, "is", "are"),
            row["series"],
            row["timestamp"].isoformat(),
            self._advice,
        )

    def _filled(self) -> Sequence[Within]:
        """Return where to delete: an empty frame, or an empty partition of a run, is not taken for the truth.

        All partitions that have rows in the same windows, such as those of all zones, are deleted from at once.
        """
        windows, frame = self._windows, self._observations
        if windows is None:
            return ()
        rows = by_partition(windows.keys, windows, self._series, frame.timestamps, frame.codes, frame.names)
        of_part: dict[str, list[int]] = {}
        for key, number in zip(windows.keys, windows.numbers.tolist(), strict=True):
            if rows.get(str(key)):
                of_part.setdefault("" if self._series is None else self._series.parts.of(key), []).append(number)
        alike: dict[tuple[int, ...], list[str]] = {}
        for part, filled in of_part.items():
            alike.setdefault(tuple(filled), []).append(part)
        return [self._within_of(list(filled), parts, windows) for filled, parts in alike.items()]

    def _within_of(self, filled: Sequence[int], parts: Sequence[str], windows: PartitionWindows) -> Within:
        spans = tuple(zip(windows.starts[filled].tolist(), windows.ends[filled].tolist(), strict=True))
        if self._series is None:
            return replace(self._within, spans=spans)
        texts = self._series.texts_of(parts)
        return Within(spans, names=texts) if self._series.exact else Within(spans, prefix=texts)

    def _add_counts(self, found: Ghosts) -> None:
        """Add the count of each partition. If the ghost rows do not tell them apart, one event has that of all."""
        apart = self._by_partition(found)
        if apart is None:
            add_once(self._output, {GHOST_ROWS: integer(found.count)})
            return
        self._output.add({GHOST_ROWS: integer(0)})
        for key, count in apart.items():
            self._output.add_to(key, {GHOST_ROWS: integer(count)})

    def _by_partition(self, found: Ghosts) -> Mapping[str, int] | None:
        """Return the count of each partition that has some; None if it is that of all, or of the only one."""
        keys = self._output.rules.partitions or ()
        if len(keys) < 2 or found.count > MOST_READ:  # noqa: PLR2004  the event names a single one
            return None
        if not found.count:
            return {}
        rows = found.rows(None)
        codes, names = pd.factorize(rows["series"])
        stamps = pd.DatetimeIndex(rows["timestamp"]).as_unit("s").asi8
        counts = by_partition(keys, self._windows, self._series, stamps, codes, tuple(names))
        apart = {key: count for key, count in counts.items() if count}
        return apart if 0 < len(apart) <= MOST_COUNTED_APART else None


def ensure_target_deletes(source: DataSource) -> None:
    """Refuse ``ghost_rows="delete"`` before anything is sent, where the data source cannot delete.

    Raises:
        NotSupportedError: It is reached over HTTP.
    """
    if not source.can_delete:
        raise NotSupportedError(
            f"ghost_rows='delete' cannot be used with {source.name!r} at {source.url}: the Temporis API has no delete. "
            "Nothing was sent. Leave ghost_rows out: with a mirror, ghost rows are then counted. To be rid of one, "
            "overwrite its value, or start a new series."
        )
