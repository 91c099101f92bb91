"""Rejected: the rows that the service rejected, kept with its reason until the user decides about them.

Comes in: a transaction, or a connection inside one. Goes out: frames and counts.
Never: deletes a row without being asked to, except where a newer write of its key takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.rows import Rows, packed, unpacked
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store.sqlite.write import storable

OF_SOURCE = "series IN (SELECT id FROM temporis_series WHERE data_source = ?)"


def keep(tx: Transaction, rows: Rows, reasons: Sequence[str]) -> None:
    """Move these rows, the current ones of their keys, to the rejected ones."""
    series, timestamps = unpacked(rows.keys)
    for number, timestamp, value, reason in zip(
        series.tolist(), timestamps.tolist(), storable(rows.values), reasons, strict=True
    ):
        tx.connection.exec_driver_sql(
            "INSERT INTO temporis_mirror_rejected VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET value = excluded.value, reason = excluded.reason, rejected_at = excluded.rejected_at",
            (number, timestamp, value, reason, tx.now),
        )
    batches.forget(tx.connection, rows.keys)


def outdated(tx: Transaction, keys: Int64s) -> None:
    """Delete the rejected rows of these keys, because newer writes replace them."""
    if not count(tx.connection, tx.source):
        return
    kept = _rows(tx.connection, tx.source).keys
    series, timestamps = unpacked(kept[np.isin(kept, keys)])
    for number, timestamp in zip(series.tolist(), timestamps.tolist(), strict=True):
        tx.connection.exec_driver_sql(
            "DELETE FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?", (number, timestamp)
        )


def count(connection: sa.Connection, source: int) -> int:
    """Return the number of rejected rows of a data source."""
    if connection.exec_driver_sql("SELECT 1 FROM temporis_mirror_rejected LIMIT 1").first() is None:
        return 0
    sql = f"SELECT count(*) FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    return int(connection.exec_driver_sql(sql, (source,)).scalar_one())


def reasons(connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
    """Return which value of each of these keys was refused, and why; the reason is None where none was."""
    series, timestamps = unpacked(keys)
    sql = "SELECT value, reason FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?"
    found = (
        connection.exec_driver_sql(sql, key).first() for key in zip(series.tolist(), timestamps.tolist(), strict=True)
    )
    return [(0.0, None) if row is None else (float(row[0]), str(row[1])) for row in found]


def frame(connection: sa.Connection, source: int) -> pd.DataFrame:
    """Return the rejected rows as columns timestamp, name, value, reason, rejected_at; sorted by timestamp and name."""
    found = connection.exec_driver_sql(
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
    tx.connection.exec_driver_sql(f"DELETE FROM temporis_mirror_rejected WHERE {OF_SOURCE}", (tx.source,))  # noqa: S608
    return rows


def _rows(connection: sa.Connection, source: int) -> Rows:
    sql = f"SELECT series, timestamp, value FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    found = connection.exec_driver_sql(sql, (source,)).all()
    series = np.array([row[0] for row in found], dtype=np.int64)
    timestamps = np.array([row[1] for row in found], dtype=np.int64)
    return Rows(packed(series, timestamps), np.array([float(row[2]) for row in found], dtype=np.float64))
