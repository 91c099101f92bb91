"""Pending: what is still to be delivered, and why; how it is discarded, and how a rebuild makes every row pending.

Comes in: a transaction, or a connection inside one. Goes out: counts, moments, flags.
Never: sends, takes a row from a holder whose lease lasts, or forgets that an attempt had no answer: what was sent may
still arrive, and a later write of its key must know. A rebuild is one transaction: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, rejected
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.file import MirrorFile
from temporis_dagster.data_source.mirror.rows import Rows, packed
from temporis_dagster.data_source.mirror.schema import ACCOUNT
from temporis_dagster.data_source.report import Progress
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.read import FIRST, LAST, Window
from temporis_dagster.data_source.store.sources import run
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
    return int(run(connection, sql, (source,)).scalar() or 0)


def info(connection: sa.Connection, source: int) -> PendingInfo:
    """Return everything that users want to know about it."""
    error, error_at = run(
        connection, "SELECT last_error, last_error_at FROM temporis_mirror_source WHERE data_source = ?", (source,)
    ).first() or (None, None)
    written_at = run(
        connection, "SELECT min(written_at) FROM temporis_mirror_batch WHERE data_source = ? AND live > 0", (source,)
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
    return any(run(tx.connection, due, (number, tx.now)).first() is not None for number in ids)


def seconds_until_due(tx: Transaction) -> float | None:
    """Return how long until anything more may be sent, as far as is known; None if nothing is pending."""
    moment = run(
        tx.connection,
        "SELECT min(CASE WHEN sender IS NOT NULL AND lease_until > not_before THEN lease_until ELSE not_before END)"
        " FROM temporis_mirror_batch WHERE data_source = ? AND live > 0",
        (tx.source,),
    ).scalar()
    return None if moment is None else max(float(moment) - tx.now, 0.0)


def note_failure(tx: Transaction, words: str, *, archived: bool) -> None:
    """Remember why a delivery stopped."""
    run(
        tx.connection,
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
    run(
        tx.connection,
        "UPDATE temporis_data_source SET archived = ? WHERE id = ? AND archived <> ?",
        (archived, tx.source, archived),
    )


def _forget_error(tx: Transaction) -> None:
    run(
        tx.connection,
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
    return [int(number) for number in run(connection, sql, (source,)).scalars()]


def discard(tx: Transaction, number: int) -> int:
    """Forget the rows of a batch that are still to be delivered, and return how many; 0 while it is in flight."""
    live = batches.live_if_free(tx, number)
    if live is None:
        return 0
    batch = batches.get(tx, number)
    live_keys = batch.rows.keys[batches.live_rows(tx.connection, batch, live)]
    statements_of(tx.connection).forget(tx.connection, live_keys)
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

    def make_pending(connection: sa.Connection) -> int:
        now = file.clock.now(connection)
        batches.bound_moments(connection, now)
        _ensure_idle(connection, now)
        batches.close_all(connection)
        known = [sources.find(connection, ACCOUNT, name) for name in sources.names(connection, ACCOUNT)]
        for source in known:
            sources.set_archived(connection, source, archived=False)
        rows = sum(_make_pending(Transaction(connection, source.id, now), progress) for source in known)
        file.bind(connection)
        return rows

    return file.write_unbound(make_pending)


def _ensure_idle(connection: sa.Connection, now: float) -> None:
    until = run(
        connection,
        "SELECT max(lease_until) FROM temporis_mirror_batch WHERE sender IS NOT NULL AND lease_until > ?",
        (now,),
    ).scalar()
    if until is not None:
        raise StoreUnusableError(
            "another process is sending from it",
            f"End that process, or, if it is gone already, try again in {until - now:.0f} s.",
            retryable=True,
        )


def _make_pending(tx: Transaction, progress: Progress | None) -> int:
    """Put all observations of a data source into new batches, and return their number."""
    statements, made = statements_of(tx.connection), 0
    found = run(tx.connection, "SELECT id FROM temporis_series WHERE data_source = ? ORDER BY id", (tx.source,))
    for number in [int(number) for number in found.scalars()]:
        for series in statements.series_rows(tx.connection, {"": number}, Window(FIRST, LAST)):
            timestamps = series.timestamps
            keys = packed(np.full(len(timestamps), number, dtype=np.int64), timestamps)
            for start in range(0, len(keys), ROWS_PER_BATCH):
                stop = start + ROWS_PER_BATCH
                batch = batches.insert(tx, Rows(keys[start:stop], series.values[start:stop]))
                run(
                    tx.connection,
                    "UPDATE temporis_observation SET batch = ? WHERE series = ? AND timestamp BETWEEN ? AND ?",
                    (batch.id, number, int(timestamps[start]), int(timestamps[start:stop][-1])),
                )
                made += len(batch.rows)
                if progress is not None:
                    progress(len(batch.rows))
    return made
