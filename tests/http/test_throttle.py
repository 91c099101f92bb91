"""A service with a rate limit: everything gets through, few requests are refused, and a dead service is still dead."""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections import deque

import pytest

from temporis_dagster import UnavailableError
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.rate import Rate
from temporis_dagster.data_source.http.retry import GiveUp, RetryPolicy
from temporis_dagster.data_source.http.throttle import LONGEST_HOLD_S, Throttle
from temporis_dagster.data_source.http.window import FIRST_IN_FLIGHT, MOST_IN_FLIGHT
from tests.support.delivery_tools import FakeClock, connected, rows

BUDGET = RetryPolicy().budget
STORED = Answer(204, "")


class MustWaitError(Exception):
    """A request may not start yet, with the time to wait if that is known."""


class SimulatedClock(FakeClock):
    """Time in a simulation without threads: instead of waiting, the simulation moves on to the next event."""

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        raise MustWaitError(seconds)


class Simulation:
    """Workers with one throttle in a single thread, in exact time.

    Args:
        service: Is asked for an answer when a request arrives, half of ``answers_after_s`` after it started.
        clock: The time.
        workers: How many there are; None for as many as the throttle finds out.
        answers_after_s: How long an answer takes.
    """

    def __init__(self, service, clock, workers, *, answers_after_s=0.1, policy=None, seed=0) -> None:
        chance = random.Random(seed).random
        self.throttle = Throttle(policy or RetryPolicy(), max_in_flight=workers, clock=clock, chance=chance)
        self.throttle._changed.wait = self._block
        self._service, self._clock, self._answers_after_s = service, clock, answers_after_s
        self._idle = workers or MOST_IN_FLIGHT
        self._events, self._count = [], 0
        self.requests, self.gave_up = 0, None

    def _block(self, _timeout=None) -> None:
        raise MustWaitError(math.inf)

    def run(self, batches: int) -> int:
        """Run the simulation, and return how many bodies were stored."""
        stored, waiting = 0, deque()
        with self.throttle.engaged():
            while stored < batches and self.gave_up is None:
                while self._idle and batches - stored > len(waiting) + self._under_way():
                    self._idle -= 1
                    waiting.append((0.0, 0))
                later = min((self._tried(*waiting.popleft(), waiting) for _ in range(len(waiting))), default=math.inf)
                stored += self._next(self._clock.now() + later, waiting)
        return stored

    def _under_way(self) -> int:
        return len(self._events)

    def _tried(self, not_before, attempts, waiting) -> float:
        """Start a request, or return how long it has to wait."""
        try:
            number = self.throttle.turn(lambda: False, not_before=not_before)
        except MustWaitError as must:
            waiting.append((not_before, attempts))
            return must.args[0]
        self.requests += 1
        self._count += 1
        arrives = self._clock.now() + self._answers_after_s / 2
        heapq.heappush(self._events, (arrives, self._count, number, attempts + 1, None))
        return math.inf

    def _next(self, until, waiting) -> int:
        """Go on to the next event."""
        if not self._events or until < self._events[0][0]:
            self._clock.advance(until - self._clock.now())
            return 0
        moment, _, number, attempts, answer = heapq.heappop(self._events)
        self._clock.advance(max(moment - self._clock.now(), 0.0))
        if answer is None:
            self._count += 1
            event = (moment + self._answers_after_s / 2, self._count, number, attempts, self._service.post(b""))
            heapq.heappush(self._events, event)
            return 0
        if answer.status == 204:
            self.throttle.alive(number, stored_bytes=750_000)
            self._idle += 1
            return 1
        resume = self.throttle.failed(number, answer, attempts, unclear=0)
        if isinstance(resume, GiveUp):
            self.gave_up = resume.reason
            return 0
        waiting.append((resume, attempts))
        return 0


