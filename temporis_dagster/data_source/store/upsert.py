"""StoreUpsert: observations into the store, chunk by chunk.

Comes in: a tally of observations. Goes out: the same tally, settled; or one error of the tree that carries its report.
Never: holds a lock for longer than one chunk, or settles a row as stored before its transaction has committed.
"""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Positions
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.chunks import Chunk, chunk_of, in_chunks, numbered, unnumbered
from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.errors import (
    NotCommittedError,
    SourceArchivedError,
    SourceMissingError,
    StoreUnusableError,
    explained,
)


class StoreUpsert:
    """One upsert into one data source.

    Args:
        database: The database.
        account: The account that the data source belongs to.
        tally: The observations, and where their outcomes are recorded.
        create_missing: Create the data source if it does not exist.
    """

    def __init__(self, database: Database, account: str, tally: Tally, *, create_missing: bool) -> None:
        self._database, self._account, self._tally = database, account, tally
        self._create_missing = create_missing
        self._store_identity: object = None
        self._ids = unnumbered(tally.observations.names)

    def run(self) -> None:
        """Store everything, or raise an error that carries the report of what was stored."""
        tally = self._tally
        # Without observations there is still one empty transaction: does the data source exist, and is it archived?
        database = self._database
        for rows in in_chunks(tally.observations, database.chunk_rows, by_key=database.writes_by_key):
            with explained(self._database, tally.data_source, self._account, tally=tally):
                changed = self._store(rows)
            tally.settle(rows, Outcome.ACKNOWLEDGED, unchanged=len(rows) - changed)

    def _store(self, rows: Positions) -> int:
        """Store one chunk. Return how many of its rows differed from what was there."""
        chunk = chunk_of(self._tally.observations, rows)
        before = self._tally.requests

        def attempt() -> int:
            if self._tally.requests > before:
                self._tally.retries += 1
                # The server may have been restored from a backup meanwhile, in which newer series do not exist.
                self._ids = unnumbered(self._tally.observations.names)
            self._tally.requests += 1
            return self._in_one_transaction(rows, chunk)

        return self._database.patiently(attempt)

    def _in_one_transaction(self, rows: Positions, chunk: Chunk) -> int:
        with self._database.writing(create=self._create_missing) as connection:
            self._ensure_same_store(self._database.identity(connection))
            self._database.take_turn(connection, self._account, self._tally.data_source)
            source = self._writable(connection)
            ensured = partial(self._database.ensured_series, connection, source)
            ids = numbered(ensured, self._tally.observations.names, self._ids, chunk.codes)
            changed = self._database.upsert_chunk(connection, ids, chunk)
            # Of a chunk of which every row is there already, nothing was written, not even a new series: without a
            # commit, the disk is not waited for.
            if changed and self._database.keeps_times(connection):
                first, last = int(chunk.timestamps.min()), int(chunk.timestamps.max())
                sources.note_write(connection, source, first, last)
            if changed or not len(chunk):
                self._commit(connection, rows, chunk)
        self._ids = ids
        return changed

    def _commit(self, connection: sa.Connection, rows: Positions, chunk: Chunk) -> None:
        self._tally.settle(rows, Outcome.UNKNOWN)
        try:
            self._database.commit(connection)
        except NotCommittedError as refused:
            if not chunk.is_doubtful:
                self._tally.settle(rows, Outcome.UNSENT)
            raise refused.error from None
        except Exception:
            chunk.doubt()
            raise

    def _ensure_same_store(self, identity: object) -> None:
        """Refuse to continue in another store: the rows stored so far, and the ids of their series, are not in it."""
        if self._store_identity is None:
            self._store_identity = identity
        elif self._store_identity != identity:
            self._tally.doubt_acknowledged("the store was replaced after these were stored in it")
            raise StoreUnusableError("it was replaced during the upsert", "Run the upsert again.")

    def _writable(self, connection: sa.Connection) -> sources.Source:
        find = partial(self._database.find, connection, self._account, self._tally.data_source)
        try:
            source = find()
        except SourceMissingError:
            if not self._create_missing:
                raise
            sources.create(connection, self._account, self._tally.data_source)
            source = find()
        if source.archived:
            raise SourceArchivedError
        return source
