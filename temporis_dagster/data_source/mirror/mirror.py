"""Mirror: the face of the mirror, one method per operation.

Comes in: tallies, names, time ranges. Goes out: what ``MirroringTarget`` promises.
Never: sends anything that is not in its file, or opens the file before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import sqlalchemy as sa

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches, pending, rejected
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.file import MirrorClock, MirrorFile
from temporis_dagster.data_source.mirror.flush import Flush
from temporis_dagster.data_source.mirror.relay import Interrupted
from temporis_dagster.data_source.mirror.schema import ACCOUNT, Identity
from temporis_dagster.data_source.mirror.upsert import FullError, Upsert
from temporis_dagster.data_source.mirror.write import store_rows
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.plan import Ghosts, Plan, Within
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.data_source.store import read, sources
from temporis_dagster.data_source.store.compare import Subject, frame_of, ghosts_of, names_wanted
from temporis_dagster.data_source.store.opening import sqlite_database_at
from temporis_dagster.data_source.store.planning import (
    findings,
    ghosts_counted,
    latest_of,
    subject_of,
    unreadable_in,
)
from temporis_dagster.data_source.store.read import ReadBounds, SeriesRows
from temporis_dagster.data_source.store.sqlite.read import series_rows
from temporis_dagster.data_source.store.sqlite.series import series_of
from temporis_dagster.data_source.store.sqlite.stored import SqliteRows
from temporis_dagster.data_source.store.stored import StoredRows
from temporis_dagster.data_source.target import ArchiveState, PendingInfo
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
    DeliveryError,
    MirrorError,
    UnavailableError,
)
from temporis_dagster.settings import trimmed

QUEUED = (UnavailableError, DataSourceArchivedError)
"""The errors that ``on_unavailable="queue"`` does not raise."""


class Mirror:
    """A SQLite file in front of the data sources of an HTTP service. Implements ``MirroringTarget``.

    Args:
        url: The file: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. The first upsert makes it, and nothing
            else does; until then it counts as empty.
        service: The data sources of the HTTP service.
        token: The access token of the service, of which the file gets a salted hash.
        options: How the mirror behaves.
        clock: What time it is.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file.
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
        database = sqlite_database_at(url, "mirror")
        self._shown = database.url
        self._interrupted = Interrupted()
        self._identity = Identity(service.url, trimmed(token))
        self._file = MirrorFile(database.path, database.url, self._identity, clock or MirrorClock())

    @property
    def url(self) -> str:
        """Where the data sources are."""
        return self._service.url

    @property
    def mirror_url(self) -> str:
        """Where the mirror is, with an absolute path."""
        return self._shown

    @property
    def exists(self) -> bool:
        """Whether there is a mirror at its URL yet, of this target or another.

        Raises:
            StoreError: The file cannot be read.
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
            StoreError: The mirror's file failed; the report says how many rows are in it.
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
        with self._known(data_source) as (connection, source):
            return PendingInfo() if source is None else pending.info(connection, source.id)

    def discard_pending(self, data_source: str) -> int:
        """Forget what is pending and not in flight, one transaction per batch.

        Returns:
            The number of rows that were forgotten.
        """
        with self._known(data_source) as (connection, source):
            ids = [] if source is None else pending.open_batches(connection, source.id)
        count = 0
        for number in ids:
            with self._changing(data_source) as tx:
                count += pending.discard(tx, number)
        return count

    def rejected_rows(self, data_source: str) -> pd.DataFrame:
        """Return the rows that the service rejected: timestamp, name, value, reason, rejected_at."""
        with self._known(data_source) as (connection, source):
            return rejected.frame(connection, -1 if source is None else source.id)

    def retry_rejected(self, data_source: str) -> int:
        """Make the rejected rows pending again.

        Returns:
            The number of rows.
        """
        if not self._knows(data_source):
            return 0
        with self._changing(data_source) as tx:
            rows = rejected.take_all(tx)
            if len(rows):
                store_rows(tx.connection, batches.insert(tx, rows))
            return len(rows)

    def discard_rejected(self, data_source: str) -> int:
        """Forget the rejected rows.

        Returns:
            The number of rows.
        """
        if not self._knows(data_source):
            return 0
        with self._changing(data_source) as tx:
            return len(rejected.take_all(tx))

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
        with self._file.explained(), self._file.reading() as connection:
            return sources.names(connection, ACCOUNT)

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask the service whether the data source is archived, and remember the answer."""
        with self._file.explained(data_source):
            return self._asked(data_source)

    def read(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> pd.DataFrame:
        """Return what was written through the mirror, including pending rows but not rejected ones."""
        with self._rows(data_source, ReadBounds(start, end, names)) as rows:
            return read.frame(rows)

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """Return a text that is equal exactly when ``read`` would return the same, bit for bit."""
        with self._rows(data_source, ReadBounds(start, end, names)) as rows:
            return read.digest(rows)

    def plan(self, data_source: str, observations: Observations, within: Within) -> Plan:
        """Compare observations with what was written through the mirror. Write nothing."""
        with self._compared(data_source, observations, within) as (rows, subject, archived):
            found = findings(rows, subject, archived=archived)
        return found.plan(data_source)

    def ghosts(self, data_source: str, observations: Observations, within: Within, *, stored: bool) -> Ghosts:
        """Count the rows of the mirror within that the observations do not have, and offer to read them."""
        with self._compared(data_source, observations, within) as (rows, subject, _):
            found, unreadable = ghosts_counted(rows, subject, stored=stored), unreadable_in(subject)

        def read_some(most: int | None) -> pd.DataFrame:
            with self._compared(data_source, observations, within) as (rows, subject, _):
                return frame_of(ghosts_of(rows, subject, found.by_series), most)

        return Ghosts(found.by_series, found.stored, unreadable, read_some)

    def latest(self, data_source: str, names: Sequence[str] | None) -> pd.DataFrame:
        """Return the last row of each of these series that has one, pending ones included."""
        with self._known(data_source) as (connection, source):
            possible = ReadBounds(None, None, names).possible_names
            ids = {} if source is None else series_of(connection, source, possible)
            return latest_of(SqliteRows(connection), ids)

    def close(self) -> None:
        """Close the connections to the service and to the file."""
        self._service.close()
        with self._file.explained():
            self._file.close()

    @contextmanager
    def _known(self, data_source: str) -> Iterator[tuple[sa.Connection, sources.Source | None]]:
        """Yield a reading connection, and the data source if the mirror knows it."""
        with self._file.explained(data_source), self._file.reading() as connection:
            yield connection, self._file.known(connection, data_source)

    @contextmanager
    def _rows(self, data_source: str, bounds: ReadBounds) -> Iterator[Iterator[SeriesRows]]:
        """Yield what the mirror has within these bounds: nothing of a data source that it does not know."""
        with self._known(data_source) as (connection, source):
            ids = {} if source is None else series_of(connection, source, bounds.possible_names)
            yield series_rows(connection, read.in_order(ids), bounds.window)

    @contextmanager
    def _compared(
        self, data_source: str, observations: Observations, within: Within
    ) -> Iterator[tuple[StoredRows, Subject, bool]]:
        """Yield the rows of the mirror, what is compared with them, and whether the service last said archived."""
        with self._known(data_source) as (connection, source):
            ids = {} if source is None else series_of(connection, source, names_wanted(observations, within))
            yield SqliteRows(connection), subject_of(observations, within, ids), source is not None and source.archived

    def _knows(self, data_source: str) -> bool:
        with self._known(data_source) as (_, source):
            return source is not None

    @contextmanager
    def _changing(self, data_source: str) -> Iterator[Transaction]:
        """Yield a write transaction on a data source that the mirror knows, committed at the end."""
        with self._file.explained(data_source), self._file.changing(data_source) as tx:
            yield tx

    def _asked(self, data_source: str) -> ArchiveState:
        state = self._service.archive_state(data_source)
        if state is not ArchiveState.UNKNOWN:
            with self._file.reading() as connection:
                source = self._file.known(connection, data_source)
            if source is not None and source.archived is not (state is ArchiveState.ARCHIVED):
                with self._file.changing(data_source) as tx:
                    pending.note_archived(tx, archived=state is ArchiveState.ARCHIVED)
        return state

    def _ensure_not_archived(self, tally: Tally) -> None:
        """Refuse before anything is written if the service called the data source archived, and still does."""
        if self._options.on_unavailable == "queue":
            return
        with self._file.reading() as connection:
            source = self._file.known(connection, tally.data_source)
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
        with self._file.changing(data_source) as tx:
            pending.note_failure(tx, str(error), archived=refusal.answer.meaning is Meaning.ARCHIVED)
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
