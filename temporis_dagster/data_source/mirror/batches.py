"""Batches: what one transaction wrote and is delivered as one. No other module changes the state of a batch.

Comes in: a transaction. Goes out: batches, and what is known of them.
Never: commits, sends, or changes what a batch carries.

The states of a batch. All of them are comparisons of a row of ``temporis_mirror_batch`` with the database's clock::

                       lease                    close
    insert ──> WAITING ──────────> IN FLIGHT ──────────> CLOSED ──> gone
    move         │  ^                  │                   ^  purge, or at once where nothing is doubtful
                 │  └──────────────────┘                   │
                 │   release, or the lease ends by itself  │
                 └─────────────────────────────────────────┘
                   overwrite (by newer writes), close (moved, discarded), close_all (rebuild)

    WAITING     live > 0 and no lease that lasts; it may be sent from ``not_before`` on
    IN FLIGHT   ``lease_until`` is in the future; with live = 0 (all overwritten), what follows is CLOSED
    CLOSED      live = 0 and no lease that lasts; kept only while it is doubtful
    DOUBTFUL    besides one of these: ``doubtful_until`` is in the future

Who takes which step, and what becomes of the doubt:

    insert         ``write`` for an upsert; ``Mirror.retry_rejected``; ``rebuild``. No doubt.
    move           ``relay`` (rows of a batch that was partly overwritten) and ``settlement`` (rows that were not
                   stored, or must be sent again): a new batch carries some rows, the old one is closed. No doubt.
    doubt          ``settlement``: a closed copy of the rows that some attempt left open, doubtful for the window.
    lease, renew   ``lease``: doubtful until the end of the lease plus the window.
    release        ``settlement``: nothing came of it. The doubt is again what it was before the lease.
    close          ``settlement``, ``relay`` after a move, ``pending`` for a discard. The doubt from before the lease
                   stays.
    overwrite      ``write``: newer writes took some keys; the doubt stays. Only ``live`` falls: a batch without a live
                   row is CLOSED, unless it is in flight.
    close_all      ``pending``, for a rebuild; the doubts stay.
    purge          ``relay``, before each claim.
    bound_moments  ``file``, at the start of each write transaction, for the batches of its data source (all of them for
                   a rebuild): corrects a clock that was ahead; no other change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.rows import Risk, Rows
from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask
from temporis_dagster.data_source.store.sources import run

IDS_PER_STATEMENT = 499
"""How many batches one statement asks about, at most."""


class Transaction(NamedTuple):
    """One transaction on a mirror, about one data source.

    Attributes:
        connection: The connection; inside a write transaction wherever anything is changed.
        source: The id of the data source.
        now: Unix seconds by the database's clock, when the transaction began.
    """

    connection: sa.Connection
    source: int
    now: float


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch as it was when it was claimed.

    Attributes:
        id: The sequence number of its writes.
        rows: What it carries.
        written_at: When its rows came into the mirror, in Unix seconds.
        read_at: When the batch was read.
        doubtful_until: Until when earlier attempts may still be applied; None for no doubt.
        at_risk_until: For each row, until when a different value may still arrive, or 0; None where none can.
    """

    id: int
    rows: Rows
    written_at: float
    read_at: float
    doubtful_until: float | None = None
    at_risk_until: Floats | None = None

    def as_of(self, now: float, moment: float) -> float:
        """Return a moment that was known when the batch was read, on a clock that may have been set back since."""
        return min(moment, now + max(moment - self.read_at, 0.0))

    def doubt_as_of(self, now: float) -> float | None:
        """Return until when earlier attempts may still be applied, as of now."""
        return None if self.doubtful_until is None else self.as_of(now, self.doubtful_until)


# The steps: every change of a batch's state.


def insert(tx: Transaction, rows: Rows) -> Batch:
    """Keep a new batch of rows that were written just now, all of them to be delivered."""
    return Batch(_insert(tx, rows, live=len(rows), written_at=tx.now), rows, tx.now, tx.now)


