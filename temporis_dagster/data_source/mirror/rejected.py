"""Rejected: the rows that the service rejected, kept with its reason until the user decides about them.

Comes in: a transaction, or a connection inside one. Goes out: frames and counts.
Never: deletes a row without being asked to, except where a newer write of its key takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.rows import Rows, packed
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store.sources import run

OF_SOURCE = "series IN (SELECT id FROM temporis_series WHERE data_source = ?)"


def keep(tx: Transaction, rows: Rows, reasons: Sequence[str]) -> None:
    """Move these rows, the current ones of their keys, to the rejected ones."""
    statements = statements_of(tx.connection)
    statements.keep_rejected(tx.connection, rows, reasons, tx.now)
    statements.forget(tx.connection, rows.keys)


def outdated(tx: Transaction, keys: Int64s) -> None:
    """Delete the rejected rows of these keys, because newer writes replace them."""
    if not count(tx.connection, tx.source):
        return
    kept = _rows(tx.connection, tx.source).keys
    statements_of(tx.connection).forget_rejected(tx.connection, kept[np.isin(kept, keys)])


def count(connection: sa.Connection, source: int) -> int:
    """Return the number of rejected rows of a data source."""
    if connection.exec_driver_sql("SELECT 1 FROM temporis_mirror_rejected LIMIT 1").first() is None:
        return 0
    sql = f"SELECT count(*) FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    return int(run(connection, sql, (source,)).scalar_one())


def reasons(connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
    """Return which value of each of these keys was refused, and why; the reason is None where none was."""
    return statements_of(connection).rejected(connection, keys)


def frame(connection: sa.Connection, source: int) -> pd.DataFrame:
    """Return the rejected rows as columns timestamp, name, value, reason, rejected_at; sorted by timestamp and name."""
    found = run(
        connection,
        "SELECT r.timestamp, s.name, r.value, r.reason, r.rejected_at FROM temporis_mirror_rejected r"
        " JOIN temporis_series s ON s.id = r.series WHERE s.data_source = ? ORDER BY r.timestamp, s.name",
        (source,),
    ).all()
    timestamps, names, values, reasons, moments = zip(*found, strict=True) if found else ((),) * 5
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(np.array(timestamps, dtype="datetime64[s]")).tz_localize("UTC"),
            "name": pd.Series(names, dtype=str),
            "value": np.array([float(value) for value in values], dtype=np.float64),
            "reason": pd.Series(reasons, dtype=object),
            "rejected_at": pd.DatetimeIndex(np.array(moments, dtype=np.float64).astype("datetime64[s]")).tz_localize(
                "UTC"
            ),
        }
    )


def take_all(tx: Transaction) -> Rows:
    """Remove the rejected rows, and return them."""
    rows = _rows(tx.connection, tx.source)
    run(tx.connection, f"DELETE FROM temporis_mirror_rejected WHERE {OF_SOURCE}", (tx.source,))  # noqa: S608
    return rows


def _rows(connection: sa.Connection, source: int) -> Rows:
    sql = f"SELECT series, timestamp, value FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    found = run(connection, sql, (source,)).all()
    series = np.array([row[0] for row in found], dtype=np.int64)
    timestamps = np.array([row[1] for row in found], dtype=np.int64)
    return Rows(packed(series, timestamps), np.array([float(row[2]) for row in found], dtype=np.float64))
