"""Rows: the keys and values that a batch carries, as two arrays.

Comes in: arrays, or the bytes in which a batch keeps them. Goes out: either made from the other, and what two batches
have in common.
Never: touches the database.

A key is one integer: the series' id in the upper bits, the seconds since the earliest timestamp in the lower 38.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask, Observations, Origin, Seconds

TIME_BITS = (TIMESTAMP_LIMIT - FIRST_TIMESTAMP).bit_length()
SERIES_LIMIT = 2 ** (63 - TIME_BITS)
"""The number of series, 33 million, that a mirror stays below."""

WIDEST_TABLE = 1_000_000


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows, each key at most once.

    Attributes:
        keys: Their keys, one integer each.
        values: Their values, in the same order.
    """

    keys: Int64s
    values: Floats

    @classmethod
    def from_bytes(cls, keys: bytes, values: bytes) -> Rows:
        """Return the rows that ``to_bytes`` turned into these bytes."""
        return cls(np.frombuffer(keys, dtype="<i8"), np.frombuffer(values, dtype="<f8"))

    def to_bytes(self) -> tuple[bytes, bytes]:
        """Return keys and values, 8 bytes each, little-endian."""
        return self.keys.astype("<i8", copy=False).tobytes(), self.values.astype("<f8", copy=False).tobytes()

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, mask: Mask) -> Rows:
        """Return the rows that the mask selects."""
        return Rows(self.keys[mask], self.values[mask])

    def series_ids(self) -> list[int]:
        """Return the different series, ascending, without sorting all rows where ids are dense."""
        series = self.keys >> TIME_BITS
        low, high = (int(series.min()), int(series.max())) if len(series) else (0, 0)
        if high - low >= WIDEST_TABLE:
            sparse: list[int] = np.unique(series).tolist()
            return sparse
        seen = np.zeros(high - low + 1, dtype=np.bool_)
        seen[series - low] = True
        dense: list[int] = (np.flatnonzero(seen) + low).tolist()
        return dense

    def extent(self) -> tuple[int, int, int, int]:
        """Return the first and last key, and the first and last time part of a key."""
        if not len(self.keys):
            return 0, 0, 0, 0
        times = self.keys & (2**TIME_BITS - 1)
        return int(self.keys.min()), int(self.keys.max()), int(times.min()), int(times.max())

    def shares_a_key_with(self, ascending: Int64s) -> bool:
        """Return whether any of these keys, in ascending order, is among the rows."""
        if not len(ascending):
            return False
        at = np.searchsorted(ascending, self.keys)
        at[at == len(ascending)] = 0
        return bool((ascending[at] == self.keys).any())


class Present(NamedTuple):
    """What the mirror has for some of the keys that were asked for.

    Attributes:
        found: The place of each among the keys.
        values: Its present value.
        batches: The batch that carries it.
    """

    found: Int64s
    values: Floats
    batches: Int64s


def packed(series: Int64s, timestamps: Seconds) -> Int64s:
    """Return the keys of observations, given as series ids and Unix seconds."""
    return (series << TIME_BITS) | (timestamps.astype(np.int64) - FIRST_TIMESTAMP)


def unpacked(keys: Int64s) -> tuple[Int64s, Int64s]:
    """Return the series ids and the timestamps of keys."""
    return keys >> TIME_BITS, (keys & (2**TIME_BITS - 1)) + FIRST_TIMESTAMP


def same_bits(ours: Floats, theirs: Floats) -> Mask:
    """Return where two arrays of values are equal bit for bit: 0.0 and -0.0 are not."""
    return np.equal(ours.view(np.int64), theirs.view(np.int64))


class Risk:
    """Until when a different value may still arrive, for each of some rows.

    Args:
        rows: The rows in question.

    Attributes:
        until: For each row, the moment in Unix seconds, or 0.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._order = np.argsort(rows.keys, kind="stable")
        self._sorted = rows.keys[self._order]
        self.until = np.zeros(len(rows))

    def add(self, doubtful: Rows, until: float) -> None:
        """Take a doubtful batch into account."""
        found = np.searchsorted(self._sorted, doubtful.keys)
        found[found == len(self._sorted)] = 0
        match = self._sorted[found] == doubtful.keys
        mine, theirs = self._order[found[match]], doubtful.values[match]
        at_risk = mine[~same_bits(self._rows.values[mine], theirs)]
        self.until[at_risk] = np.maximum(self.until[at_risk], until)


def observations(rows: Rows, names: Mapping[int, str]) -> Observations:
    """Return the rows as observations, in their order.

    Args:
        rows: The rows.
        names: The names of the series by their ids.
    """
    series, timestamps = unpacked(rows.keys)
    ids = rows.series_ids()
    codes = np.searchsorted(ids, series)
    return Observations(
        timestamps, codes, tuple(names[number] for number in ids), rows.values, Origin(pd.RangeIndex(len(rows)))
    )
