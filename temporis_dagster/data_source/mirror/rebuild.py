"""Rebuild: every row of a mirror becomes pending, for a new or an emptied service.

Comes in: the mirror's file. Goes out: the same file, bound to the present target.
Never: does half of it: all of it is one transaction.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches
from temporis_dagster.data_source.mirror.file import Ledger
from temporis_dagster.data_source.mirror.rows import Rows, packed
from temporis_dagster.data_source.report import Progress
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.read import integers
from temporis_dagster.data_source.store.sqlite import commit, driver

ROWS_PER_BATCH = 50_000


def rebuild(ledger: Ledger, progress: Progress | None) -> int:
    """Do it; how many rows are pending now."""
    with ledger.unbound_writing() as connection:
        now = ledger.clock.now(connection)
        _ensure_idle(connection, now)
        # Doubts stay: what they are about may still arrive, where the service is the same and was emptied.
        connection.exec_driver_sql("DELETE FROM temporis_mirror_batch WHERE doubtful_until IS NULL")
        connection.exec_driver_sql("UPDATE temporis_mirror_batch SET live = 0, sender = NULL, lease_until = NULL")
        connection.exec_driver_sql("UPDATE temporis_mirror_source SET pending = 0")
        connection.exec_driver_sql("UPDATE temporis_data_source SET archived = 0")
        count = 0
        for (source,) in connection.exec_driver_sql("SELECT id FROM temporis_data_source ORDER BY id").all():
            count += _of_source(connection, int(source), now, progress)
        ledger.bind(connection)
        commit(connection)
    return count


def _ensure_idle(connection: sa.Connection, now: float) -> None:
    until = connection.exec_driver_sql(
        "SELECT max(lease_until) FROM temporis_mirror_batch WHERE sender IS NOT NULL AND lease_until > ?", (now,)
    ).scalar()
    if until is not None:
        raise StoreUnusableError(
            "another process is sending from it",
            f"End that process, or, if it is gone already, try again in {until - now:.0f} s.",
            retryable=True,
        )


def _of_source(connection: sa.Connection, source: int, now: float, progress: Progress | None) -> int:
    count = 0
    series = connection.exec_driver_sql("SELECT id FROM temporis_series WHERE data_source = ? ORDER BY id", (source,))
    for (number,) in series.all():
        cursor = driver(connection).cursor()
        cursor.execute("SELECT timestamp, value FROM temporis_observation WHERE series = ?", (number,))
        table = np.fromiter(chain.from_iterable(cursor), dtype=np.float64).reshape(-1, 2)
        timestamps = integers(table[:, 0])
        keys = packed(np.full(len(timestamps), number, dtype=np.int64), timestamps)
        for start in range(0, len(keys), ROWS_PER_BATCH):
            rows = Rows(keys[start : start + ROWS_PER_BATCH], table[start : start + ROWS_PER_BATCH, 1].copy())
            batch = batches.insert(connection, source, rows, live=len(rows), written_at=now)
            last = int(timestamps[start : start + ROWS_PER_BATCH][-1])
            connection.exec_driver_sql(
                "UPDATE temporis_observation SET batch = ? WHERE series = ? AND timestamp BETWEEN ? AND ?",
                (batch, number, int(timestamps[start]), last),
            )
            count += len(rows)
            if progress is not None:
                progress(len(rows))
    return count
