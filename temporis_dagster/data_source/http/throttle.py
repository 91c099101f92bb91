"""Throttle: when the next request of a connection may start, and whether another attempt still makes sense.

Comes in: acknowledgements and failures, from any thread. Goes out: turns, waits, reasons to give up, Stopped, HeldBack.
Never: sends, or looks at a clock of its own: the clock is passed in, so that tests need not wait.

The states of a connection, and which method changes them
---------------------------------------------------------
::

                                      failed(): N failures in a row
      OPEN                            ─────────────────────────────────────────>  ONE AT A TIME
      up to N requests                <─────────────────────────────────────────  a single request tries
       │                              alive(): an acknowledgement                      │
       │                              engaged(): after an idle time                    │
       └─────────────────────────────────────┬─────────────────────────────────────────┘
                                             │ failed(): the retry budget is used up; or give_up_after_s is over, or
                                             │           the service asks for a wait beyond it; or the same body got
                                             v           too many answers that may be permanent
                                          GIVE UP
                                          the upsert ends; a later one starts in the state from which this one came,
                                          or OPEN after an idle time, with a few retries of its own (engaged())
                                             │
                                             │ failed(): only if the service asked for a wait beyond give_up_after_s
                                             v
                                          CLOSED
                                          turn() raises HeldBack until that wait is over, for an hour at most

N is the limit of the window: ``max_in_flight``, or what was learned of the service (``window``). An outage counts with
the N from before its first failure, although the window falls with it.

In every state, no request starts before ``_not_before``. ``requests_per_second``, the rate and each Retry-After that
does not lead to CLOSED move it forward, and so do the waits between attempts while nothing gets through; in OPEN, such
a wait holds back only its own body. Nothing moves it back.

What follows from this
----------------------
While nothing gets through, one request at a time tries. So a dead service receives at most N requests plus the retry
budget, however many bodies wait. Failures of requests that were under way at the same time take one from the budget:
fewer than N of those can happen before one at a time tries, and from then on each failure takes one. An acknowledgement
restores the whole budget: a service that accepts a request now and then is slow, not dead. (In this module, to
*acknowledge* is any sign of life: see ``is_sign_of_life``.)
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
from temporis_dagster.data_source.http.window import Window
from temporis_dagster.wording import counted

LOGGER = logging.getLogger(__name__)

TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE = 429, 503
FIRST_INTERVAL_S = 0.5
"""How far apart requests start, at first, once a service has answered that there are too many (429)."""

BUSY_INTERVAL_S = 1.0
"""How far apart they start at most after a 503: some services mean too many requests by it, others fail at random."""

LONGEST_HOLD_S = 3600.0
"""How long one Retry-After can close a connection before it asks again. Some services send nonsense."""

WARN_EVERY_S = 30.0
"""An upsert that waits logs a warning at once, and another no more often than this."""


class Clock(Protocol):
    """Time, to the extent that delivery needs it."""

    def now(self) -> float:
        """Return seconds on a clock that never goes backward."""
        ...

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait on a condition that the caller holds, for at most this many seconds."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return seconds on a clock that never goes backward."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait on a condition that the caller holds, for at most this many seconds."""
        condition.wait(min(seconds, threading.TIMEOUT_MAX))


class Stopped(Exception):  # noqa: N818  # a signal inside this folder that no user sees
    """No further request may start."""


