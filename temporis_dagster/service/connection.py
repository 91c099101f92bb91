"""Connection: one client's socket, bounded in time and bytes before the client has identified itself.

Comes in: bytes. Goes out: requests for the application, and its answers, which the client can read completely.
Never: waits forever for a request to begin or to end, or accepts a header of unlimited length.

These bounds keep a client without a token from shutting the others out:

* A header is at most ``HEAD_BYTES`` long and complete within ``HEAD_S``, counted from its first byte, or for the first
  one from the start of the connection. (After an answer, uvicorn's own keep-alive time counts until that first byte.)
* There are at most ``most_connections()``. A further connection takes the place of the one that has been idle for
  longest; if every connection has a request under way, the further one is closed. A client that does not read its
  answers counts as idle, and is cut off after ``READ_S``.
* An answer that comes before the end of its request (401, 413, 503) closes the connection as RFC 9112, section 9.6,
  asks: we send the answer, close our side, and discard what the client still sends, for at most ``LINGER_S`` and
  ``LINGER_BYTES``. Closing at once would reset the connection, and the client would see that instead of the answer.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 65_536
"""The largest request line and header together."""

HEAD_S = 10.0
"""How long a client may take to send the header of a request."""

READ_S = 10.0
"""How long a client may leave answers unread once they fill the operating system's buffer."""

LINGER_S = 10.0
"""How long the rest of a request that was answered early is read and discarded."""

LINGER_BYTES = 64_000_000
"""How much of that rest is read and discarded."""

FAREWELL_S = 1.0
"""How long that goes on after the server has been asked to stop."""

MOST_CONNECTIONS = 1_000
"""The maximum number of connections, if the process may open enough files."""

RULES_OF_HTTP = (
    "A request must be HTTP/1.1 with a Host, one length, and a request line and header of at most"
    f" {HEAD_BYTES} bytes together."
)

OTHER_FILES = 64
"""The number of files that the process needs for itself: the store, its log, its listening sockets."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with the bounds above."""

    idle_since: float | None = None
    """When the connection last began to wait for its client; None while a request is under way."""

    _too_late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _thrown_away = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept a client, if necessary in place of the one that has been idle for longest."""
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
        """Take bytes of a header, of a body, or of the rest of a body that was refused."""
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            data = self._rest_of_head(data)
        self._take(data)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not forever, and not at the cost of other clients."""
        super().pause_writing()
        self.idle_since = self.loop.time()
        self._unread = self._unread or self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._is_read()
        self._note_idle()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Take the next request after an answer, or close the connection if this request is incomplete."""
        if self.ends_early():
            self.transport.close()
        super().on_response_complete()  # which begins the next request, if it has arrived already
        self._note_idle()

    def shutdown(self) -> None:
        """Answer the request under way as the server stops, but soon end the reading of one that was refused."""
        if self.transport.is_closing():
            self.loop.call_later(FAREWELL_S, self.transport.abort)
        else:
            super().shutdown()

    def ends_early(self) -> bool:
        """Tell whether the client has not sent its whole request yet, or sends something that is not HTTP."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the form of every other refusal, and end the request under way."""
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
        """Log nothing and serve HTTP/1.1: Java's client offers h2c with each request."""

    def _rest_of_head(self, data: bytes) -> bytes:
        """Give h11 no more than the rest of a header's limit at once: it checks the limit only between two pieces."""
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
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # can be None

    def _note_idle(self) -> None:
        # A client that leaves answers unread, or whose request we have refused and closed, is the one we wait for.
        waits_for_client = self._unread is not None or self.transport.is_closing()
        if self._is_under_way() and not waits_for_client:
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
        leaving = idle[min(since for since in idle if since is not None)]  # this connection, if no other is idle
        self.connections.discard(leaving)
        leaving.transport.abort()


class _Lingering:
    """A transport that closes so that the client can read the answer, as described at the top of this module.

    Args:
        transport: The transport of the socket.
        connection: The connection that it belongs to.
    """

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._connection = transport, connection
        self._ending = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Tell whether no further request is accepted."""
        return self._ending or self._transport.is_closing()

    def close(self) -> None:
        """Close at once if the client has sent everything, and otherwise after it has had time to read the answer."""
        if self._ending:
            return
        self._ending = True
        self._connection.loop.call_later(LINGER_S, self._transport.abort)  # even if the answer is never read
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
    """Return the maximum number of connections, which is lower if the process may open only few files."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(min(MOST_CONNECTIONS, files - OTHER_FILES), 1)
