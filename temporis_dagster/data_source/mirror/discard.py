"""Discard: forget what is pending, because somebody said so.

Comes in: a connection inside a transaction. Goes out: how many rows are gone.
Never: takes a row from a sender whose lease lasts, or forgets that an attempt had no answer: what was sent may still
arrive, and a later write of its key must know.
"""

from __future__ import annotations

import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, pending


def live_batches(connection: sa.Connection, source: int) -> list[int]:
    """The batches with anything left to deliver, oldest first."""
    sql = "SELECT id FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 ORDER BY written_at, id"
    return [int(number) for number in connection.exec_driver_sql(sql, (source,)).scalars()]


def discard(connection: sa.Connection, source: int, number: int, now: float) -> int:
    """Forget the rows of a batch that are still to be delivered; how many. None while it is in flight."""
    live = connection.exec_driver_sql(
        "SELECT live FROM temporis_mirror_batch WHERE id = ? AND live > 0 AND (sender IS NULL OR lease_until <= ?)",
        (number, now),
    ).scalar()
    if live is None:
        return 0
    batch = batches.get(connection, number, now)
    batches.forget(connection, batch.rows.keys[batches.live_rows(connection, batch, int(live))])
    batches.close(connection, source, batch, int(live), now)
    if not pending.pending(connection, source):
        pending.forget_error(connection, source)
    return int(live)
