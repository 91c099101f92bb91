"""Delivery: what is retried, for how long, and what the report counts, against a fake service and a fake clock."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import tracemalloc
from itertools import pairwise

import pytest

from temporis_dagster import (
    ArchiveState,
    AuthenticationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    RejectedObservationsError,
    UnavailableError,
)
from temporis_dagster.data_source.http import delivery
from temporis_dagster.data_source.http.client import Answer, Client
from temporis_dagster.data_source.http.retry import GiveUp, RetryPolicy
from temporis_dagster.data_source.http.throttle import HeldBack, Throttle
from temporis_dagster.data_source.report import Tally
from temporis_dagster.testing import FakeService, Fault, answer, cut, held, html_page, in_sequence, silence
from tests.support.delivery_tools import (
    CANARY,
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

BUDGET = RetryPolicy().budget


def upsert(to, frame, **options):
    """Upsert the series of ``rows``, and return the report and the error, if there was one."""
    with connected(to, **options) as temporis:
        return outcome(temporis.data_source("store_metrics"), frame)


def outcome(source, frame, **options):
    try:
        return source.upsert(frame, **options), None
    except DeliveryError as error:
        return error.report, error


# Every answer, and no answer

FINAL = {401: AuthenticationError, 404: DataSourceNotFoundError, 409: DataSourceArchivedError}
REFUSED_FOR_NOW, OUTAGES = (408, 425, 429), (502, 503, 504, 520, 521, 522, 523, 524, 530)
RETRIED = {500: 2, **dict.fromkeys((*REFUSED_FOR_NOW, *OUTAGES), BUDGET)}


def expected(status):
    """The error, the most retries, and the outcome of the rows that got this answer forever, as in docs/delivery.md."""
    if status in RETRIED:
        return UnavailableError, RETRIED[status], "unsent" if status in REFUSED_FOR_NOW else "unknown"
    if status in (400, 413, 422):
        return RejectedObservationsError, 0, "rejected"
    return FINAL.get(status, DeliveryError), 0, "unknown" if status >= 500 and status != 501 else "unsent"


@pytest.fixture(scope="module")
def service():
    with FakeService(token=CANARY) as service:
        yield service


@pytest.fixture(scope="module")
def client(service):
    client = Client(service.url, CANARY, timeout_s=10, max_in_flight=1, verify=True, agent="test")
    yield client
    client.close()


@pytest.fixture
def fresh(service):
    """The module's service with nothing stored, no script and no memory of requests."""
    service.state.__init__({"store_metrics": False}, service.state.rules, lambda _request: None, service.state.clock)
    return service


@pytest.mark.parametrize("status", [200, 201, 202, 206, *range(300, 600)])
def test_every_status(fresh, client, status):
    """Over a real socket, two rows are stored, the next two get this answer forever, and the last two would follow."""
    fresh.state.script = lambda request: answer(status, "words") if len(request.keys) and request.number else None
    report, error = upsert(client, rows(6), batch_rows=2, max_in_flight=1)
    kind, retries, outcome = expected(status)
    if status < 300:
        kind, outcome = DeliveryError, "unknown"
    counts = {"rejected": (0, 0, 4), "unknown": (2, 2, 0), "unsent": (4, 0, 0)}[outcome]
    assert type(error) is kind
    assert error.retryable == (kind is UnavailableError)
    # Refused requests come so far apart that give_up_after_s ends it, not the budget.
    assert 10 < report.retries < retries if status == 429 else report.retries == retries
    assert report.stored == 2
    assert (report.unsent, report.unknown, report.rejected) == counts
    assert set(stored(fresh.state)) == {0, 1}
    assert str(status) in str(error)
    assert ("and 2 may have been" in str(error)) == (report.unknown == 2)
    assert ".." not in str(error)


@pytest.mark.parametrize(
    ("fault", "applied"),
    [(cut(), False), (cut(applies="all"), True), (silence(), False), (silence(applies="all"), True)],
)
def test_no_answer_after_the_request_was_sent(fault, applied):
    """A reset or silence, before or after applying, is retried until the budget is used up; its rows are unknown."""
    with FakeService(token=CANARY, script=lambda request: fault if request.number else None) as service:
        report, error = upsert(PatientAtFirst(service), rows(6), batch_rows=2, max_in_flight=1)
    assert type(error) is UnavailableError
    assert (report.stored, report.unknown, report.unsent, report.retries) == (2, 2, 2, BUDGET)
    assert numbers(report.unknown_rows) == {2, 3}
    assert set(stored(service.state)) == ({0, 1, 2, 3} if applied else {0, 1})


