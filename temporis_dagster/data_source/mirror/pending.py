"""Pending: what is still to be delivered, and why; how it is discarded, and how a rebuild makes every row pending.

Comes in: a transaction, or a connection inside one. Goes out: counts, moments, flags.
Never: sends, takes a row from a holder whose lease lasts, or forgets that an attempt had no answer: what was sent may
still arrive, and a later write of its key must know. A rebuild is one transaction: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from itertools import chain
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, rejected
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.file import MirrorFile
from temporis_dagster.data_source.mirror.rows import Rows, packed
from temporis_dagster.data_source.report import Progress
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.sqlite.file import commit, driver
from temporis_dagster.data_source.store.sqlite.read import integers
from temporis_dagster.data_source.target import PendingInfo

ROWS_PER_BATCH = 50_000
"""Rows per batch of a rebuild."""


class Oldest(NamedTuple):
    """The pending rows of a data source at a glance.

    Attributes:
        pending: How many there are.
        first: How many of them are in the oldest batch that may be sent.
    """

    pending: int
    first: int


def count_of_all(connection: sa.Connection) -> int:
    """Return how many rows of all data sources are pending."""
    return int(connection.exec_driver_sql("SELECT coalesce(sum(pending), 0) FROM temporis_mirror_source").scalar_one())


def count(connection: sa.Connection, source: int) -> int:
    """Return how many rows of a data source are pending."""
    sql = "SELECT pending FROM temporis_mirror_source WHERE data_source = ?"
    return int(connection.exec_driver_sql(sql, (source,)).scalar() or 0)


def info(connection: sa.Connection, source: int) -> PendingInfo:
    """Return everything that users want to know about it."""
    error, error_at = connection.exec_driver_sql(
        "SELECT last_error, last_error_at FROM temporis_mirror_source WHERE data_source = ?", (source,)
    ).first() or (None, None)
    written_at = connection.exec_driver_sql(
        "SELECT min(written_at) FROM temporis_mirror_batch WHERE data_source = ? AND live > 0", (source,)
    ).scalar()
    return PendingInfo(
        count(connection, source), _moment(written_at), error, _moment(error_at), rejected.count(connection, source)
    )


def oldest(tx: Transaction) -> Oldest:
    """Return how many rows are pending, and how many of them would be sent first."""
    first = batches.waiting(tx, None, limit=1)
    return Oldest(count(tx.connection, tx.source), first[0][1] if first else 0)


def are_due(tx: Transaction, ids: Iterable[int]) -> bool:
    """Return whether any of these batches could be sent now if no other process were sending its keys."""
    due = "SELECT 1 FROM temporis_mirror_batch WHERE id = ? AND live > 0 AND not_before <= ?"
    return any(tx.connection.exec_driver_sql(due, (number, tx.now)).first() is not None for number in ids)


def seconds_until_due(tx: Transaction) -> float | None:
    """Return how long until anything more may be sent, as far as is known; None if nothing is pending."""
    moment = tx.connection.exec_driver_sql(
        "SELECT min(max(not_before, CASE WHEN sender IS NULL THEN 0 ELSE lease_until END)) FROM temporis_mirror_batch"
        " WHERE data_source = ? AND live > 0",
        (tx.source,),
    ).scalar()
    return None if moment is None else max(float(moment) - tx.now, 0.0)


def note_failure(tx: Transaction, words: str, *, archived: bool) -> None:
    """Remember why a delivery stopped."""
    tx.connection.exec_driver_sql(
        "UPDATE temporis_mirror_source SET last_error = ?, last_error_at = ? WHERE data_source = ?",
        (words, tx.now, tx.source),
    )
    if archived:
        note_archived(tx, archived=True)


def note_success(tx: Transaction) -> None:
    """Remember that something was stored: the last error is over, and the data source takes observations."""
    _forget_error(tx)
    note_archived(tx, archived=False)


def note_archived(tx: Transaction, *, archived: bool) -> None:
    """Remember whether the service said that the data source takes no observations."""
    tx.connection.exec_driver_sql(
        "UPDATE temporis_data_source SET archived = ? WHERE id = ? AND archived <> ?",
        (int(archived), tx.source, int(archived)),
    )


def _forget_error(tx: Transaction) -> None:
    tx.connection.exec_driver_sql(
        "UPDATE temporis_mirror_source SET last_error = NULL, last_error_at = NULL"
        " WHERE data_source = ? AND last_error IS NOT NULL",
        (tx.source,),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


# Discard


def open_batches(connection: sa.Connection, source: int) -> list[int]:
    """Return the batches that have rows to deliver, oldest first."""
    sql = "SELECT id FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 ORDER BY written_at, id"
    return [int(number) for number in connection.exec_driver_sql(sql, (source,)).scalars()]


def discard(tx: Transaction, number: int) -> int:
    """Forget the rows of a batch that are still to be delivered, and return how many; 0 while it is in flight."""
    live = batches.live_if_free(tx, number)
    if live is None:
        return 0
    batch = batches.get(tx, number)
    batches.forget(tx.connection, batch.rows.keys[batches.live_rows(tx.connection, batch, live)])
    batches.close(tx, batch, live)
    if not count(tx.connection, tx.source):
        _forget_error(tx)
    return live


# Rebuild


def rebuild(file: MirrorFile, progress: Progress | None) -> int:
    """Make every row of every data source pending, for a new or an emptied service, and bind the mirror to it.

    Returns:
        How many rows are pending now.

    Raises:
        StoreUnusableError: Another process is sending from the mirror, or there is no mirror.
    """
    with file.unbound_writing() as connection:
        now = file.clock.now(connection)
        _ensure_idle(connection, now)
        batches.close_all(connection)
        connection.exec_driver_sql("UPDATE temporis_data_source SET archived = 0")
        found = connection.exec_driver_sql("SELECT id FROM temporis_data_source ORDER BY id").all()
        rows = sum(_make_pending(Transaction(connection, int(source), now), progress) for (source,) in found)
        file.bind(connection)
        commit(connection)
    return rows


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


def _make_pending(tx: Transaction, progress: Progress | None) -> int:
    """Put all observations of a data source into new batches, and return their number."""
    made = 0
    series = tx.connection.exec_driver_sql(
        "SELECT id FROM temporis_series WHERE data_source = ? ORDER BY id", (tx.source,)
    )
    for (number,) in series.all():
        cursor = driver(tx.connection).cursor()
        cursor.execute("SELECT timestamp, value FROM temporis_observation WHERE series = ?", (number,))
        table = np.fromiter(chain.from_iterable(cursor), dtype=np.float64).reshape(-1, 2)
        timestamps = integers(table[:, 0])
        keys = packed(np.full(len(timestamps), number, dtype=np.int64), timestamps)
        for start in range(0, len(keys), ROWS_PER_BATCH):
            stop = start + ROWS_PER_BATCH
            batch = batches.insert(tx, Rows(keys[start:stop], table[start:stop, 1].copy()))
            tx.connection.exec_driver_sql(
                "UPDATE temporis_observation SET batch = ? WHERE series = ? AND timestamp BETWEEN ? AND ?",
                (batch.id, number, int(timestamps[start]), int(timestamps[start:stop][-1])),
            )
            made += len(batch.rows)
            if progress is not None:
                progress(len(batch.rows))
    return made
