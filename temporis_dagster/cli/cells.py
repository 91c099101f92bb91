"""Cells: turn the text in a file's cells into numbers and moments.

Comes in: columns of text. Goes out: the same columns with exact numbers, moments, and NaN for "no value".
Never: guesses a time zone, loses a bit of a number, or interprets a word such as "now". A cell that is neither a number
nor a moment stays text, so that the check can name it.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import pandas as pd

from temporis_dagster.cli.file_form import FileForm
from temporis_dagster.contract import EXACT_INTEGER_LIMIT

PLAIN = FileForm()

MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none", r"\n"}
    | {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
"""Texts that mean "no value" in a column of values or timestamps. Case and surrounding blanks do not matter."""

YEAR_FIRST = r"\d{4}"
WITH_OFFSET = r".*[Tt ].*(?:[Zz]|[+-]\d\d(?::?\d\d)?)"
FULL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{3}|\.\d{6})?)?(?:[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

LAST_YEAR = 9999
"""After this year, pandas has been seen to turn a moment into one of another year."""

IN_UTC = re.compile(r"(?P<date>\d{4}[\d/.-]+)(?P<time>[Tt ][\d:.,]+)?(?: ?[+-]00:?00)? (?:UTC|GMT)", re.ASCII)
END_OF_DAY = re.compile(r"(?<=[Tt ])24(?P<rest>:?00(?::?00(?:[.,]0+)?)?)?(?=$|[Zz +-])", re.ASCII)
DECIMAL_COMMA = re.compile(r"(?<=\d\d),(?=\d+(?:$|[Zz +-]))", re.ASCII)


def moments(column: pd.Series[Any]) -> pd.Series[Any]:
    """Turn numbers into numbers and ISO 8601 text into moments; leave the rest as text.

    A moment is aware where the text has an offset, and naive otherwise.
    """
    mixed = numbers(column)
    if all(isinstance(cell, str) and INTEGER.fullmatch(cell.strip()) for cell in column.tolist()):
        return mixed.astype("int64") if mixed.dtype.kind == "f" else mixed  # messages quote 19580329, not 19580329.0
    texts = column[[isinstance(cell, str) for cell in mixed]].astype(object).str.strip()
    if not len(texts):
        return mixed
    parts = _parsed(texts)
    whole = [part for part in parts if len(part) == len(column) and part.notna().all()]
    if whole:
        return whole[0]
    mixed = mixed.astype(object)
    for part in parts + _parsed_variants(texts, parts):
        found = part.dropna()
        mixed[found.index] = found.astype(object)
    return mixed.map(_far_moment)


def numbers(column: pd.Series[Any], form: FileForm = PLAIN) -> pd.Series[Any]:
    """Turn cells that are numbers into exact numbers and missing ones into NaN; leave the rest as text.

    Args:
        column: Any cells; only text is interpreted.
        form: How numbers are written, and further texts that mean "no value".
    """
    if form.plain_numbers:
        cells = [_number(cell, form.missing) for cell in column.tolist()]
    else:
        cells = [_written_number(cell, form) for cell in column.tolist()]
    kinds = set(map(type, cells))
    exact = kinds == {float} or (
        kinds <= {int, float} and all(abs(cell) <= EXACT_INTEGER_LIMIT for cell in cells if type(cell) is int)
    )
    return pd.Series(cells, column.index, dtype=float if exact else object)


def is_moment(cell: str) -> bool:
    """Tell whether a cell can be read as a timestamp, at least once its zone is known.

    >>> is_moment("2024-06-20T08:00"), is_moment("1718870400"), is_moment("now"), is_moment("orders")
    (True, True, False, False)
    """
    (moment,) = moments(pd.Series([cell], dtype=object)).tolist()
    return not isinstance(moment, str) and not pd.isna(moment)


def _number(cell: Any, missing: frozenset[str]) -> Any:
    """Convert one cell with Python's own float(): some versions of pandas are off by one bit."""
    if not isinstance(cell, str):
        return cell
    if missing and cell.strip() in missing:
        return math.nan
    if "_" in cell or not cell.isascii():
        return cell
    try:
        return int(cell) if INTEGER.fullmatch(cell.strip()) else float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in MISSING else cell


def _written_number(cell: Any, form: FileForm) -> Any:
    """Convert one cell whose separators are others than Python's."""
    if not isinstance(cell, str) or cell.strip() in form.missing or cell.strip().lower() in MISSING:
        return math.nan if isinstance(cell, str) else cell
    plain = form.number(cell)
    return cell if plain is None else _number(plain, frozenset())


def _parsed(texts: pd.Series[Any]) -> list[pd.Series[Any]]:
    """Parse ISO 8601 text with and without an offset.

    Only text that begins with a year is parsed, because pandas also accepts "now" and "today".
    """
    texts = texts[texts.str.match(YEAR_FIRST).astype(bool)]
    aware = texts.str.fullmatch(WITH_OFFSET).astype(bool)
    return [
        pd.to_datetime(texts[rows], format="ISO8601", utc=utc, errors="coerce")
        for rows, utc in ((aware, True), (~aware, False))
    ]


def _parsed_variants(texts: pd.Series[Any], parts: list[pd.Series[Any]]) -> list[pd.Series[Any]]:
    """Parse what pandas does not: 24:00, a decimal comma, and "UTC" in words as BigQuery, Go and Ruby write it."""
    left = texts.drop([row for part in parts for row in part.dropna().index])
    plain = left.map(_plain_iso)
    found = [part.dropna() for part in _parsed(plain[plain != left])]
    return [_days_ended(left[part.index], part) for part in found]


def _plain_iso(text: str) -> str:
    """Rewrite a moment in the form that pandas reads, with 24:00 as 00:00.

    >>> _plain_iso("2024-06-20 08:00:00,5 UTC"), _plain_iso("2024-06-20T24:00")
    ('2024-06-20 08:00:00.5Z', '2024-06-20T00:00')
    """
    if utc := IN_UTC.fullmatch(text):
        text = f"{utc['date']}{utc['time'] or 'T00:00'}Z"
    text = END_OF_DAY.sub(lambda found: f"00{found['rest'] or ''}", text)
    return DECIMAL_COMMA.sub(".", text, count=1)


def _days_ended(texts: pd.Series[Any], read: pd.Series[Any]) -> pd.Series[Any]:
    """Return the moments, one day later where the text has 24:00, or NaT where that exceeds the range of pandas."""
    return pd.Series(list(map(_day_ended, texts.tolist(), read.tolist())), read.index, dtype=object)


def _day_ended(text: str, moment: pd.Timestamp) -> object:
    if not END_OF_DAY.search(text):
        return moment
    return pd.NaT if moment.year >= LAST_YEAR else moment + pd.Timedelta(days=1)


def _far_moment(cell: Any) -> Any:
    """Use Python's own datetime before 1677 and after 2262, where the range of pandas 2 ends."""
    if not isinstance(cell, str) or not FULL.fullmatch(cell.strip()):
        return cell
    try:
        return datetime.fromisoformat(re.sub("[Zz]$", "+00:00", cell.strip()))
    except ValueError:
        return cell
