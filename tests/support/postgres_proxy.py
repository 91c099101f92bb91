"""A proxy between a client and a PostgreSQL server that counts their messages, and cuts the connection at one of them.

Comes in: the address of a server, and at which message to cut. Goes out: an address of its own, and what it has seen.
Never: changes a message. With a TLS context it speaks TLS to clients, because the server from the wheel cannot.

A message of the client that is cut never reaches the server. A message of the server that is cut never reaches the
client, but what it tells has happened: after a lost ``CommandComplete`` of a COMMIT, the transaction is committed.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import psycopg
import sqlalchemy as sa

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
NEVER_S = 600.0


class Message(NamedTuple):
    """One message of the protocol.

    Attributes:
        to_server: Whether the client sent it.
        kind: Its letter; empty for the first message of a connection.
        body: What follows its length.
        number: Its number among all messages of its direction since ``watch``, from 1.
    """

    to_server: bool
    kind: str
    body: bytes
    number: int

    @property
    def bytes(self) -> bytes:
        return self.kind.encode() + struct.pack(">i", len(self.body) + 4) + self.body


class Proxy:
    """A proxy in threads of this process. Used as a context manager.

    Args:
        url: The URL of the server.
        tls: The context with which it speaks TLS to clients; None for plain TCP.

    Attributes:
        delay_s: How long every message is held back: a slow network.
        seen: The letters of all messages since ``watch``, those to the server in upper case with ``>`` before them.
        cuts: How many connections were cut by ``cut_at`` and ``cut_when``.
        asked: The statement that the client had sent last when the first of them was cut.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = sa.make_url(url)
        with psycopg.connect(self._url.set(drivername="postgresql").render_as_string(hide_password=False)) as found:
            self._server = found.info.host, found.info.port  # the URL may leave both to libpq
        self._tls = tls
        self.delay_s = 0.0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut: Callable[[Message], bool] = lambda _message: False
        self._half = self._closes = False
        self.watch()
        self._listener: socket.socket | None = None
        self._port = 0

    def __enter__(self):
        self.listen()
        return self

    def __exit__(self, *_error: object) -> None:
        self.refuse()
        self.cut_all()

    def url(self, **changed: object) -> str:
        """The server's URL, with the proxy's address."""
        made = self._url.difference_update_query(["host", "port"])
        return made.set(host="127.0.0.1", port=self._port, **changed).render_as_string(hide_password=False)

    def watch(self) -> None:
        """Count from the beginning."""
        with self._lock:
            self.seen: list[str] = []
            self.cuts, self.asked = 0, ""
            self._asking = ""
            self._numbers = {True: 0, False: 0}

    def cut_at(self, number: int, *, to_server: bool, half: bool = False, then_refuse: bool = False) -> None:
        """Cut the connection instead of passing on one message, counted from now on.

        Args:
            number: Which one, from 1, among those of its direction.
            to_server: Whether messages to the server are counted, or those from it.
            half: Pass on the first half of its bytes.
            then_refuse: Whether the server can no longer be reached afterwards.
        """
        self.cut_when(
            lambda message: (message.to_server, message.number) == (to_server, number),
            half=half,
            then_refuse=then_refuse,
        )

    def cut_when(self, condition: Callable[[Message], bool], *, half: bool = False, then_refuse: bool = False) -> None:
        """Cut the connection at each message that fulfils a condition."""
        self.watch()
        with self._lock:
            self._cut, self._half, self._closes = condition, half, then_refuse

    def before(self, statement: str, action: Callable[[], object], occurrence: int = 1) -> None:
        """Do something before the server gets a statement that starts with these words; cut nothing.

        Args:
            statement: The words, in upper or lower case.
            action: What to do, once.
            occurrence: Before which of these statements, from 1.
        """
        left = [occurrence]

        def watching(message: Message) -> bool:
            if message.to_server and message.kind in "QP" and _text(message).lower().startswith(statement.lower()):
                left[0] -= 1
                if left[0] == 0:
                    action()
            return False

        self.cut_when(watching)

    def pass_all(self) -> None:
        """Cut nothing from now on, and take connections."""
        self.cut_when(lambda _message: False)
        self.listen()

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no new connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes up the thread that accepts
            listener.close()

    def cut_all(self) -> None:
        """Cut every open connection."""
        with self._lock:
            opened, self._open = self._open, set()
        for one in opened:
            _cut(one)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(NEVER_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client, first = self._begun(client)
            server = self._connected()
        except (OSError, EOFError):
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        if first[4:8] == struct.pack(">i", CANCEL_REQUEST):
            server.sendall(first)
            server.close()
            client.close()
            return
        back = threading.Thread(target=self._pump, args=(server, client, False, b""), daemon=True)
        back.start()
        self._pump(client, server, True, first)  # noqa: FBT003  # to_server
        back.join()
        for one in (client, server):
            one.close()

    def _connected(self) -> socket.socket:
        host, port = self._server
        if host.startswith("/"):
            made = socket.socket(socket.AF_UNIX)
            made.connect(f"{host}/.s.PGSQL.{port}")
        else:
            made = socket.create_connection((host, port), NEVER_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _begun(self, client: socket.socket) -> tuple[socket.socket, bytes]:
        """Read the first message, after any talk about encryption."""
        while True:
            head = _exactly(client, 8)
            length, code = struct.unpack(">ii", head)
            if code == SSL_REQUEST and self._tls is not None:
                client.sendall(b"S")
                client = self._tls.wrap_socket(client, server_side=True)
            elif code in (SSL_REQUEST, GSS_REQUEST):
                client.sendall(b"N")
            else:
                return client, head + _exactly(client, length - 8)

    def _pump(self, source: socket.socket, target: socket.socket, to_server: bool, first: bytes) -> None:
        try:
            if first:
                self._pass_on(target, to_server, "", first[4:])
            while True:
                head = _exactly(source, 5)
                body = _exactly(source, struct.unpack(">i", head[1:])[0] - 4)
                self._pass_on(target, to_server, head[:1].decode(), body)
        except (OSError, EOFError):
            for one in (source, target):
                _cut(one)

    def _pass_on(self, target: socket.socket, to_server: bool, kind: str, body: bytes) -> None:
        if to_server and kind == "X":  # the end of a session, perhaps of one from before the counting began
            target.sendall(Message(to_server, kind, body, 0).bytes)
            return
        with self._lock:
            self._numbers[to_server] += 1
            message = Message(to_server, kind, body, self._numbers[to_server])
            self.seen.append((">" if to_server else "<") + kind)
            if to_server and kind in ("Q", "P"):
                self._asking = _text(message)
            cut = self._cut(message)
            self.asked = self.asked or (self._asking if cut else "")
            self.cuts += cut
            half, closes = self._half, self._closes
        if self.delay_s:
            time.sleep(self.delay_s)
        if not cut:
            target.sendall(message.bytes)
            return
        if closes:
            self.refuse()
        if half:
            target.sendall(message.bytes[: len(message.bytes) // 2])
        raise EOFError


def _text(message: Message) -> str:
    """The statement in a Query or a Parse, which has the name of a prepared statement before it."""
    return message.body.split(b"\0")[0 if message.kind == "Q" else 1].decode()


def _exactly(source: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = source.recv(min(count - len(received), 1 << 20))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
