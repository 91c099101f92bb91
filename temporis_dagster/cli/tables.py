"""Tables: a file becomes a frame whose cells are numbers, moments and names.

Comes in: a path, or stdin. Goes out: a frame for ``observe``, which does all the checking.
Never: guesses a time zone, loses a bit of a number, takes a series called NA for a missing name, or decides about a
cell that is neither a number nor a moment: it stays text, so that the check names it.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import shlex
import sys
import warnings
import zlib
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from temporis_dagster.cli.invalid_rows import LINE
from temporis_dagster.contract import EXACT_INTEGER_LIMIT
from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.errors import ConfigurationError

GZIP = b"\x1f\x8b"
OTHER_DELIMITERS = (",", ";", "\t", "|")
UNNAMED = "Unnamed: 0"
"""What pandas calls a first column without a name."""

PARQUET = (".parquet", ".pq")
MISSING = frozenset({"", "NA", "N/A", "NaN", "NaT", "nan", "null", "NULL", "None"})
"""What stands for "no value" in a column of values or timestamps."""

WITH_OFFSET = r".*[Tt ].*(?:[Zz]|[+-]\d\d(?::?\d\d)?)"
FULL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{3}|\.\d{6})?)?(?:[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def table_of(path: str, *, timestamp: str, name: str | None, delimiter: str = ",") -> pd.DataFrame:
    """Read a file.

    Args:
        path: A CSV or Parquet file, or - for CSV from stdin. CSV may be compressed with gzip.
        timestamp: The column of timestamps.
        name: The column of series names, which are taken as they are; None if there is none.
        delimiter: What separates the columns of CSV.

    Returns:
        The cells. The index of CSV is the line of each row in the file, where that can be told, and is called so.

    Raises:
        InvalidObservationsError: It is no such file.
        ConfigurationError: Nothing that reads Parquet is installed.
    """
    if path.lower().endswith(PARQUET):
        return _parquet(path)
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    content = _unpacked(content)
    frame = _csv(content, delimiter, timestamp, name)
    for column in frame.columns:
        if column != name:
            frame[column] = moments(frame[column]) if column == timestamp else numbers(frame[column])
    return frame.set_axis(_lines(content, len(frame), delimiter))


def moments(column: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers, and ISO 8601 text as moments: aware where an offset is written, else naive; the rest stays text."""
    mixed = numbers(column)
    texts = column[[isinstance(cell, str) for cell in mixed]].astype(object).str.strip()
    if not len(texts):
        return mixed
    aware = texts.str.fullmatch(WITH_OFFSET).astype(bool)
    parts = [_parsed(texts[aware], utc=True), _parsed(texts[~aware], utc=False)]
    whole = [part for part in parts if len(part) == len(column) and part.notna().all()]
    if whole:
        return whole[0]
    mixed = mixed.astype(object)
    for part in parts:
        found = part.dropna()
        mixed[found.index] = found.astype(object)
    return mixed.map(_far_moment)


def numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """The cells that are numbers as numbers, exactly; missing ones as NaN; the others stay text."""
    cells = [_number(cell) for cell in column.tolist()]
    kinds = set(map(type, cells))
    exact = kinds == {float} or (
        kinds <= {int, float} and all(abs(cell) <= EXACT_INTEGER_LIMIT for cell in cells if type(cell) is int)
    )
    return pd.Series(cells, column.index, dtype=float if exact else object)


def _number(cell: Any) -> Any:
    """One cell. Python's own float(): what pandas makes of text has been off by a bit, depending on its version."""
    if not isinstance(cell, str) or "_" in cell or not cell.isascii():
        return cell
    if cell in MISSING:
        return math.nan
    try:
        return int(cell) if INTEGER.fullmatch(cell.strip()) else float(cell)
    except ValueError:
        return cell


def _far_moment(cell: Any) -> Any:
    """Before 1677 and after 2262, where pandas 2 ends, Python's own datetime."""
    if not isinstance(cell, str) or not FULL.fullmatch(cell.strip()):
        return cell
    try:
        return datetime.fromisoformat(re.sub("[Zz]$", "+00:00", cell.strip()))
    except ValueError:
        return cell


def _parsed(texts: pd.Series[Any], *, utc: bool) -> pd.Series[Any]:
    return pd.to_datetime(texts, format="ISO8601", utc=utc, errors="coerce")


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        _refuse_file(error)


def _lines(content: bytes, rows: int, delimiter: str) -> pd.Index:
    """The line of the file on which each row begins; the rows' numbers where that cannot be told."""
    if content.rstrip(b"\r\n").count(b"\n") == rows:
        return pd.RangeIndex(2, rows + 2, name=LINE)
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader, begins, ended = csv.reader(text, delimiter=delimiter), list[int](), 0
    with suppress(csv.Error):
        for cells in reader:
            if any(cells) or len(cells) > 1:
                begins.append(ended + 1)
            ended = reader.line_num
    return pd.Index(begins[1:], name=LINE) if len(begins) == rows + 1 else pd.RangeIndex(rows)


def _csv(content: bytes, delimiter: str, timestamp: str, name: str | None) -> pd.DataFrame:
    """All cells as the text that they are."""
    text: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_filter": False, "sep": delimiter}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            header = pd.read_csv(io.BytesIO(content), header=None, nrows=1, **text)
            _check_header([str(column) for column in header.iloc[0]], delimiter, timestamp, name)
            frame: pd.DataFrame = pd.read_csv(io.BytesIO(content), index_col=False, **text)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        _refuse_file(error)
    return frame


def _check_header(columns: list[str], delimiter: str, timestamp: str, name: str | None) -> None:
    others = [other for other in OTHER_DELIMITERS if other != delimiter and other in columns[0]]
    if len(columns) == 1 and others and timestamp not in columns:
        other = "tab" if others[0] == "\t" else shlex.quote(others[0])
        refuse(f"There is only one column, {columns[0]!r}. Pass --delimiter {other} if that separates the columns.")
    if columns[0] == "" and timestamp not in (*columns, UNNAMED):
        refuse(
            f"There is no column {timestamp!r}, and the first column has no name: pandas writes an index so. Pass"
            f" --timestamp '{UNNAMED}' if it holds the timestamps."
        )
    if columns[0] == "" and timestamp != UNNAMED and name not in columns:
        refuse("The first column has no name, so it would be a series without one. Write the file without the index.")
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        refuse(f"The columns {twice} exist more than once. Rename or drop the duplicates.")


def _parquet(path: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise ConfigurationError("Parquet files need pyarrow. Install it with: pip install pyarrow") from None
    except (OSError, ValueError) as error:
        _refuse_file(error)


def _refuse_file(error: Exception) -> NoReturn:
    refuse(f"The file cannot be read: {error}. Check that it is CSV with a line of column names, in UTF-8, or Parquet.")
