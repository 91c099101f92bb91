"""Read back from a SQLite file: the observations of series, one series after the other.

Comes in: a connection inside a transaction, ids of series, a window of time. Goes out: arrays.
Never: holds more than one series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sqlite.file import driver

ROWS = (
    "SELECT timestamp, value FROM temporis_observation"
    " WHERE series = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp"
)


def series_rows(connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
    """Yield the series that have observations in the window, in the order of ``ids``."""
    cursor = driver(connection).cursor()
    for name, number in ids.items():
        found = cursor.execute(ROWS, (number, *window))
        # One flat run of floats takes half the time of tuples. Timestamps are far below 2**53, so floats hold them
        # exactly; and the text that stands for -0.0 becomes -0.0.
        pairs = np.fromiter(chain.from_iterable(found), dtype=np.float64).reshape(-1, 2)
        if len(pairs):
            yield SeriesRows(name, integers(pairs[:, 0]), pairs[:, 1].copy())


def integers(column: Floats) -> Int64s:
    """Convert whole numbers that were read from the file as floats.

    Args:
        column: Whole numbers below 2**53, as floats.

    Raises:
        ArithmeticError: One of them is beyond int64: the file is damaged.
        ValueError: One of them is not whole: the file is damaged.
    """
    with np.errstate(invalid="raise"):
        whole = column.astype(np.int64)
    if (whole != column).any():
        raise ValueError("a number that must be whole is not")
    return whole
