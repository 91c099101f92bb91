"""Connection: one client's socket, bounded in time and bytes before anybody knows who the client is.

Comes in: bytes. Goes out: requests for the application, and its answers, which the client can read to the end.
Never: waits for ever for a request to begin or to end, or holds a header of any length.

What keeps one client from shutting the others out, without a token:

* A header is at most ``HEAD_BYTES`` long and complete within ``HEAD_S``, counted from its first byte, or from the
  connection's beginning for the first one. (After an answer, uvicorn's own keep-alive time counts until then.)
* There are at most ``most_connections()``. A further one takes the place of the one that has been idle for longest;
  where every one has a request under way, the further one is closed.
* An answer that comes before its request has ended (401, 413, 503) closes the connection as RFC 9112, section 9.6,
  asks: the answer, then the end of our side, then what the client still sends is thrown away, for at most ``LINGER_S``
  and ``LINGER_BYTES``. Closing at once would reset the connection, and the client would see that instead of the answer.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 65_536
"""The longest request line and header together."""

HEAD_S = 10.0
"""How long a request may take to say what it is."""

LINGER_S = 10.0
"""How long the rest of a request that was answered early is thrown away."""

LINGER_BYTES = 64_000_000
"""How much of it."""

MOST_CONNECTIONS = 1_000
"""How many connections there are at most, where the process may open enough files."""

OTHER_FILES = 64
"""How many files the process keeps for itself: the store, its log, its listening sockets."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with the bounds above."""

    idle_since: float | None = None
    """When it last began to wait for a request; None while one is under way."""

    _too_late: asyncio.TimerHandle | None = None
    _thrown_away = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a client, or the place of one that keeps us waiting."""
        super().connection_made(cast("asyncio.Transport", _Lingering(transport, self)))
        self.idle_since = self.loop.time()
        self._expect_head()
        if len(self.connections) > most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a header, of a body, or of one that nobody wants any more."""
        if self.transport.is_closing():
            self._throw_away(data)
            return
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._expect_head()
        else:
            self.idle_since = None
            self._head_is_there()

    def on_response_complete(self) -> None:
        """After an answer: the next request, or the end where this one has not ended."""
        if self.ends_early():
            self.transport.close()
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def ends_early(self) -> bool:
        """Whether the client has not sent its whole request yet, or sends what is none."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of every other refusal."""
        body = json.dumps({"detail": f"{msg} A request line and header may have {HEAD_BYTES} bytes."}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        events = (h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body))
        for event in (*events, h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_head(self) -> None:
        if self._too_late is None:
            self._too_late = self.loop.call_later(HEAD_S, self.transport.abort)

    def _head_is_there(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.transport.abort()

    def _make_room(self) -> None:
        idle = {other.idle_since: other for other in self.connections if isinstance(other, Connection)}
        idle.pop(None, None)
        leaving = idle[min(since for since in idle if since is not None)]  # this one, where no other is idle
        self.connections.discard(leaving)
        leaving.transport.abort()


class _Lingering:
    """A transport that closes so that the client can read the answer: see the top of this room.

    Args:
        transport: The socket's own.
        connection: Whose it is.
    """

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._connection = transport, connection
        self._ending = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether no further request is taken."""
        return self._ending or self._transport.is_closing()

    def close(self) -> None:
        """Close at once where the client has sent everything, else once it has had time to read."""
        if self._ending:
            return
        self._ending = True
        if not self._connection.ends_early() or not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client has gone already
            self._transport.abort()
            return
        self._transport.resume_reading()
        self._connection.loop.call_later(LINGER_S, self._transport.abort)


def most_connections() -> int:
    """How many connections there are at most: fewer where the process may open few files."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(min(MOST_CONNECTIONS, files - OTHER_FILES), 1)