def move(tx: Transaction, batch: Batch, mask: Mask, not_before: float = 0.0) -> Batch:
    """Let a new batch carry some live rows of a batch, which the caller then closes.

    Args:
        tx: A write transaction.
        batch: The batch that carries them now.
        mask: Which of its rows.
        not_before: When they may be sent; 0 for at once.
    """
    rows = batch.rows.take(mask)
    stamped_at = tx.now if not_before else None
    number = _insert(
        tx, rows, live=len(rows), written_at=batch.written_at, not_before=not_before, stamped_at=stamped_at
    )
    statements_of(tx.connection).carry(tx.connection, rows.keys, number)
    return Batch(number, rows, batch.written_at, tx.now)


def doubt(tx: Transaction, batch: Batch, mask: Mask, window_s: float) -> None:
    """Remember, in a closed copy, that these rows of a batch may still be applied for as long as the window lasts."""
    until = tx.now + window_s
    _insert(tx, batch.rows.take(mask), live=0, written_at=batch.written_at, doubtful_until=until, stamped_at=tx.now)


def _insert(  # a batch has that many properties
    tx: Transaction,
    rows: Rows,
    *,
    live: int,
    written_at: float,
    not_before: float = 0.0,
    doubtful_until: float | None = None,
    stamped_at: float | None = None,
) -> int:
    """Keep a new batch and return its id. ``stamped_at`` is now where one of the moments is given."""
    number = statements_of(tx.connection).new_id(
        tx.connection,
        "INSERT INTO temporis_mirror_batch (data_source, live, written_at, not_before, doubtful_until, stamped_at,"
        " first_key, last_key, first_time, last_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (tx.source, live, written_at, not_before, doubtful_until, stamped_at, *rows.extent()),
    )
    carried = "INSERT INTO temporis_mirror_rows (batch, keys, vals) VALUES (?, ?, ?)"
    run(tx.connection, carried, (number, *rows.to_bytes()))
    _count_pending(tx, live)
    return number


def lease(tx: Transaction, ids: Sequence[int], *, holder: int, until: float, doubtful_until: float, now: float) -> None:
    """Give these batches, none of which is in flight, to a holder.

    Args:
        tx: A write transaction.
        ids: Which batches.
        holder: Who may send them, in the column ``sender``.
        until: When the lease ends.
        doubtful_until: Until when a request that is sent under the lease may still be applied.
        now: What time it is, read after the holder's own clock.
    """
    for number in ids:
        run(
            tx.connection,
            "UPDATE temporis_mirror_batch SET sender = ?, lease_until = ?, doubtful_until = ?, stamped_at = ?"
            " WHERE id = ?",
            (holder, until, doubtful_until, now, number),
        )


def renew(tx: Transaction, *, holder: int, until: float, doubtful_until: float) -> int:
    """Extend all leases of a holder that have not ended, and return their number."""
    return run(
        tx.connection,
        "UPDATE temporis_mirror_batch SET lease_until = ?, doubtful_until = ?, stamped_at = ?"
        " WHERE data_source = ? AND doubtful_until > ? AND sender = ? AND lease_until > ?",
        (until, doubtful_until, tx.now, tx.source, tx.now, holder, tx.now),
    ).rowcount


def release(tx: Transaction, batch: Batch) -> None:
    """Return a batch to waiting, as before it was claimed: nothing came of it."""
    run(
        tx.connection,
        "UPDATE temporis_mirror_batch SET sender = NULL, lease_until = NULL, doubtful_until = ? WHERE id = ?",
        (batch.doubt_as_of(tx.now), batch.id),
    )


def close(tx: Transaction, batch: Batch, live: int) -> None:
    """Note that a batch has nothing left to deliver. It stays only while it is doubtful.

    Args:
        tx: A write transaction.
        batch: The batch.
        live: How many of its rows were to be delivered until now.
    """
    _count_pending(tx, -live)
    until = batch.doubt_as_of(tx.now)
    if until is not None and until > tx.now:
        run(
            tx.connection,
            "UPDATE temporis_mirror_batch SET live = 0, sender = NULL, lease_until = NULL, doubtful_until = ?"
            " WHERE id = ?",
            (until, batch.id),
        )
    else:
        run(tx.connection, "DELETE FROM temporis_mirror_batch WHERE id = ?", (batch.id,))


