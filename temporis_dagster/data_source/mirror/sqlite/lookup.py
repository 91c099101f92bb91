"""Lookup: what the mirror has for many keys at once.

Comes in: a connection inside a transaction, and keys. Goes out: the present values of the keys and the batches that
carry them.
Never: writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import chain

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror.rows import Present, packed, unpacked
from temporis_dagster.data_source.observations.model import Floats, Int64s
from temporis_dagster.data_source.store.sqlite.file import PARAMETERS, driver
from temporis_dagster.data_source.store.sqlite.read import integers

KEYS_PER_STATEMENT = PARAMETERS // 2
"""Each key takes two parameters, its series and its timestamp."""

FEWEST_IN_A_RANGE, WASTE = 16, 2
"""For at least the first number of keys of one series, a range of time is read instead, unless it holds more than the
second number of rows per key. That takes a third of the time of asking key by key."""

RANGE = (
    "SELECT ?, timestamp, value, batch FROM temporis_observation WHERE series = ? AND timestamp BETWEEN ? AND ? LIMIT ?"
)


def present(connection: sa.Connection, keys: Int64s) -> Present:
    """Return what the mirror has for these keys."""
    cursor = driver(connection).cursor()
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    table = np.concatenate([np.empty((0, 4)), *_tables(cursor, ordered)])
    found = packed(integers(table[:, 0]), integers(table[:, 1]))
    at = np.searchsorted(ordered, found)
    at[at == len(ordered)] = 0
    asked = ordered[at] == found if len(ordered) else np.empty(0, dtype=np.bool_)
    return Present(order[at[asked]], table[asked, 2].copy(), integers(table[asked, 3]))


def _tables(cursor: sqlite3.Cursor, ordered: Int64s) -> Iterator[Floats]:
    """Yield rows of series, timestamp, value and batch: all that are asked for, and some more."""
    series, timestamps = unpacked(ordered)
    starts = np.flatnonzero(np.diff(series, prepend=-1)).tolist()
    single = [ordered[:0]]
    for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
        limit = WASTE * (stop - start)
        if stop - start >= FEWEST_IN_A_RANGE:
            number = int(series[start])
            bounds = (number, number, int(timestamps[start]), int(timestamps[stop - 1]), limit + 1)
            table = _numbers(cursor.execute(RANGE, bounds))
            if len(table) <= limit:
                yield table
                continue
        single.append(ordered[start:stop])
    for block in blocks(np.concatenate(single)):
        yield _numbers(
            cursor.execute(
                f"WITH k (series, timestamp) AS (VALUES {places(block)})"  # noqa: S608 no data in it
                " SELECT o.series, o.timestamp, o.value, o.batch FROM k CROSS JOIN temporis_observation o"
                " ON o.series = k.series AND o.timestamp = k.timestamp",
                parameters(block),
            )
        )


def _numbers(found: sqlite3.Cursor) -> Floats:
    # Each of these numbers is far below 2**53, so a float holds it; and the text for -0.0 becomes -0.0.
    return np.fromiter(chain.from_iterable(found), dtype=np.float64).reshape(-1, 4)


def blocks(keys: Int64s) -> Iterator[Int64s]:
    """Yield the keys, as many at a time as one statement takes."""
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        yield keys[start : start + KEYS_PER_STATEMENT]


def places(block: Int64s) -> str:
    """Return the placeholders of a statement for the series and timestamps of keys."""
    return ",".join(["(?,?)"] * len(block))


def parameters(block: Int64s) -> tuple[int, ...]:
    """Return the series and timestamps of keys, alternating."""
    series, timestamps = unpacked(block)
    flat = np.empty(2 * len(block), dtype=np.int64)
    flat[0::2], flat[1::2] = series, timestamps
    return tuple(flat.tolist())
