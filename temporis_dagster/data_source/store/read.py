"""Read back: frames and digests of what is stored.

Comes in: a connection inside a read transaction, a window of time, names. Goes out: a frame or a digest.
Never: holds more than the arrays of the result and the series at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.sqlite import driver

FIRST, LAST = -(2**63), 2**63 - 1
"""The range of SQLite's integers."""

ROWS = (
    "SELECT timestamp, value FROM temporis_observation"
    " WHERE series = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp"
)


class ReadBounds(NamedTuple):
    """What to read.

    Attributes:
        start: First Unix second; None for no lower bound.
        end: The Unix second after the last one; None for no upper bound.
        names: Exact names of series; None for all.
    """

    start: int | None
    end: int | None
    names: Sequence[str] | None

    @property
    def window(self) -> tuple[int, int]:
        """Start and end as numbers that SQLite takes."""
        start = FIRST if self.start is None else min(max(self.start, FIRST), LAST)
        end = LAST if self.end is None else min(max(self.end, FIRST), LAST)
        return start, end


class SeriesRows(NamedTuple):
    """The observations of one series, in time order."""

    name: str
    timestamps: Int64s
    values: Floats


def frame(connection: sa.Connection, source: sources.Source, bounds: ReadBounds) -> pd.DataFrame:
    """Return the observations: timestamp (datetime64[s, UTC]), name (str), value; sorted by (timestamp, name)."""
    series = list(series_rows(connection, source, bounds))
    timestamps = np.concatenate([one.timestamps for one in series] or [np.empty(0, np.int64)])
    values = np.concatenate([one.values for one in series] or [np.empty(0)])
    codes = np.repeat(np.arange(len(series), dtype=np.int32), [len(one.timestamps) for one in series])
    names = pd.Series([one.name for one in series], dtype=str).array
    del series
    # The series come in the order of their names, so a stable sort by time alone leaves the rows sorted by both.
    order = np.argsort(timestamps, kind="stable")
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(timestamps[order].astype("datetime64[s]")).tz_localize("UTC"),
            "name": names.take(codes[order]),
            "value": values[order],
        }
    )


def digest(connection: sa.Connection, source: sources.Source, bounds: ReadBounds) -> str:
    """Return the SHA-256 of the series in the order of their names. Lengths go first: no two contents look alike."""
    hashed = hashlib.sha256()
    for one in series_rows(connection, source, bounds):
        name = one.name.encode()
        hashed.update(len(name).to_bytes(8, "little") + name + len(one.values).to_bytes(8, "little"))
        hashed.update(one.timestamps.astype("<i8").tobytes())
        hashed.update(one.values.astype("<f8").tobytes())
    return hashed.hexdigest()


def series_rows(connection: sa.Connection, source: sources.Source, bounds: ReadBounds) -> Iterator[SeriesRows]:
    """Yield the series that have observations within the bounds, in the order of their names (by code point)."""
    ids = _wanted(connection, source, bounds.names)
    cursor = driver(connection).cursor()
    for name in sorted(ids):
        found = cursor.execute(ROWS, (ids[name], *bounds.window))
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


def _wanted(connection: sa.Connection, source: sources.Source, names: Sequence[str] | None) -> dict[str, int]:
    if names is None:
        return sources.all_series(connection, source)
    return sources.some_series(connection, source, [name for name in names if series_name_fault(name) is None])
