"""Write: observations into ``temporis_observation``, for the store and for the mirror, which has the same table.

Comes in: a connection inside a write transaction, and the columns of some observations in the order of the table's
key, which is the fastest to insert. Goes out: rows, and how many of them differ from what was there.
Never: begins or commits a transaction, or decides which observations are written.
"""

from __future__ import annotations

import sqlite3
import sys
from functools import lru_cache

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.sqlite.file import PARAMETERS, driver
from temporis_dagster.data_source.store.sqlite.schema import NEGATIVE_ZERO

ROWS_PER_STATEMENT = 1_000 if sqlite3.sqlite_version_info >= (3, 32) else PARAMETERS // 4
"""Each row takes at most four parameters. SQLite 3.32 raised the limit from 999 parameters to 32,766."""

SHARES = not (3, 12) <= sys.version_info < (3, 12, 4)
"""Whether one parameter, such as ``?1``, may stand in all rows. Python 3.12.0 to 3.12.3 take the number for a name, and
warn for each statement that a later version will refuse it, which it does not."""


def storable(values: Floats) -> list[float | str]:
    """Return values as the tables hold them: numbers, and the text that stands for -0.0."""
    stored: list[float | str] = values.tolist()
    for position in np.flatnonzero((values == 0) & np.signbit(values)).tolist():
        stored[position] = NEGATIVE_ZERO
    return stored


def upsert_rows(
    connection: sa.Connection, series: Int64s, timestamps: Int64s, values: Floats, batch: int | None = None
) -> int:
    """Insert these rows, or replace the present values of their keys.

    Args:
        connection: A connection inside a write transaction.
        series: The ids of their series, ascending.
        timestamps: Unix seconds, ascending within each series.
        values: Their values.
        batch: Which batch of a mirror carries the rows; None for a store, whose table has no such column.

    Returns:
        How many rows were written. A store does not write what it already has, bit for bit.
    """
    cursor, written = driver(connection).cursor(), 0
    seconds, numbers = timestamps.tolist(), storable(values)
    for start in range(0, len(series), ROWS_PER_STATEMENT):
        rows = slice(start, start + ROWS_PER_STATEMENT)
        some = series[rows]
        of_one = bool(some[0] == some[-1])
        # What all rows share is given once, which saves a quarter of the time.
        shared = [*([] if batch is None else [batch]), *([int(some[0])] if of_one else [])]
        columns = [*([] if of_one else [some.tolist()]), seconds[rows], numbers[rows]]
        if not SHARES:
            shared, columns = [], [*([one] * len(some) for one in shared), *columns]
        parameters: list[float | str] = [*shared, *[0] * (len(columns) * len(some))]
        for place, column in enumerate(columns, len(shared)):
            parameters[place :: len(columns)] = column
        statement = _statement(len(some), len(shared), in_batch=batch is not None)
        written += cursor.execute(statement, parameters).rowcount
    return written


@lru_cache(maxsize=16)
def _statement(rows: int, shared: int, *, in_batch: bool) -> str:
    columns = ["series", "timestamp", "value"]
    change = "value = excluded.value WHERE value IS NOT excluded.value"
    if in_batch:
        columns, change = ["batch", *columns], "value = excluded.value, batch = excluded.batch"
    # The numbered parameters come first; each of the others gets the next number.
    row = [f"?{number}" for number in range(1, shared + 1)] + ["?"] * (len(columns) - shared)
    values = ",".join([f"({','.join(row)})"] * rows)
    return (
        f"INSERT INTO temporis_observation ({', '.join(columns)}) VALUES {values}"  # noqa: S608 no data in it
        f" ON CONFLICT (series, timestamp) DO UPDATE SET {change}"
    )
