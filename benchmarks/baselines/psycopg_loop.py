"""The strictest raw loop over psycopg: read what is there, compare bits, COPY what is new, and merge what changed.

The same design as the store, but for arrays that are sorted beforehand, and without checks, reports, retries or names.
It writes to ``plain_observation``, which has the best layout that was found.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from benchmarks.postgres_parts.samples import Load

SETTINGS = "sorted arrays, binary arrays and binary COPY, 50,000 rows per transaction, one lock per chunk"
TABLES = """
DROP TABLE IF EXISTS plain_observation, plain_series, plain_source;
CREATE TABLE plain_source (id int PRIMARY KEY, archived bool NOT NULL);
CREATE TABLE plain_series (
    id int PRIMARY KEY, source int NOT NULL, name text NOT NULL COLLATE "C", UNIQUE (source, name));
CREATE TABLE plain_observation (
    "timestamp" int8 NOT NULL, value float8 NOT NULL, series int4 NOT NULL, PRIMARY KEY (series, "timestamp"));
"""
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)
COPIED = np.dtype(
    [("fields", ">i2"), ("l1", ">i4"), ("series", ">i4"), ("l2", ">i4"), ("time", ">i8"), ("l3", ">i4"), ("v", ">f8")]
)
TIMES = np.dtype([("length", ">i4"), ("v", ">i8")])
VALUES = np.dtype([("length", ">i4"), ("v", ">f8")])
ARRAY_HEAD = 20
FEWEST_IN_A_RANGE, WASTE = 16, 2
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


class Int4s:
    """A numpy array as a parameter, in binary."""

    array, element, stored, size = 1007, 23, ">i4", 4

    def __init__(self, data: np.ndarray) -> None:
        self.data = data


class Int8s(Int4s):
    """Of int64."""

    array, element, stored, size = 1016, 20, ">i8", 8


class Float8s(Int4s):
    """Of float64."""

    array, element, stored, size = 1022, 701, ">f8", 8


def _dumper(kind: type[Int4s]) -> type[Dumper]:
    row = np.dtype([("length", ">i4"), ("v", kind.stored)])

    class ArrayDumper(Dumper):
        oid, format = kind.array, Format.BINARY

        def dump(self, obj: Int4s) -> bytes:
            out = np.empty(len(obj.data), row)
            out["length"], out["v"] = kind.size, obj.data
            return struct.pack(">iiIii", 1, 0, kind.element, len(obj.data), 1) + out.tobytes()

    return ArrayDumper


def connect(url: str) -> psycopg.Connection:
    """A connection that takes numpy arrays."""
    connection = psycopg.connect(url)
    for kind in (Int4s, Int8s, Float8s):
        connection.adapters.register_dumper(kind, _dumper(kind))
    return connection


def make_tables(connection: psycopg.Connection, sources: int, names: Sequence[str]) -> None:
    """Data sources 0, 1, ... with these series each: series ``code`` of data source i has the id i * n + code."""
    connection.execute(TABLES)
    for source in range(sources):
        ids = list(range(source * len(names), (source + 1) * len(names)))
        connection.execute("INSERT INTO plain_source VALUES (%s, false)", (source,))
        connection.execute(
            "INSERT INTO plain_series SELECT i, %s, n FROM unnest(%s::int[], %s::text[]) u(i, n)",
            (source, ids, list(names)),
        )
    connection.commit()


def copied(series: np.ndarray, timestamps: np.ndarray, values: np.ndarray) -> bytes:
    """Rows as COPY in binary takes them."""
    rows = np.empty(len(timestamps), COPIED)
    rows["fields"], rows["l1"], rows["l2"], rows["l3"] = 3, 4, 8, 8
    rows["series"], rows["time"], rows["v"] = series, timestamps, values
    return b"".join((HEADER, rows.tobytes(), TRAILER))


class Raw:
    """One lock, read what is there, compare bits, COPY what is new, and merge what changed. Chunk by chunk."""

    label = "raw psycopg: read, compare, COPY"

    def __init__(self, url: str, source: int) -> None:
        self._connection, self._source = connect(url), source

    def upsert(self, load: Load) -> int:
        """Return how many rows differed from what was there."""
        base = self._source * len(load.names)
        return sum(self._chunk(codes + base, times, values) for codes, times, values in load.chunks)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _chunk(self, series: np.ndarray, times: np.ndarray, values: np.ndarray) -> int:
        cursor = self._connection.cursor(binary=True)
        archived = "SELECT archived FROM plain_source WHERE id = %s FOR NO KEY UPDATE"
        if cursor.execute(archived, (self._source,)).fetchone() != (False,):
            raise PermissionError("archived")
        at, stored = present(cursor, series, times)
        new = np.ones(len(series), bool)
        new[at] = False
        changed = np.sort(at[stored.astype("<f8").view("<i8") != values[at].view("<i8")])
        if new.any():
            with cursor.copy("COPY plain_observation (series, timestamp, value) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(copied(series[new], times[new], values[new]))
        if len(changed):
            cursor.execute(
                "INSERT INTO plain_observation (series, timestamp, value) SELECT * FROM unnest(%b, %b, %b)"
                " ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value",
                (Int4s(series[changed]), Int8s(times[changed]), Float8s(values[changed])),
            )
        self._connection.commit()
        return int(new.sum()) + len(changed)


def present(cursor: psycopg.Cursor, series: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values of the keys that exist: by ranges of time where they are dense, otherwise by key."""
    starts = np.flatnonzero(np.diff(series, prepend=series[0] - 1))
    ends = np.append(starts[1:], len(series))
    dense = ends - starts >= FEWEST_IN_A_RANGE
    found_at, found = [np.empty(0, np.int64)], [np.empty(0)]
    by_key = [np.flatnonzero(np.repeat(~dense, ends - starts))]
    if dense.any():
        a, b = starts[dense], ends[dense]
        cursor.execute(
            "SELECT o.times, o.values FROM unnest(%b, %b, %b, %b) WITH ORDINALITY r (series, lo, hi, most, i), LATERAL"
            " (SELECT array_agg(p.timestamp) times, array_agg(p.value) values FROM (SELECT timestamp, value"
            " FROM plain_observation WHERE series = r.series AND timestamp BETWEEN r.lo AND r.hi"
            " ORDER BY timestamp LIMIT r.most) p) o ORDER BY r.i",
            (Int4s(series[a]), Int8s(times[a]), Int8s(times[b - 1]), Int8s(WASTE * (b - a) + 1)),
        )
        result = cursor.pgresult
        for row, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
            raw = result.get_value(row, 0)
            if raw is None:
                continue
            there = np.frombuffer(raw, TIMES, offset=ARRAY_HEAD)["v"]
            if len(there) > WASTE * (y - x):
                by_key.append(np.arange(x, y))
                continue
            place = np.searchsorted(there, times[x:y])
            place[place == len(there)] = 0
            hit = there[place] == times[x:y]
            found_at.append(np.flatnonzero(hit) + x)
            found.append(np.frombuffer(result.get_value(row, 1), VALUES, offset=ARRAY_HEAD)["v"][place[hit]])
    at = np.concatenate(by_key)
    if len(at):
        cursor.execute(
            "SELECT array_agg(k.i), array_agg(o.value) FROM unnest(%b, %b) WITH ORDINALITY k (series, timestamp, i)"
            " JOIN plain_observation o ON o.series = k.series AND o.timestamp = k.timestamp",
            (Int4s(series[at]), Int8s(times[at])),
        )
        numbers = cursor.pgresult.get_value(0, 0)
        if numbers is not None:
            found_at.append(at[np.frombuffer(numbers, TIMES, offset=ARRAY_HEAD)["v"] - 1])
            found.append(np.frombuffer(cursor.pgresult.get_value(0, 1), VALUES, offset=ARRAY_HEAD)["v"])
    return np.concatenate(found_at), np.concatenate(found)
