"""Ghosts: stored rows that an upsert is about, and that its frame does not have.

Comes in: how many there are of each series, and a way to read them. Goes out: their number, and on request the rows.
Never: reads a row unless there are some and they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

SHOWN_ROWS = 20
"""How many ghosts a plan, a report or a check lists."""

NO_ROWS = pd.DataFrame(
    {
        "series": pd.Series(dtype=str),
        "timestamp": pd.Series(dtype="datetime64[s, UTC]"),
        "value": pd.Series(dtype="float64"),
    }
)


@dataclass(frozen=True, eq=False)
class Ghosts:
    """Stored rows within the windows and series of an upsert, whose key was not in its frame.

    A stored row whose key was in the frame does not count, even if the row of the frame was invalid and left out. If
    the timestamp of such a row could not be read, its key is unknown: ``unreadable`` counts these rows, each of which
    may be one of the ghosts.

    Attributes:
        by_series: How many there are of each series that has any, in the order of names.
        stored: How many rows are stored within the windows and series in all.
        unreadable: How many rows of the frame were left out and may be one of these, because their timestamp or name
            could not be read.
    """

    by_series: Mapping[str, int]
    stored: int
    unreadable: int
    _read: Callable[[int | None], pd.DataFrame] = field(repr=False)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.by_series.values())

    def rows(self, most: int | None = SHOWN_ROWS) -> pd.DataFrame:
        """Read them, as they are now: series, timestamp (UTC), value; by series and time.

        Args:
            most: The maximum number of rows; None for all.

        Raises:
            StoreError: The database failed.
        """
        return self._read(most) if self.count and most != 0 else NO_ROWS.copy()
