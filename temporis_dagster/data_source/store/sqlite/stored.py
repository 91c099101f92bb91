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
from temporis_dagster.data_source.store.sqlite.file import PARAMETERS, driver
from temporis_dagster.data_source.store.sqlite.read import integers
from temporis_dagster.data_source.store.sqlite.write import ROWS_PER_STATEMENT, storable
from temporis_dagster.data_source.store.stored import Differing, Extremes, Found, Page, Ranges

FEWEST_IN_A_RANGE, WASTE = 8, 2
"""A range is read for at least the first number of rows, unless it holds more than the second number per row."""

PAGE = (
    "SELECT timestamp, value FROM temporis_observation"
    " WHERE series = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp LIMIT ?"
)

RANGES_PER_STATEMENT = ROWS_PER_STATEMENT * 3 // 4
"""Each takes four parameters, where a row takes three."""

LATEST = "SELECT timestamp, value FROM temporis_observation WHERE series = ? ORDER BY timestamp DESC LIMIT 1"

OF_A_RANGE = "FROM temporis_observation WHERE series = ? AND timestamp >= ? AND timestamp < ?"

OLDEST = f"SELECT timestamp, value {OF_A_RANGE} ORDER BY timestamp LIMIT ?"

NEWEST = f"SELECT timestamp, value {OF_A_RANGE} ORDER BY timestamp DESC LIMIT ?"

# The text that stands for -0.0 would be the highest value.
EXTREMES = f"SELECT min(CAST(value AS REAL)), max(CAST(value AS REAL)) {OF_A_RANGE}"

DELETE = "DELETE FROM temporis_observation WHERE series = ? AND timestamp >= ? AND timestamp < ?"

NO_ROWS = Differing(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0))


class SqliteRows:
    """The rows of a SQLite file in one transaction.

    Args:
        connection: A connection inside a transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._cursor = driver(connection).cursor()

    def differing(self, series: Int64s, timestamps: Int64s, values: Floats) -> Differing:
        """Look up the keys of rows, which are sorted by series and time, and compare the values.

        Where rows are equal, SQL compares: a row that is returned costs as much as several that are not. Where most
        differ, whole ranges are read and compared here.
        """
        ends = np.append(np.flatnonzero(np.diff(series)) + 1, len(series))
        found, start, most_differ = [NO_ROWS], 0, False
        while start < len(series):
            end = int(ends[np.searchsorted(ends, start, side="right")])
            some = None
            if most_differ and end - start >= FEWEST_IN_A_RANGE:
                some = self._in_range(int(series[start]), timestamps[start:end], values[start:end])
            if some is None:
                end = min(start + ROWS_PER_STATEMENT, len(series))
                some = self._by_keys(series[start:end], timestamps[start:end], values[start:end])
            most_differ = 2 * len(some.places) > end - start
            found.append(some._replace(places=some.places + start))
            start = end
        return Differing(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _by_keys(self, series: Int64s, timestamps: Int64s, values: Floats) -> Differing:
        parameters: list[float | str] = [0] * (3 * len(series))
        parameters[0::3], parameters[1::3], parameters[2::3] = series.tolist(), timestamps.tolist(), storable(values)
        rows = self._flat(self._cursor.execute(_differing(len(series)), parameters), 3)
        return Differing(integers(rows[:, 0]), rows[:, 1] != 0, rows[:, 2])

    def _in_range(self, series: int, timestamps: Int64s, values: Floats) -> Differing | None:
        """Compare with a range of rows; return nothing if it holds much else."""
        most = WASTE * len(timestamps)
        page = self.page(series, int(timestamps[0]), int(timestamps[-1]) + 1, most + 1)
        if len(page.timestamps) > most:
            return None
        places = np.searchsorted(timestamps, page.timestamps)  # none is beyond the last of them
        hits = timestamps[places] == page.timestamps
        return Differing.among(values, places[hits], page.values[hits])

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

    def oldest(self, ranges: Ranges, most: int) -> Found:
        """Read the first rows of each range, up to ``most`` of each."""
        return self._found(OLDEST, ranges, most)

    def newest(self, ranges: Ranges, most: int) -> Found:
        """Read the last rows of each range, up to ``most`` of each."""
        return self._found(NEWEST, ranges, most)

    def extremes(self, ranges: Ranges) -> Extremes:
        """Return the lowest and the highest value of each range that holds a row."""
        found = [self._cursor.execute(EXTREMES, one).fetchone() for one in _each(ranges)]
        places = np.array([place for place, (low, _) in enumerate(found) if low is not None], dtype=np.int64)
        rows = self._flat((row for row in found if row[0] is not None), 2)
        return Extremes(places, rows[:, 0].copy(), rows[:, 1].copy())

    def _found(self, statement: str, ranges: Ranges, most: int) -> Found:
        """Read a page of each range. A statement per range takes a third of the time of one with subqueries."""
        pages = [self._cursor.execute(statement, (*one, most)).fetchall() for one in _each(ranges)]
        places = np.repeat(np.arange(len(pages), dtype=np.int64), [len(page) for page in pages])
        rows = _page(self._flat(chain.from_iterable(pages), 2))
        order = np.lexsort((rows.timestamps, places))
        return Found(places, rows.timestamps[order], rows.values[order])

    def earliest(self, series: Int64s, start: int) -> int | None:
        """Return the first second, not before ``start``, at which one of these series has a row."""
        firsts = list[int]()
        for place in range(0, len(series), PARAMETERS - 1):
            block = series[place : place + PARAMETERS - 1].tolist()
            (first,) = self._cursor.execute(_earliest(len(block)), [*block, start]).fetchone()
            firsts += () if first is None else (int(first),)
        return min(firsts, default=None)

    def delete(self, ranges: Ranges) -> int:
        """Delete the rows of these ranges, in a transaction that writes. Return how many there were."""
        self._cursor.executemany(DELETE, list(zip(*(column.tolist() for column in ranges), strict=True)))
        return max(self._cursor.rowcount, 0)

    @staticmethod
    def _flat(rows: Iterable[Iterable[float]], width: int) -> Floats:
        # As in ``read``: one flat run of floats takes half the time of tuples, and holds timestamps exactly.
        return np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, width)


def _each(ranges: Ranges) -> Iterable[tuple[int, int, int]]:
    return zip(ranges.series.tolist(), ranges.firsts.tolist(), ranges.ends.tolist(), strict=True)


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
def _earliest(series: int) -> str:
    return (
        f"WITH w (series) AS (VALUES {','.join(['(?)'] * series)})"  # noqa: S608 no data in it
        " SELECT min((SELECT o.timestamp FROM temporis_observation o WHERE o.series = w.series AND o.timestamp >= ?"
        " ORDER BY o.timestamp LIMIT 1)) FROM w"
    )


@lru_cache(maxsize=16)
def _differing(rows: int) -> str:
    wanted = ",".join(f"({place},?,?,?)" for place in range(rows))
    return (
        f"WITH w (place, series, timestamp, value) AS (VALUES {wanted})"  # noqa: S608 no data in it
        " SELECT w.place, o.value IS NULL, ifnull(o.value, 0) FROM w LEFT JOIN temporis_observation o"
        " ON o.series = w.series AND o.timestamp = w.timestamp WHERE o.value IS NOT w.value"
    )
