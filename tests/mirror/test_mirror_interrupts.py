"""The mirror and interruptions: what its report says, what it holds, and whom it lets wait."""

from __future__ import annotations

import logging
import random
import signal
import time
import traceback

import numpy as np
import pytest

from temporis_dagster import ConfigurationError, connect
from temporis_dagster.data_source.http import delivery
from temporis_dagster.data_source.mirror import upsert
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.source.upserting import Upserting
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.testing import FakeService, sample_frame
from tests.support.delivery_tools import adds_up
from tests.support.mirror_databases import ON_SQLITE
from tests.support.mirror_tools import SOURCE, Process, interruptible, long_frame
from tests.support.store_tools import cut_into_chunks

WINDOW_S = 30.0
RAISE = MirrorOptions(late_write_window_s=WINDOW_S)
QUEUE = MirrorOptions(late_write_window_s=WINDOW_S, on_unavailable="queue")
KEY = ("a", 1)
__all__ = ["interruptible"]


@pytest.fixture
def process(process_with):
    """Makes processes that share a mirror, with these options unless others are given."""
    return lambda options=RAISE, **settings: process_with(options, beside=True, **settings)


def put(one: Process, value: float, key=KEY):
    return one.source.upsert(long_frame({key: value}))


def interrupted(one: Process, rows):
    with pytest.raises(KeyboardInterrupt) as caught:
        one.source.upsert(long_frame(rows))
    assert adds_up(caught.value.report)
    return caught.value.report


# What is under way


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("ending", ["stored", "cut", "cut applied"])
@pytest.mark.parametrize("another_process", [False, True])
def test_what_is_under_way_keeps_its_keys(ending, another_process, world, process):
    """Ctrl-C, a correction at once, a flush, and only then the first request is applied: the correction wins.

    The attempt may last longer than the window for late writes; no key is in two requests.
    """
    a = process(timeout_s=40.0, give_up_after_s=500.0)
    b = process(timeout_s=40.0, give_up_after_s=500.0) if another_process else a
    world.next = [("interrupt", 39.0, ending)]
    assert interrupted(a, {KEY: 1.0}).pending == 1
    put(b, 2.0)
    b.source.flush()
    world.advance(1_000.0)
    assert (world.content(), world.overlaps) == ({KEY: 2.0}, set())
    assert a.source.pending().rows == 0


@pytest.mark.usefixtures("interruptible")
def test_what_an_interrupted_request_came_to_is_not_lost(world, process):
    """Acknowledged after the interruption: the next upsert knows, so nothing is sent twice and no upsert waits."""
    a = process(MirrorOptions(skip_unchanged=True, late_write_window_s=WINDOW_S))
    world.next = [("interrupt", 3.0, "stored")]
    interrupted(a, {KEY: 1.0})
    world.advance(4.0)
    assert put(a, 1.0).unchanged == 1
    assert put(a, 2.0).stored == 1
    assert len(world.state.requests) == 2


@pytest.mark.usefixtures("interruptible")
def test_other_keys_are_let_go(world, process):
    """Of a group of batches, those that are not under way can be sent by any process at once."""
    a = process(QUEUE)
    world.next = ["refused"] * 40
    put(a, 1.0, ("b", 1))
    world.next = [("interrupt", 4.0, "stored")]
    a.mirror.rebuild()
    with pytest.raises(KeyboardInterrupt):
        a.source.flush()
    assert put(process(QUEUE), 3.0, ("c", 1)).stored == 1
    assert a.source.flush().pending == 0
    assert (world.content(), world.overlaps) == ({("b", 1): 1.0, ("c", 1): 3.0}, set())


@pytest.mark.usefixtures("interruptible")
def test_a_queueing_upsert_waits_for_no_interrupted_one(world, process):
    """Its rows stay pending until a later upsert or flush finds the keys free."""
    a = process(QUEUE, timeout_s=100.0)
    world.next = [("interrupt", 90.0, "stored")]
    interrupted(a, {KEY: 1.0})
    before = world.now
    assert put(a, 2.0).pending == 1
    assert world.now == before
    a.source.flush()
    assert world.content() == {KEY: 2.0}


@pytest.mark.usefixtures("interruptible")
def test_a_wait_is_said_in_the_log(world, process, caplog):
    """An upsert that waits for an interrupted one says so, and so does a flush that waits for the window."""
    a = process(timeout_s=100.0, give_up_after_s=500.0)
    world.next = [("interrupt", 90.0, "cut")]
    interrupted(a, {KEY: 1.0})
    with caplog.at_level(logging.WARNING):
        put(a, 2.0)
        assert "The upsert into store_metrics waits for keys that another request is carrying" in caplog.text
        a.source.flush()
    assert "The flush of store_metrics waits for 1 row that" in caplog.text
    assert sum(" waits for " in record.message for record in caplog.records) < 12


# What is not under way


