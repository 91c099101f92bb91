"""The Temporis API as data: its rules for names, times and numbers, in one place.

Comes in: nothing. Goes out: constants and pure checks that the client, the store and the service share.
Never: does I/O, or knows pandas.

Where the documentation of the API is silent, this module makes a choice and marks it with ``choice``.
"""

from __future__ import annotations

import enum
import re

from temporis_dagster.errors import ConfigurationError

DATA_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
DATA_SOURCE_NAME_RULE = (
    "a lowercase letter followed by lowercase letters, digits and underscores, 48 characters at most"
)

FIRST_TIMESTAMP = -62_135_596_800
"""The first Unix second that a timestamp may have: the start of the year 1. choice"""

TIMESTAMP_LIMIT = 100_000_000_000
"""Timestamps are below this number of Unix seconds (the year 5138): larger ones are milliseconds. choice"""

EXACT_INTEGER_LIMIT = 2**53
"""Integers up to this magnitude are held exactly by the float64 that every value becomes. choice"""


def is_data_source_name(name: object) -> bool:
    """Tell whether this can name a data source.

    >>> is_data_source_name("grid_load_eu"), is_data_source_name("Store-Metrics")
    (True, False)
    """
    return isinstance(name, str) and DATA_SOURCE_NAME.fullmatch(name) is not None


def ensure_data_source_name(name: object) -> None:
    """Refuse what cannot name a data source.

    Args:
        name: What the caller passed as a name.

    Raises:
        ConfigurationError: It breaks the rule, or is not a string.

    Examples:
        >>> ensure_data_source_name("store_metrics")
        >>> ensure_data_source_name("Store-Metrics")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        temporis_dagster.errors.ConfigurationError: 'Store-Metrics' cannot name a data source. Use ...
    """
    if not is_data_source_name(name):
        raise ConfigurationError(f"{name!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}.")


def series_name_fault(name: object) -> str | None:
    """Say why this cannot name a series; None if it can. choice: the API only documents "string".

    >>> series_name_fault("EUR_USD__bid_price") is None
    True
    >>> series_name_fault("")
    'the series name is empty'
    """
    if not isinstance(name, str):
        return f"a series name must be a string, got {type(name).__name__}"
    if not name:
        return "the series name is empty"
    if "\0" in name:
        return "the series name contains a NUL character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the series name contains a lone surrogate, which is not Unicode text"
    return None


CLOUD_URL = "https://api.temporis.co"
INGEST_PATH = "/v1/data_sources/ingest"
PREDICT_PATH = "/v1/predict"

MISSING_TOKEN = "Missing access token."  # noqa: S105  # what the API answers, not a token
INVALID_TOKEN = "Invalid access token."  # noqa: S105
NOT_FOUND = "Data source not found."
ARCHIVED = "Data source is archived."

TOKEN = re.compile(r"ts_[\x21-\x7e]{1,500}")


class Meaning(enum.Enum):
    """What the answer to an ingest means for the records of its request."""

    STORED = "stored"
    NOT_AUTHENTICATED = "not authenticated"
    NOT_FOUND = "not found"
    ARCHIVED = "archived"
    TOO_LARGE = "too large: send it in parts"
    INVALID = "a record is invalid: find it"
    TRANSIENT = "try again later"
    UNCLEAR = "may be transient: try again, but not often"
    UNEXPECTED = "an answer that the API does not document"


_MEANINGS = {
    204: Meaning.STORED,
    400: Meaning.INVALID,
    401: Meaning.NOT_AUTHENTICATED,
    404: Meaning.NOT_FOUND,
    409: Meaning.ARCHIVED,
    413: Meaning.TOO_LARGE,
    422: Meaning.INVALID,
    429: Meaning.TRANSIENT,
    500: Meaning.UNCLEAR,
    502: Meaning.TRANSIENT,
    503: Meaning.TRANSIENT,
    504: Meaning.TRANSIENT,
    # choice: what gateways answer when a request timed out, came too early, or found no service behind them
    **dict.fromkeys((408, 425, 520, 521, 522, 523, 524, 530), Meaning.TRANSIENT),
}


_VERDICTS = (Meaning.INVALID, Meaning.ARCHIVED)
"""What only the API itself can decide, about records or about a data source. choice"""


def meaning_of(status: int, *, from_api: bool = True) -> Meaning:
    """Decide what an HTTP status means for the records of an ingest. 204 is the only success.

    To retry one more status, add it to the table above: how often it is retried follows from its meaning. Whether its
    records may have been stored is a question for ``may_be_applied``.

    Args:
        status: The HTTP status.
        from_api: Whether the body was written by the API, rather than by a proxy in between.

    Examples:
        >>> meaning_of(204).value, meaning_of(502).value
        ('stored', 'try again later')
        >>> meaning_of(408).value, meaning_of(522).value
        ('try again later', 'try again later')
        >>> meaning_of(422).name, meaning_of(422, from_api=False).name
        ('INVALID', 'UNCLEAR')
    """
    meaning = _MEANINGS.get(status, Meaning.UNEXPECTED)
    return Meaning.UNCLEAR if meaning in _VERDICTS and not from_api else meaning


def may_be_applied(status: int, *, from_api: bool = True) -> bool:
    """Tell whether a request that got this status may have stored something. choice: the API only documents refusals.

    >>> may_be_applied(503), may_be_applied(200), may_be_applied(429)
    (True, True, False)
    >>> may_be_applied(422), may_be_applied(422, from_api=False)
    (False, True)
    """
    is_unclear = meaning_of(status, from_api=from_api) is Meaning.UNCLEAR
    return is_unclear or (status // 100 in (2, 5) and status != 501)  # noqa: PLR2004  # status classes
