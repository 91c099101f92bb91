"""The deadline of an attempt: once it is over, nothing of the request is sent, however slow the line is."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from temporis_dagster.data_source.http.client import Client
from temporis_dagster.data_source.http.deadline import Deadline, longest_attempt_s
from tests.support.delivery_tools import CANARY

BODY = b"x" * 60_000


@pytest.fixture
def authority():
    return pytest.importorskip("trustme").CA()


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Use the send buffer of a slow line: that of loopback would take the whole body at once."""
    connect_to = socket.create_connection

    def small(*arguments, **options):
        connection = connect_to(*arguments, **options)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return connection

    monkeypatch.setattr(socket, "create_connection", small)


class SlowService:
    """A service that reads slowly, and answers 204 once it has the whole body."""

    def __init__(self, bytes_per_s: float, authority=None) -> None:
        self.bytes_per_s, self.taken, self.was_reset = bytes_per_s, 0, False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._tls = None
        if authority is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        scheme = "http" if authority is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[SlowService]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield self
        finally:
            thread.join()
            self._listener.close()

    def _serve(self) -> None:
        connection = self._listener.accept()[0]
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with closing(connection):
            try:
                while part := connection.recv(1024):
                    self.taken += len(part)
                    if self.taken >= len(BODY):
                        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    time.sleep(len(part) / self.bytes_per_s)
            except (ConnectionResetError, ssl.SSLError):
                self.was_reset = True


def posted(service: SlowService, *, timeout_s: float):
    with closing(Client(service.url, CANARY, timeout_s=timeout_s, max_in_flight=1, verify=False, agent="t")) as client:
        return client.post(BODY)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_slow_line_does_not_outlive_the_deadline(authority, tls, monkeypatch):
    """Each send is bounded by the remaining time, not by the whole timeout again; what was not read never arrives."""
    monkeypatch.setattr("temporis_dagster.data_source.http.deadline.SLOWEST_BYTES_PER_S", 10 * len(BODY))
    with SlowService(30_000, authority if tls else None).running() as service:
        answered = posted(service, timeout_s=0.2)
    assert (answered.status, answered.maybe_applied, answered.permanent) == (None, True, False)
    assert answered.words.startswith("only ")
    assert "of 60,000 bytes could be sent in 0 s" in answered.words
    assert service.taken < len(BODY)
    assert tls or service.was_reset, "the operating system went on sending"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_line_that_is_fast_enough_is_not_cut(authority, tls):
    """However many sends it takes, and although all of them take longer than timeout_s."""
    with SlowService(300_000, authority if tls else None).running() as service:
        assert posted(service, timeout_s=5).status == 204


def test_what_the_operating_system_holds_is_thrown_away(monkeypatch):
    """A service that reads nothing until the attempt is over gets a reset instead of the rest of the request."""
    over, connections = threading.Event(), []

    def serve(listener):
        connections.append(listener.accept()[0])
        over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with closing(Client(url, CANARY, timeout_s=0.1, max_in_flight=1, verify=True, agent="test")) as client:
            assert client.post(b"{}").maybe_applied
        over.set()
        thread.join()
        with connections[0] as connection, pytest.raises(ConnectionResetError):
            all(iter(lambda: connection.recv(65_536), b""))


def test_an_attempt_that_was_late_before_it_began_sends_nothing(monkeypatch):
    """A name lookup takes longer than the whole attempt: no byte is sent, so the rows are certain to be unsent."""
    taken = []

    def serve(listener):
        with listener.accept()[0] as connection, suppress(ConnectionResetError):
            taken.append(connection.recv(65_536))

    connect_to = socket.create_connection

    def late(*arguments, **options):
        connection = connect_to(*arguments, **options)
        monkeypatch.setattr(Deadline, "left_s", lambda _self: -1.0)
        return connection

    monkeypatch.setattr(socket, "create_connection", late)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with closing(Client(url, CANARY, timeout_s=5, max_in_flight=1, verify=True, agent="test")) as client:
            answered = client.post(b"{}")
        thread.join()
    assert (answered.status, answered.maybe_applied) == (None, False)
    assert taken in ([], [b""])


def test_an_early_refusal_is_read_although_the_body_cannot_be_sent():
    """A service answers and closes at the first bytes: its text is the answer, not a broken pipe."""

    def serve(listener):
        with listener.accept()[0] as connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with closing(Client(url, CANARY, timeout_s=5, max_in_flight=1, verify=True, agent="test")) as client:
            assert (client.post(BODY).status) == 401
        thread.join()


def test_an_attempt_may_last_longer_the_larger_its_body():
    """It may last for the timeout plus the body at 50 kB/s, which a lease has to outlast."""
    assert longest_attempt_s(0, 30.0) == 30.0
    assert longest_attempt_s(4_000_000, 30.0) == 110.0