class Limited:
    """A service that takes a number of requests per second.

    Args:
        clock: What time it is.
        rate: Requests per second.
        kind: ``bucket`` saves up to ``burst`` requests; ``window`` counts those of each ``span_s`` of the clock;
            ``gap`` wants time between two; ``log`` counts those of the last ``span_s``, also those that it refused.
        burst: How many at once.
        span_s: How long a window is.
        retry_after_s: What it asks for, if anything.
        status: What it refuses with.
    """

    def __init__(self, clock, rate, kind="bucket", *, burst=None, span_s=None, retry_after_s=None, status=429) -> None:
        self._clock, self._rate, self._kind = clock, rate, kind
        self._span_s = span_s or max(1.0, 1 / rate)
        self._burst = burst or max(rate, 1)
        self._refusal = Answer(status, "slow down", retry_after_s=retry_after_s, maybe_applied=status != 429)
        self._tokens, self._at, self._log_of = float(self._burst), clock.now(), deque()
        self._lock = threading.Lock()
        self.taken = self.refused = 0

    def post(self, body):
        with self._lock:
            if getattr(self, f"_{self._kind}")(self._clock.now()):
                self.taken += 1
                return STORED
            self.refused += 1
            return self._refusal

    def _bucket(self, now):
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._burst)
        self._at = now
        passes = self._tokens >= 1
        self._tokens -= passes
        return passes

    def _window(self, now):
        if int(now / self._span_s) != int(self._at / self._span_s):
            self._tokens, self._at = self._rate * self._span_s, now
        self._tokens -= 1
        return self._tokens >= 0

    def _gap(self, now):
        passes = now - self._at >= 1 / self._rate
        self._at = now if passes else self._at
        return passes

    def _log(self, now):
        while self._log_of and self._log_of[0] <= now - self._span_s:
            self._log_of.popleft()
        self._log_of.append(now)
        return len(self._log_of) <= self._rate * self._span_s

    @property
    def share(self):
        return self.refused / (self.refused + self.taken)


KINDS = ["bucket", "window", "gap", "log"]


