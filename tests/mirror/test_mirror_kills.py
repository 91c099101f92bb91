"""The mirror and ``kill -9``: real processes, a real database, a real socket, and a service that fails and is late."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from temporis_dagster import connect
from temporis_dagster.testing import FakeService, Request, answer, cut
from temporis_dagster.testing.fake_state import FakeState
from tests.support.forked_crew import PATIENCE_S, ForkedCrew
from tests.support.mirror_databases import MirrorDatabase
from tests.support.mirror_worker import FIRST, KEYS, ROWS, SERIES, SOURCE

WORKERS = 8
LATEST_S = 3.0
WINDOW_S = 4.0
FAR = 1_000_000
"""The values of each worker begin at a multiple of it."""


class Unreliable:
    """The script of the service: 10 % are answered 503, 2 % cut after they were applied, 1 % applied late."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # a repeatable test
        self.timers: list[threading.Timer] = []
        self.state: FakeState | None = None

    def __call__(self, request: Request):
        drawn = self.chance.random()
        if drawn < 0.10:
            return answer(503, "busy")
        if drawn < 0.12:
            return cut(applies="all")
        if drawn < 0.13 and request.records:
            timer = threading.Timer(self.chance.uniform(0, LATEST_S), self.land, [request])
            self.timers.append(timer)
            timer.start()
            return cut()
        return None

    def land(self, request: Request) -> None:
        with self.state._lock:
            self.state._store(request, request.records)

    def wait(self) -> None:
        for timer in self.timers:
            timer.join(PATIENCE_S)


class Crew(ForkedCrew):
    """Workers that share a mirror, and what they told.

    Attributes:
        kills: How many were killed.
        begun: The first key of each upsert, and its place among everything that was told, by its value.
        ended: The place at which each upsert that returned was told of, by its value.
    """

    def __init__(self, service: FakeService, mirror: str) -> None:
        super().__init__(Path(__file__).parents[1] / "support" / "mirror_worker.py")
        options = {"batch_rows": 100, "timeout_s": 1.0, "give_up_after_s": 2.0, "max_in_flight": 2}
        options |= {"on_unavailable": "queue", "late_write_window_s": WINDOW_S}
        self._connect = {"url": service.url, "token": service.token, "mirror": mirror, **options}
        self._pids: dict[int, int] = {}
        self.kills, self._place = 0, 0
        self.begun: dict[int, tuple[int, int]] = {}
        self.ended: dict[int, int] = {}

    def start(self, number: int) -> None:
        """Start a worker, with values that it has not used."""
        last = max((value for value in self.begun if value // FAR == number), default=number * FAR)
        self.ask(number=number, value=last, seed=last, connect=self._connect)
        while number not in self._pids:
            self.hear()

    def hear(self) -> int:
        """Take in the next thing that a worker told, and return its number."""
        record = self.next_told()
        number, self._place = record["number"], self._place + 1
        if "alive" in record:
            self._pids[number] = record["alive"]
        elif "begins" in record:
            first, value = record["begins"]
            self.begun[value] = first, self._place
        elif "ended" in record:
            self.ended[record["ended"]] = self._place
        else:
            del self._pids[number]
            assert record["gone"] == -signal.SIGKILL, "".join(self.complaints)
        return number

    def returned(self, number: int) -> int:
        """How many upserts of a worker have returned."""
        return sum(value // FAR == number for value in self.ended)

    def kill(self, *numbers: int) -> None:
        """Kill workers, all of them without a number, and hear what they told before."""
        doomed = numbers or tuple(self._pids)
        for number in doomed:
            os.kill(self._pids[number], signal.SIGKILL)
            self.kills += 1
        while self._pids.keys() & set(doomed):
            self.hear()

    def close(self) -> None:
        try:
            self.kill()
        finally:  # a worker that is left holds up the end of the whole run
            super().close()


def test_nothing_is_lost_and_the_last_value_wins(mirror_db, soak, capsys):
    """After many kills at random moments, among eight workers, and one flush: every row of the mirror is on the server.

    For good, whatever lands late. No key was ever in two requests. The value of every key is one that may have been the
    last: no upsert of the key that returned began after the upsert of this value had returned.
    """
    kills, moments, began = 500 if soak else 24, random.Random(7), time.monotonic()
    script = Unreliable(seed=kills)
    with FakeService(script=script) as service:
        script.state = service.state
        crew = Crew(service, mirror_db.url)
        try:
            for number in range(WORKERS):
                crew.start(number)
            while crew.kills < kills - WORKERS:
                victim = moments.randrange(WORKERS)
                goal = crew.returned(victim) + moments.randint(1, 3)
                while crew.returned(victim) < goal:
                    crew.hear()
                time.sleep(moments.uniform(0, 0.1))  # it dies anywhere, not only after it told something
                crew.kill(victim)
                crew.start(victim)
        finally:
            crew.close()
        lasted_s = time.monotonic() - began
        kept = flushed(service, mirror_db, script)
        there = {(stamp, name): number for (_, stamp, name), number in service.content.items()}
        assert service.overlapping_keys == set()
    assert there == kept
    assert set(kept.values()) <= crew.begun.keys()
    none_is_lost(crew, kept)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{crew.kills} kills in {lasted_s:.0f} s among {WORKERS} workers, {len(crew.ended)} upserts returned,"
            f" {len(service.writes)} rows applied, {len(kept)} keys\n"
        )


def flushed(service: FakeService, mirror_db: MirrorDatabase, script: Unreliable) -> dict[tuple[int, str], float]:
    """Deliver what was left behind, and let everything land that is late; what the mirror has in the end."""
    options = {"late_write_window_s": WINDOW_S, "timeout_s": 1.0}
    with connect(service.url, service.token, mirror=mirror_db.url, **options) as temporis:
        source = temporis.data_source(SOURCE)
        report = source.flush()
        script.wait()
        assert source.pending().rows == report.pending == 0
        kept = source.read()
    assert mirror_db.rows("SELECT count(*) FROM temporis_mirror_batch WHERE live > 0") == [(0,)]
    rows = "SELECT count(*) FROM temporis_mirror_rows WHERE batch NOT IN (SELECT id FROM temporis_mirror_batch)"
    assert mirror_db.rows(rows) == [(0,)], "what a batch carried outlives it"
    return {
        (int(stamp.timestamp()), name): value
        for stamp, name, value in zip(kept["timestamp"], kept["name"], kept["value"], strict=True)
    }


def none_is_lost(crew: Crew, kept: dict[tuple[int, str], float]) -> None:
    """Of the upserts of a key that returned, none began after that of its value had returned."""
    latest: dict[tuple[int, str], int] = {}
    for value in crew.ended:
        first, place = crew.begun[value]
        for number in range(first, first + ROWS):
            key = FIRST + number, f"series {number % SERIES}"
            latest[key] = max(latest.get(key, 0), place)
    assert len(latest) > KEYS / 2
    assert latest.keys() <= kept.keys()
    assert {key for key, place in latest.items() if crew.ended.get(kept[key], place) < place} == set()
