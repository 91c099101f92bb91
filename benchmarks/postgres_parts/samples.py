"""The data: the same observations as a frame, as checked observations, and as sorted arrays.

Comes in: how many rows, and when they begin. Goes out: loads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

START, STEP_S, CHUNK_ROWS = 1_600_000_000, 60, 50_000


@dataclass(frozen=True, eq=False)
class Load:
    """Observations in the order of time: one row per series and step.

    Attributes:
        codes: Which series, counted from 0.
        timestamps: Unix seconds.
        values: Floats.
        names: The names of the series.
    """

    codes: np.ndarray
    timestamps: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """As users have it: aware timestamps, and names as text."""
        return pd.DataFrame(
            {
                "timestamp": pd.DatetimeIndex(self.timestamps.astype("datetime64[s]")).tz_localize("UTC"),
                "name": np.array(self.names, dtype=object)[self.codes],
                "value": self.values,
            }
        )

    @cached_property
    def observations(self) -> object:
        """As the store gets it."""
        from temporis_dagster.data_source.observations import observe

        return observe(self.frame)

    @cached_property
    def chunks(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """As the raw ways get it: 50,000 rows each, sorted by series and time, everything computed beforehand."""
        chunks = []
        for first in range(0, len(self), CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            order = np.lexsort((self.timestamps[rows], self.codes[rows]))
            chunks.append((self.codes[rows][order], self.timestamps[rows][order], self.values[rows][order]))
        return chunks

    def prepared(self) -> Load:
        """The same, with every form of it made."""
        _ = self.frame, self.observations, self.chunks
        return self

    def partly_changed(self) -> Load:
        """The same keys; one row in a hundred has another value."""
        return replace(self, values=self.values + (np.arange(len(self)) % 100 == 0)).prepared()


def load(rows: int, series: int, *, start: int = START, prefix: str = "store") -> Load:
    """``rows`` observations of ``series`` series, a minute apart."""
    numbers = np.arange(rows, dtype=np.int64)
    return Load(
        codes=(numbers % series).astype(np.int32),
        timestamps=start + numbers // series * STEP_S,
        values=np.random.default_rng(start).standard_normal(rows),
        names=names(series, prefix),
    ).prepared()


def names(series: int, prefix: str = "store") -> tuple[str, ...]:
    """Names of series, in the order of their codes and of the alphabet."""
    return tuple(f"{prefix}_{number:06d}__revenue" for number in range(series))
