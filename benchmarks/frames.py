"""The frames that scripts measure with.

Comes in: how many rows and series. Goes out: frames of one scale and one form, so that tables can be compared.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

SERIES, FIRST, STEP_S = 100, 1_700_000_000, 60


def long_frame(rows: int, *, series: int = SERIES, first: int = 0) -> pd.DataFrame:
    """Observations in the order of time: object names, ``datetime64[ns, UTC]``, a minute a step.

    Args:
        rows: How many.
        series: Of how many series, all of which have a row at each step.
        first: How many rows of the same series come before these; another one has other values, too.
    """
    numbers = np.arange(first, first + rows)
    stamps = (FIRST + numbers // series * STEP_S).astype("datetime64[s]").astype("datetime64[ns]")
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(stamps).tz_localize("UTC"),
            "name": names(series)[numbers % series],
            "value": np.random.default_rng(first).normal(1000, 100, rows),
        }
    )


def names(series: int) -> np.ndarray:
    """Names as databases and CSV files give them: Python's strings."""
    return np.array([f"store_{number:06d}__revenue" for number in range(series)], dtype=object)


def partly_changed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same keys; one row in a hundred has another value."""
    return frame.assign(value=frame["value"] + (np.arange(len(frame)) % 100 == 0))


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    """The same in no order, one row in a hundred with the key of another."""
    rows = len(frame)
    order = np.random.default_rng(1).permutation(rows)
    order[: rows // 100] = order[-(rows // 100) :]
    return frame.iloc[order].reset_index(drop=True)


def wide_frame(frame: pd.DataFrame, series: int = SERIES) -> pd.DataFrame:
    """A long frame with a column for each series instead."""
    columns = frame["name"].iloc[:series].tolist()
    return pd.DataFrame(frame["value"].to_numpy().reshape(-1, series), frame["timestamp"].iloc[::series], columns)


def with_timestamps(frame: pd.DataFrame, dtype: str) -> pd.DataFrame:
    """The same with timestamps of this dtype; ``int64`` is Unix seconds."""
    return frame.assign(timestamp=frame["timestamp"].dt.as_unit("s").astype(dtype))
