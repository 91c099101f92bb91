"""PostgresDatabase: a PostgreSQL server with what the store asks of a database.

Comes in: a URL. Goes out: the ``Database`` protocol.
Never: has a rule of its own, but the lock of a data source; the others stand in the rooms next to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.chunks import Chunk
from temporis_dagster.data_source.store.postgres import read
from temporis_dagster.data_source.store.postgres.schema import TABLES, TIMES_VERSION
from temporis_dagster.data_source.store.postgres.server import VERSION, WRITES, PostgresServer, driver, store_of
from temporis_dagster.data_source.store.postgres.stored import PostgresRows
from temporis_dagster.data_source.store.postgres.write import Columns, upsert_rows
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source

CHUNK_ROWS = 100_000
"""Observations per transaction. The lock of a data source is held for some 40 ms if they are unchanged, and 150 ms if
they are new. Half as many take 5 % longer, because each transaction has statements of its own."""

OUTCOME = """
SELECT CASE WHEN %s::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(%s::text::xid8) END
"""


SIZE = "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest(%s::text[]) AS name"


class PostgresDatabase(PostgresServer):
    """A PostgreSQL database that holds a store. Implements ``Database``."""

    chunk_rows, writes_by_key, has_one_writer = CHUNK_ROWS, False, False

    def glance(self, account: str, name: str) -> None:
        """Return nothing: the server would have to be asked."""

    def identity(self, connection: sa.Connection) -> object:
        """Return the id of the store and that of its table: a restored dump has the first, but not the second."""
        return store_of(connection)

    def keeps_times(self, connection: sa.Connection) -> bool:
        """Return whether this database could be migrated to the version that has them."""
        return bool(connection.info[VERSION] >= TIMES_VERSION)

    def take_turn(self, connection: sa.Connection, account: str, name: str) -> None:
        """Wait until no other upsert of this library is in a transaction that writes to this data source.

        The lock is of the names, not of the row, so that ``archive()``, which takes the row, does not wait behind them.
        """
        key = hashlib.blake2b(f"temporis\0{account}\0{name}".encode(), digest_size=8).digest()
        driver(connection).execute("SELECT pg_advisory_xact_lock(%s)", (int.from_bytes(key, "big", signed=True),))

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source. A transaction that writes locks its row until its end."""
        then = " FOR NO KEY UPDATE OF s" if connection.info[WRITES] else ""
        return sources.find(connection, account, name, then=then)

    def series(self, connection: sa.Connection, source: Source, names: Sequence[str] | None) -> Mapping[str, int]:
        """Return the ids of those of these series that exist, by name; of all series for None."""
        return read.series_of(driver(connection), source, names)

    def ensured_series(self, connection: sa.Connection, source: Source, names: Sequence[str]) -> Mapping[str, int]:
        """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
        return read.ensured_series(driver(connection), source, names)

    def series_rows(self, connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
        """Yield the series that have observations in the window, in the order of ``ids``."""
        return read.series_rows(driver(connection), ids, window)

    def rows(self, connection: sa.Connection) -> PostgresRows:
        """Return the stored rows as the transaction sees them."""
        return PostgresRows(driver(connection))

    def size(self, connection: sa.Connection) -> int:
        """Return how many bytes the tables of the store take, with their indexes."""
        (size,) = driver(connection).execute(SIZE, (list(TABLES),)).fetchone() or (0,)
        return int(size)

    def mark(self, connection: sa.Connection) -> object:
        """Return the number of this transaction."""
        (number,) = driver(connection).execute("SELECT pg_current_xact_id()::text").fetchone() or (None,)
        return number

    def took_place(self, connection: sa.Connection, mark: object) -> bool:
        """Return whether the transaction with this number was committed. It has ended, because this one has its lock.

        A server that was restored from a backup meanwhile may not have come to that number yet.
        """
        (outcome,) = driver(connection).execute(OUTCOME, (mark, mark)).fetchone() or (None,)
        return outcome == "committed"

    def upsert_chunk(self, connection: sa.Connection, ids: Int64s, chunk: Chunk) -> int:
        """Insert the rows of a chunk, or replace the present values of their keys. Return how many differed."""
        if not len(chunk):
            return 0
        series = chunk.sort(ids)
        chunk.differs = upsert_rows(driver(connection), Columns(series, chunk.timestamps, chunk.values))
        return int(np.count_nonzero(chunk.differs | chunk.doubted))
