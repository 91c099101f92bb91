"""Shared by the tests of the mirror: a world in which time passes only when somebody waits, and late writes land."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import orjson
import pandas as pd

from temporis_dagster.data_source.client import Answer
from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.mirror import Mirror
from temporis_dagster.data_source.options import MirrorOptions, RemoteOptions
from temporis_dagster.data_source.remote import Remote
from temporis_dagster.testing.fake_state import FakeState, Rules
from tests.delivery_tools import CANARY, FIRST, DirectSender

URL = "http://127.0.0.1:1"
SOURCE = "store_metrics"
BAD = -666.0
"""A value that the service refuses."""


class Killed(BaseException):
    """The process is gone: nothing of it runs on, not even what it does when it is interrupted."""


class World:
    """Time, the service, and what is on its way to it.

    Attributes:
        late: Records and when they land.
        overwritten: How many records landed late over another value.
        next: What happens to the next requests: None for nothing; ``refused``, ``busy``, ``cut``, ``cut applied``,
            ``kill``, ``kill applied``; or ``("late", seconds)``, ``("kill late", seconds)``; or a function that runs
            while the request is on its way, after it was applied.
    """

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.late: list[tuple[float, list[dict]]] = []
        self.next: list = []
        self.overwritten = 0
        rules = Rules(CANARY, fault_of=lambda record: "bad value" if record["value"] == BAD else None)
        self.state = FakeState({SOURCE: False}, rules, lambda _request: None, lambda: self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass; late writes land when they are due, one by one."""
        until = self.now + seconds
        for due, records in sorted((one for one in self.late if one[0] <= until), key=lambda one: one[0]):
            self.now = max(self.now, due)
            self.land(records)
        self.late = [one for one in self.late if one[0] > until]
        self.now = until

    def land(self, records: list[dict]) -> None:
        for record in records:
            key = SOURCE, record["timestamp"], record["name"]
            self.overwritten += self.state.content.get(key, record["value"]) != record["value"]
            self.state.content[key] = float(record["value"])

    def content(self) -> dict[tuple[str, int], float]:
        """What the service has, by (series, number)."""
        return {(name, stamp - FIRST): value for (_, stamp, name), value in self.state.content.items()}


class WorldClock:
    """Every clock there is: that of the pace, that of the mirror and that of the database."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self, _connection: object = None) -> float:
        return self.world.now

    monotonic = now

    def wait(self, _condition: threading.Condition, seconds: float) -> None:
        self.world.advance(seconds)

    def sleep(self, seconds: float) -> None:
        self.world.advance(seconds)


class WorldSender(DirectSender):
    """One process's way to the service."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world.state)
        self.world, self.process = world, process

    def post(self, body: bytes) -> Answer:
        fault = self.world.next.pop(0) if self.world.next else None
        if fault == "refused":
            return Answer(None, "ConnectError: refused")
        if fault == "busy":
            return Answer(503, "busy", maybe_applied=True)
        if fault in ("cut", "kill"):
            return self.no_answer(fault)
        if isinstance(fault, tuple):
            kind, seconds = fault
            if not self.state.archived[SOURCE]:
                self.world.late.append((self.world.now + seconds, orjson.loads(body)["records"]))
            self.world.advance(seconds / 2)
            return self.no_answer("kill" if kind == "kill late" else "cut")
        answer = super().post(body)
        if callable(fault) and orjson.loads(body)["records"]:  # the model takes what comes during a probe for later
            fault()
        return self.no_answer(fault.split()[0]) if fault in ("cut applied", "kill applied") else answer

    def no_answer(self, fault: str) -> Answer:
        if fault == "kill":
            self.process.alive = False
            raise Killed
        return Answer(None, "ReadError: cut", maybe_applied=True)


class Process:
    """A process with the mirror open."""

    def __init__(
        self, world: World, path, *, token: str = CANARY, url: str = URL, mirror_options=None, **options
    ) -> None:
        self.alive = True
        self.clock = WorldClock(world)
        settings = RemoteOptions(
            **{"max_in_flight": 1, "timeout_s": 5.0, "give_up_after_s": 20.0, "batch_rows": 4, **options}
        )
        remote = Remote(url, token, settings, clock=self.clock, sender=WorldSender(world, self))
        remote._pace._chance = lambda: 0.0  # no jitter: what happens is the same every time
        self.mirror = Mirror(f"sqlite:///{path}", remote, token, mirror_options or MirrorOptions(), clock=self.clock)
        ledger = self.mirror._ledger
        self._writing = ledger.writing
        ledger.writing = self.writing
        self.source = Temporis(self.mirror).data_source(SOURCE)

    @contextmanager
    def writing(self, **options):
        """No write of a process that was killed."""
        if not self.alive:
            raise Killed
        with self._writing(**options) as connection:
            yield connection

    def close(self) -> None:
        self.mirror.close()


def long_frame(rows: dict[tuple[str, int], float]):
    return pd.DataFrame(
        {
            "timestamp": [FIRST + number for _, number in rows],
            "name": [name for name, _ in rows],
            "value": list(rows.values()),
        }
    ).astype({"timestamp": "int64", "name": object, "value": "float64"})


def contents(frame) -> dict[tuple[str, int], float]:
    stamps = frame["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[s]").astype("int64")
    return {
        (name, int(stamp) - FIRST): value
        for stamp, name, value in zip(stamps, frame["name"], frame["value"], strict=True)
    }
