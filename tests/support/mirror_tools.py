"""Shared by the tests of the mirror: a world in which time passes only while a caller waits, and late writes land."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import orjson
import pandas as pd
import pytest

from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.http import delivery
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.http.window import Window
from temporis_dagster.data_source.mirror import Mirror
from temporis_dagster.data_source.options import HttpOptions, MirrorOptions
from temporis_dagster.testing.fake_state import FakeState, Rules
from tests.support.delivery_tools import CANARY, FIRST, DirectTransport

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
            ``kill``, ``kill applied``; or ``("late", seconds)``, ``("kill late", seconds)``; or ``("interrupt",
            seconds, ending)``: the caller is interrupted, and the request goes on for that long and ends ``stored``,
            ``cut`` or ``cut applied``; or a function that runs while the request is on its way, after it was applied.
        under_way: The requests that go on after an interruption.
        overlaps: Keys that were in a request while such a one carried them, too.
    """

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.late: list[tuple[float, list[dict]]] = []
        self.next: list = []
        self.overwritten = 0
        self.under_way: list[UnderWay] = []
        self.overlaps: set[tuple[str, int]] = set()
        rules = Rules(CANARY, fault_of=lambda record: "bad value" if record["value"] == BAD else None)
        self.state = FakeState({SOURCE: False}, rules, lambda _request: None, lambda: self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass; late writes land when they are due, one by one."""
        until = self.now + seconds
        while due := [moment for moment in self.moments() if moment <= until]:
            self.now = max(self.now, min(due))
            self.late, landing = self.split(self.late, lambda one: one[0])
            for _, records in landing:
                self.land(records)
            self.under_way, over = self.split(self.under_way, lambda one: one.ends_at)
            for one in over:
                one.over.set()
                one.thread.join()
        self.now = until

    def moments(self) -> list[float]:
        return [due for due, _ in self.late] + [one.ends_at for one in self.under_way]

    def split(self, events: list, moment) -> tuple[list, list]:
        """Those that are yet to come, and those that are due."""
        ordered = sorted(events, key=moment)
        return [one for one in ordered if moment(one) > self.now], [one for one in ordered if moment(one) <= self.now]

    def land(self, records: list[dict]) -> None:
        for record in records:
            key = SOURCE, record["timestamp"], record["name"]
            self.overwritten += self.state.content.get(key, record["value"]) != record["value"]
            self.state.content[key] = float(record["value"])

    def content(self) -> dict[tuple[str, int], float]:
        """What the service has, by (series, number)."""
        return {(name, stamp - FIRST): value for (_, stamp, name), value in self.state.content.items()}


class UnderWay:
    """A request that goes on although its caller was interrupted."""

    def __init__(self, ends_at: float, keys: set[tuple[str, int]]) -> None:
        self.ends_at, self.keys = ends_at, keys
        self.over, self.thread = threading.Event(), threading.current_thread()


INTERRUPT = threading.Event()
"""Set by a request: the caller that waits for it is interrupted."""


@pytest.fixture
def interruptible(monkeypatch):
    """Waiting for requests is interrupted when one of them says so, at once, and does not linger."""
    INTERRUPT.clear()

    def wait(self, at_most_s: float | None = None) -> bool:
        while not self.are_done() and at_most_s is None:
            if INTERRUPT.is_set():
                INTERRUPT.clear()
                raise KeyboardInterrupt
            time.sleep(0.001)
        return self.are_done()

    monkeypatch.setattr(delivery.Workers, "wait", wait)


class WorldClock:
    """Every clock there is: that of the throttle, that of the mirror and that of the database."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self, _connection: object = None) -> float:
        return self.world.now

    monotonic = now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        condition.release()  # as a real wait does: requests that end meanwhile need it
        try:
            self.world.advance(seconds)
        finally:
            condition.acquire()

    def sleep(self, seconds: float) -> None:
        self.world.advance(seconds)


class WorldTransport(DirectTransport):
    """One process's way to the service."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world.state)
        self.world, self.process = world, process

    def post(self, body: bytes) -> Answer:
        fault = self.world.next.pop(0) if self.world.next else None
        keys = {(record["name"], record["timestamp"] - FIRST) for record in orjson.loads(body)["records"]}
        for one in self.world.under_way:
            self.world.overlaps |= one.keys & keys
        if isinstance(fault, tuple) and fault[0] == "interrupt":
            return self.go_on(body, keys, *fault[1:])
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

    def go_on(self, body: bytes, keys: set[tuple[str, int]], seconds: float, ending: str) -> Answer:
        one = UnderWay(self.world.now + seconds, keys)
        self.world.under_way.append(one)
        INTERRUPT.set()
        assert one.over.wait(60.0)
        answer = self.no_answer("cut") if ending == "cut" else super().post(body)
        return answer if ending == "stored" else self.no_answer("cut")

    def no_answer(self, fault: str) -> Answer:
        if fault == "kill":
            self.process.alive = False
            raise Killed
        return Answer(None, "ReadError: cut", maybe_applied=True)


class Process:
    """A process with a mirror open, whose URL is given."""

    def __init__(
        self,
        world: World,
        mirror: str,
        *,
        token: str = CANARY,
        url: str = URL,
        mirror_options=None,
        beside=False,
        **options,
    ) -> None:
        self.alive = True
        self.clock = WorldClock(world)
        settings = HttpOptions(
            **{"max_in_flight": 1, "timeout_s": 5.0, "give_up_after_s": 20.0, "batch_rows": 4, **options}
        )
        target = HttpTarget(url, token, settings, clock=self.clock, transport=WorldTransport(world, self))
        target._throttle._chance = lambda: 0.0  # no jitter: what happens is the same every time
        # A delivery has one thread; but the request of one that was interrupted must not hold up the next.
        target._throttle._window = Window(settings.max_in_flight + 100 * beside)
        self.mirror = Mirror(mirror, target, token, mirror_options or MirrorOptions(), clock=self.clock)
        file = self.mirror._file
        self._writing = file.writing
        file.writing = self.writing
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
