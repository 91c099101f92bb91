"""A proxy in front of a PostgreSQL server that counts round trips.

Comes in: connections. Goes out: the same bytes, and how often the client sent something after the server had answered.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict
from typing_extensions import Self

DEFAULT_PORT = 5432


class CountingProxy:
    """Listens on a port of this machine for as long as its block runs.

    Args:
        url: The database behind it.
    """

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._host, self._port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or DEFAULT_PORT)
        self._user, self._database = parts.get("user") or "postgres", parts.get("dbname") or "postgres"
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.round_trips = 0

    @property
    def url(self) -> str:
        """The database, through the proxy."""
        port = self._listening.getsockname()[1]
        return f"postgresql://{self._user}@127.0.0.1:{port}/{self._database}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listening.accept()[0]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                behind = self._connected()
                answered = threading.Event()
                answered.set()
                threading.Thread(target=self._forward, args=(client, behind, answered), daemon=True).start()
                threading.Thread(target=self._answer, args=(behind, client, answered), daemon=True).start()

    def _connected(self) -> socket.socket:
        if self._host.startswith("/"):
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return behind
        behind = socket.create_connection((self._host, self._port))
        behind.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return behind

    def _forward(self, client: socket.socket, behind: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while sent := client.recv(1 << 20):
                if answered.is_set():
                    answered.clear()
                    with self._lock:
                        self.round_trips += 1
                behind.sendall(sent)
            behind.shutdown(socket.SHUT_WR)

    def _answer(self, behind: socket.socket, client: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while received := behind.recv(1 << 20):
                answered.set()
                client.sendall(received)
            client.shutdown(socket.SHUT_WR)
