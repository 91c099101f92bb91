"""Wording: numbers of things in the singular or the plural, and the first of many, for messages that people read.

Comes in: a count and words, names, or a cell. Goes out: text such as "1 attempt" or "'a', 'b', 'c' and 2 more".
Never: knows what is counted, or what a cell means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date

MOST_SHOWN = 5
"""Enough to recognise what is meant."""

MOST_COLUMNS = 20
"""Enough to choose from."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things, with thousands separators.

    Args:
        count: How many there are.
        noun: What one of them is called.
        plural: What several of them are called; by default the noun with an "s", or the noun itself for "series".

    Examples:
        >>> counted(1, "attempt"), counted(0, "attempt"), counted(2000, "attempt")
        ('1 attempt', '0 attempts', '2,000 attempts')
        >>> counted(2, "series"), counted(2, "batch", "batches")
        ('2 series', '2 batches')
    """
    regular = noun if noun.endswith("series") else f"{noun}s"
    return f"{count:,} {agreeing(count, noun, plural or regular)}"


def agreeing(count: int, singular: str, plural: str) -> str:
    """The word that agrees with a count: a verb, a pronoun, or a noun that stands apart from its number.

    Examples:
        >>> f"{1:,} of {counted(2000, 'observation')} {agreeing(1, 'is', 'are')} invalid."
        '1 of 2,000 observations is invalid.'
    """
    return singular if count == 1 else plural


def listed(names: Iterable[object]) -> str:
    """The names, or the first five and how many more there are.

    Examples:
        >>> listed(["orders", "revenue"]), listed("abcdefg")
        ("'orders', 'revenue'", "'a', 'b', 'c', 'd', 'e' and 2 more")
    """
    return shortened([repr(name) for name in names])


def columns_of(names: Sequence[object]) -> str:
    """The names of columns as a list, or the first twenty and how many more there are.

    Examples:
        >>> columns_of(["day", "orders"]), columns_of(range(23))[-18:]
        ("['day', 'orders']", '18, 19] and 3 more')
    """
    more = len(names) - MOST_COLUMNS
    return str(list(names[:MOST_COLUMNS])) + (f" and {more:,} more" if more > 0 else "")


def shown(item: object) -> str:
    """A cell or a label, at most 60 characters: moments and dates as they are written, anything else as its repr.

    Examples:
        >>> shown("orders"), shown(date(2024, 6, 20)), shown(2.5)
        ("'orders'", '2024-06-20', '2.5')
    """
    if isinstance(item, date):
        with suppress(Exception):  # a time zone of the caller's own may raise anything
            return str(item)
    return f"{item!r:.60}"


def shortened(texts: Sequence[str]) -> str:
    """The texts, or the first five and how many more there are."""
    more = len(texts) - MOST_SHOWN
    return ", ".join(texts[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
