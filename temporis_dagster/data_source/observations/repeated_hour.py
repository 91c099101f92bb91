"""The repeated hour: which pass of the clock each row belongs to, inferred from the order of the rows.

The rows of one series within a day of the hour must go strictly forward in time, or strictly backward, in exactly one
of two readings. Forward: the rows before the one step back of the clock are the first pass. Backward: the rows after
the one step ahead are. Then every instant follows from the order. From any other order nothing follows: pairs (02:00,
02:00, 02:15, 02:15), a shuffle, an hour that is there once, ends of intervals (03:00 comes twice, 02:00 once). In a
wide frame the rows of the index are in that order, and two rows of one clock time must not hold values of different
columns: they may be one moment that was written twice, once per column.

Comes in: a wall clock's seconds and their two readings, series by series. Goes out: the pass of each row, or why not.
Never: takes the order of rows for time order unless it shows one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.observations.model import Int64s, Mask, SeriesOfRows

DAY_S = 86_400


class Unclear(enum.Enum):
    """Why the pass cannot be inferred."""

    ONLY_ONCE = "only one of its two passes is there"
    DISORDER = "around it the rows go neither forward nor backward in time"
    NO_COLUMN = "no column holds a value in both of its passes"
    NO_DIRECTION = "no row around it shows whether they go forward or backward in time"


@dataclass(frozen=True, eq=False)
class Passes:
    """What was inferred.

    Attributes:
        second: Which rows are of the second pass.
        unclear: Rows whose pass cannot be inferred, and why.
        merging: Whether one clock time occurs twice in one series, so that reading all of them as one pass would make
            one observation out of two.
    """

    second: Mask
    unclear: list[tuple[Int64s, Unclear]]
    merging: bool


def infer_passes(first: Int64s, second: Int64s, wall: Int64s, known: Mask, series: SeriesOfRows | None) -> Passes:
    """Infer the passes of the repeated hours of a column.

    Args:
        first: Each row's instant if it is in the first pass; the same as ``second`` where the clock showed it once.
        second: Each row's instant if it is in the second pass.
        wall: What the clock showed, in seconds.
        known: Which rows have an instant at all.
        series: The series of each row; None for one series.
    """
    repeated = (first != second) & known
    passes = np.zeros(len(wall), dtype=np.bool_)
    unclear, merging = list[tuple[Int64s, Unclear]](), False
    for rows in _around_each_change(wall, repeated, known, series):
        twice = repeated[rows]
        merging |= _has_equal(wall[rows])
        found = _passes_of_one(first[rows], second[rows], twice)
        if series is not None and series.ndim == 2 and not isinstance(found, Unclear):  # noqa: PLR2004
            found = found if _of_one_column(wall[rows][twice], series[rows][twice]) else Unclear.NO_COLUMN
        if isinstance(found, Unclear):
            unclear.append((rows[twice], found))
        else:
            passes[rows] = found
    return Passes(passes, unclear, merging)


def _around_each_change(wall: Int64s, repeated: Mask, known: Mask, series: SeriesOfRows | None) -> Iterator[Int64s]:
    """Yield the rows within a day of each repeated hour, in their order, one series at a time."""
    times = np.unique(wall[repeated])
    for hour in np.split(times, np.flatnonzero(np.diff(times) > DAY_S) + 1):
        rows = np.flatnonzero(known & (wall >= hour[0] - DAY_S) & (wall <= hour[-1] + DAY_S))
        if series is None or series.ndim == 2:  # noqa: PLR2004  # columns
            yield rows
            continue
        codes = series[rows]
        order = np.argsort(codes, kind="stable")
        for part in np.split(rows[order], np.flatnonzero(np.diff(codes[order])) + 1):
            if repeated[part].any():
                yield part


def _passes_of_one(first: Int64s, second: Int64s, repeated: Mask) -> Mask | Unclear:
    forward = _forward(first, second, repeated)
    backward = _forward(first[::-1], second[::-1], repeated[::-1])
    if forward is Unclear.DISORDER:
        return backward if isinstance(backward, Unclear) else backward[::-1]
    if backward is Unclear.DISORDER:
        return forward
    neither = isinstance(forward, Unclear) and isinstance(backward, Unclear)
    return Unclear.ONLY_ONCE if neither else Unclear.NO_DIRECTION


def _of_one_column(wall: Int64s, held: Mask) -> bool:
    """Return whether rows of one clock time are observations of one column, not of two columns that take turns."""
    order = np.argsort(wall, kind="stable")
    one, other = order[:-1], order[1:]
    same = wall[one] == wall[other]
    one, other = held[one[same]], held[other[same]]
    apart = one.any(axis=1) & other.any(axis=1) & ~(one & other).any(axis=1)
    return not apart.all()


def _forward(first: Int64s, second: Int64s, repeated: Mask) -> Mask | Unclear:
    """Return the rows of the second pass if the rows go forward in time."""
    places = np.flatnonzero(repeated)
    steps_back = np.flatnonzero(np.diff(first[places]) <= 0)
    passes = np.zeros(len(first), dtype=np.bool_)
    if len(steps_back) == 1:
        passes[places[steps_back[0] + 1 :]] = True
    instants = np.where(passes, second, first)
    if len(steps_back) > 1 or (np.diff(instants) < 0).any():
        return Unclear.DISORDER
    return passes if len(steps_back) else Unclear.ONLY_ONCE


def _has_equal(wall: Int64s) -> bool:
    return len(np.unique(wall)) < len(wall)
