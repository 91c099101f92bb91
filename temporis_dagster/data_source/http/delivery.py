"""Delivery: the one loop that sends many bodies. Concurrency, retries, halving, and an outcome for every row.

Comes in: a tally of observations and what performs attempts. Goes out: the tally, settled, and why it stopped early.
Never: lets one key be in two requests at once, starts a request after a final refusal, or forgets a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import Protocol

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.attempts import Reply, reply_to
from temporis_dagster.data_source.http.body_size import BodySize
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.encoding import Body, Encoder
from temporis_dagster.data_source.http.throttle import Stopped, Throttle
from temporis_dagster.data_source.report import Outcome, Tally

SEARCH_REQUESTS = 200
"""How many requests an upsert may spend to find rejected rows. To find one in a body of 2,000 takes 23."""

INTERRUPT_GRACE_S = 2.0
"""How many seconds an interrupted upsert waits for the answers that are under way."""

HELD_BYTES = 12_000_000
"""How many bytes of bodies are in memory at a time, as far as more than one body is, unless the caller sets a number of
requests in flight."""

LOOK_S = 0.5
"""How often a waiting thread checks whether a job has ended: another waiter, interrupted, may have kept its lock."""


class _Job:
    """The work of one thread. Its lock is held until the work has ended."""

    def __init__(self) -> None:
        self.begun = self.cancelled = self.is_over = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def is_done(self) -> bool:
        """Tell whether the work is over, or never begins."""
        return self.is_over or (self.cancelled and not self.begun)


class Workers:
    """The threads of one delivery.

    The caller's thread may be interrupted at any moment in here. Even then it must not leave a lock taken, or wait for
    a thread that does not run. So there is no ``threading.Condition`` (its methods are written in Python, and an
    interruption inside them leaves it locked) and no counter that must be restored: a job is over once its thread has
    noted that, which an interruption cannot hit, or if it was cancelled before it began. The thread notes that it
    begins before it checks whether it is cancelled; the thread that cancels checks in the opposite order, so that they
    never both go on. (Not thread.join(): in some versions of Python, an interrupted join makes the next one return at
    once.)
    """

    def __init__(self) -> None:
        self._jobs: list[_Job] = []

    def start(self, work: Callable[[], None]) -> bool:
        """Work in one more thread, or in the current one if no thread can be started.

        One of these threads may start others: the caller's wait for it is one for those as well.

        Returns:
            Whether the work has a thread of its own.
        """
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
            return False
        except BaseException:
            job.cancelled = True
            raise
        return True

    def are_done(self) -> bool:
        """Tell whether all threads have ended."""
        return all(job.is_done() for job in self._jobs)

    def wait(self, at_most_s: float | None = None) -> bool:
        """Wait until all threads have ended.

        Args:
            at_most_s: How many seconds to wait; None for no limit.

        Returns:
            Whether all threads have ended.
        """
        until = None if at_most_s is None else time.monotonic() + at_most_s
        for job in self._jobs:  # grows while a thread that is waited for starts others
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
    """Make a single request in a worker thread: Ctrl-C is raised in the caller's, so it never cuts a turn in half.

    Args:
        ask: Makes the request. Its argument tells whether not to start another attempt.
        throttle: The throttle whose turns the request takes.
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
        """Attempt one ingest. Never raises because of what happens on the wire."""
        ...


class Watcher(Protocol):
    """Is called before and after every attempt, in the thread that makes it."""

    def before_attempt(self, body: Body) -> None:
        """Prepare for an attempt that is about to start. An exception stops the delivery."""
        ...

    def after_attempt(self, body: Body, answer: Answer) -> None:
        """Take note of an attempt that has ended."""
        ...


