"""Rejected: the rows that the service refused, kept with its reason until somebody decides.

Comes in: a connection inside a transaction. Goes out: frames and counts.
Never: deletes a row that nobody asked to delete, except where a newer write of its key took its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches
from temporis_dagster.data_source.mirror.rows import Rows, packed, unpacked
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store.write import storable

OF_SOURCE = "series IN (SELECT id FROM temporis_series WHERE data_source = ?)"


def keep(connection: sa.Connection, rows: Rows, reasons: Sequence[str], now: float) -> None:
    """Move these rows, which are what the mirror has for their keys, to the rejected ones."""
    series, timestamps = unpacked(rows.keys)
    for number, timestamp, value, reason in zip(
        series.tolist(), timestamps.tolist(), storable(rows.values), reasons, strict=True
    ):
        connection.exec_driver_sql(
            "INSERT INTO temporis_mirror_rejected VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET value = excluded.value, reason = excluded.reason, rejected_at = excluded.rejected_at",
            (number, timestamp, value, reason, now),
        )
    batches.forget(connection, rows.keys)


def outdated(connection: sa.Connection, source: int, keys: Int64s) -> None:
    """Newer writes of these keys take the place of rejected ones."""
    if not count(connection, source):
        return
    kept = _rows(connection, source).keys
    series, timestamps = unpacked(kept[np.isin(kept, keys)])
    for number, timestamp in zip(series.tolist(), timestamps.tolist(), strict=True):
        connection.exec_driver_sql(
            "DELETE FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?", (number, timestamp)
        )


def count(connection: sa.Connection, source: int) -> int:
    """How many there are."""
    if connection.exec_driver_sql("SELECT 1 FROM temporis_mirror_rejected LIMIT 1").first() is None:
        return 0
    sql = f"SELECT count(*) FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    return int(connection.exec_driver_sql(sql, (source,)).scalar_one())


def reasons(connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
    """Which value of each of these keys was refused, and why; None as the reason where none was."""
    series, timestamps = unpacked(keys)
    sql = "SELECT value, reason FROM temporis_mirror_rejected WHERE series = ? AND timestamp = ?"
    found = (
        connection.exec_driver_sql(sql, key).first() for key in zip(series.tolist(), timestamps.tolist(), strict=True)
    )
    return [(0.0, None) if row is None else (float(row[0]), str(row[1])) for row in found]


def frame(connection: sa.Connection, source: int) -> pd.DataFrame:
    """Columns timestamp, name, value, reason, rejected_at; by time and name."""
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


def take_all(connection: sa.Connection, source: int) -> Rows:
    """Remove them from where they are kept."""
    rows = _rows(connection, source)
    connection.exec_driver_sql(f"DELETE FROM temporis_mirror_rejected WHERE {OF_SOURCE}", (source,))  # noqa: S608
    return rows


def _rows(connection: sa.Connection, source: int) -> Rows:
    sql = f"SELECT series, timestamp, value FROM temporis_mirror_rejected WHERE {OF_SOURCE}"  # noqa: S608 no data in it
    found = connection.exec_driver_sql(sql, (source,)).all()
    series = np.array([row[0] for row in found], dtype=np.int64)
    timestamps = np.array([row[1] for row in found], dtype=np.int64)
    return Rows(packed(series, timestamps), np.array([float(row[2]) for row in found], dtype=np.float64))
