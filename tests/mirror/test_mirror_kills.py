"""The mirror and ``kill -9``: a real process, a real file, a real socket, and a service that fails and is late."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

from temporis_dagster import connect
from temporis_dagster.testing import FakeService, Request, answer, cut
from temporis_dagster.testing.fake_state import FakeState
from tests.support.mirror_worker import FIRST, KEYS, SERIES

WORKER, ROOT = Path(__file__).parents[1] / "support" / "mirror_worker.py", Path(__file__).parents[2]
LATEST_S = 3.0
WINDOW_S = 4.0
PATIENCE_S = 120.0


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


class Life:
    """One process, from its start to its death."""

    def __init__(self, service: FakeService, mirror: str, seed: int, value: int) -> None:
        command = [
            sys.executable,
            str(WORKER),
            service.url,
            service.token,
            mirror,
            str(seed),
            str(value),
            str(WINDOW_S),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        self.begun: dict[int, int] = {}
        self.done: set[int] = set()

    def live(self, upserts: int, linger_s: float) -> None:
        """Hear this number of upserts return, wait for a moment, kill."""
        guard = threading.Timer(PATIENCE_S, self.process.kill)
        guard.start()
        death = threading.Timer(linger_s, self.process.kill)
        for line in self.process.stdout:
            self.hear(json.loads(line))
            if len(self.done) >= upserts and not death.is_alive() and death.ident is None:
                death.start()
        guard.cancel()
        self.process.wait()
        self.process.stdout.close()
        assert death.ident is not None, "it died before its time"
        death.join()

    def hear(self, record: dict) -> None:
        if "begins" in record:
            first, value = record["begins"]
            self.begun[value] = first
        else:
            self.done.add(record["done"])


def test_nothing_is_lost_and_the_last_value_wins(mirror_db, soak, capsys):
    """After many kills at random moments and one flush, every row of the mirror is on the server, and for good.

    So is every row whose upsert returned; the final value of every key is the last one written.
    """
    kills = 500 if soak else 50
    script, moments = Unreliable(seed=kills), random.Random(7)
    mirror, returned, value = mirror_db.url, {}, 0
    with FakeService(script=script) as service:
        script.state = service.state
        for number in range(kills):
            life = Life(service, mirror, seed=number, value=value)
            life.live(moments.randint(1, 3), moments.uniform(0, 0.1))
            value = max(life.begun, default=value)
            returned |= {one: life.begun[one] for one in life.done}
        with connect(
            service.url, service.token, mirror=mirror, late_write_window_s=WINDOW_S, timeout_s=1.0
        ) as temporis:
            source = temporis.data_source("store_metrics")
            report = source.flush()
            script.wait()
            assert source.pending().rows == report.pending == 0
            kept = {
                (int(row.timestamp.timestamp()), row.name_): row.value
                for row in source.read().rename(columns={"name": "name_"}).itertuples()
            }
        there = {(stamp, name): number for (_, stamp, name), number in service.content.items()}
        assert service.overlapping_keys == set()
    assert {key: there.get(key) for key in kept} == kept
    for one, first in returned.items():
        for stamp in range(first, first + 400):
            assert kept[FIRST + stamp, f"series {stamp % SERIES}"] >= one
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kills} kills, {len(returned)} upserts returned, {len(service.writes)} rows applied, {KEYS} keys\n"
        )
