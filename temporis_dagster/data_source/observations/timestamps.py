"""Timestamps: a column of moments of any dtype becomes Unix seconds, UTC, or faults.

Comes in: a plain column, and the caller's options for time zones and fractions. Goes out: seconds and faults.
Never: guesses a time zone or a unit, or rounds unless the caller asks for it with ``sub_second="floor"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.aware_datetimes import NO_OFFSET, Awareness, awareness, impossible
from temporis_dagster.data_source.observations.calendar_numbers import CalendarNumbers, calendar_numbers
from temporis_dagster.data_source.observations.dtypes import (
    Column,
    kind_of,
    numbers_of,
    renumbered,
    type_groups,
    type_word,
)
from temporis_dagster.data_source.observations.epoch_numbers import (
    OUT_OF_RANGE,
    PER_SECOND,
    fraction,
    seconds_of,
    seconds_of_decimals,
    seconds_of_integers,
)
from temporis_dagster.data_source.observations.faults import Fault, elsewhere, mask_of, where
from temporis_dagster.data_source.observations.future import too_far_ahead
from temporis_dagster.data_source.observations.local_time import to_utc
from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Int64s, Mask, Seconds, SeriesOfRows, put
from temporis_dagster.data_source.observations.options import ObservationOptions

MISSING = "the timestamp is missing (NaT)"
CALENDAR = "the column reads as calendar dates, not as Unix seconds ({}): {}, or pass {} if these are Unix seconds"
NOT_A_TIMESTAMP = "{} is not a timestamp: convert it, {}"
DAY_S = 86_400
NO_ROWS: Int64s = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Timestamps:
    """A column of timestamps after its checks.

    Attributes:
        seconds: Unix seconds, UTC; any value within the range of timestamps where the timestamp is invalid.
        faults: Rows that hold no usable timestamp.
        local: Rows whose seconds are those of a wall clock, still to be converted to UTC; None if there are none.
    """

    seconds: Seconds
    faults: list[Fault]
    local: Int64s | None = None


def timestamps_of(
    column: Column,
    options: ObservationOptions,
    *,
    now_s: float,
    series: SeriesOfRows | None = None,
    stored: Mask | None = None,
) -> Timestamps:
    """Read a plain column as timestamps, block by block, so that only the seconds take memory for every row.

    Args:
        column: Moments of any dtype.
        options: How to read them.
        now_s: The current time, in Unix seconds. Timestamps far ahead of it need ``allow_future``.
        series: The series of each row, as repeated hours are inferred series by series. None for one series.
        stored: Which rows are observations that are otherwise valid; None for all.
    """
    dates = calendar_numbers(column, stored) if options.unit is None else None
    found = _read(column, options, series) if dates is None else _beside_dates(column, dates, options, series)
    ask = options.spelled("allow_future", value=True)
    ahead = too_far_ahead(found.seconds, found.faults, options.allowed_future, now_s=now_s, ask=ask)
    return replace(found, faults=found.faults + ahead)


def _beside_dates(
    column: Column, dates: CalendarNumbers, options: ObservationOptions, series: SeriesOfRows | None
) -> Timestamps:
    """Read a column whose numbers are dates, and what else is in it. It is a fault of the call, not of the rows."""
    numbers, others = np.flatnonzero(dates.rows), np.flatnonzero(~dates.rows)
    seconds: Seconds = np.zeros(len(column), dtype=np.int64)
    found = _read(renumbered(column.iloc[others]), options, None if series is None else series[others])
    seconds[others] = found.seconds
    way = options.ADVICE.calendar(conversion=dates.form.conversion, directives=dates.form.directives)
    reason = CALENDAR.format(dates.in_words(), way, options.spelled("unit", "s"))
    return Timestamps(seconds, [*elsewhere(found.faults, others), Fault(numbers, reason, of_call=True)])


def _read(column: Column, options: ObservationOptions, series: SeriesOfRows | None) -> Timestamps:
    # Which of two equal clock times is meant is inferred from the rows around them, so it takes the whole column.
    block_rows = max(len(column), 1) if options.ambiguous == "infer" else BLOCK_ROWS
    seconds: Seconds = np.empty(len(column), dtype=np.int32)
    faults = list[Fault]()
    for start in range(0, len(column), block_rows):
        of_block = slice(start, start + block_rows)
        block = _block_of(column.iloc[of_block], options, None if series is None else series[of_block])
        seconds = put(block.seconds, seconds, start)
        faults += [replace(fault, rows=fault.rows + start) for fault in block.faults]
    if len(column) > block_rows and any(fault.wanted for fault in faults):
        block = _block_of(column, options, series)  # what to do about a changed clock takes the whole column, too
        return Timestamps(put(block.seconds, seconds, 0), block.faults)
    return Timestamps(seconds, faults)


def _block_of(column: Column, options: ObservationOptions, series: SeriesOfRows | None) -> Timestamps:
    found = _READERS.get(kind_of(column), _unreadable)(column, options)
    seconds, faults = found.seconds, found.faults
    if found.local is not None and len(found.local):
        seconds, of_rows = seconds.copy(), None if series is None else series[found.local]
        wall = seconds[found.local].astype(np.int64)
        seconds[found.local], zone_faults = to_utc(wall, options, of_rows)
        faults = faults + elsewhere(zone_faults, found.local)
    if seconds.min() >= FIRST_TIMESTAMP and seconds.max() < TIMESTAMP_LIMIT:
        return Timestamps(seconds, faults)
    outside = (seconds < FIRST_TIMESTAMP) | (seconds >= TIMESTAMP_LIMIT)
    beyond = where(outside & ~mask_of(faults, len(column)), OUT_OF_RANGE)
    return Timestamps(np.where(outside, 0, seconds), faults + beyond)


def _unreadable(column: Column, options: ObservationOptions) -> Timestamps:
    missing = column.isna().to_numpy(dtype=np.bool_)
    reason = _not_a_timestamp(kind_of(column), options)
    faults = where(missing, MISSING) + where(~missing, reason)
    return Timestamps(np.zeros(len(column), dtype=np.int64), faults)


def _not_a_timestamp(kind: str, options: ObservationOptions) -> str:
    """Return what is wrong with timestamps of such a type, and what to do about it."""
    if kind.lower().startswith("period"):
        return f"{kind} is not a timestamp: {options.ADVICE.periods}"
    return NOT_A_TIMESTAMP.format(kind, options.text_as_timestamp())


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
    # A clock time that no zone brings into the range of timestamps is not converted, but refused for its range.
    near = (seconds >= FIRST_TIMESTAMP + DAY_S) & (seconds < TIMESTAMP_LIMIT + DAY_S)
    far = where(~near & ~missing, OUT_OF_RANGE)
    return Timestamps(seconds, faults + far, np.flatnonzero(near & ~missing))


def _whole(ticks: Int64s, per_second: int, missing: Mask, options: ObservationOptions) -> tuple[Int64s, list[Fault]]:
    """Return whole seconds, rounded down even before 1970, and the rows where that cuts something off."""
    seconds = ticks // per_second
    if options.sub_second == "floor" or per_second == 1:
        return seconds, []
    return seconds, where((seconds * per_second != ticks) & ~missing, fraction(options))


def _from_numbers(column: Column, options: ObservationOptions) -> Timestamps:
    given, missing = numbers_of(column)
    seconds, faults = seconds_of(np.where(missing, given.dtype.type(0), given), options)
    return Timestamps(seconds, where(missing, MISSING) + faults)


def _from_objects(column: Column, options: ObservationOptions) -> Timestamps:
    items = column.tolist()
    groups = type_groups(items).items()
    return _together([(rows, _of_type(kind)([items[row] for row in rows], options)) for kind, rows in groups])


def _together(parts: Sequence[tuple[Int64s, Timestamps]]) -> Timestamps:
    """Join the parts of a column, each given with its rows."""
    seconds, faults, local = np.zeros(sum(len(rows) for rows, _ in parts), dtype=np.int64), list[Fault](), [NO_ROWS]
    for rows, part in parts:
        seconds[rows] = part.seconds
        faults += elsewhere(part.faults, rows)
        local.append(rows[NO_ROWS if part.local is None else part.local])
    return Timestamps(seconds, faults, np.sort(np.concatenate(local)))


def _of_type(kind: type) -> Callable[[list[Any], ObservationOptions], Timestamps]:
    for kinds, read in _OBJECT_READERS:
        if issubclass(kind, kinds) and kind is not bool:
            return read
    return lambda items, options: _all_of(items, _not_a_timestamp(type_word(kind), options))


def _dates(items: list[Any], options: ObservationOptions) -> Timestamps:
    return _from_datetime64(_naive(items), options, aware=False)


def _integers(items: list[Any], options: ObservationOptions) -> Timestamps:
    return Timestamps(*seconds_of_integers(items, options))


def _all_of(items: list[object], reason: str) -> Timestamps:
    everywhere = np.ones(len(items), dtype=np.bool_)
    return Timestamps(np.zeros(len(items), dtype=np.int64), where(everywhere, reason))


def _floats(items: list[Any], options: ObservationOptions) -> Timestamps:
    return _from_numbers(pd.Series(items), options)


def _decimals(items: list[Decimal], options: ObservationOptions) -> Timestamps:
    missing = np.array([item.is_nan() for item in items], dtype=np.bool_)
    zero = Decimal(0)
    known = [zero if is_missing else item for item, is_missing in zip(items, missing, strict=True)]
    seconds, faults = seconds_of_decimals(known, options)
    return Timestamps(seconds, where(missing, MISSING) + faults)


def _datetime64s(items: list[np.datetime64], options: ObservationOptions) -> Timestamps:
    """Read NumPy datetimes, each in its own unit: a common unit might not hold them all."""
    parts = []
    for dtype in dict.fromkeys(item.dtype for item in items):
        rows = np.array([row for row, item in enumerate(items) if item.dtype == dtype])
        stamps = np.array([items[row] for row in rows], dtype=dtype)
        coarse = np.datetime_data(dtype)[0] not in PER_SECOND
        stamps = stamps.astype("datetime64[s]") if coarse else stamps
        parts.append((rows, _from_datetime64(stamps, options, aware=False)))
    return _together(parts)


def _datetimes(items: list[datetime], options: ObservationOptions) -> Timestamps:
    """Read datetime objects, which may be aware and naive in any mixture."""
    kinds = np.array([awareness(item).value for item in items])
    parts = [(np.flatnonzero(kinds == kind.value), read) for kind, read in _DATETIME_READERS.items()]
    return _together([(rows, read([items[row] for row in rows], options)) for rows, read in parts])


def _aware_datetimes(items: list[datetime], options: ObservationOptions) -> Timestamps:
    found = _from_datetime64(_naive([_in_utc(item) for item in items]), options, aware=True)
    wrong = [(row, reason) for row, item in enumerate(items) if (reason := impossible(item))]
    rows, reasons = np.array([row for row, _ in wrong], dtype=np.int64), [reason for _, reason in wrong]
    faults = [Fault(rows, reasons, wanted=True)] if wrong else []
    return Timestamps(found.seconds, found.faults + faults + _nanoseconds(items, found.faults + faults, options))


def _naive_datetimes(items: list[datetime], options: ObservationOptions) -> Timestamps:
    found = _from_datetime64(_naive(items), options, aware=False)
    return replace(found, faults=found.faults + _nanoseconds(items, found.faults, options))


def _nanoseconds(items: list[datetime], faults: list[Fault], options: ObservationOptions) -> list[Fault]:
    """Return faults for the rows that lose their nanoseconds as datetimes of the standard library."""
    finer = np.array([bool(getattr(item, "nanosecond", 0)) for item in items], dtype=np.bool_)
    return where(finer & ~mask_of(faults, len(items)) & (options.sub_second == "raise"), fraction(options))


def _in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one that leaves the years 1 to 9999 becomes one that is out of range."""
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        return datetime(9999, 1, 1, tzinfo=timezone.utc)


