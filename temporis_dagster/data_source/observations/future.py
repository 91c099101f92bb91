"""The future: how far ahead of the clock a timestamp may lie before somebody has to ask for it.

Comes in: the seconds of a column, and what the caller allows. Goes out: faults of the call, never of the rows: one
observation of the year 2099 moves the service's time grid for good, and over HTTP nothing can be deleted.
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

AllowFuture: TypeAlias = "timedelta | bool | str | None"

DEFAULT_ALLOWED_FUTURE = timedelta(days=366)
"""A year, a leap day included: forecasts and calendars of the next year pass unasked."""

AHEAD = "the timestamp is more than {} ahead of the clock: correct it, or pass {} if that is meant"


def allowed_future(said: AllowFuture, spelled: str = "") -> timedelta | None:
    """How far ahead of the clock a timestamp may lie; None for any distance.

    Args:
        said: A timedelta, text that pandas reads as one, True for any distance, or None for the default.
        spelled: How the caller said so, for the error's text.

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
            f"{spelled or repr(said)} is not a distance in time. Use a timedelta, text such as '730 days', or True for"
            " any distance."
        )
    return distance


def _distance(said: object) -> timedelta | None:
    # Of text without a unit pandas makes nanoseconds.
    if not isinstance(said, str) or not any(character.isalpha() for character in said):
        return None
    try:
        distance: timedelta = pd.Timedelta(said).to_pytimedelta()
    except (ValueError, OverflowError, AttributeError):  # AttributeError: it was "NaT"
        return None
    return distance


def too_far_ahead(
    seconds: Seconds, faults: list[Fault], allowed: timedelta | None, *, now_s: float, ask: str
) -> list[Fault]:
    """The rows without another fault that lie further ahead of the clock than is allowed.

    Args:
        seconds: Unix seconds of every row.
        faults: What is wrong with them already.
        allowed: How far ahead of the clock they may lie; None for any distance.
        now_s: The clock, in Unix seconds.
        ask: How the caller asks for more.
    """
    if allowed is None or not len(seconds):
        return []
    last = now_s + allowed.total_seconds()
    if seconds.max() <= last:
        return []
    ahead = np.asarray(seconds > last) & ~mask_of(faults, len(seconds))
    return where(ahead, AHEAD.format(_in_words(allowed), ask), of_call=True)


def _in_words(distance: timedelta) -> str:
    return f"{distance.days:,} days" if distance.days and distance == timedelta(days=distance.days) else str(distance)
