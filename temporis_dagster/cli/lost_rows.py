"""Lost rows: rows of a file that lose to a later row with another value, and the column that tells them apart.

Comes in: a file's table, and the observations in it. Goes out: a warning or an error, and advice on names of series.
Never: changes an observation, or lets most rows of a file be lost unless the caller has said so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd

from temporis_dagster.cli.file_form import COLUMN
from temporis_dagster.cli.time_parts import directive_of
from temporis_dagster.data_source.observations.conflicts import settle_conflicts
from temporis_dagster.data_source.observations.distinguishing_column import column_that_tells_apart
from temporis_dagster.data_source.observations.layout import columns_by_role
from temporis_dagster.wording import agreeing, counted

if TYPE_CHECKING:
    from temporis_dagster.cli.file_options import FileOptions
    from temporis_dagster.cli.file_table import FileTable
    from temporis_dagster.data_source.observations import Observations

MOST_LOST = 0.5
"""The share of a file's observations that may lose to another value without an explicit ``--on-conflict``."""

LETTER = re.compile(r"[^\W\d_]")
MOST_TOGETHER = 2
"""How many columns are tried together, before all of them are advised."""


def settled(table: FileTable, observations: Observations, options: FileOptions, data_source: str) -> Observations:
    """Warn of the rows that lose to another value, or refuse them.

    Without ``--on-conflict``, they are refused if a column that was not left out on purpose tells them apart, or if
    they are most rows of the file. Rows that ``--sub-second floor`` cuts to one second are only warned of.

    Returns:
        The observations, with the column that tells such rows apart.

    Raises:
        InvalidObservationsError: The rows are refused.
    """
    superseded = observations.superseded_rows
    if superseded is None or not observations.conflicts:
        return observations
    options = told_of(options, table)
    used, found = options, None
    if superseded.told_apart_by is None and len(table.left_out.columns):
        by_role = columns_by_role(table.frame, options)
        found = column_that_tells_apart(table.left_out, by_role, observations)
        observations = replace(observations, superseded_rows=replace(superseded, told_apart_by=found))
        used = options if options.MAY_MERGE else options.merging()
    expected = options.MAY_MERGE or (options.sub_second == "floor" and found is None)
    if not expected and observations.conflicts > MOST_LOST * observations.observations_in:
        used = replace(options, on_conflict="raise")
    settle_conflicts(observations, used, data_source=data_source)
    return observations


def told_of(options: FileOptions, table: FileTable) -> FileOptions:
    """Return the options with what advice needs to know of the columns of the file.

    It may look at all cells of a column, so it is called only where there is something to advise.
    """
    frame, timestamp = table.frame, options.timestamp
    names = None if COLUMN in frame.columns else columns_by_role(frame, options).name_label
    values = [str(column) for column in frame.columns if column not in (timestamp, names)]
    if COLUMN in frame.columns:
        values = []
    used = (timestamp, options.name, COLUMN)
    parts = [
        (str(column), directive)
        for some in (frame, table.left_out)
        for column in some.columns
        if column not in used and (directive := directive_of(column, some[column]))
    ]
    told = replace(options, value_columns=tuple(values), time_parts=tuple(parts))
    return told if names is None else replace(told, name_column=str(names))


def way_out(observations: Observations, options: FileOptions, table: FileTable) -> str:
    """Return what to do about the rows that lost to another value; nothing if there are none."""
    superseded, count = observations.superseded_rows, observations.conflicts
    if superseded is None or not count:
        return ""
    options, column = told_of(options, table), superseded.told_apart_by
    lost = (
        f"{count:,} of {counted(observations.observations_in, 'observation')} lost to a later row with another value."
    )
    if column is None:
        return f"{lost} {options.untold()}"
    return f"{lost} The column {column!r} tells them apart: {options.told_apart(column)}."


def entity_advice(table: FileTable, options: FileOptions, texts: Iterable[str]) -> str:
    """Return how to name series by columns of texts that tell rows of one time apart; nothing if there are none.

    Args:
        table: The file.
        options: How it was read.
        texts: The columns that hold texts where numbers are expected.
    """
    frame, timestamp = table.frame, options.timestamp
    if timestamp not in frame.columns or columns_by_role(frame, options).names is not None:
        return ""
    times = frame[timestamp].map(str)
    words = {column: frame[column].map(str) for column in frame.columns.intersection(list(texts))}
    telling = {
        str(column): cells
        for column, cells in words.items()
        if column != timestamp and _holds_words(frame[column]) and _differs(times, cells)
    }
    if not telling:
        return ""
    options = told_of(options, table)
    chosen = _fewest(times, telling)
    named, columns = " and ".join(map(repr, chosen)), agreeing(len(chosen), "column", "columns")
    parts = [
        f"if {column!r} is a part of the time, {part}; otherwise, "
        for column in chosen[:1]
        if (part := options.as_part_of_the_time(column)) is not None
    ]
    return (
        f"Rows of one time differ in the {columns} {named}: {''.join(parts)}make {agreeing(len(chosen), 'it', 'them')}"
        f" part of the series names, with {options.naming(chosen)}."
    )


def _holds_words(column: pd.Series[Any]) -> bool:
    """Tell whether all cells are texts with a letter, so that none is a number written another way."""
    cells = column.dropna().tolist()
    return bool(cells) and all(isinstance(cell, str) and LETTER.search(cell) for cell in cells)


def _differs(times: pd.Series[str], cells: pd.Series[str]) -> bool:
    """Tell whether several cells of one time differ."""
    keys = pd.concat([times, cells], axis="columns").drop_duplicates()
    return bool(keys[times.name].duplicated().any())


def _fewest(times: pd.Series[str], columns: Mapping[str, pd.Series[str]]) -> list[str]:
    """Return the one or two columns with the fewest different cells that occur only once per time, or all of them."""
    names = sorted(columns, key=lambda column: columns[column].nunique())
    for number in range(1, MOST_TOGETHER + 1):
        for some in combinations(names, number):
            keys = pd.concat([times, *(columns[column] for column in some)], axis="columns")
            if not keys.duplicated().any():
                return [column for column in columns if column in some]
    return list(columns)
