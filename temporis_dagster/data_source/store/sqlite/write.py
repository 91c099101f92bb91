"""Write: observations into ``temporis_observation``, for the store and for the mirror, which has the same table.

Comes in: a connection inside a write transaction, and the columns of some observations in the order of the table's
key, which is the fastest to insert. Goes out: rows, and how many of them differ from what was there.
Never: begins or commits a transaction, or decides which observations are written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Floats
from temporis_dagster.data_source.store.sqlite.file import PARAMETERS
from temporis_dagster.data_source.store.sqlite.schema import NEGATIVE_ZERO

ROWS_PER_STATEMENT = 1_000 if sqlite3.sqlite_version_info >= (3, 32) else PARAMETERS // 3
"""Each row takes three parameters. SQLite 3.32 raised the limit from 999 parameters to 32,766."""


def storable(values: Floats) -> list[float | str]:
    """Return values as the tables hold them: numbers, and the text that stands for -0.0."""
    stored: list[float | str] = values.tolist()
    for position in np.flatnonzero((values == 0) & np.signbit(values)).tolist():
        stored[position] = NEGATIVE_ZERO
    return stored


def upsert_rows(
    connection: sa.Connection,
    series: Sequence[int],
    timestamps: Sequence[int],
    values: Sequence[float | str],
    batch: int | None = None,
) -> int:
    """Insert these rows, or replace the present values of their keys.

    Args:
        connection: A connection inside a write transaction.
        series: The ids of their series, ascending.
        timestamps: Unix seconds, ascending within each series.
        values: What ``storable`` made of their values.
        batch: Which batch of a mirror carries the rows; None for a store, whose table has no such column.

    Returns:
        How many rows were written. A store does not write what it already has, bit for bit.
    """
    parameters: list[float | str] = [0] * (3 * len(series))
    parameters[0::3], parameters[1::3], parameters[2::3] = series, timestamps, values
    written = 0
    for start in range(0, len(parameters), 3 * ROWS_PER_STATEMENT):
        block = tuple(parameters[start : start + 3 * ROWS_PER_STATEMENT])
        written += connection.exec_driver_sql(_statement(len(block) // 3, batch), block).rowcount
    return written


@lru_cache(maxsize=16)
def _statement(rows: int, batch: int | None) -> str:
    columns, row, change = "", "(?,?,?)", "value = excluded.value WHERE value IS NOT excluded.value"
    if batch is not None:
        # The batch stands in the text: one more parameter per row would cost more than preparing each batch's
        # statements anew.
        columns, row, change = ", batch", f"(?,?,?,{batch})", "value = excluded.value, batch = excluded.batch"
    return (
        f"INSERT INTO temporis_observation (series, timestamp, value{columns}) VALUES {','.join([row] * rows)}"  # noqa: S608 no data in it
        f" ON CONFLICT (series, timestamp) DO UPDATE SET {change}"
    )
