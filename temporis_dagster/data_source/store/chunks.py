"""Chunks: the observations of one transaction, as arrays, and the ids of their series.

Comes in: observations, and a way to look up or create series. Goes out: which of them make up each transaction; their
sorted columns and ids.
Never: knows which database the rows go to, or holds an order of all of them: that of the next part is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.observations.model import (
    BLOCK_ROWS,
    Codes,
    Floats,
    Int64s,
    Mask,
    Observations,
    Positions,
    Seconds,
    width_for,
)

CHUNK_ROWS = 50_000
"""Observations per transaction on SQLite. A store holds its lock for some 70 ms, the mirror for some 100 ms. Smaller
chunks are slower (10,000: by a third), larger ones are not faster."""

PART_ROWS, MOST_PARTS = 300_000, 32
"""Observations are put into the order of the key at least this many at a time, and in about this many parts at most:
each part looks at the series of all observations. An order of them all would take more memory than they do."""

UNNUMBERED = 2**62
"""The ids of series that have not been looked up yet begin here."""


@dataclass(eq=False)
class Chunk:
    """Some observations, sorted by series and by time: the order of the table's key is the fastest to write.

    Attributes:
        codes: Index into the names of the upsert's series, int64.
        timestamps: Unix seconds, int64.
        values: Float64.
        differs: Which of them differed from what was there at the last attempt to write them. Set by databases whose
            commits may have no answer.
        doubted: Which of them may have been written by attempts whose commit had no answer.
        is_doubtful: Whether there was such an attempt.
    """

    codes: Int64s
    timestamps: Int64s
    values: Floats
    differs: Mask
    doubted: Mask
    is_doubtful: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def doubt(self) -> None:
        """Take note that the commit of the last attempt had no answer."""
        self.doubted |= self.differs
        self.is_doubtful = True

    def sort(self, ids: Int64s) -> Int64s:
        """Sort the rows by the ids of their series, which may differ from the order of their codes.

        Args:
            ids: The ids of the series, by their code.

        Returns:
            The id of each row, ascending.
        """
        series = ids[self.codes]
        if (series[1:] < series[:-1]).any():
            order = np.argsort(series, kind="stable")
            self.codes, self.timestamps, self.values = self.codes[order], self.timestamps[order], self.values[order]
            self.differs, self.doubted = self.differs[order], self.doubted[order]
            series = series[order]
        return series


def in_chunks(observations: Observations, size: int, *, by_key: bool) -> Iterator[Positions]:
    """Yield the rows of one transaction after the other.

    Args:
        observations: What is written. Of no observations there is one transaction, too.
        size: The number of rows per transaction.
        by_key: Whether to take series by series, each in the order of time, as the table has them, and not in the order
            of the observations. Those that must be written in their order are not affected.
    """
    count, codes, timestamps = len(observations), observations.codes, observations.timestamps
    if not by_key or observations.keeps_order or count <= size or _are_by_key(codes, timestamps):
        for start in range(0, max(count, 1), size):
            yield np.arange(start, min(start + size, count), dtype=width_for(count))
        return
    rest: Positions = np.empty(0, dtype=width_for(count))
    for part in _by_key(observations, max(PART_ROWS, count // MOST_PARTS)):
        rest = np.concatenate([rest, part])
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest


def _by_key(observations: Observations, most: int) -> Iterator[Positions]:
    """Yield all rows in the order of the key, up to about this many at a time."""
    codes, timestamps = observations.codes, observations.timestamps
    ends = np.cumsum(observations.counts)
    first, done = 0, 0
    while first < len(ends):
        end = max(first + 1, int(np.searchsorted(ends, done + most, side="right")))
        parts = _rows_of(codes, first, end)
        if end == first + 1 and _are_ascending(timestamps):
            yield from parts  # a series with many rows, which are in order already
        else:
            rows = np.concatenate(list(parts))
            yield rows[np.lexsort((timestamps[rows], codes[rows]))]
        first, done = end, int(ends[end - 1])


def _rows_of(codes: Codes, first: int, end: int) -> Iterator[Positions]:
    """Yield the rows of some series, block by block."""
    for start in range(0, len(codes), BLOCK_ROWS):
        block = codes[start : start + BLOCK_ROWS]
        found = np.flatnonzero((block >= first) & (block < end))
        yield (found + start).astype(width_for(len(codes)))


def _are_by_key(codes: Codes, timestamps: Seconds) -> bool:
    """Return whether rows ascend by series and by time. They are compared block by block."""
    for start in range(0, len(codes), BLOCK_ROWS):
        series, seconds = (column[start : start + BLOCK_ROWS + 1] for column in (codes, timestamps))
        later = seconds[1:] > seconds[:-1]
        if not bool(((series[1:] > series[:-1]) | (series[1:] == series[:-1]) & later).all()):
            return False
    return True


def _are_ascending(column: Seconds) -> bool:
    blocks = (column[start : start + BLOCK_ROWS + 1] for start in range(0, len(column), BLOCK_ROWS))
    return all(bool((block[1:] >= block[:-1]).all()) for block in blocks)


def chunk_of(observations: Observations, rows: Positions) -> Chunk:
    """Return some observations, sorted by series and by time."""
    codes, timestamps = observations.codes[rows], observations.timestamps[rows]
    observations.let_go()
    values = observations.values[rows]
    observations.let_go()
    if not _are_by_key(codes, timestamps):
        order = np.lexsort((timestamps, codes))
        codes, timestamps, values = codes[order], timestamps[order], values[order]
    return Chunk(
        codes.astype(np.int64),
        timestamps.astype(np.int64),
        values,
        np.zeros(len(values), dtype=np.bool_),
        np.zeros(len(values), dtype=np.bool_),
    )


def unnumbered(names: Sequence[str]) -> Int64s:
    """Return ids for these series, none of which has been looked up yet."""
    return UNNUMBERED + np.arange(len(names), dtype=np.int64)


def numbered(
    ensured: Callable[[Sequence[str]], Mapping[str, int]], names: Sequence[str], ids: Int64s, codes: Codes | Int64s
) -> Int64s:
    """Look up, or create, those series of some observations that have no id yet.

    Args:
        ensured: Returns the ids of these series, and creates the new ones, in the transaction that writes.
        names: The names of all series of the upsert.
        ids: Their ids so far, by their place in ``names``.
        codes: Index into ``names``, one per observation.

    Returns:
        The ids with those of these observations filled in: a new array, to be kept only once the transaction has
        committed; or ``ids`` itself where all of them were known.
    """
    occurs = np.zeros(len(ids), dtype=np.bool_)
    occurs[codes] = True
    unknown = np.flatnonzero(occurs & (ids >= UNNUMBERED))
    if not len(unknown):
        return ids
    wanted = [names[code] for code in unknown.tolist()]
    found = ensured(wanted)
    ids = ids.copy()
    ids[unknown] = [found[name] for name in wanted]
    return ids
