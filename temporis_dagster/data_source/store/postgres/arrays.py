"""Arrays: columns in the binary formats of PostgreSQL: numbers both ways, without an object per number, and names.

Comes in: NumPy arrays, or the bytes of a result. Goes out: parameters and rows of ``COPY``, or NumPy arrays.
Never: rounds: all 64 bits of a value arrive.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from temporis_dagster.data_source.observations.model import Floats, Int64s

HEADER = 20
"""Bytes before the first number of an array: dimensions, a flag, the type, and the length and base of its dimension."""

NUMBER = np.dtype([("bytes", ">i4"), ("number", ">V8")])
"""A number of 8 bytes in an array, behind its length."""

COPY_HEADER, COPY_TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)

COPY_ROW = np.dtype(
    [
        *(("columns", ">i2"), ("series_bytes", ">i4"), ("series", ">i4")),
        *(("timestamp_bytes", ">i4"), ("timestamp", ">i8"), ("value_bytes", ">i4"), ("value", ">f8")),
    ]
)


class NumberArray:
    """A column of numbers, as a parameter of a statement. Placeholders for it are ``%b``."""

    element: ClassVar[int]
    """The type's identifier in PostgreSQL."""
    array: ClassVar[int]
    """That of arrays of the type."""
    dtype: ClassVar[str]

    def __init__(self, numbers: npt.NDArray[Any]) -> None:
        self.numbers = numbers


class Int4Array(NumberArray):
    """Integers of 32 bits: ids of series."""

    element, array, dtype = 23, 1007, ">i4"


class Int8Array(NumberArray):
    """Integers of 64 bits: Unix seconds, positions."""

    element, array, dtype = 20, 1016, ">i8"


class Float8Array(NumberArray):
    """Floating-point numbers of 64 bits: values."""

    element, array, dtype = 701, 1022, ">f8"


class TextArray:
    """Names, as a parameter of a statement. The driver's own way takes five times as long."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts


class _TextDumper(Dumper):
    oid, format = 1009, Format.BINARY

    def dump(self, obj: TextArray) -> bytes:
        parts = [struct.pack(">iiIii", 1, 0, 25, len(obj.texts), 1)]
        for text in obj.texts:
            content = text.encode()
            parts += (len(content).to_bytes(4, "big"), content)
        return b"".join(parts)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: NumberArray) -> bytes:
        size = np.dtype(obj.dtype).itemsize
        items = np.empty(len(obj.numbers), np.dtype([("bytes", ">i4"), ("number", obj.dtype)]))
        items["bytes"], items["number"] = size, obj.numbers
        return struct.pack(">iiIii", 1, 0, obj.element, len(items), 1) + items.tobytes()


def register(connection: psycopg.Connection[Any]) -> None:
    """Let a connection take the arrays of this module as parameters."""
    for kind in (Int4Array, Int8Array, Float8Array):
        dumper = type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.array})
        connection.adapters.register_dumper(kind, dumper)
    connection.adapters.register_dumper(TextArray, _TextDumper)


def count(content: bytes | None) -> int:
    """Return how many numbers of 8 bytes an array without NULLs has; 0 for NULL instead of an array."""
    return 0 if content is None or len(content) < HEADER else (len(content) - HEADER) // NUMBER.itemsize


def integers(*contents: bytes) -> Int64s:
    """Return the numbers of some arrays of int8 without NULLs, one array after the other."""
    return _numbers(contents).view(">i8").astype(np.int64)


def floats(*contents: bytes) -> Floats:
    """Return the numbers of some arrays of float8 without NULLs, one array after the other."""
    return _numbers(contents).view(">f8").astype(np.float64)


def _numbers(contents: Sequence[bytes]) -> npt.NDArray[Any]:
    # An array without elements has no dimension: it is shorter than a header.
    joined = b"".join([memoryview(content)[HEADER:] for content in contents])
    return np.frombuffer(joined, NUMBER)["number"]


COPY_ROW_WITH_BATCH = np.dtype([*COPY_ROW.descr, ("batch_bytes", ">i4"), ("batch", ">i8")])


def copy_rows(series: Int64s, timestamps: Int64s, values: Floats, batch: int | None = None) -> bytes:
    """Return rows (series, timestamp, value) as ``COPY ... (FORMAT BINARY)`` reads them.

    Args:
        series: The ids of their series.
        timestamps: Unix seconds.
        values: Their values.
        batch: The batch of a mirror that carries them, as a fourth column; None for a store.
    """
    rows = np.empty(len(series), COPY_ROW if batch is None else COPY_ROW_WITH_BATCH)
    rows["columns"], rows["series_bytes"], rows["timestamp_bytes"], rows["value_bytes"] = 3, 4, 8, 8
    rows["series"], rows["timestamp"], rows["value"] = series, timestamps, values
    if batch is not None:
        rows["columns"], rows["batch_bytes"], rows["batch"] = 4, 8, batch
    return b"".join((COPY_HEADER, rows.tobytes(), COPY_TRAILER))
