"""The future: how far ahead of the clock a timestamp may lie unless the caller allows more.

Comes in: the seconds of a column, and what the caller allows. Goes out: faults of the call, never of the rows: one
observation in the year 2099 shifts the service's time grid permanently, and over HTTP nothing can be deleted.
Never: reads a clock itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.faults import Fault, mask_of, where
from temporis_dagster.data_source.observations.model import Seconds
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import counted

AllowFuture: TypeAlias = "timedelta | bool | str | None"

DEFAULT_ALLOWED_FUTURE = timedelta(days=366)
"""A year, including a leap day: forecasts and calendars of the next year need no option."""

AHEAD = "the timestamp is more than {} ahead of the clock: correct it, or pass {} if that is intended"


def allowed_future(said: AllowFuture, spelled: str = "") -> timedelta | None:
    """Return how far ahead of the clock a timestamp may lie; None for any distance.

    Args:
        said: A timedelta, text that pandas reads as one, True for any distance, or None for the default.
        spelled: How the caller wrote it, for the error.

    Raises:
        ConfigurationError: It is none of those, or negative.

    Examples:
        >>> allowed_future(None), allowed_future("730 days"), allowed_future(True)
        (datetime.timedelta(days=366), datetime.timedelta(days=730), None)
    """
    if said is None:
        return DEFAULT_ALLOWED_FUTURE
    if said is True or (isinstance(said, str) and said.strip().lower() == "true"):
        return None
    distance = said if isinstance(said, timedelta) else _distance(said)
    if distance is None or not distance >= timedelta():
        raise ConfigurationError(
            f"{spelled or repr(said)} must be a timedelta of at least 0, text such as '730 days', or True for any"
            " distance."
        )
    return distance


def _distance(said: object) -> timedelta | None:
    # pandas reads text without a unit as nanoseconds.
    if not isinstance(said, str) or not any(character.isalpha() for character in said):
        return None
    try:
        distance: timedelta = pd.Timedelta(said).to_pytimedelta()
    except (ValueError, OverflowError, AttributeError):  # AttributeError: the text was "NaT"
        return None
    return distance


def too_far_ahead(
    seconds: Seconds, faults: list[Fault], allowed: timedelta | None, *, now_s: float, ask: str
) -> list[Fault]:
    """Return the rows that lie further ahead of the clock than is allowed and have no other fault.

    Args:
        seconds: Unix seconds of every row.
        faults: The faults that were found so far.
        allowed: How far ahead of the clock they may lie; None for any distance.
        now_s: The current time, in Unix seconds.
        ask: The argument that allows more, as the caller would write it.
    """
    if allowed is None or not len(seconds):
        return []
    last = now_s + allowed.total_seconds()
    if seconds.max() <= last:
        return []
    ahead = np.asarray(seconds > last) & ~mask_of(faults, len(seconds))
    return where(ahead, AHEAD.format(_in_words(allowed), ask), of_call=True)


def _in_words(distance: timedelta) -> str:
    whole_days = distance.days and distance == timedelta(days=distance.days)
    return counted(distance.days, "day") if whole_days else str(distance)
