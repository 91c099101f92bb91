"""The partitions that exist at a given time, in order, and the position of each.

Comes in: time window partitions and a time. Goes out: partition keys, the oldest first, and their positions.
Never: reads the clock, or compares local times (an hour that occurs twice has one local time and two partitions).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import dagster as dg

from temporis_dagster.errors import ConfigurationError


def partition_count(option: str, count: Any, *, at_least: int = 1) -> int:
    """Return a number of partitions unchanged after validating it.

    Raises:
        ConfigurationError: It is not an integer, or less than ``at_least``.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < at_least:
        raise ConfigurationError(
            f"{option} must be a number of partitions (an integer of at least {at_least}), got {count!r}."
        )
    return count


def trailing_start(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, count: int) -> datetime | None:
    """Return the start of the oldest of the newest ``count`` partitions at that time; None if there is no partition."""
    keys = trailing_keys(partitions_def, at, count)
    return partitions_def.time_window_for_partition_key(keys[0]).start.astimezone(timezone.utc) if keys else None


def keys_since(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, start: datetime) -> list[str]:
    """Return the partitions from the one that begins at ``start`` to the newest at the time ``at``."""
    with dg.partition_loading_context(effective_dt=at):
        newest = partitions_def.get_last_partition_window()
        if newest is None:
            return []
        # In UTC, because Dagster caches by window, and the two windows of a repeated hour have equal local times.
        window = dg.TimeWindow(start.astimezone(timezone.utc), newest.end.astimezone(timezone.utc))
        return list(partitions_def.get_partition_keys_in_time_window(window))


def trailing_keys(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, count: int) -> list[str]:
    """Return the newest ``count`` partitions at that time, or all if there are fewer.

    Examples:
        >>> import dagster as dg
        >>> from datetime import datetime, timezone
        >>> hours = dg.HourlyPartitionsDefinition("2026-10-01-00:00", timezone="Europe/Berlin")
        >>> trailing_keys(hours, datetime(2026, 10, 25, 2, 5, tzinfo=timezone.utc), 3)
        ['2026-10-25-01:00', '2026-10-25-02:00', '2026-10-25-02:00+0100']
    """
    with dg.partition_loading_context(effective_dt=at):
        first, newest = partitions_def.get_first_partition_window(), partitions_def.get_last_partition_window()
    if first is None or newest is None:
        return []
    # To list the partitions of a window takes Dagster less time than to step back from each to the one before.
    begin, end = first.start.timestamp(), newest.end.timestamp()
    reach_s = count * (end - newest.start.timestamp())
    while True:
        start = max(begin, end - reach_s)
        keys = keys_since(partitions_def, at, datetime.fromtimestamp(start, tz=timezone.utc))
        if len(keys) >= count or start == begin:
            return keys[-count:]
        reach_s *= 2


@dataclass(frozen=True)
class PartitionRow:
    """Consecutive partitions in order, and the position of each.

    Attributes:
        partitions_def: The definition of the partitions.
        keys: The keys of the partitions, the oldest first.
    """

    partitions_def: dg.TimeWindowPartitionsDefinition
    keys: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def position(self) -> dict[str, int]:
        """The position of each key, from 0."""
        return {key: position for position, key in enumerate(self.keys)}

    @cached_property
    def starts(self) -> list[float]:
        """The first Unix second of each partition."""
        return [self.window(key).start.timestamp() for key in self.keys]

    def window(self, key: str) -> dg.TimeWindow:
        """Return the window of a partition."""
        return self.partitions_def.time_window_for_partition_key(key)

    def span(self, first: str, last: str) -> range | None:
        """Return the positions of a range of partitions, which may reach beyond the row; None if a key is invalid."""
        begin, end = self.position.get(first), self.position.get(last)
        try:
            begin = bisect_left(self.starts, self.window(first).start.timestamp()) if begin is None else begin
            end = bisect_left(self.starts, self.window(last).end.timestamp()) if end is None else end + 1
        except (ValueError, dg.DagsterError):  # keys of a different partitions definition
            return None
        return range(begin, end)


def tick_before(cron_schedules: Sequence[str], timezone_name: str, moment: float) -> float:
    """Return the last tick of any of the cron schedules before a time; both in Unix seconds."""
    at = datetime.fromtimestamp(moment, tz=timezone.utc)
    return max(_tick_before(cron, timezone_name, at) for cron in cron_schedules)


def _tick_before(cron_schedule: str, timezone_name: str, moment: datetime) -> float:
    ticks = dg.TimeWindowPartitionsDefinition(
        start=datetime(1970, 1, 1, tzinfo=timezone.utc), fmt="%s", cron_schedule=cron_schedule, timezone=timezone_name
    )
    window = ticks.get_prev_partition_window(moment, respect_bounds=False)
    if window is None:
        return float("-inf")
    end = window.end.timestamp()
    return end if end < moment.timestamp() else window.start.timestamp()
