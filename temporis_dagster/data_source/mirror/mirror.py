"""Mirror: the face of the mirror, one method per operation.

Comes in: tallies, names, time ranges. Goes out: what ``MirroringTarget`` promises.
Never: sends anything that is not in its database, or opens that before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import pandas as pd
import sqlalchemy as sa

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches, pending, rejected
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.database import mirror_database_at, statements_of
from temporis_dagster.data_source.mirror.file import MirrorClock, MirrorFile
from temporis_dagster.data_source.mirror.flush import Flush
from temporis_dagster.data_source.mirror.relay import Interrupted
from temporis_dagster.data_source.mirror.schema import ACCOUNT, Identity
from temporis_dagster.data_source.mirror.upsert import FullError, Upsert
from temporis_dagster.data_source.mirror.write import store_rows
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.plan import Ghosts, Plan, Within
from temporis_dagster.data_source.reading import Reading, Rows
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.data_source.store import pieces, read, sources
from temporis_dagster.data_source.store.compare import Counted, Subject, frame_of, ghosts_of, names_wanted
from temporis_dagster.data_source.store.pieces import Piece
from temporis_dagster.data_source.store.planning import (
    Findings,
    findings,
    ghosts_counted,
    latest_of,
    subject_of,
    unreadable_in,
)
from temporis_dagster.data_source.store.read import ReadBounds, SeriesRows
from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.stored import StoredRows
from temporis_dagster.data_source.target import ArchiveState, PendingInfo
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
    DeliveryError,
    MirrorError,
    UnavailableError,
)
from temporis_dagster.settings import hidden_url, trimmed

T = TypeVar("T")

QUEUED = (UnavailableError, DataSourceArchivedError)
"""The errors that ``on_unavailable="queue"`` does not raise."""


class Mirror:
    """A SQLite file, or a PostgreSQL database, in front of the data sources of an HTTP service.

    Implements ``MirroringTarget``.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql+psycopg://user@host/database``. The
            first upsert makes the mirror, and nothing else does; until then it counts as empty.
        service: The data sources of the HTTP service.
        token: The access token of the service, of which the mirror gets a salted hash.
        options: How the mirror behaves.
        clock: What time it is.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file or a PostgreSQL database.
    """

    def __init__(
        self,
        url: str,
        service: HttpTarget,
        token: str | None,
        options: MirrorOptions | None = None,
        *,
        clock: MirrorClock | None = None,
    ) -> None:
        self._service, self._options, self._shown = service, options or MirrorOptions(), "not opened"
        url = hidden_url(trimmed(url))
        database = mirror_database_at(url, service.options.give_up_after_s)
        self._shown = database.url
        self._interrupted = Interrupted()
        self._identity = Identity(service.url, trimmed(token))
        self._file = MirrorFile(database, self._identity, clock or MirrorClock())

    @property
    def url(self) -> str:
        """Where the data sources are."""
        return self._service.url

    @property
    def mirror_url(self) -> str:
        """Where the mirror is: with an absolute path, and without user and password."""
        return self._shown

    @property
    def exists(self) -> bool:
        """Whether there is a mirror at its URL yet, of this target or another.

        Raises:
            StoreError: The file or database cannot be read.
        """
        with self._file.explained():
            return self._file.exists

    def __repr__(self) -> str:
        return f"Mirror({self._shown!r}, {self.url!r})"

    def upsert(self, tally: Tally) -> None:
        """Keep the tally's observations, then deliver them.

        Raises:
            DeliveryError: They could not be delivered now; the report counts them as pending.
            ConfigurationError: There is no access token, or no HTTP client can be made. Nothing was written.
            MirrorError: It is another target's mirror, or full. Nothing was written.
            StoreError: The mirror's database failed; the report says how many rows are in it.
        """
        if not self._identity.has_token:  # a mirror bound to no account would refuse the token later
            raise ConfigurationError(
                f"The mirror {self._shown} belongs to one account, and there is no access token that identifies it."
                f" Nothing was written: {self._service.options.ADVICE.token}."
            )
        self._service.prepare()  # else an unusable proxy would be noticed only after the rows were written
        with self._file.explained(tally.data_source, tally):
            self._interrupted.settle(tally.data_source)
            self._ensure_not_archived(tally)
            try:
                refusal = Upsert(self._file, self._service, tally, self._options, self._interrupted).run()
            except FullError as full:
                raise self._full(full, tally) from None
            if refusal is not None:
                self._refused(refusal, tally.data_source, tally.report())

    def flush(self, data_source: str, *, wait: bool = True, progress: Progress | None = None) -> UpsertReport:
        """Deliver what is pending, oldest first.

        Args:
            data_source: The data source to flush.
            wait: Whether to wait for rows that may not be sent yet, until nothing is pending.
            progress: Told how many rows were delivered, each time some are.
        """
        with self._file.explained(data_source):
            flush = Flush(self._file, self._service, data_source, self._options, self._interrupted, progress)
            refusal = flush.run(wait=wait)
            if refusal is not None:
                self._refused(refusal, data_source, flush.report(), queue=False)
        return flush.report()

    def pending(self, data_source: str) -> PendingInfo:
        """Return how many rows the service is not known to have, and why."""
        return self._read(
            data_source,
            lambda connection, source: PendingInfo() if source is None else pending.info(connection, source.id),
        )

    def discard_pending(self, data_source: str) -> int:
        """Forget what is pending and not in flight, one transaction per batch.

        Returns:
            The number of rows that were forgotten.
        """
        ids = self._read(
            data_source,
            lambda connection, source: [] if source is None else pending.open_batches(connection, source.id),
        )
        return sum(self._change(data_source, partial(pending.discard, number=number)) for number in ids)

    def rejected_rows(self, data_source: str) -> pd.DataFrame:
        """Return the rows that the service rejected: timestamp, name, value, reason, rejected_at."""
        return self._read(
            data_source,
            lambda connection, source: rejected.frame(connection, -1 if source is None else source.id),
        )

    def retry_rejected(self, data_source: str) -> int:
        """Make the rejected rows pending again.

        Returns:
            The number of rows.
        """

        def retry(tx: Transaction) -> int:
            rows = rejected.take_all(tx)
            if len(rows):
                store_rows(tx.connection, batches.insert(tx, rows))
            return len(rows)

        return self._change(data_source, retry) if self._knows(data_source) else 0

    def discard_rejected(self, data_source: str) -> int:
        """Forget the rejected rows.

        Returns:
            The number of rows.
        """
        if not self._knows(data_source):
            return 0
        return self._change(data_source, lambda tx: len(rejected.take_all(tx)))

    def rebuild(self, progress: Progress | None = None) -> int:
        """Make every row of every data source pending, for a new or an emptied service, and bind the mirror to it.

        Args:
            progress: Told how many rows were made pending, each time some are.

        Returns:
            The number of rows that are pending now.
        """
        with self._file.explained():
            return pending.rebuild(self._file, progress)

    def rebind(self) -> None:
        """Bind the mirror to this URL and token: those of the same account, which has a new token."""
        with self._file.explained():
            self._file.rebind()

    def data_sources(self) -> list[str]:
        """Return the names of the data sources that the mirror knows, sorted."""
        with self._file.explained():
            return self._file.read(lambda connection: sources.names(connection, ACCOUNT))

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask the service whether the data source is archived, and remember the answer."""
        with self._file.explained(data_source):
            return self._asked(data_source)

    def rows(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> Rows:
        """Return what was written through the mirror, including pending rows but not rejected ones."""
        bounds = ReadBounds(start, end, names)
        return self._read(data_source, lambda connection, source: read.rows_of(_rows(connection, source, bounds)))

    def begin_reading(
        self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None, rows: int
    ) -> Reading:
        """Return a reading of what ``rows`` would return; see ``SqlStore.begin_reading``."""
        bounds = ReadBounds(start, end, names)

        def begin(connection: sa.Connection, source: Source | None) -> Reading:
            if source is None:
                return pieces.nothing(rows)
            stored, identity = statements_of(connection).stored_rows(connection), self._file.identity(connection)
            return pieces.begun(stored, _series(connection, source, bounds.possible_names), bounds, rows, identity)

        return self._read(data_source, begin)

    def read_on(self, data_source: str, reading: Reading) -> Rows:
        """Read the next piece, in one consistent state, and note in the reading how far it came."""

        def read_piece(connection: sa.Connection, source: Source | None) -> tuple[Rows, Piece]:
            if source is None:
                raise pieces.replaced()
            pieces.ensure_same_store(reading, self._file.identity(connection))
            statements = statements_of(connection)
            ids = read.in_order(statements.series(connection, source, reading.names))
            piece = pieces.next_piece(statements.stored_rows(connection), ids, reading)
            return read.rows_of(statements.series_rows(connection, ids, piece.window)), piece

        rows, piece = self._read(data_source, read_piece)
        piece.note(reading)
        return rows

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """Return a text that is equal exactly when ``read`` would return the same, bit for bit."""
        bounds = ReadBounds(start, end, names)
        return self._read(data_source, lambda connection, source: read.digest(_rows(connection, source, bounds)))

    def plan(self, data_source: str, observations: Observations, within: Within) -> Plan:
        """Compare observations with what was written through the mirror. Write nothing."""

        def compare(connection: sa.Connection, source: Source | None) -> Findings:
            rows, subject = _compared(connection, source, observations, within)
            # Whether the service last said that it is archived.
            return findings(rows, subject, archived=source is not None and source.archived)

        return self._read(data_source, compare).plan(data_source)

    def ghosts(self, data_source: str, observations: Observations, within: Within, *, stored: bool) -> Ghosts:
        """Count the rows of the mirror within that the observations do not have, and offer to read them."""

        def count(connection: sa.Connection, source: Source | None) -> tuple[Counted, int]:
            rows, subject = _compared(connection, source, observations, within)
            return ghosts_counted(rows, subject, stored=stored), unreadable_in(subject)

        found, unreadable = self._read(data_source, count)

        def read_some(most: int | None) -> pd.DataFrame:
            def ask(connection: sa.Connection, source: Source | None) -> pd.DataFrame:
                rows, subject = _compared(connection, source, observations, within)
                return frame_of(ghosts_of(rows, subject, found.by_series), most)

            return self._read(data_source, ask)

        return Ghosts(found.by_series, found.stored, unreadable, read_some)

    def latest(self, data_source: str, names: Sequence[str] | None) -> pd.DataFrame:
        """Return the last row of each of these series that has one, pending ones included."""
        possible = ReadBounds(None, None, names).possible_names

        def ask(connection: sa.Connection, source: Source | None) -> pd.DataFrame:
            return latest_of(statements_of(connection).stored_rows(connection), _series(connection, source, possible))

        return self._read(data_source, ask)

    def close(self) -> None:
        """Close the connections to the service and to the database."""
        self._service.close()
        with self._file.explained():
            self._file.close()

    def _read(self, data_source: str, ask: Callable[[sa.Connection, Source | None], T]) -> T:
        """Ask something about a data source, or about None if the mirror does not know it."""
        with self._file.explained(data_source):
            return self._file.read(lambda connection: ask(connection, self._file.known(connection, data_source)))

    def _knows(self, data_source: str) -> bool:
        return self._read(data_source, lambda _, source: source is not None)

    def _change(self, data_source: str, work: Callable[[Transaction], T]) -> T:
        """Change something of a data source that the mirror knows, in one transaction."""
        with self._file.explained(data_source):
            return self._file.change(data_source, work)

    def _known(self, data_source: str) -> Source | None:
        return self._file.read(lambda connection: self._file.known(connection, data_source))

    def _asked(self, data_source: str) -> ArchiveState:
        state = self._service.archive_state(data_source)
        if state is not ArchiveState.UNKNOWN:
            source, archived = self._known(data_source), state is ArchiveState.ARCHIVED
            if source is not None and source.archived is not archived:
                self._file.change(data_source, lambda tx: pending.note_archived(tx, archived=archived))
        return state

    def _ensure_not_archived(self, tally: Tally) -> None:
        """Refuse before anything is written if the service called the data source archived, and still does."""
        if self._options.on_unavailable == "queue":
            return
        source = self._known(tally.data_source)
        if source is None or not source.archived:
            return
        try:
            archived = self._asked(tally.data_source) is ArchiveState.ARCHIVED
        except DeliveryError:
            archived = True
        if archived:
            raise DataSourceArchivedError(
                f"Data source {tally.data_source!r} at {self.url} is archived and takes no observations. Nothing was"
                " written. Unarchive it first, or keep rows in the mirror with"
                f" {self._options.ADVICE.queue}.",
                data_source=tally.data_source,
                report=tally.report("the data source is archived"),
            )

    def _refused(self, refusal: Reply, data_source: str, report: UpsertReport, *, queue: bool = True) -> None:
        error = self._service.error(refusal, data_source, report)
        archived = refusal.answer.meaning is Meaning.ARCHIVED
        self._file.change(data_source, lambda tx: pending.note_failure(tx, str(error), archived=archived))
        if not (queue and self._options.on_unavailable == "queue" and isinstance(error, QUEUED)):
            raise error

    def _full(self, full: FullError, tally: Tally) -> MirrorError:
        return MirrorError(
            f"The mirror {self.mirror_url} holds {full.pending:,} pending rows and cannot take"
            f" {len(tally.observations):,} more (max_pending_rows={self._options.max_pending_rows:,}). Nothing was"
            f" written. Find out why they are not delivered ({self._options.ADVICE.look}), then flush, and upsert"
            " again.",
            url=self.mirror_url,
            report=tally.report("the mirror is full"),
        )


def _series(connection: sa.Connection, source: Source | None, names: Sequence[str] | None) -> Mapping[str, int]:
    """Return the ids of these series, or of all; none of a data source that the mirror does not know."""
    return {} if source is None else statements_of(connection).series(connection, source, names)


def _rows(connection: sa.Connection, source: Source | None, bounds: ReadBounds) -> Iterator[SeriesRows]:
    ids = read.in_order(_series(connection, source, bounds.possible_names))
    return statements_of(connection).series_rows(connection, ids, bounds.window)


def _compared(
    connection: sa.Connection, source: Source | None, observations: Observations, within: Within
) -> tuple[StoredRows, Subject]:
    """Return the rows of the mirror, and what is compared with them."""
    ids = _series(connection, source, names_wanted(observations, within))
    return statements_of(connection).stored_rows(connection), subject_of(observations, within, ids)
