"""Who answered: only the API itself judges records or a data source; a page of something in between does not."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    ArchiveState,
    AuthenticationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    RejectedObservationsError,
    UnavailableError,
    connect,
)
from temporis_dagster.data_source.http.error_body import ERROR_BODY_BYTES, error_text_of
from temporis_dagster.testing import FakeService, Fault
from tests.support.delivery_tools import CANARY, DirectTransport, connected, fake_state, rows, stored

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
FOREIGN = {
    "a page": Fault(body="<html><title>400 Bad Request</title><hr>nginx</html>", headers=HTML),
    "a login page": Fault(body="<!doctype html><form action='/login'>", headers=HTML),
    "text": Fault(body="Invalid HTTP request received.", headers={"Content-Type": "text/plain"}),
    "nothing": Fault(),
    "blank": Fault(body=" \n"),
    "another JSON": Fault(body='{"message": "no API key found"}', headers=JSON),
    "JSON error": Fault(body='{"error": {"code": 400, "detail": "x"}}', headers=JSON),
    "an array": Fault(body='["detail"]', headers=JSON),
    "a string": Fault(body='"detail"', headers=JSON),
    "null": Fault(body="null", headers=JSON),
    "detail null": Fault(body='{"detail": null}', headers=JSON),
    "detail a number": Fault(body='{"detail": 400}', headers=JSON),
    "detail an object": Fault(body='{"detail": {"a": 1}}', headers=JSON),
    "half of it": Fault(body='{"detail": "some re', headers=JSON),
    "a gateway's problem": Fault(
        body='{"title": "Bad", "status": 400, "detail": "waf"}', headers={"Content-Type": "application/problem+json"}
    ),
    "XML": Fault(body="<?xml version='1.0'?><Error><Code>400</Code></Error>", headers={"Content-Type": "text/xml"}),
    "JSON called HTML, in a page": Fault(body='<pre>{"detail": "x"}</pre>', headers=HTML),
}


def with_status(fault: Fault, status: int) -> Fault:
    return Fault(status, fault.body, fault.headers)


def upsert(service, count=10, **options):
    """Upsert on a fake clock, and return the report and the error."""
    with connected(service, batch_rows=2, max_in_flight=1) as temporis:
        try:
            return temporis.data_source("store_metrics").upsert(rows(count), **options), None
        except DeliveryError as error:
            return error.report, error


@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("fault", FOREIGN.values(), ids=FOREIGN)
def test_a_page_condemns_no_row_and_no_data_source(fault, status, on_invalid):
    """After three attempts it is unavailable, with the page's text; nothing is rejected, dropped or halved."""
    script = lambda request: with_status(fault, status) if request.number else None  # noqa: E731
    state = fake_state(script)
    report, error = upsert(DirectTransport(state), on_invalid=on_invalid)
    assert len(state.requests) == 1 + 3
    assert type(error) is UnavailableError
    assert (report.stored, report.unknown, report.unsent, report.rejected, report.dropped) == (2, 2, 6, 0, 0)
    assert str(status) in str(error)
    assert "does not look like an answer of the Temporis API" in str(error)
    assert ("nginx" in str(error)) == ("nginx" in fault.body)


@pytest.mark.parametrize("fault", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_page_that_passes_costs_a_retry(fault, status):
    """As when a proxy restarts: everything is stored."""
    script = lambda request: with_status(fault, status) if request.number == 1 else None  # noqa: E731
    report, error = upsert(DirectTransport(fake_state(script)))
    assert (error, report.stored, report.retries) == (None, 10, 1)


@pytest.mark.parametrize("status", [400, 409, 422])
def test_the_archive_state_is_not_read_from_a_page(status):
    """The state is neither archived nor unknown: the question fails."""
    script = lambda _request: with_status(FOREIGN["a page"], status)  # noqa: E731
    with FakeService(token=CANARY, script=script) as service, connected(service) as temporis:
        with pytest.raises(UnavailableError):
            temporis.data_source("store_metrics").archive_state()
        service.state.script = lambda _request: None
        assert temporis.data_source("store_metrics").archive_state() is ArchiveState.ACTIVE


GATEWAYS = [408, 425, 502, 504, 520, 521, 522, 523, 524, 530]


@pytest.mark.parametrize("status", GATEWAYS)
def test_what_a_gateway_says_of_an_outage_is_an_outage(status, tmp_path):
    """A request that timed out, came too early or found no service is retried, and queued by a mirror that queues."""
    page = with_status(FOREIGN["a page"], status)
    report, error = upsert(DirectTransport(fake_state(lambda request: page if request.number < 3 else None)))
    assert (error, report.stored) == (None, 10)
    options = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue", "give_up_after_s": 0.001}
    script = lambda _request: page  # noqa: E731
    with FakeService(token=CANARY, script=script) as service, connect(service.url, CANARY, **options) as temporis:
        assert temporis.data_source("store_metrics").upsert(rows(4)).pending == 4


@pytest.mark.parametrize("on_unavailable", ["raise", "queue"])
@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_in_a_mirror_the_rows_wait(status, on_unavailable, tmp_path):
    """Nothing moves to the rejected rows, and the next flush delivers everything."""
    script = lambda _request: with_status(FOREIGN["a page"], status)  # noqa: E731
    options = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": on_unavailable, "late_write_window_s": 0}
    with FakeService(token=CANARY, script=script) as service, connect(service.url, CANARY, **options) as temporis:
        source = temporis.data_source("store_metrics")
        if on_unavailable == "queue" and status != 413:
            assert source.upsert(rows(4), on_invalid="drop").pending == 4
        else:
            with pytest.raises(DeliveryError) as caught:
                source.upsert(rows(4), on_invalid="drop")
            assert caught.value.report.pending == 4
        assert (source.pending().rows, len(source.rejected_rows())) == (4, 0)
        service.state.script = lambda _request: None
        source.flush(wait=True)
        assert (source.pending().rows, len(stored(service.state))) == (0, 4)


@pytest.mark.parametrize("fault", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (404, DataSourceNotFoundError)])
def test_a_page_that_needs_a_person_stops_at_once(fault, status, kind):
    """After a login page or a missing path, nothing was stored, and no retry helps."""
    state = fake_state(lambda _request: with_status(fault, status))
    report, error = upsert(DirectTransport(state))
    assert len(state.requests) == 1
    assert type(error) is kind
    assert (report.unsent, report.rejected) == (10, 0)


