"""Superseded: of observations with one key, the last one wins, before anything is cut into batches.

Comes in: the keys of valid observations in row order. Goes out: which of them stay.
Never: looks at values.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Codes, Int64s, Mask

LARGEST_KEY = 2**62


def last_of_each_key(timestamps: Int64s, codes: Codes, series: int) -> Mask | None:
    """Which observations are the last with their (timestamp, name); None if all are, which ordered keys show at once.

    Args:
        timestamps: Unix seconds.
        codes: The series of each, from 0 up to but not including ``series``.
        series: How many series there may be.
    """
    if not len(timestamps):
        return None
    offsets, span = _offsets(timestamps, series)
    by_time = offsets * series + codes
    # Widened first: NumPy 1 would multiply an int32 array by a small enough number in 32 bits.
    if _ascends(by_time) or _ascends(codes.astype(np.int64) * span + offsets):
        return None
    superseded = pd.Series(by_time).duplicated(keep="last").to_numpy()
    return ~superseded if superseded.any() else None


def _offsets(timestamps: Int64s, series: int) -> tuple[Int64s, int]:
    """Timestamps from 0 up, ranked where keys made of them would not fit into 64 bits."""
    offsets = timestamps - timestamps.min()
    span = int(offsets.max()) + 1
    if span * max(series, 1) < LARGEST_KEY:
        return offsets, span
    ranks, stamps = pd.factorize(timestamps, sort=True)
    return ranks.astype(np.int64), len(stamps)


def _ascends(keys: Int64s) -> bool:
    return bool((keys[1:] > keys[:-1]).all())
