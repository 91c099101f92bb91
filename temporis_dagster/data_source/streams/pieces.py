"""Pieces: a stream, opened and read piece by piece.

Comes in: a stream. Goes out: its pieces, each a pyarrow Table or a pandas DataFrame.
Never: looks at a value, or reads further than it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pandas as pd

from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.data_source.streams.kinds import (
    NEEDS_BATCHES,
    called,
    ensure_arrow_for,
    in_memory,
    is_lazy,
)
from temporis_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

Piece: TypeAlias = "pa.Table | pd.DataFrame"


def pieces_of(stream: object) -> Iterator[Piece]:
    """Yield the pieces of a stream, in order."""
    if is_lazy(stream):
        yield from _of_frames(_batches(stream))
    elif hasattr(stream, "__arrow_c_stream__"):
        yield from _of_arrow(stream)
    else:
        yield from _of_frames(cast("Iterator[object]", stream))


def _batches(lazy: Any) -> Iterator[object]:
    if not hasattr(lazy, "collect_batches"):
        raise ConfigurationError(NEEDS_BATCHES)
    batches: Iterator[object] = lazy.collect_batches()
    return batches


def _of_arrow(stream: object) -> Iterator[Piece]:
    ensure_arrow_for(stream)
    import pyarrow as pa

    with pa.RecordBatchReader.from_stream(stream) as reader:
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _of_frames(frames: Iterator[object]) -> Iterator[Piece]:
    for number, frame in enumerate(frames):
        if isinstance(frame, pd.DataFrame):
            yield frame
        elif (table := in_memory(frame)) is not None:
            yield table
        elif hasattr(frame, "__arrow_c_stream__"):
            yield from _of_arrow(frame)
        else:
            refuse(f"The stream must yield frames, got {called(frame)} as item {number}.")
