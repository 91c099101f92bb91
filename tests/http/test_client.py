"""The client and its environment: URLs, tokens, certificates, headers, and the text of errors."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    DeliveryError,
    NotSupportedError,
    ReadNotSupportedError,
    Temporis,
    TemporisError,
    UnavailableError,
    __version__,
    connect,
)
from temporis_dagster.data_source.connection import connect_with
from temporis_dagster.data_source.http.client import Answer, Client
from temporis_dagster.data_source.http.environment import BUNDLES
from temporis_dagster.data_source.http.error_body import QUOTED_CHARACTERS, error_text_of, shortened
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.http.throttle import SystemClock
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.testing import FakeService, Fault, answer, cut, held, html_page, in_sequence, silence
from tests.support.delivery_tools import CANARY, FakeClock, connected, rows


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService(token=CANARY) as service:
        yield service


def failure_of(to, **options) -> DeliveryError:
    """Return the error of an upsert; no frame in here has the token in a local variable."""
    with connected(to, **options) as temporis, pytest.raises(DeliveryError) as caught:
        temporis.data_source("store_metrics").upsert(rows(4))
    return caught.value


# URLs and tokens


@pytest.mark.parametrize("prefix", ["", "/temporis", "/a/b"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_path_of_a_url_is_kept(prefix, slash):
    """A service behind a prefix is reached there."""
    with FakeService(token=CANARY, prefix=prefix) as service:
        url = service.url + slash
        with connect(url, service.token) as temporis:
            assert temporis.data_source("store_metrics").upsert(rows(2)).stored == 2
            assert temporis.url == service.url


@pytest.mark.parametrize("url", ["http://api.temporis.co", "http://10.0.0.1:8008", "http://localhost.example.com"])
def test_a_token_does_not_travel_unencrypted(url):
    """Plain http is for this machine only, unless the user says otherwise."""
    with pytest.raises(ConfigurationError, match="allow_http"):
        connect(url, "ts_secret")
    connect(url, "ts_secret", allow_http=True).close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8008", "http://localhost:8008", "http://[::1]:8008", "https://x.y/z"]
)
def test_loopback_and_https_are_fine(url):
    """Nothing is opened yet, so no server needs to listen."""
    with connect(url, "ts_secret") as temporis:
        assert temporis.url == url


def test_the_scheme_has_no_case():
    """As in any URL."""
    with connect("HTTPS://API.temporis.co", "ts_secret") as temporis:
        assert temporis.url == "https://api.temporis.co"


@pytest.mark.parametrize("url", ["https://a..b", f"https://{'a' * 64}.co", "https://x.y:0", "https://x.y:70000"])
def test_a_host_that_cannot_be_is_refused_at_once(url):
    """And not in the middle of an upsert with one of Python's own exceptions."""
    with pytest.raises(ConfigurationError):
        connect(url, "ts_secret")


@pytest.mark.parametrize("token", [123, b"ts_secret"])
def test_a_token_is_text(token):
    """Anything else is refused like any other invalid token."""
    with pytest.raises(ConfigurationError, match="must start with 'ts_'"):
        connect("https://api.temporis.co", token)


@pytest.mark.parametrize(
    "setting",
    [
        {"HTTPS_PROXY": "ftp://user:hunter2@proxy"},
        {"HTTPS_PROXY": "http://user:hun/ter2@proxy"},
        *({name: "/hunter2/missing.pem"} for name in BUNDLES),
    ],
    ids=str,
)
def test_an_environment_that_cannot_be_used_is_a_configuration_error(setting, monkeypatch):
    """The error about a proxy or certificate that httpx cannot use does not quote what may be a password."""
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with connect("https://api.invalid", CANARY) as temporis, pytest.raises(ConfigurationError) as caught:
        temporis.data_source("store_metrics").upsert(rows(2))
    assert "SSL_CERT_FILE" in str(caught.value)
    assert "hun" not in "".join(traceback.format_exception(caught.value)).replace(__file__, "")


