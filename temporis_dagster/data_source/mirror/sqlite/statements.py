"""SqliteStatements: what the mirror says to SQLite in its dialect.

Comes in: a connection inside a transaction. Goes out: the ``Statements`` protocol.
Never: commits, or decides anything about a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from temporis_dagster.data_source.mirror.rows import Present, Rows, unpacked
from temporis_dagster.data_source.mirror.sqlite import lookup, schema
from temporis_dagster.data_source.mirror.sqlite.lookup import blocks, parameters, places
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.sqlite import series
from temporis_dagster.data_source.store.sqlite.read import series_rows
from temporis_dagster.data_source.store.sqlite.stored import SqliteRows
from temporis_dagster.data_source.store.sqlite.write import storable, upsert_rows


class SqliteStatements:
    """The dialect of SQLite. Implements ``Statements``."""

    own_place = "a file of its own"

    def now(self, connection: sa.Connection) -> float:
        """Return Unix seconds by the clock of this machine, which all processes share."""
        return float(connection.exec_driver_sql("SELECT (julianday('now') - 2440587.5) * 86400.0").scalar_one())

    def is_mirror(self, connection: sa.Connection) -> bool:
        """Return whether the file is a mirror."""
        made = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'temporis_mirror'"
        return connection.exec_driver_sql(made).first() is not None

    def is_unused(self, connection: sa.Connection) -> bool:
        """Return whether there is no account in the file yet."""
        return connection.exec_driver_sql("SELECT 1 FROM temporis_account").first() is None

    def migrate(self, connection: sa.Connection, version: int) -> None:
        """Bring the tables of a mirror from a version, 0 for none, to the current one."""
        schema.migrate(connection, version)

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source. The lock of the file keeps other writers away from it."""
        return sources.find(connection, account, name)

    def lock(self, connection: sa.Connection, source: int) -> None:
        """Do nothing: a transaction that writes holds the lock of the file."""

    def series(self, connection: sa.Connection, source: Source, names: Sequence[str] | None) -> Mapping[str, int]:
        """Return the ids of those of these series that exist, by name; of all series for None."""
        return series.series_of(connection, source, names)

    def ensured_series(self, connection: sa.Connection, source: Source, names: Sequence[str]) -> Mapping[str, int]:
        """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
        return series.ensured_series(connection, source, names)

    def series_rows(self, connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
        """Yield the series that have observations in the window, in the order of ``ids``."""
        return series_rows(connection, ids, window)

    def stored_rows(self, connection: sa.Connection) -> SqliteRows:
        """Return the observations as the transaction sees them."""
        return SqliteRows(connection)

    def new_id(self, connection: sa.Connection, statement: str, parameters: Sequence[object]) -> int:
        """Insert a row, and return the id that it was given."""
        return int(connection.exec_driver_sql(statement, tuple(parameters)).lastrowid)

    def present(self, connection: sa.Connection, keys: Int64s) -> Present:
        """Return what the mirror has for these keys."""
        return lookup.present(connection, keys)

    def upsert_rows(self, connection: sa.Connection, rows: Rows, batch: int) -> None:
        """Make rows, sorted by their keys, the current ones of their keys, carried by a batch."""
        numbers, timestamps = unpacked(rows.keys)
        upsert_rows(connection, numbers, timestamps, rows.values, batch)

    def carry(self, connection: sa.Connection, keys: Int64s, batch: int) -> None:
        """Let a batch carry the observations of these keys."""
        for block in blocks(keys):
            connection.exec_driver_sql(
                f"WITH k (series, timestamp) AS (VALUES {places(block)}) UPDATE temporis_observation"  # noqa: S608 no data
                f" SET batch = {batch} WHERE (series, timestamp) IN k",
                parameters(block),
            )

    def forget(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the observations of these keys."""
        for block in blocks(keys):
            connection.exec_driver_sql(
                f"WITH k (series, timestamp) AS (VALUES {places(block)}) DELETE FROM temporis_observation"  # noqa: S608
                " WHERE (series, timestamp) IN k",
                parameters(block),
            )

    def keep_rejected(self, connection: sa.Connection, rows: Rows, reasons: Sequence[str], at: float) -> None:
        """Keep rows that the service rejected, in the place of those of the same keys."""
        columns = (*(column.tolist() for column in unpacked(rows.keys)), storable(rows.values), reasons)
        for row in zip(*columns, strict=True):
            connection.exec_driver_sql(
                "INSERT INTO temporis_mirror_rejected VALUES (?, ?, ?, ?, ?) ON CONFLICT (series, timestamp) DO UPDATE"
                " SET value = excluded.value, reason = excluded.reason, rejected_at = excluded.rejected_at",
                (*row, at),
            )

    def forget_rejected(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the rejected rows of these keys."""
        for key in zip(*(column.tolist() for column in unpacked(keys)), strict=True):
            connection.exec_driver_sql("DELETE FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?", key)

    def rejected(self, connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
        """Return the rejected value of each of these keys, and the reason; None for the reason where there is none."""
        sql = "SELECT value, reason FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?"
        columns = zip(*(column.tolist() for column in unpacked(keys)), strict=True)
        found = (connection.exec_driver_sql(sql, key).first() for key in columns)
        return [(0.0, None) if row is None else (float(row[0]), str(row[1])) for row in found]
