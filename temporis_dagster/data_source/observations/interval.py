"""Interval: how far apart the observations of a series are meant to be, as the caller wrote it.

Comes in: a timedelta, a pandas offset, or the text of either. Goes out: a timedelta or a calendar step.
Never: compares observations.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TypeAlias

import pandas as pd

from temporis_dagster.errors import ConfigurationError

Interval: TypeAlias = timedelta | pd.offsets.BaseOffset | str

ANY_DAY = pd.Timestamp("2024-01-01")


def interval_of(given: object, argument: str) -> timedelta | pd.offsets.BaseOffset:
    """Return an interval as a length of time or a step of the calendar.

    Args:
        given: A timedelta, a pandas offset, or the text of either, such as ``"1h"`` or ``"W-MON"``.
        argument: What the caller calls it, for the error.

    Raises:
        ConfigurationError: It is none of these, or does not lead forward by at least a second.

    Examples:
        >>> interval_of("15min", "every"), interval_of("B", "every")
        (datetime.timedelta(seconds=900), <BusinessDay>)
    """
    with suppress(OverflowError, pd.errors.OutOfBoundsDatetime):  # an interval that leads beyond the calendar
        interval = _from_text(given) if isinstance(given, str) else given
        if isinstance(interval, pd.offsets.Tick) and not isinstance(interval, pd.offsets.Day):
            interval = pd.Timedelta(interval)
        if isinstance(interval, timedelta) and interval >= timedelta(seconds=1):
            return timedelta(seconds=interval.total_seconds())
        if isinstance(interval, pd.offsets.BaseOffset) and ANY_DAY + interval > ANY_DAY:
            return interval
    raise ConfigurationError(
        f"{argument} must be a timedelta of at least one second or a calendar step, got {given!r}. Pass "
        "timedelta(hours=1), a pandas offset or its text: '1h', 'D' (days), 'B' (business days), 'W-MON' (Mondays), "
        "'MS' (months)."
    )


def _from_text(text: str) -> object:
    try:
        return None if text.strip().isdigit() else pd.Timedelta(text)
    except ValueError:
        pass
    try:
        return pd.Timedelta(weeks=1) if text == "W" else pd.tseries.frequencies.to_offset(text)
    except ValueError:
        return None