def test_no_proxy_stands_before_this_machine(service, monkeypatch):
    """A proxy from the environment does not receive the token of a local service."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with connect(service.url, service.token, give_up_after_s=0.01) as temporis:
        assert temporis.data_source("store_metrics").upsert(rows(2)).stored == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@api.temporis.co",
        "https://api.temporis.co?key=hunter2",
        "https://api.temporis.co#hunter2",
        "https://user:hun/ter2@api.temporis.co",
        "https://api.temporis.co:hunter2",
        "https://",
    ],
)
def test_a_url_is_host_port_and_path(url):
    """Anything else is refused, without showing what may be a secret, also in the chain of the error."""
    with pytest.raises(ConfigurationError) as caught:
        connect(url, "ts_secret")
    shown = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.__cause__)
    assert "hunter2" not in shown
    assert "hun" not in shown


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/temporis/v1", "/v1/data_sources/ingest", "/v1/data_sources"])
def test_a_url_with_the_path_of_the_api_is_refused(path):
    """Requests would go to /v1/v1/..., and be answered with a 404 that looks like a missing data source."""
    with pytest.raises(ConfigurationError, match=r"End the URL before '/v1'\.$"):
        connect(f"http://127.0.0.1:8008{path}", CANARY)
    connect(f"http://127.0.0.1:8008/temporis/v11{path}x", CANARY).close()


OF_OUR_OWN = "temporis {} store_metrics --store URL-OF-ITS-STORE."
DASHBOARD = "in the Temporis dashboard"
READ = "in a shell with: temporis read --url URL-OF-ITS-STORE;"


@pytest.mark.parametrize(("url", "place", "reading"), [
    ("http://127.0.0.1:1", f" with: {OF_OUR_OWN}", f"To see them, read its store, with connect() in Python, or {READ}"),
    ("https://api.temporis.co", f" {DASHBOARD}.", f"To see them, look {DASHBOARD};"),
    ("https://temporis.example.com", f" {DASHBOARD} or, for a service of your own, with: {OF_OUR_OWN}", "or, for"),
])  # fmt: skip
def test_advice_names_the_place_where_it_can_be_followed(url, place, reading):
    """A service on this machine has a store and commands; the cloud has its dashboard; another may be either."""
    target = HttpTarget(url, CANARY)
    with Temporis(target) as temporis:
        source = temporis.data_source("store_metrics")
        with pytest.raises(NotSupportedError) as caught:
            source.archive()
        assert str(caught.value).endswith(place.format("sources archive"))
        with pytest.raises(NotSupportedError) as caught:
            temporis.create_data_source("store_metrics")
        assert str(caught.value).endswith(place.format("sources create"))
        with pytest.raises(ReadNotSupportedError) as caught:
            source.read()
        assert reading in str(caught.value)
        for status, command in ((404, "sources create"), (409, "sources unarchive")):
            words = "Data source not found." if status == 404 else ""
            target._transport = Always(Answer(status, words))
            with pytest.raises(DeliveryError) as caught:
                source.upsert(rows(1))
            assert str(caught.value).endswith(place.format(command))


class Always:
    """One answer to everything."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def post(self, body):
        return self.answer


def test_a_404_of_something_else_is_told_from_a_missing_data_source():
    """A proxy or another server does not know the path: the text is not the API's, so the URL is in doubt."""
    with FakeService(token=CANARY, script=lambda _request: html_page(404)) as service:
        assert "check the URL and its path first, then the name" in str(failure_of(service))
    with FakeService(token=CANARY, data_sources={"other": False}) as service:
        assert "temporis sources create store_metrics" in str(failure_of(service))


@pytest.mark.parametrize("token", ["", "ts_", "secret", "ts_a b", "ts_a\nb", "'ts_a'", "ts_é", "Bearer ts_a"])
def test_an_invalid_token_is_refused_and_not_shown(token):
    """Before any I/O, with a description of a token."""
    with pytest.raises(ConfigurationError, match="must start with 'ts_'") as caught:
        connect("https://api.temporis.co", token)
    assert len(token.strip()) < 4 or token.strip() not in str(caught.value)


def test_a_service_without_tokens_gets_no_header(service):
    """None means none, and its answer is what a missing token gets."""
    client = Client(service.url, None, timeout_s=5, max_in_flight=1, verify=True, agent="test")
    answered = client.post(b"{}")
    client.close()
    assert (answered.status, answered.words) == (401, "Missing access token.")


