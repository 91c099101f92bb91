"""Delivery: the one loop that sends many bodies: concurrency, retries, halving, and an outcome for every row.

Comes in: a tally of observations and a client. Goes out: the tally, settled; or one error that carries its report.
Never: lets one key be in two requests at once, starts a request after a final refusal, or forgets a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.attempts import Reply, reply_to
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.encoding import Body, Encoder
from temporis_dagster.data_source.http.throttle import Stopped, Throttle
from temporis_dagster.data_source.report import Outcome, Tally

SEARCH_REQUESTS = 200
"""How many requests an upsert may spend on finding bad rows. One in a body of 2,000 takes 23."""

INTERRUPT_GRACE_S = 2.0
"""How long an interrupted upsert waits for the answers that are under way."""


LOOK_S = 0.5
"""How often whoever waits for a thread looks whether another waiter took note of its end, and was interrupted."""


class _Job:
    """The work of one thread. Its lock is held until it has ended."""

    def __init__(self) -> None:
        self.begun = self.cancelled = self.is_over = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def is_done(self) -> bool:
        """Whether it is over, or never begins."""
        return self.is_over or (self.cancelled and not self.begun)


class Workers:
    """The threads of one delivery.

    The caller's thread may be interrupted at any moment in here, and must leave no lock taken behind, and wait for
    nobody who does not run. So there is no ``threading.Condition`` (an interruption inside its methods, which are
    written in Python, leaves it locked) and no count that must be put back: a job is over once its thread noted that,
    which an interruption cannot hit, or if it was cancelled before it began. The thread notes that it begins before it
    looks whether it is cancelled, and whoever cancels looks in the opposite order, so that they never both go on. (Not
    thread.join(): in some versions of Python a join that was interrupted makes the next one return at once.)
    """

    def __init__(self) -> None:
        self._jobs: list[_Job] = []

    def start(self, work: Callable[[], None]) -> None:
        """Work in one more thread; in this one where there is none to be had."""
        job = _Job()
        thread = threading.Thread(target=self._run, args=[job, work], name=f"temporis-{len(self._jobs)}", daemon=True)
        try:
            self._jobs.append(job)
            thread.start()
        except RuntimeError as error:  # the machine has no more threads to give, or the interpreter is shutting down
            interruption = error.__context__
            if interruption is not None and not isinstance(interruption, Exception):
                job.cancelled = True  # interrupted inside, ``start`` may release a lock that it does not hold
                raise interruption from None
            self._run(job, work)
        except BaseException:
            job.cancelled = True
            raise

    def are_done(self) -> bool:
        """Whether all have ended."""
        return all(job.is_done() for job in self._jobs)

    def wait(self, at_most_s: float | None = None) -> bool:
        """Wait until all have ended, or for so long; whether they have."""
        until = None if at_most_s is None else time.monotonic() + at_most_s
        for job in tuple(self._jobs):
            while not job.is_done():
                left_s = LOOK_S if until is None else min(LOOK_S, until - time.monotonic())
                if left_s <= 0:
                    return False
                if job.ended.acquire(timeout=left_s):
                    job.ended.release()
        return True

    def _run(self, job: _Job, work: Callable[[], None]) -> None:
        job.begun = True
        try:
            if not job.cancelled:
                work()
        finally:
            job.is_over = True
            job.ended.release()


def in_a_worker(ask: Callable[[Callable[[], bool]], Reply], throttle: Throttle) -> Reply:
    """The reply to a single request, made in a thread: an interruption, which hits the caller's, cuts no turn in half.

    Args:
        ask: Makes the request; it is handed a function that says whether to start no further attempt.
        throttle: Whose turns it takes.
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
        throttle.wake()
        raise
    if crashes:
        raise crashes[0]
    return replies[0]


class Transport(Protocol):
    """What performs one attempt of a request."""

    def post(self, body: bytes) -> Answer:
        """Attempt one ingest; never raises for what happens on the wire."""
        ...


class Watcher(Protocol):
    """Hears of every attempt, in the thread that makes it."""

    def before_attempt(self, body: Body) -> None:
        """An attempt is about to start; whatever this raises stops the delivery."""
        ...

    def after_attempt(self, body: Body, answer: Answer) -> None:
        """An attempt ended."""
        ...