class PatientAtFirst:
    """A client that waits long for the first answer and hardly for later ones: load on the machine does not matter."""

    def __init__(self, service) -> None:
        options = {"max_in_flight": 1, "verify": True, "agent": "test"}
        self._clients = [Client(service.url, CANARY, timeout_s=timeout_s, **options) for timeout_s in (60, 0.03)]
        self._posts = 0

    def post(self, body):
        client = self._clients[min(self._posts, 1)]
        self._posts += 1
        try:
            return client.post(body)
        finally:
            client.close()


def test_a_refused_connection_leaves_the_rows_unsent():
    """Without a listener, attempts are retried and nothing is unknown, because nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", CANARY, timeout_s=1, max_in_flight=1, verify=True, agent="test")
    report, error = upsert(client, rows(6), batch_rows=2, max_in_flight=1)
    client.close()
    assert type(error) is UnavailableError
    assert (report.unsent, report.unknown, report.requests) == (6, 0, 1 + BUDGET)
    assert error.attempts == 1 + BUDGET


@pytest.mark.parametrize(
    "fault", [cut(), cut(applies="all"), silence(applies="half"), answer(503), html_page(), answer(500)]
)
def test_a_passing_fault_costs_a_retry_and_nothing_else(fault):
    """After one fault of any transient kind everything is stored, exactly."""
    with FakeService(token=CANARY, script=in_sequence(None, fault)) as service:
        report, error = upsert(service, rows(10), batch_rows=2, max_in_flight=3, timeout_s=1.5)
    assert error is None
    assert (report.stored, report.requests, report.retries) == (10, 6, 1)
    assert stored(service.state) == {i: float(i) for i in range(10)}
    assert service.complaints == []


def test_an_internal_error_is_retried_twice_and_no_more():
    """500 twice and then 204 is stored; a third 500 ends it."""
    state = fake_state(in_sequence(answer(500), answer(500)))
    assert upsert(DirectTransport(state), rows(2))[0].stored == 2
    report, error = upsert(DirectTransport(fake_state(lambda _request: answer(500))), rows(2))
    assert (report.requests, report.unknown) == (3, 2)
    assert "3 times" in str(error)


# A dead service


@pytest.mark.parametrize("in_flight", [1, 4, 16])
@pytest.mark.parametrize("batches", [10, 1000])
@pytest.mark.parametrize("fault", [answer(503), answer(429, retry_after=1), cut(), "refused"], ids=str)
def test_a_dead_service_gets_few_requests(fault, batches, in_flight):
    """At most those in flight plus the budget, however many bodies wait; nothing is lost from the report."""
    state = fake_state(lambda _request: fault)
    transport = DirectTransport(state)
    if fault == "refused":
        transport.post = lambda _body: Answer(None, "ConnectError: refused")
    report, error = upsert(transport, rows(batches), batch_rows=1, max_in_flight=in_flight, give_up_after_s=10_000)
    assert type(error) is UnavailableError
    assert min(in_flight, batches) < report.requests <= in_flight + BUDGET
    assert adds_up(report)
    assert report.stored == 0


def test_many_upserts_on_one_dead_connection_share_the_budget():
    """The next data source does not get the whole budget again: each further upsert makes only a few requests."""
    clock = FakeClock()
    state = fake_state(lambda _request: answer(503), clock=clock)
    with connected(DirectTransport(state), clock=clock, max_in_flight=4) as temporis:
        for name in "abcdefgh":
            outcome(temporis.data_source(name), rows(100))
    assert len(state.requests) <= 4 + BUDGET + 7 * (1 + RetryPolicy().own_budget)


def test_a_connection_recovers_from_an_outage():
    """Idle time gives the budget back and forgets old failures: the next upsert is as patient as the first."""
    clock, dead = FakeClock(), True
    state = fake_state(lambda request: answer(503) if dead or request.number % 2 else None, clock=clock)
    with connected(DirectTransport(state), clock=clock, max_in_flight=2) as temporis:
        source = temporis.data_source("store_metrics")
        outcome(source, rows(10))
        clock.advance(RetryPolicy().longest_wait_s * BUDGET)
        dead = False
        report = source.upsert(rows(40), progress=None)
    assert report.stored == 40


def test_a_short_pause_does_not_give_the_budget_back():
    """An upsert per second against a dead service makes only a few requests each time, forever."""
    clock = FakeClock()
    state = fake_state(lambda _request: answer(503), clock=clock)
    with connected(DirectTransport(state), clock=clock, max_in_flight=1) as temporis:
        for _ in range(30):
            outcome(temporis.data_source("store_metrics"), rows(10))
            clock.advance(1)
    assert len(state.requests) == 1 + BUDGET + 29 * (1 + RetryPolicy().own_budget)


def test_silence_ends_an_upsert_when_patience_does_and_success_renews_it():
    """give_up_after_s counts from the last acknowledgement, so a slow healthy load is never cut off."""
    clock = FakeClock()
    slow = fake_state(lambda request: answer(503, retry_after=200) if request.number % 2 else None, clock=clock)
    report, error = upsert(
        DirectTransport(slow), rows(20), clock=clock, batch_rows=1, max_in_flight=1, give_up_after_s=300
    )
    assert error is None
    assert report.stored == 20
    assert clock.now() > 1000 + 19 * 200
    report, error = upsert(
        DirectTransport(fake_state(lambda _request: answer(503, retry_after=90))), rows(2), give_up_after_s=300
    )
    assert report.requests == 4
    assert "acknowledged nothing for" in str(error)


@pytest.mark.parametrize("patience", [6, 20, 40])
def test_patience_is_used_to_its_end(patience):
    """The last wait is shortened to the remaining time, and then there is one more attempt."""
    clock = FakeClock()
    state = fake_state(lambda _request: answer(503), clock=clock)
    _, error = upsert(DirectTransport(state), rows(1), clock=clock, give_up_after_s=patience)
    assert clock.now() == pytest.approx(1000 + patience)
    assert state.requests[-1].arrived_at == pytest.approx(1000 + patience)
    assert f"acknowledged nothing for {patience} s (give_up_after_s={patience})" in str(error)


def test_a_service_that_comes_back_at_the_last_moment_is_in_time():
    """Which is the purpose of give_up_after_s."""
    clock = FakeClock()
    state = fake_state(lambda request: answer(503) if clock.now() < 1005.99 else None, clock=clock)
    assert upsert(DirectTransport(state), rows(1), clock=clock, give_up_after_s=6)[0].stored == 1


def test_waiting_is_not_silent(caplog):
    """The first failure of an upsert logs who, what and for how long; further warnings come at most every 30 s."""
    clock, moments = FakeClock(), []
    with connected(DirectTransport(fake_state(lambda _request: answer(503))), clock=clock) as temporis:
        for pause in (0, 10_000):
            clock.advance(pause)
            begun, before = clock.now(), len(moments)
            with caplog.filtering(lambda record: record.levelname != "WARNING" or not moments.append(clock.now())):
                outcome(temporis.data_source("store_metrics"), rows(1))
            assert moments[before] == begun
    assert caplog.messages.count("the service failed (503: Service Unavailable). Trying again for up to 300 s.") == 2
    assert 4 < len(moments) <= 2 * (1 + 300 / 30)
    assert all(after - before >= 30 for before, after in pairwise(moments))


def test_a_warning_states_the_limit_that_comes_first(caplog):
    """A failure that may be permanent is attempted three times in all, and its warning does not promise 300 s."""
    clock = FakeClock()
    with connected(DirectTransport(fake_state(lambda _request: answer(500))), clock=clock) as temporis:
        outcome(temporis.data_source("store_metrics"), rows(1))
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("(500: Internal Server Error). Trying again at most 2 more times, for up to 300 s.")


# Retry-After


def test_a_retry_comes_no_earlier_than_asked():
    """The seconds that the service asks for pass before the body is sent again."""
    clock = FakeClock()
    state = fake_state(in_sequence(answer(429, "slow down", retry_after=17)), clock=clock)
    assert upsert(DirectTransport(state), rows(1), clock=clock)[0].stored == 1
    first, second = (request.arrived_at for request in state.requests)
    assert second >= first + 17


@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_what_one_batch_was_asked_holds_for_the_others(max_in_flight):
    """Retry-After is about the service, not the body: no other request of the connection starts before."""
    clock = FakeClock()
    throttle = Throttle(RetryPolicy(), max_in_flight=max_in_flight, clock=clock)
    number = throttle.turn(lambda: False)
    begun = clock.now()
    throttle.failed(number, Answer(429, "slow down", retry_after_s=60), attempts=1, unclear=0)
    throttle.turn(lambda: False)
    assert clock.now() >= begun + 60


def test_an_upsert_does_not_wait_longer_than_it_has_patience():
    """Beyond give_up_after_s it stops at once and says when to come back; until then nothing at all is sent."""
    clock = FakeClock()
    state = fake_state(lambda request: None if request.number else answer(503, retry_after=3600), clock=clock)
    with connected(DirectTransport(state), clock=clock) as temporis:
        source = temporis.data_source("store_metrics")
        report, error = outcome(source, rows(5))
        assert (type(error), error.retry_after_s, clock.now()) == (UnavailableError, 3600, 1000)
        assert "3600 s" in str(error)
        clock.advance(600)
        report, error = outcome(source, rows(5))
        assert (error.retry_after_s, error.attempts, report.unsent) == (3000, 0, 5)
        with pytest.raises(UnavailableError):
            source.archive_state()
        assert len(state.requests) == 1
        clock.advance(3000)
        assert source.upsert(rows(5)).stored == 5


# Bad records


def bad(*which):
    return lambda record: "value is not welcome" if record["value"] in which else None


@pytest.mark.parametrize("position", [0, 1, 777, 1999])
@pytest.mark.parametrize("in_flight", [1, 4])
def test_one_bad_record_of_two_thousand(position, in_flight):
    """1,999 are stored; the one is named with its row, label and the service's words, in at most 25 requests."""
    frame = rows(2000)
    frame.index = [f"line {i}" for i in range(2000)]
    with FakeService(token=CANARY, fault_of=bad(position)) as service:
        report, error = upsert(service, frame, batch_rows=2000, max_in_flight=in_flight)
    assert type(error) is RejectedObservationsError
    assert (report.stored, report.rejected, adds_up(report)) == (1999, 1, True)
    (rejected,) = report.rejected_rows.itertuples()
    assert (rejected.position, rejected.label, rejected.value) == (position, f"line {position}", position)
    assert "422" in rejected.reason
    assert "value is not welcome" in rejected.reason
    assert "value is not welcome" in str(error)
    assert report.requests <= 25
    assert set(stored(service.state)) == set(range(2000)) - {position}


