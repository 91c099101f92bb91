"""Aware datetimes that do not exist: their zone never showed that time, or had another offset then.

Comes in: a datetime of any kind. Goes out: why it is not a moment in time, or None.
Never: judges a fixed offset, which is always possible.
"""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from typing import Any

import pandas as pd

OF_PYTZ = (
    "the timestamp has the offset {}, which {} does not have at that time ({}): attach a pytz zone"
    " with zone.localize(moment), not with tzinfo="
)
SKIPPED = (
    "the timestamp does not exist: the clock skipped that time in {} (as an instant it would be {}). If it names the"
    " end of an interval, subtract the interval first; otherwise correct it"
)

NO_OFFSET = "the timestamp has a time zone that does not give its offset: attach another time zone"


class Awareness(enum.Enum):
    """Whether a datetime has an offset from UTC."""

    NAIVE = 0
    AWARE = 1
    BROKEN = 2
    """Its zone raises an exception instead of giving one."""


def awareness(moment: datetime) -> Awareness:
    """Return whether a datetime is aware, whatever its zone raises."""
    try:
        return Awareness.NAIVE if moment.utcoffset() is None else Awareness.AWARE
    except Exception:  # noqa: BLE001  # a zone may be any code
        return Awareness.BROKEN


def impossible(moment: datetime) -> str | None:
    """Return why an aware datetime is not a moment in time; None if it is one.

    Examples:
        >>> from zoneinfo import ZoneInfo
        >>> impossible(datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")))[:74]
        'the timestamp does not exist: the clock skipped that time in Europe/Berlin'
        >>> impossible(datetime(2024, 3, 31, 3, 30, tzinfo=ZoneInfo("Europe/Berlin"))) is None
        True
    """
    zone = moment.tzinfo
    if zone is None or isinstance(zone, timezone) or isinstance(moment, pd.Timestamp):
        return None
    try:
        there_and_back = moment.astimezone(timezone.utc).astimezone(zone)
    except Exception:  # noqa: BLE001  # out of range, which is checked elsewhere; or a zone that only knows its offset
        return None
    if there_and_back.replace(tzinfo=None) == moment.replace(tzinfo=None):
        return None
    right = _localized_by_pytz(moment, zone)
    if right is not None:
        return OF_PYTZ.format(_offset(moment), zone, _offset(right))
    return SKIPPED.format(zone, there_and_back.isoformat())


def _localized_by_pytz(moment: datetime, zone: Any) -> datetime | None:
    """Return the moment as pytz localizes it; None if the zone is not of pytz, or has no such time."""
    if not hasattr(zone, "localize") or not hasattr(zone, "normalize"):
        return None
    wall = moment.replace(tzinfo=None)
    localized: datetime = zone.localize(wall)
    normal: datetime = zone.normalize(localized)
    return normal if normal.replace(tzinfo=None) == wall else None


def _offset(moment: datetime) -> str:
    return moment.isoformat()[len(moment.replace(tzinfo=None).isoformat()) :]
