"""Superseded: of observations with one key, the last one wins, before anything is cut into batches.

Comes in: the keys of valid observations in row order. Goes out: which of them stay.
Never: looks at values.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Codes, Int64s, Mask

LARGEST_KEY = 2**62
BLOCK_ROWS = 100_000


def last_of_each_key(timestamps: Int64s, codes: Codes, series: int) -> Mask | None:
    """Which observations are the last with their (timestamp, name); None if all are, which ordered keys show at once.

    Args:
        timestamps: Unix seconds.
        codes: The series of each, from 0 up to but not including ``series``.
        series: How many series there may be.
    """
    if not len(timestamps) or _ascend(timestamps, codes) or _ascend(codes, timestamps):
        return None
    superseded = pd.Series(_offsets(timestamps, series) * series + codes).duplicated(keep="last").to_numpy()
    return ~superseded if superseded.any() else None


def _ascend(major: Int64s | Codes, minor: Int64s | Codes) -> bool:
    """Whether the pairs ascend strictly, looked at block by block: no array of all keys is made."""
    for start in range(0, len(major) - 1, BLOCK_ROWS):
        here, after = slice(start, start + BLOCK_ROWS), slice(start + 1, start + BLOCK_ROWS + 1)
        count = len(major[after])
        before, step = major[here][:count], minor[after] > minor[here][:count]
        if not ((major[after] > before) | ((major[after] == before) & step)).all():
            return False
    return True


def _offsets(timestamps: Int64s, series: int) -> Int64s:
    """Timestamps from 0 up, ranked where keys made of them would not fit into 64 bits."""
    offsets: Int64s = timestamps - timestamps.min()
    span = int(offsets.max()) + 1
    if span * max(series, 1) < LARGEST_KEY:
        return offsets
    ranks = np.unique(timestamps, return_inverse=True)[1]
    return np.asarray(ranks, dtype=np.int64)
