"""Arrow columns: a table of Arrow becomes the pandas frame that holds the same rows, with series names as categories.

Comes in: a pyarrow Table and the options that say which of its columns are read. Goes out: a pandas DataFrame of plain
dtypes; or an error, in Arrow's words, for a column whose type can be neither a number nor a moment nor a name.
Never: rounds a number, or takes a missing integer for a float.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of_type

from temporis_dagster.data_source.observations.layout import INDEX, columns_by_role, refuse
from temporis_dagster.data_source.observations.options import ObservationOptions

Column: TypeAlias = "pd.Series[Any]"

NOT_READ = "The column {!r} has the Arrow type {}, which is not {}. {}, or leave the column out."
HOW_TO_CAST = {
    "a number": "Cast it to a number first",
    "a moment in time": "Cast it to a timestamp first",
    "a series name": "Cast it to a string first",
}

ROUND_ROWS = 10_000
"""The longest round of series names that is looked for: one row for each series, and then the same again."""


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are read, and as what.

    Attributes:
        timestamp: The column of timestamps; None if the table has no columns.
        name: The column of series names; None for a wide table.
        values: The columns of values.
    """

    timestamp: Hashable
    name: Hashable
    values: tuple[Hashable, ...]

    def of(self, column: Hashable) -> str | None:
        """Return what a column is read as, in words; None if it is not read."""
        if column == self.timestamp:
            return "a moment in time"
        if self.name is not None and column == self.name:
            return "a series name"
        return "a number" if column in self.values else None


def roles_of(schema: pa.Schema, options: ObservationOptions) -> Roles:
    """Return which columns are read.

    Raises:
        InvalidObservationsError: The chosen columns do not exist, the table can be read in more than one way, or a
            column that is read has a type that cannot be read.
    """
    without_rows = pd.DataFrame(np.empty((0, len(schema)), dtype=object), columns=pd.Index(schema.names, dtype=object))
    table = columns_by_role(without_rows, options)
    timestamp = None if table.timestamp_label is INDEX else table.timestamp_label
    roles = Roles(timestamp, None if table.names is None else table.name_label, tuple(table.value_labels))
    for field in schema:
        role = roles.of(field.name)
        if role is not None and not _can_be(role, field.type):
            refuse(NOT_READ.format(field.name, field.type, role, HOW_TO_CAST[role]))
    return roles


def frame_of_table(table: pa.Table, roles: Roles | None, first_row: int = 0) -> pd.DataFrame:
    """Return the frame that holds the columns of a table that are read, or all of them.

    Args:
        table: The table.
        roles: Which of its columns are read; None for all of them.
        first_row: The label of its first row.
    """
    names = [name for name in table.column_names if roles is None or roles.of(name) is not None]
    columns = {i: _column(table.column(name)) for i, name in enumerate(names)}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)), copy=False)
    frame.columns = pd.Index(names, dtype=object)
    frame.index = pd.RangeIndex(first_row, first_row + len(table))
    return frame


def in_arrow_words(options: ObservationOptions) -> ObservationOptions:
    """Return the same options, whose advice is about Arrow's types instead of pandas' methods."""
    kind = type(options)
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return _worded(kind)(**given)  # type: ignore[arg-type]  # a class can be hashed


@lru_cache
def _worded(kind: type[ObservationOptions]) -> type[ObservationOptions]:
    advice = replace(
        kind.ADVICE,
        no_index="",
        calendar_numbers="parse it as a date or timestamp in the query that makes the frame",
        booleans="cast it to an integer, or leave the column out",
        names="cast the names to a string",
        passes="make the timestamps aware, in UTC, in the query that makes the frame",
    )
    texts = "for text by parsing it, to UTC only where the text is UTC or has an offset"
    return type(kind.__name__, (kind,), {"ADVICE": advice, "TEXT_AS_TIMESTAMP": texts, "__module__": kind.__module__})


def _can_be(role: str, kind: pa.DataType) -> bool:
    """Return whether a column of this type can be read as that, or be refused row by row as in pandas."""
    if of_type.is_dictionary(kind):
        return role != "a moment in time" and _is_text(kind.value_type)
    plain = of_type.is_null(kind) or of_type.is_boolean(kind) or of_type.is_integer(kind) or _is_text(kind)
    if role == "a series name":
        return plain or of_type.is_floating(kind)
    number = plain or of_type.is_floating(kind) or (of_type.is_decimal(kind) and not of_type.is_decimal256(kind))
    return number or of_type.is_timestamp(kind) or of_type.is_date(kind)


def _is_text(kind: pa.DataType) -> bool:
    return of_type.is_string(kind) or of_type.is_large_string(kind) or _is_string_view(kind)


def _is_string_view(kind: pa.DataType) -> bool:
    return hasattr(of_type, "is_string_view") and bool(of_type.is_string_view(kind))


