"""Cells: every place of a table that may hold an observation, checked, in row order.

Comes in: a table. Goes out: its timestamps, names and values as equally long arrays, and the faults of each column.
Never: raises an error or drops a row. It only finds faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.dtypes import Column
from temporis_dagster.data_source.observations.faults import ColumnFaults, Fault, Found, mask_of, where
from temporis_dagster.data_source.observations.layout import INDEX, Table
from temporis_dagster.data_source.observations.model import (
    Codes,
    DroppedKeys,
    Floats,
    Int64s,
    Mask,
    Origin,
    Seconds,
    width_for,
)
from temporis_dagster.data_source.observations.names import labels_as_names, names_of
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.timestamps import timestamps_of
from temporis_dagster.data_source.observations.values import values_of


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a table, row by row; ``Origin`` explains how they are numbered.

    Attributes:
        seconds: Unix seconds, UTC.
        codes: Index into ``names``.
        names: Series names.
        floats: Values.
        present: Which cells hold an observation: in a wide frame, those that are not missing.
        bad: Which of the present ones are invalid.
        faults: What is wrong, column by column.
        timeless: Which rows of the table have no timestamp that could be read.
        nameless: Which rows, or which columns of a wide table, have no name that could be read.
        rising: Whether no value is lower than that of its series in the row, or the round of rows, before; False if
            that is not known.
    """

    seconds: Seconds
    codes: Codes
    names: tuple[str, ...]
    floats: Floats
    present: Mask
    bad: Mask
    faults: list[ColumnFaults]
    timeless: Mask
    nameless: Mask
    rising: bool = False

    def keys_of(self, chosen: Int64s, origin: Origin) -> DroppedKeys:
        """Return what is known of the keys of the chosen cells."""
        rows = origin.rows(chosen)
        timeless, nameless = (
            self.timeless[rows],
            self.nameless[rows if origin.columns is None else chosen % origin.width],
        )
        codes, readable = self.codes[chosen].astype(np.int64), ~(timeless | nameless)
        seconds = self.seconds[chosen].astype(np.int64)
        return DroppedKeys(seconds[readable], codes[readable], np.where(nameless, -1, codes)[~readable])

    @property
    def call_at_fault(self) -> bool:
        """Whether an argument is missing or wrong, so that dropping the rows would be a guess at what was meant."""
        return any(fault.of_call for column in self.faults for fault in column.faults)

    @property
    def droppable(self) -> bool:
        """Whether the message may advise leaving the invalid rows out."""
        return not any(fault.of_call or fault.wanted for column in self.faults for fault in column.faults)

    def reasons(self, chosen: Int64s, width: int) -> list[list[str]]:
        """Return what is wrong with each of the chosen cells, of a table that has ``width`` cells per row."""
        found: dict[int, list[str]] = {cell: [] for cell in chosen.tolist()}
        for column in self.faults:
            for fault in column.faults:
                for row, reason in zip(fault.rows.tolist(), fault.each(), strict=True):
                    for cell in column.cells_of_row(row, width):
                        if cell in found:
                            found[cell].append(reason)
        return list(found.values())


def cells_of(table: Table, options: ObservationOptions, contracts: Contracts, *, now_s: float) -> Cells:
    """Check every cell of a table.

    Args:
        table: The table.
        options: How to read it.
        contracts: What its values must be.
        now_s: The current time, in Unix seconds.
    """
    if table.names is None:
        return _wide_cells(table, options, contracts, now_s)
    return _long_cells(table, table.names, options, contracts, now_s)


def with_found(cells: Cells, table: Table, data: Any, found: Sequence[Found]) -> Cells:
    """Add what a surface has found to be invalid in the frame.

    Args:
        cells: The cells of the table.
        table: The table.
        data: The frame that it was made of.
        found: The rows, and why. A missing cell among them counts as an observation, so that it is reported.
    """
    if not table.values:
        return cells
    width, faults = len(table.values), list(cells.faults)
    present, bad = cells.present.reshape(-1, width), cells.bad.reshape(-1, width).copy()
    for one in found:
        of_cell = table.names is None and not one.whole_row and one.column in table.value_labels
        place = table.value_labels.index(one.column) if of_cell else None
        refused = present[one.rows] if place is None else np.tile(np.arange(width) == place, (len(one.rows), 1))
        refused |= ~refused.any(axis=1, keepdims=True)
        bad[one.rows] |= refused
        label, source = (one.column, data[one.column]) if one.column is not None else (INDEX, pd.Series(data.index))
        faults.append(ColumnFaults(label, source, [Fault(one.rows, one.reason)], place))
    return replace(cells, faults=faults, bad=bad.ravel(), present=(present | bad).ravel())