def _naive(items: Sequence[object]) -> npt.NDArray[np.datetime64]:
    plain = [item.replace(tzinfo=None) if isinstance(item, datetime) else item for item in items]
    return np.array(plain, dtype="datetime64[us]")


_DATETIME_READERS: dict[Awareness, Callable[[list[Any], ObservationOptions], Timestamps]] = {
    Awareness.AWARE: _aware_datetimes,
    Awareness.NAIVE: _naive_datetimes,
    Awareness.BROKEN: lambda items, _: _all_of(items, NO_OFFSET),
}

_READERS: dict[str, Callable[[Column, ObservationOptions], Timestamps]] = {
    "datetime": _from_datetimes,
    "int": _from_numbers,
    "float": _from_numbers,
    "object": _from_objects,
}

# The order matters: NaT is a datetime, and a datetime is a date.
_OBJECT_READERS: list[tuple[tuple[type, ...], Callable[[list[Any], ObservationOptions], Timestamps]]] = [
    ((type(None), type(pd.NA), type(pd.NaT)), lambda items, _: _all_of(items, MISSING)),
    ((datetime,), _datetimes),
    ((np.datetime64,), _datetime64s),
    ((date,), _dates),
    ((Integral,), _integers),
    ((float, np.floating), _floats),
    ((Decimal,), _decimals),
]
