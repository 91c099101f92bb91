"""Fake service: the Temporis API on a loopback socket, scripted.

Comes in: which data sources exist, what is accepted, and what goes wrong. Goes out: a URL and a token to connect with;
then every request, and everything that was stored.
Never: is reachable from another machine, or outlives its ``with`` block.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

from temporis_dagster.contract import INGEST_PATH, ensure_data_source_name
from temporis_dagster.testing.fake_state import FakeState, Response, Rules, system_clock
from temporis_dagster.testing.faults import Script
from temporis_dagster.testing.requests import Record, Request

if TYPE_CHECKING:
    from typing_extensions import Self

TOKEN = "ts_fake_service"  # noqa: S105  # opens nothing


class FakeService:
    """A fake of the Temporis API that runs inside its ``with`` block.

    Args:
        data_sources: The names of the data sources, or one name; or a mapping from each name to whether it is archived.
        script: What goes wrong with which request; None for nothing.
        token: The access token that the service accepts.
        prefix: A path in front of the API's own paths.
        max_body_bytes: A larger body, in bytes, is answered 413; None for no limit.
        max_records: More records than this are answered 413; None for no limit.
        refuses_empty: Whether an empty list of records is answered 422.
        fault_of: Returns what is wrong with a record, as a text, or None. A request with such a record is answered 422.
        clock: Returns the time in seconds, for ``Request.arrived_at``.

    Attributes:
        token: The access token that the service accepts.
        state: The service without its socket: what it accepts, stores and records.

    Raises:
        ConfigurationError: The API does not allow the name of a data source.

    Examples:
        >>> from temporis_dagster import connect
        >>> from temporis_dagster.testing import FakeService, sample_frame
        >>> with FakeService() as service, connect(service.url, service.token) as temporis:
        ...     report = temporis.data_source("store_metrics").upsert(sample_frame(hours=1))
        >>> service.content
        {('store_metrics', 1718841600, 'orders'): 0.0, ('store_metrics', 1718841600, 'revenue'): 0.25}
    """

    def __init__(
        self,
        data_sources: Mapping[str, bool] | Iterable[str] = ("store_metrics",),
        *,
        script: Script | None = None,
        token: str = TOKEN,
        prefix: str = "",
        max_body_bytes: int | None = None,
        max_records: int | None = None,
        refuses_empty: bool = False,
        fault_of: Callable[[Record], str | None] = lambda _record: None,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        names = (data_sources,) if isinstance(data_sources, str) else data_sources
        archived = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, False)
        for name in archived:
            ensure_data_source_name(name)
        rules = Rules(token, max_body_bytes, max_records, refuses_empty, fault_of)
        self.token, self._prefix = token, prefix
        self.state = FakeState(archived, rules, script or (lambda _request: None), clock)
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The base URL to connect to.

        Raises:
            RuntimeError: The service is not running.
        """
        return f"http://127.0.0.1:{self._running().server_port}{self._prefix}"

    @property
    def content(self) -> dict[tuple[str, int, str], float]:
        """What is stored: from (data source, timestamp in Unix seconds, series name) to value."""
        return self.state.content

    @property
    def writes(self) -> list[tuple[str, int, str, float]]:
        """Every record that was stored, in the order of storing: (data source, timestamp, series name, value)."""
        return self.state.writes

    @property
    def requests(self) -> list[Request]:
        """Every request, in the order of arrival."""
        return self.state.requests

    @property
    def complaints(self) -> list[str]:
        """Everything about the requests that the API does not allow."""
        return [complaint for request in self.requests for complaint in request.complaints]

    @property
    def overlapping_keys(self) -> set[tuple[str, int, str]]:
        """Keys that were in two requests at the same time, so that either of them may have won.

        A key is (data source, timestamp in Unix seconds, series name).
        """
        return self.state.overlapping_keys

    def create_data_source(self, data_source: str) -> None:
        """Create an empty data source. A data source that exists is left unchanged.

        Raises:
            ConfigurationError: The API does not allow the name.
        """
        ensure_data_source_name(data_source)
        self.state.archived.setdefault(data_source, False)

    def archive(self, data_source: str, *, archived: bool = True) -> None:
        """Archive a data source, or unarchive it with ``archived=False``."""
        self.state.archived[data_source] = archived

    def release_late(self) -> int:
        """Store the records that faults kept for later, and return their number."""
        return self.state.release_late()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.state, self._server.path = self.state, self._prefix + INGEST_PATH
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="fake-temporis", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server = self._running()
        server.shutdown()
        server.server_close()
        server.hang_up()

    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("The fake service is not running. Use it inside its with block.")
        return self._server


class _Server(ThreadingHTTPServer):
    """The socket, with one thread per connection."""

    daemon_threads = True
    request_queue_size = 128
    state: FakeState
    path: str

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self._connections.add(request)  # type: ignore[arg-type]  # a TCP server's request is its socket
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: tests of clients that hang up are what this server is for."""

    def hang_up(self) -> None:
        """End every connection, so that no thread is left running."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection, which is kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != self.server.path:
            self._send(Response(404, b'{"detail":"Not Found"}'))
            return
        response = self.server.state.respond(dict(self.headers), body)
        {"answer": self._send, "cut": self._cut, "silence": self._stay_silent}[response.ends](response)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Print nothing: every request is recorded."""

    def _send(self, response: Response) -> None:
        self.send_response(response.status or 500)
        for name, value in response.headers.items():
            self.send_header(name, value)
        body = b"" if response.status in (204, 304) else response.body
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _cut(self, _response: Response) -> None:
        """Close the connection so that the client sees a reset instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())
        self.close_connection = True

    def _stay_silent(self, _response: Response) -> None:
        """Answer nothing until the client hangs up."""
        self.close_connection = True
        while self.connection.recv(4096):
            pass