@pytest.mark.parametrize("retry_after_s", [None, 1])
@pytest.mark.parametrize("answers_after_s", [0.01, 0.3])
@pytest.mark.parametrize("workers", [None, 1, 4, 16])
@pytest.mark.parametrize("rate", [1, 5, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limited_service_takes_the_whole_load(kind, rate, workers, answers_after_s, retry_after_s):
    """Of 200 bodies all are stored, and at most 15 % of the requests are refused, whatever kind of limit it is."""
    clock = SimulatedClock()
    service = Limited(clock, rate, kind, retry_after_s=retry_after_s)
    simulation = Simulation(service, clock, workers, answers_after_s=answers_after_s)
    assert simulation.run(200) == 200, simulation.gave_up
    assert service.taken == 200
    assert service.share <= 0.15, f"{service.share:.1%}"


@pytest.mark.parametrize("workers", [None, 1, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_is_called_unavailable_is_met_as_well(kind, workers):
    """Like nginx, it answers 503 above its limit: more are refused than with 429, because 503 has other reasons."""
    clock = SimulatedClock()
    service = Limited(clock, 5, kind, status=503)
    assert Simulation(service, clock, workers).run(200) == 200
    assert service.share <= 0.25, f"{service.share:.1%}"


@pytest.mark.parametrize("workers", [1, 16])
def test_a_window_of_a_minute_is_waited_out(workers):
    """With 600 requests per minute, even all at its start, 2,000 bodies get through in about six minutes."""
    clock = SimulatedClock()
    service = Limited(clock, 10, "window", span_s=60)
    assert Simulation(service, clock, workers).run(2000) == 2000
    assert service.share <= 0.15
    assert clock.now() - 1000 < 3 * 2000 / 10


class TwoOfThree:
    """A service that answers 503 to two of three requests, in turn or at random."""

    def __init__(self, chance=None) -> None:
        self._chance, self._count = chance, 0

    def post(self, body):
        self._count += 1
        fails = self._count % 3 if self._chance is None else self._chance() < 2 / 3
        return Answer(503, "busy", maybe_applied=True) if fails else STORED


@pytest.mark.parametrize("workers", [None, 1, 4, 16])
@pytest.mark.parametrize("chance", [None, random.Random(1).random], ids=["in turn", "at random"])
def test_a_service_that_fails_twice_in_three_requests_gets_the_whole_load(chance, workers):
    """It keeps acknowledging, and the budget is for a service that acknowledges nothing."""
    simulation = Simulation(TwoOfThree(chance), SimulatedClock(), workers)
    assert simulation.run(200) == 200, simulation.gave_up
    assert simulation.requests < 1000


@pytest.mark.parametrize("workers", [None, 1, 4, 16, 64])
@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_takes_nothing_gets_few_requests(status, workers):
    """Those under way and the budget, although failures of requests that were under way together are one."""
    simulation = Simulation(Always(Answer(status, "no")), SimulatedClock(), workers)
    assert simulation.run(1000) == 0
    at_once = workers or FIRST_IN_FLIGHT
    assert at_once < simulation.requests <= at_once + BUDGET


class Always:
    """One answer to everything."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def post(self, body):
        return self.answer


class FastClock:
    """A real clock that runs a number of times as fast, for threads that wait at the same time."""

    def __init__(self, speed: float) -> None:
        self._speed, self._begun = speed, time.monotonic()

    def now(self) -> float:
        return 1000.0 + (time.monotonic() - self._begun) * self._speed

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        condition.wait(seconds / self._speed)


@pytest.mark.parametrize("retry_after_s", [None, 1])
def test_a_limited_service_takes_the_whole_load_of_real_threads(retry_after_s):
    """With 5 requests per second and 16 threads, everything is stored, and no thread waits forever."""
    clock = FastClock(100)
    service = Limited(clock, 5, retry_after_s=retry_after_s)
    with connected(service, clock=clock, batch_rows=1, max_in_flight=16) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(200))
    assert (report.stored, service.taken) == (200, 200)


def test_a_single_failure_after_an_outage_costs_a_retry():
    """The outage used up the budget; an upsert after it has retries of its own, at once and later."""
    for later_s in (0, 5, 20, 40):
        clock = FakeClock()
        transport = Always(Answer(503, "busy"))
        with connected(transport, clock=clock, batch_rows=1, max_in_flight=2) as temporis:
            source = temporis.data_source("store_metrics")
            with pytest.raises(UnavailableError):
                source.upsert(rows(5))
            clock.advance(later_s)
            answers = iter([Answer(503, "busy")])
            transport.post = lambda _body, answers=answers: next(answers, STORED)
            before = clock.now()
            assert source.upsert(rows(5)).stored == 5
            assert clock.now() - before < 10, "the waits of the outage went on"


@pytest.mark.parametrize("asked_s", [LONGEST_HOLD_S + 1, 86_400.0, 1e9])
def test_no_retry_after_closes_a_connection_for_long(asked_s):
    """If the number is nonsense, the service is asked again an hour later."""
    clock = FakeClock()
    transport = Always(Answer(503, "busy", retry_after_s=asked_s))
    with connected(transport, clock=clock) as temporis:
        source = temporis.data_source("store_metrics")
        with pytest.raises(UnavailableError) as caught:
            source.upsert(rows(1))
        assert caught.value.retry_after_s == asked_s
        transport.answer = STORED
        clock.advance(LONGEST_HOLD_S - 1)
        with pytest.raises(UnavailableError):
            source.upsert(rows(1))
        clock.advance(1)
        assert source.upsert(rows(1)).stored == 1


def test_a_rate_that_is_not_used_does_not_rise():
    """A request per minute does not show what the service can take: the next load begins where the last one ended."""
    rate, now = Rate(), 0.0
    assert rate.refused(rate.started(now), at_least_s=0.5)
    for _ in range(1000):
        now += 60
        rate.acknowledged(rate.started(now))
    assert rate.interval_s == 0.5


def test_a_limit_that_is_lifted_is_forgotten():
    """After some hundred acknowledgements, requests are not held back any more."""
    rate, now = Rate(), 0.0
    for _ in range(10):
        rate.refused(rate.started(now), at_least_s=0.5)
    assert rate.interval_s == 30
    count = 0
    while rate.interval_s and count < 1000:
        now, count = rate.next_start(), count + 1
        rate.acknowledged(rate.started(now))
    assert count < 200
    assert now < 300


def test_refusals_of_requests_under_way_count_once():
    """Sixteen refusals at once are one sign that there were too many requests."""
    rate = Rate()
    numbers = [rate.started(0.0) for _ in range(16)]
    assert [rate.refused(number, at_least_s=0.5) for number in numbers] == [True] + 15 * [False]
    assert rate.interval_s == 0.5
