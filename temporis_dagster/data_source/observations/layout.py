"""Layout: which part of a frame is the timestamp, which the series name, which the value.

Comes in: a DataFrame or Series and the column choices. Goes out: a table: its columns by role.
Never: looks at a value, or modifies the frame.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NoReturn

import pandas as pd

from temporis_dagster.data_source.observations.dtypes import Column, kind_of, plain, renumbered
from temporis_dagster.data_source.observations.faults import fault_frame
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.time_index import (
    as_column,
    contents_in_words,
    holds_timestamps,
    is_datetime_index,
    what_it_holds,
)
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import columns_of

INDEX = "the index"


@dataclass(frozen=True, eq=False)
class Table:
    """A frame taken apart: a row is a timestamp and one value (long) or one value per series (wide).

    Attributes:
        labels: The frame's index.
        timestamps: The timestamps, one per row.
        timestamp_label: The label of the timestamps: a column's, or ``INDEX``.
        values: The value columns: one in a long frame, one per series in a wide one.
        value_labels: The labels of the value columns.
        names: The series names, one per row; None for a wide frame, where a missing value means "no observation".
        name_label: The label of the column of names.
    """

    labels: pd.Index
    timestamps: Column
    timestamp_label: Hashable
    values: list[Column]
    value_labels: list[Hashable]
    names: Column | None = None
    name_label: Hashable = None


def table_of(data: object, options: ObservationOptions) -> Table:
    """Take a DataFrame or Series apart.

    Raises:
        InvalidObservationsError: The chosen columns do not exist, or the frame can be read in more than one way.
    """
    if isinstance(data, pd.Series):
        return _from_series(data, options)
    if not isinstance(data, pd.DataFrame):
        refuse(f"The data must be a pandas DataFrame or Series, got {type(data).__name__}. Convert it first.")
    if not len(data):
        return Table(data.index, pd.Series(dtype="int64"), INDEX, [], [])
    return columns_by_role(data, options)


def check_columns(data: pd.DataFrame, options: ObservationOptions) -> None:
    """Check the columns as ``table_of`` does, even if there are no rows: a file may not be a table at all.

    Raises:
        InvalidObservationsError: The chosen columns do not exist, or the frame can be read in more than one way.
    """
    table = columns_by_role(data, options)
    if not table.values:
        refuse("There is no column besides the timestamps. Each series needs a column that holds its values.")


def columns_by_role(data: pd.DataFrame, options: ObservationOptions) -> Table:
    """Take a DataFrame apart as ``table_of`` does, also one without rows.

    Raises:
        InvalidObservationsError: The chosen columns do not exist, or the frame can be read in more than one way.
    """
    if data.columns.nlevels > 1:
        refuse("The columns have several levels. Flatten them first, so that each column has one name.")
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()].unique().tolist()
        what = f"The column {twice[0]!r} exists" if len(twice) == 1 else f"The columns {twice} exist"
        refuse(f"{what} more than once. Rename or drop the duplicates.")
    timestamps, label = _timestamps(data, options)
    if _is_long(data, options):
        return _long(data, options, timestamps, label)
    return _wide(data, timestamps, label)


def refuse(message: str) -> NoReturn:
    """Raise the error for a frame whose shape is wrong, rather than its rows."""
    raise InvalidObservationsError(message, rows=fault_frame([], pd.Index([])))


def _from_series(series: Column, options: ObservationOptions) -> Table:
    if series.name is None:
        refuse("The Series has no name, so there is no series name. Set one, as in .rename('orders').")
    if isinstance(series.index, pd.MultiIndex):
        refuse(f"The index has several levels. {options.ADVICE.index_levels}")
    if not holds_timestamps(series.index, options):
        about = _about_index(series.index, options) or "Set its timestamps as the index first"
        refuse(f"The Series has no DatetimeIndex. {about}.")
    stamps = as_column(series.index)
    return Table(series.index, stamps, INDEX, [plain(series)], [series.name])


def _timestamps(data: pd.DataFrame, options: ObservationOptions) -> tuple[Column, Hashable]:
    column = options.timestamp
    in_column = column is not None and column in data.columns
    if in_column and is_datetime_index(data.index):
        refuse(
            f"Both the column {column!r} and the DatetimeIndex could be the timestamp."
            f" {options.ADVICE.index_or_column.format(take_index=options.spelled('timestamp', None))}"
        )
    if in_column:
        return plain(data[column]), column
    if isinstance(data.index, pd.MultiIndex):
        refuse(f"The index has several levels. {options.ADVICE.index_levels}")
    if not holds_timestamps(data.index, options):
        _refuse_without_timestamps(data, options)
    return as_column(data.index), INDEX


def _refuse_without_timestamps(data: pd.DataFrame, options: ObservationOptions) -> NoReturn:
    """Refuse the frame. Tell what to do with an index that is more than row numbers, and which columns there are."""
    column = options.timestamp
    missing = f"There is no column {column!r}{options.ADVICE.no_index}. " if column is not None else ""
    if column is None and isinstance(data.index, pd.RangeIndex):
        missing = "The index only numbers the rows, so it cannot be the timestamp. "
    about = _about_index(data.index, options)
    named = columns_of(data.columns.tolist())
    columns = f"ay which column of {named} holds the timestamps, with {options.spelled('timestamp')}."
    refuse(f"{missing}{f'{about}. Or s' if about else 'S'}{columns}")


def _about_index(index: pd.Index, options: ObservationOptions) -> str:
    """Describe an index that does not hold timestamps, and what to do; nothing if it only numbers the rows."""
    held, advice = what_it_holds(index), options.ADVICE
    if isinstance(index, pd.RangeIndex) or (held == "numbers" and held not in advice.index):
        return ""
    what_to_do = advice.index.get(held, advice.other_index).format(take_index=options.spelled("timestamp", None))
    return f"The index holds {contents_in_words(index)}. {what_to_do}"


def _is_long(data: pd.DataFrame, options: ObservationOptions) -> bool:
    if options.layout != "auto":
        return options.layout == "long"
    name, value = options.name in data.columns, options.value in data.columns
    if name != value:
        there, missing = (options.name, options.value) if name else (options.value, options.name)
        left = [column for column in data.columns if column not in (options.timestamp, there)]
        choice = (
            f"the column that holds the values, with {options.spelled('value', left[0])}"
            if name and len(left) == 1
            else "the columns that hold the series names and the values, with"
            f" {options.spelled('name')} and {options.spelled('value')}"
        )
        refuse(
            f"There is a column {there!r} but no column {missing!r}. Pass {options.spelled('layout', 'wide')} if every"
            f" column is a series, or choose {choice}."
        )
    if name and len(data) and kind_of(plain(data[options.name].iloc[:0])) in ("int", "float"):
        refuse(
            f"The column {options.name!r} holds numbers, so it could be series names of the wrong type or a series."
            f" Pass {options.spelled('layout', 'long')} or {options.spelled('layout', 'wide')}; in a long frame,"
            f" {options.ADVICE.names}."
        )
    return name


def _long(data: pd.DataFrame, options: ObservationOptions, timestamps: Column, label: Hashable) -> Table:
    for argument, column in (("name", options.name), ("value", options.value)):
        if column not in data.columns:
            which = f"Choose one of {columns_of(data.columns.tolist())} with {options.spelled(argument)}."
            refuse(f"There is no column {column!r}. {which}")
    names = renumbered(data[options.name])
    return Table(data.index, timestamps, label, [plain(data[options.value])], [options.value], names, options.name)


def _wide(data: pd.DataFrame, timestamps: Column, label: Hashable) -> Table:
    series: list[Hashable] = [column for column in data.columns if label is INDEX or column != label]
    return Table(data.index, timestamps, label, [plain(data[column]) for column in series], series)
