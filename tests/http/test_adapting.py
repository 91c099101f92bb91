"""Adapting: how many requests are under way, and how large, follows the service; what the caller sets, stays."""

from __future__ import annotations

import heapq
import threading

import pytest

from temporis_dagster import connect
from temporis_dagster.data_source.http import delivery
from temporis_dagster.data_source.http.body_size import FIRST_ROWS, LEAST_ROWS, MOST_ROWS, BodySize
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.retry import RetryPolicy
from temporis_dagster.data_source.http.throttle import Throttle
from temporis_dagster.data_source.http.window import MOST_IN_FLIGHT, Window
from temporis_dagster.testing import FakeService, answer
from tests.support.delivery_tools import CANARY, DirectTransport, FakeClock, connected, fake_state, rows, stored

BODY_BYTES = 750_000


class NotNowError(Exception):
    """A request may not start before something else happens."""


class NoWaiting(FakeClock):
    """Time in a simulation in one thread: nothing waits, the simulation moves on instead."""

    def wait(self, condition, seconds):
        raise NotNowError(seconds)


class Simulated:
    """A service at a distance, in exact time, with as many requests under way as the throttle allows.

    Args:
        distance_s: How long a request and its answer are on the line.
        work_s: How long the service works on a request.
        at_once: How many it works on at a time; the others wait in a queue.
        takes: How many it lets wait or work at a time; more are refused with 429.
    """

    def __init__(self, *, distance_s=0.05, work_s=0.0, at_once=1, takes=None) -> None:
        self.clock = NoWaiting()
        self.throttle = Throttle(RetryPolicy(), max_in_flight=None, clock=self.clock, chance=lambda: 0.5)
        self.throttle._changed.wait = self._block
        self.distance_s, self.work_s, self._at_once, self._takes = distance_s, work_s, at_once, takes
        self.later_s = {}  # the distance from some body on
        self._free_at, self._events, self._waiting = [], [], []
        self.under_way, self.refused, self.stored_at = [], [], []

    def _block(self, _timeout=None):
        raise NotNowError(None)

    def run(self, bodies):
        """Send this many bodies more."""
        goal, fresh = len(self.stored_at) + bodies, bodies
        with self.throttle.engaged():
            while len(self.stored_at) < goal:
                fresh -= self._start(fresh)
                self._move_on()

    def _start(self, fresh):
        started = 0
        while fresh - started or self._waiting:
            not_before = self._waiting[0] if self._waiting else 0.0
            try:
                number = self.throttle.turn(lambda: False, not_before=not_before)
            except NotNowError as error:
                self._later = None if error.args[0] is None else self.clock.now() + error.args[0]
                return started
            if self._waiting:
                heapq.heappop(self._waiting)
            else:
                started += 1
            self._send(number)
        self._later = None
        return started

    def _send(self, number):
        now = self.clock.now()
        busy = [moment for moment in self._free_at if moment > now + self.distance_s / 2]
        self.under_way.append(len(self._events) + 1)
        if self._takes is not None and len(self._events) + 1 > self._takes:
            self.refused.append(len(self.under_way))
            heapq.heappush(self._events, (now + self.distance_s, number, Answer(429, "too many")))
            return
        free = sorted(busy)[-self._at_once] if len(busy) >= self._at_once else now + self.distance_s / 2
        self._free_at = [*busy, free + self.work_s]
        heapq.heappush(self._events, (free + self.work_s + self.distance_s / 2, number, Answer(204, "")))

    def _move_on(self):
        if self._later is not None and (not self._events or self._later < self._events[0][0]):
            self.clock.advance(self._later - self.clock.now())
            return
        moment, number, said = heapq.heappop(self._events)
        self.clock.advance(max(moment - self.clock.now(), 0.0))
        if said.status == 204:
            self.throttle.alive(number, BODY_BYTES)
            self.stored_at.append(self.clock.now())
            self.distance_s = self.later_s.get(len(self.stored_at), self.distance_s)
        else:
            heapq.heappush(self._waiting, self.throttle.failed(number, said, 1, 0))

    def per_second(self, last):
        """How many of the last bodies were stored per second."""
        return (last - 1) / (self.stored_at[-1] - self.stored_at[-last])


def test_on_a_long_line_as_many_requests_are_under_way_as_may_be():
    """Nothing queues there, so the line is filled, up to the limit and not beyond."""
    service = Simulated(distance_s=0.05)
    service.run(200)
    assert service.under_way[:4] == [1, 2, 3, 4]
    assert max(service.under_way) == MOST_IN_FLIGHT
    assert set(service.under_way[60:180]) == {MOST_IN_FLIGHT}


@pytest.mark.parametrize("at_once", [1, 2, 4, 8])
def test_a_service_that_is_busy_gets_no_queue(at_once):
    """It works all the time, and answers take at most a few times as long as that of a single request."""
    service = Simulated(distance_s=0.02, work_s=0.2, at_once=at_once)
    service.run(600)
    assert service.per_second(200) > 0.9 * at_once / 0.2
    assert max(service.under_way[-200:]) <= 2 * at_once + 2


@pytest.mark.parametrize("takes", [1, 2, 3, 6, 12])
def test_a_service_that_takes_few_at_a_time_is_found_out(takes):
    """Without any Retry-After: all gets through, the number stays below, and is tried again ever more rarely."""
    service = Simulated(distance_s=0.05, takes=takes)
    service.run(1300)
    assert len(service.stored_at) == 1300
    assert len(service.refused) <= 0.03 * 1300
    assert service.per_second(200) > 0.6 * takes / 0.05
    assert sum(number > 650 for number in service.refused) < len(service.refused) / 2