def test_a_page_of_413_splits_but_condemns_no_single_row():
    """nginx refuses large bodies with a page: smaller ones pass. If not even one row passes, the rows are unsent."""
    page = with_status(FOREIGN["a page"], 413)
    for limit, kind, expected in ((1, None, (10, 0, 0)), (0, DeliveryError, (0, 10, 0))):
        script = lambda request, limit=limit: page if len(request.records) > limit else None  # noqa: E731
        with FakeService(token=CANARY, script=script) as service:
            report, error = upsert(service, on_invalid="drop")
        assert (error and type(error)) is kind
        assert (report.stored, report.unsent, report.rejected) == expected
        assert report.requests <= 20


OWN = {
    "text": ('{"detail": "bad value"}', JSON),
    "FastAPI's list": ('{"detail": [{"loc": ["body", "records", 1], "msg": "bad value"}]}', JSON),
    "text and errors": ('{"detail": "bad value", "errors": [{"msg": "bad value"}]}', JSON),
    "an empty list": ('{"detail": []}', JSON),
    "without a type": ('{"detail": "bad value"}', {}),
    "called text": ('{"detail": "bad value"}', {"Content-Type": "text/plain"}),
    "spaces": ('  {\n  "detail" : "bad value" }\n', JSON),
    "a list without end": ('{"detail": [' + '{"msg": "bad value"},' * 5_000 + "0]}", JSON),
    "text and errors without end": ('{"detail": "bad value", "errors": [' + "1," * 20_000 + "1]}", JSON),
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(("body", "headers"), OWN.values(), ids=OWN)
def test_the_api_itself_may_refuse_a_row(body, headers, status):
    """It is found by halving, named in the report, and the others are stored, for every form of the API's text."""

    def script(request):
        return Fault(status, body, headers) if any(record["value"] == 3 for record in request.records) else None

    with FakeService(token=CANARY, script=script) as service:
        report, error = upsert(service)
    assert type(error) is RejectedObservationsError
    assert (report.stored, report.rejected_rows.position.tolist()) == (9, [3])
    assert "empty" in body or "[]" in body or "bad value" in report.rejected_rows.reason[0]


def test_the_api_itself_may_say_that_it_is_archived():
    """In either form of its text."""
    for body, headers in OWN.values():
        with FakeService(token=CANARY, script=lambda _request: Fault(409, body, headers)) as service:  # noqa: B023
            assert type(upsert(service)[1]) is DataSourceArchivedError


@pytest.mark.parametrize("encoding", ["gzip", "GZIP ", "deflate"])
def test_packed_words_are_read(encoding):
    """Some proxies compress answers unasked; a zip bomb stays as small as any other body."""
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    headers = {"Content-Encoding": encoding}
    assert error_text_of(pack(b'{"detail": "bad value"}'), headers).text == "bad value"
    assert error_text_of(pack(b'{"detail": "bad value"}'), headers).from_api
    assert error_text_of(pack(b'{"detail": [' + b"1," * 10**7 + b"1]}"), headers).from_api
    assert len(error_text_of(pack(b"x" * 10**8), headers).text) <= ERROR_BODY_BYTES
    assert not error_text_of(b"not packed", headers).from_api
    assert not error_text_of(b"...", {"Content-Encoding": "br"}).from_api


@given(st.binary(max_size=200), st.booleans())
def test_any_body_is_read(body, is_complete):
    """And is the API's own only if it is an object with a detail, or begins like one that was cut off."""
    said = error_text_of(body, {}, is_complete=is_complete)
    assert not said.from_api or body.lstrip().startswith(b"{")


@given(st.text(max_size=50), st.integers(0, 200))
def test_a_body_of_the_api_that_is_cut_off_is_still_its_own(detail, cut):
    """If its detail had begun; before that, anything could have written it."""
    body = orjson.dumps({"detail": detail, "errors": [1, 2, 3]})
    said = error_text_of(body[:cut], {}, is_complete=False)
    assert said.from_api == (cut > len(b'{"detail":'))
    if cut >= len(orjson.dumps({"detail": detail})):
        assert said.text == detail
