"""Aware datetimes that cannot be: their zone never showed that time, or never had that offset then.

Comes in: an aware datetime of any kind. Goes out: the reason why it is no moment, or nothing.
Never: judges a fixed offset, which is always possible.
"""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from typing import Any

import pandas as pd

OF_PYTZ = (
    "the timestamp has the offset {}, which {} does not have then ({}): zones of pytz are attached with"
    " zone.localize(moment), not with tzinfo="
)
SKIPPED = (
    "the timestamp cannot be: the clock skipped that time in {} (as an instant it would be {}). If it names the end of"
    " an interval, subtract the interval first; else correct it"
)


NO_OFFSET = "the timestamp has a time zone that does not give its offset: attach another one"


class Awareness(enum.Enum):
    """Whether a datetime has an offset from UTC."""

    NAIVE = 0
    AWARE = 1
    BROKEN = 2
    """Its zone raises instead of giving one."""


def awareness(moment: datetime) -> Awareness:
    """Whether a datetime is aware, whatever its zone raises."""
    try:
        return Awareness.NAIVE if moment.utcoffset() is None else Awareness.AWARE
    except Exception:  # noqa: BLE001  # zones are anybody's code
        return Awareness.BROKEN


def impossible(moment: datetime) -> str | None:
    """Why an aware datetime is no moment, if it is none.

    Examples:
        >>> from zoneinfo import ZoneInfo
        >>> impossible(datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")))[:69]
        'the timestamp cannot be: the clock skipped that time in Europe/Berlin'
        >>> impossible(datetime(2024, 3, 31, 3, 30, tzinfo=ZoneInfo("Europe/Berlin"))) is None
        True
    """
    zone = moment.tzinfo
    if zone is None or isinstance(zone, timezone) or isinstance(moment, pd.Timestamp):
        return None
    try:
        there_and_back = moment.astimezone(timezone.utc).astimezone(zone)
    except Exception:  # noqa: BLE001  # out of range, which is judged elsewhere; or a zone that only knows its offset
        return None
    if there_and_back.replace(tzinfo=None) == moment.replace(tzinfo=None):
        return None
    right = _localized_by_pytz(moment, zone)
    if right is not None:
        return OF_PYTZ.format(_offset(moment), zone, _offset(right))
    return SKIPPED.format(zone, there_and_back.isoformat())


def _localized_by_pytz(moment: datetime, zone: Any) -> datetime | None:
    """The moment as pytz would have it; None if the zone is not of pytz, or has no such time."""
    if not hasattr(zone, "localize") or not hasattr(zone, "normalize"):
        return None
    wall = moment.replace(tzinfo=None)
    localized: datetime = zone.localize(wall)
    normal: datetime = zone.normalize(localized)
    return normal if normal.replace(tzinfo=None) == wall else None


def _offset(moment: datetime) -> str:
    return moment.isoformat()[len(moment.replace(tzinfo=None).isoformat()) :]