def test_dropping_invalid_rows_holds_for_those_the_service_refuses():
    """on_invalid="drop" returns a report that lists them."""
    with connected(DirectTransport(fake_state(fault_of=bad(3, 5)))) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(10), on_invalid="drop")
    assert numbers(report.rejected_rows) == {3, 5}
    assert report.stored == 8


def test_when_every_record_is_bad_the_search_ends():
    """The requests are capped, the error says so, and every row has its outcome."""
    state = fake_state(fault_of=lambda _record: "no")
    report, error = upsert(DirectTransport(state), rows(2000), batch_rows=500, max_in_flight=2)
    assert type(error) is RejectedObservationsError
    assert "200 requests did not find all of them" in str(error)
    assert len(state.requests) <= delivery.SEARCH_REQUESTS + 10
    assert report.rejected > 50
    assert (report.rejected + report.unsent, report.unknown) == (2000, 0)
    assert state.content == {}


def test_a_body_too_large_is_halved_and_later_ones_are_smaller():
    """The limit is found once, not once per body."""
    state = fake_state(max_records=130)
    report, error = upsert(DirectTransport(state), rows(5000), batch_rows=1000, max_in_flight=1)
    assert error is None
    assert len(stored(state)) == report.stored == 5000
    assert [len(request.records) for request in state.requests if request.status == 413] == [1000, 500, 250]


