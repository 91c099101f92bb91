"""Which partition does each observation belong to: time windows as whole seconds of UTC.

Comes in: a partitions definition and keys, then Unix seconds. Goes out: window numbers, counts, which windows are done.
Never: compares wall clocks (a fall-back hour starts and ends at the same one), or fills the holes between windows.
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
"""The window number of what is in no window."""


@dataclass(frozen=True, eq=False)
class PartitionWindows:
    """The windows of some partitions, ascending, half-open and disjoint.

    Attributes:
        keys: The partition keys in the order of their windows (Dagster's may be any).
        numbers: The window number of each key. Several keys of a multi-partitioned asset may share a window.
        starts: First Unix second of each window.
        ends: The second after its last.
    """

    keys: tuple[str, ...]
    numbers: Int64s
    starts: Int64s
    ends: Int64s

    @property
    def one_key_each(self) -> bool:
        """Whether a window says which partition it is."""
        return len(self.keys) == len(self.starts)

    def of(self, timestamps: Seconds) -> Int64s:
        """The window number of each timestamp, ``OUTSIDE`` for those in none."""
        if not len(self.starts):
            return np.full(len(timestamps), OUTSIDE, dtype=np.int64)
        numbers = np.searchsorted(self.starts, timestamps, side="right") - 1
        return np.where((numbers >= 0) & (timestamps < self.ends[numbers]), numbers, OUTSIDE)

    def counts(self, timestamps: Seconds) -> Int64s:
        """How many of the timestamps each window has."""
        numbers = self.of(timestamps)
        return np.bincount(numbers[numbers != OUTSIDE], minlength=len(self.starts))

    def newest(self, timestamps: Seconds) -> list[int | None]:
        """The last of the timestamps in each window; None in an empty one."""
        numbers = self.of(timestamps)
        newest = pd.Series(timestamps[numbers != OUTSIDE]).groupby(numbers[numbers != OUTSIDE]).max().to_dict()
        return [newest.get(number) for number in range(len(self.starts))]

    def spans(self) -> list[tuple[int, int]]:
        """The windows as [start, end), those that touch joined into one."""
        apart = self.starts[1:] != self.ends[:-1]
        starts = self.starts[np.concatenate(([True], apart))] if len(self.starts) else self.starts
        ends = self.ends[np.concatenate((apart, [True]))] if len(self.ends) else self.ends
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def done(self, timestamps: Seconds, unfinished: Seconds) -> Mask:
        """The windows whose every timestamp is settled, and the empty ones between two such.

        Args:
            timestamps: Of everything that was to be stored.
            unfinished: Of those that are not, or may not be, stored.
        """
        filled = np.flatnonzero(self.counts(timestamps))
        settled = self.counts(unfinished)[filled] == 0
        after = np.searchsorted(filled, np.arange(len(self.starts)))
        before = np.searchsorted(filled, np.arange(len(self.starts)), side="right") - 1
        walled = np.concatenate((settled, [False]))  # past either end stands nothing that is done: index n and -1
        return walled[after] & walled[before]


def partition_windows(partitions_def: dg.PartitionsDefinition, keys: Sequence[str]) -> PartitionWindows | None:
    """The windows of these partitions, or None if partitions of this definition have no time.

    Args:
        partitions_def: Time windows, or multi-partitions with a time dimension; any other kind has none.
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
    """The partition keys as plain text, in the order that their definition gives them; Dagster's may be any."""
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
    """What sorts these keys: the start of their windows, or their places in the definition."""
    if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):  # which may have millions of keys
        return {key: partitions_def.time_window_for_partition_key(key).start.timestamp() for key in set(keys)}
    return {str(key): place for place, key in enumerate(partitions_def.get_partition_keys())}


def has_time(
    partitions_def: dg.PartitionsDefinition,
) -> TypeGuard[dg.TimeWindowPartitionsDefinition | dg.MultiPartitionsDefinition]:
    """Whether its partitions have time windows.

    Raises:
        ConfigurationError: There are two time dimensions.
    """
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        timed = [dimension.name for dimension in partitions_def.partitions_defs if has_time(dimension.partitions_def)]
        if len(timed) > 1:
            raise ConfigurationError(
                f"The dimensions {timed} are both of time. Use partitions with one time dimension."
            )
        return bool(timed)
    return isinstance(partitions_def, dg.TimeWindowPartitionsDefinition)
