"""Times across: columns that are named like months or years, so that the times of a table are in its header.

Comes in: names of columns. Goes out: what that means for the command, and how to reshape such a table.
Never: reshapes it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence

from temporis_dagster.wording import listed

YEAR = re.compile(r"[A-Za-z]?(?:1[5-9]|20)\d\d(?:\.0+)?(?: \[YR\d{4}\])?", re.ASCII)
"""A year as the name of a column: 1960, X1960 as R writes it, 1960.0, or 1960 [YR1960] as the World Bank writes it."""

SHORT = frozenset(name.lower() for name in calendar.month_abbr if name)
LONG = frozenset(name.lower() for name in calendar.month_name if name)
ENOUGH = 3
"""How many such columns it takes: one or two may be series that only have such a name."""


def times_across(
    columns: Sequence[str],
    timestamps: Sequence[str] = (),
    left_out: Sequence[str] = (),
    read: str = "pd.read_csv('FILE.csv')",
) -> tuple[str, str] | None:
    """Return what is noticed about the names of columns, and how to reshape the table; None if they are not times.

    Args:
        columns: The columns of the file that are taken.
        timestamps: Those of them that hold timestamps.
        left_out: Its other columns.
        read: How the example reads the file.

    Examples:
        >>> noticed, example = times_across(["YEAR", "JAN", "FEB", "MAR"], ["YEAR"])
        >>> noticed
        "The columns 'JAN', 'FEB', 'MAR' are named like months"
        >>> print(example)
        long = pd.read_csv('FILE.csv').melt(['YEAR'], var_name='month', value_name='measured')
        long.to_csv('long.csv', index=False)
        >>> times_across(["day", "JAN", "FEB"], ["day"]) is None
        True
    """
    candidates = [column for column in columns if column not in timestamps]
    months = [column for column in candidates if column.strip().lower() in SHORT | LONG]
    years = [column for column in candidates if YEAR.fullmatch(column.strip())]
    across, kind = (months, "month") if len(months) >= len(years) else (years, "year")
    if len(across) < ENOUGH:
        return None
    kept = [column for column in (*columns, *left_out) if column not in across]
    example = (
        f"long = {read}.melt({kept!r}, var_name={kind!r}, value_name='measured')\nlong.to_csv('long.csv', index=False)"
    )
    return f"The columns {listed(across)} are named like {kind}s", example


def in_words(found: tuple[str, str]) -> str:
    """Return what is noticed and how to reshape the table as a text, with the example on lines of its own."""
    noticed, example = found
    directives = "a format such as '%Y %b' or '%Y %B'" if noticed.endswith("months") else "--timestamp-format %Y"
    return (
        f"{noticed}. Every column of values is a series for this command, and only rows have times, so such a table has"
        f" to be reshaped first. With pandas:\n{example}\nThen name the column of each part of the time with"
        f" --timestamp, and pass {directives}."
    )
