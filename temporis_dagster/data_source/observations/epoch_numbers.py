"""Epoch numbers: seconds since 1970, or the finer unit that the caller names.

Comes in: an array of integers or floats. Goes out: Unix seconds, and faults that show what the other numbers look like.
Never: guesses a unit, or rounds unless the caller asks for it with ``sub_second="floor"``.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.calendar_numbers import written_form_of
from temporis_dagster.data_source.observations.faults import Fault, mask_of, where
from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask
from temporis_dagster.data_source.observations.options import ObservationOptions

Found: TypeAlias = "tuple[Int64s, list[Fault]]"

FRACTION = "the timestamp has a fraction of a second: pass {} to cut it off"
INFINITE = "the timestamp is infinite: correct it"
OUT_OF_RANGE = "the timestamp is out of range: it must be from the start of the year 1 to the year 5138"
WRITTEN = "the timestamp reads as the date {} ({}), not as Unix seconds: {}"
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
FAR, FAR_DIGITS = 2**62, 30
UNITS: dict[Literal["s", "ms", "us", "ns"], str] = {
    "s": "Unix seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


def fraction(options: ObservationOptions) -> str:
    """Return the reason why a fraction of a second is refused."""
    return FRACTION.format(options.spelled("sub_second", "floor"))


def seconds_of(given: npt.NDArray[Any], options: ObservationOptions) -> Found:
    """Read numbers as Unix seconds, or as the options' ``unit``.

    Args:
        given: Integers or floats of any width, none of them NaN.
        options: Their ``unit`` and ``sub_second`` are used.
    """
    if given.dtype.kind == "f":
        return _of_floats(given.astype(np.float64), options)
    per_second = PER_SECOND[options.unit or "s"]
    beyond = (given >= TIMESTAMP_LIMIT * per_second) | (given <= -TIMESTAMP_LIMIT * per_second)
    if per_second == 1:
        return np.where(beyond, 0, given).astype(np.int64), _too_large(beyond, given, options)
    ticks = given.astype(np.uint64 if given.dtype.kind == "u" else np.int64)  # no narrower type holds the divisor
    seconds = np.where(beyond, 0, ticks // ticks.dtype.type(per_second)).astype(np.int64)
    cut = (ticks % ticks.dtype.type(per_second) != 0) & ~beyond
    return seconds, _too_large(beyond, given, options) + _fractions(cut, options)


def seconds_of_decimals(items: list[Decimal], options: ObservationOptions) -> Found:
    """Read Decimals, such as PostgreSQL's ``extract(epoch from ...)``, none of them NaN."""
    infinite = np.array([not item.is_finite() for item in items])
    whole = [_floor(item) for item in items]
    seconds, faults = seconds_of_integers(whole, options)
    cut = np.array([item.is_finite() and item != floor for item, floor in zip(items, whole, strict=True)])
    return seconds, faults + where(infinite, INFINITE) + _fractions(cut & ~mask_of(faults, len(items)), options)


def _floor(item: Decimal) -> int:
    """Round down. A number with more digits than any time has becomes another far integer, which is quicker to make."""
    if not item.is_finite():
        return 0
    return int(item.to_integral_value(ROUND_FLOOR)) if item.adjusted() < FAR_DIGITS else FAR


def seconds_of_integers(items: list[Any], options: ObservationOptions) -> Found:
    """Read Python integers, which are unbounded."""
    far = np.array([abs(item) >= FAR for item in items])
    near = np.array([0 if is_far else int(item) for item, is_far in zip(items, far, strict=True)], dtype=np.int64)
    seconds, faults = seconds_of(near, options)
    return seconds, faults + where(far, OUT_OF_RANGE)


def _of_floats(given: Floats, options: ObservationOptions) -> Found:
    per_second = PER_SECOND[options.unit or "s"]
    infinite = np.isinf(given)
    beyond = (np.abs(given) >= float(TIMESTAMP_LIMIT * per_second)) & ~infinite
    usable = np.where(beyond | infinite, 0.0, given)
    seconds = np.floor(usable) if per_second == 1 else np.floor_divide(usable, per_second)
    cut = seconds != usable if per_second == 1 else np.fmod(usable, per_second) != 0
    faults = where(infinite, INFINITE) + _too_large(beyond, given, options)
    return seconds.astype(np.int64), faults + _fractions(cut, options)


def _fractions(cut: Mask, options: ObservationOptions) -> list[Fault]:
    return where(cut, fraction(options)) if options.sub_second == "raise" else []


def _too_large(beyond: Mask, given: npt.NDArray[Any], options: ObservationOptions) -> list[Fault]:
    rows = np.flatnonzero(beyond)
    numbers = [int(given[row]) for row in rows]
    dates = options.unit is None and any(written_form_of(number) is not None for number in numbers)
    return [Fault(rows, [_other_unit(number, options) for number in numbers], wanted=dates)] if numbers else []


def _other_unit(number: int, options: ObservationOptions) -> str:
    """Return the reason for a number too large for its unit, with the moment that it stands for in a finer unit."""
    meant = options.unit or "s"
    form = written_form_of(number) if options.unit is None else None
    if form is not None:
        return WRITTEN.format(form.date_of(number), form.called, options.ADVICE.written.format(form.directives))
    for unit, called in UNITS.items():
        seconds = number // PER_SECOND[unit]
        if PER_SECOND[unit] > PER_SECOND[meant] and FIRST_TIMESTAMP <= seconds < TIMESTAMP_LIMIT:
            moment = pd.Timestamp(np.datetime64(seconds, "s"), tz="UTC").isoformat()
            step = PER_SECOND[unit] // PER_SECOND[meant]
            how, unit_option = options.ADVICE.other_unit, options.spelled("unit", unit)
            return how.format(called=called, step=step, meant=UNITS[meant], moment=moment, unit=unit_option)
    return OUT_OF_RANGE
