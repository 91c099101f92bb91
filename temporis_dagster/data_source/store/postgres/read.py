"""Read back from PostgreSQL: series by name, and their observations as arrays.

Comes in: a connection inside a transaction, names or ids, a window of time. Goes out: ids, arrays.
Never: holds more than three pages of rows, besides the series at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import psycopg

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.postgres.arrays import Int4Array, Int8Array, TextArray, floats, integers
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source

PAGE_ROWS = 1_000_000
"""Rows of one answer. A field of PostgreSQL holds at most a gigabyte, and an answer is in memory as a whole."""

MOST_PAGES = 2
"""Once this number of pages is held for series that are not complete, only the first of them is read on."""

PAGE_SERIES = 500
"""Series of one answer."""

ALL_SERIES = "SELECT name, id FROM temporis_series WHERE data_source = %s"

NEW_SERIES = """
INSERT INTO temporis_series (data_source, name)
SELECT %s, name FROM unnest(%b) WITH ORDINALITY AS wanted (name, place) ORDER BY place
ON CONFLICT (data_source, name) DO NOTHING
"""

PAGE = """
SELECT found.timestamps, found.values
FROM unnest(%b, %b) WITH ORDINALITY AS wanted (series, first, place),
LATERAL (
    SELECT array_agg(o.timestamp) AS timestamps, array_agg(o.value) AS values
    FROM (
        SELECT timestamp, value FROM temporis_observation
        WHERE series = wanted.series AND timestamp >= wanted.first AND timestamp < %s
        ORDER BY timestamp LIMIT %s
    ) AS o
) AS found
ORDER BY wanted.place
"""


def series_of(connection: psycopg.Connection, source: Source, names: Sequence[str] | None) -> dict[str, int]:
    """Return the ids of those of these series that exist, by name; of all series for None."""
    if names is None:
        found = connection.execute(ALL_SERIES, (source.id,))
    else:
        found = connection.execute(f"{ALL_SERIES} AND name = ANY(%b)", (source.id, TextArray(names)))
    return dict(found.fetchall())


def ensured_series(connection: psycopg.Connection, source: Source, names: Sequence[str]) -> dict[str, int]:
    """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
    ids = series_of(connection, source, names)
    new = [name for name in names if name not in ids]
    if new:
        # There may be conflicts with another program, which does not take the lock.
        connection.execute(NEW_SERIES, (source.id, TextArray(new)))
        ids |= series_of(connection, source, new)
    return ids


class _Unfinished:
    """A series of which some pages have been read."""

    def __init__(self, name: str, number: int, first: int) -> None:
        self.name, self.number, self.first = name, number, first
        self.timestamps: list[Int64s] = []
        self.values: list[Floats] = []
        self.count = 0
        self.is_complete = False

    def add(self, timestamps: Int64s, values: Floats, most: int) -> None:
        self.timestamps.append(timestamps)
        self.values.append(values)
        self.count += len(timestamps)
        self.is_complete = len(timestamps) < most
        if not self.is_complete:
            self.first = int(timestamps[-1]) + 1

    def rows(self) -> SeriesRows:
        return SeriesRows(self.name, np.concatenate(self.timestamps), np.concatenate(self.values))


def series_rows(connection: psycopg.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
    """Yield the series that have observations in the window, in the order of ``ids``."""
    waiting = deque(_Unfinished(name, number, window.start) for name, number in ids.items())
    reading: deque[_Unfinished] = deque()
    with connection.cursor(binary=True) as cursor:
        while waiting or reading:
            while waiting and len(reading) < PAGE_SERIES:
                reading.append(waiting.popleft())
            unfinished = [one for one in reading if not one.is_complete]
            if sum(one.count for one in reading) >= MOST_PAGES * PAGE_ROWS:
                unfinished = unfinished[:1]
            _read_on(cursor, unfinished, window)
            while reading and reading[0].is_complete:
                rows = reading.popleft().rows()
                if len(rows.timestamps):
                    yield rows


def _read_on(cursor: psycopg.Cursor, series: Sequence[_Unfinished], window: Window) -> None:
    """Read the next rows of each of these series, in one answer."""
    most = max(1, PAGE_ROWS // len(series))
    numbers, firsts = (np.array([getattr(one, name) for one in series]) for name in ("number", "first"))
    cursor.execute(PAGE, (Int4Array(numbers), Int8Array(firsts), window.end, most))
    result = cursor.pgresult
    for place, one in enumerate(series):
        timestamps, values = (result and result.get_value(place, column) for column in (0, 1))
        one.add(integers(timestamps or b""), floats(values or b""), most)
