"""Delivery under any script of faults: what a report says is what the server has. ``--soak`` runs the long form."""

from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster import DeliveryError
from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import LONGEST_WAIT_S, Answer, _seconds
from temporis_dagster.data_source.http.retry import GiveUp, RetryPolicy, Situation, Wait, is_transient, next_step
from temporis_dagster.testing import answer, cut, html_page, silence
from tests.support.delivery_tools import (
    DirectTransport,
    FakeClock,
    adds_up,
    connected,
    fake_state,
    numbers,
    rows,
    stored,
    throttle_of,
)

APPLIES = st.sampled_from(["nothing", "half", "all", "later"])
WAITS = st.one_of(st.none(), st.integers(0, 400))
PASSING = st.one_of(
    st.builds(answer, st.sampled_from([502, 503, 504, 500]), applies=APPLIES, retry_after=WAITS),
    st.builds(answer, st.just(429), retry_after=WAITS),
    st.builds(cut, applies=APPLIES),
    st.builds(silence, applies=APPLIES),
    st.just(html_page()),
    st.just("refused"),
)
FINAL = st.one_of(
    st.builds(answer, st.sampled_from([401, 403, 404, 409, 301, 501, 413, 413, 422])),
    st.builds(answer, st.sampled_from([200, 505]), applies=APPLIES),
    st.sampled_from(["archive", "release late"]),
)
SCRIPTS = st.lists(st.one_of(st.none(), st.none(), PASSING, PASSING, FINAL), max_size=40)
"""Half of the requests go well; some are archived or see an old attempt applied just before they are judged."""


class Refusing(DirectTransport):
    """A transport that adds what cannot happen inside a service: a refused connection."""

    def __init__(self, state, script) -> None:
        super().__init__(state)
        self._script, self._lock, self._mine = iter(script), threading.Lock(), threading.local()
        state.script = lambda _request: self._mine.fault

    def post(self, body):
        with self._lock:
            fault = next(self._script, None)
        if fault == "refused":
            return Answer(None, "ConnectError: refused")
        if fault == "archive":
            self.state.archived["store_metrics"] = True
        if fault == "release late":
            self.state.release_late()
        self._mine.fault = None if isinstance(fault, str) else fault
        return super().post(body)


