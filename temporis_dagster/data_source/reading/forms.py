"""Forms: the frames of pandas, Arrow and polars that hold what was read.

Comes in: rows. Goes out: a frame with the columns timestamp, name and value.
Never: imports Arrow or polars before such a frame is asked for, or rounds a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster.data_source.reading.rows import Rows
from temporis_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Form: TypeAlias = Literal["pandas", "arrow", "polars"]
"""The library whose frame is asked for."""

ArrowTable: TypeAlias = Any
"""A ``pyarrow.Table``. Any, because pyarrow ships no types: to a checker, its classes are unknown, and so would be each
call of ``read``."""

ArrowBatch: TypeAlias = Any
"""A ``pyarrow.RecordBatch``."""

ArrowReader: TypeAlias = Any
"""A ``pyarrow.RecordBatchReader``."""

LIBRARIES = {"pandas": "pandas", "arrow": "pyarrow", "polars": "polars"}
"""What each form is made with."""

INSTALLED_WITH = {"pandas": "pandas", "arrow": "temporis-dagster[arrow]", "polars": "polars"}

LONGEST_TEXT = 2**31 - 1
"""The number of bytes of text that one array of strings can hold in Arrow."""


def ensure_available(form: object) -> None:
    """Check that frames of this form can be made here.

    Raises:
        ConfigurationError: There is no such form, or its library is not installed.
    """
    if not isinstance(form, str) or form not in LIBRARIES:
        raise ConfigurationError(f"as_ must be 'pandas', 'arrow' or 'polars', got {form!r}.")
    try:
        import_module(LIBRARIES[form])
    except ImportError as error:
        raise ConfigurationError(
            f"as_={form!r} needs {LIBRARIES[form]}, which cannot be imported ({error}). Install it with:"
            f" pip install '{INSTALLED_WITH[form]}'"
        ) from None


def formed(rows: Rows, form: Form) -> Any:
    """Return the rows as a frame of this form: a pandas DataFrame, a pyarrow Table or a polars DataFrame."""
    made = {"pandas": pandas_frame, "arrow": arrow_table, "polars": polars_frame}
    return made[form](rows)


def pandas_frame(rows: Rows) -> pd.DataFrame:
    """Return columns timestamp (datetime64[s, UTC]), name (str) and value (float64)."""
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(rows.timestamps.astype("datetime64[s]")).tz_localize("UTC"),
            "name": pd.Series(rows.names, dtype=str).array.take(rows.codes),
            "value": rows.values,
        }
    )


def arrow_schema() -> pa.Schema:
    """Return the types of the columns of Arrow: timestamp[s, UTC], string and double."""
    import pyarrow as pa

    return pa.schema({"timestamp": pa.timestamp("s", tz="UTC"), "name": pa.string(), "value": pa.float64()})


def arrow_table(rows: Rows) -> ArrowTable:
    """Return the columns of ``arrow_schema``, each in one chunk unless the names are too long for that."""
    import pyarrow as pa

    return pa.Table.from_batches(list(record_batches(rows)), schema=arrow_schema())


def record_batches(rows: Rows) -> Iterator[ArrowBatch]:
    """Yield the rows as batches of Arrow: one, unless the names are too long for that."""
    import pyarrow as pa

    names, schema = pa.array(rows.names, pa.string()), arrow_schema()
    most = _most_rows(rows.names)
    for first in range(0, len(rows), most):
        part = slice(first, first + most)
        columns = [
            pa.array(rows.timestamps[part]).view(schema.field("timestamp").type),
            names.take(pa.array(rows.codes[part])),
            pa.array(rows.values[part]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def arrow_reader(batches: Iterable[Rows]) -> ArrowReader:
    """Return a reader that takes the batches one by one, when it is asked for them."""
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(arrow_schema(), chain.from_iterable(map(record_batches, batches)))


def _most_rows(names: Sequence[str]) -> int:
    """Return how many names certainly fit into one array."""
    return max(1, LONGEST_TEXT // max((len(name.encode()) for name in names), default=1))


def polars_frame(rows: Rows) -> pl.DataFrame:
    """Return columns timestamp (Datetime of microseconds, polars' default, in UTC), name (String), value (Float64)."""
    import polars as pl

    microseconds = pl.Series(rows.timestamps) * 1_000_000
    return pl.DataFrame(
        {
            "timestamp": microseconds.cast(pl.Datetime("us", "UTC")),
            "name": pl.Series(rows.names, dtype=pl.String).gather(pl.Series(rows.codes.astype(np.uint32))),
            "value": pl.Series(rows.values),
        }
    )