def overwrite(tx: Transaction, batches: Int64s) -> None:
    """Note that newer writes took keys of these batches, one key per mention of a batch."""
    ids, counts = np.unique(batches, return_counts=True)
    taken = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    for number in open_ones(tx.connection, list(taken)):
        run(tx.connection, "UPDATE temporis_mirror_batch SET live = live - ? WHERE id = ?", (taken[number], number))
        # A batch that was never sent and has no row left is of no more use.
        run(
            tx.connection,
            "DELETE FROM temporis_mirror_batch WHERE id = ? AND live = 0 AND doubtful_until IS NULL",
            (number,),
        )
        _count_pending(tx, -taken[number])


def purge(tx: Transaction) -> None:
    """Delete the closed batches that are no longer doubtful."""
    run(
        tx.connection,
        "DELETE FROM temporis_mirror_batch WHERE data_source = ? AND doubtful_until <= ? AND live = 0",
        (tx.source, tx.now),
    )


def close_all(connection: sa.Connection) -> None:
    """Close the batches of all data sources, for a rebuild.

    The doubts stay: what they are about may still arrive where the service is the same one, emptied.
    """
    connection.exec_driver_sql("DELETE FROM temporis_mirror_batch WHERE doubtful_until IS NULL")
    connection.exec_driver_sql("UPDATE temporis_mirror_batch SET live = 0, sender = NULL, lease_until = NULL")
    connection.exec_driver_sql("UPDATE temporis_mirror_source SET pending = 0")


def bound_moments(connection: sa.Connection, now: float, source: int | None = None) -> None:
    """Undo the effects of a clock that was ahead and is right again, so that nothing waits for that future.

    A moment that was set at ``stamped_at`` lies at most a lease and the window after it. Where ``stamped_at`` is in the
    future, the clock has been set back since, by at least the difference: all moments of the batch come forward by it.
    None becomes shorter than it was meant to be, because time has passed since.

    Args:
        connection: A connection in a write transaction.
        now: What time it is.
        source: The data source whose batches these are, which is locked; None for all, if the whole mirror is.
    """
    among = "" if source is None else " AND data_source = ?"
    run(
        connection,
        "UPDATE temporis_mirror_batch SET lease_until = lease_until - (stamped_at - ?),"  # noqa: S608  # no data in it
        " doubtful_until = doubtful_until - (stamped_at - ?),"
        " not_before = CASE WHEN not_before > 0 THEN not_before - (stamped_at - ?) ELSE 0 END,"
        " written_at = CASE WHEN written_at > ? THEN ? ELSE written_at END,"
        f" stamped_at = ? WHERE stamped_at > ?{among}",
        (*[now] * 7, *([] if source is None else [source])),
    )


def _count_pending(tx: Transaction, more: int) -> None:
    """Add this number, which may be negative, to the count of pending rows."""
    if more:
        run(
            tx.connection,
            "INSERT INTO temporis_mirror_source (data_source, pending) VALUES (?, ?)"
            " ON CONFLICT (data_source) DO UPDATE SET pending = temporis_mirror_source.pending + excluded.pending",
            (tx.source, more),
        )


# What is known of batches.


def get(tx: Transaction, number: int) -> Batch:
    """Return a batch with what it carries."""
    written_at, until, keys, values = run(
        tx.connection,
        "SELECT written_at, doubtful_until, keys, vals FROM temporis_mirror_batch"
        " JOIN temporis_mirror_rows ON batch = id WHERE id = ?",
        (number,),
    ).one()
    return Batch(number, Rows.from_bytes(keys, values), written_at, tx.now, until)


def live_rows(connection: sa.Connection, batch: Batch, live: int) -> Mask:
    """Return which rows of a batch are still its own: no newer write has taken their key.

    Args:
        connection: A connection.
        batch: The batch.
        live: How many of its rows are live.
    """
    count = len(batch.rows)
    if live == count:
        return np.ones(count, dtype=np.bool_)
    mask = np.zeros(count, dtype=np.bool_)
    if live:
        known = statements_of(connection).present(connection, batch.rows.keys)
        mask[known.found[known.batches == batch.id]] = True
    return mask


def live_if_held(tx: Transaction, batch: Batch, holder: int) -> int | None:
    """Return how many rows of a batch are live; None if the holder has lost the lease on it."""
    live = run(
        tx.connection,
        "SELECT live FROM temporis_mirror_batch WHERE id = ? AND sender = ? AND lease_until > ?",
        (batch.id, holder, tx.now),
    ).scalar()
    return None if live is None else int(live)


