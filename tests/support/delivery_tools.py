"""Shared by the tests of delivery: time that passes when waited for, and a service without a socket."""

from __future__ import annotations

import random
import threading

import numpy as np
import pandas as pd

from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.http.client import Answer, answer_of
from temporis_dagster.data_source.http.error_body import error_text_of
from temporis_dagster.data_source.http.retry import RetryPolicy
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.http.throttle import Throttle
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.testing import FakeService
from temporis_dagster.testing.fake_state import FakeState, Rules

CANARY = "ts_canary_7f3a9c51d2e84b60"
"""The token of every test of delivery: tests/conftest.py looks for it in all logs and output."""

FIRST = 1_700_000_000


class FakeClock:
    """A clock on which time passes only while a thread waits."""

    def __init__(self) -> None:
        self._now, self._lock = 1000.0, threading.Lock()

    def now(self) -> float:
        return self._now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


class DirectTransport:
    """The fake service without a socket: returns what the client would make of its answers."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def post(self, body: bytes) -> Answer:
        headers = {"Authorization": f"Bearer {CANARY}", "Content-Type": "application/json", "User-Agent": "direct"}
        response = self.state.respond(headers, body)
        if response.ends != "answer":
            return Answer(None, f"ReadError: {response.ends}", maybe_applied=True)
        return answer_of(response.status, error_text_of(response.body, response.headers), response.headers, now=0.0)


class WatchedThrottle(Throttle):
    """A throttle that records every turn that came earlier than a service had asked for."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.too_early: list[tuple[float, float]] = []
        self.turns: list[float] = []
        self._asked: list[float] = []

    def turn(self, stopped, *, not_before=0.0) -> int:
        asked_before = len(self._asked)
        number = super().turn(stopped, not_before=not_before)
        now = self._clock.now()
        self.turns.append(now)
        self.too_early += [(now, moment) for moment in self._asked[:asked_before] if now < moment - 1e-6]
        return number

    def failed(self, number, answer, attempts, unclear):
        moment = self._clock.now() + (answer.retry_after_s or 0.0)
        try:
            return super().failed(number, answer, attempts, unclear)
        finally:
            self._asked.append(moment)


def fake_state(script=lambda _request: None, *, archived=None, clock=None, **rules) -> FakeState:
    return FakeState(archived or {"store_metrics": False}, Rules(CANARY, **rules), script, (clock or FakeClock()).now)


def connected(to, *, clock=None, seed=0, policy=None, **options) -> Temporis:
    """A connection on a fake clock: to a FakeService over HTTP, to anything else as the transport itself."""
    clock = clock or FakeClock()
    options = HttpOptions(**options)
    if isinstance(to, FakeService):
        target = HttpTarget(to.url, to.token, options, clock=clock)
    else:
        target = HttpTarget("http://127.0.0.1:1", CANARY, options, clock=clock, transport=to)
    target._throttle = WatchedThrottle(
        policy or RetryPolicy(give_up_after_s=options.give_up_after_s),
        max_in_flight=options.max_in_flight,
        requests_per_second=options.requests_per_second,
        clock=clock,
        chance=random.Random(seed).random,
    )
    return Temporis(target)


def throttle_of(temporis: Temporis) -> WatchedThrottle:
    return temporis._target._throttle


def rows(count: int, *, first: int = 0, plus: float = 0.0) -> pd.DataFrame:
    """A long frame of one series, one row per second; the value is the row's number plus something."""
    numbers = np.arange(first, first + count)
    return pd.DataFrame({"timestamp": FIRST + numbers, "name": "orders", "value": numbers + plus}, index=numbers)


def stored(state, data_source: str = "store_metrics") -> dict[int, float]:
    """What a fake holds of the series of ``rows``, by row number."""
    return {stamp - FIRST: value for (source, stamp, _), value in state.content.items() if source == data_source}


def numbers(frame: pd.DataFrame) -> set[int]:
    """The row numbers in a frame of a report."""
    return {int(moment.timestamp()) - FIRST for moment in frame.timestamp}


def adds_up(report) -> bool:
    counts = ("stored", "unchanged", "superseded", "dropped", "rejected", "unsent", "unknown", "pending")
    return sum(getattr(report, count) for count in counts) == report.observations_in
