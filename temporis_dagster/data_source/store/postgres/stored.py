"""PostgresRows: keys, counts and pages of the rows in PostgreSQL, and their deletion.

Comes in: a connection inside a transaction, ids of series, times. Goes out: arrays. Implements ``StoredRows``.
Never: holds more than what is asked for.
"""

from __future__ import annotations

import numpy as np
import psycopg

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.postgres import lookup
from temporis_dagster.data_source.store.postgres.arrays import Int4Array, Int8Array, floats, integers
from temporis_dagster.data_source.store.stored import Differing, Extremes, Found, Page, Ranges

COUNTS = """
SELECT array_agg(found.rows ORDER BY wanted.place)
FROM unnest(%b, %b, %b) WITH ORDINALITY AS wanted (series, first, last, place),
LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT 1 FROM temporis_observation
        WHERE series = wanted.series AND timestamp >= wanted.first AND timestamp < wanted.last
        LIMIT %s
    ) AS o
) AS found
"""

PAGE = """
SELECT array_agg(o.timestamp), array_agg(o.value)
FROM (
    SELECT timestamp, value FROM temporis_observation
    WHERE series = %s AND timestamp >= %s AND timestamp < %s ORDER BY timestamp LIMIT %s
) AS o
"""

LATEST = """
SELECT array_agg(wanted.place), array_agg(found.timestamp), array_agg(found.value)
FROM unnest(%b) WITH ORDINALITY AS wanted (series, place),
LATERAL (
    SELECT timestamp, value FROM temporis_observation
    WHERE series = wanted.series ORDER BY timestamp DESC LIMIT 1
) AS found
"""

OF_RANGES = """
SELECT array_agg(wanted.place), array_agg(found.timestamp), array_agg(found.value)
FROM unnest(%b, %b, %b) WITH ORDINALITY AS wanted (series, first, last, place),
LATERAL (
    SELECT timestamp, value FROM temporis_observation
    WHERE series = wanted.series AND timestamp >= wanted.first AND timestamp < wanted.last
    ORDER BY timestamp {order} LIMIT %s
) AS found
"""

OLDEST, NEWEST = OF_RANGES.format(order="ASC"), OF_RANGES.format(order="DESC")

EXTREMES = """
SELECT array_agg(wanted.place), array_agg(found.low), array_agg(found.high)
FROM unnest(%b, %b, %b) WITH ORDINALITY AS wanted (series, first, last, place),
LATERAL (
    SELECT min(value) AS low, max(value) AS high FROM temporis_observation
    WHERE series = wanted.series AND timestamp >= wanted.first AND timestamp < wanted.last
) AS found
WHERE found.low IS NOT NULL
"""

EARLIEST = """
SELECT min(found.timestamp)
FROM unnest(%b) AS wanted (series),
LATERAL (
    SELECT timestamp FROM temporis_observation
    WHERE series = wanted.series AND timestamp >= %s ORDER BY timestamp LIMIT 1
) AS found
"""

DELETE = """
DELETE FROM temporis_observation AS o USING unnest(%b, %b, %b) AS wanted (series, first, last)
WHERE o.series = wanted.series AND o.timestamp >= wanted.first AND o.timestamp < wanted.last
"""


class PostgresRows:
    """The rows of a PostgreSQL database in one transaction.

    Args:
        connection: A connection inside a transaction.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def differing(self, series: Int64s, timestamps: Int64s, values: Floats) -> Differing:
        """Look up the keys of rows, which are sorted by series and time, and compare the values."""
        with self._connection.cursor(binary=True) as cursor:
            present = lookup.present(cursor, lookup.Keys(series, timestamps))
        return Differing.among(values, present.places, present.values)

    def counts(self, ranges: Ranges, most: int | None = None) -> Int64s:
        """Count the rows of each range, up to ``most`` of each."""
        return integers(*self._answer(COUNTS, (*_arrays(ranges), most))) if len(ranges.series) else ranges.series

    def page(self, series: int, first: int, end: int, most: int) -> Page:
        """Read the first rows of a range."""
        timestamps, values = self._answer(PAGE, (series, first, end, most))
        return Page(integers(timestamps), floats(values))

    def latest(self, series: Int64s) -> tuple[Int64s, Page]:
        """Read the last row of each series: the places of the series that have one, and these rows."""
        places, timestamps, values = self._answer(LATEST, (Int4Array(series),))
        return integers(places) - 1, Page(integers(timestamps), floats(values))

    def oldest(self, ranges: Ranges, most: int) -> Found:
        """Read the first rows of each range, up to ``most`` of each."""
        return self._found(OLDEST, ranges, most)

    def newest(self, ranges: Ranges, most: int) -> Found:
        """Read the last rows of each range, up to ``most`` of each."""
        return self._found(NEWEST, ranges, most)

    def extremes(self, ranges: Ranges) -> Extremes:
        """Return the lowest and the highest value of each range that holds a row."""
        places, lows, highs = self._answer(EXTREMES, _arrays(ranges))
        order = np.argsort(integers(places), kind="stable")
        return Extremes(integers(places)[order] - 1, floats(lows)[order], floats(highs)[order])

    def _found(self, statement: str, ranges: Ranges, most: int) -> Found:
        places, timestamps, values = self._answer(statement, (*_arrays(ranges), most))
        found = Found(integers(places) - 1, integers(timestamps), floats(values))
        order = np.lexsort((found.timestamps, found.places))
        return Found(found.places[order], found.timestamps[order], found.values[order])

    def earliest(self, series: Int64s, start: int) -> int | None:
        """Return the first second, not before ``start``, at which one of these series has a row."""
        found = self._connection.execute(EARLIEST, (Int4Array(series), start)).fetchone()
        return None if found is None or found[0] is None else int(found[0])

    def delete(self, ranges: Ranges) -> int:
        """Delete the rows of these ranges, in a transaction that writes. Return how many there were."""
        return self._connection.execute(DELETE, _arrays(ranges)).rowcount if len(ranges.series) else 0

    def _answer(self, statement: str, parameters: tuple[object, ...]) -> list[bytes]:
        """Return the arrays of the one row of an answer as the server sent them; an empty one is NULL."""
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(statement, parameters)
            result = cursor.pgresult
            return [] if result is None else [result.get_value(0, i) or b"" for i in range(result.nfields)]


def _arrays(ranges: Ranges) -> tuple[Int4Array, Int8Array, Int8Array]:
    return Int4Array(ranges.series), Int8Array(ranges.firsts), Int8Array(ranges.ends)
