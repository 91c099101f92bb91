"""Kinds: what a thing given as data is: a frame in memory, a stream, or neither.

Comes in: whatever a caller passed. Goes out: its kind; a frame that is in memory as a pandas frame; or the error that
says what to pass instead.
Never: imports a library of frames that the caller has not imported, or reads a stream.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

NEEDS_ARROW = (
    "{} needs pyarrow to be read. Install it: pip install 'temporis-dagster[arrow]'; or convert it to a pandas"
    " DataFrame first."
)
SPARK = (
    "The data is a Spark DataFrame, whose rows are on Spark's executors. Call temporis_dagster.spark.upsert(df,"
    " source), which upserts it from there; a frame that fits into memory can be passed as df.toArrow()."
)
PANDAS_ON_SPARK = (
    "The data is a pandas-on-Spark DataFrame, whose rows are on Spark's executors. Call df.to_spark() first, and then"
    " temporis_dagster.spark.upsert(df, source), which upserts it from there."
)
NEEDS_BATCHES = (
    "A LazyFrame of this version of polars cannot be read in batches: that needs polars 1.34 or newer. Upgrade it, or"
    " pass frame.collect() if the result fits into memory."
)


def is_pandas(data: object) -> bool:
    """Return whether it is a pandas DataFrame or Series."""
    return isinstance(data, pd.DataFrame | pd.Series)


def in_memory(data: object) -> pa.Table | None:
    """Return a frame that is in memory, other than pandas', as a pyarrow Table; None if it is something else.

    Raises:
        ConfigurationError: It is one, and pyarrow is not installed.
    """
    if _is_polars_frame(data):
        ensure_arrow_for(data)
        return _table_of_polars(data)
    if _is_arrow_table(data):
        return data
    if _is_batch(data):
        ensure_arrow_for(data)
        return _table_of_batch(data)
    return None


def is_stream(data: object) -> bool:
    """Return whether it is a stream: read from beginning to end, piece by piece, without knowing how long it is."""
    if is_pandas(data) or _is_polars_frame(data) or _is_arrow_table(data) or _is_batch(data) or _is_spark(data):
        return False
    return is_lazy(data) or hasattr(data, "__arrow_c_stream__") or isinstance(data, Iterator)


def _is_polars_frame(data: object) -> bool:
    polars: Any = sys.modules.get("polars")
    return polars is not None and isinstance(data, polars.DataFrame)


def _is_arrow_table(data: object) -> bool:
    arrow: Any = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(data, arrow.Table)


def _is_batch(data: object) -> bool:
    arrow: Any = sys.modules.get("pyarrow")
    is_batch = arrow is not None and isinstance(data, arrow.RecordBatch)
    return is_batch or (hasattr(data, "__arrow_c_array__") and not hasattr(data, "__arrow_c_stream__"))


def _is_spark(data: object) -> bool:
    return any(f"{kind.__module__}.".startswith(("pyspark.pandas.", "pyspark.sql.")) for kind in type(data).__mro__)


def is_lazy(data: object) -> bool:
    """Return whether it is a LazyFrame of polars, which has no protocol of Arrow's."""
    polars: Any = sys.modules.get("polars")
    return polars is not None and isinstance(data, polars.LazyFrame)


def called(data: object) -> str:
    """Return what messages call a thing: its type, with the library's name where the type has one."""
    kind = type(data)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library} {kind.__name__}"


def refuse_what_is_no_frame(data: object) -> None:
    """Raise the error for what is neither a frame nor a stream of frames; return if it may be one.

    Raises:
        InvalidObservationsError: It is none, with what to pass instead.
    """
    if _is_spark(data):
        on_pandas = any(f"{kind.__module__}.".startswith("pyspark.pandas.") for kind in type(data).__mro__)
        refuse(PANDAS_ON_SPARK if on_pandas else SPARK)
    if is_pandas(data) or is_stream(data) or in_memory(data) is not None:
        return
    refuse(
        "The data must be a frame (a pandas DataFrame or Series, a polars DataFrame, a pyarrow Table) or a stream of"
        f" frames, got {called(data)}. {_way_out(data)}"
    )


def _way_out(data: object) -> str:
    if isinstance(data, AsyncIterator) or inspect.isasyncgenfunction(data):
        return "Collect its frames, or pass an iterator that is not asynchronous."
    if inspect.isgeneratorfunction(data):
        return "Call the function first: its generator is a stream of frames."
    if isinstance(data, list | tuple) and data and all(map(is_frame_like, data)):
        return "Pass iter(frames) to store them one after the other, or one frame that holds all of them."
    if hasattr(data, "to_reader"):
        return "Pass .to_reader(), which is a stream."
    if hasattr(data, "scanner"):
        return "Pass .scanner().to_reader(), which is a stream."
    return "Convert it first."


def is_frame_like(data: object) -> bool:
    """Return whether it is a frame, or a stream of Arrow's."""
    return is_pandas(data) or hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def ensure_arrow_for(data: object) -> None:
    """Refuse what only pyarrow can read if it is not installed.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigurationError(NEEDS_ARROW.format(f"A {called(data)}"))


def _table_of_polars(frame: Any) -> pa.Table:
    import pyarrow as pa

    try:
        table: pa.Table = frame.to_arrow()
    except (pa.ArrowException, TypeError, ValueError) as error:
        unknown = ", ".join(f"{name!r} ({kind})" for name, kind in frame.schema.items() if _is_unknown(frame[name][:0]))
        refuse(f"Arrow has no type for the column {unknown or error}. Cast it to another type first, or leave it out.")
    return table


def _is_unknown(column: Any) -> bool:
    import pyarrow as pa

    try:
        column.to_arrow()
    except (pa.ArrowException, TypeError, ValueError):
        return True
    return False


def _table_of_batch(data: object) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.Table.from_batches([pa.record_batch(data)])
    except (pa.ArrowException, TypeError, ValueError) as error:
        refuse(f"The {called(data)} cannot be read as a table of Arrow: {error}. Pass a table with named columns.")
