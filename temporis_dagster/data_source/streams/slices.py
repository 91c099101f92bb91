"""Slices: a stream cut into frames of equal length, however its pieces come.

Comes in: a stream, and the options. Goes out: pandas frames that follow each other; small pieces are joined, large ones
cut. Or the error for a stream whose columns change.
Never: changes a value, or holds more than a slice and a piece in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster.contract import EXACT_INTEGER_LIMIT
from temporis_dagster.data_source.observations.dtypes import kind_of, plain
from temporis_dagster.data_source.observations.layout import columns_by_role, refuse
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.streams.pieces import Piece, pieces_of
from temporis_dagster.wording import listed

if TYPE_CHECKING:
    import pyarrow as pa

Column: TypeAlias = "pd.Series[Any]"

SLICE_CELLS = 400_000
"""The number of observations in a slice. Larger ones take more memory and are not faster; halves are a tenth slower."""

MOST_PIECES = 1_000
"""The maximum number of pieces that are gathered before they are joined: each takes memory of its own."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Some rows of a stream that follow each other.

    Attributes:
        frame: The rows, as far as their columns are read.
        first_row: The position of the first of them in the stream.
        whole: Returns the rows with all columns; None if the frame has them.
        in_arrow: Whether messages use Arrow's words.
        is_whole: Whether it is known to hold the whole stream.
    """

    frame: pd.DataFrame
    first_row: int = 0
    whole: Callable[[], pd.DataFrame] | None = None
    in_arrow: bool = False
    is_whole: bool = False

    @property
    def rows_in_words(self) -> str:
        """The positions of the rows, for messages."""
        first, last = self.first_row, self.first_row + len(self.frame) - 1
        return f"row {first:,}" if first == last else f"rows {first:,} to {last:,}"


def slices_of(stream: object, options: ObservationOptions, slice_cells: int | None = SLICE_CELLS) -> Generator[Slice]:
    """Yield the rows of a stream, in order, in slices.

    Args:
        stream: The stream.
        options: How it will be read.
        slice_cells: How many observations a slice may hold; None for all rows in one slice.

    Raises:
        InvalidObservationsError: The columns cannot be read, or change; or it yields something other than frames.
        ConfigurationError: It needs a library that is not installed, or a newer one.
        StreamError: Its source raised an error.
    """
    gathered, first, shape = Gathered(options), 0, None
    with closing(pieces_of(stream)) as pieces:
        for unordered in pieces:
            if not len(unordered):
                continue
            if shape is None:
                shape = Shape.of(unordered, options)
                full = shape.rows_of(slice_cells)
            piece, start = shape.fitted(unordered, first + len(gathered)), 0
            while len(piece) - start >= full - len(gathered):
                count = full - len(gathered)
                gathered.add(_cut(piece, start, count))
                yield gathered.slice(first)
                first, start, gathered = first + full, start + count, Gathered(options)
            if start < len(piece):
                gathered.add(_kept(_cut(piece, start, len(piece) - start)))
    if len(gathered):
        yield replace(gathered.slice(first), is_whole=first == 0)


def slice_of_table(table: pa.Table, options: ObservationOptions, first_row: int = 0) -> Slice:
    """Return a table of Arrow as one slice.

    Raises:
        InvalidObservationsError: The columns cannot be read.
    """
    from temporis_dagster.data_source.streams.arrow_columns import frame_of_table, roles_of

    if not len(table):
        return Slice(pd.DataFrame(), in_arrow=True)
    frame = frame_of_table(table, roles_of(table.schema, options), first_row)
    if len(frame.columns) == table.num_columns:
        return Slice(frame, first_row, in_arrow=True)
    return Slice(frame, first_row, lambda: frame_of_table(table, None, first_row), in_arrow=True)


@dataclass(frozen=True)
class Shape:
    """What must be the same in all pieces of a stream.

    Attributes:
        columns: The labels of the columns, in order.
        time: The column of the timestamps; None if they are the index.
        kind: What kind of timestamps there are.
        series: The number of columns that are series; 1 for a long stream.
    """

    columns: tuple[Hashable, ...]
    time: Hashable
    kind: str
    series: int

    @classmethod
    def of(cls, piece: Piece, options: ObservationOptions) -> Shape:
        """Return the shape of a piece that has rows."""
        first = _first_row(piece)
        table = columns_by_role(first, options)
        columns = tuple(first.columns)
        time = table.timestamp_label if table.timestamp_label in columns else None
        return cls(columns, time, _kind_of_piece(piece, time), max(len(table.values), 1))

    def rows_of(self, cells: int | None) -> int:
        """Return how many rows hold this many observations."""
        return 2**62 if cells is None else max(cells // self.series, 1)

    def fitted(self, piece: Piece, first_row: int) -> Piece:
        """Return the piece with its columns in the order of the first piece.

        Raises:
            InvalidObservationsError: It has other columns, or another kind of timestamps.
        """
        columns = tuple(piece.columns) if isinstance(piece, pd.DataFrame) else tuple(piece.column_names)
        if columns != self.columns:
            if len(columns) != len(self.columns) or set(columns) != set(self.columns):
                refuse(self._changed(columns, first_row))
            piece = piece[list(self.columns)] if isinstance(piece, pd.DataFrame) else piece.select(self.columns)
        kind = _kind_of_piece(piece, self.time)
        if not _alike(kind, self.kind):
            where = "in the index" if self.time is None else f"in the column {self.time!r}"
            refuse(
                f"The stream changes at row {first_row:,}: its timestamps {where} are {kind} there, but {self.kind}"
                " before. Make them alike in all of its frames."
            )
        return piece

    def _changed(self, columns: tuple[Hashable, ...], first_row: int) -> str:
        new = [column for column in columns if column not in self.columns]
        gone = [column for column in self.columns if column not in columns]
        parts = [f"{listed(new)} appeared"] if new else []
        parts += [f"{listed(gone)} disappeared"] if gone else []
        what = " and ".join(parts) or "one exists more than once"
        return (
            f"The columns of the stream change at row {first_row:,}: {what}. All frames of a stream must have the same."
        )


class Gathered:
    """The pieces of the next slice."""

    def __init__(self, options: ObservationOptions) -> None:
        self._options = options
        self._pieces: list[Piece] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, piece: Piece) -> None:
        """Add a piece that fits."""
        self._pieces.append(piece)
        self._rows += len(piece)
        if len(self._pieces) >= MOST_PIECES:
            self._pieces = [_copied(part) for part in _joined_tables(self._pieces)]

    def slice(self, first_row: int) -> Slice:
        """Return all of it as a slice."""
        tables = list(_joined_tables(self._pieces))
        if len(tables) == 1 and not isinstance(tables[0], pd.DataFrame):
            return slice_of_table(tables[0], self._options, first_row)
        frames, row = [], first_row
        for table in tables:
            is_frame = isinstance(table, pd.DataFrame)
            frames.append(table if is_frame else slice_of_table(table, self._options, row).frame)
            row += len(table)
        columns = min((list(frame.columns) for frame in frames), key=len)  # of Arrow, only those that are read
        frame = _joined_frames([frame[columns] for frame in frames])
        return Slice(frame, first_row, in_arrow=any(not isinstance(table, pd.DataFrame) for table in tables))


def _joined_tables(pieces: list[Piece]) -> Iterator[Piece]:
    """Join neighbours of one schema. Frames of pandas are joined where that changes no dtype."""
    for _, group in groupby(pieces, key=_signature):
        alike = list(group)
        if len(alike) == 1:
            yield alike[0]
        elif isinstance(alike[0], pd.DataFrame):
            yield pd.concat(alike)
        else:
            import pyarrow as pa

            yield pa.concat_tables(alike)


def _signature(piece: Piece) -> object:
    if isinstance(piece, pd.DataFrame):
        return (tuple(piece.dtypes), piece.index.dtype, isinstance(piece.index, pd.MultiIndex))
    return piece.schema.remove_metadata()


def _copied(piece: Piece) -> Piece:
    return piece if isinstance(piece, pd.DataFrame) else piece.combine_chunks()


def _kept(piece: Piece) -> Piece:
    """Return what stays the same while the next piece is made: a generator may fill one frame again and again."""
    return piece.copy() if isinstance(piece, pd.DataFrame) else piece


def _cut(piece: Piece, start: int, count: int) -> Piece:
    if start == 0 and count == len(piece):
        return piece
    return piece.iloc[start : start + count] if isinstance(piece, pd.DataFrame) else piece.slice(start, count)


def _joined_frames(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Join frames of one set of columns. No value is rounded: where dtypes differ, columns become objects."""
    if len(frames) == 1:
        return frames[0]
    columns = {
        i: _joined_columns([frame.iloc[:, i].reset_index(drop=True) for frame in frames])
        for i in range(frames[0].shape[1])
    }
    indexes = [frame.index for frame in frames]
    if len({index.dtype for index in indexes}) > 1:
        indexes = [index.astype(object) for index in indexes]
    joined = pd.DataFrame(columns, index=pd.RangeIndex(sum(map(len, frames))))
    joined.columns, joined.index = frames[0].columns, indexes[0].append(indexes[1:])
    return joined


