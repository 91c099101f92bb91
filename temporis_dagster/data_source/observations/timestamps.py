"""Timestamps: a column of moments of any dtype becomes Unix seconds, UTC, or faults.

Comes in: a plain column and what the caller said of time zones and fractions. Goes out: seconds and faults.
Never: guesses a time zone or a unit, and never rounds unless told to floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.dtypes import Column, kind_of, numbers_of, type_groups, type_word
from temporis_dagster.data_source.observations.faults import Fault, elsewhere, mask_of, where
from temporis_dagster.data_source.observations.local_time import to_utc
from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Floats, Int64s, Mask, Seconds, put
from temporis_dagster.data_source.observations.options import ObservationOptions

MISSING = "the timestamp is missing (NaT)"
FRACTION = "the timestamp has a fraction of a second: pass {} to cut it off"
OUT_OF_RANGE = "the timestamp is out of range: the first is the start of the year 1, the last is in the year 5138"
NOT_A_TIMESTAMP = "{} is not a timestamp: convert it, {}"
FINER_UNITS = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
DAY_S = 86_400


@dataclass(frozen=True, eq=False)
class Timestamps:
    """A column of timestamps after its checks.

    Attributes:
        seconds: Unix seconds, UTC; anything within the range of timestamps where at fault.
        faults: Rows that hold no usable timestamp.
    """

    seconds: Seconds
    faults: list[Fault]


def timestamps_of(column: Column, options: ObservationOptions) -> Timestamps:
    """Read a plain column as timestamps, block by block: only the seconds take memory for every row."""
    # Which of two equal clock times is meant is inferred from the rows around them: that takes the whole column.
    block_rows = max(len(column), 1) if options.ambiguous == "infer" else BLOCK_ROWS
    seconds: Seconds = np.empty(len(column), dtype=np.int32)
    faults = list[Fault]()
    for start in range(0, len(column), block_rows):
        block = _block_of(column.iloc[start : start + block_rows], options)
        seconds = put(block.seconds, seconds, start)
        faults += [replace(fault, rows=fault.rows + start) for fault in block.faults]
    return Timestamps(seconds, faults)


def _block_of(column: Column, options: ObservationOptions) -> Timestamps:
    found = _READERS.get(kind_of(column), _unreadable)(column, options)
    seconds = found.seconds
    if seconds.min() >= FIRST_TIMESTAMP and seconds.max() < TIMESTAMP_LIMIT:
        return found
    outside = (seconds < FIRST_TIMESTAMP) | (seconds >= TIMESTAMP_LIMIT)
    faults = where(outside & ~mask_of(found.faults, len(column)), OUT_OF_RANGE)
    return Timestamps(np.where(outside, 0, seconds), found.faults + faults)


def _unreadable(column: Column, options: ObservationOptions) -> Timestamps:
    missing = column.isna().to_numpy(dtype=np.bool_)
    reason = NOT_A_TIMESTAMP.format(kind_of(column), options.TEXT_AS_TIMESTAMP)
    faults = where(missing, MISSING) + where(~missing, reason)
    return Timestamps(np.zeros(len(column), dtype=np.int64), faults)


def _from_datetimes(column: Column, options: ObservationOptions) -> Timestamps:
    aware = isinstance(column.dtype, pd.DatetimeTZDtype)
    stamps = (column.dt.tz_convert(None) if aware else column).to_numpy()
    return _from_datetime64(stamps, options, aware=aware)


def _from_datetime64(stamps: npt.NDArray[np.datetime64], options: ObservationOptions, *, aware: bool) -> Timestamps:
    missing = np.isnat(stamps)
    seconds, faults = _whole(stamps.view(np.int64), PER_SECOND[np.datetime_data(stamps.dtype)[0]], missing, options)
    seconds[missing] = 0
    faults += where(missing, MISSING)
    if aware:
        return Timestamps(seconds, faults)
    # A clock further off than any zone from the range of timestamps is left as it is, and refused for its range.
    near = (seconds >= FIRST_TIMESTAMP + DAY_S) & (seconds < TIMESTAMP_LIMIT + DAY_S)
    usable, seconds = np.flatnonzero(near & ~missing), seconds.copy()
    seconds[usable], zone_faults = to_utc(seconds[usable], options)
    far = where(~near & ~missing, OUT_OF_RANGE)
    return Timestamps(seconds, faults + elsewhere(zone_faults, usable) + far)


def _whole(ticks: Int64s, per_second: int, missing: Mask, options: ObservationOptions) -> tuple[Int64s, list[Fault]]:
    """Whole seconds, rounded down also before 1970, and the rows where that cuts something off."""
    seconds = ticks // per_second
    if options.sub_second == "floor" or per_second == 1:
        return seconds, []
    return seconds, where((seconds * per_second != ticks) & ~missing, _fraction(options))


def _fraction(options: ObservationOptions) -> str:
    return FRACTION.format(options.spelled("sub_second", "floor"))


def _from_numbers(column: Column, options: ObservationOptions) -> Timestamps:
    given, missing = numbers_of(column)
    filled = np.where(missing, given.dtype.type(0), given)
    found = _from_floats(filled, options) if given.dtype.kind == "f" else _from_ints(filled)
    return Timestamps(found.seconds, where(missing, MISSING) + found.faults)


def _from_ints(given: npt.NDArray[Any]) -> Timestamps:
    beyond = (given >= TIMESTAMP_LIMIT) | (given <= -TIMESTAMP_LIMIT)
    seconds = np.where(beyond, 0, given).astype(np.int64)
    return Timestamps(seconds, _too_large(beyond, given))


def _from_floats(given: npt.NDArray[Any], options: ObservationOptions) -> Timestamps:
    floats: Floats = given.astype(np.float64)
    infinite = np.isinf(floats)
    beyond = (np.abs(floats) >= TIMESTAMP_LIMIT) & ~infinite
    whole = np.floor(np.where(beyond | infinite, 0.0, floats))
    faults = where(infinite, "the timestamp is infinite: correct it") + _too_large(beyond, floats)
    if options.sub_second == "raise":
        faults += where((whole != floats) & ~beyond & ~infinite, _fraction(options))
    return Timestamps(whole.astype(np.int64), faults)


def _too_large(beyond: Mask, given: npt.NDArray[Any]) -> list[Fault]:
    rows = np.flatnonzero(beyond)
    return [Fault(rows, [_other_unit(int(given[row])) for row in rows])] if len(rows) else []


def _other_unit(number: int) -> str:
    """The reason for a number that is no Unix second, with the date it stands for if it is of a finer unit."""
    for unit, per_second in FINER_UNITS.items():
        seconds = number // per_second
        if FIRST_TIMESTAMP <= seconds < TIMESTAMP_LIMIT:
            moment = pd.Timestamp(np.datetime64(seconds, "s"), tz="UTC").isoformat()
            return f"the timestamp looks like {unit}: divide by {per_second:_} to get Unix seconds ({moment})"
    return OUT_OF_RANGE


def _from_objects(column: Column, options: ObservationOptions) -> Timestamps:
    items = column.tolist()
    seconds, faults = np.zeros(len(items), dtype=np.int64), list[Fault]()
    for kind, rows in type_groups(items).items():
        part = _of_type(kind)([items[row] for row in rows], options)
        seconds[rows] = part.seconds
        faults += elsewhere(part.faults, rows)
    return Timestamps(seconds, faults)


def _of_type(kind: type) -> Callable[[list[Any], ObservationOptions], Timestamps]:
    if kind in (type(None), type(pd.NA), type(pd.NaT)):
        return lambda items, _: _all_of(items, MISSING)
    if issubclass(kind, datetime):
        return _datetimes
    if issubclass(kind, np.datetime64):
        return _datetime64s
    if issubclass(kind, date):
        return lambda items, options: _from_datetime64(_naive(items), options, aware=False)
    if issubclass(kind, Integral | float | np.floating) and not issubclass(kind, bool):
        return _numbers
    return lambda items, options: _all_of(items, NOT_A_TIMESTAMP.format(type_word(kind), options.TEXT_AS_TIMESTAMP))


def _all_of(items: list[object], reason: str) -> Timestamps:
    everywhere = np.ones(len(items), dtype=np.bool_)
    return Timestamps(np.zeros(len(items), dtype=np.int64), where(everywhere, reason))


def _numbers(items: list[Any], options: ObservationOptions) -> Timestamps:
    """Numbers among objects: Python's integers have no bound, so the far ones are judged one by one."""
    far = np.array([abs(item) >= 2**62 for item in items])
    near = pd.Series([0 if is_far else item for item, is_far in zip(items, far, strict=True)])
    found = _from_numbers(near, options)
    return Timestamps(found.seconds, found.faults + where(far, OUT_OF_RANGE))


