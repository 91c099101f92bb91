"""Repeated keys: of observations with the same (timestamp, name) the last one wins, before anything is sent.

Comes in: the keys of valid observations in row order. Goes out: which of them stay, and which of these beat the others.
Never: looks at values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Codes, Int64s, Mask, Seconds

LARGEST_KEY = 2**62

PARTS = 17
"""The keys are looked at in this many parts, one after the other, so that the hash table takes a 17th of the memory. A
prime, because timestamps are multiples of a minute or an hour and must spread over all parts."""

HASH_BITS = 16
FIBONACCI = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows whose (timestamp, name) a later row has as well.

    Attributes:
        last: Which of all rows are the last with their key, as a mask.
        lost: The other rows, ascending.
        winners: The last row with the key of each of those.
    """

    last: Mask
    lost: Int64s
    winners: Int64s


def repeats(timestamps: Seconds, codes: Codes, series: int) -> Repeats | None:
    """Find the observations that are not the last with their (timestamp, name); None if there are none.

    Keys in ascending order show that at once.

    Args:
        timestamps: Unix seconds.
        codes: The series of each, from 0 up to but not including ``series``.
        series: The number of series.
    """
    if not len(timestamps) or ascend(timestamps, codes) or ascend(codes, timestamps):
        return None
    last, lost, winners = np.ones(len(timestamps), dtype=np.bool_), list[Int64s](), list[Int64s]()
    for rows in _parts(timestamps):
        keys = _keys(timestamps[rows], codes[rows], series)
        repeated = pd.Series(keys).duplicated(keep="last").to_numpy()
        if repeated.any():
            last[rows] = ~repeated
            lost.append(rows[repeated])
            winners.append(_winners(keys, rows, repeated))
    if not lost:
        return None
    every_lost, every_winner = np.concatenate(lost), np.concatenate(winners)
    order = np.argsort(every_lost)
    return Repeats(last, every_lost[order], every_winner[order])


def _winners(keys: Int64s, rows: Int64s, repeated: Mask) -> Int64s:
    """Return, for each repeated row, the last row with its key, looked up among the few rows of the same hash."""
    unique, key_of_lost = np.unique(keys[repeated], return_inverse=True)
    hashes = _hashes(keys)
    hit = np.zeros(1 << HASH_BITS, dtype=np.bool_)
    hit[hashes[repeated]] = True
    candidates = np.flatnonzero(hit[hashes] & ~repeated)
    found = pd.Index(unique).get_indexer(pd.Index(keys[candidates]))
    winner_of_key = np.empty(len(unique), dtype=np.int64)
    winner_of_key[found[found >= 0]] = rows[candidates[found >= 0]]
    return winner_of_key[key_of_lost]


def _hashes(keys: Int64s) -> npt.NDArray[np.uint64]:
    """Return Fibonacci hashes: a few bits that differ even if all keys are multiples of one number."""
    hashes: npt.NDArray[np.uint64] = (keys.view(np.uint64) * FIBONACCI) >> np.uint64(64 - HASH_BITS)
    return hashes


def ascend(major: Seconds | Codes, minor: Seconds | Codes) -> bool:
    """Return whether the pairs ascend strictly. They are compared block by block, without an array of all keys."""
    for start in range(0, len(major) - 1, BLOCK_ROWS):
        here, after = slice(start, start + BLOCK_ROWS), slice(start + 1, start + BLOCK_ROWS + 1)
        count = len(major[after])
        before, step = major[here][:count], minor[after] > minor[here][:count]
        if not ((major[after] > before) | ((major[after] == before) & step)).all():
            return False
    return True


def _parts(timestamps: Seconds) -> Iterator[Int64s]:
    """Yield the rows in parts that share no timestamp, or all of them at once if they are few."""
    parts = PARTS if len(timestamps) > BLOCK_ROWS else 1
    part_of = np.empty(len(timestamps), dtype=np.int8)
    np.remainder(timestamps, parts, out=part_of, casting="unsafe")
    for part in range(parts):
        yield np.flatnonzero(part_of == part)


def _keys(timestamps: Seconds, codes: Codes, series: int) -> Int64s:
    """Return one number for each (timestamp, name). Timestamps are ranked if it would not fit into 64 bits."""
    keys: Int64s = timestamps.astype(np.int64)
    if not len(keys):
        return keys
    keys -= keys.min()
    if (int(keys.max()) + 1) * max(series, 1) >= LARGEST_KEY:
        keys = np.asarray(np.unique(timestamps, return_inverse=True)[1], dtype=np.int64)
    keys *= series
    keys += codes
    return keys
