"""Which partitions there are at a given time, counted back from the newest.

Comes in: time window partitions and a time. Goes out: partition keys, oldest first.
Never: reads the clock, or compares wall clocks (an hour that comes twice has one wall clock and two partitions).
"""

from datetime import datetime, timezone
from typing import Any

import dagster as dg

from temporis_dagster.errors import ConfigurationError


def partition_count(option: str, count: Any, *, at_least: int = 1) -> int:
    """The number of partitions that an option says.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < at_least:
        raise ConfigurationError(f"{option}={count!r} is not a number of partitions. Pass {at_least} or more.")
    return count


def trailing_start(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, count: int) -> datetime | None:
    """The start of the window ``count`` partitions back from the newest at that time, or of the first there is."""
    with dg.partition_loading_context(effective_dt=at):
        newest = partitions_def.get_last_partition_window()
        if newest is None:
            return None
        start = newest.start
        for _ in range(count - 1):
            previous = partitions_def.get_prev_partition_window(start)
            if previous is None:
                break
            start = previous.start
        return start.astimezone(timezone.utc)


def keys_since(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, start: datetime) -> list[str]:
    """The partitions from the one that starts then to the newest at that time."""
    with dg.partition_loading_context(effective_dt=at):
        newest = partitions_def.get_last_partition_window()
        if newest is None:
            return []
        # In UTC: Dagster caches by window, and two windows of the fold are equal by their wall clocks.
        window = dg.TimeWindow(start.astimezone(timezone.utc), newest.end.astimezone(timezone.utc))
        return list(partitions_def.get_partition_keys_in_time_window(window))


def trailing_keys(partitions_def: dg.TimeWindowPartitionsDefinition, at: datetime, count: int) -> list[str]:
    """The newest ``count`` partitions at that time, or all where there are fewer.

    Examples:
        >>> import dagster as dg
        >>> from datetime import datetime, timezone
        >>> hours = dg.HourlyPartitionsDefinition("2026-10-01-00:00", timezone="Europe/Berlin")
        >>> trailing_keys(hours, datetime(2026, 10, 25, 2, 5, tzinfo=timezone.utc), 3)
        ['2026-10-25-01:00', '2026-10-25-02:00', '2026-10-25-02:00+0100']
    """
    start = trailing_start(partitions_def, at, count)
    return [] if start is None else keys_since(partitions_def, at, start)


def tick_after(cron_schedule: str, timezone_name: str, moment: datetime) -> datetime:
    """The first tick of a cron schedule after that moment, in UTC."""
    ticks = dg.TimeWindowPartitionsDefinition(
        start=datetime(1970, 1, 1, tzinfo=timezone.utc), fmt="%s", cron_schedule=cron_schedule, timezone=timezone_name
    )
    after = datetime.fromtimestamp(int(moment.timestamp()) + 1, tz=timezone.utc)
    window = ticks.get_next_partition_window(after, respect_bounds=False)
    return window.start.astimezone(timezone.utc) if window else after
