"""StoreDelete: rows out of the store, on request, chunk by chunk.

Comes in: a data source, and which rows of it: a window of time and names, or the ghosts of a frame. Goes out: how many
were deleted, or one error of the tree that says how many were deleted before it.
Never: holds a lock for longer than one chunk, deletes from an archived data source, or deletes a series: an upsert that
is under way may know its id.

Why chunk by chunk: ten million rows in one transaction would hold the lock of a SQLite file, or of a data source in
PostgreSQL, for half a minute, and the write-ahead log would hold all of them at once. Killed in the middle, a delete
has deleted a part; run again, it deletes the rest. A reader may see that part gone.

How many were deleted stays right when the connection to PostgreSQL is lost during a commit: the next attempt asks the
server whether that transaction was committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.store.chunks import CHUNK_ROWS
from temporis_dagster.data_source.store.compare import PAGE_ROWS, Subject, expected_ranges, ghosts_of
from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.errors import (
    NotCommittedError,
    StoreUnusableError,
    explained,
)
from temporis_dagster.data_source.store.read import Window, in_order
from temporis_dagster.data_source.store.sources import Source, forget_bounds
from temporis_dagster.data_source.store.stored import Ranges, StoredRows
from temporis_dagster.errors import DataSourceArchivedError, TemporisError
from temporis_dagster.wording import agreeing, counted

MOST_RANGES = 500
"""Ranges that are counted at once."""

MOST_PAGES = 500
"""Pages that are looked through in one transaction: each is a question to the server while others wait."""


class Selection(Protocol):
    """Which rows to delete, cut into pieces of bounded size."""

    @property
    def names(self) -> Sequence[str] | None:
        """The names of the series whose ids are needed; None for all."""
        ...

    def begin(self, ids: Mapping[str, int]) -> list[Range]:
        """Return the ranges that hold the rows, given the ids of the series."""
        ...

    def count(self, rows: StoredRows, todo: list[Range]) -> int:
        """Count the rows."""
        ...

    def take(self, rows: StoredRows, todo: list[Range]) -> tuple[int, list[Range]]:
        """Delete a piece. Return how many rows that were, and the ranges that are left."""
        ...


class Range(NamedTuple):
    """A range of time of one series, which may be half done."""

    name: str
    series: int
    first: int
    end: int


@dataclass(frozen=True, eq=False)
class RowsOfWindow:
    """Every row of some series in a window of time.

    Attributes:
        names: Their names; None for all series.
        window: The window.
    """

    names: Sequence[str] | None
    window: Window

    def begin(self, ids: Mapping[str, int]) -> list[Range]:
        """Return a range for each series."""
        return [Range(name, number, *self.window) for name, number in in_order(ids).items()]

    def count(self, rows: StoredRows, todo: list[Range]) -> int:
        """Count the rows."""
        return int(rows.counts(_ranges(todo)).sum())

    def take(self, rows: StoredRows, todo: list[Range]) -> tuple[int, list[Range]]:
        """Delete whole ranges as long as they are small enough, or else the start of one."""
        deleted, block = 0, 1
        while todo and deleted < CHUNK_ROWS:
            room, some = CHUNK_ROWS - deleted, todo[:block]
            sizes = np.cumsum(rows.counts(_ranges(some), room + 1))
            whole = int(np.count_nonzero(sizes <= room))
            deleted += rows.delete(_ranges(some[:whole]))
            todo = todo[whole:]
            if whole < len(some):
                cut = todo[0]
                last = rows.page(cut.series, cut.first, cut.end, CHUNK_ROWS - deleted).timestamps
                if len(last):
                    end = int(last[-1]) + 1
                    deleted += rows.delete(_ranges([cut._replace(end=end)]))
                    todo = [cut._replace(first=end), *todo[1:]]
                break
            block = min(2 * block, MOST_RANGES)
        return deleted, todo


@dataclass(frozen=True, eq=False)
class GhostsOf:
    """The ghosts of a frame. Left alone: series of which a row was dropped whose timestamp could not be read.

    Attributes:
        subject: The frame, and which stored rows it is about.
        names: The names of the series that have ghosts. The others are not looked through.
    """

    subject: Subject
    names: Sequence[str] | None

    def begin(self, ids: Mapping[str, int]) -> list[Range]:
        """Return the ranges in which there may be ghosts."""
        expected = expected_ranges(self.subject._replace(ids=ids))
        columns = zip(expected.owners.tolist(), *(column.tolist() for column in expected.ranges), strict=True)
        found = [Range(expected.names[owner], *rest) for owner, *rest in columns]
        return [one for one in found if not self.subject.keys.may_hide(one.name)]

    def count(self, rows: StoredRows, todo: list[Range]) -> int:
        """Count the rows."""
        names = {one.name for one in todo}
        return sum(len(ghosts.timestamps) for ghosts in ghosts_of(rows, self.subject, names))

    def take(self, rows: StoredRows, todo: list[Range]) -> tuple[int, list[Range]]:
        """Look through a page of rows, or several if they are short, and delete the ghosts among them at once."""
        found, seen, done, left = list[Range](), 0, 0, list[Range]()
        while done < min(len(todo), MOST_PAGES) and seen < PAGE_ROWS:
            one, room = todo[done], PAGE_ROWS - seen
            page = rows.page(one.series, one.first, one.end, room)
            ghosts = page.timestamps[self.subject.keys.lacks(one.name, page.timestamps)]
            found += [one._replace(first=second, end=second + 1) for second in ghosts.tolist()]
            seen, done = seen + len(page.timestamps), done + 1
            if len(page.timestamps) == room:
                left = [one._replace(first=int(page.timestamps[-1]) + 1)]
        return rows.delete(_ranges(found)), [*left, *todo[done:]]


def _ranges(some: Sequence[Range]) -> Ranges:
    columns = np.array([one[1:] for one in some], dtype=np.int64).reshape(-1, 3)
    return Ranges(columns[:, 0], columns[:, 1], columns[:, 2])


@dataclass(eq=False)
class StoreDelete:
    """One delete from one data source.

    Attributes:
        database: The database.
        account: The account that the data source belongs to.
        data_source: Its name.
        selection: Which rows to delete.
        deleted: How many were deleted so far.
        doubtful: How many more may have been, by a transaction whose commit had no answer.
    """

    database: Database
    account: str
    data_source: str
    selection: Selection
    deleted: int = 0
    doubtful: int = 0
    _todo: list[Range] | None = None
    _failed: bool = False
    _mark: object = None
    _identity: object = None

    def run(self) -> int:
        """Delete everything, or raise an error that says how many were deleted. Return how many that were."""
        try:
            with explained(self.database, self.data_source, self.account):
                while self._todo is None or self._todo:
                    self.database.patiently(self._attempt)
        except TemporisError as error:
            error.args = (f"{error}{self._so_far()}", *error.args[1:])
            raise
        except BaseException as interruption:
            if hasattr(interruption, "add_note"):
                interruption.add_note(f"The delete was interrupted.{self._so_far()}")
            raise
        return self.deleted

    def would_be(self, connection: sa.Connection, source: Source) -> int:
        """Count what would be deleted, in a transaction that reads.

        Raises:
            DataSourceArchivedError: The data source is archived.
        """
        if source.archived:
            raise self._archived()
        todo = self.selection.begin(self.database.series(connection, source, self.selection.names))
        return self.selection.count(self.database.rows(connection), todo)

    def _attempt(self) -> None:
        with self.database.writing() as connection:
            self._ensure_same_store(self.database.identity(connection))
            self.database.take_turn(connection, self.account, self.data_source)
            source = self.database.find(connection, self.account, self.data_source)
            if self.doubtful and self.database.took_place(connection, self._mark):
                self.deleted += self.doubtful
            # From here on, a piece whose commit had no answer is done again, and finds nothing where it took place.
            self.doubtful = 0
            if source.archived:
                raise self._archived()
            if self._todo is None:
                self._todo = self.selection.begin(self.database.series(connection, source, self.selection.names))
            elif self._failed:
                # The server may have been restored from a backup meanwhile, in which other series have these ids.
                ids = self.database.series(connection, source, list({one.name for one in self._todo}))
                self._todo = [one._replace(series=ids[one.name]) for one in self._todo if one.name in ids]
            self._failed = True
            deleted, left = self.selection.take(self.database.rows(connection), self._todo)
            if deleted and self.database.keeps_times(connection):
                forget_bounds(connection, source)
            if deleted:
                self._commit(connection, deleted)
        self._todo, self._failed = left, False

    def _commit(self, connection: sa.Connection, deleted: int) -> None:
        self._mark, self.doubtful = self.database.mark(connection), deleted
        try:
            self.database.commit(connection)
        except NotCommittedError as refused:
            self.doubtful = 0
            raise refused.error from None
        self.deleted, self.doubtful = self.deleted + deleted, 0

    def _ensure_same_store(self, identity: object) -> None:
        if self._identity is None:
            self._identity = identity
        elif self._identity != identity:
            raise StoreUnusableError("it was replaced during the delete", "Look at what is in it now.")

    def _archived(self) -> TemporisError:
        return DataSourceArchivedError(
            f"Data source {self.data_source!r} at {self.database.url} is archived: nothing is written to it or deleted"
            " from it. Unarchive it first.",
            data_source=self.data_source,
            report=UpsertReport(self.data_source),
        )

    def _so_far(self) -> str:
        if not (self.deleted or self.doubtful):
            return " Nothing was deleted."
        were = agreeing(self.deleted, "was", "were")
        more = f", and {self.doubtful:,} more may have been, because the commit failed" if self.doubtful else ""
        return f" Before that, {counted(self.deleted, 'observation')} {were} deleted{more}. Deleting again is safe."
