"""Courier: takes waiting batches, group by group: claims them, has them sent, settles them.

Comes in: which batches to take. Goes out: what became of each group, as it is settled; why it stopped early.
Never: sends what is not claimed, durably, or what another sender may be sending; waits.

Interrupted at any moment, it holds on to exactly what may still be applied. ``_held`` names a batch from before its
claim is committed until after its settlement is, so nothing that is leased is forgotten; settling what is not leased
(the commit did not happen, or already did) changes nothing, for a settlement asks whether this sender has the lease.
``let_go`` first ends the lease for new attempts, then looks at what is under way, and settles only the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches, pending
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.mirror.file import Ledger, ReplacedError
from temporis_dagster.data_source.mirror.interrupted import Interrupted
from temporis_dagster.data_source.mirror.lease import KnownSource, Lease, LeaseLostError
from temporis_dagster.data_source.mirror.rows import Rows, observations
from temporis_dagster.data_source.mirror.schema import WrongTargetError
from temporis_dagster.data_source.mirror.sending import Sending, Watch, nothing
from temporis_dagster.data_source.mirror.settlement import Settled, Settlement
from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store.sqlite import FileId, commit

LOGGER = logging.getLogger(__name__)

LET_GO_S = 2.0
"""How long an interrupted delivery waits for the write lock before it leaves its leases to end by themselves."""

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

    def tell_nobody(self) -> None:
        """No progress is told any more: the delivery was interrupted."""
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
        interrupted: Who settles later what is still under way when this is interrupted.
        window_s: For how long a late write may come.
    """

    def __init__(  # its parts
        self,
        ledger: Ledger,
        remote: HttpTarget,
        source: KnownSource,
        load: Load,
        interrupted: Interrupted,
        *,
        window_s: float,
    ) -> None:
        self._ledger, self._remote, self._clock = ledger, remote, ledger.clock
        self.source, self._load, self._window_s = source, load, window_s
        self._interrupted = interrupted
        self._lease = Lease(ledger, remote, source, window_s=window_s)
        self._names: dict[int, str] = {}
        self._held: list[Batch] = []
        self._news: list[Settled] = []
        self._moved: list[Settled] = []
        self._sending: Sending | None = None

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
        try:
            self._tell()
            group = self._next([], self._load.ids()) if first is None else first
            while group:
                self._load.taken(sum(len(batch.rows) for batch in group))
                self._send(group, made)
                group = self._next(group, [] if made.refusal else self._load.ids())
        except BaseException:
            self.let_go()
            raise
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
                group.append(batch)
                room -= live
        group = batches.with_risks(connection, self.source.id, group, now)
        # Before the lease is taken: whoever is interrupted from here on lets go of them, if it was committed.
        self._held = [*self._held, *group]
        self._lease.take(connection, [batch.id for batch in group])
        self._learn_names(connection, group)
        return group

    def claimed(self) -> None:
        """The transaction of a ``claim`` is durable."""
        self._news, self._moved = [*self._news, *self._moved], []

    def let_go(self) -> None:
        """After an interruption or a failure: settle what is over, and end the leases of what is not under way.

        What is under way keeps its lease, as its request may still be applied. It is settled by a later operation of
        this process, once it is over; without one, the lease ends by itself, and leaves a doubt until the window does.
        """
        if not self._held:
            return
        done = False
        try:
            self._load.tell_nobody()
            self._lease.end()
            done = self._settle_over(wait_s=LET_GO_S)
        except Exception:  # the error that led here is what is raised; the leases end by themselves
            LOGGER.info("the leases of an upsert that ended early are left to end by themselves", exc_info=True)
        finally:
            if not done:
                self._interrupted.add(self.source.name, self)

    def settle_rest(self) -> bool:
        """Settle what an interruption left, once all its requests are over; whether that is done."""
        if self._sending is not None and not self._sending.workers.wait(0):
            return False
        try:
            return self._settle_over(wait_s=None)
        except (ReplacedError, WrongTargetError):
            return True  # there is nothing left to settle

    def _settle_over(self, *, wait_s: float | None) -> bool:
        """Settle all that is held and not under way; whether nothing is held any more."""
        busy = set() if self._sending is None else self._sending.busy()
        over = [batch for batch in self._held if batch.id not in busy]
        if over:
            with self._ledger.writing(same_file=self.source.file, wait_s=wait_s) as connection:
                settled = self._settle(connection, over, self._clock.now(connection))
                left = [batch for batch in self._held if batch.id in busy]
                commit(connection, lambda: self._done(left, settled))
        self._tell()
        return not self._held

    def _send(self, group: list[Batch], made: Round) -> None:
        tally = Tally(self.source.name, self._observations(group))
        self._sending = sending = Sending(group, tally, Watch(self._lease, len(tally.observations)))
        try:
            made.refusal = self._remote.deliver(tally, watcher=sending.watch, workers=sending.workers)
        except LeaseLostError:
            LOGGER.warning(
                "%s: a request took longer than its lease, so another process may have taken over its rows.",
                self.source.name,
            )
        finally:
            made.add(tally)

    def _next(self, group: list[Batch], wanted: Iterable[int] | None) -> list[Batch]:
        """Settle a group and claim the next one, in one transaction."""
        with self._ledger.writing(same_file=self.source.file) as connection:
            now = self._clock.now(connection)
            settled = self._settle(connection, group, now)
            following = [] if wanted is not None and not wanted else self.claim(connection, wanted, now)
            commit(connection, lambda: self._advance(following, [*settled, *self._moved]))
        self._tell()
        return following

    def _settle(self, connection: sa.Connection, group: list[Batch], now: float) -> list[Settled]:
        settlement = Settlement(connection, self.source.id, self._lease.sender, now=now, window_s=self._window_s)
        verdicts = {} if self._sending is None else self._sending.verdicts()
        settled = [settlement.settle(batch, verdicts.get(batch.id) or nothing(batch)) for batch in group]
        if any(one.stored.any() for one in settled):
            pending.delivered(connection, self.source.id)
        return settled

    def _advance(self, following: list[Batch], news: list[Settled]) -> None:
        self._done(following, news)
        self._sending = None

    def _done(self, held: list[Batch], news: list[Settled]) -> None:
        """A transaction is durable: what is held now, and what is to be told."""
        self._held, self._news, self._moved = held, [*self._news, *news], []

    def _tell(self) -> None:
        news, self._news = self._news, []
        if news:
            self._load.settled(news)

    def _ready(self, connection: sa.Connection, number: int, live: int, now: float, flying: Int64s) -> Batch | None:
        """The batch, without the rows that were overwritten; None while a key of it is in flight."""
        batch = batches.get(connection, number, now)
        mask = batches.live_rows(connection, batch, live)
        rows = batch.rows if mask.all() else batch.rows.take(mask)
        if rows.shares_a_key_with(flying):
            return None
        if rows is batch.rows:
            return batch
        moved = batches.insert(connection, self.source.id, rows, live=len(rows), written_at=batch.written_at)
        batches.carry(connection, rows.keys, moved)
        batches.close(connection, self.source.id, batch, live, now)
        carried = {moved: np.flatnonzero(mask)}
        self._moved.append(Settled(number, np.zeros(len(mask), dtype=np.bool_), {}, carried, overtaken=~mask))
        return Batch(moved, rows, batch.written_at, now)

    def _learn_names(self, connection: sa.Connection, group: list[Batch]) -> None:
        for batch in group:
            unknown = [number for number in batch.rows.series_ids() if number not in self._names]
            self._names |= batches.names_of(connection, unknown)

    def _observations(self, group: list[Batch]) -> Observations:
        keys = np.concatenate([batch.rows.keys for batch in group])
        return observations(Rows(keys, np.concatenate([batch.rows.values for batch in group])), self._names)