class HeldBack(Exception):  # noqa: N818  # a signal inside this folder that no user sees
    """The service asked for a wait beyond ``give_up_after_s``, and that wait is not over."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer, self.reason = answer, reason


class Throttle:
    """The states of one connection, shared by its upserts and their threads.

    Args:
        policy: How patient to be.
        max_in_flight: The maximum number of requests at a time; None adapts it (``window``).
        requests_per_second: The maximum number of requests started per second; None for no limit.
        service: What log messages call the service.
        clock: What time it is.
        chance: Returns a random number in [0, 1).
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        max_in_flight: int | None,
        requests_per_second: float | None = None,
        service: str = "the service",
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        # What never changes.
        self._policy = policy
        self._interval_s = 1 / requests_per_second if requests_per_second else 0.0
        self._service, self._clock, self._chance = service, clock or SystemClock(), chance
        # Acquired directly, not through the condition: an interruption inside ``Condition.__enter__``, which is written
        # in Python, would leave it locked for good.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        now = self._clock.now()
        # When the next request may start; how many may be under way; and those that are: when each started, as which.
        self._rate, self._not_before, self._window = Rate(), now, Window(max_in_flight)
        self._under_way: dict[int, tuple[float, int]] = {}
        # OPEN or ONE AT A TIME: failures since the last acknowledgement, when that was, and how many failures it takes.
        self._failures, self._last_sign, self._abreast = 0, now, self._window.limit
        # How many more retries there are, and the last request that had started when one was last taken.
        self._budget, self._charged = policy.budget, 0
        # CLOSED: until when, and by which answer.
        self._closed_until, self._closed_by = now, Answer(None, "")
        # How many upserts are running, since when none is, and when they may log the next warning.
        self._engaged, self._idle_since, self._warn_at = 0, now, 0.0

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Run an upsert: silence counts from its start, and it gets retries of its own, more after an idle time."""
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
        # Without an idle time, a single request still tries, but the waits are short again.
        self._failures = 0 if refill else min(self._failures, self._abreast)

    @property
    def limit(self) -> int:
        """How many requests may be under way now, as far as the service has shown."""
        return self._window.limit

    def now(self) -> float:
        """Return seconds on the clock of the throttle."""
        return self._clock.now()

    def wake(self) -> None:
        """Make every thread that waits for a turn check whether its upsert was stopped."""
        with self._lock:
            self._changed.notify_all()

    def turn(self, stopped: Callable[[], bool], *, not_before: float = 0.0) -> int:
        """Return once a request may start; the caller then reports how it ended: ``alive``, ``failed`` or ``leave``.

        Args:
            stopped: Whether the upsert of this request was stopped in the meantime.
            not_before: When this request may start at the earliest, on the clock.

        Returns:
            The number of the request, for ``alive`` and ``failed``.

        Raises:
            Stopped: The upsert was stopped.
            HeldBack: The service asked for a wait beyond ``give_up_after_s``, and that wait is not over.
        """
        with self._lock:
            while not stopped():
                self._check_open()
                wait_s = max(self._not_before, not_before) - self._clock.now()
                if wait_s > 0:
                    self._clock.wait(self._changed, wait_s)
                elif len(self._under_way) >= (1 if self._nothing_gets_through() else self._window.limit):
                    self._changed.wait()
                else:
                    return self._start(self._clock.now())
            raise Stopped

    def _start(self, now: float) -> int:
        number = self._rate.started(now)
        self._under_way[number] = now, len(self._under_way) + 1
        self._not_before = max(self._not_before, now + self._interval_s, self._next_start())
        return number

    def leave(self, number: int) -> None:
        """End a request that shows nothing about the service.

        Args:
            number: What ``turn`` returned.
        """
        with self._lock:
            del self._under_way[number]
            self._changed.notify_all()

    def alive(self, number: int, stored_bytes: int = 0) -> None:
        """End a request that was acknowledged: its answer is a sign of life.

        Args:
            number: What ``turn`` returned.
            stored_bytes: The size of the body that was stored; 0 for an answer that says nothing about speed.
        """
        with self._lock:
            self._last_sign = self._clock.now()
            self._failures, self._budget = 0, self._policy.budget
            self._rate.acknowledged(number)
            if stored_bytes:
                started, under_way = self._under_way[number]
                self._window.acknowledged(
                    number,
                    self._rate.count,
                    seconds=self._last_sign - started,
                    body_bytes=stored_bytes,
                    under_way=under_way,
                    is_full=len(self._under_way) >= self._window.limit,
                )
            self.leave(number)

    def failed(self, number: int, answer: Answer, attempts: int, unclear: int) -> float | GiveUp:
        """End a request that failed in a way that may be temporary.

        Args:
            number: What ``turn`` returned.
            answer: What came back.
            attempts: How many attempts its body has had.
            unclear: How many of those had an answer that may be permanent.

        Returns:
            When its body may be attempted again, on the clock; or why not.
        """
        with self._lock:
            if not self._failures:
                self._abreast = max(self._window.limit, len(self._under_way))
            self._failures += 1
            self._slow_down(number, answer)
            self.leave(number)
            outage = self._failures - self._abreast
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
            # Failures of requests that were under way together take one from the budget. After as many in a row as may
            # have been under way, each failure takes one, which bounds the requests to a dead service.
            if number > self._charged or self._failures > self._abreast:
                self._budget -= 1
                self._charged = self._rate.count
            self._warn(answer, unclear, self._policy.give_up_after_s - situation.silence_s)
            return self._resume_at(answer, self._clock.now() + step.seconds)

    def _slow_down(self, number: int, answer: Answer) -> None:
        is_refusal = answer.status in (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE)
        under_way = self._under_way[number][1]
        self._window.failed(number, self._rate.count, under_way=under_way, is_refusal=is_refusal)
        if answer.status == TOO_MANY_REQUESTS:
            self._rate.refused(number, at_least_s=FIRST_INTERVAL_S)
        elif answer.status == SERVICE_UNAVAILABLE:
            self._rate.refused(number, at_most_s=BUSY_INTERVAL_S)
        self._not_before = max(self._not_before, self._next_start())

    def _next_start(self) -> float:
        """When the rate allows the next request, but no later than the moment at which to give up: the last attempt."""
        return min(self._rate.next_start(), self._last_sign + self._policy.give_up_after_s)

    def _warn(self, answer: Answer, unclear: int, left_s: float) -> None:
        """Log a warning, because minutes of silence would look like work."""
        if self._clock.now() < self._warn_at:
            return
        self._warn_at = self._clock.now() + WARN_EVERY_S
        said = f"{answer.status}: {answer.words}" if answer.status else answer.words
        asked = "" if answer.retry_after_s is None else f" It asks to wait {answer.retry_after_s:.0f} s."
        # An answer that may be permanent ends the attempts by their number, long before the time is over.
        left = counted(self._policy.unclear + 1 - unclear, "more time")
        limit = f" at most {left}," if answer.meaning is Meaning.UNCLEAR else ""
        LOGGER.warning("%s failed (%s).%s Trying again%s for up to %.0f s.", self._service, said, asked, limit, left_s)

    def _resume_at(self, answer: Answer, moment: float) -> float:
        """Delay all requests while the service asks for it or nothing gets through; otherwise only this body's."""
        if self._nothing_gets_through():
            self._not_before = max(self._not_before, moment)
        elif answer.retry_after_s is not None:
            self._not_before = max(self._not_before, self._clock.now() + answer.retry_after_s)
        return moment

    def _remember(self, answer: Answer) -> None:
        """Keep to the requested wait in later upserts too; close the connection if they cannot wait that long."""
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
        return self._failures >= self._abreast


def is_sign_of_life(answer: Answer) -> bool:
    """Tell whether an answer shows a working service: it stored the records, or had a reason of its own not to."""
    return answer.meaning not in (Meaning.TRANSIENT, Meaning.UNCLEAR, Meaning.UNEXPECTED)
