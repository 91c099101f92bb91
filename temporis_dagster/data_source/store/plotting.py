"""Plotting: series as lines of so few points that they can be drawn.

Comes in: ids of series, a range of time, the stored rows. Goes out: a line per series, with the lowest, the
highest and the last value of each bucket, computed by the database.
Never: reads more rows than ``EXACT_ROWS``: beyond that, a line is made of samples, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask
from temporis_dagster.data_source.store.read import FIRST, LAST, Window
from temporis_dagster.data_source.store.stored import Ranges, StoredRows

EXACT_ROWS = 1_000_000
"""How many rows are looked at for exact lines, of all series together. That takes up to a second on PostgreSQL."""


class Line(NamedTuple):
    """A series in a range of time, in the order of time.

    The range is cut into buckets of the same length. A point stands for a bucket that holds an observation, at the time
    of its last one. If there are no more observations than buckets, a point stands for each observation.

    Attributes:
        name: The name of the series.
        timestamps: Unix seconds.
        low: The lowest value of each bucket.
        high: The highest value of each bucket.
        last: The last value of each bucket.
        is_sample: Whether ``low`` and ``high`` are those of the first and the last observation of each bucket only,
            because the range holds more observations than may be looked at.
    """

    name: str
    timestamps: Int64s
    low: Floats
    high: Floats
    last: Floats
    is_sample: bool


def lines_of(
    rows: StoredRows, ids: Mapping[str, int], names: Sequence[str], bounds: Window, buckets: int, exact_rows: int
) -> list[Line]:
    """Return a line for each of these names.

    Args:
        rows: The stored rows.
        ids: The ids of those series that exist, by name.
        names: The names. One that does not exist has a line without points.
        bounds: The range; ``FIRST`` and ``LAST`` stand for the first and the last observation of all these series.
        buckets: The number of buckets.
        exact_rows: How many rows may be looked at.
    """
    present = [name for name in dict.fromkeys(names) if name in ids]
    series = np.array([ids[name] for name in present], dtype=np.int64)
    window = _closed(rows, series, bounds)
    edges = _edges(window, buckets)
    short = _pages(rows, series, window, buckets)
    long = [place for place in range(len(present)) if place not in short]
    exact = _fit(rows, _whole(series[long], window), exact_rows)
    lines = {present[place]: _of_rows(present[place], *page) for place, page in short.items()}
    for place, is_exact in zip(long, exact.tolist(), strict=True):
        of_series = _exact if is_exact else _sampled
        lines[present[place]] = of_series(rows, present[place], int(series[place]), edges)
    return [lines[name] if name in lines else _of_rows(name, np.empty(0, np.int64), np.empty(0)) for name in names]


def _closed(rows: StoredRows, series: Int64s, bounds: Window) -> Window:
    """Put the first and the last observation in the place of bounds that are open."""
    start, end = bounds
    everything = _whole(series, bounds)
    if start == FIRST:
        start = int(rows.oldest(everything, 1).timestamps.min(initial=end))
    if end == LAST:
        end = int(rows.newest(everything, 1).timestamps.max(initial=start - 1)) + 1
    return Window(start, max(start, end))


def _edges(window: Window, buckets: int) -> Int64s:
    """Return where buckets begin, and the end of the last one."""
    length = max(1, -(-(window.end - window.start) // max(buckets, 1)))
    starts = list(range(window.start, window.end, length))
    return np.array([*starts, window.end], dtype=np.int64)


def _whole(series: Int64s, window: Window) -> Ranges:
    return Ranges(series, np.full(len(series), window.start), np.full(len(series), window.end))


def _pages(rows: StoredRows, series: Int64s, window: Window, buckets: int) -> dict[int, tuple[Int64s, Floats]]:
    """Return the rows of the series that have no more of them than there are buckets, by their place."""
    found = rows.oldest(_whole(series, window), buckets + 1)
    cuts = np.searchsorted(found.places, np.arange(len(series) + 1)).tolist()
    pages = {place: slice(cuts[place], cuts[place + 1]) for place in range(len(series))}
    return {
        place: (found.timestamps[page], found.values[page])
        for place, page in pages.items()
        if page.stop - page.start <= buckets
    }


def _fit(rows: StoredRows, ranges: Ranges, most: int) -> Mask:
    """Return which ranges may be looked at: each has its share of these rows, and of what smaller ones leave of theirs.

    Of all ranges together, about twice as many rows are counted at most.
    """
    share = most // max(len(ranges.series), 1)
    counts = rows.counts(ranges, share + 1)
    fit = counts <= share
    if fit.any() and not fit.all():
        left = (most - int(counts[fit].sum())) // int(np.count_nonzero(~fit))
        fit[~fit] = rows.counts(ranges.take(~fit), left + 1) <= left
    return fit


def _of_rows(name: str, timestamps: Int64s, values: Floats) -> Line:
    return Line(name, timestamps, values, values, values, is_sample=False)


def _exact(rows: StoredRows, name: str, series: int, edges: Int64s) -> Line:
    extremes = rows.extremes(_ranges(series, edges))
    places = extremes.places
    lasts = rows.newest(_ranges(series, edges).take(places), 1)
    return Line(name, lasts.timestamps, extremes.lows, extremes.highs, lasts.values, is_sample=False)


def _sampled(rows: StoredRows, name: str, series: int, edges: Int64s) -> Line:
    ranges = _ranges(series, edges)
    firsts = rows.oldest(ranges, 1)
    lasts = rows.newest(ranges.take(firsts.places), 1)
    low, high = np.minimum(firsts.values, lasts.values), np.maximum(firsts.values, lasts.values)
    return Line(name, lasts.timestamps, low, high, lasts.values, is_sample=True)


def _ranges(series: int, edges: Int64s) -> Ranges:
    return Ranges(np.full(len(edges) - 1, series), edges[:-1], edges[1:])
