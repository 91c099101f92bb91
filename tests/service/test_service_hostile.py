"""Clients that are malicious or only slow: none of them shuts the others out, and each can read its answer."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service import app, body, connection
from temporis_dagster.service.app import Limits
from tests.support.service_fixture import (
    ONE,
    PATIENCE_S,
    Service,
    ServiceProcess,
    answer_on,
    content,
    ingest_of,
    started_service,
)

LIMIT = 2_000_000


@pytest.fixture
def limits():
    return Limits(body_bytes=LIMIT)


def is_well(service: Service) -> bool:
    return httpx.post(service.endpoint, json=ONE, headers=service.headers, timeout=PATIENCE_S).status_code == 204


def connected(service: Service, stack: ExitStack, sent: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), PATIENCE_S))
    client.sendall(sent)
    return client


def head(service: Service, *lines: str, token: str | None = None) -> bytes:
    given = [f"Authorization: Bearer {token or service.token}", "Content-Type: application/json"]
    return "\r\n".join([f"POST {INGEST_PATH} HTTP/1.1", "Host: here", *given, *lines, "", ""]).encode()


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


# Headers


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"a: b\r\n" * 10_000], ids=["one endless line", "many headers"])
def test_a_header_without_end_is_cut(service, monkeypatch, piece):
    """The connection ends soon after the limit: the size of a header is bounded for every client."""
    monkeypatch.setattr(connection, "LINGER_BYTES", 1_000_000)
    with ExitStack() as stack:
        client = connected(service, stack, b"POST / HTTP/1.1\r\nHost: here\r\n")
        with pytest.raises(ConnectionError):  # noqa: PT012  # which of the sends it is depends on the kernel's buffers
            for _ in range(2_000):
                client.sendall(piece)
    assert is_well(service)


def test_a_request_that_is_no_http_is_told_so_as_json(service):
    """Every error body has a detail, even the one that the application did not write."""
    with ExitStack() as stack:
        client = connected(service, stack, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n" * 3)
        status, headers, text = answer_on(client)
    assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
    assert json.loads(text)["detail"].startswith("Invalid HTTP request received.")


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST / HTTP/1.1\r\nHost: he"], ids=["nothing", "a word", "half"])
def test_who_never_ends_a_header_is_cut_off(service, monkeypatch, sent):
    """This also holds after an answered request: the time of a header counts from its first byte."""
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    with ExitStack() as stack:
        assert is_closed(connected(service, stack, sent))
        again = connected(service, stack, head(service, "Content-Length: 0"))
        assert answer_on(again)[0] == 422
        again.sendall(b"POST / HTT")
        assert is_closed(again)
    assert is_well(service)


def test_more_slow_clients_than_files_shut_nobody_out(tmp_path):
    """300 connections that send half a header, in a process that may open 128 files: all other clients are served."""
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db")
    store.create_data_source("store_metrics")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))  # a child inherits it
    try:
        process = ServiceProcess(store.url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    service = Service(process.url, store.tokens.create("test"), store)
    try:
        with ExitStack() as stack:
            for _ in range(300):
                connected(service, stack, b"POST / HTTP/1.1\r\nHost: he")
            assert is_well(service)
    finally:
        assert process.stop() in (0, -15)
        store.close()


# Bodies


def test_half_sent_bodies_have_a_bound_together(service, monkeypatch):
    """The bytes of one account are bounded; a further request is answered 503 with Retry-After."""
    monkeypatch.setattr(body, "ROOM_FOR_BODIES", 4)
    with ExitStack() as stack:
        clients = [connected(service, stack, head(service, f"Content-Length: {LIMIT}") + b"{") for _ in range(3)]
        [late], _, _ = select.select(clients, [], [], PATIENCE_S)
        status, headers, _ = answer_on(late)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        other = service.store.of_account("other")
        other.create_data_source("store_metrics")
        mine = {"Authorization": f"Bearer {other.tokens.create('test')}"}
        assert httpx.post(service.endpoint, json=ONE, headers=mine).status_code == 204, "another account has room"
    assert is_well(service), "what a client held is given back when it goes"


def test_small_half_sent_bodies_of_one_account_hold_a_part_of_the_connections(service, monkeypatch):
    """Otherwise whoever has a token for ingests could take all connections with a few bytes on each."""
    monkeypatch.setattr(body, "most_connections", lambda: 25)  # 20 have bodies, 10 those of one account
    with ExitStack() as stack:
        clients = [connected(service, stack, head(service, "Content-Length: 10") + b"{") for _ in range(11)]
        [late], _, _ = select.select(clients, [], [], PATIENCE_S)
        assert answer_on(late)[0] == 503
        other = service.store.of_account("other")
        other.create_data_source("store_metrics")
        mine = {"Authorization": f"Bearer {other.tokens.create('test')}"}
        assert httpx.post(service.endpoint, json=ONE, headers=mine).status_code == 204, "another account has room"
    assert is_well(service), "what a client held is given back when it goes"


def test_a_body_that_does_not_arrive_is_given_up(service, monkeypatch):
    """408 after its time, and its room is free again; a body that goes on arriving has more time."""
    monkeypatch.setattr(body, "BODY_GRACE_S", 0.2)
    with ExitStack() as stack:
        client = connected(service, stack, head(service, "Content-Length: 1000") + b"{")
        status, headers, text = answer_on(client)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(text) == {"detail": "The request body did not arrive in time. Send it again."}
    assert is_well(service)


# Answers that come early


def early(service: Service, size: int, token: str) -> bytes:
    return head(service, f"Content-Length: {size}", "Connection: close", token=token)


@pytest.mark.parametrize(("size", "status"), [(10_000_000, 413), (1_500_000, 401)])
def test_who_sends_first_and_reads_later_reads_the_answer(service, size, status):
    """The connection of a client that sends its whole body before it reads, such as urllib, is not reset."""
    token = "ts_nobody" if status == 401 else service.token
    with ExitStack() as stack:
        client = connected(service, stack, early(service, size, token))
        for _ in range(size // 100_000):
            client.sendall(b" " * 100_000)
        got, headers, text = answer_on(client)
        assert (got, headers["connection"]) == (status, "close")
        assert "detail" in json.loads(text)


@pytest.mark.parametrize(("size", "status"), [(LIMIT + 1, 413), (LIMIT, 401)])
def test_urllib_reads_an_early_answer(service, size, status):
    """The real client: an HTTPError with the status, no URLError for a connection that was reset."""
    token = "ts_nobody" if status == 401 else service.token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(service.endpoint, b" " * size, headers, method="POST")  # loopback
    for _ in range(5):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE_S)
        assert caught.value.code == status
        caught.value.close()


@pytest.mark.parametrize(("size", "token", "status"), [(LIMIT + 1, None, 413), (100, "ts_nobody", 401)])
def test_who_asks_whether_to_go_on_is_told_no(service, size, token, status):
    """``Expect: 100-continue``: the refusal comes instead of 100, and the connection ends."""
    with ExitStack() as stack:
        lines = (f"Content-Length: {size}", "Expect: 100-continue")
        client = connected(service, stack, head(service, *lines, token=token))
        got, headers, _ = answer_on(client)
        assert (got, headers["connection"]) == (status, "close")
        assert is_closed(client)


def test_who_asks_whether_to_go_on_may(service):
    """``Expect: 100-continue`` with a good token: 100, then the body, then 204."""
    sent = json.dumps(ONE).encode()
    with ExitStack() as stack:
        client = connected(service, stack, head(service, f"Content-Length: {len(sent)}", "Expect: 100-continue"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(sent)
        assert answer_on(client)[0] == 204
    assert content(service.store) == {(1718870400, "orders"): 42}


def test_a_connection_whose_request_was_read_goes_on(service):
    """Only a refusal that comes before the end of its request costs the connection."""
    with httpx.Client(headers=service.headers) as client:
        for status, request in ((422, {}), (404, ingest_of(source="nothing")), (204, ONE)):
            response = client.post(service.endpoint, json=request)
            assert (response.status_code, response.headers.get("connection")) == (status, None)


def test_many_early_refusals_leave_nothing_behind(service):
    """Hundreds of refused bodies: no connection stays open once its client has gone."""
    done = []

    def refused() -> None:
        for _ in range(25):
            with ExitStack() as stack:
                client = connected(service, stack, early(service, 200_000, "ts_nobody") + b" " * 200_000)
                done.append(answer_on(client)[0])

    threads = [threading.Thread(target=refused) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert done == [401] * 100
    assert is_well(service)


def test_the_service_does_not_need_httptools():
    """What parses HTTP is h11, whatever else is installed."""
    code = "import sys; import temporis_dagster.service; print('httptools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/"),
                          env={**os.environ})  # fmt: skip
    assert done.stdout.strip() == "False"


# Further requests of a connection, and what is no request


def health(*lines: str, target: str = "/health") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: here", *lines, "", ""]).encode()


def test_a_header_that_comes_at_once_has_the_same_limit(service):
    """64 KiB are taken, more is not, in whatever pieces it comes."""
    with ExitStack() as stack:
        most = connection.HEAD_BYTES - len(health("X: "))
        assert answer_on(connected(service, stack, health("X: " + "x" * most)))[0] == 200
        assert answer_on(connected(service, stack, health("X: " + "x" * (most + 10))))[0] == 400
        again = connected(service, stack, health())
        assert answer_on(again)[0] == 200
        again.sendall(health("X: " + "x" * most)[:1000])
        again.sendall(health("X: " + "x" * (most + 10))[1000:])
        assert answer_on(again)[0] == 400


@pytest.mark.parametrize("host", ["http://here", "HTTPS://here:8008", "http://[::1]:8008", "http://user@here"])
def test_a_whole_url_as_target_is_its_path(service, host):
    """RFC 9112: a server takes the absolute form, which clients send through proxies."""
    with ExitStack() as stack:
        assert answer_on(connected(service, stack, health(target=f"{host}/health")))[0] == 200
        assert answer_on(connected(service, stack, health(target=f"{host}/healthy?/health")))[0] == 404
        assert answer_on(connected(service, stack, health(target=host)))[0] == 404


def test_a_client_that_is_gone_when_its_turn_comes_writes_nothing(tmp_path, monkeypatch):
    """It may have sent a newer value since. Its request waited behind another one that wrote to the same file."""
    holding, go, read, gone = threading.Event(), threading.Event(), threading.Event(), threading.Event()
    reading, upsert, lost = app._read, SqlStore.upsert, connection.Connection.connection_lost

    def read_one(*args):
        ingest = reading(*args)
        if holding.is_set():
            read.set()
        return ingest

    def write_one(store, tally):
        holding.set()
        assert go.wait(PATIENCE_S)
        upsert(store, tally)

    monkeypatch.setattr(app, "QUEUE_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(app, "_read", read_one)
    monkeypatch.setattr(SqlStore, "upsert", write_one)
    monkeypatch.setattr(connection.Connection, "connection_lost", lambda self, why: (lost(self, why), gone.set()))
    first, second = (json.dumps(ingest_of((0, name, 1))).encode() for name in ("orders", "revenue"))
    with started_service(tmp_path) as service, ExitStack() as stack:
        stays = connected(service, stack, head(service, f"Content-Length: {len(first)}") + first)
        assert holding.wait(PATIENCE_S)
        leaves = connected(service, stack, head(service, f"Content-Length: {len(second)}") + second)
        assert read.wait(PATIENCE_S)
        leaves.close()
        assert gone.wait(PATIENCE_S)
        go.set()
        assert answer_on(stays)[0] == 204
        last = connected(service, stack, head(service, f"Content-Length: {len(first)}") + first)
        assert answer_on(last)[0] == 204, "which was written after the turn of the second one"
        assert {name for _, name in content(service.store)} == {"orders"}


def unread(service: Service, stack: ExitStack) -> socket.socket:
    """A client that asks, asks and never reads, until nothing more fits."""
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it connects: it decides what may be sent
    client.settimeout(PATIENCE_S)
    client.connect(("127.0.0.1", service.port))
    client.settimeout(0)
    with suppress(BlockingIOError):
        for _ in range(100):
            client.send(health() * 100)
    client.settimeout(PATIENCE_S)
    return client


def ask_on(client: socket.socket) -> NoReturn:
    while True:
        client.sendall(health() * 100)


@pytest.fixture
def small_buffers(monkeypatch):
    """What the service's operating system holds for a client is soon full."""
    made = connection.Connection.connection_made

    def narrow(self, transport):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.set_write_buffer_limits(4096)
        made(self, transport)

    monkeypatch.setattr(connection.Connection, "connection_made", narrow)


