"""Few dtypes from many: Arrow, categorical and sparse columns become the plain dtype that they stand for.

Comes in: any column. Goes out: a column of a NumPy dtype, a masked (nullable) number, datetime64, string or object.
Never: changes a value.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Mask

Column: TypeAlias = "pd.Series[Any]"


def plain(column: Column) -> Column:
    """Return the same values in a plain dtype, with rows numbered from 0."""
    column = renumbered(column)
    if isinstance(column.dtype, pd.SparseDtype):
        return pd.Series(np.asarray(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.isna().any():  # integers cannot represent a missing value
            return _with_dtype(column, "object")
        return plain(column.astype(column.dtype.categories.dtype))
    if isinstance(column.dtype, pd.ArrowDtype):
        return _from_arrow(column, column.dtype)
    return column


def renumbered(column: Column) -> Column:
    """Return the same column with rows numbered from 0; ``reset_index`` would copy it in pandas 2."""
    if column.dtype == object:  # pandas 2 looks for missing values in its own array, and fails on Decimal("sNaN")
        return pd.Series(column.to_numpy(), dtype=object, copy=False)
    return pd.Series(column.array, dtype=column.dtype, copy=False)


def _from_arrow(column: Column, dtype: pd.ArrowDtype) -> Column:
    import pyarrow.types

    arrow = dtype.pyarrow_dtype
    if pyarrow.types.is_timestamp(arrow):
        return _with_dtype(column, f"datetime64[{arrow.unit}{'' if arrow.tz is None else f', {arrow.tz}'}]")
    if pyarrow.types.is_unsigned_integer(arrow):
        return _with_dtype(column, "UInt64")
    if pyarrow.types.is_integer(arrow):
        return _with_dtype(column, "Int64")
    if pyarrow.types.is_floating(arrow):
        return _with_dtype(column, "Float64")
    return _with_dtype(column, "object")


def _with_dtype(column: Column, dtype: str) -> Column:
    return column.astype(dtype)  # type: ignore[call-overload,no-any-return]  # the stubs list dtypes by literal


def numbers_of(column: Column) -> tuple[np.ndarray[Any, np.dtype[Any]], Mask]:
    """Return the numbers of a plain column, nullable or not, in their NumPy dtype, and which are missing."""
    missing = missing_in(column)
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(), missing
    numbers = column.to_numpy(dtype=np.dtype(getattr(column.dtype, "numpy_dtype", object)), na_value=0)
    return numbers, missing | (numbers != numbers)  # noqa: PLR0124  # a nullable float may hold NaN that is not NA


def missing_in(column: Column) -> Mask:
    """Return which are missing. If none is, the mask is read-only and takes no memory."""
    missing = column.isna().to_numpy(dtype=np.bool_)
    return missing if missing.any() else np.broadcast_to(np.False_, len(column))


def kind_of(column: Column) -> str:
    """Return what a plain column holds: ``int``, ``float``, ``bool``, ``datetime``, ``object`` or its dtype's name."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) or hasattr(dtype, "numpy_dtype"):
        kinds = {"i": "int", "u": "int", "f": "float", "b": "bool", "M": "datetime", "O": "object"}
        return kinds.get(dtype.kind, str(dtype))
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "datetime"
    return "text" if isinstance(dtype, pd.StringDtype) else str(dtype)


def type_word(kind: type) -> str:
    """Return what messages call a type, whether a whole column has it or one object among others."""
    return "text" if issubclass(kind, str) else kind.__name__


def type_groups(items: list[object]) -> dict[type, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the positions of the items of each type, in one pass."""
    types = list(map(type, items))
    kinds = list(dict.fromkeys(types))
    if len(kinds) == 1:
        return {kinds[0]: np.arange(len(items), dtype=np.int64)}
    codes = np.fromiter(map({kind: i for i, kind in enumerate(kinds)}.__getitem__, types), np.int64, len(items))
    return {kind: np.flatnonzero(codes == i) for i, kind in enumerate(kinds)}
