"""The time windows of Dagster's partitions, and the order of their keys.

Comes in: a partitions definition and keys. Goes out: windows, keys in order.
Never: compares local times (an hour repeated in autumn starts and ends at the same one).
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

import dagster as dg
import numpy as np

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.time_windows import PartitionWindows


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
