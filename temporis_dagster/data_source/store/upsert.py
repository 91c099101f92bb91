"""StoreUpsert: observations into the store, chunk by chunk.

Comes in: a tally of observations. Goes out: the same tally, settled; or one error of the tree that carries its report.
Never: holds the write lock for longer than one chunk, or settles a row as stored before its transaction has committed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import SourceArchivedError, StoreUnusableError, explained
from temporis_dagster.data_source.store.sqlite import Database, FileId, commit, file_of
from temporis_dagster.data_source.store.write import CHUNK_ROWS, numbered, storable, unnumbered, upsert_rows


@dataclass(frozen=True, eq=False)
class SortedColumns:
    """Some observations as SQLite takes them, in the order of the table's key, which is the fastest to insert."""

    codes: Int64s
    timestamps: list[int]
    values: list[float | str]


class StoreUpsert:
    """One upsert into one data source.

    Args:
        database: The file.
        url: What messages call the file.
        account: The account that the data source belongs to.
        tally: The observations, and where their outcomes are recorded.
        create_missing: Create the data source if it does not exist.
    """

    def __init__(self, database: Database, url: str, account: str, tally: Tally, *, create_missing: bool) -> None:
        self._database, self._url, self._account, self._tally = database, url, account, tally
        self._create_missing = create_missing
        self._file: FileId | None = None
        self._ids = unnumbered(tally.observations.names)

    def run(self) -> None:
        """Store everything, or raise an error that carries the report of what was stored."""
        tally = self._tally
        # Without observations there is still one empty transaction: does the data source exist, and is it archived?
        for start in range(0, max(len(tally.observations), 1), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            with explained(self._url, tally.data_source, self._account, path=self._database.path, tally=tally):
                changed = self._store(rows)
            count = len(tally.observations.timestamps[rows])
            tally.settle(rows, Outcome.ACKNOWLEDGED, unchanged=count - changed)

    def _store(self, rows: slice) -> int:
        """Store one chunk in one transaction. Return how many of its rows differed from what was there."""
        columns = _sorted_columns(self._tally.observations, self._ids, rows)
        self._tally.requests += 1
        with self._database.writing(create=self._create_missing) as connection:
            self._ensure_same_file(file_of(connection))
            source = self._writable(connection)
            ids = numbered(connection, source, self._tally.observations.names, self._ids, columns.codes)
            changed = upsert_rows(connection, ids[columns.codes].tolist(), columns.timestamps, columns.values)
            self._tally.settle(rows, Outcome.UNKNOWN)
            commit(connection)
        self._ids = ids
        return changed

    def _ensure_same_file(self, file: FileId) -> None:
        """Refuse to continue in another file: the rows stored so far, and the ids of their series, are not in it."""
        if self._file is None:
            self._file = file
        elif self._file != file:
            self._tally.doubt_acknowledged("the store's file was replaced after these were stored in it")
            raise StoreUnusableError("its file was replaced during the upsert", "Run the upsert again.")

    def _writable(self, connection: sa.Connection) -> sources.Source:
        if self._create_missing:
            sources.create(connection, self._account, self._tally.data_source)
        source = sources.find(connection, self._account, self._tally.data_source)
        if source.archived:
            raise SourceArchivedError
        return source


def _sorted_columns(observations: Observations, ids: Int64s, rows: slice) -> SortedColumns:
    codes, timestamps = observations.codes[rows], observations.timestamps[rows]
    order = np.lexsort((timestamps, ids[codes]))
    return SortedColumns(
        codes[order].astype(np.int64), timestamps[order].tolist(), storable(observations.values[rows][order])
    )
