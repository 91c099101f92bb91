"""SqlStore: the face of the store, one method per operation.

Comes in: a URL, tallies, names. Goes out: what the ``ManageableTarget`` protocol promises.
Never: opens the database before it is needed, or creates a store in an operation that only asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import TypeVar

import numpy as np
import pandas as pd
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.plan import Ghosts, Plan, Within
from temporis_dagster.data_source.reading import Reading, Rows
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import pieces, read, sources
from temporis_dagster.data_source.store.compare import Counted, Subject, frame_of, ghosts_of, names_wanted
from temporis_dagster.data_source.store.delete import GhostsOf, RowsOfWindow, Selection, StoreDelete
from temporis_dagster.data_source.store.errors import SourceMissingError, StoreUnusableError, explained
from temporis_dagster.data_source.store.newest import Observation, newest_of
from temporis_dagster.data_source.store.opening import GIVE_UP_AFTER_S, database_at
from temporis_dagster.data_source.store.overview import SourceOverview, overview
from temporis_dagster.data_source.store.pieces import Piece
from temporis_dagster.data_source.store.planning import (
    Findings,
    findings,
    ghosts_counted,
    latest_of,
    planned_anew,
    subject_of,
    unreadable_in,
)
from temporis_dagster.data_source.store.plotting import EXACT_ROWS, Line, lines_of
from temporis_dagster.data_source.store.read import ReadBounds, SeriesRows
from temporis_dagster.data_source.store.row_counts import RowCount, RowCounts
from temporis_dagster.data_source.store.series_pages import SeriesPage, page_of
from temporis_dagster.data_source.store.stored import Ranges, StoredRows
from temporis_dagster.data_source.store.token_uses import TokenUses
from temporis_dagster.data_source.store.tokens import Tokens
from temporis_dagster.data_source.store.upsert import StoreUpsert
from temporis_dagster.data_source.target import ArchiveState, Glance
from temporis_dagster.errors import DataSourceNotFoundError
from temporis_dagster.settings import hidden_url, trimmed

T = TypeVar("T")


class SqlStore:
    """The data sources in one SQLite file or PostgreSQL database. Implements ``ManageableTarget``.

    Many threads and processes may use the same store at once, also after a fork. An upsert holds its lock, on the file
    or on the row of its data source, for one chunk of observations at a time. Committed observations survive process
    death and power loss (see ``sqlite.file`` and ``postgres.server``). The database may hold tables of other
    applications. A SQLite file is switched to SQLite's write-ahead log.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql+psycopg://user@host:port/database``.
            A relative path is resolved here, once. What a PostgreSQL URL leaves out, such as the password, comes from
            where libpq looks for it: ``PGPASSFILE``, ``PGSERVICE`` and so on.
        account: The account whose data sources these are. Those of other accounts are invisible.
        create_missing: Whether an upsert creates its data source if that does not exist.
        give_up_after_s: PostgreSQL: how many seconds to go on while the server cannot be reached, or another
            transaction is in the way.

    Raises:
        ConfigurationError: The URL is not that of a store. The database is not opened before the first operation.
    """

    def __init__(
        self,
        url: str,
        *,
        account: str = "default",
        create_missing: bool = False,
        give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        url = hidden_url(trimmed(url))
        self._database = database_at(url, give_up_after_s)
        self._account = account
        self._create_missing = create_missing
        self._token_uses, self._row_counts = TokenUses(), RowCounts()

    @property
    def url(self) -> str:
        """The URL of the database: with an absolute path, and without user and password."""
        return self._database.url

    @property
    def creates_missing(self) -> bool:
        """Whether an upsert creates its data source if that does not exist."""
        return self._create_missing

    @property
    def has_one_writer(self) -> bool:
        """Whether only one transaction can write at a time, to whatever data source: in a file."""
        return self._database.has_one_writer

    @property
    def exists(self) -> bool:
        """Whether there is a store yet: the first data source or token creates it.

        Raises:
            StoreError: The database failed.
            UnavailableError: The server could not be reached.
        """
        with self._explained():
            return self._database.exists

    def __repr__(self) -> str:
        # Tools that show a traceback with its variables call this even for an object whose __init__ failed.
        where = self.url if hasattr(self, "_database") else None
        return f"SqlStore({where!r}, account={getattr(self, '_account', None)!r})"

    @property
    def tokens(self) -> Tokens:
        """The access tokens that a service over this store accepts for this account."""
        return Tokens(self._database, self._account, self._token_uses)

    def of_account(self, account: str) -> SqlStore:
        """Return the store of another account, in the same database and over the same connections."""
        other = copy(self)
        other._account = account  # noqa: SLF001  # of this class
        return other

    def wait_for_locks(self, at_most_s: float) -> None:
        """Give up on what another process holds up after this time, in seconds, instead of the usual time.

        On PostgreSQL, that includes a server that cannot be reached.
        """
        self._database.wait_for_locks(at_most_s)

    def upsert(self, tally: Tally) -> None:
        """Store the tally's observations, settling them chunk by chunk; each chunk is one transaction.

        Args:
            tally: The observations, and where their outcomes are recorded.

        Raises:
            DataSourceNotFoundError: There is no such data source. Nothing was stored.
            DataSourceArchivedError: It is archived, perhaps only since a moment ago. The report has what was stored.
            UnavailableError: PostgreSQL could not be reached for too long. The report has what was stored.
            StoreError: The database failed. The report has what was stored.
        """
        StoreUpsert(self._database, self._account, tally, create_missing=self._create_missing).run()

    def archive_state(self, data_source: str) -> ArchiveState:
        """Return whether the data source takes observations."""
        return self._read(
            data_source, lambda _, source: ArchiveState.ARCHIVED if source.archived else ArchiveState.ACTIVE
        )

    def ensure_ready(self) -> None:
        """Check that the store can be reached and written, in a transaction that changes nothing.

        Raises:
            StoreError: It cannot be written, or there is none yet.
            UnavailableError: PostgreSQL could not be reached for too long.
        """

        def attempt() -> None:
            with self._database.writing() as connection:
                sources.touch(connection)

        with self._explained():
            try:
                self._database.patiently(attempt)
            except SourceMissingError:
                raise StoreUnusableError(
                    "it does not exist yet", "Create its first data source with: temporis sources create NAME."
                ) from None

    def close(self) -> None:
        """Close the connections. The next operation would open the database again."""
        self._row_counts.close()
        with self._explained():
            self._database.close()

    def glance(self, data_source: str) -> Glance | None:
        """Return what can be known in milliseconds, without a server and without waiting; None if nothing can."""
        return self._database.glance(self._account, data_source)

    def create_data_source(self, data_source: str) -> None:
        """Create the data source, and the store if necessary. An existing one stays unchanged."""

        def create() -> None:
            with self._database.writing(create=True) as connection:
                sources.create(connection, self._account, data_source)
                self._database.commit(connection)

        with self._explained(data_source):
            self._database.patiently(create)

    def data_sources(self) -> list[str]:
        """Return the names of the account's data sources, sorted; an empty list if there is no store."""

        def names() -> list[str]:
            with self._database.reading() as connection:
                return sources.names(connection, self._account)

        with self._explained():
            try:
                return self._database.patiently(names)
            except SourceMissingError:
                return []

    def set_archived(self, data_source: str, *, archived: bool) -> None:
        """Archive or unarchive. After archiving has returned no observation is stored: every chunk checks the flag."""

        def change() -> None:
            with self._database.writing() as connection:
                source = self._database.find(connection, self._account, data_source)
                sources.set_archived(connection, source, archived)
                self._database.commit(connection)

        with self._explained(data_source):
            self._database.patiently(change)

    def rows(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> Rows:
        """Return the observations of these names in [start, end): one consistent state, sorted by (timestamp, name)."""
        bounds = ReadBounds(start, end, names)
        return self._read(data_source, lambda connection, source: read.rows_of(self._rows(connection, source, bounds)))

    def begin_reading(
        self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None, rows: int
    ) -> Reading:
        """Return a reading of these names in [start, end), up to the last second that has an observation now.

        Args:
            data_source: The name of the data source.
            start: The first Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            names: Exact names of series, or None for all.
            rows: The maximum number of observations per batch.
        """
        bounds = ReadBounds(start, end, names)

        def begin(connection: sa.Connection, source: sources.Source) -> Reading:
            stored, identity = self._database.rows(connection), self._database.identity(connection)
            ids = self._database.series(connection, source, bounds.possible_names)
            return pieces.begun(stored, ids, bounds, rows, identity)

        return self._read(data_source, begin)

    def read_on(self, data_source: str, reading: Reading) -> Rows:
        """Read the next piece, in one consistent state, and note in the reading how far it came.

        Args:
            data_source: The name of the data source.
            reading: What ``begin_reading`` returned.
        """

        def read_piece(connection: sa.Connection, source: sources.Source) -> tuple[Rows, Piece]:
            pieces.ensure_same_store(reading, self._database.identity(connection))
            ids = read.in_order(self._database.series(connection, source, reading.names))
            piece = pieces.next_piece(self._database.rows(connection), ids, reading)
            return read.rows_of(self._database.series_rows(connection, ids, piece.window)), piece

        rows, piece = self._read(data_source, read_piece)
        piece.note(reading)
        return rows

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """Return a text that is equal exactly when ``read`` would return the same, bit for bit."""
        bounds = ReadBounds(start, end, names)
        return self._read(data_source, lambda connection, source: read.digest(self._rows(connection, source, bounds)))

    def plan(self, data_source: str, observations: Observations, within: Within) -> Plan:
        """Compare observations with what is stored, in one consistent state. Write nothing.

        A data source that does not exist, and that an upsert would create, counts as empty.
        """

        def compare(connection: sa.Connection, source: sources.Source) -> Findings:
            rows, subject = self._subject(connection, source, observations, within)
            return findings(rows, subject, archived=source.archived)

        try:
            return self._read(data_source, compare).plan(data_source)
        except DataSourceNotFoundError:
            if not self._create_missing:
                raise
            return planned_anew(data_source, observations)

    def ghosts(self, data_source: str, observations: Observations, within: Within, *, stored: bool) -> Ghosts:
        """Count the stored rows within that the observations do not have, and offer to read them."""

        def count(connection: sa.Connection, source: sources.Source) -> tuple[Counted, int]:
            rows, subject = self._subject(connection, source, observations, within)
            return ghosts_counted(rows, subject, stored=stored), unreadable_in(subject)

        found, unreadable = self._read(data_source, count)

        def read_some(most: int | None) -> pd.DataFrame:
            def ask(connection: sa.Connection, source: sources.Source) -> pd.DataFrame:
                rows, subject = self._subject(connection, source, observations, within)
                return frame_of(ghosts_of(rows, subject, found.by_series), most)

            return self._read(data_source, ask)

        return Ghosts(found.by_series, found.stored, unreadable, read_some)

    def latest(self, data_source: str, names: Sequence[str] | None) -> pd.DataFrame:
        """Return the last observation of each of these series that has one: name, timestamp, value; by name."""
        possible = ReadBounds(None, None, names).possible_names
        return self._read(
            data_source,
            lambda connection, source: latest_of(
                self._database.rows(connection), self._database.series(connection, source, possible)
            ),
        )

    def overview(self) -> list[SourceOverview]:
        """Return what is known of the account's data sources, by name; an empty list if there is no store.

        Raises:
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """

        def look() -> list[SourceOverview]:
            with self._database.reading() as connection:
                return overview(connection, self._account, times=self._database.keeps_times(connection))

        with self._explained():
            try:
                return self._database.patiently(look)
            except SourceMissingError:
                return []

    def overview_of(self, data_source: str) -> SourceOverview:
        """Return what is known of one data source.

        Raises:
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """

        def look(connection: sa.Connection, _: sources.Source) -> SourceOverview:
            times = self._database.keeps_times(connection)
            (found,) = overview(connection, self._account, times=times, data_source=data_source)
            return found

        return self._read(data_source, look)

    def size(self) -> int:
        """Return how many bytes the whole store takes, with the data sources of all accounts; 0 if there is none."""

        def look() -> int:
            with self._database.reading() as connection:
                return self._database.size(connection)

        with self._explained():
            try:
                return self._database.patiently(look)
            except SourceMissingError:
                return 0

    def series_page(self, data_source: str, search: str = "", offset: int = 0, most: int = 50) -> SeriesPage:
        """Return some series of a data source, in the order of their names, each with a sparkline.

        Args:
            data_source: The name of the data source.
            search: Only series whose names contain this text, in upper or lower case. No character is special.
            offset: How many of these come before the page.
            most: The maximum number of series on the page.

        Raises:
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """
        return self._read(
            data_source,
            lambda connection, source: page_of(
                self._database.rows(connection),
                self._database.series(connection, source, None),
                search,
                offset,
                most,
            ),
        )

    def plot(
        self,
        data_source: str,
        names: Sequence[str],
        start: int | None = None,
        end: int | None = None,
        buckets: int = 600,
    ) -> list[Line]:
        """Return lines of these series in [start, end), with at most ``buckets`` points each.

        Args:
            data_source: The name of the data source.
            names: Exact names of series. One that does not exist has a line without points.
            start: The first Unix second, or None for the first observation of these series.
            end: The Unix second after the last, or None for the last observation of these series.
            buckets: Into how many buckets the range is cut.

        Raises:
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """
        bounds = ReadBounds(start, end, names)

        def look(connection: sa.Connection, source: sources.Source) -> list[Line]:
            ids = self._database.series(connection, source, bounds.possible_names)
            return lines_of(self._database.rows(connection), ids, names, bounds.window, buckets, EXACT_ROWS)

        return self._read(data_source, look)

    def table(
        self,
        data_source: str,
        names: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        most: int = 200,
    ) -> list[Observation]:
        """Return the newest observations of these names in [start, end), the newest first.

        Args:
            data_source: The name of the data source.
            names: Exact names of series, or None for all.
            start: The first Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            most: The maximum number of observations.

        Raises:
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """
        bounds = ReadBounds(start, end, names)

        def look(connection: sa.Connection, source: sources.Source) -> list[Observation]:
            ids = read.in_order(self._database.series(connection, source, bounds.possible_names))
            return newest_of(self._database.rows(connection), ids, bounds.window, most)

        return self._read(data_source, look)

    def observations(self, data_source: str) -> RowCount | None:
        """Return the number of observations of a data source when they were last counted, without waiting for a count.

        They are counted in the background, by one thread of the process at most, the first time and once the number is
        no longer fresh.

        Args:
            data_source: The name of the data source.

        Returns:
            The number, and when it was counted; None if that has not been done yet.
        """

        def count(connection: sa.Connection, source: sources.Source) -> int:
            series = np.array(list(self._database.series(connection, source, None).values()), dtype=np.int64)
            whole = Ranges(series, np.full(len(series), read.FIRST), np.full(len(series), read.LAST))
            return int(self._database.rows(connection).counts(whole).sum())

        return self._row_counts.get((self._account, data_source), lambda: self._read(data_source, count))

    def delete(
        self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None, *, dry_run: bool
    ) -> int:
        """Delete the observations of these names in [start, end), chunk by chunk. Return how many there were.

        Args:
            data_source: The name of the data source.
            start: The first Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            names: Exact names of series, or None for all.
            dry_run: Only count them.

        Raises:
            DataSourceArchivedError: It is archived, perhaps only since a moment ago. The message says how many
                observations were deleted before.
            UnavailableError: PostgreSQL could not be reached for too long. So does this message,
            StoreError: The database failed. and this.
        """
        bounds = ReadBounds(start, end, names)
        selection = RowsOfWindow(bounds.possible_names, bounds.window)
        return self._delete(data_source, selection, dry_run=dry_run)

    def delete_ghosts(self, data_source: str, observations: Observations, within: Within, *, dry_run: bool) -> int:
        """Delete the stored rows within that the observations do not have, chunk by chunk. Return how many there were.

        Args:
            data_source: The name of the data source.
            observations: What the frame became.
            within: Which stored rows it is about.
            dry_run: Only count them.
        """

        def look(connection: sa.Connection, source: sources.Source) -> GhostsOf:
            rows, subject = self._subject(connection, source, observations, within)
            return GhostsOf(subject, list(ghosts_counted(rows, subject, stored=False).by_series))

        return self._delete(data_source, self._read(data_source, look), dry_run=dry_run)

    def _delete(self, data_source: str, selection: Selection, *, dry_run: bool) -> int:
        delete = StoreDelete(self._database, self._account, data_source, selection)
        return self._read(data_source, delete.would_be) if dry_run else delete.run()

    def _subject(
        self, connection: sa.Connection, source: sources.Source, observations: Observations, within: Within
    ) -> tuple[StoredRows, Subject]:
        ids = self._database.series(connection, source, names_wanted(observations, within))
        return self._database.rows(connection), subject_of(observations, within, ids)

    def _rows(self, connection: sa.Connection, source: sources.Source, bounds: ReadBounds) -> Iterator[SeriesRows]:
        ids = self._database.series(connection, source, bounds.possible_names)
        return self._database.series_rows(connection, read.in_order(ids), bounds.window)

    def _read(self, data_source: str, ask: Callable[[sa.Connection, sources.Source], T]) -> T:
        def once() -> T:
            with self._database.reading() as connection:
                return ask(connection, self._database.find(connection, self._account, data_source))

        with self._explained(data_source):
            return self._database.patiently(once)

    def _explained(self, data_source: str = "") -> AbstractContextManager[None]:
        return explained(self._database, data_source, self._account)
