"""Metadata as plain values, which every surface turns into what it shows: Dagster's own, or JSON for Dagster Pipes.

Comes in: numbers, texts, frames. Goes out: values with the names that Dagster and Dagster Pipes have for their types.
Never: imports Dagster, which a process that only reports to it need not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from temporis_dagster.metadata_keys import row_count_key, rows_key

SHOWN_ROWS = 20


@dataclass(frozen=True)
class Value:
    """One value of metadata.

    Attributes:
        type: What Dagster and Dagster Pipes call its type; ``"native"`` is one that is Dagster's own already.
        raw: The value. Unless it is native, JSON can hold it.
    """

    type: str
    raw: Any


YES = Value("bool", raw=True)

Values: TypeAlias = Mapping[str, Value]
Record: TypeAlias = Mapping[str, "str | int"]


def text(given: str) -> Value:
    """Return a text."""
    return Value("text", given)


def integer(given: int) -> Value:
    """Return a whole number."""
    return Value("int", int(given))


def number(given: float) -> Value:
    """Return a number."""
    return Value("float", float(given))


def moment(second: float) -> Value:
    """Return a point in time, given as a Unix second."""
    return Value("timestamp", float(second))


def json_value(given: Mapping[str, Any]) -> Value:
    """Return a mapping that JSON can hold."""
    return Value("json", dict(given))


def markdown(given: str) -> Value:
    """Return text with markup."""
    return Value("md", given)


def asset_value(key: Sequence[str]) -> Value:
    """Return a link to an asset, given as the parts of its key."""
    return Value("asset", list(key))


def table(records: Sequence[Record], columns: Mapping[str, str] | None = None) -> Value:
    """Return a table.

    Args:
        records: At least one row, unless the columns are given.
        columns: The type of each column; by default, what the values of the first row are.
    """
    return Value("table", {"records": [dict(record) for record in records], "columns": columns and dict(columns)})


def offending_values(kind: str, rows: pd.DataFrame, count: int | None = None) -> dict[str, Value]:
    """Return the number of rows and a table of the first of them; nothing if there are no rows.

    Args:
        kind: What is wrong with the rows, in one word, which becomes part of the metadata keys.
        rows: All of the rows, or the first of them.
        count: The number of rows, if ``rows`` does not have all of them.
    """
    if rows.empty:
        return {}
    return {row_count_key(kind): integer(len(rows) if count is None else count), rows_key(kind): first_rows(rows)}


def first_rows(rows: pd.DataFrame, most: int = SHOWN_ROWS) -> Value:
    """Return the first rows of a frame as a table; a frame without rows has no table.

    Args:
        rows: At least one row.
        most: The maximum number of rows to show.
    """
    first = rows.head(most)
    cells = {str(column): [_cell(value) for value in first[column]] for column in first}
    return table([dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)])


def _cell(value: object) -> str | int:
    """Return a cell as an integer or as text, because NaN and infinity are not valid JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return printable(value.isoformat() if isinstance(value, pd.Timestamp) else str(value))


def printable(given: str, limit: int = 2_000) -> str:
    """Return the text in a form that every database accepts: no lone surrogates, no NUL, and at most ``limit`` long."""
    clean = given.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return clean if len(clean) <= limit else f"{clean[:limit]}..."
