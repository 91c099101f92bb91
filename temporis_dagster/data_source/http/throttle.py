"""Throttle: when the next request of a connection may start, and whether another attempt still makes sense.

Comes in: acknowledgements and failures, from any thread. Goes out: turns, waits, or Stopped.
Never: sends. The clock is handed in, so that tests need not wait.

While nothing gets through, one request at a time tries; so a dead service gets at most ``max_in_flight`` requests and
the retry budget, however many batches wait. (Failures of requests that were under way together take one from the
budget; there are fewer than ``max_in_flight`` of those before one at a time tries, and each of these takes one.) An
acknowledgement restores the whole budget: a service that takes requests now and then is slow, not dead.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.rate import Rate
from temporis_dagster.data_source.http.retry import GiveUp, RetryPolicy, Situation, next_step

LOGGER = logging.getLogger(__name__)

TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE = 429, 503
FIRST_INTERVAL_S = 0.5
"""How far apart requests start at first once a service has said that there are too many."""

BUSY_INTERVAL_S = 1.0
"""How far apart they start at most where it is unavailable: some say so of too many requests, others at random."""

LONGEST_HOLD_S = 3600.0
"""How long a connection stays closed because of one Retry-After: then it asks again. Some services send nonsense."""

WARN_EVERY_S = 30.0
"""An upsert that waits says so: at once, and then not more often than this."""


class Clock(Protocol):
    """Time, as far as delivery needs it."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait on a condition that the caller holds, for at most so long."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait on a condition that the caller holds, for at most so long."""
        condition.wait(min(seconds, threading.TIMEOUT_MAX))


class Stopped(Exception):  # noqa: N818  # a signal inside this room, never an error of a user
    """No further request may start."""


class HeldBack(Exception):  # noqa: N818  # a signal inside this room, never an error of a user
    """The service asked for a longer wait than anybody here has the patience for."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer, self.reason = answer, reason


