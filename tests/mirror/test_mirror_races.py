"""The mirror and races: workers that upsert the same keys at the same moment, on real clocks and real connections."""

from __future__ import annotations

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import Mirror
from temporis_dagster.data_source.options import HttpOptions, MirrorOptions
from temporis_dagster.testing import Request
from temporis_dagster.testing.fake_state import FakeState, Rules
from temporis_dagster.testing.faults import Fault
from tests.support.delivery_tools import CANARY, DirectTransport, adds_up
from tests.support.mirror_tools import SOURCE, URL, contents, long_frame

KEYS = [("a", 1), ("a", 2), ("b", 1)]
WINDOW_S = 0.05


class Moment(threading.Event):
    """Never comes: whoever waits for it waits for a moment, in which others run."""

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep(0.001)
        return False


class Unreliable:
    """The script of the service: every request takes a moment, and 0.5 % are cut after they were applied."""

    def __init__(self) -> None:
        self.chance = random.Random(5)  # a repeatable test, as far as threads are

    def __call__(self, _request: Request) -> Fault:
        if self.chance.random() < 0.005:
            return Fault(applies="all", ends="cut", until=Moment())
        return Fault(applies="all", until=Moment())


def racer(state: FakeState, url: str, options: MirrorOptions) -> Temporis:
    """A connection of its own to the service and to the mirror."""
    settings = HttpOptions(batch_rows=2, max_in_flight=2, timeout_s=1.0, give_up_after_s=60.0)
    target = HttpTarget(URL, CANARY, settings, transport=DirectTransport(state))
    return Temporis(Mirror(url, target, CANARY, options))


@pytest.mark.parametrize("workers", [2, 8])
def test_of_upserts_at_the_same_moment_one_wins(workers, mirror_db, soak, capsys):
    """The rows of one upsert win, all of them, in the mirror and in the service; no key is in two requests.

    Each report adds up: what the others wrote was stored before, or is superseded. Nothing is left behind.
    """
    rounds = {2: 20_000, 8: 5_000}[workers] if soak else {2: 60, 8: 12}[workers]
    state = FakeState({SOURCE: False}, Rules(CANARY), Unreliable(), time.time)
    given = [
        MirrorOptions(number % 2 == 1, "queue" if number % 4 > 1 else "raise", WINDOW_S) for number in range(workers)
    ]
    racers = [racer(state, mirror_db.url, options) for options in given]
    start, began, superseded = threading.Barrier(workers), time.monotonic(), 0

    def race(number: int, round_: int):
        start.wait()
        return racers[number].data_source(SOURCE).upsert(long_frame(dict.fromkeys(KEYS, float(round_ * 10 + number))))

    with ThreadPoolExecutor(workers) as pool:
        for round_ in range(rounds):
            reports = list(pool.map(race, range(workers), [round_] * workers))
            assert all(
                adds_up(report) and not (report.unsent or report.unknown or report.rejected) for report in reports
            )
            superseded += sum(report.superseded for report in reports)
            source = racers[round_ % workers].data_source(SOURCE)
            kept = contents(source.read())
            (winner,) = set(kept.values())
            assert winner // 10 == round_
            assert reports[int(winner % 10)].superseded == 0
            assert source.flush().pending == source.pending().rows == 0
            assert {(name, stamp): value for (_, stamp, name), value in state.content.items()} == {
                (name, stamp + 1_700_000_000): value for (name, stamp), value in kept.items()
            }
    assert state.overlapping_keys == set()
    assert mirror_db.rows("SELECT count(*) FROM temporis_mirror_batch WHERE live > 0") == [(0,)]
    for one in racers:
        one.close()
    with capsys.disabled():
        lasted_s = time.monotonic() - began
        sys.stdout.write(f"\n{rounds} races of {workers} in {lasted_s:.0f} s, {superseded} rows superseded\n")
