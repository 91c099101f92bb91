"""Write: the rows of one chunk into ``temporis_observation``, those that differ from what is there and no others.

Comes in: a connection in a transaction that holds the lock of the data source, and sorted columns. Goes out: rows.
Never: begins or commits a transaction, or writes what is unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import psycopg

from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask
from temporis_dagster.data_source.store.postgres import lookup
from temporis_dagster.data_source.store.postgres.arrays import (
    Float8Array,
    Int4Array,
    Int8Array,
    copy_rows,
)

FEWEST_TO_COPY = 200
"""Fewer new rows are inserted together with the changed ones: ``COPY`` takes another round trip."""

COPY = "COPY temporis_observation (series, timestamp, value) FROM STDIN (FORMAT BINARY)"

# Not UPDATE ... FROM unnest: that is planned as a scan of the whole table.
INSERT = """
INSERT INTO temporis_observation (series, timestamp, value) SELECT * FROM unnest(%b, %b, %b)
ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value
"""


class Columns(NamedTuple):
    """Some rows, sorted by series and timestamp, without two of the same key."""

    series: Int64s
    timestamps: Int64s
    values: Floats

    def take(self, rows: Mask | Int64s) -> Columns:
        """Return some of the rows."""
        return Columns(self.series[rows], self.timestamps[rows], self.values[rows])


def upsert_rows(connection: psycopg.Connection, rows: Columns) -> Mask:
    """Insert rows, or replace the present values of their keys. Return which of them differed from what was there."""
    with connection.cursor(binary=True) as cursor:
        present = lookup.present(cursor, lookup.Keys(rows.series, rows.timestamps))
        is_new = np.ones(len(rows.series), dtype=np.bool_)
        is_new[present.places] = False
        is_changed = np.zeros(len(rows.series), dtype=np.bool_)
        is_changed[present.places] = _bits(present.values) != _bits(rows.values[present.places])
        differs = is_new | is_changed
        if np.count_nonzero(is_new) < FEWEST_TO_COPY:
            _insert(cursor, rows.take(differs))
        else:
            with cursor.copy(COPY) as copy:
                copy.write(copy_rows(*rows.take(is_new)))
            _insert(cursor, rows.take(is_changed))
        return differs


def _insert(cursor: psycopg.Cursor, rows: Columns) -> None:
    if len(rows.series):
        cursor.execute(INSERT, (Int4Array(rows.series), Int8Array(rows.timestamps), Float8Array(rows.values)))


def _bits(values: Floats) -> Int64s:
    return values.view(np.int64)