class Throttle:
    """The pace of one connection.

    Args:
        policy: How patient to be.
        max_in_flight: How many requests may be under way at once.
        requests_per_second: The fastest pace, or None.
        service: What warnings call it.
        clock: What time it is.
        chance: Random numbers in [0, 1).
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        max_in_flight: int,
        requests_per_second: float | None = None,
        service: str = "the service",
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._max_in_flight = policy, max_in_flight
        self._interval_s = 1 / requests_per_second if requests_per_second else 0.0
        self._service, self._warn_at = service, 0.0
        self._clock, self._chance = clock or SystemClock(), chance
        # Taken as it is, not through the condition: an interruption inside ``Condition.__enter__``, which is written in
        # Python, would leave it locked for good.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._not_before = self._last_sign = self._clock.now()
        self._budget, self._failures, self._in_flight = policy.budget, 0, 0
        self._rate, self._counted = Rate(), 0
        self._engaged, self._idle_since = 0, self._clock.now()
        self._closed_until, self._closed_by = self._clock.now(), Answer(None, "")

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """An upsert: silence counts from its begin, and it has retries of its own, more if the connection was idle."""
        is_engaged = False
        try:
            with self._lock:
                if not self._engaged:
                    self._recover(self._clock.now() - self._idle_since)
                    self._warn_at = self._clock.now()
                self._budget = max(self._budget, min(self._policy.own_budget, self._policy.budget))
                self._last_sign = max(self._last_sign, self._clock.now())
                self._engaged += 1
                is_engaged = True
            yield
        finally:
            if is_engaged:
                with self._lock:
                    self._engaged -= 1
                    self._idle_since = self._clock.now()

    def _recover(self, idle_s: float) -> None:
        refill = int(idle_s / self._policy.longest_wait_s)
        if refill:
            self._budget = min(self._budget + refill, self._policy.budget)
        # One at a time tries until something gets through, but the waits are short again.
        self._failures = 0 if refill else min(self._failures, self._max_in_flight)

    def wake(self) -> None:
        """Let everyone who waits look whether it was stopped."""
        with self._lock:
            self._changed.notify_all()

    def turn(self, stopped: Callable[[], bool], *, not_before: float = 0.0) -> int:
        """Return when a request may start. Whoever got a turn says how it ended: ``alive``, ``failed`` or ``leave``.

        Args:
            stopped: Whether the upsert of this request was stopped meanwhile.
            not_before: When this request itself may start, on the clock.

        Returns:
            The number of the request, for ``failed``.

        Raises:
            Stopped: It was.
            HeldBack: The service asked for a wait beyond all patience, and it is not over.
        """
        with self._lock:
            while not stopped():
                self._check_open()
                wait_s = max(self._not_before, not_before) - self._clock.now()
                if wait_s > 0:
                    self._clock.wait(self._changed, wait_s)
                elif self._in_flight >= (1 if self._nothing_gets_through() else self._max_in_flight):
                    self._changed.wait()
                else:
                    return self._start(self._clock.now())
            raise Stopped

    def _start(self, now: float) -> int:
        self._in_flight += 1
        number = self._rate.started(now)
        self._not_before = max(self._not_before, now + self._interval_s, self._next_start())
        return number

    def leave(self) -> None:
        """A request ended, and nothing is to be learned from it."""
        with self._lock:
            self._in_flight -= 1
            self._changed.notify_all()

    def alive(self, number: int) -> None:
        """A request ended, which one: the service answered something that is not a transient failure."""
        with self._lock:
            self._last_sign = self._clock.now()
            self._failures, self._budget = 0, self._policy.budget
            self._rate.acknowledged(number)
            self.leave()

    def failed(self, number: int, answer: Answer, attempts: int, unclear: int) -> float | GiveUp:
        """A request ended: it failed in a way that may pass.

        Args:
            number: Which one: what ``turn`` returned.
            answer: What came back.
            attempts: How many attempts its batch has had.
            unclear: How many of those had an answer that may not pass.

        Returns:
            When its batch may be tried again, on the clock; or why not.
        """
        with self._lock:
            self._failures += 1
            self._slow_down(number, answer)
            self.leave()
            outage = self._failures - self._max_in_flight
            situation = Situation(
                failures=max(attempts, outage),
                unclear=unclear,
                silence_s=self._clock.now() - self._last_sign,
                budget_left=self._budget,
            )
            step = next_step(self._policy, situation, answer, self._chance())
            if isinstance(step, GiveUp):
                self._remember(answer)
                return step
            # Failures that were under way together cost one; but of those without any acknowledgement no more than may
            # be in flight, which bounds the requests to a dead service by ``max_in_flight`` and the budget.
            if number > self._counted or self._failures > self._max_in_flight:
                self._budget -= 1
                self._counted = self._rate.count
            self._warn(answer, self._policy.give_up_after_s - situation.silence_s)
            return self._resume_at(answer, self._clock.now() + step.seconds)

    def _slow_down(self, number: int, answer: Answer) -> None:
        if answer.status == TOO_MANY_REQUESTS:
            self._rate.refused(number, at_least_s=FIRST_INTERVAL_S)
        elif answer.status == SERVICE_UNAVAILABLE:
            self._rate.refused(number, at_most_s=BUSY_INTERVAL_S)
        self._not_before = max(self._not_before, self._next_start())

    def _next_start(self) -> float:
        """When the throttle lets the next request start, at the latest at the end of the patience: the last attempt."""
        return min(self._rate.next_start(), self._last_sign + self._policy.give_up_after_s)

    def _warn(self, answer: Answer, left_s: float) -> None:
        """Silence for minutes would look like work."""
        if self._clock.now() < self._warn_at:
            return
        self._warn_at = self._clock.now() + WARN_EVERY_S
        said = f"{answer.status}: {answer.words}" if answer.status else answer.words
        asked = "" if answer.retry_after_s is None else f" It asks to wait {answer.retry_after_s:.0f} s."
        LOGGER.warning("%s failed (%s).%s Trying again for up to %.0f s.", self._service, said, asked, left_s)

    def _resume_at(self, answer: Answer, moment: float) -> float:
        """Hold everyone back for as long as the service asks, or while nothing gets through; else only this batch."""
        if self._nothing_gets_through():
            self._not_before = max(self._not_before, moment)
        elif answer.retry_after_s is not None:
            self._not_before = max(self._not_before, self._clock.now() + answer.retry_after_s)
        return moment

    def _remember(self, answer: Answer) -> None:
        """What the service asked for holds for later upserts too; those that cannot wait so long are not to try."""
        asked_s = answer.retry_after_s or 0.0
        moment = self._clock.now() + asked_s
        if asked_s <= self._policy.give_up_after_s:
            self._not_before = max(self._not_before, moment)
        elif moment > self._closed_until:
            self._closed_until, self._closed_by = min(moment, self._clock.now() + LONGEST_HOLD_S), answer

    def _check_open(self) -> None:
        left_s = self._closed_until - self._clock.now()
        if left_s > 0:
            answer = replace(self._closed_by, retry_after_s=left_s, maybe_applied=False)
            raise HeldBack(answer, f"it asked to wait another {left_s:.0f} s")

    def _nothing_gets_through(self) -> bool:
        return self._failures >= self._max_in_flight


def is_sign_of_life(answer: Answer) -> bool:
    """Whether an answer shows a service at work: it stored the records, or it had a reason of its own not to."""
    return answer.meaning not in (Meaning.TRANSIENT, Meaning.UNCLEAR, Meaning.UNEXPECTED)
