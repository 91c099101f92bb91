"""The mirror on PostgreSQL, cut, terminated, interrupted or overtaken at every message between it and the server.

A proxy acts before the server gets a message, or after the server has acted and before the client hears of it. Each
case is an upsert in two chunks that overwrites a part of what is pending, has a row that the service refuses, and a
pending correction of another upsert beside it. Then the report must be true, no lease may be left behind, and a flush
must bring every last value to the service.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

import pytest

from temporis_dagster import RejectedObservationsError, TemporisError
from temporis_dagster.data_source.mirror import relay, upsert
from temporis_dagster.data_source.mirror.upsert import Upsert
from temporis_dagster.data_source.options import MirrorOptions
from tests.support.delivery_tools import adds_up
from tests.support.mirror_databases import PostgresMirror
from tests.support.mirror_tools import BAD, Process, World, contents, long_frame
from tests.support.postgres_proxy import Message, Proxy

pytestmark = pytest.mark.no_cover

WINDOW_S = 30.0
QUEUE = MirrorOptions(on_unavailable="queue", late_write_window_s=WINDOW_S)
DELTAS = MirrorOptions(skip_unchanged=True, on_unavailable="queue", late_write_window_s=WINDOW_S)

Rows = dict[tuple[str, int], float]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Chunks of three rows; and where a server stays away, nobody waits for it."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 3)
    monkeypatch.setattr(relay, "LET_GO_S", 0.01)


@pytest.fixture
def mirror_db(postgres_mirror):
    """The mirrors of these tests are in PostgreSQL."""
    postgres_mirror.remake()
    return postgres_mirror


@pytest.fixture
def proxy(mirror_db):
    with Proxy(mirror_db.url) as proxy:
        yield proxy


class Case(NamedTuple):
    """What became of one upsert.

    Attributes:
        report: Its report.
        error: The error that it raised, if it did.
        rows: What it was to write.
        requests: How many requests the service got from it.
    """

    report: object
    error: BaseException | None
    rows: Rows
    requests: int


class Cases:
    """One upsert after the other, each of keys of its own."""

    def __init__(self, world: World, database: PostgresMirror, proxy: Proxy, **options: object) -> None:
        self.world, self.database, self.proxy = world, database, proxy
        self.mine = Process(world, proxy.url(), mirror_options=DELTAS, batch_rows=6, **options)
        self.other = Process(world, database.url, mirror_options=QUEUE)
        self.number, self.model = 0, dict[tuple[str, int], float]()
        self.settle(self.run(lambda: None))  # the mirror is made, and both are connected

    def run(self, prepare: Callable[[], object]) -> Case:
        """Upsert after ``prepare`` has told the proxy what to do."""
        keys = [(name, 10 * self.number + place) for place in range(3) for name in "ab"]
        self.number += 1
        before = dict.fromkeys(keys[:4], 1.0)
        self.world.next = ["refused"] * 40
        self.other.source.upsert(long_frame(before))
        self.world.next = []
        self.model |= before
        rows = {keys[0]: 1.0} | dict.fromkeys(keys[2:5], 2.0) | {keys[5]: BAD}
        sent, error = len(self.world.state.requests), None
        prepare()
        try:
            report = self.mine.source.upsert(long_frame(rows))
        except (TemporisError, KeyboardInterrupt) as raised:
            report, error = raised.report, raised
        self.cuts = self.proxy.cuts
        self.seen = list(self.proxy.seen)
        self.proxy.pass_all()
        assert adds_up(report)
        return Case(report, error, rows, len(self.world.state.requests) - sent)

    def settle(self, case: Case) -> None:
        """Compare the report with what is in the mirror, and flush: the service must have the last value of each key.

        What is reported as unknown may be in the mirror, with the chunk that it belongs to, or not.
        """
        source, report = self.other.source, case.report
        kept = contents(source.read()) | contents(source.rejected_rows())
        there = {key: value for key, value in case.rows.items() if kept.get(key) == value}
        known = report.stored + report.pending + report.rejected + report.unchanged + report.superseded
        same_before = sum(self.model.get(key) == value for key, value in case.rows.items())
        assert known <= len(there) <= known + report.unknown + same_before
        self.model |= there
        assert source.flush().pending == 0
        self.world.advance(10 * WINDOW_S)
        rejected = contents(source.rejected_rows())
        assert set(rejected.values()) <= {BAD}
        assert contents(source.read()) == self.world.content()
        assert self.world.content() | rejected == self.model
        assert self.world.overlaps == self.world.state.overlapping_keys == set()
        assert self.left() == [(0, 0, 0)], "something was left behind"

    def left(self) -> list[tuple]:
        """What is pending, live, or leased."""
        return self.database.rows(
            "SELECT (SELECT sum(pending) FROM temporis_mirror_source)::int, count(*) FILTER (WHERE live > 0)::int,"
            " count(*) FILTER (WHERE sender IS NOT NULL)::int FROM temporis_mirror_batch"
        )

    def leased(self) -> int:
        return self.left()[0][2]

    def length(self, *, to_server: bool) -> int:
        """How many messages an undisturbed upsert takes in this direction."""
        self.settle(self.run(self.proxy.watch))
        return sum(one.startswith(">" if to_server else "<") for one in self.seen)

    def close(self) -> None:
        self.mine.close()
        self.other.close()


@pytest.fixture
def cases(world, mirror_db, proxy):
    made = []

    def make(**options: object) -> Cases:
        made.append(Cases(world, mirror_db, proxy, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def places(length: int, *, soak: bool, few: int = 8) -> Iterator[int]:
    """The numbers of the messages: all of them, or some, always with the first and the last."""
    step = max(1, length // few)
    yield from range(1, length + 1) if soak else sorted({*range(1, length + 1, step), length - 1, length})


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_an_upsert_goes_on_after_the_connection_was_cut(to_server, cases, proxy, soak):
    """Wherever it was cut, in a COMMIT, too: everything is stored, with one request, and no lease is left behind."""
    one = cases()
    for place in places(one.length(to_server=to_server), soak=soak):
        case = one.run(lambda place=place: proxy.cut_at(place, to_server=to_server))
        assert one.cuts <= 1
        assert isinstance(case.error, RejectedObservationsError), (place, case.error)
        assert (case.report.stored + case.report.unchanged, case.report.rejected) == (4, 1), (place, case.report)
        assert one.leased() == 0, place
        one.settle(case)


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_an_upsert_goes_on_after_the_connection_was_cut_twice(to_server, cases, proxy, soak):
    """The next attempt is cut as well, while it asks what became of the first: the rows are written once."""
    one = cases()
    length = one.length(to_server=to_server)
    for place in places(length, soak=soak, few=6):
        for later in (1, 2, 3, 4, 6) if soak else (3, 4):
            cut_next = [place, place + later]

            def twice(message: Message, cut_next=cut_next) -> bool:
                if message.to_server is to_server and cut_next and message.number == cut_next[0]:
                    cut_next.pop(0)
                    return True
                return False

            case = one.run(lambda twice=twice: proxy.cut_when(twice))
            assert (case.report.stored + case.report.unchanged, case.report.rejected) == (4, 1), (place, later)
            assert one.leased() == 0, (place, later)
            one.settle(case)


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_the_report_is_true_when_the_server_stays_away(to_server, cases, proxy, world, soak):
    """What is reported as pending or stored is in the mirror, what is unsent is not, and a flush brings the rest."""
    one = cases(give_up_after_s=0.01)
    for place in places(one.length(to_server=to_server), soak=soak):
        case = one.run(lambda place=place: proxy.cut_at(place, to_server=to_server, then_refuse=True))
        assert one.cuts <= 1
        one.mine.close()
        world.advance(100.0)  # the lease of what could not be settled is over
        one.settle(case)


def test_an_upsert_goes_on_after_its_session_was_terminated(cases, proxy, mirror_db, soak):
    """An administrator terminates the session before the server gets a message: any message."""
    one = cases()
    for place in places(one.length(to_server=True), soak=soak):

        def terminate(message: Message, place=place) -> bool:
            if (message.to_server, message.number) == (True, place):
                mirror_db.terminate()
            return False

        case = one.run(lambda terminate=terminate: proxy.cut_when(terminate))
        assert (case.report.stored + case.report.unchanged, case.report.rejected) == (4, 1), (place, case.report)
        assert one.leased() == 0, place
        one.settle(case)


@pytest.fixture
def interrupts():
    """Ctrl-C only counts while an upsert runs: one that comes too late would interrupt the test itself."""
    raised: list[str] = []

    def interrupt(_number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is Upsert.run.__code__:
                raised.append(frame.f_code.co_name)
                raise KeyboardInterrupt
            frame = frame.f_back

    before = signal.signal(signal.SIGINT, interrupt)
    yield raised
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_the_report_of_an_interrupt_is_true(to_server, cases, proxy, world, interrupts, soak):
    """Ctrl-C while any message is under way: the report is true, and what is pending can be sent."""
    one = cases()
    for place in places(one.length(to_server=to_server), soak=soak):

        def interrupt(message: Message, place=place) -> bool:
            if (message.to_server, message.number) == (to_server, place):
                os.kill(os.getpid(), signal.SIGINT)
            return False

        case = one.run(lambda interrupt=interrupt: proxy.cut_when(interrupt))
        assert isinstance(case.error, KeyboardInterrupt | RejectedObservationsError), (place, case.error)
        world.advance(100.0)
        one.settle(case)
    assert len(interrupts) > 5


# Two transactions at once

MEANWHILE: dict[str, Callable[[Process, list], object]] = {
    "an upsert of the same keys": lambda other, keys: other.source.upsert(long_frame(dict.fromkeys(keys, 3.0))),
    "a flush": lambda other, _: other.source.flush(wait=False),
    "a discard": lambda other, _: other.source.discard_pending(),
    "a rebuild": lambda other, _: other.mirror.rebuild(),
    "a rebind": lambda other, _: other.mirror.rebind(),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_what_another_process_does_at_any_moment(meanwhile, cases, proxy, mirror_db, soak):
    """Before any message, another process begins, and ends or waits for the lock: both end, and nothing is lost.

    Of two upserts of the same keys the same one wins everywhere. No key is in two requests.
    """
    one, waits = cases(), 0
    for place in places(one.length(to_server=True), soak=soak, few=6):
        keys = [(name, 10 * one.number + number) for number in range(3) for name in "ab"]
        beside = threading.Thread(target=attempted, args=(MEANWHILE[meanwhile], one.other, keys))

        def begin(message: Message, place=place, beside=beside) -> bool:
            nonlocal waits
            if (message.to_server, message.number) == (True, place):
                beside.start()
                while beside.is_alive() and not mirror_db.waiting():
                    beside.join(0.005)
                waits += beside.is_alive()
            return False

        case = one.run(lambda begin=begin: proxy.cut_when(begin))
        if beside.ident is not None:
            beside.join()
        report = case.report
        assert report.unsent == 0, (place, case.error, report)
        assert report.unknown == 0 or meanwhile == "a discard", (place, report)
        source = one.other.source
        one.world.next = []
        assert source.flush().pending == 0
        one.world.advance(10 * WINDOW_S)
        # A row that was refused is not read, nor is the value that the service has from before.
        refused = contents(source.rejected_rows()).keys()
        there = {key: value for key, value in one.world.content().items() if key not in refused}
        assert contents(source.read()) == there, place
        assert one.left() == [(0, 0, 0)], place
        assert one.world.overlaps == one.world.state.overlapping_keys == set()
        kept = contents(source.read()) | contents(source.rejected_rows())
        if meanwhile == "an upsert of the same keys":
            assert {kept[key] for key in keys[2:5]} in ({2.0}, {3.0}), (place, kept)
        elif meanwhile != "a discard":
            assert kept.items() >= case.rows.items(), (place, kept)
        one.model = kept
    assert waits > 0, "the other one never had to wait: this tests nothing"


def attempted(call: Callable[[Process, list], object], other: Process, keys: list) -> None:
    try:
        call(other, keys)
    except TemporisError:
        return  # a rebuild while a request is under way is refused
