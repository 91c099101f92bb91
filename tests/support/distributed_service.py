"""A service that counts who writes at once, and can hold all of them at its door.

Comes in: a folder. Goes out: a real service over SQLite, and the peak of the requests that were in flight.
Never: changes a request or an answer.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.serve import server
from tests.support.service_fixture import PATIENCE_S, Service


class Door:
    """What stands in front of the service.

    Attributes:
        within: How many requests are in flight now.
        peak: The most that there were at once since ``close``.
    """

    def __init__(self, application: Any) -> None:
        self._application, self._open = application, True
        self.within, self.peak = 0, 0

    def close(self) -> None:
        """Hold every request from now on, and count anew."""
        self._open, self.peak = False, 0

    def open(self) -> None:
        """Let all of them through."""
        self._open = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Count, hold, pass on."""
        if scope["type"] != "http":
            return await self._application(scope, receive, send)
        self.within += 1
        self.peak = max(self.peak, self.within)
        try:
            while not self._open:  # noqa: ASYNC110  an event belongs to one loop, and tests to no loop
                await asyncio.sleep(0.05)
            await self._application(scope, receive, send)
        finally:
            self.within -= 1


@contextmanager
def service_with_a_door(folder: Path, data_source: str) -> Iterator[tuple[Service, Door]]:
    """Run a service with one data source in a thread, behind a door that is open."""
    store = SqlStore(f"sqlite:///{folder}/temporis.db")
    store.create_data_source(data_source)
    running = server(SqlStore(store.url))
    door = Door(running.config.app)
    running.config.app = door
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", store.tokens.create("test"), store), door
        finally:
            door.open()
            running.should_exit = True
            thread.join(PATIENCE_S)
            store.close()
