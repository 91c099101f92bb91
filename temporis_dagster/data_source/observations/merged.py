"""Merged: whether rows with one key and different values belong to different things, which a column left unused tells.

Comes in: a frame, and which of its observations lost to which others. Goes out: the label of such a column, or none.
Never: decides what is done about it.

Three airports in one file, with the column of the airport left unused, have three values for every hour. A column that
only numbers the rows, as trades are numbered, or that holds measurements, tells rows apart as well and means nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.dtypes import Column, kind_of, numbers_of, plain
from temporis_dagster.data_source.observations.layout import INDEX, Table
from temporis_dagster.data_source.observations.model import Int64s, Observations, Superseded

EXCEPTIONS = 0.01
"""The share of keys where such a column may be the same: the three airports still have an hour twice in November."""

LOOK = 2_500
"""Keys, from all over the frame, that are looked at before all are: most columns soon show that they tell nothing."""

LOOK_EXCEPTIONS = 0.05


@dataclass(frozen=True, eq=False)
class Conflicts:
    """Every row of keys that have different values, by (timestamp, name).

    Attributes:
        rows: Row positions.
        groups: Which (timestamp, name) each belongs to, ascending: the cell of the one that won.
        bits: The values, as the integers of the same bits.
        exceptions: In how many groups a column that tells them apart may fail to.
    """

    rows: Int64s
    groups: Int64s
    bits: Int64s
    exceptions: int


def column_that_tells_apart(data: object, table: Table, observations: Observations) -> Hashable | None:
    """The label of an unused column that differs where the values of one key do; of several, the one of fewest kinds.

    Args:
        data: What the caller gave.
        table: The same, taken apart.
        observations: Those that were found in it.
    """
    superseded = observations.superseded_rows
    if not isinstance(data, pd.DataFrame) or superseded is None:
        return None
    columns = dict(_unused(data, table, observations))
    for most in (LOOK, None):
        if not columns:
            return None
        conflicts = _conflicts(superseded, most)
        kinds = {label: _kinds(column, conflicts, table) for label, column in columns.items()}
        columns = {label: column for label, column in columns.items() if kinds[label]}
    return min(columns, key=kinds.__getitem__, default=None)


def _conflicts(superseded: Superseded, most: int | None) -> Conflicts:
    """The rows that lost and those that won, of every key where they differ, or of some keys from all over."""
    winners, differ = superseded.winners, superseded.differ
    chosen = winners[differ]
    step = 1 if most is None else max(len(chosen) // most, 1)
    won = np.unique(chosen[::step])
    lost = np.isin(winners, won)
    first = np.unique(winners[lost], return_index=True)[1]
    cells = np.concatenate([superseded.rows.own_cells()[lost], won])
    groups = np.concatenate([winners[lost], won]).astype(np.int64)
    values = np.concatenate([superseded.rows.values[lost], superseded.winning_values[lost][first]])
    order = np.argsort(groups, kind="stable")
    rows = superseded.rows.origin.positions(cells).astype(np.int64)
    exceptions = int((EXCEPTIONS if step == 1 else LOOK_EXCEPTIONS) * len(won))
    return Conflicts(rows[order], groups[order], values.view(np.int64)[order], exceptions)


def _unused(data: pd.DataFrame, table: Table, observations: Observations) -> Iterator[tuple[Hashable, Column]]:
    """The columns that are neither timestamp, name nor value; of a wide frame, those without a valid observation."""
    used = [table.timestamp_label, table.name_label]
    used += table.value_labels if table.names is not None else _observed_labels(table, observations)
    for label in data.columns:
        if label not in used:
            yield label, data[label]
    index = data.index
    if table.timestamp_label != INDEX and index.nlevels == 1 and not pd.api.types.is_numeric_dtype(index.dtype):
        yield INDEX, index.to_series()


def _observed_labels(table: Table, observations: Observations) -> list[Hashable]:
    return [table.value_labels[code] for code in np.unique(observations.codes).tolist()]


def _kinds(column: Column, conflicts: Conflicts, table: Table) -> int:
    """How many different cells the column has in these rows, if it tells the rows apart and means something; else 0."""
    try:
        kinds = _kinds_that_tell_apart(column, conflicts)
        means_nothing = kinds and (
            _numbers_rows(column, conflicts, table, kinds) or _measures(column, conflicts, table, kinds)
        )
    except Exception:  # noqa: BLE001  # cells and dtypes that cannot be compared raise what they like, and are not used
        return 0
    return 0 if means_nothing else kinds


def _kinds_that_tell_apart(column: Column, conflicts: Conflicts) -> int:
    """How many different cells the column has in these rows if it tells the different values apart, else 0."""
    codes, kinds = pd.factorize(column.iloc[conflicts.rows], use_na_sentinel=False)
    if len(kinds) == 1:
        return 0
    keys = pd.DataFrame({"group": conflicts.groups, "cell": codes, "value": conflicts.bits})
    different = keys.drop_duplicates()
    alike = different.loc[different.duplicated(["group", "cell"]), "group"].nunique()
    return len(kinds) if alike <= conflicts.exceptions else 0


def _numbers_rows(column: Column, conflicts: Conflicts, table: Table, kinds: int) -> bool:
    """Whether the column only numbers the rows: it never repeats, and there is more than one group to tell apart.

    Within one group, it does so where the moments tell the rows apart as well, and were cut to whole seconds.
    """
    if kinds < len(np.unique(conflicts.rows)) or not column.is_unique:
        return False
    return conflicts.groups[0] != conflicts.groups[-1] or _kinds_that_tell_apart(table.timestamps, conflicts) > 0


def _measures(column: Column, conflicts: Conflicts, table: Table, kinds: int) -> bool:
    """Whether the column holds measurements: fractions, of more kinds than any group has rows.

    Where the moments tell the rows apart as well, and were cut to whole seconds, any numbers are: the sizes of trades.
    """
    cells = plain(column.iloc[conflicts.rows])
    if kind_of(cells) not in ("int", "float"):
        return False
    if _kinds_that_tell_apart(table.timestamps, conflicts):
        return True
    numbers, missing = numbers_of(cells)
    known = numbers[~missing]
    most = int(np.unique(conflicts.groups, return_counts=True)[1].max())
    return bool((known != np.floor(known)).any()) and kinds > most
