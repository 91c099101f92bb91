"""Observations of a while, series by series: where there are gaps, and what is out of bounds.

Comes in: the long frame of a read. Goes out: small frames of what is wrong.
Never: loops over observations, or judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from temporis_dagster.asset_options import OwnSeries
from temporis_dagster.checks.expectations import Bounds
from temporis_dagster.checks.spacing import Spacing
from temporis_dagster.data_source.observations.model import Floats, Int64s


@dataclass(frozen=True, eq=False)
class Observed:
    """Observations in the order of their series, and of time within a series.

    Attributes:
        names: The series that have any.
        counts: How many each has.
        timestamps: Unix seconds.
        values: Their values.
    """

    names: tuple[str, ...]
    counts: Int64s
    timestamps: Int64s
    values: Floats

    def __len__(self) -> int:
        return len(self.timestamps)

    def of(self, series: OwnSeries) -> "Observed":
        """Those of an asset's own series."""
        own = np.array([name in series for name in self.names], dtype=np.bool_)
        if own.all():
            return self
        names = tuple(np.array(self.names, dtype=object)[own])
        rows = np.repeat(own, self.counts)
        return Observed(names, self.counts[own], self.timestamps[rows], self.values[rows])

    def gaps(self, expected: Spacing, due: int | None = None) -> pd.DataFrame:
        """Neighbours of one series further apart than this, and series that end this much before the newest does.

        Args:
            expected: How far apart they may be.
            due: The Unix second until which observations are expected, even if the newest is older.

        Returns:
            Columns series, from, to, length_s; the longest first.
        """
        until = np.roll(self.timestamps, -1)
        if len(self):
            newest = self.timestamps.max()
            until[np.cumsum(self.counts) - 1] = newest if due is None else max(newest, due)
        gaps = np.flatnonzero(expected.too_far(self.timestamps, np.maximum(until, self.timestamps)))
        lengths = (until - self.timestamps)[gaps]
        order = np.argsort(-lengths, kind="stable")
        gaps = gaps[order]
        return pd.DataFrame(
            {
                "series": self._names_of(gaps),
                "from": _moments(self.timestamps[gaps]),
                "to": _moments(until[gaps]),
                "length_s": lengths[order],
            }
        )

    def outside(self, bounds: Mapping[str, Bounds]) -> pd.DataFrame:
        """The observations outside the bounds of their series.

        Returns:
            Columns series, timestamp, value, low, high; the newest first.
        """
        limits = [bounds.get(name, (None, None)) for name in self.names]
        low = np.array([-np.inf if lowest is None else lowest for lowest, _ in limits], dtype=np.float64)
        high = np.array([np.inf if highest is None else highest for _, highest in limits], dtype=np.float64)
        too_low = self.values < np.repeat(low, self.counts)
        rows = np.flatnonzero(too_low | (self.values > np.repeat(high, self.counts)))
        rows = rows[np.argsort(-self.timestamps[rows], kind="stable")]
        series = self._numbers_of(rows)
        return pd.DataFrame(
            {
                "series": self._names_of(rows),
                "timestamp": _moments(self.timestamps[rows]),
                "value": self.values[rows],
                "low": low[series],
                "high": high[series],
            }
        )

    def _numbers_of(self, rows: Int64s) -> Int64s:
        return np.searchsorted(np.cumsum(self.counts), rows, side="right")

    def _names_of(self, rows: Int64s) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
        return np.array(self.names, dtype=object)[self._numbers_of(rows)]


def observed(frame: pd.DataFrame) -> Observed:
    """What ``DataSource.read`` gives, series by series.

    Examples:
        >>> from datetime import timedelta
        >>> times = pd.to_datetime([0, 60, 240], unit="s", utc=True)
        >>> frame = pd.DataFrame({"timestamp": times, "name": "a", "value": 1.0})
        >>> observed(frame).gaps(Spacing(timedelta(minutes=1)))[["series", "length_s"]].values.tolist()
        [['a', 180]]
    """
    codes, names = pd.factorize(frame["name"])
    order = np.argsort(codes.astype(np.int32), kind="stable")  # stable: time ascends already
    return Observed(
        tuple(names),
        np.bincount(codes, minlength=len(names)),
        pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8[order],
        frame["value"].to_numpy()[order],
    )


def _moments(timestamps: Int64s) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(timestamps.astype("datetime64[s]")).tz_localize("UTC")