@pytest.mark.usefixtures("small_buffers")
def test_a_client_that_does_not_read_is_cut_off(service, monkeypatch):
    """Thousands of requests, no answer read: it holds a place for its time, and not longer."""
    monkeypatch.setattr(connection, "READ_S", 0.2)
    with ExitStack() as stack:
        client = unread(service, stack)
        # It learns of it when it sends: what closes the connection comes after the answers that it does not read.
        with pytest.raises(ConnectionError):
            ask_on(client)
    assert is_well(service)


@pytest.mark.usefixtures("small_buffers")
def test_clients_that_do_not_read_shut_nobody_out(service, monkeypatch):
    """Their places are the first that others take, however long they may stay."""
    monkeypatch.setattr(connection, "most_connections", lambda: 4)
    moved, paused = threading.Condition(), set()
    pause, resume = connection.Connection.pause_writing, connection.Connection.resume_writing

    def pausing(self):
        pause(self)
        with moved:
            paused.add(self)
            moved.notify()

    monkeypatch.setattr(connection.Connection, "pause_writing", pausing)
    monkeypatch.setattr(connection.Connection, "resume_writing", lambda self: (resume(self), paused.discard(self)))
    with ExitStack() as stack:
        for count in range(1, 5):
            unread(service, stack)
            with moved:
                assert moved.wait_for(lambda count=count: len(paused) == count, PATIENCE_S)
        assert is_well(service)


