"""Time parts: columns that hold a part of a time, such as the quarter of a year, and how such a part is written.

Comes in: the name of a column, and its cells. Goes out: the directive of ``--timestamp-format`` that reads them;
whether the cells are moments or only years.
Never: joins columns, or decides whether a column is a series.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import pandas as pd

from temporis_dagster.cli.cells import moments

SHORT_MONTHS = frozenset(name.lower() for name in calendar.month_abbr if name)
LONG_MONTHS = frozenset(name.lower() for name in calendar.month_name if name)

NUMBERS = {"%q": range(1, 5), "%m": range(1, 13), "%d": range(1, 32), "%H": range(24)}
"""The numbers that each directive reads."""

NAMED = {
    **dict.fromkeys(("quarter", "qtr", "q"), "%q"),
    **dict.fromkeys(("month", "mon", "mo", "mnth"), "%m"),
    **dict.fromkeys(("day", "dayofmonth"), "%d"),
    **dict.fromkeys(("hour", "hr"), "%H"),
}
"""How columns are called that hold a part of a time."""

YEARS = ("year", "yr", "jahr")
FIRST_YEAR, LAST_YEAR = 1500, 2099
"""Whole numbers from the first to the last are years rather than seconds since 1970."""

WORDS_FOR_A_TIME = frozenset({"date", "time", "date/time", "datetime", "timestamp", "datum", "zeit"})
ROWS_LOOKED_AT = 1000


def directive_of(column: object, cells: Iterable[object]) -> str:
    """Return how the part of a time in a column is written; nothing if it seems to hold something else.

    Examples:
        >>> directive_of("quarter", [1, 2, 3.0]), directive_of("Month", ["JAN", "feb"]), directive_of("quarter", [1, 7])
        ('%q', '%b', '')
    """
    directive = NAMED.get("".join(letter for letter in str(column).lower() if letter.isalnum()), "")
    if not directive:
        return ""
    known = set[str | Real]()
    for cell in cells:
        if isinstance(cell, str):
            known |= {cell.strip()} - {""}
        elif isinstance(cell, Real) and not isinstance(cell, bool):
            known |= {cell} if cell == cell else set()  # noqa: PLR0124  # NaN differs from itself
        elif cell is not None and cell is not pd.NA and cell is not pd.NaT:
            return ""
    if not known:
        return ""
    if directive == "%m" and all(
        isinstance(cell, str) and cell.lower() in SHORT_MONTHS | LONG_MONTHS for cell in known
    ):
        return "%b" if all(str(cell).lower() in SHORT_MONTHS for cell in known) else "%B"
    return directive if all(_number(cell) in NUMBERS[directive] for cell in known) else ""


def year_among(columns: Iterable[str]) -> str | None:
    """Return the column that is named like a year, if there is one."""
    return next((column for column in columns if column.strip().lower() in YEARS), None)


def times_in(column: pd.Series[Any], pattern: str | None = None) -> Literal["moment", "year", ""]:
    """Return whether a column holds moments, nothing finer than years, or no times.

    Args:
        column: The column, as its texts were read. A number is taken for a moment, unless it looks like a year.
        pattern: The ``--timestamp-format`` by which it was read; None for none.

    Examples:
        >>> times_in(pd.Series([1950.0, 1951.0])), times_in(pd.Series([1718884800])), times_in(pd.Series(["Aruba"]))
        ('year', 'moment', '')
    """
    found: Literal["moment", "year", ""] = ""
    for cell in column.dropna().tolist():
        if isinstance(cell, date):
            return "year" if pattern is not None and only_years(pattern) else "moment"
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            if not (FIRST_YEAR <= cell <= LAST_YEAR and cell % 1 == 0):
                return "moment"
            found = "year"
    return found


def only_years(pattern: str) -> bool:
    """Tell whether a ``--timestamp-format`` reads nothing finer than years.

    >>> only_years("%Y"), only_years("%Y-%m")
    (True, False)
    """
    return set(re.findall("%.", pattern)) <= {"%Y", "%y", "%z", "%%"}


def seems_to_hold_times(column: object, cells: pd.Series[Any]) -> bool:
    """Tell whether a column is named like a date or a time, or holds dates, as texts or typed. Numbers do not count."""
    if not WORDS_FOR_A_TIME.isdisjoint(re.split(r"[\s_]+", str(column).lower())):
        return True
    some = cells.head(ROWS_LOOKED_AT)
    if some.dtype.kind == "M":
        return True
    texts = [cell for cell in some.tolist() if isinstance(cell, str)]
    read = moments(pd.Series(texts, dtype=object)).dropna().tolist() if texts else some.dropna().tolist()
    return any(isinstance(cell, date) for cell in read)


def _number(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return -1
