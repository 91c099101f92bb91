"""Settle: what the answers to a batch mean for its rows.

Comes in: a claimed batch and what became of each of its rows, inside a transaction. Goes out: which rows are done,
and the batches that carry the rest.
Never: believes an answer that came after the lease was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, rejected
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.observations.model import Int64s, Mask


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of each row of a batch.

    Attributes:
        acknowledged: The service stored it.
        unanswered: Some attempt that carried it had no answer, or one that leaves open what was done.
        refusals: What the service said of the rows that it refused, by their place.
    """

    acknowledged: Mask
    unanswered: Mask
    refusals: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Settled:
    """What a batch came to.

    Attributes:
        batch: Its id.
        stored: The rows that are done with.
        refusals: Those that were refused, as in the verdict.
        moved: The places of the rows that other batches carry now, by their ids.
        overtaken: The rows that a newer write took before they were delivered; None for none.
        is_final: Whether the batch itself is done with.
    """

    batch: int
    stored: Mask
    refusals: Mapping[int, str]
    moved: Mapping[int, Int64s]
    overtaken: Mask | None = None
    is_final: bool = True


class Settlement:
    """Settles the batches of one sender in one transaction.

    Args:
        connection: A connection that holds the write lock.
        source: The data source's id.
        sender: Whose batches.
        now: What time it is.
        window_s: How long a late write may take.
    """

    def __init__(self, connection: sa.Connection, source: int, sender: int, *, now: float, window_s: float) -> None:
        self._connection, self._source, self._sender = connection, source, sender
        self._now, self._window_s = now, window_s

    def settle(self, batch: Batch, verdict: Verdict) -> Settled:
        """Settle a batch: nothing where the lease was lost, for then it is doubtful on disk and somebody else's."""
        count = len(batch.rows)
        live = self._live(batch)
        if live is None:
            return Settled(batch.id, np.zeros(count, dtype=np.bool_), {}, {}, is_final=False)
        self._doubt(batch, verdict.unanswered)
        own = batches.live_rows(self._connection, batch, live)
        until = np.zeros(count) if batch.at_risk_until is None else batch.at_risk_until
        at_risk = verdict.acknowledged & own & (until > 0)
        refused = np.zeros(count, dtype=np.bool_)
        refused[list(verdict.refusals)] = True
        self._reject(batch, refused & own, verdict)
        left = own & ~verdict.acknowledged & ~refused
        again = batch.as_of(self._now, float(until[at_risk].max())) if at_risk.any() else 0.0
        moved = dict([self._move(batch, at_risk, again)] if at_risk.any() else [])
        if left.all():
            self._release(batch)
            return Settled(batch.id, verdict.acknowledged, {}, {}, is_final=False)
        moved |= dict([self._move(batch, left, 0.0)] if left.any() else [])
        batches.close(self._connection, self._source, batch, live, self._now)
        overtaken = ~own & ~verdict.acknowledged & ~refused
        return Settled(batch.id, verdict.acknowledged & ~at_risk, verdict.refusals, moved, overtaken)

    def _live(self, batch: Batch) -> int | None:
        """How many of its rows are live; None if the lease is lost."""
        live = self._connection.exec_driver_sql(
            "SELECT live FROM temporis_mirror_batch WHERE id = ? AND sender = ? AND lease_until > ?",
            (batch.id, self._sender, self._now),
        ).scalar()
        return None if live is None else int(live)

    def _doubt(self, batch: Batch, unanswered: Mask) -> None:
        if unanswered.any():
            batches.insert(
                self._connection,
                self._source,
                batch.rows.take(unanswered),
                live=0,
                written_at=batch.written_at,
                doubtful_until=self._now + self._window_s,
                stamped_at=self._now,
            )

    def _reject(self, batch: Batch, refused: Mask, verdict: Verdict) -> None:
        if refused.any():
            reasons = [verdict.refusals[place] for place in np.flatnonzero(refused).tolist()]
            rejected.keep(self._connection, batch.rows.take(refused), reasons, self._now)

    def _move(self, batch: Batch, mask: Mask, not_before: float) -> tuple[int, Int64s]:
        """Let a new batch carry these rows; its id and their places."""
        rows, places = batch.rows.take(mask), np.flatnonzero(mask)
        number = batches.insert(
            self._connection,
            self._source,
            rows,
            live=len(rows),
            written_at=batch.written_at,
            not_before=not_before,
            stamped_at=self._now if not_before else None,
        )
        batches.carry(self._connection, rows.keys, number)
        return number, places

    def _release(self, batch: Batch) -> None:
        """Nothing became of it: it waits as before."""
        self._connection.exec_driver_sql(
            "UPDATE temporis_mirror_batch SET sender = NULL, lease_until = NULL, doubtful_until = ? WHERE id = ?",
            (batch.doubt_as_of(self._now), batch.id),
        )