def _long_cells(
    table: Table, name_column: Column, options: ObservationOptions, contracts: Contracts, now_s: float
) -> Cells:
    names = names_of(name_column, options.ADVICE)
    rules = contracts.rules(names.names)
    values = values_of(
        table.values[0], options, None if rules is None else rules.of_rows(names.codes, names.round_rows)
    )
    of_values = where(values.missing, f"the value is missing (NaN): {options.ADVICE.missing}") + values.faults
    stored = ~mask_of(names.faults + of_values, len(names.codes)) if names.faults or of_values else None
    stamps = timestamps_of(table.timestamps, options, now_s=now_s, series=names.codes, stored=stored)
    faults = [
        ColumnFaults(table.timestamp_label, table.timestamps, stamps.faults),
        ColumnFaults(table.name_label, name_column, names.faults),
        ColumnFaults(table.value_labels[0], table.values[0], of_values),
    ]
    count = len(stamps.seconds)
    bad = mask_of([fault for column in faults for fault in column.faults], count)
    present = np.broadcast_to(np.True_, count)
    timeless, nameless = mask_of(stamps.faults, count), mask_of(names.faults, count)
    keys = (stamps.seconds, names.codes, names.names)
    return Cells(*keys, values.floats, present, bad, _real(faults), timeless, nameless, values.rising)


def _wide_cells(table: Table, options: ObservationOptions, contracts: Contracts, now_s: float) -> Cells:
    rows, width = len(table.timestamps), len(table.values)
    floats, present, bad = np.empty((rows, width)), np.empty((rows, width), bool), np.zeros((rows, width), bool)
    names, wrong = labels_as_names(table.value_labels, options.ADVICE)
    rules, faults, rising = contracts.rules(names), list[ColumnFaults](), True
    for i, (label, column) in enumerate(zip(table.value_labels, table.values, strict=True)):
        values = values_of(column, options, None if rules is None else rules.of_column(i, rows))
        floats[:, i], present[:, i] = values.floats, ~values.missing
        rising = rising and values.rising
        found = values.faults + (where(~values.missing, wrong[i]) if i in wrong else [])
        bad[:, i] = mask_of(found, rows)
        faults.append(ColumnFaults(label, column, found, cell_in_row=i))
    codes = np.tile(np.arange(width, dtype=width_for(width)), rows)
    stored = None if present.all() and not bad.any() else np.logical_or.reduce(present & ~bad, axis=1)
    stamps = timestamps_of(table.timestamps, options, now_s=now_s, series=present, stored=stored)
    on_time = _where_observed(stamps.faults, np.logical_or.reduce(present, axis=1)) if stamps.faults else []
    timeless = mask_of(on_time, rows)
    bad |= timeless[:, np.newaxis] & present
    faults.insert(0, ColumnFaults(table.timestamp_label, table.timestamps, on_time))
    checked = (floats.ravel(), present.ravel(), bad.ravel(), _real(faults))
    nameless = np.array([i in wrong for i in range(width)], dtype=np.bool_)
    return Cells(np.repeat(stamps.seconds, width), codes, names, *checked, timeless, nameless, rising)


def _where_observed(faults: list[Fault], observed: Mask) -> list[Fault]:
    """Keep the faults of rows that hold an observation: an empty row of a wide frame may have any timestamp."""
    kept = []
    for fault in faults:
        chosen = np.flatnonzero(observed[fault.rows])
        reasons = fault.reasons if isinstance(fault.reasons, str) else [fault.reasons[i] for i in chosen.tolist()]
        kept.append(replace(fault, rows=fault.rows[chosen], reasons=reasons))
    return [fault for fault in kept if len(fault.rows)]


def _real(columns: list[ColumnFaults]) -> list[ColumnFaults]:
    return [column for column in columns if column.faults]
