"""Lookup: what is there for the keys of some rows.

Comes in: a cursor in a transaction, and sorted columns. Goes out: the places and values of the keys that are there.
Never: writes, or locks a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import psycopg

from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.postgres.arrays import Int4Array, Int8Array, count, floats, integers

FEWEST_IN_A_RANGE, WASTE = 16, 2
"""For at least the first number of keys of one series, a range of time is read instead, unless it holds more than the
second number of rows per key. Shorter ranges cost more than twice as much per row as keys do."""

IN_RANGES = """
SELECT found.timestamps, found.values{found}
FROM unnest(%b, %b, %b, %b) WITH ORDINALITY AS wanted (series, first, last, most, place),
LATERAL (
    SELECT array_agg(o.timestamp) AS timestamps, array_agg(o.value) AS values{agg}
    FROM (
        SELECT timestamp, value{column} FROM temporis_observation
        WHERE series = wanted.series AND timestamp BETWEEN wanted.first AND wanted.last
        ORDER BY timestamp LIMIT wanted.most
    ) AS o
) AS found
ORDER BY wanted.place
"""

BY_KEYS = """
SELECT array_agg(wanted.place), array_agg(o.value){agg}
FROM unnest(%b, %b) WITH ORDINALITY AS wanted (series, timestamp, place)
JOIN temporis_observation AS o ON o.series = wanted.series AND o.timestamp = wanted.timestamp
"""

WITH_BATCH = {"found": ", found.batches", "agg": ", array_agg(o.batch) AS batches", "column": ", batch"}
"""What the queries ask for besides, in a mirror's table. A store's table has no such column."""

WITHOUT = dict.fromkeys(WITH_BATCH, "")


class Keys(NamedTuple):
    """Some keys, sorted by series and timestamp, none of them twice."""

    series: Int64s
    timestamps: Int64s


class Present(NamedTuple):
    """What is there for some of the keys that were asked for: the place of each among them, and its value.

    In a mirror, also the batch that carries it.
    """

    places: Int64s
    values: Floats
    batches: Int64s


def present(cursor: psycopg.Cursor, rows: Keys, *, batches: bool = False) -> Present:
    """Look up the keys: those of a series that has many of them by their range, the others one by one.

    Args:
        cursor: A cursor in a transaction, whose results are binary.
        rows: The keys.
        batches: Whether to look up the batches as well, in a mirror.
    """
    asked = WITH_BATCH if batches else WITHOUT
    firsts = np.flatnonzero(np.diff(rows.series, prepend=-1))
    ends = np.append(firsts[1:], len(rows.series))
    many = ends - firsts >= FEWEST_IN_A_RANGE
    found, wide = _in_ranges(cursor, IN_RANGES.format(**asked), rows, firsts[many], ends[many])
    one_by_one = np.repeat(~many, ends - firsts)
    for first, end in wide:
        one_by_one[first:end] = True
    found.append(_by_keys(cursor, BY_KEYS.format(**asked), rows, np.flatnonzero(one_by_one)))
    return Present(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _in_ranges(
    cursor: psycopg.Cursor, statement: str, rows: Keys, firsts: Int64s, ends: Int64s
) -> tuple[list[Present], list[tuple[int, int]]]:
    """Look up runs of keys, each of one series. Also return the runs whose range holds much else."""
    found: list[Present] = []
    wide: list[tuple[int, int]] = []
    if not len(firsts):
        return found, wide
    most = WASTE * (ends - firsts)
    first_timestamps, last_timestamps = rows.timestamps[firsts], rows.timestamps[ends - 1]
    wanted = (rows.series[firsts], first_timestamps, last_timestamps, most + 1)
    cursor.execute(statement, (Int4Array(wanted[0]), *map(Int8Array, wanted[1:])))
    counts = np.array([count(_bytes(cursor, run, 0)) for run in range(len(firsts))])
    # Most often a range holds exactly the keys that are looked up. All such runs are compared at once.
    equal = np.flatnonzero(counts == ends - firsts)
    places = _places(firsts[equal], ends[equal])
    timestamps = integers(*(_bytes(cursor, run, 0) or b"" for run in equal.tolist()))
    if np.array_equal(timestamps, rows.timestamps[places]):
        values = floats(*(_bytes(cursor, run, 1) or b"" for run in equal.tolist()))
        batches = integers(*(_bytes(cursor, run, 2) or b"" for run in equal.tolist()))
        found.append(Present(places, values, batches))
        counts[equal] = 0
    for run in np.flatnonzero(counts).tolist():
        first, end = int(firsts[run]), int(ends[run])
        if counts[run] > most[run]:
            wide.append((first, end))
            continue
        timestamps, values = integers(_bytes(cursor, run, 0) or b""), floats(_bytes(cursor, run, 1) or b"")
        places = np.searchsorted(timestamps, rows.timestamps[first:end])
        places[places == len(timestamps)] = 0
        hits = timestamps[places] == rows.timestamps[first:end]
        batches = integers(_bytes(cursor, run, 2) or b"")
        hit = places[hits]
        found.append(Present(np.flatnonzero(hits) + first, values[hit], batches[hit] if len(batches) else batches))
    return found, wide


def _places(firsts: Int64s, ends: Int64s) -> Int64s:
    """Return the numbers of these ranges, one after the other."""
    lengths = ends - firsts
    before = np.cumsum(lengths) - lengths
    places: Int64s = np.arange(lengths.sum()) + np.repeat(firsts - before, lengths)
    return places


def _by_keys(cursor: psycopg.Cursor, statement: str, rows: Keys, places: Int64s) -> Present:
    if len(places):
        cursor.execute(statement, (Int4Array(rows.series[places]), Int8Array(rows.timestamps[places])))
        content = _bytes(cursor, 0, 0)
        if content is not None:
            values, batches = floats(_bytes(cursor, 0, 1) or b""), integers(_bytes(cursor, 0, 2) or b"")
            return Present(places[integers(content) - 1], values, batches)
    return Present(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def _bytes(cursor: psycopg.Cursor, row: int, column: int) -> bytes | None:
    """Return a field of the result as the server sent it: psycopg would make an object of every number.

    None for NULL, and for a column that was not asked for.
    """
    result = cursor.pgresult
    return None if result is None or column >= result.nfields else result.get_value(row, column)