def test_a_wrong_token_is_an_error_of_its_own(service):
    """401 ends the upsert at once, with advice; nothing is stored, and every row is unsent."""
    service.state.rules = service.state.rules.__class__("ts_another")
    error = failure_of(service)
    assert type(error) is AuthenticationError
    assert (error.report.unsent, error.report.requests, error.retryable) == (4, 1, False)
    assert "Check the access token (TEMPORIS_TOKEN) and the URL" in str(error)
    assert ".." not in str(error)


# Headers and answers


def test_a_request_says_who_sends_it(service):
    """A request has a User-Agent with library and version, JSON, a length, and no compression."""
    with connect(service.url, service.token) as temporis:
        temporis.data_source("store_metrics").upsert(rows(2))
    (request,) = service.requests
    assert request.headers["user-agent"].startswith(f"temporis-dagster/{__version__}")
    assert request.headers["content-type"] == "application/json"
    assert int(request.headers["content-length"]) == request.size
    assert "content-encoding" not in request.headers
    assert request.headers["accept-encoding"] == "identity", "the text of a compressed refusal is not read"
    assert service.complaints == []


def test_a_surface_over_the_core_says_who_calls(service):
    """What the Dagster resource passes appears in the User-Agent; what a header cannot hold is refused."""
    options = HttpOptions(caller="dagster-run/0d5a")
    with connect_with(options, service.url, service.token) as temporis:
        temporis.data_source("store_metrics").archive_state()
    assert service.requests[0].headers["user-agent"].endswith(" dagster-run/0d5a")
    with pytest.raises(ConfigurationError, match="printable ASCII"):
        HttpOptions(caller="a\r\nAuthorization: b")


def test_one_connection_serves_many_requests(service):
    """The pool lasts as long as the connection, and opens again after a close."""
    ports = set()
    service.state.script = lambda _request: ports.update(
        connection.getpeername()[1] for connection in service._server._connections
    )
    with connect(service.url, service.token, batch_rows=1, max_in_flight=1) as temporis:
        temporis.data_source("store_metrics").upsert(rows(20))
        assert len(ports) == 1
        temporis.close()
        assert temporis.data_source("store_metrics").upsert(rows(2)).stored == 2


def test_a_redirect_is_not_followed():
    """The token goes nowhere else; the rows are unsent."""
    with FakeService(token=CANARY) as elsewhere:
        moved = Fault(307, "", {"Location": elsewhere.url + "/v1/data_sources/ingest"})
        with FakeService(token=CANARY, script=lambda _request: moved) as service:
            error = failure_of(service)
        assert elsewhere.requests == []
    assert type(error) is DeliveryError
    assert error.report.unsent == 4
    assert "307" in str(error)


def test_a_proxy_page_is_quoted_in_one_line_and_shortened():
    """HTML, broken bytes and long bodies are shown as one short line, and none of them raises."""
    with FakeService(token=CANARY, script=lambda _request: html_page(403)) as service:
        error = failure_of(service)
    assert "403: <html> <head><title>403 Bad Gateway</title></head> <body>" in str(error)
    assert "\n" not in str(error)
    for body in (
        "x" * 100_000,
        "\x00\xff",
        '{"detail": ' + "[" * 5000,
        '["detail"]',
        '{"detail": {"a": [1]}}',
        "null",
        '"',
        '{"detail": ' + "[" * 500 + "]" * 500 + "}",
    ):
        with FakeService(token=CANARY, script=lambda _request, body=body: Fault(403, body)) as service:
            assert len(str(failure_of(service))) < QUOTED_CHARACTERS + 400


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_error_text_of_a_service_become_one_short_line(words):
    """As the API's detail or as plain text."""
    for body in (words.encode(), orjson.dumps({"detail": words})):
        quoted = shortened(error_text_of(body, {}).text)
        assert len(quoted) <= QUOTED_CHARACTERS + 1
        assert quoted.isprintable(), "a terminal or a log may take the rest for a command"


def test_the_foreign_exceptions_of_httpx_stay_inside(service):
    """Whatever happens on the wire is an answer; none of httpx's errors leaves."""
    faults = [silence(), cut(), Fault(503, "x", {"Retry-After": "soon"}), html_page(), Fault(599, "")]
    service.state.script = in_sequence(*faults)
    answers = []
    for timeout_s in (2, 30, 30, 30, 30):
        client = Client(service.url, CANARY, timeout_s=timeout_s, max_in_flight=1, verify=True, agent="test")
        answers.append(client.post(b"{}"))
        client.close()
    assert [answered.status for answered in answers] == [None, None, 503, 502, 599]
    assert [answered.maybe_applied for answered in answers] == [True] * 5
    assert all(answered.words for answered in answers[:-1])


