"""Calendar numbers: numbers such as 20240620 are dates. As Unix seconds they would be stored in August 1970.

The rule, in one place. A column of numbers is refused as calendar dates if *every* number in it fits one of the forms
below, at least two of them differ, and none is 0 or negative. A single number counts only in the forms of 8 or more
digits. A number with a fraction only ever reads as days or years. ``unit="s"`` takes any second. Numbers that cannot be
stored as Unix seconds, such as infinity, and numbers in a row that is invalid for another reason are left out of this:
if they are dropped, the others are what is stored.

======================  ==========================================================  ===============================
form                    years in which it must lie                                  Unix seconds that it could hide
======================  ==========================================================  ===============================
YYYY                    1600 to 2200, or 9999                                       the first hours of 1970
YYYYMM, YYYYDDD         1600 to 2200, or 9999 (days of the year: 1900 to 2100)      January 1970
YYYYMMDD                1600 to 2200, or 9999                                       some days of 1970 and of 1973
YYYYMMDDHH              1900 to 2100                                                from 2030-03-17 on
days since 1970         2015 to 2040                                                the first hours of 1970
Excel's serial numbers  1950 to 2100                                                the first hours of 1970
YYYYMMDDHHMM and finer  1900 to 2100                                                none: too large for seconds
======================  ==========================================================  ===============================

So no column of Unix seconds from 1974 to March 2030 is ever refused. (9999, also 999999 and 99999999, stands for an
open end.)

Comes in: a column of timestamps. Goes out: the form that all its numbers fit, if there is one.
Never: reads a number as a date: the caller has not given its time zone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.dtypes import Column, kind_of, numbers_of
from temporis_dagster.data_source.observations.model import Int64s, Mask

OPEN_END, FAR = 9999, 2**62
EXCEL_ZERO = datetime(1899, 12, 30)  # noqa: DTZ001  # a calendar has no zone
UNIX_ZERO = datetime(1970, 1, 1)  # noqa: DTZ001
LONG_AGO, RECENT = (1600, 2200), (1900, 2100)
FIELDS = {"year": 4, "day of year": 3, "month": 2, "day": 2, "hour": 2, "minute": 2, "second": 2, "millisecond": 3}
"""The number of digits of each."""

DAY_FIELDS, CLOCK_FIELDS = ("year", "month", "day", "day of year"), ("hour", "minute", "second")
BOUNDS = {
    "day of year": (1, 366),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 24),
    "minute": (0, 59),
    "second": (0, 60),
    "millisecond": (0, 999),
}


@dataclass(frozen=True)
class Form:
    """A way to write dates as numbers.

    Attributes:
        called: What messages call the form.
        first: Its smallest number.
        last: Its largest number.
        conversion: The arguments with which ``pd.to_datetime`` reads such a column; empty if it cannot.
        date_of: Writes one number as a date for a reader.
        fits: Which of the numbers between first and last have the form; None if all of them do.
        alone: Whether a single number counts.
        whole: Whether whole numbers count.
        fractional: Whether numbers with a fraction count; of those, a single one does.
        directives: The same form in the words of ``strptime``; empty if it has none.
    """

    called: str
    first: int
    last: int
    conversion: str
    date_of: Callable[[float], str]
    fits: Callable[[Int64s], Mask] | None = None
    alone: bool = False
    whole: bool = True
    fractional: bool = False
    directives: str = ""


@dataclass(frozen=True, eq=False)
class CalendarNumbers:
    """A column whose numbers all read as dates.

    Attributes:
        form: How they are written.
        example: The first of them.
        rows: Which rows hold them, as a mask.
    """

    form: Form
    example: float
    rows: Mask

    def in_words(self) -> str:
        """Return the form, and the first number with the date that it reads as."""
        number = f"{self.example:.10g}" if self.example % 1 else str(int(self.example))
        date = self.form.date_of(self.example)
        return f"{self.form.called}, such as {number}" if date == number else f"{self.form.called}: {number} is {date}"


def calendar_numbers(column: Column, stored: Mask | None = None) -> CalendarNumbers | None:
    """Return the numbers of a plain column if all of them, or all that would be stored, read as dates of one form.

    Args:
        column: The column.
        stored: Which of its rows are observations that are otherwise valid; None for all.
    """
    numbers, rows = numbers_in(column)
    for chosen in (slice(None), _storable(numbers, rows, stored)):
        if chosen is not None and len(numbers[chosen]) and (form := form_of(numbers[chosen])) is not None:
            of_form = np.zeros(len(column), dtype=np.bool_)
            of_form[np.flatnonzero(rows)[chosen]] = True
            return CalendarNumbers(form, numbers[chosen][0].item(), of_form)
    return None


def _storable(numbers: npt.NDArray[Any], rows: Mask, stored: Mask | None) -> Mask | None:
    """Return which of the numbers would be stored as Unix seconds; None if all of them would."""
    if not len(numbers) or (stored is None and numbers.max() < TIMESTAMP_LIMIT and numbers.min() >= FIRST_TIMESTAMP):
        return None
    chosen = np.asarray((numbers < TIMESTAMP_LIMIT) & (numbers >= FIRST_TIMESTAMP))
    return chosen if stored is None else chosen & stored[rows]


def form_of(numbers: npt.NDArray[Any]) -> Form | None:
    """Return the form that every one of these numbers fits; None if there is no such form.

    Examples:
        >>> form_of(np.array([20240620, 20240621])).called, form_of(np.array([1718870400, 1718874000]))
        ('YYYYMMDD', None)
        >>> form_of(np.array([0, 20240620])), form_of(np.array([2012])), form_of(np.array([45463.5])).called
        (None, None, "Excel's days")
    """
    low, high = numbers.min().item(), numbers.max().item()
    near = [form for form in FORMS if form.first <= low and high < form.last + 1]
    if not near:
        return None
    whole = numbers.astype(np.int64)
    if (whole != numbers).any():
        return next((form for form in near if form.fractional), None)
    several = low != high
    return next((form for form in near if form.whole and (form.alone or several) and _all_fit(form, whole)), None)


def _all_fit(form: Form, numbers: Int64s) -> bool:
    return form.fits is None or bool(form.fits(numbers).all())


def written_form_of(number: int) -> Form | None:
    """Return the form, with minutes or finer, that one number fits. Such numbers are too large for Unix seconds anyway.

    Examples:
        >>> written_form_of(202406200800).called, written_form_of(1718870400000)
        ('YYYYMMDDHHMM', None)
    """
    near = (form for form in WITH_MINUTES if form.first <= number <= form.last)
    return next((form for form in near if _all_fit(form, np.array([number]))), None)


def numbers_in(column: Column) -> tuple[npt.NDArray[Any], Mask]:
    """Return the numbers of a column and their rows, without those that are infinite or do not fit into 64 bits."""
    kind = kind_of(column)
    if kind in ("int", "float"):
        numbers, missing = numbers_of(column)
        known = ~missing if _near(numbers) else ~missing & (numbers > -FAR) & (numbers < FAR)
        return (numbers if known.all() else numbers[known]), known
    if kind != "object":
        return np.empty(0), np.zeros(len(column), dtype=np.bool_)
    items = column.tolist()
    kinds = {kind: _is_number(kind) for kind in set(map(type, items))}
    if not any(kinds.values()):
        return np.empty(0), np.zeros(len(items), dtype=np.bool_)
    rows = np.array([kinds[type(item)] and not _is_nan(item) and -FAR < item < FAR for item in items], dtype=np.bool_)
    chosen = [items[row] for row in np.flatnonzero(rows)]
    exact = all(int(item) == item for item in chosen)
    return np.array([int(item) if exact else float(item) for item in chosen]), rows


def _is_nan(item: Any) -> bool:
    return item.is_nan() if isinstance(item, Decimal) else bool(item != item)  # noqa: PLR0124


def _is_number(kind: type) -> bool:
    return issubclass(kind, Integral | float | np.floating | Decimal) and kind is not bool


def _near(numbers: npt.NDArray[Any]) -> bool:
    """Return whether all of them are known to be finite and to fit into 64 bits. NaN never is."""
    return not len(numbers) or bool(numbers.min() > -FAR and numbers.max() < FAR)


def _written(called: str, fields: str, years: tuple[int, int], directives: str, *, alone: bool = False) -> Form:
    """Make a form of digits, such as YYYYMMDD."""
    parts = fields.split(", ")
    rest = 10 ** sum(FIELDS[field] for field in parts[1:])
    open_end = years == LONG_AGO
    highest = ((OPEN_END if open_end else years[1]) + 1) * rest - 1

    def fits(numbers: Int64s) -> Mask:
        taken = _taken_apart(numbers, parts)
        year = taken["year"]
        right = (year >= years[0]) & (year <= years[1]) | (open_end & (year == OPEN_END))
        all_nines = open_end & (numbers == highest)
        for field in parts[1:]:
            first, last = BOUNDS[field]
            right &= (taken[field] >= first) & (taken[field] <= last)
        right = right & _within_its_month(taken) if "day" in taken else right
        return np.asarray(right | all_nines)

    def date_of(number: float) -> str:
        taken = {field: part.item() for field, part in _taken_apart(np.array([int(number)]), parts).items()}
        day = "-".join(f"{taken[field]:0{FIELDS[field]}}" for field in parts if field in DAY_FIELDS)
        clock = [f"{taken[field]:02}" for field in parts if field in CLOCK_FIELDS]
        return day if not clock else f"{day} {':'.join(clock if len(clock) > 1 else [*clock, '00'])}"

    conversion = f"column.astype('Int64').astype('string'), format='{directives}'"
    return Form(called, years[0] * rest, highest, conversion, date_of, fits, alone, directives=directives)


def _taken_apart(numbers: Int64s, fields: list[str]) -> dict[str, Int64s]:
    taken = dict[str, Int64s]()
    for field in reversed(fields):
        numbers, taken[field] = np.divmod(numbers, 10 ** FIELDS[field])
    return taken


def _within_its_month(taken: dict[str, Int64s]) -> Mask:
    month = ((taken["year"] - 1970) * 12 + taken["month"] - 1).astype("datetime64[M]")
    days = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    return np.asarray(taken["day"] <= days)


def _days_after(zero: datetime) -> Callable[[float], str]:
    def date_of(number: float) -> str:
        moment = zero + timedelta(seconds=round(number * 86_400))
        return moment.isoformat(" ") if number % 1 else moment.date().isoformat()

    return date_of


WITH_MINUTES = (
    _written("YYYYMMDDHHMM", "year, month, day, hour, minute", RECENT, "%Y%m%d%H%M", alone=True),
    _written("YYYYMMDDHHMMSS", "year, month, day, hour, minute, second", RECENT, "%Y%m%d%H%M%S", alone=True),
    _written(
        *("YYYYMMDDHHMMSSfff", "year, month, day, hour, minute, second, millisecond", RECENT, "%Y%m%d%H%M%S%f"),
        alone=True,
    ),
)
FORMS = (
    Form("years", *LONG_AGO, "", lambda number: f"in {int(number)}", whole=False, fractional=True),
    _written("YYYY", "year", LONG_AGO, "%Y"),
    _written("YYYYMM", "year, month", LONG_AGO, "%Y%m"),
    _written("YYYYDDD", "year, day of year", RECENT, "%Y%j"),
    _written("YYYYMMDD", "year, month, day", LONG_AGO, "%Y%m%d", alone=True),
    _written("YYYYMMDDHH", "year, month, day, hour", RECENT, "%Y%m%d%H", alone=True),
    *WITH_MINUTES,
    Form(
        "days since 1970", 16_436, 25_567, "column.astype('float'), unit='D'", _days_after(UNIX_ZERO), fractional=True
    ),
    Form(
        "Excel's days",
        18_264,
        73_415,
        "column.astype('float'), unit='D', origin='1899-12-30'",
        _days_after(EXCEL_ZERO),
        fractional=True,
    ),
)
