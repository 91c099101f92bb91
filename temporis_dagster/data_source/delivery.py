"""Delivery: the one loop that sends many bodies: concurrency, retries, halving, and an outcome for every row.

Comes in: a tally of observations and a client. Goes out: the tally, settled; or one error that carries its report.
Never: lets one key be in two requests at once, starts a request after a final refusal, or forgets a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.attempts import Reply, Sender, reply_to
from temporis_dagster.data_source.encoding import Batch, Encoder
from temporis_dagster.data_source.pace import Pace, Stopped
from temporis_dagster.data_source.report import Outcome, Tally

SEARCH_REQUESTS = 200
"""How many requests an upsert may spend on finding bad rows. One in a batch of 2,000 takes 23."""

INTERRUPT_GRACE_S = 2.0
"""How long an interrupted upsert waits for the answers that are under way."""


class Delivery:
    """One upsert over HTTP.

    Args:
        sender: Sends.
        pace: Says when.
        encoder: Makes the bodies.
        tally: Takes the outcomes; its observations are the encoder's.
        max_in_flight: How many requests may be under way at once.
    """

    def __init__(self, sender: Sender, pace: Pace, encoder: Encoder, tally: Tally, *, max_in_flight: int) -> None:
        self._sender, self._pace, self._encoder, self._tally = sender, pace, encoder, tally
        self._max_in_flight = max_in_flight
        self._batches: Iterator[Batch] = encoder.batches()
        self._next_lock, self._tally_lock = threading.Lock(), threading.Lock()
        self._search_left = SEARCH_REQUESTS
        self._stopped = self._abandoned = False
        self._refusal: Reply | None = None
        self._crash: BaseException | None = None

    def run(self, expected_batches: int) -> Reply | None:
        """Send everything.

        Args:
            expected_batches: About how many bodies there will be: no more threads than that are started.

        Returns:
            Why it stopped early, or None where every batch got an answer of its own.
        """
        workers = min(self._max_in_flight, expected_batches)
        with self._pace.engaged():
            if workers <= 1:
                self._work()
            else:
                self._work_in_threads(workers)
        if self._crash is not None:
            raise self._crash
        return self._refusal

    def _work_in_threads(self, workers: int) -> None:
        # Not thread.join(): in some versions of Python a join that was interrupted makes the next one return at once.
        finished, running = threading.Semaphore(0), 0
        try:
            for number in range(workers):
                threading.Thread(target=self._work, args=[finished], name=f"temporis-{number}", daemon=True).start()
                running += 1
            while running:
                finished.acquire()
                running -= 1
        except BaseException:
            self._stop(None)
            self._abandon(finished, running)
            raise

    def _abandon(self, finished: threading.Semaphore, running: int) -> None:
        """Wait a little for the answers that are under way; from then on the tally stands still."""
        deadline = time.monotonic() + INTERRUPT_GRACE_S
        try:
            while running and finished.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                running -= 1
        finally:
            with self._tally_lock:
                self._abandoned = True

    def _work(self, finished: threading.Semaphore | None = None) -> None:
        try:
            while not self._stopped and (batch := self._next()) is not None:
                self._deliver(batch)
        except Stopped:
            return
        except BaseException as crash:  # noqa: BLE001  # raised again by run(), in the caller's thread
            self._crash = self._crash or crash
            self._stop(None)
        finally:
            if finished is not None:
                finished.release()

    def _next(self) -> Batch | None:
        with self._next_lock:
            return next(self._batches, None)

    def _deliver(self, batch: Batch) -> None:
        """Send a batch, and its parts where it is refused whole."""
        parts = [(batch, False)]
        while parts and not self._stopped:
            part, maybe_applied = parts.pop()
            if self._encoder.is_too_large(part):
                parts += [(half, maybe_applied) for half in self._encoder.halves(part)[::-1]]
                continue
            reply = self._reply_to(part, maybe_applied=maybe_applied)
            if reply.answer.meaning in (Meaning.TOO_LARGE, Meaning.INVALID):
                parts += [(smaller, reply.maybe_applied) for smaller in self._parts(part, reply)]
            elif reply.answer.meaning is not Meaning.STORED:
                self._stop(reply)

    def _reply_to(self, batch: Batch, *, maybe_applied: bool) -> Reply:
        return reply_to(
            batch.body,
            self._sender,
            self._pace,
            maybe_applied=maybe_applied,
            stopped=lambda: self._stopped,
            before=lambda attempt: self._count(batch, retry=attempt > 0),
            after=lambda reply: self._settle_reply(batch, reply),
        )

    def _parts(self, batch: Batch, reply: Reply) -> list[Batch]:
        """What to send instead of a batch that was refused whole, the first part last."""
        answer = reply.answer
        if len(batch) == 1:
            self._settle(batch, Outcome.REJECTED, reason=f"the service answered {answer.status}: {answer.words}")
            return []
        if answer.meaning is Meaning.TOO_LARGE:
            self._encoder.shrink_to(len(batch.body) // 2)
        elif self._search_left > 0:
            self._search_left -= 2
        else:
            self._stop(replace(reply, gave_up=f"{SEARCH_REQUESTS} requests did not find all of the bad rows"))
            return []
        return self._encoder.halves(batch)[::-1]

    def _count(self, batch: Batch, *, retry: bool) -> None:
        with self._tally_lock:
            if self._abandoned:
                raise Stopped
            self._tally.requests += 1
            self._tally.retries += retry
            self._tally.bytes_sent += len(batch.body)
            # Until there is an answer, an interruption leaves these rows in doubt.
            self._tally.settle(
                batch.rows, Outcome.UNKNOWN, reason="the request may have been applied: send the rows again"
            )

    def _settle_reply(self, batch: Batch, reply: Reply) -> None:
        if reply.answer.meaning is Meaning.STORED:
            self._settle(batch, Outcome.ACKNOWLEDGED)
        elif not reply.maybe_applied:
            self._settle(batch, Outcome.UNSENT, reason="the service refused their request: see the error")

    def _settle(self, batch: Batch, outcome: Outcome, *, reason: str = "") -> None:
        with self._tally_lock:
            if not self._abandoned:
                self._tally.settle(batch.rows, outcome, reason=reason)

    def _stop(self, reply: Reply | None) -> None:
        with self._tally_lock:
            self._refusal = self._refusal or reply
            self._stopped = True
        self._pace.wake()
