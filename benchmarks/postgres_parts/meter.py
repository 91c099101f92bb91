"""What work costs a PostgreSQL server of this machine.

Comes in: a URL. Goes out: seconds on the wall clock and of processors, bytes of WAL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NS_PER_S = 1_000_000_000
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Attributes:
        wall_s: Seconds on the wall clock.
        client_s: Processor seconds of this process.
        backend_s: Processor seconds of the server's processes that serve connections.
        server_s: Processor seconds of all of the server's processes.
        wal_bytes: Bytes that the server wrote to its write-ahead log.
    """

    wall_s: float
    client_s: float
    backend_s: float
    server_s: float
    wal_bytes: int

    @property
    def processor_s(self) -> float:
        """Processor seconds that the work itself took, on both sides."""
        return self.client_s + self.backend_s


class Meter:
    """What the server did while some work was done. The server must run on this machine, and have nothing else to do.

    Args:
        url: The database whose server is measured.
    """

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._postmaster = _parent(self._connection.info.backend_pid)

    @property
    def version(self) -> str:
        """Such as 18.4."""
        return self._one("SHOW server_version").split()[0]

    def cost(self, work: Callable[[], Result]) -> tuple[Cost, Result]:
        """Do the work after a checkpoint: every page is then logged in full once more, as on any server in use."""
        self._connection.execute("CHECKPOINT")
        backends, everything, wal = self._backends_ns(), self._server_ns(), self._wal()
        client, wall = time.process_time(), time.perf_counter()
        result = work()
        wall, client = time.perf_counter() - wall, time.process_time() - client
        wal, everything = self._wal() - wal, self._server_ns() - everything
        # A connection that began meanwhile counts from its beginning; one that ended must not have worked.
        serving = sum(ns - backends.get(pid, 0) for pid, ns in self._backends_ns().items())
        return Cost(wall, client, serving / NS_PER_S, everything / NS_PER_S, wal), result

    def settle(self) -> None:
        """Vacuum, so that no later work meets an autovacuum that is due."""
        self._connection.execute("VACUUM ANALYZE")

    def deadlocks(self) -> int:
        """Deadlocks in this database so far, once all connections have reported theirs."""
        return int(self._one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _wal(self) -> int:
        return int(self._one("SELECT (pg_current_wal_insert_lsn() - '0/0')::text"))

    def _backends_ns(self) -> dict[int, int]:
        found = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return {pid: _ns(pid) for (pid,) in found.fetchall()}

    def _server_ns(self) -> int:
        """Of all processes, those that have ended included."""
        ours = self._connection.info.backend_pid
        alive = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(int(path.name)) == self._postmaster]
        ended = sum(int(field) for field in _stat(self._postmaster)[13:15])
        return sum(_ns(pid) for pid in alive if pid != ours) + ended * NS_PER_S // TICKS_PER_S

    def _one(self, query: str) -> str:
        return self._connection.execute(query).fetchone()[0]


def _ns(pid: int) -> int:
    """Nanoseconds on a processor; 0 for a process that has just ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, which is the third."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
