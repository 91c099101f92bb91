"""Clients that mean harm, or are only slow: none of them shuts the others out, and each can read its answer."""

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
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service import body, connection
from temporis_dagster.service.app import Limits
from tests.service_fixture import Service, ServiceProcess, content, ingest_of, started_service

LIMIT = 2_000_000
ONE = ingest_of((1718870400, "orders", 42))
FOREVER_S = 30


@pytest.fixture
def service(tmp_path):
    with started_service(tmp_path, limits=Limits(body_bytes=LIMIT)) as service:
        yield service


def is_well(service: Service) -> bool:
    return httpx.post(service.endpoint, json=ONE, headers=service.headers, timeout=FOREVER_S).status_code == 204


def connected(service: Service, stack: ExitStack, sent: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), FOREVER_S))
    client.sendall(sent)
    return client


def head(service: Service, *lines: str, token: str | None = None) -> bytes:
    given = [f"Authorization: Bearer {token or service.token}", "Content-Type: application/json"]
    return "\r\n".join([f"POST {INGEST_PATH} HTTP/1.1", "Host: here", *given, *lines, "", ""]).encode()


def answered(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer, then the end of the other side: no reset before either."""
    with HTTPResponse(client, method="POST") as answer:
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


# Headers


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"a: b\r\n" * 10_000], ids=["one endless line", "many headers"])
def test_a_header_without_end_is_cut(service, monkeypatch, piece):
    """The connection ends soon after the limit: what a header may hold is bounded, whoever sends it."""
    monkeypatch.setattr(connection, "LINGER_BYTES", 1_000_000)
    with ExitStack() as stack:
        client = connected(service, stack, b"POST / HTTP/1.1\r\nHost: here\r\n")
        with pytest.raises(ConnectionError):  # noqa: PT012  # which of the sends it is depends on the kernel's buffers
            for _ in range(2_000):
                client.sendall(piece)
    assert is_well(service)


def test_a_request_that_is_no_http_is_told_so_as_json(service):
    """Every error body has a detail, also the one that no application wrote."""
    with ExitStack() as stack:
        client = connected(service, stack, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n" * 3)
        status, headers, text = answered(client)
    assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
    assert json.loads(text)["detail"].startswith("Invalid HTTP request received.")


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST / HTTP/1.1\r\nHost: he"], ids=["nothing", "a word", "half"])
def test_who_never_ends_a_header_is_cut_off(service, monkeypatch, sent):
    """Also on a connection whose last request was answered: a header has its time, counted from its first byte."""
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    with ExitStack() as stack:
        assert is_closed(connected(service, stack, sent))
        again = connected(service, stack, head(service, "Content-Length: 0"))
        assert answered(again)[0] == 422
        again.sendall(b"POST / HTT")
        assert is_closed(again)
    assert is_well(service)


def test_more_slow_clients_than_files_shut_nobody_out(tmp_path):
    """300 connections that send half a header, in a process that may open 128 files: everybody else is served."""
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
    """Of one account only so many bytes are held; a further request is answered 503 and told when to come back."""
    monkeypatch.setattr(body, "ROOM_FOR_BODIES", 4)
    with ExitStack() as stack:
        clients = [connected(service, stack, head(service, f"Content-Length: {LIMIT}") + b"{") for _ in range(3)]
        [late], _, _ = select.select(clients, [], [], FOREVER_S)
        status, headers, _ = answered(late)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        other = service.store.of_account("other")
        other.create_data_source("store_metrics")
        mine = {"Authorization": f"Bearer {other.tokens.create('test')}"}
        assert httpx.post(service.endpoint, json=ONE, headers=mine).status_code == 204, "another account has room"
    assert is_well(service), "what a client held is given back when it goes"


def test_a_body_that_does_not_arrive_is_given_up(service, monkeypatch):
    """408 after its time, and its room is given back; a body that goes on arriving has more time."""
    monkeypatch.setattr(body, "BODY_GRACE_S", 0.2)
    with ExitStack() as stack:
        client = connected(service, stack, head(service, "Content-Length: 1000") + b"{")
        status, headers, text = answered(client)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(text) == {"detail": "The request body did not arrive in time. Send it again."}
    assert is_well(service)


# Answers that come early


def early(service: Service, size: int, token: str) -> bytes:
    return head(service, f"Content-Length: {size}", "Connection: close", token=token)


@pytest.mark.parametrize(("size", "status"), [(10_000_000, 413), (1_500_000, 401)])
def test_who_sends_first_and_reads_later_reads_the_answer(service, size, status):
    """Nothing is reset under a client that sends all of a body before it looks, as Python's urllib does."""
    token = "ts_nobody" if status == 401 else service.token
    with ExitStack() as stack:
        client = connected(service, stack, early(service, size, token))
        for _ in range(size // 100_000):
            client.sendall(b" " * 100_000)
        got, headers, text = answered(client)
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
            urllib.request.urlopen(request, timeout=FOREVER_S)
        assert caught.value.code == status
        caught.value.close()


@pytest.mark.parametrize(("size", "token", "status"), [(LIMIT + 1, None, 413), (100, "ts_nobody", 401)])
def test_who_asks_whether_to_go_on_is_told_no(service, size, token, status):
    """``Expect: 100-continue``: the refusal comes instead of 100, and the connection ends."""
    with ExitStack() as stack:
        lines = (f"Content-Length: {size}", "Expect: 100-continue")
        client = connected(service, stack, head(service, *lines, token=token))
        got, headers, _ = answered(client)
        assert (got, headers["connection"]) == (status, "close")
        assert is_closed(client)


def test_who_asks_whether_to_go_on_may(service):
    """``Expect: 100-continue`` with a good token: 100, then the body, then 204."""
    sent = json.dumps(ONE).encode()
    with ExitStack() as stack:
        client = connected(service, stack, head(service, f"Content-Length: {len(sent)}", "Expect: 100-continue"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(sent)
        assert answered(client)[0] == 204
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
                done.append(answered(client)[0])

    threads = [threading.Thread(target=refused) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(FOREVER_S)
    assert done == [401] * 100
    assert is_well(service)


def test_the_service_does_not_need_httptools():
    """What parses HTTP is h11, whatever else is installed."""
    code = "import sys; import temporis_dagster.service; print('httptools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/"),
                          env={**os.environ})  # fmt: skip
    assert done.stdout.strip() == "False"
