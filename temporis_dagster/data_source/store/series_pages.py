"""Series pages: some series of a data source at a time, each with a small picture of it.

Comes in: the ids of all series, what to search for, the stored rows. Goes out: a page of series.
Never: scans a series: what is shown of one is found by the table's key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.store.read import FIRST, LAST
from temporis_dagster.data_source.store.stored import Page, Ranges, StoredRows

POINTS = 48
"""The number of points of a sparkline at most."""


class SeriesSummary(NamedTuple):
    """One series.

    Attributes:
        name: Its name.
        first: The time of its first observation, in Unix seconds; None if it has none.
        last: The time of its last observation, in Unix seconds; None if it has none.
        sparkline: Some of its observations, evenly spread over its time: up to 48, the first and the last among them.
    """

    name: str
    first: int | None
    last: int | None
    sparkline: Page


class SeriesPage(NamedTuple):
    """Some series of a data source.

    Attributes:
        total: How many series match.
        series: Those of this page, in the order of their names.
    """

    total: int
    series: list[SeriesSummary]


def page_of(rows: StoredRows, ids: Mapping[str, int], search: str, offset: int, most: int) -> SeriesPage:
    """Return a page of the series whose names contain a text.

    Args:
        rows: The stored rows.
        ids: The ids of all series, by name.
        search: The text, in upper or lower case. No character in it is special.
        offset: How many of the series that match come before the page.
        most: The maximum number of series on the page.
    """
    wanted = search.casefold()
    # Here and not in SQL: SQLite knows upper and lower case of ASCII only, and PostgreSQL what its locale has.
    matching = sorted(name for name in ids if wanted in name.casefold())
    names = matching[max(offset, 0) :][: max(most, 0)]
    return SeriesPage(len(matching), _summaries(rows, {name: ids[name] for name in names}))


def _summaries(rows: StoredRows, ids: Mapping[str, int]) -> list[SeriesSummary]:
    series = np.fromiter(ids.values(), dtype=np.int64, count=len(ids))
    everything = Ranges(series, np.full(len(series), FIRST), np.full(len(series), LAST))
    firsts, lasts = rows.oldest(everything, 1), rows.newest(everything, 1)
    spans = (lasts.timestamps - firsts.timestamps)[:, np.newaxis]
    moments = (firsts.timestamps[:, np.newaxis] + spans * np.arange(POINTS) // (POINTS - 1)).ravel()
    points = rows.oldest(Ranges(np.repeat(series[firsts.places], POINTS), moments, np.full(len(moments), LAST)), 1)
    # Where there is a gap, several moments are followed by the same observation.
    owners = np.repeat(firsts.places, POINTS)[points.places]
    new = np.flatnonzero((np.diff(owners, prepend=-1) != 0) | (np.diff(points.timestamps, prepend=0) != 0))
    owners, timestamps, values = owners[new], points.timestamps[new], points.values[new]
    bounds = {
        place: (first, last)
        for place, first, last in zip(
            firsts.places.tolist(), firsts.timestamps.tolist(), lasts.timestamps.tolist(), strict=True
        )
    }
    cuts = np.searchsorted(owners, np.arange(len(ids) + 1)).tolist()
    return [
        SeriesSummary(
            name,
            *bounds.get(place, (None, None)),
            Page(timestamps[cuts[place] : cuts[place + 1]], values[cuts[place] : cuts[place + 1]]),
        )
        for place, name in enumerate(ids)
    ]