def test_answers_that_take_longer_lower_the_number_at_once():
    """The first one does, down to few; once the service answers as before, the number rises again."""
    service = Simulated(distance_s=0.05)
    service.later_s = {100: 0.5, 200: 0.05}
    service.run(100 + MOST_IN_FLIGHT)
    assert service.throttle.limit < MOST_IN_FLIGHT
    service.run(1000)
    assert min(service.under_way[116:200]) <= 2
    assert service.throttle.limit == MOST_IN_FLIGHT


def test_a_longer_distance_for_good_is_no_queue():
    """A request that is alone under way shows how long an answer takes now, and the number rises again."""
    service = Simulated(distance_s=0.05)
    service.later_s = {100: 0.5}
    service.run(1000)
    assert set(service.under_way[-200:-50]) == {MOST_IN_FLIGHT}


def test_what_the_caller_sets_stays():
    """Neither refusals nor slow answers change a number that was set."""
    window, size = Window(8), BodySize(20_000, 4_000_000)
    for number in range(1, 100):
        window.failed(number, number, under_way=8, is_refusal=True)
        kind = {"body_bytes": BODY_BYTES, "under_way": 8, "is_full": True}
        window.acknowledged(number, number, seconds=number % 2 * 9.0, **kind)
        size.answered(20_000, number % 2 * 9.0, is_stored=True)
        assert (window.limit, size.rows) == (8, 20_000)


class AllAtOnce:
    """A transport that answers once a number of requests wait."""

    def __init__(self, count) -> None:
        self._arrived, self.bodies = threading.Barrier(count), []

    def post(self, body):
        self._arrived.wait(timeout=60)
        self.bodies.append(len(body))
        return Answer(204, "")


def test_the_options_of_the_caller_are_obeyed():
    """From the first request on, as many are under way as it allows, and as large."""
    transport = AllAtOnce(6)
    with connected(transport, batch_rows=500, max_in_flight=6) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(6_000))
    assert (report.stored, report.requests) == (6_000, 12)


def test_bodies_grow_while_answers_are_quick_and_shrink_when_they_are_slow():
    """From 10,000 rows to 25,000; halved by an answer of seconds, down to 1,000; in between they stay."""
    size = BodySize(None, 4_000_000)
    seen = [size.rows]
    for seconds in (0.05, 0.05, 0.05, 1.0, 3.0, 1.0, *[3.0] * 5, 0.1):
        size.answered(size.rows, seconds, is_stored=True)
        seen.append(size.rows)
    halves = [MOST_ROWS // 2**n for n in (1, 1, 2, 3, 4)]
    assert seen == [FIRST_ROWS, 20_000, *[MOST_ROWS] * 3, *halves, LEAST_ROWS, LEAST_ROWS, 2 * LEAST_ROWS]


def test_bodies_from_before_a_change_do_not_change_it_again():
    """Four slow answers to bodies that were under way together are one sign."""
    size = BodySize(None, 4_000_000)
    for _ in range(4):
        size.answered(FIRST_ROWS, 5.0, is_stored=False)
    assert size.rows == FIRST_ROWS // 2
    size.answered(FIRST_ROWS, 0.1, is_stored=True)
    assert size.rows == FIRST_ROWS // 2


def test_the_size_that_a_service_refused_is_remembered():
    """The second upsert on a connection starts with bodies that the service takes."""
    state = fake_state(max_body_bytes=100_000)
    with connected(DirectTransport(state)) as temporis:
        source = temporis.data_source("store_metrics")
        assert source.upsert(rows(20_000)).stored == 20_000
        refused = [request.status for request in state.requests].count(413)
        assert 0 < refused < 20
        assert source.upsert(rows(20_000, plus=0.5)).stored == 20_000
        assert [request.status for request in state.requests].count(413) == refused


class Holding:
    """A transport that notes how many bytes are under way."""

    def __init__(self) -> None:
        self._lock, self._now = threading.Lock(), 0
        self.most = self.largest = 0

    def post(self, body):
        with self._lock:
            self._now += len(body)
            self.most, self.largest = max(self.most, self._now), max(self.largest, len(body))
        threading.Event().wait(0.002)  # the line
        with self._lock:
            self._now -= len(body)
        return Answer(204, "")


def test_bodies_in_flight_are_bounded_by_bytes(monkeypatch):
    """However many requests the service would take at a time."""
    monkeypatch.setattr(delivery, "HELD_BYTES", 3_000_000)
    transport = Holding()
    with connected(transport) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(400_000))
    assert report.stored == 400_000
    assert transport.largest > 1_000_000
    assert transport.most <= 3_000_000


def test_over_real_connections_everything_arrives_and_the_limits_hold():
    """A service that takes three requests at a time, and 150,000 bytes each, gets the whole load."""
    service = FakeService(token=CANARY, max_body_bytes=150_000)
    service.state.script = lambda _request: answer(429) if service.state._in_flight > 3 else None
    with service, connect(service.url, service.token) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(40_000))
    assert report.stored == 40_000
    assert stored(service.state) == {number: float(number) for number in range(40_000)}
    assert service.overlapping_keys == set()
    assert service.state.most_in_flight <= MOST_IN_FLIGHT
