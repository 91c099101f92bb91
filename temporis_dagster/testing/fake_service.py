"""The fake service: the Temporis API on a loopback socket, scripted.

Comes in: which data sources there are, what is accepted, and what goes wrong. Goes out: a URL and a token to connect
with; then everything that was stored and asked.
Never: leaves the machine, or outlives its ``with`` block.
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

from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, INGEST_PATH, is_data_source_name
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.testing.fake_state import FakeState, Response, Rules, system_clock
from temporis_dagster.testing.faults import Script
from temporis_dagster.testing.requests import Record, Request

if TYPE_CHECKING:
    from typing_extensions import Self

TOKEN = "ts_fake_service"  # noqa: S105  # opens nothing


class FakeService:
    """A fake of the Temporis API that runs while its ``with`` block does.

    Args:
        data_sources: Their names, or one name; a mapping says of each whether it is archived.
        script: What goes wrong with which request; None for nothing.
        token: The access token it knows.
        prefix: A path in front of the API's own.
        max_body_bytes: A larger body is answered 413.
        max_records: More records are answered 413.
        refuses_empty: Whether an empty list of records is answered 422.
        fault_of: What is wrong with a record, in words, or None; a request with a bad one is answered 422.
        clock: What time it is, for ``Request.arrived_at``.

    Attributes:
        token: The access token it knows.
        state: Everything below, without the socket.

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
            _check_name(name)
        rules = Rules(token, max_body_bytes, max_records, refuses_empty, fault_of)
        self.token, self._prefix = token, prefix
        self.state = FakeState(archived, rules, script or (lambda _request: None), clock)
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The base URL to connect to."""
        return f"http://127.0.0.1:{self._running().server_port}{self._prefix}"

    @property
    def content(self) -> dict[tuple[str, int, str], float]:
        """What is stored: (data source, timestamp, name) to value."""
        return self.state.content

    @property
    def writes(self) -> list[tuple[str, int, str, float]]:
        """Every record that was applied, in that order."""
        return self.state.writes

    @property
    def requests(self) -> list[Request]:
        """Every request, in the order of arrival."""
        return self.state.requests

    @property
    def complaints(self) -> list[str]:
        """Everything in the requests that the API does not allow."""
        return [complaint for request in self.requests for complaint in request.complaints]

    @property
    def overlapping_keys(self) -> set[tuple[str, int, str]]:
        """Keys that were in two requests at once: which of the two wins is anybody's guess."""
        return self.state.overlapping_keys

    def create_data_source(self, data_source: str) -> None:
        """Create an empty data source; one that exists is left as it is.

        Raises:
            ConfigurationError: The API does not allow the name.
        """
        _check_name(data_source)
        self.state.archived.setdefault(data_source, False)

    def archive(self, data_source: str, *, archived: bool = True) -> None:
        """Archive a data source, or unarchive it."""
        self.state.archived[data_source] = archived

    def release_late(self) -> int:
        """Apply the records that faults kept for later; how many there were."""
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
            raise RuntimeError("The fake service runs inside its with block only.")
        return self._server


def _check_name(data_source: str) -> None:
    if not is_data_source_name(data_source):
        raise ConfigurationError(
            f"The name of a data source must be {DATA_SOURCE_NAME_RULE}, got {data_source!r}. The real service refuses"
            " it as well."
        )


class _Server(ThreadingHTTPServer):
    """The socket: one thread a connection."""

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
        """Clients that hang up are what this server is for."""

    def hang_up(self) -> None:
        """End every connection, so that no thread stays behind."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

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
        """Say nothing: the log of requests has it all."""

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
        """Close so that the other side sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())
        self.close_connection = True

    def _stay_silent(self, _response: Response) -> None:
        """Say nothing until the other side hangs up."""
        self.close_connection = True
        while self.connection.recv(4096):
            pass
