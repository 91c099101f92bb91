"""Frames: data to test with.

Comes in: a size. Goes out: the same frame every time.
Never: draws random numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def sample_frame(hours: int = 24, series: tuple[str, ...] = ("orders", "revenue")) -> pd.DataFrame:
    """Return a wide frame: one row per hour from 2024-06-20 00:00 UTC, one column per series.

    Args:
        hours: The number of rows.
        series: The names of the columns.

    Examples:
        >>> sample_frame(hours=2).to_dict("list")
        {'orders': [0.0, 1.0], 'revenue': [0.25, 1.25]}
    """
    index = pd.date_range("2024-06-20", periods=hours, freq="h", tz="UTC", name="timestamp")
    columns = {name: np.arange(hours) + position / 4 for position, name in enumerate(series)}
    return pd.DataFrame(columns, index=index)
