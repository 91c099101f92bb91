"""Which partition each observation belongs to: time windows in whole seconds of UTC.

Comes in: windows and Unix seconds. Goes out: window numbers, counts, which windows are done.
Never: imports Dagster, or fills holes between windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Int64s, Mask, Seconds

OUTSIDE = -1
"""The window number of a timestamp that is in no window."""


@dataclass(frozen=True, eq=False)
class PartitionWindows:
    """The windows of some partitions, ascending, half-open and disjoint.

    Attributes:
        keys: The partition keys in the order of their windows (Dagster may pass them in any order).
        numbers: The window number of each key. Several keys of a multi-partitioned asset may share a window.
        starts: The first Unix second of each window.
        ends: The Unix second after the last one of each window.
    """

    keys: tuple[str, ...]
    numbers: Int64s
    starts: Int64s
    ends: Int64s

    @property
    def one_key_each(self) -> bool:
        """Whether each window belongs to a single partition."""
        return len(self.keys) == len(self.starts)

    def of(self, timestamps: Seconds) -> Int64s:
        """Return the window number of each timestamp; ``OUTSIDE`` for those in no window."""
        if not len(self.starts):
            return np.full(len(timestamps), OUTSIDE, dtype=np.int64)
        numbers = np.searchsorted(self.starts, timestamps, side="right") - 1
        return np.where((numbers >= 0) & (timestamps < self.ends[numbers]), numbers, OUTSIDE)

    def counts(self, numbers: Int64s) -> Int64s:
        """Count the timestamps in each window.

        Args:
            numbers: The window number of each timestamp, from ``of``.
        """
        return np.bincount(numbers[numbers != OUTSIDE], minlength=len(self.starts))

    def newest(self, timestamps: Seconds, numbers: Int64s) -> list[int | None]:
        """Return the last of the timestamps in each window; None for an empty one.

        Args:
            timestamps: Unix seconds, in any order.
            numbers: The window number of each, from ``of``.
        """
        inside = numbers != OUTSIDE
        newest = pd.Series(timestamps[inside]).groupby(numbers[inside]).max().to_dict()
        return [newest.get(number) for number in range(len(self.starts))]

    def spans(self) -> list[tuple[int, int]]:
        """Return the windows as pairs of start and end (exclusive), adjacent windows joined into one."""
        apart = self.starts[1:] != self.ends[:-1]
        starts = self.starts[np.concatenate(([True], apart))] if len(self.starts) else self.starts
        ends = self.ends[np.concatenate((apart, [True]))] if len(self.ends) else self.ends
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def done(self, counts: Int64s, unsettled: Int64s) -> Mask:
        """Tell which windows are done: those without unsettled observations, and empty ones between two of these.

        Args:
            counts: The number of observations in each window, from ``counts``.
            unsettled: The number of those that are not, or may not be, stored.
        """
        filled = np.flatnonzero(counts)
        settled = unsettled[filled] == 0
        after = np.searchsorted(filled, np.arange(len(self.starts)))
        before = np.searchsorted(filled, np.arange(len(self.starts)), side="right") - 1
        walled = np.concatenate((settled, [False]))  # nothing past either end is done: indices n and -1 are False
        return walled[after] & walled[before]
