"""``kill -9`` of processes that write into PostgreSQL: what was acknowledged is stored, and every report is exact."""

from __future__ import annotations

import random
import sys
import time
from itertools import count

from tests.support.postgres_crew import Crew, crew_of, stored_in, until_settled
from tests.support.postgres_server import Postgres
from tests.support.postgres_worker import Plan

WRITERS, LOOK_EVERY = 3, 2


def test_kill_9_of_a_writer_loses_nothing_that_was_acknowledged(private_postgres, soak, capsys):
    """After each of many kills at random moments, among other writers of the same data source.

    Of the upsert that was killed, the first chunks are stored, each whole; of every other, what its report says.
    """
    kills, moments, began = 500 if soak else 20, random.Random(11), time.monotonic()
    with private_postgres.database() as url, crew_of(Plan()) as crew:
        for number in range(WRITERS):
            crew.start(number, url)
        for turn in count(1):
            if crew.kills >= kills:
                break
            victim = crew.writers[moments.randrange(WRITERS)]
            goal = victim.acknowledged + moments.randint(1, 3)
            while victim.acknowledged < goal:
                crew.hear()
            time.sleep(moments.uniform(0, 0.02))  # it dies anywhere, not only after it told something
            crew.kill(victim)
            if turn % LOOK_EVERY == 0:
                look(crew, private_postgres, url)
            for writer in crew.writers.values():
                if writer.gone:
                    crew.start(writer.number, url)
        look(crew, private_postgres, url)
        assert [error for writer in crew.writers.values() for error in writer.errors] == []
        acknowledged = sum(writer.acknowledged for writer in crew.writers.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{crew.kills} kills, {acknowledged} upserts acknowledged, {time.monotonic() - began:.0f} s\n"
        )


def look(crew: Crew, server: Postgres, url: str) -> None:
    """Kill all writers, and compare what is stored with what they told."""
    crew.kill(*(writer for writer in crew.writers.values() if not writer.gone))
    until_settled(server, url)
    found = stored_in(url)
    for writer in crew.writers.values():
        writer.settle(found)
