"""Formatting: numbers, times and sizes as the dashboard shows them.

Comes in: a value. Goes out: text for people, or the ISO 8601 text of the JSON twins.
Never: rounds a value that is shown as stored, or knows a time zone other than UTC.
"""

from __future__ import annotations

from datetime import datetime, timezone

UNITS = ("bytes", "kB", "MB", "GB", "TB")
STEP = 1_000
SHOWN_CHARACTERS = 200
LONGEST_LINKED = 2_000
"""The longest name, in characters, that stands in links and forms of a page. A longer one is not repeated at all."""

LARGE, HUGE = 1e5, 1e15
"""Between these, a number is shown with separators of thousands and without decimals."""


def iso(moment: float | None) -> str | None:
    """Return a moment as ISO 8601, in whole seconds.

    Args:
        moment: Unix seconds; None for none.

    Examples:
        >>> iso(1718870400), iso(None)
        ('2024-06-20T08:00:00Z', None)
    """
    if moment is None:
        return None
    return datetime.fromtimestamp(int(moment), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def shown_name(name: str) -> str:
    """Return the beginning of a name, with an ellipsis if that is not all.

    >>> shown_name("load"), len(shown_name("x" * 1_000))
    ('load', 201)
    """
    return name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"


def is_linked(name: str) -> bool:
    """Tell whether a name may stand in links and forms.

    >>> is_linked("load"), is_linked("x" * 1_000_000)
    (True, False)
    """
    return len(name) <= LONGEST_LINKED


def bounded_name(name: str) -> str:
    """Return a name, or the beginning of one that is too long for links, with an ellipsis.

    >>> bounded_name("load"), len(bounded_name("x" * 1_000_000))
    ('load', 2001)
    """
    return name if is_linked(name) else f"{name[:LONGEST_LINKED]}…"


def shown_time(text: str) -> str:
    """Return an ISO 8601 text as it is read most easily: without seconds if they are 0.

    >>> shown_time("2024-06-20T08:00:00Z"), shown_time("2024-06-20T08:00:30Z")
    ('2024-06-20 08:00', '2024-06-20 08:00:30')
    """
    return text.replace("T", " ").removesuffix("Z").removesuffix(":00")


def field_time(text: str) -> str:
    """Return an ISO 8601 text as a browser's field for date and time has it.

    >>> field_time("2024-06-20T08:00:00Z")
    '2024-06-20T08:00:00'
    """
    return text.removesuffix("Z")


def number(value: float) -> str:
    """Return a stored value exactly: as the shortest text that is read back as it.

    >>> number(42.0), number(1284.5), number(1e300)
    ('42', '1284.5', '1e+300')
    """
    return repr(float(value)).removesuffix(".0")


def short_number(value: float) -> str:
    """Return a value in about six digits, for the edges of a plot.

    >>> short_number(1284.123456), short_number(0.1 + 0.2), short_number(-1_234_567.8)
    ('1284.12', '0.3', '-1,234,568')
    """
    return f"{value:,.0f}" if LARGE <= abs(value) < HUGE else f"{value:.6g}"


def size(count: int) -> str:
    """Return a number of bytes.

    >>> size(0), size(1_234_567)
    ('0 bytes', '1.2 MB')
    """
    amount, unit = float(count), UNITS[0]
    for unit in UNITS:  # noqa: B007  # the unit is used after the loop
        if amount < STEP:
            break
        amount /= STEP
    return f"{count} bytes" if unit == UNITS[0] else f"{amount:.1f} {unit}"
