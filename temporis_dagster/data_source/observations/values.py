"""Values: a column of numbers of any dtype becomes float64, bit for bit, or faults.

Comes in: a plain column, and the rules of its rows. Goes out: float64, which rows are missing, and faults.
Never: rounds a binary number. A decimal one becomes the nearest float, as the same digits in CSV would, unless the
caller accepts only exact ones with ``decimals="exact"``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.contract import EXACT_INTEGER_LIMIT
from temporis_dagster.data_source.observations.contracts import RulesOfRows
from temporis_dagster.data_source.observations.dtypes import Column, kind_of, numbers_of, type_groups, type_word
from temporis_dagster.data_source.observations.faults import Fault, elsewhere, mask_of, where
from temporis_dagster.data_source.observations.model import Floats, Mask
from temporis_dagster.data_source.observations.number_texts import faults_of
from temporis_dagster.data_source.observations.options import ObservationOptions

NOT_FINITE = "the value is infinite: a value must be a finite number"
TOO_PRECISE = "float64 does not hold this number exactly: convert it to float64 first"
NOT_EXACT = "float64 does not hold this decimal number exactly: pass {} to take the nearest float"
TOO_LARGE = "the number is beyond the largest float64, which is 1.8e308: scale it"
INTEGER_TOO_LARGE = "the integer is beyond 2**53, so float64 may not hold it: {}"


@dataclass(frozen=True, eq=False)
class Values:
    """A column of values after its checks.

    Attributes:
        floats: float64; any value where missing or invalid.
        missing: Which are NaN, None or NA.
        faults: Rows that hold something other than a finite number, or break a rule.
        rising: Whether no value is lower than that of its series in the round before; False if that is not known.
    """

    floats: Floats
    missing: Mask
    faults: list[Fault]
    rising: bool = False


def values_of(column: Column, options: ObservationOptions, rules: RulesOfRows | None = None) -> Values:
    """Read a plain column as values.

    Args:
        column: The column.
        options: How to read it.
        rules: What is required of the values, if anything is.
    """
    if rules is None:
        return _any_of(column, options)
    unchecked = isinstance(column.dtype, np.dtype) and column.dtype == np.float64
    values = _unchecked(column) if unchecked else _any_of(column, options)
    kept = rules.kept_by(values.floats)
    if not len(kept.broken):  # so all are finite: what is missing or infinite keeps to no rule
        return replace(values, rising=kept.rising)
    values = _any_of(column, options) if unchecked else values
    wrong = values.missing | mask_of(values.faults, len(column))
    return replace(values, faults=values.faults + rules.faults(kept.broken[~wrong[kept.broken]], values.floats))


def _unchecked(column: Column) -> Values:
    return Values(column.to_numpy(), missing=np.broadcast_to(np.False_, len(column)), faults=[])


def _any_of(column: Column, options: ObservationOptions) -> Values:
    """Read a plain column as values of which nothing but a finite number is required."""
    kind = kind_of(column)
    if kind == "object":
        return _from_objects(column.tolist(), options)
    if kind not in ("int", "float"):
        return _none_of(column, _not_a_number(kind, options), options)
    numbers, missing = numbers_of(column)
    floats, faults = _from_ints(numbers, options) if kind == "int" else _from_floats(numbers)
    return Values(floats, missing, faults)


def _from_ints(ints: npt.NDArray[Any], options: ObservationOptions) -> tuple[Floats, list[Fault]]:
    floats = ints.astype(np.float64)
    if ints.dtype.itemsize < np.dtype(np.float64).itemsize:
        return floats, []
    beyond = (ints > EXACT_INTEGER_LIMIT) | (ints < -EXACT_INTEGER_LIMIT)
    return floats, where(beyond, INTEGER_TOO_LARGE.format(options.ADVICE.integers))


def _from_floats(given: npt.NDArray[Any]) -> tuple[Floats, list[Fault]]:
    floats = given.astype(np.float64, copy=False)
    faults = where(np.isinf(floats), NOT_FINITE)
    if given.dtype.itemsize > floats.dtype.itemsize:
        faults += where((floats != given) & ~np.isnan(floats) & ~np.isinf(floats), TOO_PRECISE)
    return floats, faults


def _from_objects(items: list[Any], options: ObservationOptions) -> Values:
    floats, missing, faults = np.zeros(len(items)), np.zeros(len(items), dtype=np.bool_), list[Fault]()
    for kind, rows in type_groups(items).items():
        if kind in (type(None), type(pd.NA), type(pd.NaT)):
            missing[rows] = True
            continue
        part = _of_type(kind, options)([items[row] for row in rows])
        floats[rows], missing[rows] = part.floats, part.missing
        faults += elsewhere(part.faults, rows)
    return Values(floats, missing, faults)


def _of_type(kind: type, options: ObservationOptions) -> Callable[[list[Any]], Values]:
    if issubclass(kind, Integral) and not issubclass(kind, bool):
        return partial(_integers, options=options)
    if issubclass(kind, float | np.floating):
        return lambda items: _any_of(pd.Series(np.array(items)), options)
    if issubclass(kind, Decimal):
        return partial(_decimals, options=options)
    return lambda items: _none_of(pd.Series(items, dtype=object), _not_a_number(type_word(kind), options), options)


def _not_a_number(kind: str, options: ObservationOptions) -> str:
    """Return what is wrong with values of such a type, and what to do about it."""
    known = {"bool": options.ADVICE.booleans, "Timedelta": options.ADVICE.durations, "text": options.ADVICE.texts}
    durations = kind.startswith("timedelta")
    how = options.ADVICE.durations if durations else known.get(kind, "convert it, or leave the column out")
    return f"{kind} is not a number: {how}"


def _none_of(items: Column, reason: str, options: ObservationOptions) -> Values:
    missing = items.isna().to_numpy(dtype=np.bool_)
    return Values(np.zeros(len(items)), missing, faults_of(items, ~missing, reason, options.ADVICE.separated))


def _integers(items: list[int], options: ObservationOptions) -> Values:
    beyond = np.array([abs(int(item)) > EXACT_INTEGER_LIMIT for item in items])
    floats = np.array([0.0 if far else float(item) for item, far in zip(items, beyond, strict=True)])
    missing = np.zeros(len(items), dtype=np.bool_)
    return Values(floats, missing, where(beyond, INTEGER_TOO_LARGE.format(options.ADVICE.integers)))


def _decimals(items: list[Decimal], options: ObservationOptions) -> Values:
    missing = np.array([item.is_nan() for item in items])
    infinite = np.array([item.is_infinite() for item in items])
    floats = np.array([0.0 if item.is_nan() else float(item) for item in items])
    too_large = np.isinf(floats) & ~infinite
    faults = where(infinite, NOT_FINITE) + where(too_large, TOO_LARGE)
    if options.decimals == "exact":
        inexact = ~(missing | infinite | too_large)
        inexact[inexact] = [float(items[row]) != items[row] for row in np.flatnonzero(inexact)]
        faults += where(inexact, NOT_EXACT.format(options.spelled("decimals", "nearest")))
    return Values(floats, missing, faults)