def test_a_request_that_came_with_the_one_before_keeps_its_connection(service, monkeypatch):
    """A connection with a pipelined request is not idle: a further client does not take its place."""
    monkeypatch.setattr(connection, "most_connections", lambda: 1)
    with ExitStack() as stack:
        sent = json.dumps(ONE).encode()
        client = connected(service, stack, health() + head(service, f"Content-Length: {len(sent)}") + sent[:5])
        assert answer_on(client)[0] == 200
        assert is_closed(connected(service, stack))
        client.sendall(sent[5:])
        assert answer_on(client)[0] == 204


def test_a_client_that_asks_again_without_reading_shuts_nobody_out(service, monkeypatch):
    """If the last bytes of an answer fill its buffer, it counts as idle although its next request has begun."""
    monkeypatch.setattr(connection, "most_connections", lambda: 1)
    complete = connection.Connection.on_response_complete
    monkeypatch.setattr(
        connection.Connection, "on_response_complete", lambda self: (self.pause_writing(), complete(self))
    )
    with ExitStack() as stack:
        client = connected(service, stack, health() * 2)
        assert answer_on(client)[0] == 200
        assert is_well(service)


def test_a_client_whose_body_was_no_http_shuts_nobody_out(service, monkeypatch):
    """It may take its time to read the refusal, but counts as idle: a further client takes its place."""
    monkeypatch.setattr(connection, "most_connections", lambda: 1)
    with ExitStack() as stack:
        client = connected(service, stack, head(service, "Transfer-Encoding: chunked", token="ts_nobody") + b"zz\r\n")
        assert answer_on(client)[0] == 400
        assert is_well(service)


