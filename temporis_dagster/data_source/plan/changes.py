"""Changes: rows whose value would change, and by how much.

Comes in: keys, and the values before and after. Goes out: the size of each move, and for each series the largest and
the shift of the mean.
Never: overflows: values are scaled before they are subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.plan.within import NOTHING, starts_of_runs

NO_VALUES: Floats = np.empty(0, dtype=np.float64)


class Changes(NamedTuple):
    """Rows whose value would change.

    Attributes:
        codes: The series of each, as an index into the names of the frame.
        timestamps: Unix seconds.
        before: What is stored.
        after: What an upsert would store.
    """

    codes: Int64s
    timestamps: Int64s
    before: Floats
    after: Floats

    @classmethod
    def joined(cls, parts: Sequence[Changes]) -> Changes:
        """Return the changes of several chunks as one, by series and time."""
        if not parts:
            return cls(NOTHING, NOTHING, NO_VALUES, NO_VALUES)
        whole = cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return whole.take(np.lexsort((whole.timestamps, whole.codes)))

    def take(self, rows: Int64s) -> Changes:
        """Return some of them."""
        return Changes(self.codes[rows], self.timestamps[rows], self.before[rows], self.after[rows])


class Move(NamedTuple):
    """The changes of one series.

    Attributes:
        farthest: The place of the change that moves farthest.
        shift: |new mean - stored mean| / mean |stored| over the rows that change: 0.5 for a rise by half, infinity
            where all of them were zero.
    """

    farthest: int
    shift: float


def shift_in_words(shift: float) -> str:
    """Say how far a mean shifts, to follow "shifts".

    >>> shift_in_words(0.5), shift_in_words(math.inf)
    ('by 0.5 times the stored level', 'from a stored level of 0')
    """
    return f"by {shift:,.3g} times the stored level" if math.isfinite(shift) else "from a stored level of 0"


def moves(changes: Changes) -> dict[int, Move]:
    """Return what the changes of each series, which are sorted by series, come to."""
    if not len(changes.codes):
        return {}
    starts = starts_of_runs(changes.codes)
    ends = np.append(starts[1:], len(changes.codes))
    return {
        int(changes.codes[start]): _move(start, changes.before[start:end], changes.after[start:end])
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def _move(start: int, before: Floats, after: Floats) -> Move:
    # By a power of two: exact, so that a limit of 0.5 is not exceeded by rounding.
    scale = -np.frexp(max(float(np.abs(before).max()), float(np.abs(after).max())))[1]
    before, after = np.ldexp(before, scale), np.ldexp(after, scale)
    moved, level = abs(float((after - before).sum())), float(np.abs(before).sum())
    shift = moved / level if level else (math.inf if moved else 0.0)
    return Move(start + int(np.abs(after - before).argmax()), shift)
