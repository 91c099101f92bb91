"""Pieces: reading in bounded memory what is stored series by series and wanted in the order of time.

Comes in: the stored rows as one transaction sees them, how far a reading has come. Goes out: the next window of time,
which holds few enough rows to be sorted in memory.
Never: holds rows, or a transaction from one piece to the next: a reader that is slow, forked or abandoned keeps nothing
open, and holds back neither SQLite's checkpoints nor PostgreSQL's vacuum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.reading import Reading
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.read import ReadBounds, Window
from temporis_dagster.data_source.store.stored import Ranges, StoredRows

FEWEST_ROWS = 250_000
"""A piece may hold this many rows even if batches are smaller: each costs a query per series."""

ROWS_PER_SERIES = 16
"""A piece may hold this many rows per series, because it costs a query per series. One second holds at most one row of
each, so there is always a window that holds nearly what a piece may hold, or all that is left."""

FULL_ENOUGH = 1 / 4
"""A window is taken that holds this part of what a piece may hold."""

AIM = 0.7
"""What part of it the next window is meant to hold."""

MOST_GROWTH = 64

SERIES_AT_ONCE = 500
"""How many series are counted before it is seen whether they hold too much already."""


class Piece(NamedTuple):
    """What is read in one transaction.

    Attributes:
        window: The window of time.
        span_s: How many seconds the next piece may span.
    """

    window: Window
    span_s: int

    def note(self, reading: Reading) -> None:
        """Note that this piece was read."""
        reading.start, reading.span_s = self.window.end, self.span_s


def nothing(rows: int) -> Reading:
    """Return a reading that is over."""
    return Reading(0, 0, None, rows, None)


def begun(stored: StoredRows, ids: Mapping[str, int], bounds: ReadBounds, rows: int, store: object) -> Reading:
    """Return a reading from the first row within these bounds to the last that there is now.

    Args:
        stored: The rows.
        ids: The ids of the series, by name.
        bounds: What to read.
        rows: The maximum number of observations per batch.
        store: What tells this store from others.
    """
    numbers, window = _numbers(ids), bounds.window
    first = stored.earliest(numbers, window.start) if len(numbers) else None
    if first is None:
        return nothing(rows)
    last = stored.latest(numbers)[1].timestamps.max()
    return Reading(first, min(window.end, int(last) + 1), bounds.possible_names, rows, store)


def ensure_same_store(reading: Reading, store: object) -> None:
    """Check that a reading goes on where it began.

    Raises:
        StoreUnusableError: This is another store.
    """
    if store != reading.store:
        raise replaced()


def replaced() -> StoreUnusableError:
    """Say that a reading cannot go on."""
    return StoreUnusableError("it was replaced by another one while it was being read", "Start reading again.")


def next_piece(stored: StoredRows, ids: Mapping[str, int], reading: Reading) -> Piece:
    """Return the next window that holds few enough rows, by counting them; one without rows if nothing is left.

    Args:
        stored: The rows.
        ids: The ids of the series, by name.
        reading: How far it has come.
    """
    numbers, start, span = _numbers(ids), reading.start, reading.span_s
    most = max(reading.rows, FEWEST_ROWS, ROWS_PER_SERIES * len(numbers))
    low, high = 0, 0  # spans that hold too few rows, and too many; 0 if none is known
    while True:
        span = min(span, reading.end - start)
        is_last = start + span == reading.end
        count = _count(stored, numbers, Window(start, start + span), most)
        if count > most and span > 1:
            high = span
        elif count >= FULL_ENOUGH * most or is_last or span + 1 == high:
            return Piece(Window(start, start + span), max(1, int(span * AIM * most / max(1, count))))
        elif count == 0:
            first = stored.earliest(numbers, start + span)
            if first is None or first >= reading.end:
                return Piece(Window(start, reading.end), span)
            start, low, high = first, 0, 0
            continue
        else:
            low = span
        aim = int(span * AIM * most / count)
        if low and high:
            span = (low + high) // 2
        elif high:
            span = max(1, min(aim, high - 1))
        else:
            span = min(max(aim, 2 * span), MOST_GROWTH * span)


def _count(stored: StoredRows, numbers: Int64s, window: Window, most: int) -> int:
    """Return how many rows the series have in a window, or some number above ``most``."""
    total = 0
    for first in range(0, len(numbers), SERIES_AT_ONCE):
        series = numbers[first : first + SERIES_AT_ONCE]
        ranges = Ranges(series, np.full_like(series, window.start), np.full_like(series, window.end))
        total += int(stored.counts(ranges, most + 1).sum())
        if total > most:
            break
    return total


def _numbers(ids: Mapping[str, int]) -> Int64s:
    return np.fromiter(ids.values(), dtype=np.int64, count=len(ids))
