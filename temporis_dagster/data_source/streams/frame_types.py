"""Frame types: what ``upsert`` takes, as types, with what each may promise.

Comes in: nothing. Goes out: two aliases, and the protocols that they are made of.
Never: imports a library of frames other than pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

    from temporis_dagster.data_source.observations import Observations


class ArrowStream(Protocol):
    """Anything that libraries of Arrow can read: a ``RecordBatchReader``, a relation of DuckDB, a frame of polars."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Export it: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html."""
        ...


class ArrowFrame(ArrowStream, Protocol):
    """One that is in memory and knows its length: a ``pyarrow.Table``, a polars DataFrame."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...


class LazyFrame(Protocol):
    """A LazyFrame of polars, version 1.34 or newer."""

    @property
    def collect_batches(self) -> Callable[..., Iterator[Any]]:
        """Run the query batch by batch."""
        ...


Frame: TypeAlias = "pd.DataFrame | pd.Series[Any] | ArrowFrame | Observations"
"""A frame in memory: *nothing is sent before everything is checked.*

(Or the observations that a surface over the core has already made of one.)
"""

FrameStream: TypeAlias = "ArrowStream | LazyFrame | Iterator[pd.DataFrame | ArrowStream]"
"""Frames that come one after the other and are read once: a stream *cannot be refused whole before anything is sent.*

It is checked and sent slice by slice. When a slice is refused, those before it are stored, and the error's ``.report``
counts them. ``spool=True`` gives the promise of a frame.
"""