def _column(column: pa.ChunkedArray) -> Column:
    read = next((read for is_such, read in _READERS if is_such(column.type)), _objects)
    return read(column)


def _integers(column: pa.ChunkedArray) -> Column:
    if not column.null_count:
        return pd.Series(column.to_numpy())
    missing = column.is_null().to_numpy().astype(np.bool_)
    return pd.Series(pd.arrays.IntegerArray(pc.fill_null(column, 0).to_numpy(), missing))


def _ticks(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return timestamps in their own unit. Their 64 bits are read as they are: no conversion can overflow."""
    integers = column.cast(pa.int64())
    if column.null_count:
        integers = pc.fill_null(integers, np.iinfo(np.int64).min)
    ticks: np.ndarray[Any, np.dtype[np.int64]] = integers.to_numpy()
    return ticks


def _moments(column: pa.ChunkedArray) -> Column:
    unit, zone, ticks = column.type.unit, column.type.tz, _ticks(column)
    if zone is None:
        return pd.Series(ticks.view(f"datetime64[{unit}]"))
    in_utc: Column = pd.Series(ticks, dtype=pd.DatetimeTZDtype(unit, "UTC"), copy=False)
    try:
        in_zone: Column = in_utc.dt.tz_convert(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OverflowError):  # an offset such as +01:00: the instants are the same
        return in_utc
    return in_zone


def _dates(column: pa.ChunkedArray) -> Column:
    return _moments(column.cast(pa.timestamp("s" if of_type.is_date32(column.type) else "ms")))


def _nothing(column: pa.ChunkedArray) -> Column:
    return pd.Series(np.full(len(column), np.nan))


def _objects(column: pa.ChunkedArray) -> Column:
    objects = np.empty(len(column), dtype=object)
    try:
        objects[:] = column.to_pylist()
    except (ValueError, OverflowError):  # a moment beyond Python's, in a column that is not read
        objects[:] = [str(item) for item in column]
    return pd.Series(objects, dtype=object)


def _categories(column: pa.ChunkedArray) -> Column:
    """Return text as categories: each different text is looked at once."""
    if not of_type.is_dictionary(column.type):
        column = _encoded(column)
    array = _unified(column).combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):  # pyarrow returns one where there are no rows
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    indices = array.indices
    if indices.null_count:
        indices = pc.fill_null(indices.cast(pa.int64()), -1)
    codes = indices.to_numpy(zero_copy_only=False)
    texts = pd.Series(_texts(array.dictionary), dtype=object)
    if not of_type.is_dictionary(column.type) or texts.hasnans or not texts.is_unique:
        numbers, unique = pd.factorize(texts)
        codes, texts = np.append(numbers, -1)[codes], pd.Series(unique, dtype=object)
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype=object)))


def _unified(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the chunks with one dictionary, also where one holds a missing text, or where it needs wider codes."""
    try:
        return column.unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _encoded(column.cast(column.type.value_type)).unify_dictionaries()


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        period = _period(column)
        if not period:
            return pc.dictionary_encode(column)
        once = pc.dictionary_encode(column.slice(0, period).combine_chunks())
    except pa.ArrowNotImplementedError:  # text views, before pyarrow 18
        return pa.chunked_array(
            [pa.array(chunk.to_pylist(), pa.string()).dictionary_encode() for chunk in column.chunks]
        )
    codes = np.resize(once.indices.to_numpy(), len(column))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, once.dictionary)])


def _period(column: pa.ChunkedArray) -> int:
    """Return the length of the round of texts that the whole column repeats; 0 if it does not repeat one.

    A frame in order of time often does. Comparing the column with itself takes a tenth of the time of encoding it.
    """
    beginning = column.slice(0, ROUND_ROWS)
    if column.null_count or not len(beginning):
        return 0
    # Encoded first, because many versions of pyarrow encode text views, but cannot compare them with one text.
    codes = pc.dictionary_encode(beginning.combine_chunks()).indices.to_numpy()
    again = np.flatnonzero(codes == codes[0])[1:2]
    period = int(again[0]) if len(again) else 0
    return period if period and column.slice(period).equals(column.slice(0, len(column) - period)) else 0


def _texts(texts: pa.Array) -> list[str | None]:
    try:
        held: list[str | None] = texts.to_pylist()
    except UnicodeDecodeError:  # no valid UTF-8: as a lone surrogate, which no series name may have
        bytes_of = texts.cast(pa.binary()).to_pylist()
        held = [None if item is None else item.decode("utf-8", "surrogateescape") for item in bytes_of]
    return held


# The first that fits. A type that is in none of them becomes objects.
_READERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray], Column]], ...] = (
    (of_type.is_dictionary, _categories),
    (_is_text, _categories),
    (of_type.is_null, _nothing),
    (of_type.is_integer, _integers),
    (of_type.is_floating, lambda column: pd.Series(column.to_numpy())),
    (of_type.is_date, _dates),
    (of_type.is_timestamp, _moments),
)