@pytest.fixture(autouse=True)
def restless_threads():
    """Make threads take turns a hundred times as often, so that requests overlap."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(usual)


def soak_or(soak, short, long):
    return settings(max_examples=long if soak else short, deadline=None)


def outcome(source, frame):
    try:
        return source.upsert(frame)
    except DeliveryError as error:
        return error.report


def test_a_report_is_what_the_server_has(soak):
    """Whatever goes wrong, with 1 to 16 requests in flight, for rows that are new and rows that were there before."""

    @soak_or(soak, 250, 6000)
    @given(
        script=SCRIPTS,
        count=st.integers(1, 60),
        before=st.integers(0, 20),
        batch_rows=st.integers(1, 12),
        in_flight=st.integers(1, 16),
        max_records=st.one_of(st.none(), st.integers(1, 12)),
        bad=st.sets(st.integers(0, 60), max_size=4),
        rate=st.one_of(st.none(), st.floats(0.5, 50)),
        seed=st.integers(0, 9),
    )
    def holds(script, count, before, batch_rows, in_flight, max_records, bad, rate, seed):
        clock = FakeClock()
        state = fake_state(
            clock=clock, max_records=max_records, fault_of=lambda record: "bad" if record["value"] in bad else None
        )
        state.content.update({("store_metrics", stamp, "orders"): -1.0 for stamp in rows(before).timestamp.tolist()})
        options = {"batch_rows": batch_rows, "max_in_flight": in_flight, "requests_per_second": rate, "seed": seed}
        with connected(Refusing(state, script), clock=clock, **options) as temporis:
            report = outcome(temporis.data_source("store_metrics"), rows(count))
            assert throttle_of(temporis).too_early == []
        state.release_late()
        check_honest(report, stored(state), count, before)
        assert state.overlapping_keys == set()
        assert state.most_in_flight <= in_flight
        assert [complaint for request in state.requests for complaint in request.complaints] == []
        assert len(state.requests) <= report.requests

    holds()


def check_honest(report, on_the_server, count, before):
    assert adds_up(report)
    assert report.observations_in == count
    unsent, unknown, rejected = (
        numbers(frame) for frame in (report.unsent_rows, report.unknown_rows, report.rejected_rows)
    )
    assert (len(unsent), len(unknown), len(rejected)) == (report.unsent, report.unknown, report.rejected)
    sure = set(range(count)) - unsent - unknown - rejected
    assert len(sure) == report.stored
    assert {row: on_the_server.get(row) for row in sure} == {row: float(row) for row in sure}
    assert {row: on_the_server.get(row) for row in unsent} == {row: -1.0 if row < before else None for row in unsent}
    assert all(on_the_server.get(row, float(row)) in (-1.0, float(row)) for row in unknown | rejected)


def test_corrections_on_one_connection_end_as_the_last_of_them(soak):
    """After many upserts of the same keys with faults in between, the service has what was stored last."""

    @soak_or(soak, 60, 1500)
    @given(
        scripts=st.lists(st.lists(st.one_of(st.none(), PASSING), max_size=12), min_size=2, max_size=4),
        in_flight=st.integers(1, 16),
    )
    def holds(scripts, in_flight):
        clock, state, expected = FakeClock(), fake_state(), {}
        transport = Refusing(state, [])
        with connected(transport, clock=clock, batch_rows=3, max_in_flight=in_flight) as temporis:
            for number, script in enumerate(scripts):
                transport._script = iter(script)
                report = outcome(temporis.data_source("store_metrics"), rows(20, plus=number / 10))
                state.release_late()
                in_doubt = numbers(report.unknown_rows)
                expected.update(
                    {
                        row: {row + number / 10} | (expected.get(row, {None}) if row in in_doubt else set())
                        for row in set(range(20)) - numbers(report.unsent_rows)
                    }
                )
                clock.advance(3600)
        assert all(stored(state).get(row) in values for row, values in expected.items())
        assert set(stored(state)) <= set(expected)
        assert state.overlapping_keys == set()

    holds()


SECONDS = st.floats(0, 10_000)
ANSWERS = st.builds(
    Answer,
    st.sampled_from([None, 429, 500, 502, 503, 504]),
    st.just("words"),
    st.one_of(st.none(), st.floats(0, 1e6)),
)


@given(
    st.builds(Situation, st.integers(1, 10**6), st.integers(0, 5), SECONDS, st.integers(-1, 30)),
    ANSWERS,
    st.floats(0, 1, exclude_max=True),
)
def test_the_policy_never_undercuts_and_always_ends(situation, failure, chance):
    """A wait is at least what was asked and at most that plus the longest; without budget or time there is none."""
    policy = RetryPolicy()
    step = next_step(policy, situation, failure, chance)
    asked = failure.retry_after_s or 0.0
    if isinstance(step, Wait):
        assert asked <= step.seconds <= asked + policy.longest_wait_s
        assert situation.silence_s + step.seconds <= policy.give_up_after_s + 1e-9
        assert situation.budget_left > 0
        assert situation.unclear <= policy.unclear
    else:
        assert isinstance(step, GiveUp)
        assert step.reason


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True))
def test_waits_grow_with_failures_and_with_chance(failures, chance):
    """Full jitter: from nothing up to a bound that doubles until it is the longest."""
    policy = RetryPolicy(give_up_after_s=1e9)
    wait = next_step(policy, Situation(failures, 0, 0.0, 20), Answer(503, ""), chance)
    assert wait == Wait(chance * min(0.5 * 2.0 ** (failures - 1), 30.0))


@pytest.mark.parametrize("status", [None, *range(200, 600)])
def test_only_the_listed_answers_are_retried(status):
    """No answer, the busy ones, and what gateways answer in an outage, but not a permanent failure to connect."""
    passing = (None, 408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530)
    assert is_transient(Answer(status, "")) == (status in passing)
    assert not is_transient(Answer(None, "", permanent=True))
    assert (Answer(status, "").meaning is Meaning.STORED) == (status == 204)


NOW = 1_700_000_000.25


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", None),
        ("1.5", 1.5),
        ("4.5", 4.5),
        ("4.", 4),
        (".5", 0.5),
        ("1,5", None),
        ("1e3", None),
        ("+5", None),
        ("nan", None),
        ("inf", None),
        ("\u0663", None),
        ("1700000060", 59.75),
        ("1700000060000", 59.75),
        ("1700000060000.5", 59.7505),
        ("1600000000", 0),
        ("86401", LONGEST_WAIT_S),
        ("", None),
        ("soon", None),
        ("7\x1f", 7),
        ("9" * 400, LONGEST_WAIT_S),
        ("Mon, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_S),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 119.75),
        ("Tue, 14 Nov 2023 23:15:20 +0100", 119.75),
        ("Tue, 14 Nov 2023 22:15:20 -0000", 119.75),
        ("Tuesday, 14-Nov-23 22:15:20 GMT", 119.75),
        ("Tue Nov 14 22:15:20 2023", 119.75),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("Tue, 99 Nov 2023 22:00:00 GMT", None),
        ("Tue, 14 Nov 99999999999999999999 22:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds, monkeypatch):
    """Every form of HTTP is read, with dates in UTC whatever the machine's zone; an unreadable one asks for nothing."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert _seconds(header, NOW) == pytest.approx(seconds)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(0, int(LONGEST_WAIT_S)))
def test_a_date_asks_for_the_time_until_then(seconds):
    """Seconds and a date for the same moment ask for the same wait."""
    moment = datetime.fromtimestamp(int(NOW) + seconds, timezone.utc) + timedelta(0)
    assert _seconds(format_datetime(moment, usegmt=True), int(NOW)) == seconds == _seconds(str(seconds), int(NOW))


@given(st.text(max_size=60))
def test_any_retry_after_at_all_is_survived(header):
    """Whatever a server or proxy sends becomes a number of seconds that is not negative, or None."""
    seconds = _seconds(header, NOW)
    assert seconds is None or seconds >= 0
