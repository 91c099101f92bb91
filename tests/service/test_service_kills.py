"""kill -9 of a real server while several clients write: what was answered 204 is stored, and no request in part."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import threading
from collections import Counter
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore
from tests.support.service_fixture import PATIENCE_S, ServiceProcess, content, ingest_of

CLIENTS, RECORDS = 4, 500


class Writers:
    """Clients that write request after request until the service is gone; each request has keys of its own.

    Attributes:
        sent: The numbers of the requests whose sending began.
        stored: Those that were answered 204.
    """

    def __init__(self, store: SqlStore) -> None:
        self.token = store.tokens.create("writers")
        self.sent: set[int] = set()
        self.stored: set[int] = set()
        self.wrong: list[int] = []
        self.moved = threading.Condition()

    def run_against(self, service: ServiceProcess, *, until_stored: int) -> None:
        """Let the clients write, and kill the service once this many more requests were stored."""
        goal = len(self.stored) + until_stored
        threads = [threading.Thread(target=self.write, args=(service.url,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        with self.moved:
            assert self.moved.wait_for(lambda: len(self.stored) >= goal, PATIENCE_S)
        service.kill()
        for thread in threads:
            thread.join(PATIENCE_S)

    def write(self, url: str) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            while True:
                number = self.begin()
                connection.request("POST", INGEST_PATH, json.dumps(request_of(number)), headers)
                answer = connection.getresponse()
                answer.read()
                self.end(number, answer.status)
        except (OSError, HTTPException):
            connection.close()

    def begin(self) -> int:
        with self.moved:
            self.sent.add(len(self.sent))
            return len(self.sent) - 1

    def end(self, number: int, status: int) -> None:
        with self.moved:
            (self.stored.add if status == 204 else self.wrong.append)(number)
            self.moved.notify_all()


def request_of(number: int) -> dict[str, object]:
    """Keys that no other request has, over two series, and one key that all of them share."""
    first = number * RECORDS
    own = [(first + row, f"series {row % 2}", number) for row in range(RECORDS)]
    return ingest_of(*own, (-1, "shared", number))


def test_what_was_answered_204_survives_kill_9(store, soak):
    """After each of many kills at random moments, acknowledged requests are stored, and no request in part."""
    kills = 50 if soak else 5
    writers, moments = Writers(store), random.Random(7)
    for _ in range(kills):
        writers.run_against(ServiceProcess(store.url), until_stored=moments.randint(1, 40))
        found = content(store)
        shared = found.pop((-1, "shared"))
        rows = Counter(timestamp // RECORDS for timestamp, _ in found)
        assert set(rows.values()) == {RECORDS}, "a request is stored by half"
        assert writers.stored <= rows.keys() <= writers.sent
        assert shared in rows
        assert all(value == timestamp // RECORDS for (timestamp, _), value in found.items())
        assert writers.wrong == []
    assert len(rows) - len(writers.stored) <= kills * CLIENTS
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as by_hand:
        assert by_hand.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    by_hand.close()


def test_a_request_under_way_is_answered_before_the_service_stops(store):
    """SIGTERM while a request waits for its body: it is stored and answered, then the process ends by that signal."""
    token = store.tokens.create("slow")
    service = ServiceProcess(store.url)
    body = json.dumps(ingest_of((0, "a", 1))).encode()
    head = f"POST {INGEST_PATH} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port), PATIENCE_S) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        service.process.send_signal(signal.SIGTERM)
        service.hear("Shutting down")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 204 ")
    assert service.wait() == -signal.SIGTERM
    assert content(store) == {(0, "a"): 1}
    assert not any("Traceback" in line for line in service.complaints)