class Delivery:
    """One upsert over HTTP.

    Args:
        transport: Sends.
        throttle: Says when.
        encoder: Makes the bodies.
        tally: Takes the outcomes; its observations are the encoder's.
        workers: Who sends. After an interruption some may still be at it: whoever delivers next waits for them.
        watcher: Hears of every attempt.
    """

    def __init__(  # its parts
        self,
        transport: Transport,
        throttle: Throttle,
        encoder: Encoder,
        tally: Tally,
        workers: Workers,
        watcher: Watcher | None = None,
    ) -> None:
        self._transport, self._throttle, self._encoder, self._tally = transport, throttle, encoder, tally
        self._workers, self._watcher = workers, watcher
        self._bodies: Iterator[Body] = encoder.bodies()
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
            Why it stopped early, or None where every body got an answer of its own.
        """
        with self._throttle.engaged():
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
            while not self._stopped and (body := self._next()) is not None:
                self._deliver(body)
        except Stopped:
            return
        except BaseException as crash:  # noqa: BLE001  # raised again by run(), in the caller's thread
            self._crash = self._crash or crash
            self._stop(None)

    def _next(self) -> Body | None:
        with self._next_lock:
            return next(self._bodies, None)

    def _deliver(self, body: Body) -> None:
        """Send a body, and its parts where it is refused whole."""
        parts = [(body, False)]
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

    def _reply_to(self, body: Body, *, maybe_applied: bool) -> Reply:
        return reply_to(
            lambda so_far: self._attempt(body, so_far),
            self._throttle,
            maybe_applied=maybe_applied,
            stopped=lambda: self._stopped,
        )

    def _attempt(self, body: Body, so_far: Reply) -> Answer:
        """Make one attempt: counted before it starts, its answer settled as soon as it is known."""
        if self._watcher is not None:
            self._watcher.before_attempt(body)
        self._count(body, retry=so_far.attempts > 0)
        answer = self._transport.post(body.content)
        if self._watcher is not None:
            self._watcher.after_attempt(body, answer)
        if answer.meaning is Meaning.STORED:
            self._settle(body, Outcome.ACKNOWLEDGED)
        elif not (so_far.maybe_applied or answer.maybe_applied):
            self._settle(body, Outcome.UNSENT, reason="their request was refused, or never arrived: see the error")
        return answer

    def _parts(self, body: Body, reply: Reply) -> list[Body]:
        """What to send instead of a body that was refused whole, the first part last."""
        answer = reply.answer
        if len(body) == 1 and not answer.from_api:
            self._stop(reply)  # a proxy that takes not even a single record says nothing about this one
            return []
        if len(body) == 1:
            said = f"the service answered {answer.status}: {answer.words}".rstrip(": ")
            self._settle(body, Outcome.REJECTED, reason=said)
            # Halving is free, for later bodies are smaller; but a service that takes no body at all must end it.
            if answer.meaning is Meaning.TOO_LARGE:
                self._may_search(1, reply)
            return []
        if answer.meaning is Meaning.TOO_LARGE:
            self._encoder.shrink_to(len(body.content) // 2)
        elif not self._may_search(2, reply):
            return []
        return self._encoder.halves(body)[::-1]

    def _may_search(self, requests: int, reply: Reply) -> bool:
        """Whether so many more requests may be spent on finding bad rows; if not, that was it."""
        if self._search_left > 0:
            self._search_left -= requests
            return True
        self._stop(replace(reply, gave_up=f"{SEARCH_REQUESTS} requests did not find all of the bad rows"))
        return False

    def _count(self, body: Body, *, retry: bool) -> None:
        with self._tally_lock:
            if self._abandoned:
                raise Stopped
            self._tally.requests += 1
            self._tally.retries += retry
            self._tally.bytes_sent += len(body.content)
            # Until there is an answer, an interruption leaves these rows in doubt.
            self._tally.settle(
                body.rows, Outcome.UNKNOWN, reason="the request may have been applied: send the rows again"
            )

    def _settle(self, body: Body, outcome: Outcome, *, reason: str = "") -> None:
        with self._tally_lock:
            if not self._abandoned:
                self._tally.settle(body.rows, outcome, reason=reason)

    def _stop(self, reply: Reply | None) -> None:
        with self._tally_lock:
            self._refusal = self._refusal or reply
            self._stopped = True
        self._throttle.wake()