@pytest.mark.parametrize("token", [None, "ts_nobody"])
@pytest.mark.parametrize("sent", [b"zz\r\n", b"1\r\n{\r\nzz\r\n", b"1\r\n{xx"], ids=repr)
def test_a_body_that_is_no_http_is_told_so_once(service, caplog, token, sent):
    """One answer, and no traceback in the log of the service."""
    with ExitStack() as stack:
        client = connected(service, stack, head(service, "Transfer-Encoding: chunked", token=token) + sent)
        assert answer_on(client)[0] == 400
        assert is_closed(client)
    assert is_well(service)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_stop_does_not_wait_for_who_was_refused(tmp_path, monkeypatch):
    """What a refused client still sends is discarded for a while, but not while the service stops."""
    monkeypatch.setattr(connection, "FAREWELL_S", 0.0)
    monkeypatch.setattr(connection, "LINGER_S", float(10 * PATIENCE_S))
    with ExitStack() as stack:
        with started_service(tmp_path) as service:
            client = connected(service, stack, head(service, "Content-Length: 1000", token="ts_nobody"))
            assert answer_on(client)[0] == 401
        assert is_closed(client)


# The log


def test_no_request_puts_a_token_or_a_line_of_its_own_into_the_log(tmp_path, caplog):
    """Wherever a client puts its token: target, method, User-Agent, data source; whole, quoted, without its prefix."""
    caplog.set_level("INFO")
    with started_service(tmp_path) as service, httpx.Client() as client:
        token, secret = service.token, service.token[3:]
        spellings = [token, token.upper(), token.replace("_", "%5F"), secret, f"x{token}"]
        spellings += [token.replace("_", "%255f"), f"Bearer{token}", f"http://{token}@here/"]
        for spelling in spellings:
            headers = {**service.headers, "User-Agent": f"\x85 {spelling}".encode("latin-1")}
            client.post(service.endpoint, headers=headers, json=ingest_of(source=f"\n\u2028{spelling}\r"))
            client.post(f"{service.url}/{spelling}/a?{spelling}", headers=headers)
            with ExitStack() as stack:
                method = spelling.split(":")[0]
                lines = f"{method} {spelling} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
                answer_on(connected(service, stack, lines.encode()))
    logged = [record.getMessage() for record in caplog.records if record.name == "temporis_dagster.service"]
    assert len(logged) == 3 * len(spellings)
    assert not [line for line in logged if secret.lower() in line.lower() or not line.isprintable()]


@pytest.mark.parametrize("source", ["events_daily", "parts_count", "reports_of_the_year_2024", "a-b_c"])
def test_the_log_names_data_sources_that_only_look_alike(tmp_path, caplog, source):
    """``ts_`` inside a word is not hidden like a token."""
    caplog.set_level("INFO")
    with started_service(tmp_path) as service:
        httpx.post(service.endpoint, json=ingest_of(source=source), headers=service.headers)
    assert any(f"data_source={source!r}" in record.getMessage() for record in caplog.records)
