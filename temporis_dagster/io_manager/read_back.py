"""What another asset asks for: the observations of its partitions, of the upstream asset's own series.

Comes in: a data source, the windows, the series. Goes out: one frame (timestamp, name, value), sorted; or one for each
partition.
Never: gives an empty frame for a partition that was never stored, unless the input allows it, or rows of a partition
that was not asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from temporis_dagster.asset_options import OwnSeries
from temporis_dagster.data_source.observations.model import Int64s, Mask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.io_manager.partition_series import Spans
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows

MOST_READS = 16
"""Windows in more pieces than this are read at once, with what lies between them, which is then left out."""

MOST_NAMES = 500
"""More series than this are not asked for by name: all are read, and the others left out."""


@dataclass(frozen=True)
class Wanted:
    """Which rows of a data source an input asks for.

    Attributes:
        keys: The partitions, in their own order; None where the asset has none.
        series: The upstream asset's own series.
        windows: The time windows of the partitions; None for all of time.
        spans: The series of each partition and their first and last second, where time does not tell the partitions
            apart; None where it does, or where all of them are read.
    """

    keys: Sequence[str] | None
    series: OwnSeries
    windows: PartitionWindows | None
    spans: Mapping[str, Spans] | None = None


def read_back(source: DataSource, wanted: Wanted) -> pd.DataFrame:
    """The stored observations of these windows and series, in one frame."""
    if wanted.keys is not None and not wanted.keys:  # none is materialized yet, so there may be no data source either
        return no_rows()
    frame = _read(source, wanted)
    if wanted.spans is None or wanted.keys is None:
        return frame
    rows = _Rows(frame, wanted)
    return frame.iloc[np.unique(np.concatenate([rows.of(key) for key in wanted.keys]))].reset_index(drop=True)


def read_apart(source: DataSource, wanted: Wanted) -> dict[str, pd.DataFrame]:
    """The stored observations of each partition, in the partitions' own order."""
    if not wanted.keys:
        return {}
    frame = _read(source, wanted)
    rows = _Rows(frame, wanted)
    return {key: frame.iloc[rows.of(key)].reset_index(drop=True) for key in wanted.keys}


def _read(source: DataSource, wanted: Wanted) -> pd.DataFrame:
    names = _names(wanted)
    if wanted.windows is None:
        return _of_prefix(source.read(names=names), wanted.series)
    return _of_prefix(_read_windows(source, names, wanted.windows), wanted.series)


def _names(wanted: Wanted) -> Sequence[str] | None:
    """The exact names to ask for, where they are few."""
    if wanted.spans is None:
        return wanted.series.names
    names = sorted({name for spans in wanted.spans.values() for name in spans if name in wanted.series})
    return names if len(names) <= MOST_NAMES else wanted.series.names


def _read_windows(source: DataSource, names: Sequence[str] | None, windows: PartitionWindows) -> pd.DataFrame:
    spans = windows.spans()
    if len(spans) <= MOST_READS:
        frames = [source.read(start, end, names) for start, end in spans]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    frame = source.read(spans[0][0], spans[-1][1], names)
    inside: Mask = windows.of(_seconds(frame)) != OUTSIDE
    return frame.loc[inside].reset_index(drop=True)


def no_rows() -> pd.DataFrame:
    """A frame as ``DataSource.read`` gives it, without a row."""
    columns = {"timestamp": pd.DatetimeIndex([], dtype="datetime64[s, UTC]"), "name": pd.Series(dtype=str)}
    return pd.DataFrame({**columns, "value": pd.Series(dtype=np.float64)})


def _of_prefix(frame: pd.DataFrame, series: OwnSeries) -> pd.DataFrame:
    if series.names is not None or not series.prefix:
        return frame
    codes, names = pd.factorize(frame["name"])
    own = np.array([name in series for name in names], dtype=bool)
    return frame.loc[own[codes]].reset_index(drop=True)


def _seconds(frame: pd.DataFrame) -> Int64s:
    return pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8


class _Rows:
    """Which rows of a frame that is sorted by time are those of a partition."""

    def __init__(self, frame: pd.DataFrame, wanted: Wanted) -> None:
        self._frame, self._wanted = frame, wanted
        self._seconds = _seconds(frame)
        numbers = {} if wanted.windows is None else zip(wanted.windows.keys, wanted.windows.numbers, strict=True)
        self._number = {str(key): int(number) for key, number in numbers} if numbers else {}

    def of(self, key: str) -> Int64s:
        """The positions of the rows, ascending."""
        spans = None if self._wanted.spans is None else self._wanted.spans[key]
        windows = self._wanted.windows
        if windows is None:
            return np.arange(len(self._frame)) if spans is None else self._of_spans(spans)
        number = self._number[key]
        bounds = (windows.starts[number], windows.ends[number])
        first, last = np.searchsorted(self._seconds, bounds).tolist()
        rows = np.arange(first, last)
        return rows if spans is None else rows[self._codes_of(spans)[self._codes[rows]]]

    @cached_property
    def _factorized(self) -> tuple[Int64s, dict[str, int]]:
        codes, names = pd.factorize(self._frame["name"])
        return codes.astype(np.int64), {name: code for code, name in enumerate(names)}

    @property
    def _codes(self) -> Int64s:
        return self._factorized[0]

    @cached_property
    def _by_series(self) -> tuple[Int64s, Int64s]:
        """The rows series by series, and where each series starts among them."""
        order = np.argsort(self._codes, kind="stable")
        return order, np.concatenate(([0], np.cumsum(np.bincount(self._codes, minlength=len(self._factorized[1])))))

    def _codes_of(self, names: Iterable[str]) -> Mask:
        known = self._factorized[1]
        mine = np.zeros(len(known), dtype=np.bool_)
        mine[[known[name] for name in names if name in known]] = True
        return mine

    def _of_spans(self, spans: Spans) -> Int64s:
        order, starts = self._by_series
        found = [np.array([], dtype=np.int64)]
        for name, (first, last) in spans.items():
            code = self._factorized[1].get(name)
            if code is not None:
                rows = order[starts[code] : starts[code + 1]]
                found.append(
                    rows[
                        np.searchsorted(self._seconds[rows], first) : np.searchsorted(
                            self._seconds[rows], last, "right"
                        )
                    ]
                )
        return np.sort(np.concatenate(found))