def _datetime64s(items: list[np.datetime64], options: ObservationOptions) -> Timestamps:
    """NumPy datetimes, each read in its own unit: a common one might not hold them all."""
    seconds, faults = np.zeros(len(items), dtype=np.int64), list[Fault]()
    for dtype in dict.fromkeys(item.dtype for item in items):
        rows = np.array([row for row, item in enumerate(items) if item.dtype == dtype])
        stamps = np.array([items[row] for row in rows], dtype=dtype)
        coarse = np.datetime_data(dtype)[0] not in PER_SECOND
        part = _from_datetime64(stamps.astype("datetime64[s]") if coarse else stamps, options, aware=False)
        seconds[rows] = part.seconds
        faults += elsewhere(part.faults, rows)
    return Timestamps(seconds, faults)


def _datetimes(items: list[datetime], options: ObservationOptions) -> Timestamps:
    """Datetime objects, aware and naive mixed as they come."""
    aware = np.array([item.utcoffset() is not None for item in items])
    seconds, faults = np.zeros(len(items), dtype=np.int64), list[Fault]()
    for rows, is_aware in ((np.flatnonzero(aware), True), (np.flatnonzero(~aware), False)):
        chosen = [items[row] for row in rows]
        part = _from_datetime64(
            _naive([_in_utc(item) for item in chosen] if is_aware else chosen), options, aware=is_aware
        )
        seconds[rows] = part.seconds
        finer = np.array([bool(getattr(item, "nanosecond", 0)) for item in chosen], dtype=np.bool_)
        finer &= ~mask_of(part.faults, len(chosen)) & (options.sub_second == "raise")
        faults += elsewhere(part.faults + where(finer, _fraction(options)), rows)
    return Timestamps(seconds, faults)


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one that UTC pushes out of the years 1 to 9999 becomes one that is out of range."""
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        return datetime(9999, 1, 1, tzinfo=timezone.utc)


def _naive(items: Sequence[object]) -> npt.NDArray[np.datetime64]:
    plain = [item.replace(tzinfo=None) if isinstance(item, datetime) else item for item in items]
    return np.array(plain, dtype="datetime64[us]")


_READERS: dict[str, Callable[[Column, ObservationOptions], Timestamps]] = {
    "datetime": _from_datetimes,
    "int": _from_numbers,
    "float": _from_numbers,
    "object": _from_objects,
}
