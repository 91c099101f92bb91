"""The Temporis API as data: its rules for names, times and numbers, in one place.

Comes in: nothing. Goes out: constants and pure checks that client, store and service share.
Never: does I/O, or knows pandas.

The API's documentation is silent in places; the choice made there is marked ``choice``.
"""

from __future__ import annotations

import re

DATA_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
DATA_SOURCE_NAME_RULE = "a lowercase letter, then lowercase letters, digits and underscores; at most 48 characters"

FIRST_TIMESTAMP = -62_135_596_800
"""The first Unix second a timestamp may be: the start of the year 1. choice"""

TIMESTAMP_LIMIT = 100_000_000_000
"""Timestamps are below this many Unix seconds (the year 5138): anything larger is milliseconds. choice"""

EXACT_INTEGER_LIMIT = 2**53
"""Integers up to this magnitude are held exactly by the float64 that every value becomes. choice"""


def is_data_source_name(name: object) -> bool:
    """Tell whether a data source may have this name.

    >>> is_data_source_name("grid_load_eu"), is_data_source_name("Store-Metrics")
    (True, False)
    """
    return isinstance(name, str) and DATA_SOURCE_NAME.fullmatch(name) is not None


def series_name_fault(name: object) -> str | None:
    """Say what is wrong with a series name; None if nothing is. choice: the API says no more than "string".

    >>> series_name_fault("EUR_USD__bid_price") is None
    True
    >>> series_name_fault("")
    'the series name is empty'
    """
    if not isinstance(name, str):
        return f"a series name is a string, not {type(name).__name__}"
    if not name:
        return "the series name is empty"
    if "\0" in name:
        return "the series name contains a NUL character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the series name contains a lone surrogate, which is not Unicode text"
    return None
