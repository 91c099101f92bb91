"""Upsert: one upsert through the mirror: write it, send it, and then send the backlog if that is small.

Comes in: a tally. Goes out: the same tally, settled; the refusal that stopped it, if one did.
Never: waits for rows of other upserts, except those that carry its own keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.body_size import FIRST_ROWS
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches, pending, rejected, schema
from temporis_dagster.data_source.mirror.batches import Batch, Transaction
from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.file import KnownSource, MirrorFile, ReplacedError
from temporis_dagster.data_source.mirror.flush import ANY_NUMBER, Backlog, Waiting
from temporis_dagster.data_source.mirror.relay import Interrupted, Relay
from temporis_dagster.data_source.mirror.rows import same_bits
from temporis_dagster.data_source.mirror.settlement import Settled
from temporis_dagster.data_source.mirror.write import Chunk, Writing
from temporis_dagster.data_source.observations.model import Positions
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store.chunks import CHUNK_ROWS, in_chunks

POLL_S, LONGEST_POLL_S = 0.02, 0.5
"""How often to look whether another holder is done with the same keys: less and less often."""

KEPT = "it is kept in the mirror and goes out with a later upsert or flush"
OVERTAKEN = "a later upsert wrote this timestamp and name into the mirror before it was delivered"


class FullError(Exception):
    """Signal: the mirror already holds the maximum number of pending rows.

    Args:
        pending: How many there are.
    """

    def __init__(self, pending: int) -> None:
        super().__init__(pending)
        self.pending = pending


class _Begun(NamedTuple):
    """What an upsert works with, from its first transaction on."""

    source: KnownSource
    window_s: float
    writing: Writing
    own: Own
    relay: Relay


class Upsert:
    """One upsert.

    Args:
        file: The mirror's file or database.
        service: Where to.
        tally: What.
        options: How the mirror behaves.
        interrupted: What interrupted relays left behind.
    """

    def __init__(
        self, file: MirrorFile, service: HttpTarget, tally: Tally, options: MirrorOptions, interrupted: Interrupted
    ) -> None:
        self._file, self._service, self._tally, self._options = file, service, tally, options
        self._interrupted = interrupted
        self._begun: _Begun | None = None

    def run(self) -> Reply | None:
        """Write everything, then send; return why that stopped early, if it did."""
        try:
            first = self._write()
            return None if self._begun is None else self._deliver(self._begun, first)
        except ReplacedError:
            # What was written into the mirror that is gone is nowhere else.
            kept = self._tally.settled_as(Outcome.PENDING)
            self._tally.settle(kept, Outcome.UNKNOWN, reason="the mirror was replaced: send the rows again")
            raise
        except BaseException:
            if self._begun is not None:  # it may hold what the last transaction of _write claimed
                self._begun.relay.let_go()
            raise

    def _write(self) -> list[Batch]:
        """Write all chunks; the transaction of the last one claims what is to be sent first."""
        left, first = len(self._tally.observations), list[Batch]()
        chunks = in_chunks(self._tally.observations, CHUNK_ROWS, by_key=self._file.writes_by_key) if left else ()
        for positions in chunks:
            left -= len(positions)
            first = self._write_chunk(positions, is_last=not left)
        return first

    def _write_chunk(self, positions: Positions, *, is_last: bool) -> list[Batch]:
        """Write some rows in one transaction, and return what it claimed."""
        before = self._begun

        def write(connection: sa.Connection) -> tuple[_Begun, Chunk, list[Batch]]:
            self._tally.settle(positions, Outcome.UNSENT)  # an earlier attempt did not take place
            begun = self._begun = before or self._begin(connection)
            begun.relay.unclaimed()
            tx = self._file.begun(connection, begun.source.id)
            writing, first = begun.writing, list[Batch]()
            chunk = writing.chunk(tx, positions)
            if is_last:
                wanted, names = writing.batches_with(chunk), writing.names(chunk)
                first = begun.relay.claim(tx, wanted, new=chunk.batch, names=names)
            # Until the commit has returned: an interruption in it leaves open what became of it.
            self._tally.settle(chunk.written, Outcome.UNKNOWN, reason="it may be in the mirror: upsert it again")
            return begun, chunk, first

        same_file = before and before.source.file
        _, chunk, first = self._file.write(write, lambda result: self._written(*result[:2]), same_file=same_file)
        self._tally.settle(chunk.unchanged, Outcome.ACKNOWLEDGED, unchanged=len(chunk.unchanged))
        return first

    def _written(self, begun: _Begun, chunk: Chunk) -> None:
        """Note that a chunk is durable."""
        self._tally.settle(chunk.written, Outcome.PENDING, reason=KEPT)
        begun.writing.committed(chunk)
        begun.relay.claimed()

    def _begin(self, connection: sa.Connection) -> _Begun:
        # Locked before it is counted: of upserts into one data source, each counts what those before it wrote.
        found = self._file.ensured(connection, self._tally.data_source)
        waiting = pending.count_of_all(connection)
        if waiting + len(self._tally.observations) > self._options.max_pending_rows:
            raise FullError(waiting)
        source = KnownSource(self._tally.data_source, found.id, self._file.identity(connection))
        chosen_s = self._options.late_write_window_s
        if chosen_s is not None:
            schema.keep_window_s(connection, chosen_s)
        window_s = schema.window_s(connection, chosen_s)
        writing = Writing(self._tally, found, self._options.skip_unchanged)
        own = Own(writing)
        relay = Relay(self._file, self._service, source, own, self._interrupted, window_s=window_s)
        return _Begun(source, window_s, writing, own, relay)

    def _deliver(self, begun: _Begun, first: list[Batch]) -> Reply | None:
        if not begun.own.batches:
            return None
        refusal = self._send(begun, first)
        refusal = refusal or self._outlast(begun)
        if refusal is None:
            self._send_backlog(begun)
        return refusal

    def _send(self, begun: _Begun, first: list[Batch] | None) -> Reply | None:
        """Send those of the upsert's own batches that may be sent, and learn what became of the others."""
        refusal = begun.relay.deliver(first)
        if begun.own.batches:
            self._file.read_of(begun.source, begun.own.learn)
        return refusal

    def _outlast(self, begun: _Begun) -> Reply | None:
        """With ``on_unavailable="raise"``, send what others are holding up as soon as they let go."""
        clock, waiting = self._file.clock, Waiting(self._file.clock)
        patience, pause_s = clock.monotonic() + self._service.options.give_up_after_s, POLL_S
        while self._options.on_unavailable == "raise" and self._is_due(begun):
            if clock.monotonic() > patience:
                return ELSEWHERE
            waiting.warn(
                "The upsert into %s waits for keys that another request is carrying, from another upsert or from one"
                " that was interrupted. It gives up after %.0f s.",
                begun.source.name,
                patience - clock.monotonic(),
            )
            clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
            self._interrupted.settle(begun.source.name)
            refusal = self._send(begun, None)
            if refusal is not None:
                return refusal
        return None

    def _is_due(self, begun: _Begun) -> bool:
        if not begun.own.batches:
            return False
        return self._file.read_of(begun.source, lambda tx: pending.are_due(tx, begun.own.batches))

    def _send_backlog(self, begun: _Begun) -> None:
        """Send what was left behind: all if it fits into one request, otherwise as many rows as this upsert had."""
        left = self._file.read_of(begun.source, pending.oldest)
        fits = left.pending <= (self._service.options.batch_rows or FIRST_ROWS)
        room = left.pending if fits else len(self._tally.observations)
        if 0 < left.first <= room:
            load = Backlog(room)
            Relay(self._file, self._service, begun.source, load, self._interrupted, window_s=begun.window_s).deliver()