@pytest.mark.parametrize("where", ["before the commit", "after the commit", "while it was told"])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_interrupted_around_a_commit(where, chunk, world, process, monkeypatch):
    """The report says of each row whether it is in the mirror, or that it is unknown; no lease is left behind."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 2)
    rows = {("a", number): float(number) for number in range(6)}
    a, commits = process(QUEUE), []
    usual = a.mirror._file.commit

    def commit(connection, then) -> None:
        commits.append(1)
        if len(commits) == chunk + 1 and where == "before the commit":
            raise KeyboardInterrupt
        usual(connection, then if len(commits) != chunk + 1 or where == "while it was told" else lambda: None)
        if len(commits) == chunk + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(a.mirror._file, "commit", commit)
    report = interrupted(a, rows)
    monkeypatch.undo()
    there = len(a.source.read())
    assert report.pending <= there <= report.pending + report.unknown
    assert (report.unsent, report.stored) == (6 - report.pending - report.unknown, 0)
    before = world.now
    assert put(process(), 9.0).stored == 1
    assert process().source.flush(wait=False).pending == 0
    assert world.now == before, "a lease was left behind"
    assert world.content().items() >= {KEY: 9.0}.items()


@ON_SQLITE
def test_a_signal_that_is_heard_after_the_commit(world, process, monkeypatch):
    """Python hears of a signal that comes during the commit once it returned: the rows are pending, not unknown."""
    a = process(QUEUE)
    usual = sqlite_file._patiently

    def patiently(attempt, timeout_s=None):
        done = usual(attempt, timeout_s)
        if (
            timeout_s is None
            and done is not None
            and "COMMIT" in str(getattr(attempt, "__code__", "") and attempt.__code__.co_consts)
        ):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(sqlite_file, "_patiently", patiently)
    report = interrupted(a, {KEY: 1.0})
    monkeypatch.undo()
    assert (report.pending, report.unknown) == (1, 0)
    before = world.now
    assert put(process(), 2.0).stored == 1
    assert world.now == before


def test_a_progress_that_raises_leaves_no_lease(world, process):
    """What the caller's own function raises goes through; the rest is pending and free for any process."""
    a = process(batch_rows=1)
    calls = []

    def progress(settled: int) -> None:
        calls.append(settled)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        a.source.upsert(long_frame({("a", number): 1.0 for number in range(5)}), progress=progress)
    assert (adds_up(caught.value.report), 0 not in calls, len(calls)) == (True, True, 1)
    before = world.now
    assert a.source.upsert(long_frame({("a", number): 2.0 for number in range(5)})).stored == 5
    assert world.now == before


def test_a_progress_of_a_flush_that_raises_leaves_no_lease(world, process):
    """The same for a flush."""
    a = process(QUEUE)
    world.next = ["refused"] * 40
    a.source.upsert(long_frame({("a", number): 1.0 for number in range(9)}))
    world.next = []

    def progress(_settled: int) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        a.source.flush(progress=progress)
    before = world.now
    assert a.source.flush().pending == 0
    assert (world.now, len(world.content())) == (before, 9)


def test_a_client_that_cannot_be_made_is_found_out_before_anything_is_written(mirror_db, monkeypatch):
    """A proxy of the environment that cannot be used: no row is in the mirror, and there is no mirror."""
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://127.0.0.1:1")
    options = {"mirror": mirror_db.url, "on_unavailable": "queue", "give_up_after_s": 0.1}
    with connect("https://temporis.invalid", "ts_x", **options) as temporis, pytest.raises(ConfigurationError):
        temporis.data_source(SOURCE).upsert(sample_frame())
    assert mirror_db.is_empty()


# Overwritten, rejected, discarded, sent by others


def test_the_loser_of_three_is_superseded(world, process):
    """A is in flight, B waits for its keys, C overwrites B: B's rows are superseded, and nothing is pending."""
    a, b, c = process(), process(), process(QUEUE)
    told = []

    def others() -> None:
        def overwrite(_seconds: float) -> None:
            put(c, 3.0)
            b.clock.sleep = c.clock.sleep

        b.clock.sleep = overwrite
        told.append(put(b, 2.0))

    world.next = [others]
    assert put(a, 1.0).stored == 1
    (report,) = told
    assert (report.superseded, report.pending, adds_up(report)) == (1, 0, True)
    (row,) = report.superseded_rows.itertuples()
    assert (row.value, "a later upsert" in row.reason) == (2.0, True)
    c.source.flush()
    assert (world.content(), c.source.pending().rows) == ({KEY: 3.0}, 0)


