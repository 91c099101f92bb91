"""Observations: what a checked frame becomes.

Comes in: arrays that the other rooms of this package have checked. Goes out: the same arrays, re-ordered or cut,
never losing track of the cell of the caller's frame that each observation came from.
Never: checks anything.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.wording import shown

Int64s: TypeAlias = npt.NDArray[np.int64]
Integers: TypeAlias = npt.NDArray[np.integer[Any]]
"""As narrow as possible, because there is one per observation. Widen them before computing with them."""

Codes: TypeAlias = Integers
"""The series of each observation: 16 bits, or more if there are more than 32,768 series."""

Seconds: TypeAlias = Integers
"""Unix seconds, UTC: 32 bits if all are from 1901 to 2038 (signed) or from 1970 to 2106 (unsigned), otherwise 64."""

Positions: TypeAlias = Integers
"""Places of observations in a frame."""

SeriesOfRows: TypeAlias = "Codes | Mask"
"""The series of the rows of a frame: one for each row, or, for a wide frame, a mask of its columns."""

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
RowSelector: TypeAlias = "slice | Mask | Positions"
"""Which observations to take: a slice needs no copy."""

T = TypeVar("T", Integers, Floats)


BLOCK_ROWS = 100_000
"""Temporary results are computed for this many rows at once, so that only what is kept takes memory for all rows."""

CACHED_ROWS = 65_536
"""Where a block is computed with several times, at most this many rows at once: they stay in a processor's cache."""

RELEASES = hasattr(mmap, "MADV_DONTNEED")

WIDTHS = (np.int16, np.int32, np.uint32, np.int64)


def width_for(*numbers: int) -> type[np.integer[Any]]:
    """Return the narrowest type that holds these numbers."""
    return next(width for width in WIDTHS if _holds(width, numbers))


def _holds(width: npt.DTypeLike, numbers: Sequence[int]) -> bool:
    return np.iinfo(width).min <= min(numbers) and max(numbers) <= np.iinfo(width).max


def put(block: Integers, whole: Integers, start: int) -> Integers:
    """Write a block into an array that is filled up to ``start``. Return the array, or a wider copy if necessary."""
    ends = [int(block.min()), int(block.max())]
    if not _holds(whole.dtype, ends):
        ends += [int(whole[:start].min()), int(whole[:start].max())] if start else []
        whole = whole.astype(width_for(*ends))
    whole[start : start + len(block)] = block
    return whole


@dataclass(frozen=True, eq=False)
class Origin:
    """The rows and columns of the frame that observations came from.

    A *cell* is ``row * width + column``, with ``width`` 1 for a long frame, whose rows are the observations.

    Attributes:
        labels: The frame's index: one label per row, repeats allowed.
        columns: The series columns of a wide frame, otherwise None.
        first_row: The position of its first row in the stream that the frame is a slice of.
    """

    labels: pd.Index
    columns: tuple[object, ...] | None = None
    first_row: int = 0

    @property
    def width(self) -> int:
        """The number of cells per row."""
        return 1 if self.columns is None else len(self.columns)

    @property
    def labels_called(self) -> str:
        """What messages call the labels."""
        return "label" if self.labels.name is None else str(self.labels.name)

    def rows(self, cells: Positions) -> Positions:
        """Return the row of the frame that each cell is in."""
        return cells if self.columns is None else cells // max(self.width, 1)

    def positions(self, cells: Positions) -> Positions:
        """Return the position of each cell's row, in the stream if the frame is a slice of one."""
        rows = self.rows(cells)
        return rows.astype(np.int64) + self.first_row if self.first_row else rows

    def labels_at(self, positions: Positions) -> list[object]:
        """Return the row label at each position."""
        labels: list[object] = self.labels.take(positions - self.first_row).tolist()
        return labels

    def labels_of(self, cells: Positions) -> list[object]:
        """Return the row label of each cell; for a wide frame the pair (row label, column)."""
        rows: list[object] = self.labels.take(self.rows(cells)).tolist()
        if self.columns is None:
            return rows
        return [(row, self.columns[int(column)]) for row, column in zip(rows, cells % self.width, strict=True)]