def test_a_single_row_too_large_is_rejected_and_costs_the_others_nothing():
    """One huge name goes alone and is rejected; the bodies after it are soon as large as before."""
    frame = rows(4000)
    frame["name"] = frame["name"].astype(object)
    frame.loc[777, "name"] = "x" * 200_000
    state = fake_state(max_body_bytes=100_000)
    report, error = upsert(DirectTransport(state), frame, batch_rows=1000, max_in_flight=1)
    assert type(error) is RejectedObservationsError
    assert (report.rejected, report.stored, len(state.content)) == (1, 3999, 3999)
    assert report.rejected_rows.position.tolist() == [777]
    # The first one holds that row. One that was made next may be smaller, by what a row of the first one took.
    assert [len(request.records) for request in state.requests].count(1000) >= 3
    assert report.requests <= 25


def test_a_service_that_takes_no_body_at_all_gets_few_requests():
    """413 to everything, as from a misconfigured proxy, ends like the search for rejected rows, and adds up."""
    state = fake_state(max_body_bytes=1)
    to = connected(DirectTransport(state), batch_rows=500)
    with to as temporis, pytest.raises(RejectedObservationsError) as caught:
        temporis.data_source("store_metrics").upsert(rows(5_000))
    report = caught.value.report
    assert report.requests <= delivery.SEARCH_REQUESTS + 50
    assert report.rejected + report.unsent == 5_000
    assert stored(state) == {}