@pytest.mark.parametrize(
    ("fate", "outcome"),
    [("deliver", "stored"), ("write the same", "stored"), ("reject", "rejected"), ("discard", "unknown")],
)
def test_what_others_did_with_waiting_rows_is_reported(fate, outcome, world, process):
    """While an upsert waits for its keys, another process deals with its rows: the report says how."""
    a, b, c = process(), process(), process(QUEUE)
    told, value = [], 2.0 if fate != "reject" else -666.0

    def others() -> None:
        sleep = b.clock.sleep

        def meanwhile(_seconds: float) -> None:
            b.clock.sleep = sleep
            world.advance(1_000.0)  # a's lease is over
            if fate == "discard":
                c.source.discard_pending()
            elif fate == "write the same":
                put(c, value)
            else:
                c.source.flush(wait=False)

        b.clock.sleep = meanwhile
        try:
            told.append(put(b, value))
        except Exception as error:  # noqa: BLE001
            told.append(error.report)

    world.next = [others]
    put(a, 1.0)
    (report,) = told
    assert adds_up(report)
    assert (getattr(report, outcome), report.pending) == (1, 0)


def test_a_lost_lease_is_no_success(world, process):
    """on_unavailable="raise": rows whose lease was lost are delivered all the same, or the upsert raises."""
    a, b = process(give_up_after_s=50.0), process(QUEUE)

    def meanwhile() -> None:
        world.advance(1_000.0)
        world.next = ["refused"] * 40
        put(b, 5.0, ("b", 9))
        world.next = []

    world.next = ["busy", meanwhile]
    report = put(a, 1.0)
    assert (report.stored, report.pending) == (1, 0)
    assert world.content()[KEY] == 1.0


# Against reality


class Interrupted(BaseException):
    """What the timer raises."""


@pytest.fixture
def alarm():
    """Make a function that has something raised in this thread, once, after a number of seconds."""

    def ring(_number, _frame) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, ring)
    logging.disable(logging.CRITICAL)  # an exception out of a signal handler can leave the lock of a log handler locked
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    logging.disable(logging.NOTSET)


def report_of(source, tally, alarm, seconds: float):
    """The report of an upsert that is interrupted after this time, or returns before; None where it had not begun."""
    try:
        try:
            alarm(seconds)
            return source._upserting._deliver(tally)
        finally:
            alarm(0)
    except Interrupted as interruption:
        # Python also hears a signal when it enters a function, on the line of its ``def``: nothing has begun then.
        entry = Upserting._deliver.__code__.co_firstlineno
        places = [(frame.name, frame.lineno) for frame in traceback.extract_tb(interruption.__traceback__)]
        has_begun = any(name == "_deliver" and line != entry for name, line in places)
        assert hasattr(interruption, "report") or not has_begun, places  # noqa: PT017  # it need not come
        return getattr(interruption, "report", None)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised where Python swallows it
@pytest.mark.parametrize(
    ("kind", "mirror_db"),
    [("mirror", "sqlite"), ("mirror", "postgresql"), ("store", "sqlite"), ("direct", "sqlite")],
    indirect=["mirror_db"],
)
def test_interrupts_at_random_moments_against_reality(kind, mirror_db, soak, alarm, monkeypatch):
    """After each interrupt the report is compared with what there is: nothing unsent is there, nothing kept is not."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 60)
    cut_into_chunks(60, monkeypatch)
    monkeypatch.setattr(delivery, "INTERRUPT_GRACE_S", 0.02)
    tries = 1_500 if soak else 60
    chance, interrupted, longest = random.Random(1), 0, 0.03
    with FakeService(["metrics"]) as service:
        url, token, options = service.url, service.token, {"batch_rows": 50, "max_in_flight": 2}
        if kind == "mirror":
            options |= {"mirror": mirror_db.url}
        elif kind == "store":
            url, token, options = mirror_db.url, None, {"create_missing": True}
        with connect(url, token, **options) as temporis:
            source = temporis.data_source("metrics")
            source.upsert(frame_of(-1))
            for number in range(tries):
                tally = Tally("metrics", observe(frame_of(number), ObservationOptions(), data_source="metrics"))
                began = time.monotonic()
                report = report_of(source, tally, alarm, chance.uniform(0, longest))
                if report is None:
                    continue
                assert adds_up(report)
                interrupted += report.stored < 200
                longest = max(0.8 * longest + 0.2 * 1.3 * (time.monotonic() - began), 0.004)
                check_against_reality(kind, source, service, number, report)
    assert interrupted > tries / 10


def frame_of(number: int):
    return sample_frame(hours=100).assign(orders=float(number + 1), revenue=float(number + 1))


def check_against_reality(kind, source, service, number, report) -> None:
    value = float(number + 1)
    kept = () if kind == "direct" else source.read().value.to_numpy()
    in_service = sum(one == value for one in list(service.content.values()))
    if kind == "direct":
        assert report.stored <= in_service <= report.stored + report.unknown
        return
    there = int(np.count_nonzero(np.asarray(kept) == value))
    surely, perhaps = report.stored + report.pending, report.unknown
    assert surely <= there <= surely + perhaps
    if kind == "mirror":
        assert report.stored <= in_service
