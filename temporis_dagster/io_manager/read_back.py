"""The observations that an input asks for, read from the data source.

Comes in: a data source, what the input asks for, the upstream asset's own series. Goes out: rows (timestamp, name,
value), sorted; or those of each partition; or batches of them, which are read when they are asked for.
Never: returns no rows for a partition that was never stored, unless the input allows it, or rows of a partition that
was not asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np

from temporis_dagster.data_source.observations.model import Int64s, Mask
from temporis_dagster.data_source.reading import Rows
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.io_manager.input_request import InputRequest
from temporis_dagster.time_windows import OUTSIDE, PartitionWindows
from temporis_dagster.write_options import OwnSeries
from temporis_dagster.writing.written_series import Span, Spans

T = TypeVar("T")

MOST_READS = 16
"""Windows in more pieces than this are read in one piece; what lies between them is then left out."""

MOST_NAMES = 500
"""More series than this are not asked for by name: all are read, and the others left out."""

EVER: Span = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


def read_back(source: DataSource, request: InputRequest) -> Rows:
    """Return the stored observations that an input asks for.

    Args:
        source: The data source.
        request: What the input asks for.
    """
    if _is_empty(request):
        return Rows.none()
    return _of_partitions(_read(source, request), request)


def read_apart(source: DataSource, request: InputRequest) -> dict[str, Rows]:
    """Return the stored observations of each partition, in the partitions' own order; see ``read_back``."""
    if not request.keys:
        return {}
    rows = _read(source, request)
    places = _Places(rows, request)
    return {key: rows.take(places.of(key)) for key in request.keys}


def read_back_in_batches(source: DataSource, request: InputRequest) -> Iterator[Rows]:
    """Return batches of what ``read_back`` returns. A missing data source is noticed now; they are read when used."""
    if _is_empty(request):
        return iter(())
    batches = _asked(request, source.rows_in_batches)
    return (_of_partitions(_own_rows(rows, request), request) for some in batches for rows in some)


def read_apart_in_batches(source: DataSource, request: InputRequest) -> dict[str, Iterator[Rows]]:
    """Return batches of the observations of each partition, which are read when they are used."""
    return {key: _of_partition(source, request, key) for key in request.keys or ()}


def _of_partition(source: DataSource, request: InputRequest, key: str) -> Iterator[Rows]:
    windows, spans = request.windows, request.spans
    bounds: tuple[int | None, int | None] = (None, None)
    if windows is not None:
        number = windows.numbers[windows.keys.index(key)]
        bounds = int(windows.starts[number]), int(windows.ends[number])
    names = _names(None if spans is None else {key: spans[key]}, request.series)
    for rows in source.rows_in_batches(*bounds, names):
        own = _own_rows(rows, request)
        yield own.take(_Places(own, request).of(key))


def _is_empty(request: InputRequest) -> bool:
    """Whether nothing is materialized yet: then the data source may be missing."""
    return request.keys is not None and not request.keys


def _of_partitions(rows: Rows, request: InputRequest) -> Rows:
    """Return the rows of the partitions that are asked for, where time alone does not tell which those are."""
    if (request.spans is None and request.of_parts is None) or request.keys is None:
        return rows
    places = _Places(rows, request)
    return rows.take(np.unique(np.concatenate([places.of(key) for key in request.keys])))


def _read(source: DataSource, request: InputRequest) -> Rows:
    return _own_rows(Rows.joined(_asked(request, source.rows)), request)


def _asked(request: InputRequest, read: Callable[[int | None, int | None, Sequence[str] | None], T]) -> list[T]:
    """Read each span of time that the input asks for, in the order of time."""
    names, windows = _names(request.spans, request.series), request.windows
    if windows is None:
        return [read(None, None, names)]
    spans = windows.spans()
    if _in_one_piece(windows):
        return [read(spans[0][0], spans[-1][1], names)]
    return [read(start, end, names) for start, end in spans]


def _in_one_piece(windows: PartitionWindows) -> bool:
    return len(windows.spans()) > MOST_READS


def _names(spans: Mapping[str, Spans] | None, series: OwnSeries) -> Sequence[str] | None:
    """Return the exact names to ask for, if they are known and few."""
    if spans is None:
        return series.names
    names = sorted({name for some in spans.values() for name in some if name in series})
    return names if len(names) <= MOST_NAMES else series.names


def _own_rows(rows: Rows, request: InputRequest) -> Rows:
    """Leave out the rows between the windows, and those of other series, that were read as well."""
    if request.windows is not None and _in_one_piece(request.windows):
        rows = rows.take(request.windows.of(rows.timestamps) != OUTSIDE)
    series = request.series
    if series.names is not None or series.all:
        return rows
    own: Mask = np.array([name in series for name in rows.names], dtype=np.bool_)
    return rows.take(own[rows.codes])


class _Places:
    """Finds the rows of a partition among rows that are sorted by time."""

    def __init__(self, rows: Rows, request: InputRequest) -> None:
        self._rows, self._request = rows, request
        self._seconds, self._codes = rows.timestamps, rows.codes
        self._known = {name: code for code, name in enumerate(rows.names)}
        numbers = {} if request.windows is None else zip(request.windows.keys, request.windows.numbers, strict=True)
        self._number = {str(key): int(number) for key, number in numbers} if numbers else {}
        self._of_parts: dict[str, dict[str, Span]] = {}
        if request.of_parts is not None:
            for name in rows.names:
                self._of_parts.setdefault(request.of_parts.part_of(name) or "", {})[name] = EVER

    def of(self, key: str) -> Int64s:
        """Return the positions of the partition's rows, ascending."""
        spans = self._spans_of(key)
        windows = self._request.windows
        if windows is None:
            return np.arange(len(self._rows)) if spans is None else self._of_spans(spans)
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
    def _by_series(self) -> tuple[Int64s, Int64s]:
        """The rows grouped by series, and where each series starts among them."""
        order = np.argsort(self._codes, kind="stable")
        return order, np.concatenate(([0], np.cumsum(np.bincount(self._codes, minlength=len(self._known)))))

    def _codes_of(self, names: Iterable[str]) -> Mask:
        known = self._known
        mine = np.zeros(len(known), dtype=np.bool_)
        mine[[known[name] for name in names if name in known]] = True
        return mine

    def _of_spans(self, spans: Spans) -> Int64s:
        order, starts = self._by_series
        found = [np.array([], dtype=np.int64)]
        for name, (first, last) in spans.items():
            code = self._known.get(name)
            if code is not None:
                rows = order[starts[code] : starts[code + 1]]
                seconds = self._seconds[rows]
                found.append(rows[np.searchsorted(seconds, first) : np.searchsorted(seconds, last, side="right")])
        return np.sort(np.concatenate(found))
