"""Time index: which indexes of a frame hold its timestamps, and what the others hold.

Comes in: an index. Goes out: whether it is read as timestamps, or what it holds, in words.
Never: takes row numbers for time, or numbers and text unless the caller declares the index to be the timestamp.
"""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.dtypes import Column, kind_of, plain, type_groups, type_word
from temporis_dagster.data_source.observations.options import ObservationOptions


def as_column(index: pd.Index) -> Column:
    """Return the index as a plain column. No other dtype is inferred for objects."""
    held = index.to_numpy() if index.dtype == object else index.array  # pandas 2 fails on the array of Decimal("sNaN")
    return plain(pd.Series(held, dtype=index.dtype, copy=False))


def is_datetime_index(index: pd.Index) -> bool:
    """Return whether the dtype alone shows that it holds moments: a DatetimeIndex, or one of Arrow or categories."""
    if isinstance(index, pd.DatetimeIndex | pd.MultiIndex):
        return isinstance(index, pd.DatetimeIndex)
    return kind_of(as_column(index[:0])) == "datetime"


def holds_timestamps(index: pd.Index, options: ObservationOptions) -> bool:
    """Return whether an index is read as timestamps, if no column is.

    It is if it holds moments, including objects (dates, datetimes of mixed offsets), or if the caller declares it: by
    naming it like the timestamp column, or with ``timestamp=None``. Row numbers never are.
    """
    if is_datetime_index(index):
        return True
    if isinstance(index, pd.RangeIndex | pd.MultiIndex) or what_it_holds(index) in (
        "periods",
        "durations",
        "intervals",
    ):
        return False
    asked = options.timestamp is None or (index.name is not None and index.name == options.timestamp)
    return asked or _holds_moments(index)


def what_it_holds(index: pd.Index) -> str:
    """Return what an index holds instead of moments: the word that ``Advice.index`` knows, or the name of its type."""
    for dtype, word in ((pd.PeriodDtype, "periods"), (pd.IntervalDtype, "intervals")):
        if isinstance(index.dtype, dtype):
            return word
    column = as_column(index)
    kind = kind_of(column)
    held = " and ".join(sorted(map(type_word, _types(column)))) if kind == "object" else kind
    return _WORDS.get(held.split("[")[0], held or "no values")


def contents_in_words(index: pd.Index) -> str:
    """Return what an index holds, with its dtype if that tells more."""
    held = what_it_holds(index)
    return held if held == str(index.dtype) or index.dtype == object else f"{held} ({index.dtype})"


def _holds_moments(index: pd.Index) -> bool:
    column = as_column(index)
    types = _types(column) if kind_of(column) == "object" else []
    return bool(types) and all(issubclass(kind, date | np.datetime64) for kind in types)


def _types(column: Column) -> list[type]:
    """Return the types of its objects that are not missing."""
    known = [item for item in column.tolist() if not _is_missing(item)]
    return list(type_groups(known)) if known else []


def _is_missing(item: object) -> bool:
    """Return whether an item is missing, like pandas, which itself fails on ``Decimal("sNaN")``."""
    return item is None or item is pd.NA or item is pd.NaT or (isinstance(item, float) and math.isnan(item))


_WORDS = {
    "int": "numbers",
    "float": "numbers",
    "Decimal": "numbers",
    "Period": "periods",
    "Interval": "intervals",
    "timedelta64": "durations",
    "Timedelta": "durations",
    "timedelta": "durations",
}
