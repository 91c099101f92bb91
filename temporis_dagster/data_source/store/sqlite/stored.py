"""SqliteRows: keys, counts and pages of the rows in a SQLite file, and their deletion. For the store and the mirror.

Comes in: a connection inside a transaction, ids of series, times. Goes out: arrays. Implements ``StoredRows``.
Never: holds more than what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.sqlite.file import driver
from temporis_dagster.data_source.store.sqlite.read import integers
from temporis_dagster.data_source.store.sqlite.write import ROWS_PER_STATEMENT
from temporis_dagster.data_source.store.stored import Page, Present, Ranges

FEWEST_IN_A_RANGE, WASTE = 8, 2
"""For at least the first number of keys of one series, a range of time is read instead, unless it holds more than the
second number of rows per key."""

PAGE = (
    "SELECT timestamp, value FROM temporis_observation"
    " WHERE series = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp LIMIT ?"
)

RANGES_PER_STATEMENT = ROWS_PER_STATEMENT * 3 // 4
"""Each takes four parameters, where a row takes three."""

LATEST = "SELECT timestamp, value FROM temporis_observation WHERE series = ? ORDER BY timestamp DESC LIMIT 1"

DELETE = "DELETE FROM temporis_observation WHERE series = ? AND timestamp >= ? AND timestamp < ?"


class SqliteRows:
    """The rows of a SQLite file in one transaction.

    Args:
        connection: A connection inside a transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._cursor = driver(connection).cursor()

    def present(self, series: Int64s, timestamps: Int64s) -> Present:
        """Look up keys, which are sorted by series and time: many of one series as a range, others one by one."""
        starts = np.flatnonzero(np.diff(series, prepend=-1))
        ends = np.append(starts[1:], len(series))
        one_by_one = np.repeat(ends - starts < FEWEST_IN_A_RANGE, ends - starts)
        found = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start >= FEWEST_IN_A_RANGE:
                wanted, most = timestamps[start:end], WASTE * (end - start)
                page = self.page(int(series[start]), int(wanted[0]), int(wanted[-1]) + 1, most + 1)
                if len(page.timestamps) > most:
                    one_by_one[start:end] = True
                elif np.array_equal(page.timestamps, wanted):
                    found.append(Present(np.arange(start, end), page.values))
                elif len(page.timestamps):
                    places = np.searchsorted(page.timestamps, wanted)
                    places[places == len(page.timestamps)] = 0
                    hits = page.timestamps[places] == wanted
                    found.append(Present(np.flatnonzero(hits) + start, page.values[places[hits]]))
        found.append(self._by_keys(series, timestamps, np.flatnonzero(one_by_one)))
        return Present(np.concatenate([one.places for one in found]), np.concatenate([one.values for one in found]))

    def counts(self, ranges: Ranges, most: int | None = None) -> Int64s:
        """Count the rows of each range, up to ``most`` of each."""
        found = list[Int64s]()
        for start in range(0, len(ranges.series), RANGES_PER_STATEMENT):
            block = np.stack(ranges.take(slice(start, start + RANGES_PER_STATEMENT)), axis=1)
            numbered = np.concatenate([np.arange(len(block))[:, np.newaxis], block], axis=1)
            rows = self._cursor.execute(_counts(len(block), most), numbered.ravel().tolist())
            found.append(np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(block)))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def page(self, series: int, first: int, end: int, most: int) -> Page:
        """Read the first rows of a range."""
        return _page(self._flat(self._cursor.execute(PAGE, (series, first, end, most)), 2))

    def latest(self, series: Int64s) -> tuple[Int64s, Page]:
        """Read the last row of each series: the places of the series that have one, and these rows."""
        found = [self._cursor.execute(LATEST, (one,)).fetchone() for one in series.tolist()]
        rows = [row for row in found if row is not None]
        places = np.array([place for place, row in enumerate(found) if row is not None], dtype=np.int64)
        return places, _page(self._flat(rows, 2))

    def delete(self, ranges: Ranges) -> int:
        """Delete the rows of these ranges, in a transaction that writes. Return how many there were."""
        self._cursor.executemany(DELETE, list(zip(*(column.tolist() for column in ranges), strict=True)))
        return max(self._cursor.rowcount, 0)

    def _by_keys(self, series: Int64s, timestamps: Int64s, places: Int64s) -> Present:
        found = [np.empty((0, 2))]
        for start in range(0, len(places), ROWS_PER_STATEMENT):
            block = places[start : start + ROWS_PER_STATEMENT]
            keys = np.stack([block, series[block], timestamps[block]], axis=1)
            found.append(self._flat(self._cursor.execute(_keys(len(block)), keys.ravel().tolist()), 2))
        rows = np.concatenate(found)
        return Present(integers(rows[:, 0]), rows[:, 1].copy())

    @staticmethod
    def _flat(rows: Iterable[Iterable[float]], width: int) -> Floats:
        # As in ``read``: one flat run of floats takes half the time of tuples, and holds timestamps exactly.
        return np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, width)


def _page(rows: Floats) -> Page:
    return Page(integers(rows[:, 0]), rows[:, 1].copy())


@lru_cache(maxsize=16)
def _counts(ranges: int, most: int | None) -> str:
    rows = "temporis_observation o WHERE o.series = w.series AND o.timestamp >= w.first AND o.timestamp < w.last"
    counted = f"FROM {rows}" if most is None else f"FROM (SELECT 1 FROM {rows} LIMIT {most})"  # noqa: S608 no data in it
    return (
        f"WITH w (place, series, first, last) AS (VALUES {','.join(['(?,?,?,?)'] * ranges)})"  # noqa: S608 no data in it
        f" SELECT (SELECT count(*) {counted}) FROM w ORDER BY place"
    )


@lru_cache(maxsize=16)
def _keys(rows: int) -> str:
    return (
        f"WITH wanted (place, series, timestamp) AS (VALUES {','.join(['(?,?,?)'] * rows)})"  # noqa: S608 no data in it
        " SELECT w.place, o.value FROM wanted w CROSS JOIN temporis_observation o"
        " ON o.series = w.series AND o.timestamp = w.timestamp"
    )
