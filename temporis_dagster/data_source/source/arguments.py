"""Arguments: what a caller passes to say which observations are meant, as seconds, names and windows.

Comes in: aware datetimes or Unix seconds, names, lengths of time. Goes out: Unix seconds, lists of names, windows.
Never: reads anything, or takes a naive datetime for one in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.aware_datetimes import Awareness, awareness, impossible
from temporis_dagster.data_source.observations.interval import interval_of
from temporis_dagster.data_source.plan import Within
from temporis_dagster.errors import ConfigurationError

Moment: TypeAlias = "datetime | int | None"
"""An aware datetime or a Unix second; None for no bound."""


def second_of(argument: str, moment: Moment) -> int | None:
    """Return the first whole Unix second at or after a moment: timestamps are whole, so the comparison stays exact.

    Raises:
        ConfigurationError: It is neither an aware datetime nor an integer.
    """
    if moment is None or (isinstance(moment, int | np.integer) and not isinstance(moment, bool)):
        return None if moment is None else int(moment)
    if not isinstance(moment, datetime) or pd.isna(moment):
        raise ConfigurationError(
            f"{argument} must be an aware datetime or a Unix second, got {moment!r}."
            f" Pass {argument}=pd.Timestamp('2024-06-20', tz='UTC'), for example."
        )
    if awareness(moment) is not Awareness.AWARE:
        raise ConfigurationError(f"{argument}={moment!r} has no time zone. Attach one, such as datetime.timezone.utc.")
    if (reason := impossible(moment)) is not None:
        raise ConfigurationError(f"{argument}={moment!r}: {reason}.")
    plain = moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment
    since = plain.replace(tzinfo=None) - datetime(1970, 1, 1) - (plain.utcoffset() or timedelta())  # noqa: DTZ001
    whole, rest = divmod(since, timedelta(seconds=1))
    return whole + bool(rest or getattr(moment, "nanosecond", 0))


def bounds_of(start: Moment, end: Moment) -> tuple[int | None, int | None]:
    """Return the bounds of a window as Unix seconds.

    Raises:
        ConfigurationError: A bound has no time zone, or the window ends before it begins.
    """
    first, last = second_of("start", start), second_of("end", end)
    if first is not None and last is not None and last < first:
        raise ConfigurationError(f"The window from {start} to {end} ends before it begins. Swap its bounds.")
    return first, last


def positive(argument: str, number: object) -> int:
    """Return an integer of at least 1.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ConfigurationError(f"{argument} must be an integer of at least 1, got {number!r}.")
    return int(number)


def gap_s_of(gap: object) -> float | None:
    """Return a length of time in seconds; None for none.

    Raises:
        ConfigurationError: It is something else, or a step of the calendar, such as a month.
    """
    if gap is None:
        return None
    length = interval_of(gap, "gap")
    if not isinstance(length, timedelta):
        raise ConfigurationError(f"gap={gap!r} is a step of the calendar, of no fixed length. Pass a timedelta.")
    return length.total_seconds()


def window_of(start: Moment, end: Moment) -> Within:
    """Return [start, end) as what a frame covers; without bounds, each series from its first row to its last.

    Raises:
        ConfigurationError: A bound has no time zone, or the window ends before it begins.
    """
    first, last = bounds_of(start, end)
    if first is None and last is None:
        return Within()
    return Within(((-(2**63) if first is None else first, 2**63 - 1 if last is None else last),))


def exact_names(names: Iterable[str] | None) -> list[str] | None:
    """Return the names as a list; None for all.

    Raises:
        ConfigurationError: They are not strings.
    """
    if names is None:
        return None
    if not isinstance(names, Iterable):
        raise ConfigurationError(f"names must be a list of strings, got {names!r}. Pass the names of the series.")
    exact: list[Any] = [names] if isinstance(names, str) else list(names)
    if wrong := [name for name in exact if not isinstance(name, str)]:
        raise ConfigurationError(f"names must contain only strings, got {wrong[0]!r}. Pass the names of the series.")
    return exact