def _joined_columns(columns: list[Column]) -> Column:
    dtypes = {column.dtype for column in columns}
    if len(dtypes) > 1:
        columns = [_as_float(column) for column in columns] if _all_fit_float(columns) else _as_objects(columns)
    return pd.concat(columns, ignore_index=True)


def _all_fit_float(columns: list[Column]) -> bool:
    """Return whether all of them are numbers of NumPy that float64 holds exactly."""
    return all(
        isinstance(column.dtype, np.dtype)
        and (
            (column.dtype.kind == "f" and column.dtype.itemsize <= np.dtype(np.float64).itemsize)
            or (column.dtype.kind in "iu" and bool((column.abs() <= EXACT_INTEGER_LIMIT).all()))
        )
        for column in columns
    )


def _as_float(column: Column) -> Column:
    return column.astype("float64")


def _as_objects(columns: list[Column]) -> list[Column]:
    return [plain(column).astype(object) for column in columns]


def _first_row(piece: Piece) -> pd.DataFrame:
    if isinstance(piece, pd.DataFrame):
        return piece.iloc[:1]
    return pd.DataFrame(
        np.empty((0, piece.num_columns), dtype=object), columns=pd.Index(piece.column_names, dtype=object)
    )


def _kind_of_piece(piece: Piece, time: Hashable) -> str:
    """Return what kind of timestamps a piece has."""
    if not isinstance(piece, pd.DataFrame):
        return _kind_in_arrow(piece.schema.field(time).type)
    if time is None and isinstance(piece.index, pd.MultiIndex):
        return "several levels"
    return _kind_of_dtype(piece.index.dtype if time is None else piece[time].dtype)


@lru_cache(maxsize=16)
def _kind_of_dtype(dtype: Any) -> str:  # cached, as a stream may have many small pieces
    column = plain(pd.Series([], dtype=dtype))
    kind = kind_of(column)
    if kind == "datetime":
        return "datetimes with a zone" if isinstance(column.dtype, pd.DatetimeTZDtype) else "datetimes without a zone"
    return "numbers" if kind in ("int", "float") else ANYTHING if kind == "object" else kind


def _kind_in_arrow(kind: pa.DataType) -> str:
    import pyarrow.types as of_type

    if of_type.is_timestamp(kind):
        return "datetimes without a zone" if kind.tz is None else "datetimes with a zone"
    if of_type.is_date(kind):
        return "datetimes without a zone"
    if of_type.is_null(kind) or of_type.is_decimal(kind):
        return ANYTHING
    return "numbers" if of_type.is_integer(kind) or of_type.is_floating(kind) else "text"


ANYTHING = "objects"
"""Objects of any type, each of which is judged for itself."""


def _alike(kind: str, other: str) -> bool:
    return kind == other or ANYTHING in (kind, other)
