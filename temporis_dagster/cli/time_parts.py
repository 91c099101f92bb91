"""Time parts: columns that hold a part of a time, such as the quarter of a year, and how such a part is written.

Comes in: the name of a column, and its cells. Goes out: the directive of ``--timestamp-format`` that reads them.
Never: joins columns, or decides whether a column is a series.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator

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


def directive_of(column: object, cells: Iterable[object]) -> str:
    """Return how the part of a time in a column is written; nothing if it seems to hold something else.

    Examples:
        >>> directive_of("quarter", [1, 2, 3.0]), directive_of("Month", ["JAN", "feb"]), directive_of("quarter", [1, 7])
        ('%q', '%b', '')
    """
    directive = NAMED.get("".join(letter for letter in str(column).lower() if letter.isalnum()), "")
    known = set(_known(cells)) if directive else set()
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


def _known(cells: Iterable[object]) -> Iterator[object]:
    for cell in cells:
        text = cell.strip() if isinstance(cell, str) else cell
        if text is not None and text == text and text != "":  # noqa: PLR0124  # NaN differs from itself
            yield text


def _number(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return -1
