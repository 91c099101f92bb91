"""Delivery: the one loop that sends many bodies: concurrency, retries, halving, and an outcome for every row.

Comes in: a tally of observations and a client. Goes out: the tally, settled; or one error that carries its report.
Never: lets one key be in two requests at once, starts a request after a final refusal, or forgets a row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.attempts import Reply, Sender, reply_to
from temporis_dagster.data_source.client import Answer
from temporis_dagster.data_source.encoding import Batch, Encoder
from temporis_dagster.data_source.pace import Pace, Stopped
from temporis_dagster.data_source.report import Outcome, Tally

SEARCH_REQUESTS = 200
"""How many requests an upsert may spend on finding bad rows. One in a batch of 2,000 takes 23."""

INTERRUPT_GRACE_S = 2.0
"""How long an interrupted upsert waits for the answers that are under way."""


@dataclass(eq=False)
class _Job:
    work: Callable[[], None]
    begun: bool = False
    cancelled: bool = False


class Workers:
    """The threads of one delivery.

    They count themselves out, for an interruption cannot hit them. (Not thread.join(): in some versions of Python a
    join that was interrupted makes the next one return at once.)
    """

    def __init__(self) -> None:
        self._changed, self._running = threading.Condition(), 0

    def start(self, work: Callable[[], None]) -> None:
        """Work in one more thread; in this one where there is none to be had."""
        job = _Job(work)
        thread = threading.Thread(target=self._run, args=[job], name=f"temporis-{self._running}", daemon=True)
        self._count(1)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more threads to give, or the interpreter is shutting down
            self._run(job)
        except BaseException:
            self._cancel(job)
            raise

    def _cancel(self, job: _Job) -> None:
        """After an interrupted start nobody knows whether there is a thread: if it has not begun, it never does."""
        with self._changed:
            if not job.begun:
                job.cancelled = True
                self._running -= 1
                self._changed.notify_all()

    def wait(self, at_most_s: float | None = None) -> bool:
        """Wait until all have ended, or for so long; whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running <= 0, at_most_s)

    def _run(self, job: _Job) -> None:
        with self._changed:
            if job.cancelled:
                return
            job.begun = True
        try:
            job.work()
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._running += change
            self._changed.notify_all()


def in_a_worker(ask: Callable[[Callable[[], bool]], Reply], pace: Pace) -> Reply:
    """The reply to a single request, made in a thread: an interruption, which hits the caller's, cuts no turn in half.

    Args:
        ask: Makes the request; it is handed a function that says whether to start no further attempt.
        pace: Whose turns it takes.
    """
    workers, stopped = Workers(), threading.Event()
    replies: list[Reply] = []
    crashes: list[BaseException] = []

    def work() -> None:
        try:
            replies.append(ask(stopped.is_set))
        except BaseException as crash:  # noqa: BLE001  # raised again in the caller's thread
            crashes.append(crash)

    try:
        workers.start(work)
        workers.wait()
    except BaseException:
        stopped.set()
        pace.wake()
        raise
    if crashes:
        raise crashes[0]
    return replies[0]


class Watcher(Protocol):
    """Hears of every attempt, in the thread that makes it."""

    def before_attempt(self, batch: Batch) -> None:
        """An attempt is about to start; whatever this raises stops the delivery."""
        ...

    def after_attempt(self, batch: Batch, answer: Answer) -> None:
        """An attempt ended."""
        ...


