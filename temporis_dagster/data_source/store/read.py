"""Read back: rows and digests of what is stored.

Comes in: series with their observations, in the order of their names. Goes out: rows or a digest.
Never: knows which database they come from, or holds more than the arrays of the result and the series at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.reading import Rows

FIRST, LAST = -(2**63), 2**63 - 1
"""The range of the databases' integers."""


class Window(NamedTuple):
    """A window of time: first Unix second, and the one after the last, as numbers that a database takes."""

    start: int
    end: int


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
    def window(self) -> Window:
        """Start and end as numbers that a database takes."""
        start = FIRST if self.start is None else min(max(self.start, FIRST), LAST)
        end = LAST if self.end is None else min(max(self.end, FIRST), LAST)
        return Window(start, end)

    @property
    def possible_names(self) -> Sequence[str] | None:
        """The names that a series can have: a database cannot even be asked for others."""
        return self.names and [name for name in self.names if series_name_fault(name) is None]


class SeriesRows(NamedTuple):
    """The observations of one series, in time order."""

    name: str
    timestamps: Int64s
    values: Floats


def in_order(ids: Mapping[str, int]) -> Mapping[str, int]:
    """Return the series in the order of their names, by code point."""
    return dict(sorted(ids.items()))


def rows_of(series: Iterable[SeriesRows]) -> Rows:
    """Return the observations of series, which come in the order of their names, sorted by (timestamp, name)."""
    found = list(series)
    timestamps = np.concatenate([one.timestamps for one in found] or [np.empty(0, np.int64)])
    values = np.concatenate([one.values for one in found] or [np.empty(0)])
    codes = np.repeat(np.arange(len(found), dtype=np.int32), [len(one.timestamps) for one in found])
    names = [one.name for one in found]
    del found
    # The series come in the order of their names, so a stable sort by time alone leaves the rows sorted by both.
    order = np.argsort(timestamps, kind="stable")
    return Rows(timestamps[order], codes[order], names, values[order])


def digest(rows: Iterable[SeriesRows]) -> str:
    """Return the SHA-256 of the series in the order of their names. Lengths go first: no two contents look alike."""
    hashed = hashlib.sha256()
    for one in rows:
        name = one.name.encode()
        hashed.update(len(name).to_bytes(8, "little") + name + len(one.values).to_bytes(8, "little"))
        hashed.update(one.timestamps.astype("<i8").tobytes())
        hashed.update(one.values.astype("<f8").tobytes())
    return hashed.hexdigest()
