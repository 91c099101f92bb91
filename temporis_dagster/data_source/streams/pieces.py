"""Pieces: a stream, opened and read piece by piece.

Comes in: a stream. Goes out: its pieces, each a pyarrow Table or a pandas DataFrame; or one error of the tree for
whatever its source raised.
Never: looks at a value, reads further than it is asked to, or takes a stream for empty that is known to have been read
before.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import pandas as pd

from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.data_source.streams.kinds import NEEDS_BATCHES, called, ensure_arrow_for, in_memory, is_lazy
from temporis_dagster.errors import ConfigurationError, StreamError

if TYPE_CHECKING:
    import pyarrow as pa

LOGGER = logging.getLogger(__name__)

Piece: TypeAlias = "pa.Table | pd.DataFrame"
T = TypeVar("T")

CONSUMED = (
    "The {} was read before, so its rows are gone, or some of them. A stream can be read only once: make a new one for"
    " each upsert, check or plan."
)
NOTHING_IN_IT = (
    "The {} yielded no frame, so it was probably read before. Make a new one; or, if there is nothing to store, pass"
    " an empty frame."
)
BATCH_ROWS = 100_000
"""How many rows a LazyFrame is asked for at a time."""

LONGEST_TEXT = 300
"""How many characters of an error of the source are quoted."""

_started: weakref.WeakSet[Any] = weakref.WeakSet()
"""The iterators that were read here, as far as Python can remember an object without keeping it."""


def pieces_of(stream: object) -> Generator[Piece]:
    """Yield the pieces of a stream, in order.

    Raises:
        InvalidObservationsError: It was read before, or yields something other than frames.
        ConfigurationError: It needs a library that is not installed, or a newer one.
        StreamError: Its source raised an error.
    """
    if isinstance(stream, Iterator):
        _ensure_new(stream)
    if is_lazy(stream):
        yield from _of_frames(_batches(stream), stream)
    elif hasattr(stream, "__arrow_c_stream__"):
        yield from _of_arrow(stream)
    else:
        yield from _of_frames(cast("Iterator[object]", stream), stream)


def _ensure_new(stream: Iterator[object]) -> None:
    try:
        if stream in _started:
            refuse(CONSUMED.format(called(stream)))
        _started.add(stream)
    except TypeError:  # it has no hash, or cannot be remembered
        pass
    if inspect.isgenerator(stream) and inspect.getgeneratorstate(stream) == inspect.GEN_CLOSED:
        refuse(CONSUMED.format(called(stream)))


def _batches(lazy: Any) -> Iterator[object]:
    if not hasattr(lazy, "collect_batches"):
        raise ConfigurationError(NEEDS_BATCHES)
    try:
        batches: Iterator[object] = lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
    except Exception as error:
        raise _failed(lazy, error) from error
    return batches


def _of_arrow(stream: object) -> Iterator[Piece]:
    ensure_arrow_for(stream)
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(stream)
    except pa.ArrowInvalid as error:
        refuse(f"The {called(stream)} cannot be read as a table of Arrow: {error}. Pass a table with named columns.")
    except Exception as error:
        raise _failed(stream, error) from error
    rows = 0
    with reader:
        for batch in _pulled(reader, stream):
            rows += len(batch)
            yield pa.Table.from_batches([batch])
    if not rows and isinstance(stream, Iterator):
        LOGGER.warning("The %s held no rows. If it was read before, make a new one.", called(stream))


def _of_frames(frames: Iterator[object], stream: object) -> Iterator[Piece]:
    number = -1
    for number, frame in enumerate(_pulled(frames, stream)):
        if isinstance(frame, pd.DataFrame):
            yield frame
        elif (table := in_memory(frame)) is not None:
            yield table
        elif hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pd.Series):
            yield from _of_arrow(frame)
        else:
            refuse(f"The {called(stream)} must yield frames, got {called(frame)} as item {number}.")
    if number < 0 and not inspect.isgenerator(stream) and not is_lazy(stream):
        refuse(NOTHING_IN_IT.format(called(stream)))


def _pulled(iterator: Iterator[T], stream: object) -> Iterator[T]:
    try:
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                raise _failed(stream, error) from error
            yield item
    finally:
        _close(iterator)


def _close(iterator: object) -> None:
    """End a generator that is not read completely: what it holds, such as a cursor or a lock, is let go at once."""
    if inspect.isgenerator(iterator):
        try:
            iterator.close()
        except Exception:
            LOGGER.warning("The %s failed as it was closed.", called(iterator), exc_info=True)


def _failed(stream: object, error: Exception) -> StreamError:
    return StreamError(f"The {called(stream)} failed ({type(error).__name__}: {_shortened(str(error))}).")


def _shortened(text: str) -> str:
    """Return the first paragraph of an error's text, in one line: some libraries add the whole query."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    return first if len(first) <= LONGEST_TEXT else f"{first[:LONGEST_TEXT]}..."