class Delivery:
    """One upsert over HTTP.

    Args:
        sender: Sends.
        pace: Says when.
        encoder: Makes the bodies.
        tally: Takes the outcomes; its observations are the encoder's.
        workers: Who sends. After an interruption some may still be at it: whoever delivers next waits for them.
        watcher: Hears of every attempt.
    """

    def __init__(  # its parts
        self,
        sender: Sender,
        pace: Pace,
        encoder: Encoder,
        tally: Tally,
        workers: Workers,
        watcher: Watcher | None = None,
    ) -> None:
        self._sender, self._pace, self._encoder, self._tally = sender, pace, encoder, tally
        self._workers, self._watcher = workers, watcher
        self._batches: Iterator[Batch] = encoder.batches()
        self._next_lock, self._tally_lock = threading.Lock(), threading.Lock()
        self._search_left = SEARCH_REQUESTS
        self._stopped = self._abandoned = False
        self._refusal: Reply | None = None
        self._crash: BaseException | None = None

    def run(self, in_flight: int) -> Reply | None:
        """Send everything.

        Args:
            in_flight: How many requests may be under way at once.

        Returns:
            Why it stopped early, or None where every batch got an answer of its own.
        """
        with self._pace.engaged():
            try:
                # Also a single one in a thread: an interruption, which hits the caller's, finds no request half done.
                for _ in range(in_flight):
                    self._workers.start(self._work)
                self._workers.wait()
            except BaseException:
                self._stop(None)
                self._abandon()
                raise
        if self._crash is not None:
            raise self._crash
        return self._refusal

    def _abandon(self) -> None:
        """Wait a little for the answers that are under way; from then on the tally stands still."""
        try:
            self._workers.wait(INTERRUPT_GRACE_S)
        finally:
            with self._tally_lock:
                self._abandoned = True

    def _work(self) -> None:
        try:
            while not self._stopped and (batch := self._next()) is not None:
                self._deliver(batch)
        except Stopped:
            return
        except BaseException as crash:  # noqa: BLE001  # raised again by run(), in the caller's thread
            self._crash = self._crash or crash
            self._stop(None)

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
            before=lambda attempt: self._begin(batch, retry=attempt > 0),
            after=lambda reply: self._settle_reply(batch, reply),
        )

    def _parts(self, batch: Batch, reply: Reply) -> list[Batch]:
        """What to send instead of a batch that was refused whole, the first part last."""
        answer = reply.answer
        if len(batch) == 1 and not answer.from_api:
            self._stop(reply)  # a proxy that takes not even a single record says nothing about this one
            return []
        if len(batch) == 1:
            said = f"the service answered {answer.status}: {answer.words}".rstrip(": ")
            self._settle(batch, Outcome.REJECTED, reason=said)
            # Halving is free, for later bodies are smaller; but a service that takes no body at all must end it.
            if answer.meaning is Meaning.TOO_LARGE:
                self._may_search(1, reply)
            return []
        if answer.meaning is Meaning.TOO_LARGE:
            self._encoder.shrink_to(len(batch.body) // 2)
        elif not self._may_search(2, reply):
            return []
        return self._encoder.halves(batch)[::-1]

    def _may_search(self, requests: int, reply: Reply) -> bool:
        """Whether so many more requests may be spent on finding bad rows; if not, that was it."""
        if self._search_left > 0:
            self._search_left -= requests
            return True
        self._stop(replace(reply, gave_up=f"{SEARCH_REQUESTS} requests did not find all of the bad rows"))
        return False

    def _begin(self, batch: Batch, *, retry: bool) -> None:
        if self._watcher is not None:
            self._watcher.before_attempt(batch)
        self._count(batch, retry=retry)

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
        if self._watcher is not None:
            self._watcher.after_attempt(batch, reply.answer)
        if reply.answer.meaning is Meaning.STORED:
            self._settle(batch, Outcome.ACKNOWLEDGED)
        elif not reply.maybe_applied:
            self._settle(batch, Outcome.UNSENT, reason="their request was refused, or never arrived: see the error")

    def _settle(self, batch: Batch, outcome: Outcome, *, reason: str = "") -> None:
        with self._tally_lock:
            if not self._abandoned:
                self._tally.settle(batch.rows, outcome, reason=reason)

    def _stop(self, reply: Reply | None) -> None:
        with self._tally_lock:
            self._refusal = self._refusal or reply
            self._stopped = True
        self._pace.wake()
