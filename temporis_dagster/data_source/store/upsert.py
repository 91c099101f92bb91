"""Upsert: observations into the store, chunk by chunk.

Comes in: a tally of observations. Goes out: the same tally, settled; or one error of the tree that carries its report.
Never: holds the write lock for longer than one chunk, or settles a row as stored before its transaction committed.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import SourceArchivedError, StoreUnusableError, explained
from temporis_dagster.data_source.store.schema import NEGATIVE_ZERO
from temporis_dagster.data_source.store.sqlite import Database, FileId, commit, file_of

CHUNK_ROWS = 50_000
"""Rows a transaction: the lock is held for some 70 ms. Smaller ones are slower (10,000: by a third), larger ones not
faster."""

ROWS_PER_STATEMENT = 1_000 if sqlite3.sqlite_version_info >= (3, 32) else 300
"""Three parameters each; before 3.32 SQLite takes 999 of them."""

UNNUMBERED = 2**62
"""Series not yet looked up have ids from here on, in the order of their names in the observations: they sort as the
ids will that new series are given."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some observations as SQLite takes them, in the order of the table's key, which is the fastest to insert."""

    codes: Int64s
    timestamps: list[int]
    values: list[float | str]


class Upsert:
    """One upsert into one data source.

    Args:
        database: The file.
        url: How to call it in messages.
        account: Whose data source it is.
        tally: What to store where.
        create_missing: Create the data source if it does not exist.
    """

    def __init__(self, database: Database, url: str, account: str, tally: Tally, *, create_missing: bool) -> None:
        self._database, self._url, self._account, self._tally = database, url, account, tally
        self._create_missing = create_missing
        self._file: FileId | None = None
        self._ids = UNNUMBERED + np.arange(len(tally.observations.names), dtype=np.int64)

    def run(self) -> None:
        """Store everything, or raise with the report of what was stored."""
        tally = self._tally
        # Without observations there is still one, empty, transaction: is there such a data source, is it archived?
        for start in range(0, max(len(tally.observations), 1), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            with explained(self._url, tally.data_source, self._account, path=self._database.path, tally=tally):
                changed = self._store(rows)
            count = len(tally.observations.timestamps[rows])
            tally.settle(rows, Outcome.ACKNOWLEDGED, unchanged=count - changed)

    def _store(self, rows: slice) -> int:
        """Store one chunk in one transaction, and say how many of its rows differed from what was there."""
        chunk = _chunk(self._tally.observations, self._ids, rows)
        self._tally.requests += 1
        with self._database.writing(create=self._create_missing) as connection:
            self._ensure_same_file(file_of(connection))
            source = self._writable(connection)
            ids = self._numbered(connection, source, chunk)
            changed = _write(connection, chunk, ids)
            self._tally.settle(rows, Outcome.UNKNOWN)
            commit(connection)
        self._ids = ids
        return changed

    def _ensure_same_file(self, file: FileId) -> None:
        """Refuse to go on in another file: the rows stored so far, and the ids of their series, are not in it."""
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

    def _numbered(self, connection: sa.Connection, source: sources.Source, chunk: Chunk) -> Int64s:
        """The ids with those of this chunk's series filled in: to be kept only if the transaction commits."""
        unknown = np.unique(chunk.codes[self._ids[chunk.codes] >= UNNUMBERED])
        if not len(unknown):
            return self._ids
        wanted = [self._tally.observations.names[code] for code in unknown.tolist()]
        found = sources.ensured_series(connection, source, wanted)
        ids = self._ids.copy()
        ids[unknown] = [found[name] for name in wanted]
        return ids


def _chunk(observations: Observations, ids: Int64s, rows: slice) -> Chunk:
    codes, timestamps = observations.codes[rows], observations.timestamps[rows]
    order = np.lexsort((timestamps, ids[codes]))
    values = observations.values[rows][order]
    stored: list[float | str] = values.tolist()
    for position in np.flatnonzero((values == 0) & np.signbit(values)).tolist():
        stored[position] = NEGATIVE_ZERO
    return Chunk(codes[order].astype(np.int64), timestamps[order].tolist(), stored)


def _write(connection: sa.Connection, chunk: Chunk, ids: Int64s) -> int:
    parameters: list[float | str] = [0] * (3 * len(chunk.codes))
    parameters[0::3] = ids[chunk.codes].tolist()
    parameters[1::3] = chunk.timestamps
    parameters[2::3] = chunk.values
    changed = 0
    for start in range(0, len(parameters), 3 * ROWS_PER_STATEMENT):
        block = tuple(parameters[start : start + 3 * ROWS_PER_STATEMENT])
        changed += connection.exec_driver_sql(_statement(len(block) // 3), block).rowcount
    return changed


@lru_cache(maxsize=16)
def _statement(rows: int) -> str:
    placeholders = ",".join(["(?,?,?)"] * rows)
    return (
        f"INSERT INTO temporis_observation (series, timestamp, value) VALUES {placeholders}"  # noqa: S608 no data in it
        " ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value"
    )
