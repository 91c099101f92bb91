"""Observations: what a checked frame becomes.

Comes in: arrays that the other rooms of this package have checked. Goes out: the same arrays, re-ordered or cut,
never losing track of the cell of the caller's frame that each observation came from.
Never: checks anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Int64s: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""Series as small integers: 16 bits where they are enough, because there is one for every observation."""

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = "slice | Mask | Int64s"
"""Which observations: a slice costs no copy."""


@dataclass(frozen=True, eq=False)
class Origin:
    """The rows and columns of the frame that observations came from.

    A *cell* is ``row * width + column``, with ``width`` 1 for a long frame, whose rows are the observations.

    Attributes:
        labels: The frame's index: one label a row, repeats allowed.
        columns: The series columns of a wide frame, else None.
    """

    labels: pd.Index
    columns: tuple[object, ...] | None = None

    @property
    def width(self) -> int:
        """How many cells a row has."""
        return 1 if self.columns is None else len(self.columns)

    def positions(self, cells: Int64s) -> Int64s:
        """The row number of each cell."""
        return cells if self.columns is None else cells // max(self.width, 1)

    def labels_of(self, cells: Int64s) -> list[object]:
        """The row label of each cell; for a wide frame the pair (row label, column)."""
        rows = self.labels.take(self.positions(cells)).tolist()
        if self.columns is None:
            return rows
        return [(row, self.columns[int(column)]) for row, column in zip(rows, cells % self.width, strict=True)]


@dataclass(frozen=True, eq=False)
class Observations:
    """Checked observations, at most one for each (timestamp, name), as columns of equal length.

    Attributes:
        timestamps: Unix seconds, UTC.
        codes: Index into ``names``.
        names: The series names that ``codes`` point at; some may have no observation.
        values: Finite float64.
        cells: Where each stands in ``origin``; None where the i-th observation is the i-th cell.
        superseded: How many valid rows lost to a later row with the same key.
        dropped_rows: The rows that ``on_invalid="drop"`` left out: position, label, timestamp, name, value, reason.
    """

    timestamps: Int64s
    codes: Codes
    names: tuple[str, ...]
    values: Floats
    origin: Origin
    cells: Int64s | None = None
    superseded: int = 0
    dropped_rows: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def observations_in(self) -> int:
        """How many observations the caller gave: these, the superseded and the dropped."""
        return len(self) + self.superseded + len(self.dropped_rows)

    def take(self, rows: Rows) -> Observations:
        """These rows only; the superseded and dropped counts stay as they are.

        Args:
            rows: A slice (no copy), a boolean mask or positions.
        """
        return replace(
            self,
            timestamps=self.timestamps[rows],
            codes=self.codes[rows],
            values=self.values[rows],
            cells=self._cells_of(rows),
        )

    def _cells_of(self, rows: Rows) -> Int64s:
        if self.cells is not None:
            return self.cells[rows]
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)), dtype=np.int64)
        return np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64, copy=False)

    def in_time_order(self) -> Observations:
        """The same observations by timestamp; those of one second keep their order. Free where they already are."""
        if bool((self.timestamps[1:] >= self.timestamps[:-1]).all()):
            return self
        return self.take(np.argsort(self.timestamps, kind="stable"))

    def frame(self) -> pd.DataFrame:
        """Columns ``position``, ``label``, ``timestamp`` (UTC), ``name``, ``value``: for reports, not for speed."""
        cells = np.arange(len(self), dtype=np.int64) if self.cells is None else self.cells
        return pd.DataFrame(
            {
                "position": self.origin.positions(cells),
                "label": pd.Series(self.origin.labels_of(cells), dtype=object),
                "timestamp": pd.to_datetime(self.timestamps.astype("datetime64[s]"), utc=True),
                "name": np.array(self.names, dtype=object)[self.codes],
                "value": self.values,
            }
        )
