"""Upsert: one upsert through the mirror: written, then sent, then, if there is little of it, the backlog.

Comes in: a tally. Goes out: the same tally, settled; the refusal that stopped it, if one did.
Never: waits for rows of others, except those that carry its own keys.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import pending, schema
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.mirror.fate import Fate
from temporis_dagster.data_source.mirror.file import Ledger, ReplacedError
from temporis_dagster.data_source.mirror.interrupted import Interrupted
from temporis_dagster.data_source.mirror.lease import KnownSource, window_s
from temporis_dagster.data_source.mirror.loads import KEPT, Backlog, Own
from temporis_dagster.data_source.mirror.relay import Courier, Load
from temporis_dagster.data_source.mirror.waiting import Waiting
from temporis_dagster.data_source.mirror.write import Chunk, Writing
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store.sqlite import commit, file_of
from temporis_dagster.data_source.store.write import CHUNK_ROWS

POLL_S, LONGEST_POLL_S = 0.02, 0.5
"""How often to look whether another sender is done with the same keys: ever less often."""


class FullError(Exception):
    """Signal: the mirror keeps as many pending rows as it may.

    Args:
        pending: How many there are.
    """

    def __init__(self, pending: int) -> None:
        super().__init__(pending)
        self.pending = pending


class Upsert:
    """One upsert.

    Args:
        ledger: The mirror's file.
        remote: Where to.
        tally: What.
        options: How.
        interrupted: What interrupted deliveries left.
    """

    def __init__(
        self, ledger: Ledger, remote: HttpTarget, tally: Tally, options: MirrorOptions, interrupted: Interrupted
    ) -> None:
        self._ledger, self._remote, self._tally, self._options = ledger, remote, tally, options
        self._interrupted = interrupted
        self._writing: Writing | None = None
        self._load = Own(tally, {})
        self._courier: Courier | None = None
        self._window_s = 0.0

    def run(self) -> Reply | None:
        """Write everything, then send; why that stopped early, if it did."""
        try:
            return self._deliver(self._write())
        except ReplacedError:
            # What was written into the file that is gone is nowhere else.
            kept = self._tally.settled_as(Outcome.PENDING)
            self._tally.settle(kept, Outcome.UNKNOWN, reason="the mirror's file was replaced: send the rows again")
            raise
        except BaseException:
            if self._courier is not None:  # it may hold what the last transaction of _write claimed
                self._courier.let_go()
            raise

    def _write(self) -> list[Batch]:
        """Write all chunks; the transaction of the last one claims what is to be sent first."""
        count, first = len(self._tally.observations), []
        for start in range(0, count, CHUNK_ROWS):
            positions = np.arange(start, min(start + CHUNK_ROWS, count), dtype=np.int64)
            with self._ledger.writing(same_file=self._courier.file if self._courier else None) as connection:
                now = self._ledger.clock.now(connection)
                writing, courier = self._begun(connection, count)
                chunk = writing.chunk(connection, positions, now)
                if start + CHUNK_ROWS >= count:
                    first = courier.claim(connection, writing.batches_with(chunk), now)
                # Until the commit returned: who is interrupted in it does not know what became of it.
                self._tally.settle(chunk.written, Outcome.UNKNOWN, reason="it may be in the mirror: upsert it again")
                commit(connection, partial(self._written, writing, courier, chunk))
            self._tally.settle(chunk.unchanged, Outcome.ACKNOWLEDGED, unchanged=len(chunk.unchanged))
        return first

    def _written(self, writing: Writing, courier: Courier, chunk: Chunk) -> None:
        """A chunk is durable."""
        self._tally.settle(chunk.written, Outcome.PENDING, reason=KEPT)
        writing.committed(chunk)
        self._load.batches = writing.own
        courier.claimed()

    def _begun(self, connection: sa.Connection, count: int) -> tuple[Writing, Courier]:
        if self._writing is None or self._courier is None:
            waiting = pending.pending_of_all(connection)
            if waiting + count > self._options.max_pending_rows:
                raise FullError(waiting)
            source = self._ledger.ensured(connection, self._tally.data_source)
            known = KnownSource(self._tally.data_source, source.id, file_of(connection))
            if self._options.late_write_window_s is not None:
                schema.keep_window_s(connection, self._options.late_write_window_s)
            self._window_s = window_s(connection, self._options)
            self._writing = Writing(self._tally, source, self._options.skip_unchanged)
            self._courier = self._courier_for(known, self._load)
        return self._writing, self._courier

    def _courier_for(self, source: KnownSource, load: Load) -> Courier:
        return Courier(self._ledger, self._remote, source, load, self._interrupted, window_s=self._window_s)

    def _deliver(self, first: list[Batch]) -> Reply | None:
        courier, writing = self._courier, self._writing
        if courier is None or writing is None or not self._load.batches:
            return None
        refusal = self._send(courier, first)
        self._learn(writing)
        refusal = refusal or self._outlast(courier, writing)
        if refusal is None:
            self._send_backlog(courier.source)
        return refusal

    def _outlast(self, courier: Courier, writing: Writing) -> Reply | None:
        """With ``on_unavailable="raise"``: send what others hold up, as soon as they do no longer."""
        clock, waiting = self._ledger.clock, Waiting(self._ledger.clock)
        patience, pause_s = clock.monotonic() + self._remote.options.give_up_after_s, POLL_S
        while self._options.on_unavailable == "raise" and self._is_due():
            if clock.monotonic() > patience:
                return ELSEWHERE
            waiting.say(
                "The upsert into %s waits for keys that another request carries: of another upsert, or of one that was"
                " interrupted. It gives up after %.0f s.",
                courier.source.name,
                patience - clock.monotonic(),
            )
            clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
            self._interrupted.settle(courier.source.name)
            refusal = self._send(courier, None)
            self._learn(writing)
            if refusal is not None:
                return refusal
        return None

    def _send(self, courier: Courier, first: list[Batch] | None) -> Reply | None:
        made = courier.deliver(first)
        self._tally.requests += made.requests
        self._tally.retries += made.retries
        self._tally.bytes_sent += made.bytes_sent
        return made.refusal

    def _is_due(self) -> bool:
        if not self._load.batches:
            return False
        with self._ledger.reading() as connection:
            return pending.are_due(connection, self._load.batches, self._ledger.clock.now(connection))

    def _learn(self, writing: Writing) -> None:
        """What became of own batches that others dealt with."""
        if self._load.batches:
            with self._ledger.reading() as connection:
                Fate(connection, writing, self._load, self._tally).learn(self._ledger.clock.now(connection))

    def _send_backlog(self, source: KnownSource) -> None:
        """All of what was left behind where it fits into one request, else at most as many rows as this upsert had."""
        with self._ledger.reading() as connection:
            left = pending.oldest(connection, source.id, self._ledger.clock.now(connection))
        fits = left.pending <= self._remote.options.batch_rows
        room = left.pending if fits else len(self._tally.observations)
        if 0 < left.first <= room:
            self._courier_for(source, Backlog(room)).deliver()


ELSEWHERE = Reply(
    Answer(None, "another process is sending these very keys"), 0, maybe_applied=False, gave_up="it did not end"
)
