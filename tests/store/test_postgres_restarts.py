"""A PostgreSQL server that stops without a warning while many writers write, and comes back."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.postgres_crew import Crew, crew_of, stored_in, until_settled
from tests.support.postgres_server import PrivatePostgres
from tests.support.postgres_worker import Plan

WRITERS = 8


def stop_immediately(server: PrivatePostgres, _moments: random.Random) -> None:
    """Stop it as a crash does, without a checkpoint, and start it again."""
    server.restart("immediate")


def stop_fast(server: PrivatePostgres, _moments: random.Random) -> None:
    """Stop it as an administrator does, which rolls back what is open, and start it again."""
    server.restart("fast")


def kill_a_backend(server: PrivatePostgres, moments: random.Random) -> None:
    """Kill one of its processes, after which it ends all others and recovers by itself."""
    pids = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname <> 'postgres' AND backend_type = 'client backend'"
    )
    os.kill(moments.choice(pids)[0], signal.SIGKILL)


def terminate_backends(server: PrivatePostgres, _moments: random.Random) -> None:
    """Terminate all sessions, as an administrator or a failover does."""
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> 'postgres'")


Breakage = Callable[[PrivatePostgres, random.Random], None]


@pytest.mark.parametrize("breakage", [stop_immediately, stop_fast, kill_a_backend, terminate_backends])
def test_eight_writers_lose_nothing_when_the_server_breaks(
    private_postgres, tmp_path, soak, capsys, breakage: Breakage
):
    """Again and again, at random moments: every upsert goes on by itself, and every report is exact."""
    with private_postgres.database() as url:
        break_and_check(private_postgres, url, tmp_path / "stop", 25 if soak else 2, breakage, capsys)


def test_what_was_acknowledged_survives_where_commits_are_asynchronous(private_postgres, tmp_path, soak, capsys):
    """An administrator set synchronous_commit off: the store still waits until what it acknowledges is durable."""
    with private_postgres.database() as url:
        private_postgres.execute("ALTER SYSTEM SET synchronous_commit = off")
        private_postgres.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        private_postgres.restart("fast")
        break_and_check(private_postgres, url, tmp_path / "stop", 25 if soak else 2, stop_immediately, capsys)


def break_and_check(
    server: PrivatePostgres, url: str, stop: Path, times: int, breakage: Breakage, capsys: pytest.CaptureFixture[str]
) -> None:
    moments, began = random.Random(5), time.monotonic()
    with crew_of(Plan()) as crew:
        for number in range(WRITERS):
            crew.start(number, url, stop=stop)
        for _ in range(times):
            until_each_acknowledged(crew, 2)
            time.sleep(moments.uniform(0, 0.05))  # it breaks anywhere, not only after somebody told something
            breakage(server, moments)
        until_each_acknowledged(crew, 2)
        stop.touch()
        crew.until_gone()
        until_settled(server, url)
        found = stored_in(url)
        for writer in crew.writers.values():
            assert writer.errors == []
            writer.settle(found)
        acknowledged, retries = (
            sum(getattr(writer, count) for writer in crew.writers.values()) for count in ("acknowledged", "retries")
        )
    with capsys.disabled():
        took = f"{time.monotonic() - began:.0f} s"
        sys.stdout.write(
            f"\n{breakage.__name__}: {times} times, {acknowledged} upserts acknowledged, {retries} retries, {took}\n"
        )


def until_each_acknowledged(crew: Crew, upserts: int) -> None:
    goals = {number: writer.acknowledged + upserts for number, writer in crew.writers.items()}
    while any(writer.acknowledged < goals[number] for number, writer in crew.writers.items()):
        crew.hear()
