"""Chunks: the observations of one transaction, as arrays, and the ids of their series.

Comes in: observations, and a way to look up or create series. Goes out: sorted columns and ids.
Never: knows which database the rows go to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s, Mask, Observations, Seconds

CHUNK_ROWS = 50_000
"""Observations per transaction on SQLite. A store holds its lock for some 70 ms, the mirror for some 100 ms. Smaller
chunks are slower (10,000: by a third), larger ones are not faster."""

UNNUMBERED = 2**62
"""The ids of series that have not been looked up yet begin here, in the order of their names in the observations: they
sort in the same order as the ids that new series will get."""


@dataclass(eq=False)
class Chunk:
    """Some observations, in the order of the table's key as far as it is known: the fastest to write.

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


def chunk_of(observations: Observations, ids: Int64s, rows: slice) -> Chunk:
    """Sort some observations by the ids of their series, as known so far, and by time."""
    codes, timestamps = observations.codes[rows], observations.timestamps[rows]
    order = key_order(codes, timestamps, ids)
    return Chunk(
        codes[order].astype(np.int64),
        timestamps[order].astype(np.int64),
        observations.values[rows][order],
        np.zeros(len(order), dtype=np.bool_),
        np.zeros(len(order), dtype=np.bool_),
    )


def key_order(codes: Codes, timestamps: Seconds, ids: Int64s) -> Int64s:
    """Return the order of rows by the ids of their series and by time."""
    # Where ids ascend with the codes, the codes sort alike: they are shorter, which makes it three times as fast.
    return np.lexsort((timestamps, codes if (np.diff(ids) > 0).all() else ids[codes]))


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
    unknown = np.unique(codes[ids[codes] >= UNNUMBERED])
    if not len(unknown):
        return ids
    wanted = [names[code] for code in unknown.tolist()]
    found = ensured(wanted)
    ids = ids.copy()
    ids[unknown] = [found[name] for name in wanted]
    return ids
