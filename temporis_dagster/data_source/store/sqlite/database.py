"""SqliteDatabase: a SQLite file with what the store asks of a database.

Comes in: a path. Goes out: the ``Database`` protocol.
Never: has a rule of its own; they stand in the rooms next to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.chunks import CHUNK_ROWS, Chunk
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.sqlite import series
from temporis_dagster.data_source.store.sqlite.file import VERSION, FileId, SqliteFile, commit, file_of
from temporis_dagster.data_source.store.sqlite.glance import glance_at
from temporis_dagster.data_source.store.sqlite.read import series_rows
from temporis_dagster.data_source.store.sqlite.schema import TIMES_VERSION
from temporis_dagster.data_source.store.sqlite.stored import SqliteRows
from temporis_dagster.data_source.store.sqlite.write import upsert_rows
from temporis_dagster.data_source.target import Glance

T = TypeVar("T")


class SqliteDatabase(SqliteFile):
    """A SQLite file that holds a store. Implements ``Database``."""

    chunk_rows, writes_by_key, has_one_writer = CHUNK_ROWS, True, True

    def glance(self, account: str, name: str) -> Glance | None:
        """Return what can be known of a data source in milliseconds; None if the file cannot be read at once."""
        return glance_at(self.path, account, name)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do some work, once: each transaction waits for its lock itself."""
        return work()

    def commit(self, connection: sa.Connection) -> None:
        """Make the transaction durable."""
        commit(connection)

    def identity(self, connection: sa.Connection) -> FileId:
        """Return which file the transaction is in."""
        return file_of(connection)

    def keeps_times(self, connection: sa.Connection) -> bool:
        """Return whether this file could be migrated to the version that has them."""
        return bool(connection.info[VERSION] >= TIMES_VERSION)

    def take_turn(self, connection: sa.Connection, account: str, name: str) -> None:
        """Do nothing: a transaction that writes holds the lock of the file."""

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source. The lock of the file keeps other writers away from it."""
        return sources.find(connection, account, name)

    def series(self, connection: sa.Connection, source: Source, names: Sequence[str] | None) -> Mapping[str, int]:
        """Return the ids of those of these series that exist, by name; of all series for None."""
        return series.series_of(connection, source, names)

    def ensured_series(self, connection: sa.Connection, source: Source, names: Sequence[str]) -> Mapping[str, int]:
        """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
        return series.ensured_series(connection, source, names)

    def series_rows(self, connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
        """Yield the series that have observations in the window, in the order of ``ids``."""
        return series_rows(connection, ids, window)

    def rows(self, connection: sa.Connection) -> SqliteRows:
        """Return the stored rows as the transaction sees them."""
        return SqliteRows(connection)

    def size(self, connection: sa.Connection) -> int:  # noqa: ARG002  # as in the protocol
        """Return how many bytes the file and its write-ahead log take."""
        return sum(path.stat().st_size for path in (self.path, Path(f"{self.path}-wal")) if path.exists())

    def mark(self, connection: sa.Connection) -> None:
        """Return nothing: a transaction whose commit failed is not tried again."""

    def took_place(self, connection: sa.Connection, mark: object) -> bool:  # noqa: ARG002  # as in the protocol
        """Return no: a transaction whose commit failed is not tried again."""
        return False

    def upsert_chunk(self, connection: sa.Connection, ids: Int64s, chunk: Chunk) -> int:
        """Insert the rows of a chunk, or replace the present values of their keys. Return how many differed."""
        return upsert_rows(connection, chunk.sort(ids), chunk.timestamps, chunk.values)