def test_progress_ends_at_the_number_of_observations():
    """Even with bodies bounded by bytes and rejected rows, each observation is counted once."""
    state, seen = fake_state(fault_of=lambda record: "bad" if record["value"] == 7 else None), []
    with connected(DirectTransport(state), max_body_bytes=300) as temporis:
        report = temporis.data_source("store_metrics").upsert(rows(100), on_invalid="drop", progress=seen.append)
    assert (report.stored, report.rejected, sum(seen)) == (99, 1, 100)


def test_rows_in_doubt_stay_in_doubt_when_their_batch_is_cut_in_two():
    """The parts of a body that may have been applied, and was then refused as a whole, are not known to be unsent."""
    faults = in_sequence(cut(applies="all"), answer(413), answer(409))
    state = fake_state(faults)
    report, error = upsert(DirectTransport(state), rows(4), max_in_flight=1)
    assert type(error) is DataSourceArchivedError
    assert (report.unknown, report.unsent, len(state.content)) == (4, 0, 4)


# Refused in the middle


@pytest.mark.parametrize("in_flight", [1, 4, 16])
@pytest.mark.parametrize("real", [False, True], ids=["direct", "http"])
def test_archived_in_the_middle(in_flight, real):
    """After 40 of 100 bodies, the report names exactly what was stored, and nothing more is started."""
    archive_at_40 = lambda request: service.archive("store_metrics") if request.number == 40 else None  # noqa: E731
    with FakeService(token=CANARY, script=archive_at_40) as service:
        report, error = upsert(
            service if real else DirectTransport(service.state), rows(1000), batch_rows=10, max_in_flight=in_flight
        )
    assert type(error) is DataSourceArchivedError
    on_the_server = set(stored(service.state))
    assert (report.stored, report.unknown) == (len(on_the_server), 0)
    assert numbers(report.unsent_rows) == set(range(1000)) - on_the_server
    assert report.requests <= 40 + 2 * in_flight
    assert f"{report.stored:,} of 1,000" in str(error)


def test_after_a_refusal_an_earlier_doubt_remains():
    """401 after an attempt without an answer: those rows may be stored, the others are not."""
    state = fake_state(in_sequence(None, cut(applies="half"), answer(401)))
    report, error = upsert(DirectTransport(state), rows(6), batch_rows=2, max_in_flight=1)
    assert type(error) is AuthenticationError
    assert (numbers(report.unknown_rows), numbers(report.unsent_rows)) == ({2, 3}, {4, 5})


# Interrupted


def test_interrupted_from_the_progress_of_a_single_worker():
    """The KeyboardInterrupt carries the report, which lists what the server has."""
    state, seen = fake_state(), []

    def progress(settled):
        seen.append(settled)
        if sum(seen) >= 6:
            raise KeyboardInterrupt

    with connected(DirectTransport(state), batch_rows=2, max_in_flight=1) as temporis:
        with pytest.raises(KeyboardInterrupt) as caught:
            temporis.data_source("store_metrics").upsert(rows(20), progress=progress)
        report = caught.value.report
        assert (report.stored, set(stored(state))) == (6, set(range(6)))
        assert numbers(report.unsent_rows) == set(range(6, 20))
        assert temporis.data_source("store_metrics").upsert(rows(20)).stored == 20


