"""Faults: which cells of a frame cannot be observations, and why.

Comes in: row positions and a reason from each check. Goes out: the frame that errors and reports show, and its summary.
Never: decides what a fault is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.dtypes import Column
from temporis_dagster.data_source.observations.model import Int64s, Mask
from temporis_dagster.wording import shown

YEARS_WITH_A_TEXT = range(1, 10_000)
FAULT_COLUMNS = ("position", "label", "column", "value", "reason")
SHOWN_FAULTS = 3
NOTHING_SENT = "nothing was sent"
"""What messages say of a frame that is refused."""


@dataclass(frozen=True, eq=False)
class Fault:
    """Rows of one column that are invalid, for one reason or for a reason each.

    Attributes:
        rows: Row positions.
        reasons: One text for all of them, or one text per row.
        of_call: Whether the call is wrong, for example lacks an argument, rather than the rows. They cannot be dropped.
        wanted: Whether the rows are good observations whose time is unclear. Messages do not advise dropping them.
    """

    rows: Int64s
    reasons: str | Sequence[str]
    of_call: bool = False
    wanted: bool = False

    def each(self) -> list[str]:
        """Return one reason per row."""
        return [self.reasons] * len(self.rows) if isinstance(self.reasons, str) else list(self.reasons)


@dataclass(frozen=True, eq=False)
class Found:
    """Rows of the caller's frame that a surface has found to be invalid, for one reason.

    Attributes:
        column: The label of the column, as the caller wrote it; None for the index.
        rows: Row positions.
        reason: What is wrong.
        whole_row: Whether, in a wide frame, the other cells of the row are invalid as well.
    """

    column: object
    rows: Int64s
    reason: str
    whole_row: bool


def where(mask: Mask, reasons: str, *, of_call: bool = False) -> list[Fault]:
    """Return the rows of a mask as a fault; an empty list if there are none."""
    looked_at = mask if any(mask.strides) else mask[:1]  # one entry stands for all of a mask without memory
    return [Fault(np.flatnonzero(mask), reasons, of_call)] if looked_at.any() else []


def elsewhere(faults: Sequence[Fault], rows: Int64s) -> list[Fault]:
    """Return faults found in a part of a column as faults of the whole: the part's i-th row is ``rows[i]``."""
    return [replace(fault, rows=rows[fault.rows]) for fault in faults]


@dataclass(frozen=True, eq=False)
class ColumnFaults:
    """The faults of one column of the caller's frame.

    Attributes:
        column: The column's label, as the caller wrote it.
        source: The column itself, to show the invalid values.
        faults: What is wrong in it.
        cell_in_row: The place of the column's cell in its row; None if its faults make the whole row invalid.
    """

    column: object
    source: Column
    faults: Sequence[Fault]
    cell_in_row: int | None = None

    def cells_of_row(self, row: int, width: int) -> range:
        """Return the cells that a fault in this row makes invalid."""
        first = row * width
        return (
            range(first, first + width)
            if self.cell_in_row is None
            else range(first + self.cell_in_row, first + self.cell_in_row + 1)
        )


def mask_of(faults: Sequence[Fault], length: int) -> Mask:
    """Return which of ``length`` rows have any of these faults. Read-only, and without memory, if there are none."""
    if not faults:
        return np.broadcast_to(np.False_, length)
    mask = np.zeros(length, dtype=np.bool_)
    for fault in faults:
        mask[fault.rows] = True
    return mask


def fault_frame(columns: Sequence[ColumnFaults], labels: pd.Index, first_row: int = 0) -> pd.DataFrame:
    """Return one row per invalid cell, by position: position, label, column, value, reason.

    Args:
        columns: The faults.
        labels: The labels of the frame's rows.
        first_row: The position of the first of them.
    """
    parts = [_part(column, fault, labels, first_row) for column in columns for fault in column.faults]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in FAULT_COLUMNS}).astype({"position": "int64"})
    return pd.concat(parts, ignore_index=True).sort_values("position", kind="stable", ignore_index=True)


def faults_in_words(rows: pd.DataFrame, labels_called: str) -> str:
    """Describe the first few kinds of fault, each with its first cell, as a sentence without a full stop.

    Args:
        rows: What ``fault_frame`` returned.
        labels_called: What to call the labels.
    """
    counts = Counter(zip(rows["column"], rows["reason"], strict=True))
    first = []
    for row in rows[~rows.duplicated(["column", "reason"])].head(SHOWN_FAULTS).itertuples():
        place = f"row {row.position} ({labels_called} {shown(row.label)}), column {row.column!r:.60}"
        alike = counts[row.column, row.reason]
        first.append(f"{place}, {shown(row.value)}: {row.reason}" + (f" ({alike:,} such rows)" if alike > 1 else ""))
    more = len(rows) - sum(list(counts.values())[:SHOWN_FAULTS])
    return "; ".join(first) + (f"; and {more:,} more" if more else "")


def _part(column: ColumnFaults, fault: Fault, labels: pd.Index, first_row: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "position": fault.rows + first_row,
            "label": objects(labels.take(fault.rows).tolist()),
            "column": objects([column.column] * len(fault.rows)),
            "value": objects(column.source.iloc[fault.rows].tolist()),
            "reason": objects(fault.each()),
        }
    )


def objects(items: Sequence[object]) -> Column:
    """Return a column of these objects, with no dtype inferred; text that cannot be shown becomes its repr."""
    array = np.empty(len(items), dtype=object)
    array[:] = [printable(item) for item in items]
    return pd.Series(array, dtype=object)


def printable(item: object) -> object:
    """Return the item, or text for one that a terminal cannot show (a NUL, a lone surrogate) or pandas cannot print."""
    if isinstance(item, pd.Timestamp) and item.year not in YEARS_WITH_A_TEXT:
        return str(item.to_datetime64())
    return repr(item) if isinstance(item, str) and not item.isprintable() else item
