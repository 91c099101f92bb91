"""The observations of a data source within the horizon: read once for all checks of a step, as arrays sorted by series.

Comes in: which checks of which assets; the long frame of a read. Goes out: arrays, or the error that the read raised;
small frames of gaps and of values out of bounds.
Never: loops over observations, reads beyond the horizon or observation times in the future, or decides what passes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.checks.expectations import Bounds, Expectations, Writer
from temporis_dagster.checks.finding import Facts
from temporis_dagster.checks.spacing import Spacing
from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source_page import place
from temporis_dagster.errors import TemporisError
from temporis_dagster.resource import TemporisResource
from temporis_dagster.write_options import OwnSeries


@dataclass(frozen=True, eq=False)
class SeriesData:
    """Observations, sorted by series and within a series by time.

    Attributes:
        names: The series that have observations.
        counts: The number of observations per series.
        timestamps: Unix seconds, one per observation.
        values: The values, one per observation.
    """

    names: tuple[str, ...]
    counts: Int64s
    timestamps: Int64s
    values: Floats

    def __len__(self) -> int:
        return len(self.timestamps)

    def of(self, series: OwnSeries) -> "SeriesData":
        """Return the observations of an asset's own series."""
        own = np.array([name in series for name in self.names], dtype=np.bool_)
        if own.all():
            return self
        names = tuple(np.array(self.names, dtype=object)[own])
        rows = np.repeat(own, self.counts)
        return SeriesData(names, self.counts[own], self.timestamps[rows], self.values[rows])

    def gaps(self, expected: Sequence[Spacing | None], due: int | None = None) -> pd.DataFrame:
        """Find neighbouring observations of a series that are too far apart, and series that end too early.

        A series ends too early if its last observation is too far from the newest observation of all series, or from
        ``due`` if that is later.

        Args:
            expected: How far apart the observations of each series may be; None for any distance.
            due: The Unix second until which observations are expected, even if none of the series reaches it.

        Returns:
            A frame with the columns series, from, to and length_s (seconds), the longest gap first.
        """
        until = np.roll(self.timestamps, -1)
        if len(self):
            newest = self.timestamps.max()
            until[np.cumsum(self.counts) - 1] = newest if due is None else max(newest, due)
        until = np.maximum(until, self.timestamps)
        too_far = np.zeros(len(self), dtype=np.bool_)
        for spacing in {one for one in expected if one is not None}:
            rows = np.repeat([one == spacing for one in expected], self.counts)
            too_far[rows] = spacing.too_far(self.timestamps[rows], until[rows])
        gaps = np.flatnonzero(too_far)
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
        """Find the observations outside the bounds of their series.

        Returns:
            A frame with the columns series, timestamp, value, low and high, the newest observation first.
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


def by_series(frame: pd.DataFrame) -> SeriesData:
    """Sort what ``DataSource.read`` returned by series.

    Examples:
        >>> from datetime import timedelta
        >>> times = pd.to_datetime([0, 60, 240], unit="s", utc=True)
        >>> frame = pd.DataFrame({"timestamp": times, "name": "a", "value": 1.0})
        >>> by_series(frame).gaps([Spacing(timedelta(minutes=1))])[["series", "length_s"]].values.tolist()
        [['a', 180]]
    """
    codes, names = pd.factorize(frame["name"])
    order = np.argsort(codes.astype(np.int32), kind="stable")  # stable: time ascends already
    return SeriesData(
        tuple(names),
        np.bincount(codes, minlength=len(names)),
        pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8[order],
        frame["value"].to_numpy()[order],
    )


@dataclass(frozen=True)
class SelectedCheck:
    """One check of one asset that Dagster selected for a step.

    Attributes:
        name: The name of the check.
        writer: The asset.
    """

    name: str
    writer: Writer


@dataclass(frozen=True)
class Reading:
    """What one read of a data source returned.

    Attributes:
        seen: The observations within the horizon, or the error that the read raised.
        facts: Where the data source is, as metadata.
        now: When it was read, in Unix seconds.
    """

    seen: SeriesData | TemporisError
    facts: Facts
    now: float


def read_for(
    checks: Iterable[SelectedCheck],
    temporis: TemporisResource,
    data_source: str,
    expectations: Mapping[dg.AssetKey, Expectations],
    now: float,
) -> Reading:
    """Read the data source once, and only the series that the checks need.

    Args:
        checks: The checks that look at observations.
        temporis: The resource.
        data_source: The name of the data source.
        expectations: What is expected of each asset, within the same horizon.
        now: The time, in Unix seconds.
    """
    horizon = max(each.horizon for each in expectations.values())
    start, end = math.ceil(now - horizon.total_seconds()), math.floor(now) + 1
    facts: Facts = {}
    try:
        source = temporis.data_source(data_source)
        facts = place(source)
        return Reading(by_series(source.read(start, end, _names(checks, expectations))), facts, now)
    except TemporisError as error:
        return Reading(error, facts, now)


def newest_of(temporis: TemporisResource, writer: Writer, expectations: Expectations, now: float) -> float | None:
    """Return the time of the newest stored observation of some series, in Unix seconds; None if there is none.

    Args:
        temporis: The resource.
        writer: Names the data source and the series.
        expectations: How far back to look: the longer of ``horizon`` and ``max_age``.
        now: The time, in Unix seconds.

    Raises:
        TemporisError: The data source cannot be read.
    """
    length = max(expectations.horizon, expectations.max_age or expectations.horizon)
    start, end = math.ceil(now - length.total_seconds()), math.floor(now) + 1
    names = writer.series.names
    found = temporis.data_source(writer.data_source).read(start, end, None if names is None else list(names))
    own = found[[name in writer.series for name in found["name"]]] if names is None and not writer.series.all else found
    return None if own.empty else own["timestamp"].max().timestamp()


def _names(checks: Iterable[SelectedCheck], expectations: Mapping[dg.AssetKey, Expectations]) -> list[str] | None:
    """Return the series that any of the checks needs, sorted; None for all series."""
    wanted: set[str] = set()
    for check in checks:
        names = expectations[check.writer.key].names_for(check.name, check.writer.series)
        if names is None:
            return None
        wanted.update(names)
    return sorted(wanted)


def _moments(timestamps: Int64s) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(timestamps.astype("datetime64[s]")).tz_localize("UTC")
