"""How far apart neighbouring observations may be: a length of time, or a calendar step in a time zone.

Comes in: ``expected_interval`` and a time zone, as the user wrote them; Unix seconds. Goes out: which pairs of
observations are too far apart.
Never: mistakes a day of 25 hours for a gap, or a missing hour for a clock change.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.interval import interval_of
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import counted

DAY_S = 86_400
SHORTEST_STEP_S = 3_600  # a business hour
LONGEST_CHANGE_S = 3_600  # the longest change to winter time; a zone that moves to another offset is not considered
CALENDAR_SAMPLE = pd.date_range("2024-01-01", periods=400, freq="24h")


@dataclass(frozen=True)
class Spacing:
    """The expected interval of a series.

    Attributes:
        length: The interval, if it is a length of time.
        step: The interval, if it is a calendar step, such as a business day.
        zone: The time zone of the interval. None means that it is not known: the clocks of all zones are considered.
    """

    length: timedelta | None = None
    step: pd.offsets.BaseOffset | None = None
    zone: str | None = None

    @property
    def longest(self) -> timedelta:
        """The longest that the interval can be."""
        if self.step is None:
            return self.length or timedelta.max
        return max((day + self.step) - day for day in CALENDAR_SAMPLE).to_pytimedelta()

    def __str__(self) -> str:
        if self.step is not None:
            return f"one step of {self.step.freqstr} in {self.zone or 'UTC'}"
        return in_words(self.length or timedelta.max)

    def too_far(self, since: Int64s, until: Int64s) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Return which pairs of times are further apart than the interval.

        A clock that is set back makes a day of 25 hours, so an interval longer than that change may be exceeded by the
        change. A shorter interval may not: then an observation is missing, whatever the clock did.

        Args:
            since: The earlier times, in Unix seconds.
            until: The later times, in Unix seconds; each at or after its ``since``.

        Returns:
            One boolean per pair.
        """
        if self.step is not None:
            wrong = until - since > SHORTEST_STEP_S
            wrong[wrong] = self._beyond_step(since[wrong], until[wrong])
            return wrong
        interval_s = (self.length or timedelta.max).total_seconds()
        wrong = until - since > interval_s
        pairs = np.flatnonzero(wrong & (until - since <= interval_s + LONGEST_CHANGE_S))
        if len(pairs):
            back = self._gone_back(since[pairs], until[pairs])
            wrong[pairs[(back < interval_s) & (until[pairs] - since[pairs] - back <= interval_s)]] = False
        return wrong

    def _beyond_step(self, since: Int64s, until: Int64s) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        moments, places = np.unique(since, return_inverse=True)
        step: Any = self.step
        latest = pd.DatetimeIndex([wall + step for wall in self._walls(moments)]).as_unit("s").asi8
        return np.asarray(self._walls(until).as_unit("s").asi8 > latest[places])

    def _walls(self, moments: Int64s) -> pd.DatetimeIndex:
        """Return the local times at these Unix seconds, as datetimes without a time zone."""
        utc = pd.DatetimeIndex(moments.astype("datetime64[s]")).tz_localize("UTC")
        return utc.tz_convert(self.zone or "UTC").tz_localize(None)

    def _gone_back(self, since: Int64s, until: Int64s) -> Int64s:
        """Return by how many seconds the clock was set back in between; that of any zone, if the zone is not known."""
        if self.zone is not None:
            walls = [self._walls(moments).as_unit("s").asi8 for moments in (since, until)]
            return np.maximum((until - since) - (walls[1] - walls[0]), 0)
        days, places = np.unique(np.stack([since // DAY_S, until // DAY_S + 1]), axis=1, return_inverse=True)
        most = [max(map(_change, range(first, end))) for first, end in days.T.tolist()]
        return np.array(most, dtype=np.int64)[places.ravel()]


_CHANGES: dict[int, int] = {}


def _change(day: int) -> int:
    """Return by how many seconds at most a clock in any time zone is set back on a UTC day.

    Args:
        day: Days since 1970-01-01.
    """
    if day not in _CHANGES:
        midnights = [datetime.fromtimestamp(second * DAY_S, timezone.utc) for second in (day, day + 1)]
        offsets = [[_offset_s(moment, zone) for moment in midnights] for zone in _ZONES.every]
        back = [before - after for before, after in offsets]
        _CHANGES[day] = max((lost for lost in back if 0 < lost <= LONGEST_CHANGE_S), default=0)
    return _CHANGES[day]


def _offset_s(moment: datetime, zone: ZoneInfo) -> int:
    return int((moment.astimezone(zone).utcoffset() or timedelta()).total_seconds())


class _Zones:
    """All time zones, loaded when the first possible gap is examined."""

    @cached_property
    def every(self) -> list[ZoneInfo]:
        return [ZoneInfo(name) for name in sorted(available_timezones()) if not name.startswith("Etc/")]


_ZONES = _Zones()


def in_words(length: timedelta) -> str:
    """Write a length of time in words, to the second.

    Examples:
        >>> in_words(timedelta(days=7)), in_words(timedelta(hours=25, seconds=2))
        ('7 days', '1 day 1 hour 2 seconds')
    """
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = {"day": days, "hour": hours, "minute": minutes, "second": seconds}
    words = [counted(count, unit) for unit, count in counts.items() if count]
    return " ".join(words) or "0 seconds"


def spacing(given: object, zone: str | None) -> Spacing | None:
    """Parse ``expected_interval``.

    Args:
        given: A timedelta, a pandas offset, or the text of either, such as ``"1h"`` or ``"W-MON"``; None for none.
        zone: The time zone of the interval.

    Raises:
        ConfigurationError: The interval is none of these, it does not lead forward, or the time zone does not exist.

    Examples:
        >>> spacing("15min", None).length, spacing("B", "UTC").step
        (datetime.timedelta(seconds=900), <BusinessDay>)
    """
    if zone is not None:
        _ensure_zone(zone)
    if given is None:
        return None
    interval = interval_of(given, "expected_interval")
    return Spacing(interval, zone=zone) if isinstance(interval, timedelta) else Spacing(step=interval, zone=zone)


def _ensure_zone(zone: object) -> None:
    try:
        ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(f"Unknown time zone {zone!r}. Pass a name such as 'Europe/Berlin'.") from None
