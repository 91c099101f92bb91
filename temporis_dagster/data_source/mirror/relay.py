"""Relay: takes waiting batches, group by group: claims them, has them sent, settles them.

Comes in: which batches to take. Goes out: what became of each group, as it is settled; why it stopped early.
Never: sends what is not claimed, durably, or what another holder may be sending; waits.

Interrupted at any moment, it holds on to exactly what may still be applied. ``_held`` names a batch from before its
claim is committed until after its settlement is, so nothing that is leased is forgotten. Settling what is not leased
(the commit did not happen, or already did) changes nothing: a settlement checks whether this holder has the lease.
``let_go`` first ends the lease for new attempts, then looks at what is under way, and settles only the rest.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches, pending
from temporis_dagster.data_source.mirror.batches import IDS_PER_STATEMENT, Batch, Transaction
from temporis_dagster.data_source.mirror.file import KnownSource, MirrorFile, ReplacedError
from temporis_dagster.data_source.mirror.lease import Lease, LeaseLostError
from temporis_dagster.data_source.mirror.rows import Rows, observations
from temporis_dagster.data_source.mirror.schema import WrongTargetError
from temporis_dagster.data_source.mirror.sending import Sending
from temporis_dagster.data_source.mirror.settlement import Settled, Settlement, Verdict
from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.sources import run

LOGGER = logging.getLogger(__name__)

LET_GO_S = 2.0
"""How long an interrupted relay waits for locks or a server before it leaves its leases to end by themselves."""

GROUP_ROWS = 200_000
"""About how many rows are claimed at once."""

GROUP_BATCHES = 500
"""The maximum number of batches that are claimed at once."""

INTERRUPTED_LIMIT = 1_000
"""Only a program that is interrupted all the time reaches it. What is forgotten ends with its lease."""


class Load(Protocol):
    """Chooses the batches that a relay takes, and learns what became of them."""

    def ids(self) -> Iterable[int] | None:
        """Return which batches to take; None for the oldest ones."""
        ...

    def room(self) -> int:
        """Return how many rows may be taken now."""
        ...

    def sent(self, tally: Tally) -> None:
        """Take note that a group was sent: its rows, and with which requests."""
        ...

    def settled(self, settled: list[Settled]) -> None:
        """Take note of what became of batches. This is durable."""
        ...

    def stop_progress(self) -> None:
        """Stop reporting progress: the relay was interrupted."""
        ...


class Relay:
    """Sends the batches of one load.

    Args:
        file: The mirror's file or database.
        service: Where to.
        source: The data source.
        load: Which batches.
        interrupted: Settles later what is still under way when this is interrupted.
        window_s: For how long a late write may come, in seconds.
    """

    def __init__(  # its parts
        self,
        file: MirrorFile,
        service: HttpTarget,
        source: KnownSource,
        load: Load,
        interrupted: Interrupted,
        *,
        window_s: float,
    ) -> None:
        self._file, self._service = file, service
        self.source, self._load, self._window_s = source, load, window_s
        self._interrupted = interrupted
        self._lease = Lease(file, service, source, window_s=window_s)
        self._names: dict[int, str] = {}
        self._held: list[Batch] = []
        self._news: list[Settled] = []
        self._moved: list[Settled] = []
        self._sending: Sending | None = None

    def deliver(self, first: list[Batch] | None = None) -> Reply | None:
        """Deliver until nothing of the load can be claimed, or the service stops it; return why it stopped early.

        Args:
            first: A group that was claimed, with ``claim``, in a transaction that is committed.
        """
        refusal = None
        try:
            self._tell()
            group = self._next([], self._load.ids()) if first is None else first
            while group:
                refusal = self._send(group)
                group = self._next(group, [] if refusal else self._load.ids())
        except BaseException:
            self.let_go()
            raise
        return refusal

    def claim(
        self,
        tx: Transaction,
        wanted: Iterable[int] | None,
        *,
        new: Batch | None = None,
        names: Mapping[int, str] | None = None,
    ) -> list[Batch]:
        """Take a lease on the oldest of these batches that may be sent now, up to a group of them.

        Args:
            tx: A write transaction.
            wanted: Which batches; None for all.
            new: A batch that this very transaction has inserted, so that it is not read back.
            names: The names of its series, by id.
        """
        batches.purge(tx)
        candidates = batches.waiting(tx, wanted, limit=GROUP_BATCHES)
        if not candidates:
            return []
        flying = batches.in_flight(tx)
        group: list[Batch] = []
        room = self._load.room()
        for number, live in candidates:
            if live > room or (group and live > GROUP_ROWS - sum(len(batch.rows) for batch in group)):
                break
            found = new if new is not None and new.id == number else batches.get(tx, number)
            batch = self._ready(tx, found, live, flying)
            if batch is not None:
                group.append(batch)
                room -= live
        if group:
            group = batches.with_risks(tx, group)
            # Before the lease is taken: an interruption from here on lets go of them, if the claim was committed.
            self._held = [*self._held, *group]
            self._lease.take(tx, group)
            self._names |= names or {}
            self._learn_names(tx, group)
        return group

    def claimed(self) -> None:
        """Note that the transaction of a ``claim`` is durable."""
        self._news, self._moved = [*self._news, *self._moved], []

    def unclaimed(self) -> None:
        """Note that the transaction of the first ``claim`` did not take place."""
        self._held, self._moved = [], []

    def let_go(self) -> None:
        """After an interruption or a failure, settle what is over, and end the leases of what is not under way.

        What is under way keeps its lease, as its request may still be applied. It is settled by a later operation of
        this process, once it is over; without one, the lease ends by itself, and leaves a doubt until the window does.
        """
        if not self._held:
            return
        done = False
        try:
            self._load.stop_progress()
            self._lease.end()
            done = self._settle_over(wait_s=LET_GO_S)
        except Exception:  # the error that led here is what is raised; the leases end by themselves
            LOGGER.info("The leases of an upsert that ended early are left to end by themselves.", exc_info=True)
        finally:
            if not done:
                self._interrupted.add(self.source.name, self)

    def settle_rest(self) -> bool:
        """Settle what an interruption left behind, once all its requests are over; return whether that is done."""
        if self._sending is not None and not self._sending.workers.wait(0):
            return False
        try:
            return self._settle_over(wait_s=None)
        except (ReplacedError, WrongTargetError):
            return True  # there is nothing left to settle

    def _settle_over(self, *, wait_s: float | None) -> bool:
        """Settle all that is held and not under way; return whether nothing is held any more."""
        busy = set() if self._sending is None else self._sending.busy()
        over = [batch for batch in self._held if batch.id not in busy]
        if over:
            left = [batch for batch in self._held if batch.id in busy]
            self._file.write_of(
                self.source,
                lambda tx: self._settle(tx, over),
                lambda settled: self._done(left, settled),
                wait_s=wait_s,
            )
        self._tell()
        return not self._held

    def _send(self, group: list[Batch]) -> Reply | None:
        tally, refusal = Tally(self.source.name, self._observations(group)), None
        self._sending = sending = Sending(group, tally, self._lease)
        try:
            refusal = self._service.deliver(tally, watcher=sending, workers=sending.workers)
        except LeaseLostError:
            LOGGER.warning(
                "%s: a request took longer than its lease, so another process may have taken over its rows.",
                self.source.name,
            )
        self._load.sent(tally)
        return refusal

    def _next(self, group: list[Batch], wanted: Iterable[int] | None) -> list[Batch]:
        """Settle a group and claim the next one, in one transaction."""
        held = self._held

        def settle_and_claim(tx: Transaction) -> tuple[list[Batch], list[Settled]]:
            self._held, self._moved = held, []  # an earlier attempt did not take place
            settled = self._settle(tx, group)
            following = [] if wanted is not None and not wanted else self.claim(tx, wanted)
            return following, [*settled, *self._moved]

        following, _ = self._file.write_of(self.source, settle_and_claim, lambda result: self._advance(*result))
        self._tell()
        return following

    def _settle(self, tx: Transaction, group: list[Batch]) -> list[Settled]:
        if not group:
            return []
        settlement = Settlement(tx, self._lease.holder, window_s=self._window_s)
        verdicts = {} if self._sending is None else self._sending.verdicts()
        settled = [
            settlement.settle(batch, verdicts.get(batch.id) or Verdict.of_nothing(len(batch.rows))) for batch in group
        ]
        if any(one.stored.any() for one in settled):
            pending.note_success(tx)
        return settled

    def _advance(self, following: list[Batch], news: list[Settled]) -> None:
        self._done(following, news)
        self._sending = None

    def _done(self, held: list[Batch], news: list[Settled]) -> None:
        """Note, after a transaction is durable, what is held now, and what the load must still be notified of."""
        self._held, self._news, self._moved = held, [*self._news, *news], []

    def _tell(self) -> None:
        news, self._news = self._news, []
        if news:
            self._load.settled(news)

    def _ready(self, tx: Transaction, batch: Batch, live: int, flying: Int64s) -> Batch | None:
        """Return the batch without the rows that were overwritten; None while a key of it is in flight."""
        mask = batches.live_rows(tx.connection, batch, live)
        rows = batch.rows if mask.all() else batch.rows.take(mask)
        if rows.shares_a_key_with(flying):
            return None
        if rows is batch.rows:
            return batch
        moved = batches.move(tx, batch, mask)
        batches.close(tx, batch, live)
        carried = {moved.id: np.flatnonzero(mask)}
        self._moved.append(Settled(batch.id, np.zeros(len(mask), dtype=np.bool_), {}, carried, overtaken=~mask))
        return moved

    def _learn_names(self, tx: Transaction, group: list[Batch]) -> None:
        for batch in group:
            unknown = [number for number in batch.rows.series_ids() if number not in self._names]
            if unknown:
                self._names |= names_of(tx.connection, unknown)

    def _observations(self, group: list[Batch]) -> Observations:
        keys = np.concatenate([batch.rows.keys for batch in group])
        return observations(Rows(keys, np.concatenate([batch.rows.values for batch in group])), self._names)


class Interrupted:
    """The relays of one mirror that were interrupted in this process while requests of theirs were under way.

    They are settled whole once their last request is over, by a later operation. Nothing here waits.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=INTERRUPTED_LIMIT)

    def add(self, data_source: str, relay: Relay) -> None:
        """Remember a relay."""
        self._entries.append(_Entry(os.getpid(), data_source, relay))

    def settle(self, data_source: str) -> None:
        """Settle those of this data source that have ended."""
        for _ in range(len(self._entries)):
            try:
                entry = self._entries.popleft()
            except IndexError:  # another thread was faster
                return
            # In a forked child the parent's threads are not there, and its leases are not the child's to end.
            done = entry.process != os.getpid()
            try:
                done = done or (entry.data_source == data_source and entry.relay.settle_rest())
            finally:
                if not done:
                    self._entries.append(entry)


class _Entry(NamedTuple):
    process: int
    data_source: str
    relay: Relay


def names_of(connection: sa.Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return the names of series, by id.

    Raises:
        StoreUnusableError: The mirror is damaged: one of the series is not in it.
    """
    names: dict[int, str] = {}
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        block = tuple(ids[start : start + IDS_PER_STATEMENT])
        sql = f"SELECT id, name FROM temporis_series WHERE id IN ({','.join('?' * len(block))})"  # noqa: S608
        names.update(tuple(row) for row in run(connection, sql, block))
    if len(names) != len(ids):
        raise StoreUnusableError("it holds rows of series that are not in it", "Restore the mirror from a backup.")
    return names