@dataclass(frozen=True, eq=False)
class Observations:
    """Checked observations, at most one for each (timestamp, name), as columns of equal length.

    Attributes:
        timestamps: Unix seconds, UTC.
        codes: Index into ``names``.
        names: The series names that ``codes`` point to; some may have no observation.
        values: Finite float64.
        origin: The frame that they came from.
        cells: The cell of each in ``origin``; None if the i-th observation is the i-th cell.
        superseded_rows: The valid rows that lost to a later row with the same key; None if none did.
        dropped_rows: The rows that ``on_invalid="drop"`` left out: position, label, timestamp, name, value, reason.
        dropped_keys: The keys of those, as far as they could be read; None if no row was left out.
        keeps_order: Whether they must be written in this order, so that what is stored of an upsert that fails is what
            came first. Otherwise, a target may write them in the order that is fastest for it.
        maps: The memory maps of the files that the columns are in; empty if they are in memory.
    """

    timestamps: Seconds
    codes: Codes
    names: tuple[str, ...]
    values: Floats
    origin: Origin
    cells: Positions | None = None
    superseded_rows: Superseded | None = None
    dropped_rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    dropped_keys: DroppedKeys | None = None
    keeps_order: bool = False
    maps: tuple[mmap.mmap, ...] = ()

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def superseded(self) -> int:
        """The number of valid rows that lost to a later row with the same key."""
        return 0 if self.superseded_rows is None else len(self.superseded_rows.rows)

    @property
    def conflicts(self) -> int:
        """The number of those whose value differs from that of the row they lost to, bit for bit."""
        return 0 if self.superseded_rows is None else int(np.count_nonzero(self.superseded_rows.differ))

    @property
    def observations_in(self) -> int:
        """The number of observations that the caller passed: these, the superseded and the dropped."""
        return len(self) + self.superseded + len(self.dropped_rows)

    @cached_property
    def counts(self) -> Int64s:
        """The number of observations of each series, counted in blocks: NumPy takes 64 bits per row to count."""
        counts = np.zeros(len(self.names), dtype=np.int64)
        for start in range(0, len(self), BLOCK_ROWS):
            counts += np.bincount(self.codes[start : start + BLOCK_ROWS], minlength=len(self.names))
        counts.setflags(write=False)
        return counts

    @property
    def used_names(self) -> list[str]:
        """The series that have observations."""
        return [self.names[code] for code in np.flatnonzero(self.counts)]

    def let_go(self) -> None:
        """Let the system take back the memory of what was read from files. What is read again is mapped again."""
        for one in self.maps if RELEASES else ():
            with suppress(OSError):  # it is only a hint, which is refused where memory is locked
                one.madvise(mmap.MADV_DONTNEED)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the maps, which no other process can have, nor another copy: it has the columns in memory."""
        return {**self.__dict__, "maps": ()}

    def take(self, rows: RowSelector) -> Observations:
        """Return only these observations. The superseded and dropped ones stay unchanged.

        Args:
            rows: A slice (no copy), a boolean mask or positions.
        """
        return replace(
            self,
            cells=self._cells_of(rows),
            timestamps=_chosen(self.timestamps, rows),
            codes=_chosen(self.codes, rows),
            values=_chosen(self.values, rows),
            maps=self.maps if isinstance(rows, slice) else (),  # a copy does not need the files any more
        )

    def _cells_of(self, rows: RowSelector) -> Positions:
        if self.cells is not None:
            return _chosen(self.cells, rows)
        dtype = width_for(len(self))
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)), dtype=dtype)
        if rows.dtype != np.bool_:
            return rows.astype(dtype)
        return _chosen(np.arange(len(self), dtype=dtype), rows)

    def own_cells(self) -> Positions:
        """Return the cell of each observation."""
        return self._cells_of(slice(None))

    def in_time_order(self) -> Observations:
        """Return the observations by timestamp; those of one second keep their order. No copy if already in order."""
        if bool((self.timestamps[1:] >= self.timestamps[:-1]).all()):
            return self
        return self.take(np.argsort(self.timestamps, kind="stable"))

    def frame(self) -> pd.DataFrame:
        """Return a frame of position, label, timestamp (UTC), name and value: for reports, because it is slow."""
        cells = self.own_cells()
        return pd.DataFrame(
            {
                "position": self.origin.positions(cells).astype(np.int64),
                "label": pd.Series(self.origin.labels_of(cells), dtype=object),
                "timestamp": pd.to_datetime(self.timestamps.astype("datetime64[s]"), utc=True),
                "name": np.array(self.names, dtype=object)[self.codes],
                "value": self.values,
            }
        )


@dataclass(frozen=True, eq=False)
class DroppedKeys:
    """What is known of the keys of the rows that ``on_invalid="drop"`` left out. They were in the frame all the same.

    Attributes:
        timestamps: Unix seconds, UTC, of the rows whose key could be read: only their value is invalid.
        codes: The series of each of these.
        unreadable: The series of each of the other rows, whose timestamp or name could not be read; -1 where the name
            could not.
    """

    timestamps: Int64s
    codes: Int64s
    unreadable: Int64s


@dataclass(frozen=True, eq=False)
class Superseded:
    """Valid rows that lost to a later row with the same (timestamp, name), in row order.

    Attributes:
        rows: The observations.
        winners: The cell of the observation that each lost to.
        winning_values: The value of that observation.
        told_apart_by: An unused column that differs wherever the values do; None if there is no such column.
    """

    rows: Observations
    winners: Positions
    winning_values: Floats
    told_apart_by: Hashable = None

    @property
    def differ(self) -> Mask:
        """Which of them have another value than the observation they lost to, bit for bit: 0.0 is not -0.0."""
        differ: Mask = self.rows.values.view(np.int64) != self.winning_values.view(np.int64)
        return differ

    def take(self, rows: RowSelector) -> Superseded:
        """Return only these rows."""
        return Superseded(self.rows.take(rows), self.winners[rows], self.winning_values[rows], self.told_apart_by)

    def conflicts(self) -> Superseded:
        """Return only those with another value than the row they lost to."""
        return self.take(np.flatnonzero(self.differ))

    def reasons(self) -> list[str]:
        """Return, for each, the row that it lost to and that row's value, in words."""
        origin, values = self.rows.origin, self.winning_values.tolist()
        rows = origin.positions(self.winners)
        won = zip(rows.tolist(), origin.labels_at(rows), values, self.differ.tolist(), strict=True)
        return [
            f"row {row} ({origin.labels_called} {shown(label)}) has the same timestamp and name, and the"
            f" {'' if differs else 'same '}value {value!r}"
            for row, label, value, differs in won
        ]

    def frame(self) -> pd.DataFrame:
        """Return the rows as a new frame, each with its reason."""
        return self.rows.frame().assign(reason=pd.Series(self.reasons(), dtype=object))


def _chosen(column: T, rows: RowSelector) -> T:
    """Return ``column[rows]``. A mask is applied block by block, as fast as positions but without an array of all."""
    if isinstance(rows, slice) or rows.dtype != np.bool_:
        return column[rows]
    chosen, count = np.empty(np.count_nonzero(rows), dtype=column.dtype), 0
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        part = column[block][np.flatnonzero(rows[block])]
        chosen[count : count + len(part)] = part
        count += len(part)
    return chosen
