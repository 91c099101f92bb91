"""StoredRows: what is asked of the stored rows of a database in one transaction, besides whole series.

Comes in: nothing. Goes out: the protocol that ``SqliteRows`` and ``PostgresRows`` implement, and its values.
Never: does what the protocol describes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask


class Ranges(NamedTuple):
    """Ranges of time, each of one series: the id of the series, the first second, and the one after the last."""

    series: Int64s
    firsts: Int64s
    ends: Int64s

    def take(self, rows: slice | Mask | Int64s) -> Ranges:
        """Return some of them."""
        return Ranges(self.series[rows], self.firsts[rows], self.ends[rows])


class Differing(NamedTuple):
    """Those of some rows that are not stored with the same value, bit for bit.

    Attributes:
        places: The place of each among the rows that were asked about.
        is_new: Whether nothing is stored for its key.
        values: What is stored for its key; any number where it is new.
    """

    places: Int64s
    is_new: Mask
    values: Floats

    @classmethod
    def among(cls, values: Floats, present: Int64s, stored: Floats) -> Differing:
        """Compare rows with what is stored: the places of those that are, and the values that are stored for them."""
        is_new, before = np.ones(len(values), dtype=np.bool_), values.copy()
        is_new[present], before[present] = False, stored
        places = np.flatnonzero(is_new | (before.view(np.int64) != values.view(np.int64)))
        return cls(places, is_new[places], before[places])


class Page(NamedTuple):
    """Rows of one series, in time order."""

    timestamps: Int64s
    values: Floats


class Found(NamedTuple):
    """Rows of some ranges.

    Attributes:
        places: The place of each row's range among those that were asked about, ascending.
        timestamps: Unix seconds, ascending within each range.
        values: The values.
    """

    places: Int64s
    timestamps: Int64s
    values: Floats


class Extremes(NamedTuple):
    """The lowest and the highest value of those of some ranges that hold a row.

    Attributes:
        places: The place of each of these ranges among those that were asked about, ascending.
        lows: The lowest values.
        highs: The highest values.
    """

    places: Int64s
    lows: Floats
    highs: Floats


class StoredRows(Protocol):
    """The stored rows, as the transaction at hand sees them."""

    def differing(self, series: Int64s, timestamps: Int64s, values: Floats) -> Differing:
        """Look up the keys of rows, which are sorted by series and time, and compare the values."""
        ...

    def counts(self, ranges: Ranges, most: int | None = None) -> Int64s:
        """Count the rows of each range, up to ``most`` of each."""
        ...

    def page(self, series: int, first: int, end: int, most: int) -> Page:
        """Read the first rows of a range."""
        ...

    def latest(self, series: Int64s) -> tuple[Int64s, Page]:
        """Read the last row of each series: the places of the series that have one, and these rows."""
        ...

    def oldest(self, ranges: Ranges, most: int) -> Found:
        """Read the first rows of each range, up to ``most`` of each."""
        ...

    def newest(self, ranges: Ranges, most: int) -> Found:
        """Read the last rows of each range, up to ``most`` of each."""
        ...

    def extremes(self, ranges: Ranges) -> Extremes:
        """Return the lowest and the highest value of each range that holds a row."""
        ...

    def earliest(self, series: Int64s, start: int) -> int | None:
        """Return the first second, not before ``start``, at which one of these series has a row."""
        ...

    def delete(self, ranges: Ranges) -> int:
        """Delete the rows of these ranges, in a transaction that writes. Return how many there were."""
        ...
