"""Courier: takes waiting batches, group by group: claims them, has them sent, settles them.

Comes in: which batches to take. Goes out: what became of each group, as it is settled; why it stopped early.
Never: sends what is not claimed, durably, or what another sender may be sending; waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import sqlalchemy as sa

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.attempts import Reply
from temporis_dagster.data_source.client import Answer
from temporis_dagster.data_source.encoding import Batch as Body
from temporis_dagster.data_source.mirror import backlog, batches
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.mirror.lease import KnownSource, Lease, LeaseLostError
from temporis_dagster.data_source.mirror.ledger import Ledger
from temporis_dagster.data_source.mirror.rows import Rows, observations
from temporis_dagster.data_source.mirror.settle import Settled, Settlement, Verdict
from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.remote import Remote
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store.sqlite import FileId, commit

GROUP_ROWS = 200_000
"""About so many rows are claimed at once."""

GROUP_BATCHES = 500


class Load(Protocol):
    """Which batches a delivery takes, and who hears what became of them."""

    def ids(self) -> Iterable[int] | None:
        """Which batches; None for the oldest of all."""
        ...

    def room(self) -> int:
        """How many rows may be taken now."""
        ...

    def taken(self, rows: int) -> None:
        """So many rows are being sent."""
        ...

    def settled(self, settled: list[Settled]) -> None:
        """What became of batches; it is durable."""
        ...


@dataclass
class Round:
    """What a delivery did.

    Attributes:
        refusal: Why it stopped early; None if it did not.
        requests: Requests made.
        retries: How many of those repeated an earlier one.
        bytes_sent: Size of the bodies.
    """

    refusal: Reply | None = None
    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0

    def add(self, tally: Tally) -> None:
        """Count the requests of a group."""
        self.requests += tally.requests
        self.retries += tally.retries
        self.bytes_sent += tally.bytes_sent


class Courier:
    """One delivery.

    Args:
        ledger: The mirror's file.
        remote: Where to.
        source: Of which data source.
        load: Which batches.
        window_s: For how long a late write may come.
    """

    def __init__(self, ledger: Ledger, remote: Remote, source: KnownSource, load: Load, *, window_s: float) -> None:
        self._ledger, self._remote, self._clock = ledger, remote, ledger.clock
        self.source, self._load, self._window_s = source, load, window_s
        self._lease = Lease(ledger, remote, source, window_s=window_s)
        self._names: dict[int, str] = {}
        self._moved: list[Settled] = []

    @property
    def file(self) -> FileId:
        """The file that the mirror must still be."""
        return self.source.file

    def deliver(self, first: list[Batch] | None = None) -> Round:
        """Deliver until nothing of the load can be claimed, or the service stops it.

        Args:
            first: A group that was claimed, with ``claim``, in a transaction that is committed.
        """
        made = Round()
        if first is not None:
            self._load.settled(self._moved)
        group = self._next([], [], self._load.ids()) if first is None else first
        while group:
            self._load.taken(sum(len(batch.rows) for batch in group))
            tally = Tally(self.source.name, self._observations(group))
            watch = Watch(self._lease, len(tally.observations))
            try:
                made.refusal = self._remote.deliver(tally, watcher=watch)
            except LeaseLostError:
                pass
            except BaseException:
                self._next(group, _verdicts(group, tally, watch), [])
                raise
            finally:
                made.add(tally)
            group = self._next(group, _verdicts(group, tally, watch), [] if made.refusal else self._load.ids())
        return made

    def claim(self, connection: sa.Connection, wanted: Iterable[int] | None, now: float) -> list[Batch]:
        """Take a lease on the oldest of these batches that may be sent now, up to a group of them."""
        batches.purge(connection, self.source.id, now)
        flying = batches.in_flight(connection, self.source.id, now)
        group: list[Batch] = []
        room = self._load.room()
        for number, live in batches.waiting(connection, self.source.id, wanted, now, limit=GROUP_BATCHES):
            if live > room or (group and live > GROUP_ROWS - sum(len(batch.rows) for batch in group)):
                break
            batch = self._ready(connection, number, live, now, flying)
            if batch is not None:
                # Asked now, not when it is settled: a doubt may end, and the value arrive, while this one is under way.
                risk = batches.risk(connection, self.source.id, batch.rows, now, but=batch.id)
                group.append(replace(batch, at_risk_until=risk if risk.any() else None))
                room -= live
        self._lease.take(connection, [batch.id for batch in group])
        self._learn_names(connection, group)
        return group

    def _next(self, group: list[Batch], verdicts: list[Verdict], wanted: Iterable[int] | None) -> list[Batch]:
        """Settle a group and claim the next one, in one transaction."""
        self._moved.clear()
        with self._ledger.writing(same_file=self.source.file) as connection:
            now = self._clock.now(connection)
            settlement = Settlement(connection, self.source.id, self._lease.sender, now=now, window_s=self._window_s)
            settled = [settlement.settle(batch, verdict) for batch, verdict in zip(group, verdicts, strict=True)]
            if any(one.stored.any() for one in settled):
                backlog.delivered(connection, self.source.id)
            following = [] if wanted is not None and not wanted else self.claim(connection, wanted, now)
            commit(connection)
        self._load.settled(settled + self._moved)
        return following

    def _ready(self, connection: sa.Connection, number: int, live: int, now: float, flying: list[Rows]) -> Batch | None:
        """The batch, without the rows that were overwritten; None while a key of it is in flight."""
        batch = batches.get(connection, number)
        mask = batches.live_rows(connection, batch, live)
        rows = batch.rows if mask.all() else batch.rows.take(mask)
        if any(other.shares_a_key_with(rows.keys) for other in flying):
            return None
        if rows is batch.rows:
            return batch
        moved = batches.insert(connection, self.source.id, rows, live=len(rows), written_at=batch.written_at)
        batches.carry(connection, rows.keys, moved)
        batches.close(connection, self.source.id, batch, live, now)
        self._moved.append(Settled(number, np.zeros(len(mask), dtype=np.bool_), {}, {moved: np.flatnonzero(mask)}))
        return Batch(moved, rows, batch.written_at)

    def _learn_names(self, connection: sa.Connection, group: list[Batch]) -> None:
        for batch in group:
            unknown = [number for number in batch.rows.series_ids() if number not in self._names]
            self._names |= batches.names_of(connection, unknown)

    def _observations(self, group: list[Batch]) -> Observations:
        keys = np.concatenate([batch.rows.keys for batch in group])
        return observations(Rows(keys, np.concatenate([batch.rows.values for batch in group])), self._names)


class Watch:
    """Looks at the lease before every attempt, and notes what had no answer. A ``Watcher``.

    Args:
        lease: The lease of the rows.
        rows: How many rows are being sent.
    """

    def __init__(self, lease: Lease, rows: int) -> None:
        self._lease = lease
        self.unanswered = np.zeros(rows, dtype=np.bool_)

    def before_attempt(self, batch: Body) -> None:
        """See that the lease lasts for the whole attempt."""
        self._lease.ensure(len(batch.body))

    def after_attempt(self, batch: Body, answer: Answer) -> None:
        """Note an attempt that may still be applied."""
        if answer.maybe_applied and answer.meaning is not Meaning.STORED:
            self.unanswered[batch.rows] = True
        if answer.meaning is not Meaning.STORED:
            # A wait may follow, and whoever loses the lease in it has to begin anew.
            self._lease.ensure(len(batch.body))


def _verdicts(group: list[Batch], tally: Tally, watch: Watch) -> list[Verdict]:
    # A row that is still unknown was under way when the delivery was interrupted.
    acknowledged = tally.settled_as(Outcome.ACKNOWLEDGED)
    unanswered = watch.unanswered | tally.settled_as(Outcome.UNKNOWN)
    verdicts, start = [], 0
    for batch in group:
        rows = slice(start, start + len(batch.rows))
        refusals = {
            place - start: words for place, words in tally.rejections.items() if rows.start <= place < rows.stop
        }
        verdicts.append(Verdict(acknowledged[rows], unanswered[rows], refusals))
        start = rows.stop
    return verdicts