@pytest.mark.parametrize("applied", [False, True])
def test_interrupted_in_the_middle_of_a_request(applied):
    """The rows of that request are unknown; the connection still works, even if it was probing a dead service."""
    state = fake_state(in_sequence(None, answer(503), None))
    transport = DirectTransport(state)
    post = transport.post

    def interrupted(body):
        if len(state.requests) < 2:
            return post(body)
        transport.post = post
        if applied:
            post(body)
        raise KeyboardInterrupt

    transport.post = interrupted
    with connected(transport, batch_rows=2, max_in_flight=1) as temporis:
        with pytest.raises(KeyboardInterrupt) as caught:
            temporis.data_source("store_metrics").upsert(rows(8))
        report = caught.value.report
        assert (numbers(report.unknown_rows), report.stored, report.unsent) == ({2, 3}, 2, 4)
        assert set(stored(state)) == ({0, 1, 2, 3} if applied else {0, 1})
        assert temporis.data_source("store_metrics").upsert(rows(8)).stored == 8


@pytest.mark.parametrize("answered", [True, False], ids=["in time", "never"])
def test_interrupted_by_a_signal_while_threads_send(monkeypatch, answered):
    """After Ctrl-C with four requests under way, those that are answered in time are stored, the others unknown."""
    monkeypatch.setattr(delivery, "INTERRUPT_GRACE_S", 5.0 if answered else 0.05)
    go_on = threading.Event()

    def script(request):
        if request.number == 13:
            os.kill(os.getpid(), signal.SIGINT)
            if answered:
                go_on.set()
        return held(go_on) if request.number >= 10 else None

    with (
        FakeService(token=CANARY, script=script) as service,
        connected(service, batch_rows=2, max_in_flight=4) as temporis,
    ):
        with pytest.raises(KeyboardInterrupt) as caught:
            temporis.data_source("store_metrics").upsert(rows(200))
        report = caught.value.report
        on_the_server = set(stored(service.state))
        before = report.to_dict()
        go_on.set()
    assert adds_up(report)
    sure = set(range(200)) - numbers(report.unknown_rows) - numbers(report.unsent_rows)
    assert (len(sure), sure <= on_the_server) == (report.stored, True)
    assert not numbers(report.unsent_rows) & set(stored(service.state))
    assert report.unknown == (0 if answered else 8)
    assert report.to_dict() == before


@pytest.mark.parametrize("interrupts", [1, 3])
def test_interrupted_while_the_report_is_made(interrupts, monkeypatch):
    """However often that happens, the last KeyboardInterrupt carries the report of what is stored."""
    state, made, report = fake_state(), [], Tally.report

    def interrupted(tally, *words):
        made.append(words)
        if len(made) <= interrupts:
            raise KeyboardInterrupt
        return report(tally, *words)

    monkeypatch.setattr(Tally, "report", interrupted)
    with connected(DirectTransport(state), batch_rows=2) as temporis, pytest.raises(KeyboardInterrupt) as caught:
        temporis.data_source("store_metrics").upsert(rows(4))
    assert caught.value.report.stored == 4


def test_an_upsert_does_without_threads(monkeypatch):
    """As when the interpreter shuts down, or the machine has none left."""

    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    state = fake_state()
    with connected(DirectTransport(state), batch_rows=2) as temporis:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        assert temporis.data_source("store_metrics").upsert(rows(20)).stored == 20
    assert len(stored(state)) == 20


@pytest.mark.parametrize("batches", [1, 8])
def test_after_an_interruption_the_next_upsert_waits_for_requests_left_behind(monkeypatch, batches):
    """No key is in two requests at once on one connection, and what the interrupted upsert sent cannot win."""
    monkeypatch.setattr(delivery, "INTERRUPT_GRACE_S", 0.01)
    go_on, too_early, under_way = threading.Event(), threading.Event(), min(batches, 4)

    def script(request):
        if request.number == under_way - 1:
            os.kill(os.getpid(), signal.SIGINT)
        if request.number < under_way:
            return held(go_on)
        too_early.set()
        return None

    with (
        FakeService(token=CANARY, script=script) as service,
        connected(service, batch_rows=4, max_in_flight=4) as temporis,
    ):
        source, frame = temporis.data_source("store_metrics"), rows(4 * batches)
        with pytest.raises(KeyboardInterrupt) as caught:
            source.upsert(frame)
        assert caught.value.report.unknown == 4 * under_way
        again = threading.Thread(target=source.upsert, args=[rows(4 * batches, plus=0.5)])
        again.start()
        assert not too_early.wait(0.2), "the second upsert did not wait"
        go_on.set()
        again.join()
        assert service.overlapping_keys == set()
        assert stored(service.state) == {number: number + 0.5 for number in range(4 * batches)}


