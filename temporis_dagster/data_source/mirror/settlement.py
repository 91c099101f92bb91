"""Settlement: what the answers to a batch mean for its rows.

Comes in: a claimed batch and what became of each of its rows, inside a transaction. Goes out: which rows are settled,
and which batches carry the rest.
Never: believes an answer that came after the lease was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from temporis_dagster.data_source.mirror import batches, rejected
from temporis_dagster.data_source.mirror.batches import Batch, Transaction
from temporis_dagster.data_source.observations.model import Int64s, Mask


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of each row of a batch.

    Attributes:
        acknowledged: Whether the service stored it.
        unanswered: Whether some attempt that carried it had no answer, or an answer that leaves open what was done.
        refusals: What the service said about the rows that it refused, by position.
    """

    acknowledged: Mask
    unanswered: Mask
    refusals: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_nothing(cls, rows: int) -> Verdict:
        """Return the verdict on a batch from which nothing was sent."""
        none = np.zeros(rows, dtype=np.bool_)
        return cls(none, none)


@dataclass(frozen=True, eq=False)
class Settled:
    """What became of a batch.

    Attributes:
        batch: Its id.
        stored: Which rows are stored, for good.
        refusals: The rows that were refused, as in the verdict.
        moved: The places of the rows that other batches carry now, by their ids.
        overtaken: Which rows a newer write took before they were delivered; None if there are none.
        is_final: Whether the batch itself no longer carries anything.
    """

    batch: int
    stored: Mask
    refusals: Mapping[int, str]
    moved: Mapping[int, Int64s]
    overtaken: Mask | None = None
    is_final: bool = True


class Settlement:
    """Settles the batches of one holder in one transaction.

    Args:
        tx: A write transaction.
        holder: Whose batches.
        window_s: How long a late write may take, in seconds.
    """

    def __init__(self, tx: Transaction, holder: int, *, window_s: float) -> None:
        self._tx, self._holder, self._window_s = tx, holder, window_s

    def settle(self, batch: Batch, verdict: Verdict) -> Settled:
        """Settle a batch, or leave it alone if the lease was lost: then it is doubtful on disk, and free for others."""
        tx, count = self._tx, len(batch.rows)
        live = batches.live_if_held(tx, batch, self._holder)
        if live is None:
            return Settled(batch.id, np.zeros(count, dtype=np.bool_), {}, {}, is_final=False)
        if verdict.unanswered.any():
            batches.doubt(tx, batch, verdict.unanswered, self._window_s)
        own = batches.live_rows(tx.connection, batch, live)
        until = np.zeros(count) if batch.at_risk_until is None else batch.at_risk_until
        at_risk = verdict.acknowledged & own & (until > 0)
        refused = np.zeros(count, dtype=np.bool_)
        refused[list(verdict.refusals)] = True
        self._reject(batch, refused & own, verdict)
        left = own & ~verdict.acknowledged & ~refused
        again = batch.as_of(tx.now, float(until[at_risk].max())) if at_risk.any() else 0.0
        moved = dict([self._moved(batch, at_risk, again)] if at_risk.any() else [])
        if left.all():
            batches.release(tx, batch)
            return Settled(batch.id, verdict.acknowledged, {}, {}, is_final=False)
        moved |= dict([self._moved(batch, left, 0.0)] if left.any() else [])
        batches.close(tx, batch, live)
        overtaken = ~own & ~verdict.acknowledged & ~refused
        return Settled(batch.id, verdict.acknowledged & ~at_risk, verdict.refusals, moved, overtaken)

    def _reject(self, batch: Batch, refused: Mask, verdict: Verdict) -> None:
        if refused.any():
            reasons = [verdict.refusals[place] for place in np.flatnonzero(refused).tolist()]
            rejected.keep(self._tx, batch.rows.take(refused), reasons)

    def _moved(self, batch: Batch, mask: Mask, not_before: float) -> tuple[int, Int64s]:
        """Let a new batch carry these rows; return its id and their places."""
        return batches.move(self._tx, batch, mask, not_before).id, np.flatnonzero(mask)
