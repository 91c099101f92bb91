"""Spool: a stream, checked completely before anything is sent, as arrays in temporary files.

Comes in: the slices of a stream. Goes out: observations like those of a frame, whose arrays are mapped from the files.
Never: leaves a file behind: the files have no names, and are gone with the last reference to the observations.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.model import (
    BLOCK_ROWS,
    DroppedKeys,
    Int64s,
    Observations,
    Origin,
)
from temporis_dagster.data_source.observations.observe import Invalid, compared
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.streams.slice_reader import SliceReader
from temporis_dagster.data_source.streams.slices import Slice, slices_of
from temporis_dagster.errors import StreamError

MOST_CELLS = 200_000
"""The number of observations that are read at a time, at most. Larger slices help only where each goes to a store."""

FULL = (
    "The temporary file in which the stream is spooled cannot be written to {} ({}). Make room there, or set TMPDIR"
    " to a folder on a larger disk."
)


def spooled(
    stream: object,
    options: ObservationOptions,
    contracts: Contracts,
    *,
    slice_cells: int | None,
    data_source: str | None,
    now_s: float,
    warn: Callable[..., object],
) -> Observations:
    """Check a stream completely and return its observations, as ``observe`` would of one frame that holds all rows.

    Args:
        stream: The stream.
        options: How to read it. With ``ambiguous="infer"``, which looks at rows in their order, all of it is read into
            memory.
        contracts: What its values must be.
        slice_cells: How many observations to read at a time.
        data_source: The data source that they are for, named in messages.
        now_s: The current time, in Unix seconds.
        warn: Receives warnings: a logger's method.

    Raises:
        InvalidObservationsError: Some rows cannot be observations, or the columns change.
        ConfigurationError: It needs a library that is not installed, or a newer one.
        StreamError: Its source raised an error, or the temporary files cannot be written.
    """
    reader, part = SliceReader(options, contracts, now_s), Slice(pd.DataFrame())
    invalid, valid, slices = list[Invalid](), 0, 0
    slice_cells = None if options.ambiguous == "infer" else min(slice_cells or MOST_CELLS, MOST_CELLS)
    with closing(Spool()) as spool, closing(slices_of(stream, options, slice_cells)) as parts:
        for part in parts:
            slices += 1
            reading = reader.read(part)
            if reading.invalid is not None:
                invalid.append(reading.invalid)
                if reading.invalid.call_at_fault:
                    break
            else:
                valid += len(reading.observations)
            if not invalid:
                spool.add(reading.observations)
        worded = reader.options_for(part)
        if invalid:
            raise _joined(invalid, valid).error(worded, data_source)
        if not slices:
            reading = reader.read(part)
        one = slices <= 1
        observations = reading.observations if one else spool.observations()
    apart = reading.told_apart_by if one else _not_told_apart
    return compared(observations, worded, contracts, told_apart_by=apart, data_source=data_source, warn=warn)


def _not_told_apart(_: Observations) -> None:
    """Name no column: those that are not read are not kept."""


class Spool:
    """Observations of a stream, appended to files."""

    def __init__(self) -> None:
        self._timestamps, self._codes = FileColumn(np.int32), FileColumn(np.int16)
        self._values, self._cells = FileColumn(np.float64), FileColumn(np.int32)
        self._numbers: dict[str, int] = {}
        self._labels: list[pd.Index] = []
        self._columns: tuple[object, ...] | None = None
        self._dropped: list[pd.DataFrame] = []
        self._keys: list[DroppedKeys] = []
        self._every_cell = True

    def add(self, observations: Observations) -> None:
        """Append the observations of the next slice.

        Raises:
            StreamError: The files cannot be written.
        """
        origin, numbers = observations.origin, self._numbers_of(observations.names)
        with _writable():
            self._append_cells(observations, origin.first_row * origin.width)
            self._timestamps.append(observations.timestamps)
            self._codes.append(numbers[observations.codes])
            self._values.append(observations.values)
        self._labels.append(origin.labels)
        self._columns = origin.columns
        if len(observations.dropped_rows):
            self._dropped.append(observations.dropped_rows)
        if observations.dropped_keys is not None:
            self._keys.append(_numbered(observations.dropped_keys, numbers))

    def close(self) -> None:
        """Close the files. What is mapped from them stays."""
        for column in (self._timestamps, self._codes, self._values, self._cells):
            column.close()

    def _numbers_of(self, names: Sequence[str]) -> Int64s:
        """Return the numbers that these series have in the whole stream."""
        return np.array([self._numbers.setdefault(name, len(self._numbers)) for name in names], dtype=np.int64)

    def _append_cells(self, observations: Observations, first: int) -> None:
        """Append the cells, but only once an observation is not the cell of its own number."""
        before = len(self._values)
        if self._every_cell and (observations.cells is not None or before != first):
            self._every_cell = False
            for start in range(0, before, BLOCK_ROWS):
                self._cells.append(np.arange(start, min(start + BLOCK_ROWS, before), dtype=np.int64))
        if not self._every_cell:
            self._cells.append(observations.own_cells().astype(np.int64) + first)

    def observations(self) -> Observations:
        """Return all of them, in arrays that are mapped from the files.

        Raises:
            StreamError: The files cannot be written.
        """
        files = (self._timestamps, self._codes, self._values, self._cells)
        with _writable():
            timestamps, codes, values, cells = (column.mapped() for column in files)
        return Observations(
            timestamps,
            codes,
            tuple(self._numbers),
            values,
            Origin(self._labels[0].append(self._labels[1:]), self._columns),
            None if self._every_cell else cells,
            dropped_rows=pd.concat(self._dropped, ignore_index=True) if self._dropped else pd.DataFrame(),
            dropped_keys=_joined_keys(self._keys) if self._keys else None,
            maps=tuple(column.map for column in files if column.map is not None),
        )


class FileColumn:
    """An array in a temporary file, appended to, and as narrow as its numbers allow.

    Args:
        dtype: The type to begin with. Integers become wider as soon as a number needs that.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype, self._length = np.dtype(dtype), 0
        self._file: IO[bytes] | None = None
        self.map: mmap.mmap | None = None

    def __len__(self) -> int:
        return self._length

    def append(self, numbers: npt.NDArray[Any]) -> None:
        """Append numbers.

        Raises:
            OSError: The file cannot be written.
        """
        if not len(numbers):
            return
        if self._dtype.kind != "f" and not _holds(self._dtype, numbers):
            self._widen(numbers)
        self._write(np.ascontiguousarray(numbers, dtype=self._dtype))
        self._length += len(numbers)

    def _widen(self, numbers: npt.NDArray[Any]) -> None:
        written: npt.NDArray[Any] = self.mapped()
        dtype: np.dtype[Any] = np.dtype(np.int64)
        if self._dtype.itemsize < np.dtype(np.int32).itemsize and _holds(np.dtype(np.int32), numbers):
            dtype = np.dtype(np.int32)
        self.close()
        self.map, self._dtype = None, dtype
        for start in range(0, len(written), BLOCK_ROWS):
            self._write(written[start : start + BLOCK_ROWS].astype(dtype))

    def _write(self, numbers: npt.NDArray[Any]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="temporis-spool-")  # noqa: SIM115  # closed by ``close``
        self._file.write(numbers.data)

    def mapped(self) -> npt.NDArray[Any]:
        """Return the array. It is read from the file as it is needed."""
        if self._file is None:
            return np.empty(0, dtype=self._dtype)
        self._file.flush()
        self.map = mmap.mmap(self._file.fileno(), self._length * self._dtype.itemsize, access=mmap.ACCESS_READ)
        return np.frombuffer(self.map, dtype=self._dtype)

    def close(self) -> None:
        """Close the file. What is mapped from it stays."""
        if self._file is not None:
            with suppress(OSError):  # what it still wanted to write is not needed
                self._file.close()
            self._file = None


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StreamError(FULL.format(tempfile.tempdir or "disk", error.strerror or error)) from error