def test_a_failing_progress_function_stops_the_upsert_with_its_report():
    """The caller's own exception comes out, whichever thread it was raised in, with the report on it."""
    state = fake_state()

    def progress(_settled):
        raise ZeroDivisionError

    for in_flight in (1, 4):
        to = connected(DirectTransport(state), batch_rows=2, max_in_flight=in_flight)
        with to as temporis, pytest.raises(ZeroDivisionError) as caught:
            temporis.data_source("store_metrics").upsert(rows(100), progress=progress)
        report = caught.value.report
        assert adds_up(report)
        assert not numbers(report.unsent_rows) & set(stored(state))
        state.content.clear()


# Several at once


def test_upserts_into_one_data_source_take_turns():
    """Two threads, one connection: all of one upsert is written before any of the other."""
    arrived, both_began = threading.Event(), threading.Event()

    def script(request):
        arrived.set()
        return held(both_began) if request.number == 0 else None

    with FakeService(token=CANARY, script=script) as service, connected(service, batch_rows=1) as temporis:
        source = temporis.data_source("store_metrics")
        threads = [threading.Thread(target=source.upsert, args=[rows(50, plus=plus)]) for plus in (0.0, 0.5)]
        threads[0].start()
        arrived.wait(10)
        threads[1].start()
        both_began.set()
        for thread in threads:
            thread.join(30)
    order = [value % 1 for *_, value in service.writes]
    assert order == [0.0] * 50 + [0.5] * 50
    assert stored(service.state) == {i: i + 0.5 for i in range(50)}
    assert service.overlapping_keys == set()