def test_a_large_body_is_given_more_time():
    """The timeout grows with the body, so that a slow line is not mistaken for a dead service."""
    seen = []

    class Spy:
        def stream(self, *args, timeout, **options):
            seen.append(timeout.read)
            raise httpx.ConnectError("refused")

    client = Client("http://127.0.0.1:1", CANARY, timeout_s=30, max_in_flight=1, verify=True, agent="test")
    client._made = Spy
    client.post(b"x")
    client.post(b"x" * 5_000_000)
    assert seen == [pytest.approx(30), pytest.approx(130)]


@contextlib.contextmanager
def dripping_service(head: bytes, authority=None) -> Iterator[str]:
    """A service that answers at once with the head, and then with a byte at a time for as long as the client reads."""
    hung_up = threading.Event()

    def serve(listener):
        with contextlib.suppress(OSError):
            connection = listener.accept()[0]
            with connection:
                connection.recv(65_536)
                connection.sendall(head)
                while not hung_up.wait(0.01):
                    connection.sendall(b"x")
        hung_up.set()

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            listener = stack.enter_context(context.wrap_socket(listener, server_side=True))
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"{'https' if authority else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        assert hung_up.wait(30), "the client never hung up"
        thread.join()


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_that_drips_ends_with_the_attempt(authority, tls):
    """Each byte arrives in time and the whole never does: no answer. Without the bound, this test would not end."""
    with dripping_service(b"HTTP/1.1 204 ", authority if tls else None) as url:
        client = Client(url, CANARY, timeout_s=0.3, max_in_flight=1, verify=False, agent="test")
        answered = client.post(b"{}")
        client.close()
    assert (answered.status, answered.maybe_applied, answered.permanent) == (None, True, False)


def test_words_that_drip_do_not_hide_the_status():
    """The head arrived in time, so its status counts, whatever becomes of the text."""
    with dripping_service(b"HTTP/1.1 409 Conflict\r\nContent-Length: 99999\r\n\r\n") as url:
        client = Client(url, CANARY, timeout_s=0.3, max_in_flight=1, verify=True, agent="test")
        answered = client.post(b"{}")
        client.close()
    assert answered.status == 409
    assert answered.words.startswith("x")


