"""A running service for tests: real HTTP on loopback, over a real store.

``started_service`` serves from a thread of this process; ``ServiceProcess`` from a process that may be killed;
``in_process`` calls the application without a socket, for thousands of requests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.reading.forms import pandas_frame
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.app import Limits, Pages, application
from temporis_dagster.service.serve import server

PATIENCE_S = 60


@dataclass(frozen=True)
class Service:
    """Where a service is, a token of one of its accounts, and that account's store under it."""

    url: str
    token: str = field(repr=False)
    store: SqlStore

    @property
    def endpoint(self) -> str:
        return self.url + INGEST_PATH

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def headers(self) -> dict[str, str]:
        """The two headers that the documentation shows."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


@contextmanager
def started_service(
    folder: Path | None = None,
    *,
    store_url: str = "",
    account: str = "default",
    limits: Limits | None = None,
    pages: Callable[[SqlStore], Pages] | None = None,
) -> Iterator[Service]:
    """Run a service in a thread, with the data source ``store_metrics`` and the token labelled ``test``.

    The store is at ``store_url``, otherwise in the folder; the token and the data source are the account's. ``pages``
    makes what is served besides the API, such as a dashboard, from the store.
    """
    store = SqlStore(store_url or f"sqlite:///{folder}/temporis.db", account=account)
    store.create_data_source("store_metrics")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            with served(SqlStore(store_url or store.url), listener, limits, pages) as url:
                yield Service(url, store.tokens.create("test"), store)
        finally:
            store.close()


@contextmanager
def served(
    store: SqlStore,
    listener: socket.socket,
    limits: Limits | None = None,
    pages: Callable[[SqlStore], Pages] | None = None,
) -> Iterator[str]:
    """Serve a store from a thread, on a socket that listens; yield the URL."""
    running = server(store, limits, pages and pages(store))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(PATIENCE_S)


Post = Callable[..., httpx.Response]


@contextmanager
def in_process(store: SqlStore, limits: Limits | None = None) -> Iterator[Post]:
    """Yield a function that posts bytes, or a value as JSON, with headers. A bug of the service is raised."""
    transport = httpx.ASGITransport(application(store, limits))
    with start_blocking_portal() as portal:
        client = httpx.AsyncClient(transport=transport, base_url="http://in-process")

        def post(
            body: object, token: str | None = None, headers: list[tuple[str, str]] | None = None
        ) -> httpx.Response:
            headers = headers or []
            given = {name for name, _ in headers}
            mine = [] if token is None or "Authorization" in given else [("Authorization", f"Bearer {token}")]
            sent = [(name, value.encode("latin-1")) for name, value in [*mine, *headers]]
            what = {"content": body} if isinstance(body, bytes) else {"json": body}
            return portal.call(lambda: client.post(INGEST_PATH, headers=sent, **what))

        try:
            yield post
        finally:
            portal.call(client.aclose)


def ingest_of(*records: tuple[int, str, float], source: str = "store_metrics") -> dict[str, object]:
    """A request as the documentation shows it, from (timestamp, name, value)."""
    fields = ("timestamp", "name", "value")
    return {"data_source": source, "records": [dict(zip(fields, record, strict=True)) for record in records]}


ONE = ingest_of((1718870400, "orders", 42))


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer from a socket, to the byte: status, headers in lower case, body."""
    with HTTPResponse(connection, method="POST") as answer:
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def content(store: SqlStore, source: str = "store_metrics") -> dict[tuple[int, str], float]:
    """What is stored, by key."""
    frame = pandas_frame(store.rows(source, None, None, None))
    keys = zip(frame["timestamp"].astype("int64").tolist(), frame["name"], strict=True)
    return dict(zip(keys, frame["value"].tolist(), strict=True))


class ServiceProcess:
    """``temporis serve`` in a process of its own, over a store that exists.

    Args:
        store_url: The store to serve.
        port: The port to listen on; 0 for a free port.
        options: Further options of the command.
    """

    def __init__(self, store_url: str, port: int = 0, *options: str) -> None:
        command = [sys.executable, "-m", "temporis_dagster.cli", "serve", "--store", store_url, "--port", str(port)]
        command += options
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        self.complaints: list[str] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()
        self.url = self.process.stdout.readline().strip()

    def _listen(self) -> None:
        for line in self.process.stderr:
            with self._told:
                self.complaints.append(line)
                self._told.notify_all()

    def hear(self, words: str) -> None:
        """Wait until these words are in its log."""
        with self._told:
            assert self._told.wait_for(lambda: any(words in line for line in self.complaints), PATIENCE_S)

    def kill(self) -> None:
        """Kill it without a warning."""
        self.process.kill()
        self.wait()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self._reader.join()
            self.process.stdout.close()
            self.process.stderr.close()
