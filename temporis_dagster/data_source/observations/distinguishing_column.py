"""Distinguishing column: an unused column that tells rows with the same key but different values apart.

Comes in: a frame, and which of its observations lost to which others. Goes out: the label of such a column, or None.
Never: decides what is done about it.

Example: a file of three airports, whose airport column was not used, has three values for every hour. A column that
only numbers the rows, as trades are numbered, or that holds measurements, tells rows apart as well, but means nothing.
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
"""The share of keys for which such a column may be the same: each airport still has one hour twice in November."""

LOOK = 2_500
"""The number of keys, from all over the frame, that are tried before all are: most columns soon prove useless."""

LOOK_EXCEPTIONS = 0.05


@dataclass(frozen=True, eq=False)
class Conflicts:
    """Every row of the keys that have different values, by (timestamp, name).

    Attributes:
        rows: Row positions.
        groups: The (timestamp, name) that each belongs to, ascending: the cell of the row that won.
        bits: The values, as the integers with the same bits.
        exceptions: The number of groups in which a column may fail to tell the rows apart.
    """

    rows: Int64s
    groups: Int64s
    bits: Int64s
    exceptions: int


def column_that_tells_apart(data: object, table: Table, observations: Observations) -> Hashable | None:
    """Return the label of an unused column that differs where the values of one key do.

    Of several such columns, the one with the fewest different cells is returned.

    Args:
        data: What the caller passed.
        table: The same, taken apart.
        observations: The observations that were found in it.
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
    """Return the rows that lost and that won, of all keys where they differ, or of ``most`` keys from all over."""
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
    rows = superseded.rows.origin.rows(cells).astype(np.int64)
    exceptions = int((EXCEPTIONS if step == 1 else LOOK_EXCEPTIONS) * len(won))
    return Conflicts(rows[order], groups[order], values.view(np.int64)[order], exceptions)


def _unused(data: pd.DataFrame, table: Table, observations: Observations) -> Iterator[tuple[Hashable, Column]]:
    """Yield the columns that are neither timestamp, name nor value; in a wide frame, those without valid cells."""
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
    """Return how many different cells the column has in these rows; 0 if it does not distinguish them meaningfully."""
    try:
        kinds = _kinds_that_tell_apart(column, conflicts)
        means_nothing = kinds and (
            _numbers_rows(column, conflicts, table, kinds) or _measures(column, conflicts, table, kinds)
        )
    except Exception:  # noqa: BLE001  # cells that cannot be compared raise anything; such a column is not used
        return 0
    return 0 if means_nothing else kinds


def _kinds_that_tell_apart(column: Column, conflicts: Conflicts) -> int:
    """Return how many different cells the column has in these rows; 0 if it does not tell the values apart."""
    codes, kinds = pd.factorize(column.iloc[conflicts.rows], use_na_sentinel=False)
    if len(kinds) == 1:
        return 0
    keys = pd.DataFrame({"group": conflicts.groups, "cell": codes, "value": conflicts.bits})
    different = keys.drop_duplicates()
    alike = different.loc[different.duplicated(["group", "cell"]), "group"].nunique()
    return len(kinds) if alike <= conflicts.exceptions else 0


def _numbers_rows(column: Column, conflicts: Conflicts, table: Table, kinds: int) -> bool:
    """Return whether the column only numbers the rows: it never repeats, and there is more than one group.

    With one group, it does so if the original timestamps, before they were cut to whole seconds, also tell them apart.
    """
    if kinds < len(np.unique(conflicts.rows)) or not column.is_unique:
        return False
    return conflicts.groups[0] != conflicts.groups[-1] or _kinds_that_tell_apart(table.timestamps, conflicts) > 0


def _measures(column: Column, conflicts: Conflicts, table: Table, kinds: int) -> bool:
    """Return whether the column holds measurements: fractions, more different ones than any group has rows.

    If the original timestamps, before they were cut to whole seconds, also tell the rows apart, any numbers count as
    measurements: for example the sizes of trades.
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
