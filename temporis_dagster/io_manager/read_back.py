"""The observations that an input asks for, read from the data source.

Comes in: a data source, what the input asks for, the upstream asset's own series. Goes out: one frame (timestamp, name,
value), sorted; or one per partition.
Never: returns an empty frame for a partition that was never stored, unless the input allows it, or rows of a partition
that was not asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Int64s, Mask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.io_manager.input_request import InputRequest
from temporis_dagster.time_windows import OUTSIDE, PartitionWindows
from temporis_dagster.write_options import OwnSeries
from temporis_dagster.writing.partition_series import Span, Spans

MOST_READS = 16
"""Windows in more pieces than this are read in one piece; what lies between them is then left out."""

MOST_NAMES = 500
"""More series than this are not asked for by name: all are read, and the others left out."""

EVER: Span = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


def read_back(source: DataSource, request: InputRequest) -> pd.DataFrame:
    """Return the stored observations that an input asks for, in one frame.

    Args:
        source: The data source.
        request: What the input asks for.
    """
    if request.keys is not None and not request.keys:  # nothing is materialized yet, so the data source may be missing
        return no_rows()
    frame = _read(source, request)
    if (request.spans is None and request.of_parts is None) or request.keys is None:
        return frame
    rows = _Rows(frame, request)
    return frame.iloc[np.unique(np.concatenate([rows.of(key) for key in request.keys]))].reset_index(drop=True)


def read_apart(source: DataSource, request: InputRequest) -> dict[str, pd.DataFrame]:
    """Return the stored observations of each partition, in the partitions' own order; see ``read_back``."""
    if not request.keys:
        return {}
    frame = _read(source, request)
    rows = _Rows(frame, request)
    return {key: frame.iloc[rows.of(key)].reset_index(drop=True) for key in request.keys}


def _read(source: DataSource, request: InputRequest) -> pd.DataFrame:
    series = request.series
    names = _names(request.spans, series)
    if request.windows is None:
        return _own_rows(source.read(names=names), series)
    return _own_rows(_read_windows(source, names, request.windows), series)


def _names(spans: Mapping[str, Spans] | None, series: OwnSeries) -> Sequence[str] | None:
    """Return the exact names to ask for, if they are known and few."""
    if spans is None:
        return series.names
    names = sorted({name for some in spans.values() for name in some if name in series})
    return names if len(names) <= MOST_NAMES else series.names


def _read_windows(source: DataSource, names: Sequence[str] | None, windows: PartitionWindows) -> pd.DataFrame:
    spans = windows.spans()
    if len(spans) <= MOST_READS:
        frames = [source.read(start, end, names) for start, end in spans]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    frame = source.read(spans[0][0], spans[-1][1], names)
    inside: Mask = windows.of(_seconds(frame)) != OUTSIDE
    return frame.loc[inside].reset_index(drop=True)


def no_rows() -> pd.DataFrame:
    """Return a frame like that of ``DataSource.read``, without rows."""
    columns = {"timestamp": pd.DatetimeIndex([], dtype="datetime64[s, UTC]"), "name": pd.Series(dtype=str)}
    return pd.DataFrame({**columns, "value": pd.Series(dtype=np.float64)})


def _own_rows(frame: pd.DataFrame, series: OwnSeries) -> pd.DataFrame:
    if series.names is not None or series.all:
        return frame
    codes, names = pd.factorize(frame["name"])
    own = np.array([name in series for name in names], dtype=bool)
    return frame.loc[own[codes]].reset_index(drop=True)


def _seconds(frame: pd.DataFrame) -> Int64s:
    return pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8


class _Rows:
    """Finds the rows of a partition in a frame that is sorted by time."""

    def __init__(self, frame: pd.DataFrame, request: InputRequest) -> None:
        self._frame, self._request = frame, request
        self._seconds = _seconds(frame)
        numbers = {} if request.windows is None else zip(request.windows.keys, request.windows.numbers, strict=True)
        self._number = {str(key): int(number) for key, number in numbers} if numbers else {}
        self._of_parts: dict[str, dict[str, Span]] = {}
        if request.of_parts is not None:
            for name in self._factorized[1]:
                self._of_parts.setdefault(request.of_parts.part_of(name) or "", {})[name] = EVER

    def of(self, key: str) -> Int64s:
        """Return the positions of the partition's rows, ascending."""
        spans = self._spans_of(key)
        windows = self._request.windows
        if windows is None:
            return np.arange(len(self._frame)) if spans is None else self._of_spans(spans)
        number = self._number[key]
        bounds = (windows.starts[number], windows.ends[number])
        first, last = np.searchsorted(self._seconds, bounds).tolist()
        rows = np.arange(first, last)
        return rows if spans is None else rows[self._codes_of(spans)[self._codes[rows]]]

    def _spans_of(self, key: str) -> Spans | None:
        """Return the series of the partition; None if time alone tells it apart."""
        if self._request.of_parts is not None:
            return self._of_parts.get(self._request.of_parts.parts.of(key), {})
        return None if self._request.spans is None else self._request.spans[key]

    @cached_property
    def _factorized(self) -> tuple[Int64s, dict[str, int]]:
        codes, names = pd.factorize(self._frame["name"])
        return codes.astype(np.int64), {name: code for code, name in enumerate(names)}

    @property
    def _codes(self) -> Int64s:
        return self._factorized[0]

    @cached_property
    def _by_series(self) -> tuple[Int64s, Int64s]:
        """The rows grouped by series, and where each series starts among them."""
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
                seconds = self._seconds[rows]
                found.append(rows[np.searchsorted(seconds, first) : np.searchsorted(seconds, last, side="right")])
        return np.sort(np.concatenate(found))