def test_upserts_into_two_data_sources_run_side_by_side():
    """Each request is held in the service until the other one has arrived."""
    here = {"a": threading.Event(), "b": threading.Event()}

    def script(request):
        here[request.data_source].set()
        return held(here["b" if request.data_source == "a" else "a"])

    service = FakeService(("a", "b"), token=CANARY, script=script)
    with service, connected(service, batch_rows=15, max_in_flight=4) as temporis:
        threads = [threading.Thread(target=temporis.data_source(name).upsert, args=[rows(30)]) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(service.content) == 60
    assert 2 <= service.state.most_in_flight <= 4


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_no_more_than_max_in_flight_requests_are_under_way(in_flight):
    """Over real connections, whatever the number of bodies and threads of the caller."""
    with (
        FakeService(tuple("abcd"), token=CANARY) as service,
        connected(service, batch_rows=1, max_in_flight=in_flight) as temporis,
    ):
        threads = [threading.Thread(target=temporis.data_source(name).upsert, args=[rows(40)]) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(service.content) == 160
    assert service.state.most_in_flight <= in_flight


@pytest.mark.parametrize("in_flight", [1, 4])
def test_the_requested_rate_is_kept(in_flight):
    """requests_per_second=10: thirty requests take 2.9 s on the clock, and no two turns are closer than 0.1 s."""
    clock = FakeClock()
    state = fake_state(clock=clock)
    with connected(
        DirectTransport(state), clock=clock, batch_rows=1, max_in_flight=in_flight, requests_per_second=10
    ) as temporis:
        temporis.data_source("store_metrics").upsert(rows(30))
        turns = sorted(throttle_of(temporis).turns)
    assert clock.now() == pytest.approx(1000 + 2.9)
    if in_flight == 1:
        assert all(later - earlier > 0.1 - 1e-6 for earlier, later in pairwise(turns))


def test_a_final_answer_nobody_expected_blocks_no_other():
    """After a 403 while a dead service is probed, the next upsert on the connection is not left waiting for a turn."""
    state = fake_state(in_sequence(answer(503), answer(403)))
    with connected(DirectTransport(state), max_in_flight=1) as temporis:
        source = temporis.data_source("store_metrics")
        assert type(outcome(source, rows(2))[1]) is DeliveryError
        assert source.upsert(rows(2)).stored == 2


def test_the_archive_state_is_asked_with_an_empty_ingest():
    """ACTIVE, ARCHIVED, and UNKNOWN if the service refuses an empty ingest, which counts as writable."""
    for options, expected_state in (
        ({}, ArchiveState.ACTIVE),
        ({"archived": {"store_metrics": True}}, ArchiveState.ARCHIVED),
        ({"refuses_empty": True}, ArchiveState.UNKNOWN),
        ({"max_body_bytes": 1}, ArchiveState.UNKNOWN),
    ):
        state = fake_state(**options)
        with connected(DirectTransport(state)) as temporis:
            assert temporis.data_source("store_metrics").archive_state() is expected_state
            with contextlib.suppress(DataSourceArchivedError):
                temporis.data_source("store_metrics").ensure_writable()
        assert state.writes == []


class MustWaitError(Exception):
    pass


def test_turns_are_as_many_as_are_allowed():
    """The throttle alone: max_in_flight turns; one while nothing gets through; all again after a sign of life."""
    clock = FakeClock()
    throttle = Throttle(RetryPolicy(), max_in_flight=3, clock=clock)

    def turns():
        """Count how many requests may start before one has to wait for another to end."""
        taken = []
        with contextlib.suppress(MustWaitError):
            while True:
                taken.append(throttle.turn(lambda: False))
        for number in taken:
            throttle.leave(number)
        return len(taken)

    def wait(_timeout=None):
        raise MustWaitError

    def fail(times):
        for _ in range(times):
            throttle.failed(throttle.turn(lambda: False), Answer(503, ""), attempts=1, unclear=0)

    throttle._changed.wait = wait
    assert turns() == 3
    fail(2)
    assert turns() == 3
    fail(1)
    assert turns() == 1
    throttle.alive(throttle.turn(lambda: False))
    assert turns() == 3
    fail(3)
    assert turns() == 1
    with throttle.engaged():
        assert turns() == 1
    clock.advance(RetryPolicy().longest_wait_s + 1)
    with throttle.engaged():
        assert turns() == 3


def test_a_turn_that_must_wait_too_long_is_refused():
    """The throttle alone: it answers at once instead of waiting beyond give_up_after_s."""
    clock = FakeClock()
    throttle = Throttle(RetryPolicy(give_up_after_s=10), max_in_flight=2, clock=clock)
    step = throttle.failed(throttle.turn(lambda: False), Answer(429, "", retry_after_s=11), attempts=1, unclear=0)
    assert isinstance(step, GiveUp)
    with pytest.raises(HeldBack):
        throttle.turn(lambda: False)
    clock.advance(11)
    throttle.turn(lambda: False)


def test_a_fault_may_apply_a_part():
    """The fake alone: applying half of a body before a cut is something that the API does not exclude."""
    state = fake_state(in_sequence(Fault(ends="cut", applies="half")))
    DirectTransport(state).post(
        b'{"data_source":"store_metrics","records":[{"timestamp":0,"name":"a","value":1},'
        b'{"timestamp":1,"name":"a","value":1}]}'
    )
    assert len(state.content) == 1


# Memory


class FourAtOnce:
    """A transport that answers only once four requests wait, so that four bodies are in memory, and keeps none."""

    def __init__(self) -> None:
        self.arrived = threading.Barrier(4)

    def post(self, body):
        self.arrived.wait(timeout=60)
        return Answer(204, "")


def test_an_upsert_takes_seven_bytes_a_row_and_the_bodies_in_flight():
    """A slow service does not make memory grow: of 100 bodies, at most four, the next and a part exist."""
    frame = rows(1_000_000)
    upsert(
        FourAtOnce(), frame[:40_000], batch_rows=10_000, max_in_flight=4
    )  # what is imported at first use does not count
    tracemalloc.start()
    try:
        report, error = upsert(FourAtOnce(), frame, batch_rows=10_000, max_in_flight=4)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error is None
    assert report.stored == len(frame)
    bodies = 7 * report.bytes_sent / report.requests
    assert most < 8 * len(frame) + bodies + 2_000_000
