"""Connection: one client's socket, bounded in time and bytes before anybody knows who the client is.

Comes in: bytes. Goes out: requests for the application, and its answers, which the client can read to the end.
Never: waits for ever for a request to begin or to end, or holds a header of any length.

What keeps one client from shutting the others out, without a token:

* A header is at most ``HEAD_BYTES`` long and complete within ``HEAD_S``, counted from its first byte, or from the
  connection's beginning for the first one. (After an answer, uvicorn's own keep-alive time counts until then.)
* There are at most ``most_connections()``. A further one takes the place of the one that has been idle for longest;
  where every one has a request under way, the further one is closed. A client that does not read its answers counts as
  idle, and is cut off after ``READ_S``.
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

READ_S = 10.0
"""How long a client may leave answers unread once they fill what the operating system holds for it."""

LINGER_S = 10.0
"""How long the rest of a request that was answered early is thrown away."""

LINGER_BYTES = 64_000_000
"""How much of it."""

FAREWELL_S = 1.0
"""How long it still is once the server was told to stop."""

MOST_CONNECTIONS = 1_000
"""How many connections there are at most, where the process may open enough files."""

RULES_OF_HTTP = (
    "A request is HTTP/1.1 with a Host, one length, and a request line and header of at most"
    f" {HEAD_BYTES} bytes together."
)

OTHER_FILES = 64
"""How many files the process keeps for itself: the store, its log, its listening sockets."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with the bounds above."""

    idle_since: float | None = None
    """When it last began to wait for a request; None while one is under way."""

    _too_late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
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
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a header, of a body, or of one that nobody wants any more."""
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            data = self._rest_of_head(data)
        self._take(data)

    def pause_writing(self) -> None:
        """The client does not read: wait for it, but not for ever, and not at another's cost."""
        super().pause_writing()
        self.idle_since = self.loop.time()
        self._unread = self._unread or self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_read()
        self._note_idle()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """After an answer: the next request, or the end where this one has not ended."""
        if self.ends_early():
            self.transport.close()
        super().on_response_complete()  # which begins the next request, where it is here already
        self._note_idle()

    def shutdown(self) -> None:
        """The server stops: a request under way is answered, but nobody goes on throwing away what was refused."""
        if self.transport.is_closing():
            self.loop.call_later(FAREWELL_S, self.transport.abort)
        else:
            super().shutdown()

    def ends_early(self) -> bool:
        """Whether the client has not sent its whole request yet, or sends what is none."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of every other refusal; the request under way ends with it."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"detail": f"{msg} {RULES_OF_HTTP}"}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events = (h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body))
            for event in (*events, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self._is_under_way():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Serve it as HTTP/1.1 without a word: Java's client offers h2c with each request."""

    def _rest_of_head(self, data: bytes) -> bytes:
        """Give h11 no more of a header at once than it may have: it looks at the limit only between two pieces."""
        room = HEAD_BYTES + 1 - len(self.conn.trailing_data[0])
        if len(data) > room > 0:
            self._take(data[:room])
            return data[room:]
        return data

    def _take(self, data: bytes) -> None:
        if self.transport.is_closing():
            self._throw_away(data)
            return
        super().data_received(data)
        self._note_idle()
        if self._is_under_way():
            self._head_is_there()
        else:
            self._expect_head()

    def _is_under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first

    def _note_idle(self) -> None:
        if self._is_under_way():
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = self.loop.time()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

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
        self._connection.loop.call_later(LINGER_S, self._transport.abort)  # also where an answer is never read
        if not self._connection.ends_early() or not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client has gone already
            self._transport.abort()
            return
        self._transport.resume_reading()


def most_connections() -> int:
    """How many connections there are at most: fewer where the process may open few files."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(min(MOST_CONNECTIONS, files - OTHER_FILES), 1)
