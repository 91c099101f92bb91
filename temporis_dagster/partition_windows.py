"""Which partition each observation belongs to: time windows in whole seconds of UTC.

Comes in: a partitions definition and keys, then Unix seconds. Goes out: window numbers, counts, which windows are done.
Never: compares local times (an hour repeated in autumn starts and ends at the same one), or fills holes between
windows.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Int64s, Mask, Seconds
from temporis_dagster.errors import ConfigurationError

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


def partition_windows(partitions_def: dg.PartitionsDefinition, keys: Sequence[str]) -> PartitionWindows | None:
    """Return the windows of these partitions; None if the partitions have no time dimension.

    Args:
        partitions_def: Time windows or multi-partitions with a time dimension have windows; other partitions have none.
        keys: The partitions of a run.

    Raises:
        ConfigurationError: There are two time dimensions.
    """
    if not has_time(partitions_def):
        return None
    windows = [partitions_def.time_window_for_partition_key(key) for key in keys]
    bounds = np.array([(w.start.timestamp(), w.end.timestamp()) for w in windows], dtype=np.int64).reshape(-1, 2)
    starts, first, numbers = np.unique(bounds[:, 0], return_index=True, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    return PartitionWindows(tuple(keys[i] for i in order), numbers[order], starts, bounds[first, 1])


def in_own_order(
    partitions_def: dg.PartitionsDefinition, keys: Iterable[str], instance: dg.DagsterInstance | None
) -> list[str]:
    """Return the partition keys as plain text, in the order of their definition; Dagster passes them in any order."""
    plain = list(map(str, keys))
    if len(plain) < 2:  # noqa: PLR2004  one key is in order
        return plain
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
            place = _places(partitions_def, plain)
            return sorted(plain, key=lambda key: place.get(key, math.inf))
        dimensions = sorted(partitions_def.partitions_defs, key=lambda dimension: dimension.name)
        words = zip(*(key.split("|") for key in plain), strict=True)
        places = [_places(each.partitions_def, some) for each, some in zip(dimensions, words, strict=True)]
    return sorted(
        plain,
        key=lambda key: [place.get(word, math.inf) for place, word in zip(places, key.split("|"), strict=True)],
    )


def _places(partitions_def: dg.PartitionsDefinition, keys: Iterable[str]) -> dict[str, float]:
    """Return a sort value for each key: the start of its window, or its place in the definition."""
    if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):  # which may have millions of keys
        return {key: partitions_def.time_window_for_partition_key(key).start.timestamp() for key in set(keys)}
    return {str(key): place for place, key in enumerate(partitions_def.get_partition_keys())}


def has_time(
    partitions_def: dg.PartitionsDefinition,
) -> TypeGuard[dg.TimeWindowPartitionsDefinition | dg.MultiPartitionsDefinition]:
    """Whether partitions of this definition have time windows.

    Raises:
        ConfigurationError: There are two time dimensions.
    """
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        timed = [dimension.name for dimension in partitions_def.partitions_defs if has_time(dimension.partitions_def)]
        if len(timed) > 1:
            raise ConfigurationError(
                f"The partitions have more than one time dimension: {timed}. Use partitions with one time dimension."
            )
        return bool(timed)
    return isinstance(partitions_def, dg.TimeWindowPartitionsDefinition)