def _holds(dtype: np.dtype[Any], numbers: npt.NDArray[Any]) -> bool:
    return bool(np.iinfo(dtype).min <= numbers.min() and numbers.max() <= np.iinfo(dtype).max)


def _numbered(keys: DroppedKeys, numbers: Int64s) -> DroppedKeys:
    unreadable = np.where(keys.unreadable < 0, -1, numbers[keys.unreadable]) if len(numbers) else keys.unreadable
    return DroppedKeys(keys.timestamps, numbers[keys.codes], unreadable)


def _joined_keys(keys: Sequence[DroppedKeys]) -> DroppedKeys:
    return DroppedKeys(
        np.concatenate([some.timestamps for some in keys]),
        np.concatenate([some.codes for some in keys]),
        np.concatenate([some.unreadable for some in keys]),
    )


def _joined(invalid: Sequence[Invalid], valid: int) -> Invalid:
    """Join what is invalid in several slices.

    Args:
        invalid: The invalid rows of those slices that have some.
        valid: The number of observations in the other slices.
    """
    if len(invalid) == 1 and not valid:
        return invalid[0]
    return Invalid(
        pd.concat([some.rows for some in invalid], ignore_index=True),
        sum(some.count for some in invalid),
        sum(some.observations_in for some in invalid) + valid,
        invalid[0].labels_called,
        droppable=all(some.droppable for some in invalid),
        call_at_fault=invalid[-1].call_at_fault,
    )