def test_a_close_by_another_thread_costs_no_attempt(service, monkeypatch):
    """What is under way is answered, on a connection that is closed afterwards; the next attempt opens another one."""
    client, opened = Client(service.url, CANARY, timeout_s=30, max_in_flight=2, verify=True, agent="test"), []
    connect_to = socket.create_connection

    def noted(*arguments, **options):
        opened.append(connect_to(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", noted)
    rounds = [threading.Event() for _ in range(3)]

    def close(request):  # none of the two is answered before both are here, each on its own connection
        client.close()
        both = rounds[request.number // 2]
        if request.number % 2:
            both.set()
        return held(both)

    service.state.script = close
    with ThreadPoolExecutor(2) as threads:
        for _ in rounds:
            both = [threads.submit(client.post, b"{}") for _ in range(2)]
            assert [answered.result(30).status for answered in both] == [422, 422]
    assert [one.fileno() for one in opened] == [-1] * 6


def test_a_connection_that_opens_while_another_thread_closes_is_closed(service, monkeypatch):
    """Neither the attempt nor its socket is lost, although the closed pool did not know of it yet."""
    client, opened = Client(service.url, CANARY, timeout_s=5, max_in_flight=1, verify=True, agent="test"), []
    connect_to = socket.create_connection

    def closed_meanwhile(*arguments, **options):
        opened.append(connect_to(*arguments, **options))
        client.close()
        return opened[0]

    monkeypatch.setattr(socket, "create_connection", closed_meanwhile)
    assert client.post(b"{}").status == 422
    assert [one.fileno() for one in opened] == [-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_connections_of_its_own(service):
    """On a connection of its parent it would read the parent's answers."""
    code = (
        "import os, sys; from temporis_dagster import connect\n"
        "source = connect(sys.argv[1], sys.argv[2]).data_source('store_metrics')\n"
        "source.archive_state()\n"
        "if child := os.fork(): os.waitpid(child, 0)\n"
        "source.archive_state()\n"
    )
    ports = []
    service.state.script = lambda _request: ports.append(
        {connection.getpeername()[1] for connection in service._server._connections}
    )
    subprocess.run([sys.executable, "-c", code, service.url, service.token], check=True)
    mine, child, again = ports
    assert child > mine, "the child used its parent's connection"
    assert len(again) >= 1


def test_waiting_forever_is_possible():
    """A wait beyond the platform's longest is cut instead of raising an OverflowError."""
    condition = threading.Condition()
    threading.Timer(0.01, lambda: condition.acquire() and (condition.notify_all(), condition.release())).start()
    with condition:
        SystemClock().wait(condition, 1e300)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_rows": 0},
        {"max_in_flight": -1},
        {"timeout_s": float("nan")},
        {"requests_per_second": 0},
        {"give_up_after_s": 0},
        {"timeout_s": float("inf")},
        {"timeout_s": None},
        {"batch_rows": "10"},
        {"batch_rows": 10.5},
        {"batch_rows": True},
        {"max_in_flight": 1.5},
        {"requests_per_second": "1"},
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options):
    """Before anything is opened."""
    with pytest.raises(ConfigurationError):
        connect("https://api.temporis.co", "ts_x", **options)


# Certificates


@contextlib.contextmanager
def tls_service(authority) -> Iterator[str]:
    """A fake service behind TLS, with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeService(token=CANARY) as service:
        service._server.socket = context.wrap_socket(service._server.socket, server_side=True)
        yield service.url.replace("http:", "https:")


@pytest.fixture
def authority():
    return pytest.importorskip("trustme").CA()


def test_an_unknown_certificate_is_final(authority):
    """No retry, nothing unknown, and advice that every surface can follow."""
    with tls_service(authority) as url:
        target = HttpTarget(url, CANARY, HttpOptions(), clock=FakeClock())
        with connect("https://127.0.0.1", CANARY) as temporis:
            temporis._target = target
            with pytest.raises(DeliveryError) as caught:
                temporis.data_source("store_metrics").upsert(rows(3))
    error = caught.value
    assert (type(error), error.retryable) == (DeliveryError, False)
    assert (error.report.requests, error.report.unsent) == (1, 3)
    assert "certificate" in str(error).lower()
    assert "set SSL_CERT_FILE to it" in str(error)
    assert "answered" not in str(error)


def test_https_to_a_port_that_speaks_http_is_final(service):
    """A mistake in the URL, which no retry fixes."""
    url = service.url.replace("http:", "https:")
    with connect(url, CANARY) as temporis, pytest.raises(DeliveryError, match="http or https") as caught:
        temporis.data_source("store_metrics").upsert(rows(3))
    assert (type(caught.value), caught.value.report.unsent, caught.value.report.requests) == (DeliveryError, 3, 1)


def test_a_ca_bundle_makes_it_known(authority, tmp_path):
    """verify= takes the authority's file; False accepts any certificate."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with tls_service(authority) as url:
        for verify in (str(bundle), False):
            with connect(url, CANARY, verify=verify) as temporis:
                assert temporis.data_source("store_metrics").upsert(rows(3)).stored == 3


def test_a_bundle_that_cannot_be_read_is_refused_at_once(tmp_path):
    """A bundle that is missing or not PEM is a ConfigurationError of connect, not of the first upsert."""
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("missing.pem", "text.pem"):
        with pytest.raises(ConfigurationError, match="CA bundle"):
            connect("https://api.temporis.co", "ts_x", verify=str(tmp_path / name))


# The token is nowhere


def shown_by(error: BaseException) -> str:
    """Everything of an error that a program could print, store or send, with the local variables of its traceback."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain = [repr(link) for link in (error.__cause__, error.__context__) if link is not None]
    return "\n".join([str(error), repr(error), str(vars(error)), "".join(trace.format()), *chain])


FAULTS = {
    "401": answer(401, "Invalid access token."),
    "echo": answer(401, f"no such token: Bearer {CANARY}"),
    "echo in a page": Fault(403, f"<html>Authorization: Bearer {CANARY}</html>"),
    "echo at the edge": Fault(403, "x" * (QUOTED_CHARACTERS - 10) + CANARY),
    "archived": answer(409, "Data source is archived."),
    "busy": answer(503),
    "redirect": Fault(302, "", {"Location": "https://example.com"}),
    "cut": cut(),
    "silence": silence(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("in_flight", [1, 4])
def test_no_error_shows_the_token(service, fault, in_flight):
    """No text, attribute, pickle, report or traceback with local variables shows it, or even a quoted part of it."""
    service.state.script = lambda _request: fault
    error = failure_of(service, batch_rows=1, max_in_flight=in_flight, timeout_s=0.03)
    for text in (shown_by(error), repr(pickle.loads(pickle.dumps(error)).__dict__), str(error.report.to_dict())):
        assert CANARY not in text
        assert CANARY[:9] not in text
    assert CANARY.encode() not in pickle.dumps(error)


def test_an_interruption_while_the_headers_are_sent_does_not_show_the_token():
    """Even where the layers below have the token in a local variable, as httpcore has while it writes."""

    def below(request):
        headers = request.headers.raw
        raise KeyboardInterrupt(len(headers))

    client = Client("http://127.0.0.1:1", CANARY, timeout_s=1, max_in_flight=1, verify=True, agent="test")
    client._made = lambda: httpx.Client(transport=httpx.MockTransport(below))
    with pytest.raises(KeyboardInterrupt) as caught:
        client.post(b"{}")
    client.close()
    assert CANARY not in shown_by(caught.value)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_an_interruption_does_not_show_the_token(service, in_flight, monkeypatch):
    """Even if a KeyboardInterrupt from the depths of the HTTP client is printed with local variables."""
    monkeypatch.setattr("temporis_dagster.data_source.http.delivery.INTERRUPT_GRACE_S", 0.01)

    def interrupt(request):
        if request.number == 0:  # once: on a slow machine, a second signal could come after the upsert has ended
            os.kill(os.getpid(), signal.SIGINT)
        return silence()

    service.state.script = interrupt
    to = connected(service, batch_rows=2, max_in_flight=in_flight)
    with to as temporis, pytest.raises(KeyboardInterrupt) as caught:
        temporis.data_source("store_metrics").upsert(rows(4))
    assert CANARY not in shown_by(caught.value)
    assert caught.value.report.observations_in == 4


def test_no_object_and_no_log_shows_the_token(service, caplog):
    """Neither the repr of anything that a notebook shows nor our DEBUG logs or those of httpx and httpcore."""
    caplog.set_level(logging.DEBUG)
    service.state.script = in_sequence(answer(503, CANARY), cut())
    with connected(service) as temporis:
        source = temporis.data_source("store_metrics")
        report = source.upsert(rows(2))
        target = temporis._target
        shown = [repr(thing) for thing in (temporis, source, report, target, vars(target), vars(target._client))]
    assert CANARY not in "\n".join([*shown, report._repr_html_(), caplog.text])
    assert {record.name.split(".")[0] for record in caplog.records} >= {"temporis_dagster", "httpx", "httpcore"}


def test_the_canary_would_be_found(debug_log):
    """The log that is searched at the end of the run does receive what is logged."""
    logging.getLogger("httpcore.canary_test").debug("a line from a test")
    for handler in logging.getLogger().handlers:
        handler.flush()
    assert "httpcore.canary_test a line from a test" in debug_log.read_text(encoding="utf-8")


def test_tracebacks_printed_by_a_program_do_not_show_the_token(service):
    """sys.excepthook's output for an UnavailableError that came through worker threads."""
    service.state.script = lambda _request: answer(503)
    error, printed = failure_of(service), io.StringIO()
    with contextlib.redirect_stderr(printed):
        sys.excepthook(type(error), error, error.__traceback__)
    assert type(error) is UnavailableError
    assert CANARY not in printed.getvalue()


def test_every_error_of_delivery_survives_pickling(service):
    """Errors arrive with report and figures: Dagster moves them between processes."""
    service.state.archived["store_metrics"] = True
    error = failure_of(service)
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.report.to_dict()) == (type(error), str(error), error.report.to_dict())
    assert isinstance(back, DataSourceArchivedError)
    assert isinstance(back, TemporisError)