def live_if_free(tx: Transaction, number: int) -> int | None:
    """Return how many rows of a batch are live; None if there are none, or if the batch is in flight."""
    live = run(
        tx.connection,
        "SELECT live FROM temporis_mirror_batch WHERE id = ? AND live > 0 AND (sender IS NULL OR lease_until <= ?)",
        (number, tx.now),
    ).scalar()
    return None if live is None else int(live)


def open_ones(connection: sa.Connection, ids: Sequence[int]) -> list[int]:
    """Return those of these batches that still have rows to deliver."""
    found: list[int] = []
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        block = tuple(ids[start : start + IDS_PER_STATEMENT])
        sql = f"SELECT id FROM temporis_mirror_batch WHERE live > 0 AND id IN ({','.join('?' * len(block))})"  # noqa: S608
        found += run(connection, sql, block).scalars()
    return found


def has_others(tx: Transaction, own: set[int]) -> bool:
    """Return whether any batch other than these waits or is in flight."""
    sql = "SELECT id FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 LIMIT ?"
    return bool(set(run(tx.connection, sql, (tx.source, len(own) + 1)).scalars()) - own)


def waiting(tx: Transaction, wanted: Iterable[int] | None, *, limit: int) -> list[tuple[int, int]]:
    """Return the oldest batches that may be sent now: their ids, and how many live rows each has.

    Args:
        tx: A transaction.
        wanted: Which batches; None for all.
        limit: The maximum number of batches.
    """
    ids: tuple[int, ...] = ()
    among = ""
    if wanted is not None:
        ids = tuple(sorted(wanted)[:limit])
        if not ids:
            return []
        among = f" AND id IN ({','.join('?' * len(ids))})"
    found = run(
        tx.connection,
        "SELECT id, live FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 AND not_before <= ?"  # noqa: S608
        f" AND (sender IS NULL OR lease_until <= ?){among} ORDER BY written_at, id LIMIT ?",
        (tx.source, tx.now, tx.now, *ids, limit),
    )
    return [(int(number), int(live)) for number, live in found]


def in_flight(tx: Transaction) -> Int64s:
    """Return the keys that any process is sending right now, ascending."""
    found = run(
        tx.connection,
        "SELECT keys, vals FROM temporis_mirror_batch JOIN temporis_mirror_rows ON batch = id"
        " WHERE data_source = ? AND doubtful_until > ? AND sender IS NOT NULL AND lease_until > ?",
        (tx.source, tx.now, tx.now),
    )
    keys = [Rows.from_bytes(keys, values).keys for keys, values in found]
    return np.sort(np.concatenate(keys)) if keys else np.empty(0, dtype=np.int64)


def risk(tx: Transaction, rows: Rows) -> Floats:
    """Return until when a different value may still arrive for each row; 0 where none can.

    Only batches whose keys and times meet those of the rows are looked at, once for all rows: what a claim costs does
    not grow with a doubtful backlog that is elsewhere.
    """
    first_key, last_key, first_time, last_time = rows.extent()
    found = run(
        tx.connection,
        "SELECT doubtful_until, keys, vals FROM temporis_mirror_batch JOIN temporis_mirror_rows ON batch = id"
        " WHERE data_source = ? AND doubtful_until > ?"
        " AND last_key >= ? AND first_key <= ? AND last_time >= ? AND first_time <= ?",
        (tx.source, tx.now, first_key, last_key, first_time, last_time),
    )
    at_risk: Risk | None = None
    count = len(rows)
    for until, keys, values in found if count else ():
        at_risk = at_risk or Risk(rows)
        at_risk.add(Rows.from_bytes(keys, values), until)
    return np.zeros(count) if at_risk is None else at_risk.until


def with_risks(tx: Transaction, group: Sequence[Batch]) -> list[Batch]:
    """Return these batches, at least one and no two of which share a key, with what is at risk in each.

    This is asked when they are claimed, not when they are settled: a doubt may end, and the value arrive, while they
    are under way.
    """
    keys, values = ([getattr(batch.rows, name) for batch in group] for name in ("keys", "values"))
    until = risk(tx, Rows(np.concatenate(keys), np.concatenate(values)))
    stops = np.cumsum([len(batch.rows) for batch in group])
    parts = np.split(until, stops[:-1])
    return [
        replace(batch, at_risk_until=part if part.any() else None) for batch, part in zip(group, parts, strict=True)
    ]