class Delivery:
    """The delivery of one tally over HTTP.

    Args:
        transport: Performs the attempts.
        throttle: Decides when they start.
        encoder: Makes the bodies.
        size: The bounds that it makes them by.
        tally: Takes the outcomes; its observations are those of the encoder.
        workers: The threads that send. After an interruption some may still be sending; the next delivery waits for
            them.
        watcher: Is called before and after every attempt.
    """

    def __init__(  # its parts
        self,
        transport: Transport,
        throttle: Throttle,
        encoder: Encoder,
        size: BodySize,
        tally: Tally,
        workers: Workers,
        watcher: Watcher | None = None,
    ) -> None:
        self._transport, self._throttle, self._encoder = transport, throttle, encoder
        self._size, self._tally, self._workers, self._watcher = size, tally, workers, watcher
        self._bodies: Iterator[Body] = encoder.bodies()
        # From the thread that makes bodies to those that send them, and back: None says that no more comes, and wakes.
        self._ready: SimpleQueue[Body | None] = SimpleQueue()
        self._done: SimpleQueue[int | None] = SimpleQueue()
        # Of the thread that makes bodies: how many are made and not done with, their bytes, and who sends them.
        self._held = self._held_bytes = self._largest = self._senders = 0
        self._maker: int | None = None
        self._tally_lock = threading.Lock()
        self._search_left = SEARCH_REQUESTS
        self._stopped = self._abandoned = False
        self._refusal: Reply | None = None
        self._crash: BaseException | None = None

    def run(self, in_flight: int | None = None) -> Reply | None:
        """Send everything.

        Args:
            in_flight: The maximum number of requests at a time; None for what the throttle allows at the moment, as far
                as the bodies need no more than ``HELD_BYTES``.

        Returns:
            The reply that ended the delivery early, or None if every body was answered.
        """
        self._in_flight = in_flight
        with self._throttle.engaged():
            try:
                # A thread even for a single request: Ctrl-C is raised in the caller's thread, so it cuts no request in
                # half.
                self._workers.start(self._make)
                self._workers.wait()
            except BaseException:
                self._stop(None)
                self._abandon()
                raise
        if self._crash is not None:
            raise self._crash
        return self._refusal

    def _abandon(self) -> None:
        """Wait briefly for the answers that are under way; from then on, the tally does not change."""
        try:
            self._workers.wait(INTERRUPT_GRACE_S)
        finally:
            with self._tally_lock:
                self._abandoned = True

    def _make(self) -> None:
        """Make bodies, one ahead of those that are sent, and start the threads that send them as they are needed."""
        self._maker = threading.get_ident()
        with self._crashing():
            while not self._stopped and self._make_one():
                self._await_room()
        self._ready.put(None)

    def _make_one(self) -> bool:
        body = next(self._bodies, None)
        if body is None:
            return False
        if body.rows.stop == len(self._tally.observations) and self._senders < self._limit():
            self._deliver(body)  # the last one needs no other thread
            return False
        self._held += 1
        self._held_bytes += len(body.content)
        self._largest = max(self._largest, len(body.content))
        self._ready.put(body)
        if self._senders < min(self._held, self._limit()):
            self._senders += self._workers.start(self._send)
        return True

    def _limit(self) -> int:
        return self._throttle.limit if self._in_flight is None else self._in_flight

    def _await_room(self) -> None:
        """Wait until another body may be made: one more than may be sent at a time."""
        while not self._stopped and (self._is_full() or not self._done.empty()):
            done_bytes = self._done.get()
            if done_bytes is not None:
                self._held -= 1
                self._held_bytes -= done_bytes

    def _is_full(self) -> bool:
        by_bytes = self._in_flight is None and self._held_bytes + self._largest > HELD_BYTES
        return self._held > 0 and (by_bytes or self._held > self._limit())

    def _send(self) -> None:
        with self._crashing():
            while not self._stopped and self._send_one():
                pass

    def _send_one(self) -> bool:
        # Without any thread of its own it must not wait for bodies: it is in that of the maker.
        if threading.get_ident() == self._maker and self._ready.empty():
            return False
        body = self._ready.get()
        if body is None:
            self._ready.put(None)  # for the next thread
            return False
        try:
            self._deliver(body)
        finally:
            self._done.put(len(body.content))
        return True

    @contextmanager
    def _crashing(self) -> Iterator[None]:
        """Let what goes wrong in a thread be raised by run(), in the caller's thread."""
        try:
            yield
        except Stopped:
            return
        except BaseException as crash:  # noqa: BLE001  # raised again
            self._crash = self._crash or crash
            self._stop(None)

    def _deliver(self, body: Body) -> None:
        """Send a body, and then its parts if it is refused as a whole."""
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
            body_bytes=len(body.content),
            maybe_applied=maybe_applied,
            stopped=lambda: self._stopped,
        )

    def _attempt(self, body: Body, so_far: Reply) -> Answer:
        """Make one attempt: count it before it starts, and settle its answer as soon as it is known."""
        if self._watcher is not None:
            self._watcher.before_attempt(body)
        self._count(body, retry=so_far.attempts > 0)
        begun = self._throttle.now()
        answer = self._transport.post(body.content)
        self._size.answered(len(body), self._throttle.now() - begun, is_stored=answer.meaning is Meaning.STORED)
        if self._watcher is not None:
            self._watcher.after_attempt(body, answer)
        if answer.meaning is Meaning.STORED:
            self._settle(body, Outcome.ACKNOWLEDGED)
        elif not (so_far.maybe_applied or answer.maybe_applied):
            self._settle(body, Outcome.UNSENT, reason="the request was refused, or never arrived: see the error")
        return answer

    def _parts(self, body: Body, reply: Reply) -> list[Body]:
        """Return what to send instead of a body that was refused as a whole, the first part last."""
        answer = reply.answer
        if len(body) == 1 and not answer.from_api:
            self._stop(reply)  # a proxy that refuses even a single record does not judge this record
            return []
        if len(body) == 1:
            said = f"the service answered {answer.status}: {answer.words}".rstrip(": ")
            self._settle(body, Outcome.REJECTED, reason=said)
            # Halving costs nothing, as later bodies are smaller; but a service that refuses every body must end it.
            if answer.meaning is Meaning.TOO_LARGE:
                self._may_search(1, reply)
            return []
        if answer.meaning is Meaning.TOO_LARGE:
            self._size.shrink_to(len(body.content) // 2)
        elif not self._may_search(2, reply):
            return []
        return self._encoder.halves(body)[::-1]

    def _may_search(self, requests: int, reply: Reply) -> bool:
        """Spend this number of requests on finding rejected rows. Without any left, stop the delivery, return False."""
        if self._search_left > 0:
            self._search_left -= requests
            return True
        self._stop(replace(reply, gave_up=f"{SEARCH_REQUESTS} requests did not find all of them"))
        return False

    def _count(self, body: Body, *, retry: bool) -> None:
        with self._tally_lock:
            if self._abandoned:
                raise Stopped
            self._tally.requests += 1
            self._tally.retries += retry
            self._tally.bytes_sent += len(body.content)
            # Until there is an answer, an interruption leaves these rows unknown.
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
        self._ready.put(None)
        self._done.put(None)
        self._throttle.wake()