class Own:
    """The batches of one upsert, and what became of them, as a ``Load``.

    Args:
        writing: What the upsert wrote.

    Attributes:
        batches: The batches that are not settled yet, and which of the caller's observations each carries.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing, self._tally, self.batches = writing, writing.tally, writing.own

    def ids(self) -> Iterable[int]:
        """Return those that are not settled yet."""
        return list(self.batches)

    def room(self) -> int:
        """Return no limit: all of them are sent."""
        return ANY_NUMBER

    def sent(self, tally: Tally) -> None:
        """Count the requests."""
        self._tally.requests += tally.requests
        self._tally.retries += tally.retries
        self._tally.bytes_sent += tally.bytes_sent

    def settled(self, settled: list[Settled]) -> None:
        """Settle the caller's observations."""
        for one in settled:
            positions = self.batches.get(one.batch)
            if positions is None:
                continue
            if one.is_final:
                del self.batches[one.batch]
            self.batches |= {number: positions[places] for number, places in one.moved.items()}
            if one.overtaken is not None and one.overtaken.any():
                self._tally.settle(positions[one.overtaken], Outcome.SUPERSEDED, reason=OVERTAKEN)
            if one.stored.any():
                stored = positions if one.stored.all() else positions[one.stored]
                self._tally.settle(stored, Outcome.ACKNOWLEDGED)
            for place, words in one.refusals.items():
                self._tally.settle(positions[place : place + 1], Outcome.REJECTED, reason=words)

    def stop_progress(self) -> None:
        """Stop reporting progress."""
        self._tally.stop_progress()

    def learn(self, tx: Transaction) -> None:
        """Look up the batches that others have dealt with: their rows were sent, overwritten, rejected or discarded.

        Where other batches carry these rows now, they are followed; what is settled is settled in the tally.
        """
        still_open = set(batches.open_ones(tx.connection, list(self.batches)))
        for number in [number for number in self.batches if number not in still_open]:
            self._learn_of(tx, self.batches[number])
            del self.batches[number]  # only now: the connection may be lost before

    def _learn_of(self, tx: Transaction, positions: Positions) -> None:
        known = statements_of(tx.connection).present(tx.connection, self._writing.keys(positions))
        missing = np.ones(len(positions), dtype=np.bool_)
        missing[known.found] = False
        here, values = positions[known.found], self._tally.observations.values[positions[known.found]]
        same = same_bits(values, known.values)
        self._tally.settle(here[~same], Outcome.SUPERSEDED, reason=OVERTAKEN)
        waiting = np.isin(known.batches, batches.open_ones(tx.connection, np.unique(known.batches).tolist()))
        self._tally.settle(here[same & ~waiting], Outcome.ACKNOWLEDGED)
        for other in np.unique(known.batches[same & waiting]).tolist():
            self._follow(tx, other, here[same & (known.batches == other)])
        self._learn_missing(tx, positions[missing])

    def _follow(self, tx: Transaction, number: int, positions: Positions) -> None:
        """Follow rows to the batch that carries them now, of this upsert or of one that wrote the same values again."""
        keys = self._writing.keys(positions)
        order = np.argsort(keys)
        carried = batches.get(tx, number).rows.keys
        at = np.searchsorted(keys[order], carried)
        at[at == len(keys)] = 0
        if (keys[order][at] == carried).all():
            self.batches[number] = positions[order][at]
        else:
            self._tally.settle(positions, Outcome.SUPERSEDED, reason=OVERTAKEN)

    def _learn_missing(self, tx: Transaction, positions: Positions) -> None:
        """Settle rows whose keys the mirror has no value for: they, or newer ones, were rejected or discarded."""
        if not len(positions):
            return
        kept = rejected.reasons(tx.connection, self._writing.keys(positions))
        for position, (value, reason) in zip(positions.tolist(), kept, strict=True):
            at = np.array([position])
            if reason is None:
                words = "it was discarded from the mirror meanwhile, and may have been sent before"
                self._tally.settle(at, Outcome.UNKNOWN, reason=words)
            elif same_bits(np.array([value]), self._tally.observations.values[at]).all():
                self._tally.settle(at, Outcome.REJECTED, reason=reason)
            else:
                self._tally.settle(at, Outcome.SUPERSEDED, reason=OVERTAKEN)


ELSEWHERE = Reply(
    Answer(None, "another process is sending the same keys"), 0, maybe_applied=False, gave_up="it did not finish"
)
"""The reply where the keys of an upsert stay in another request."""
