"""The best loop that we could write over the ``sqlite3`` driver: the same table, the same durability, sorted arrays.

It gets arrays: the names are numbers already, and the timestamps Unix seconds. All rows are brought into the order of
the key first, then go in with 1,000 rows per statement and 50,000 per transaction. Where all rows of a statement are of
one series, it is one parameter. Nothing is checked or reported.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

SETTINGS = (
    "all rows sorted by the key first, 1,000 rows per statement (one parameter for their series),"
    " 50,000 per transaction, WAL, synchronous=FULL"
)
ROWS_PER_STATEMENT, ROWS_PER_TRANSACTION = 1_000, 50_000
TABLE = """
CREATE TABLE observation (
    series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL, PRIMARY KEY (series, timestamp)
) WITHOUT ROWID
"""


def opened(path: Path) -> sqlite3.Connection:
    """A new file with the table."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
    connection.execute(TABLE)
    return connection


def arrays(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.Index]:
    """What it gets: numbers of series, Unix seconds, values; and the names by number."""
    codes, names = pd.factorize(frame["name"])
    return codes, frame["timestamp"].dt.as_unit("s").astype(np.int64).to_numpy(), frame["value"].to_numpy(), names


def upsert(connection: sqlite3.Connection, codes: np.ndarray, timestamps: np.ndarray, values: np.ndarray) -> None:
    """Insert what is new, and change what differs."""
    order = np.lexsort((timestamps, codes))
    for start in range(0, len(order), ROWS_PER_TRANSACTION):
        rows = order[start : start + ROWS_PER_TRANSACTION]
        series, seconds, numbers = codes[rows].tolist(), timestamps[rows].tolist(), values[rows].tolist()
        connection.execute("BEGIN IMMEDIATE")
        for first in range(0, len(rows), ROWS_PER_STATEMENT):
            some = slice(first, first + ROWS_PER_STATEMENT)
            count = len(series[some])
            if series[first] == series[first + count - 1]:
                flat: list[object] = [series[first], *[None] * (2 * count)]
                flat[1::2], flat[2::2] = seconds[some], numbers[some]
                connection.execute(statement("(?1,?,?)", count), flat)
            else:
                flat = [None] * (3 * count)
                flat[0::3], flat[1::3], flat[2::3] = series[some], seconds[some], numbers[some]
                connection.execute(statement("(?,?,?)", count), flat)
        connection.execute("COMMIT")


@lru_cache
def statement(row: str, rows: int) -> str:
    """The upsert of this number of rows."""
    return (
        f"INSERT INTO observation VALUES {','.join([row] * rows)} ON CONFLICT (series, timestamp)"
        " DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value"
    )


def read(connection: sqlite3.Connection, names: pd.Index) -> pd.DataFrame:
    """All rows as tuples, made into the frame that ``read`` returns."""
    rows = connection.execute("SELECT timestamp, series, value FROM observation").fetchall()
    timestamps, codes, values = zip(*rows, strict=True)
    frame = pd.DataFrame({"timestamp": timestamps, "name": names.take(np.array(codes)), "value": values})
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s", utc=True)
    return frame.sort_values(["timestamp", "name"], ignore_index=True)
