"""PostgresStatements: what the mirror says to PostgreSQL in its dialect.

Comes in: a connection inside a transaction. Goes out: the ``Statements`` protocol.
Never: commits, or decides anything about a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror.postgres import schema
from temporis_dagster.data_source.mirror.rows import Present, Rows, unpacked
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.postgres import lookup, read
from temporis_dagster.data_source.store.postgres.arrays import (
    Float8Array,
    Int4Array,
    Int8Array,
    TextArray,
    copy_rows,
)
from temporis_dagster.data_source.store.postgres.server import WRITES, driver
from temporis_dagster.data_source.store.postgres.stored import PostgresRows
from temporis_dagster.data_source.store.postgres.write import FEWEST_TO_COPY
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source

LOCK = "SELECT 1 FROM temporis_data_source WHERE id = %s FOR NO KEY UPDATE"

NOW = "SELECT extract(epoch FROM clock_timestamp())::double precision"

COPY = 'COPY temporis_observation (series, "timestamp", value, batch) FROM STDIN (FORMAT BINARY)'

# Not UPDATE ... FROM unnest: that may be planned as a scan of the whole table.
UPSERT = """
INSERT INTO temporis_observation (series, "timestamp", value, batch) SELECT *, {batch} FROM unnest(%b, %b, %b)
ON CONFLICT (series, "timestamp") DO UPDATE SET value = excluded.value, batch = excluded.batch
"""

CARRY = """
UPDATE temporis_observation AS o SET batch = {batch} FROM unnest(%b, %b) AS k (series, "timestamp")
WHERE o.series = k.series AND o."timestamp" = k."timestamp"
"""

FORGET = """
DELETE FROM {table} AS o USING unnest(%b, %b) AS k (series, "timestamp")
WHERE o.series = k.series AND o."timestamp" = k."timestamp"
"""

REJECT = """
INSERT INTO temporis_mirror_rejected (series, "timestamp", value, reason, rejected_at)
SELECT *, %s FROM unnest(%b, %b, %b, %b)
ON CONFLICT (series, "timestamp")
DO UPDATE SET value = excluded.value, reason = excluded.reason, rejected_at = excluded.rejected_at
"""

REJECTED = """
SELECT k.place, r.value, r.reason FROM unnest(%b, %b) WITH ORDINALITY AS k (series, "timestamp", place)
JOIN temporis_mirror_rejected AS r ON r.series = k.series AND r."timestamp" = k."timestamp"
"""


class PostgresStatements:
    """The dialect of PostgreSQL. Implements ``Statements``."""

    own_place = "a database of its own, or a schema, with ?options=-csearch_path%3Dmirror at the end of its URL"

    def now(self, connection: sa.Connection) -> float:
        """Return Unix seconds by the server's clock, as it is now."""
        return float(connection.exec_driver_sql(NOW).scalar_one())

    def is_mirror(self, connection: sa.Connection) -> bool:
        """Return whether the store is a mirror."""
        made = "SELECT to_regclass('temporis_mirror') IS NOT NULL FROM temporis_store"
        return bool(connection.exec_driver_sql(made).scalar())

    def is_unused(self, connection: sa.Connection) -> bool:
        """Return whether there is no account yet. In a transaction that writes, none is made until its end."""
        if connection.info[WRITES]:
            connection.exec_driver_sql("LOCK TABLE temporis_account IN SHARE ROW EXCLUSIVE MODE")
        return connection.exec_driver_sql("SELECT 1 FROM temporis_account LIMIT 1").first() is None

    def migrate(self, connection: sa.Connection, version: int) -> None:
        """Bring the tables of a mirror from a version, 0 for none, to the current one."""
        schema.migrate(connection, version)

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source. A transaction that writes locks its row until its end."""
        then = " FOR NO KEY UPDATE OF s" if connection.info[WRITES] else ""
        return sources.find(connection, account, name, then=then)

    def lock(self, connection: sa.Connection, source: int) -> None:
        """Wait until no other transaction writes about this data source. What is read from then on is the newest."""
        driver(connection).execute(LOCK, (source,))

    def series(self, connection: sa.Connection, source: Source, names: Sequence[str] | None) -> Mapping[str, int]:
        """Return the ids of those of these series that exist, by name; of all series for None."""
        return read.series_of(driver(connection), source, names)

    def ensured_series(self, connection: sa.Connection, source: Source, names: Sequence[str]) -> Mapping[str, int]:
        """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
        return read.ensured_series(driver(connection), source, names)

    def series_rows(self, connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
        """Yield the series that have observations in the window, in the order of ``ids``."""
        return read.series_rows(driver(connection), ids, window)

    def stored_rows(self, connection: sa.Connection) -> PostgresRows:
        """Return the observations as the transaction sees them."""
        return PostgresRows(driver(connection))

    def new_id(self, connection: sa.Connection, statement: str, parameters: Sequence[object]) -> int:
        """Insert a row, and return the id that it was given: a larger one than any before it of its data source."""
        return int(sources.run(connection, f"{statement} RETURNING id", parameters).scalar_one())

    def present(self, connection: sa.Connection, keys: Int64s) -> Present:
        """Return what the mirror has for these keys."""
        order = np.argsort(keys, kind="stable")
        with driver(connection).cursor(binary=True) as cursor:
            found = lookup.present(cursor, lookup.Keys(*unpacked(keys[order])), batches=True)
        return Present(order[found.places], found.values, found.batches)

    def upsert_rows(self, connection: sa.Connection, rows: Rows, batch: int) -> None:
        """Make rows, sorted by their keys, the current ones of their keys, carried by a batch.

        Those of keys that are not there yet are copied, which costs the server a third of inserting them.
        """
        is_new = np.ones(len(rows), dtype=np.bool_)
        with driver(connection).cursor(binary=True) as cursor:
            is_new[lookup.present(cursor, lookup.Keys(*unpacked(rows.keys))).places] = False
            if np.count_nonzero(is_new) < FEWEST_TO_COPY:
                is_new[:] = False
            else:
                new = rows.take(is_new)
                with cursor.copy(COPY) as copy:
                    copy.write(copy_rows(*unpacked(new.keys), new.values, batch))
            left = rows.take(~is_new)
            if len(left):
                cursor.execute(UPSERT.format(batch=batch), (*_arrays(left.keys), Float8Array(left.values)))

    def carry(self, connection: sa.Connection, keys: Int64s, batch: int) -> None:
        """Let a batch carry the observations of these keys."""
        driver(connection).execute(CARRY.format(batch=batch), _arrays(keys))

    def forget(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the observations of these keys."""
        driver(connection).execute(FORGET.format(table="temporis_observation"), _arrays(keys))

    def keep_rejected(self, connection: sa.Connection, rows: Rows, reasons: Sequence[str], at: float) -> None:
        """Keep rows that the service rejected, in the place of those of the same keys."""
        columns = (*_arrays(rows.keys), Float8Array(rows.values), TextArray(reasons))
        driver(connection).execute(REJECT, (at, *columns))

    def forget_rejected(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the rejected rows of these keys."""
        driver(connection).execute(FORGET.format(table="temporis_mirror_rejected"), _arrays(keys))

    def rejected(self, connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
        """Return the rejected value of each of these keys, and the reason; None for the reason where there is none."""
        found = list[tuple[float, str | None]]([(0.0, None)] * len(keys))
        for place, value, reason in driver(connection).execute(REJECTED, _arrays(keys)):
            found[place - 1] = value, reason
        return found


def _arrays(keys: Int64s) -> tuple[Int4Array, Int8Array]:
    series, timestamps = unpacked(keys)
    return Int4Array(series), Int8Array(timestamps)


POSTGRES = PostgresStatements()
