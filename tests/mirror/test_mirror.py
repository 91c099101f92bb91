"""The mirror: nothing lost, readable, only what changed, no late write wins, on a clock that is handed in."""

from __future__ import annotations

import random
import sqlite3
import sys
import threading

import numpy as np
import pytest

from temporis_dagster import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    MirrorError,
    NotSupportedError,
    RejectedObservationsError,
    StoreError,
    UnavailableError,
    connect,
)
from temporis_dagster.data_source.mirror import batches, relay, upsert
from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.rows import Risk, Rows, packed, unpacked
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite import write
from temporis_dagster.testing import FakeService, answer, html_page, in_sequence, sample_frame
from tests.support.delivery_tools import CANARY, adds_up
from tests.support.mirror_databases import ON_SQLITE
from tests.support.mirror_tools import BAD, SOURCE, Killed, Process, World, contents, long_frame

WINDOW_S = 30.0
QUEUE = MirrorOptions(on_unavailable="queue", late_write_window_s=WINDOW_S)
DELTAS = MirrorOptions(skip_unchanged=True, late_write_window_s=WINDOW_S)
KEY = ("a", 1)


@pytest.fixture
def process(process_with):
    """Makes processes that share a mirror, with these options unless others are given."""
    return lambda options=QUEUE, **settings: process_with(options, **settings)


def put(one: Process, value: float, key=KEY):
    return one.source.upsert(long_frame({key: value}))


def sent(world: World, value: float) -> int:
    """How many requests carried this value."""
    return sum(record["value"] == value for request in world.state.requests for record in request.records)


# Which value wins


def test_an_acknowledgement_covers_only_what_was_sent(world, process):
    """A sends v1, B writes v2, A's acknowledgement arrives: v2 is still pending, and is delivered after it."""
    a, b = process(), process()
    told = []
    world.next = [lambda: told.append((put(b, 2.0), world.content())), lambda: told.append(world.content())]
    report = put(a, 1.0)
    assert (report.stored, told[0][0].pending, told[0][1]) == (1, 1, {KEY: 1.0})
    assert (world.content(), sent(world, 2.0), b.source.pending().rows) == ({KEY: 2.0}, 1, 0)


def test_a_late_older_value_is_overwritten_after_the_window(world, process):
    """v1 times out, its retry is acknowledged, v2 is sent, the late v1 lands: v2 goes out once more and wins."""
    a = process()
    world.next = [("late", 20.0)]
    assert put(a, 1.0).stored == 1
    report = put(a, 2.0)
    assert (report.stored, report.pending) == (0, 1)
    assert world.content() == {KEY: 2.0}
    world.advance(10.0)
    assert world.content() == {KEY: 1.0}, "the late value has landed"
    assert a.source.flush().stored == 1
    assert (world.content(), sent(world, 2.0)) == ({KEY: 2.0}, 2)


def test_a_doubt_that_ends_while_the_newer_value_is_under_way(world, process):
    """v1 doubtful, v2 applied, the late v1 lands, the window ends, v2's acknowledgement arrives: v2 is sent again."""
    a = process(timeout_s=60.0)
    world.next = [("late", 20.0)]
    put(a, 1.0)
    world.next = [lambda: world.advance(WINDOW_S + 5.0)]
    assert put(a, 2.0).pending == 1
    a.source.flush()
    assert (world.overwritten, world.content(), sent(world, 2.0)) == (1, {KEY: 2.0}, 2)


def test_a_value_is_not_unchanged_while_another_may_still_arrive(world, process):
    """v1 acknowledged, v2 doubtful, v1 again with skip_unchanged: v1 is sent, twice, and wins."""
    a = process(DELTAS)
    put(a, 1.0)
    world.next = [("late", 20.0), *["refused"] * 40]
    with pytest.raises(UnavailableError):
        put(a, 2.0)
    world.next = []
    report = put(a, 1.0)
    assert (report.unchanged, report.pending) == (0, 1)
    a.source.flush()
    world.advance(100.0)
    assert (world.content(), put(a, 1.0).unchanged) == ({KEY: 1.0}, 1)


def test_a_retried_value_counts_as_stored(world, process):
    """If the same value is applied once more, that does no harm."""
    a = process()
    world.next = ["cut applied"]
    report = put(a, 1.0)
    assert (report.stored, report.pending, report.retries) == (1, 0, 1)


def test_an_answer_after_the_lease_is_not_believed(world, process):
    """A process pauses for longer than its lease, another corrects the value: the late answer settles nothing."""
    a, b = process(), process()

    def meanwhile() -> None:
        world.advance(1_000.0)
        put(b, 2.0)

    world.next = [meanwhile]
    report = put(a, 1.0)
    assert (report.stored, report.superseded) == (0, 1)
    assert (world.content(), a.source.read().value.tolist()) == ({KEY: 2.0}, [2.0])


def test_an_answer_after_the_lease_does_not_hide_who_took_over(world, process):
    """A pauses, B takes the batch over and dies sending it, A's answer arrives: what B sent stays doubtful."""
    a, b, c = process(), process(), process()

    def meanwhile() -> None:
        world.advance(1_000.0)
        world.next = [("kill late", 8.0)]
        with pytest.raises(Killed):
            b.source.flush()

    world.next = [meanwhile]
    assert put(a, 1.0).pending == 1
    put(c, 2.0)
    c.source.flush()
    world.advance(100.0)
    assert world.content() == {KEY: 2.0}


def test_an_overwritten_value_is_never_sent(world, process):
    """Of a batch that waited, only what is still the present value goes out."""
    a = process(batch_rows=1)
    world.next = ["refused"] * 40
    a.source.upsert(long_frame({KEY: 1.0, ("a", 2): 1.5, ("a", 3): 1.5}))
    world.next = []
    report = put(a, 2.0)
    assert (report.stored, report.pending, a.source.pending().rows) == (1, 0, 2)
    a.source.flush()
    assert (world.content(), sent(world, 1.0)) == ({KEY: 2.0, ("a", 2): 1.5, ("a", 3): 1.5}, 0)


def test_no_attempt_starts_after_the_lease(world, process):
    """A retry that had to wait for longer than the lease asks again first, and finds the value overwritten."""
    a, b = process(give_up_after_s=500.0), process()
    world.state.script = in_sequence(answer(503, "busy", retry_after=200))
    world.next = [lambda: (world.advance(100.0), put(b, 2.0))]
    put(a, 1.0)
    b.source.flush()
    assert (world.content(), sent(world, 1.0)) == ({KEY: 2.0}, 1)


def test_what_another_process_sends_is_not_sent_at_the_same_time(world, process):
    """A key of a request under way waits; other keys do not."""
    a, b = process(), process()
    told = []
    world.next = [lambda: told.append((put(b, 2.0), put(b, 5.0, ("b", 7))))]
    put(a, 1.0)
    ((blocked, free),) = told
    assert (blocked.pending, blocked.requests, free.stored) == (1, 0, 1)
    assert world.state.overlapping_keys == set()


def test_an_upsert_waits_for_its_own_keys(world, process):
    """With on_unavailable="raise" an upsert outlasts another holder of its keys, here one that died."""
    a, b = process(), process(MirrorOptions(late_write_window_s=WINDOW_S))
    world.next = ["kill applied"]
    with pytest.raises(Killed):
        put(a, 1.0)
    report = put(b, 2.0)
    assert (report.pending, world.content()) == (1, {KEY: 2.0})
    b.source.flush()
    assert (world.content(), sent(world, 2.0)) == ({KEY: 2.0}, 2)


@pytest.mark.parametrize("seed", range(4))
def test_a_late_older_value_never_wins(seed, world, process, mirror_db, soak):
    """Late writes land over newer values, thousands of times, at any moment of the window: in the end none is left."""
    races = 5_000 if soak else 250 * mirror_db.share
    chance, a, first = random.Random(seed), process(batch_rows=10), 0
    while world.overwritten < races:
        keys = [("a", number) for number in range(first, first + 50)]
        for round_ in range(chance.randint(2, 4)):
            late = ("late", chance.uniform(0, WINDOW_S))
            world.next = chance.choices([late, "cut applied", "cut", "busy", None], weights=[4, 1, 1, 1, 3], k=8)
            world.next += ["refused"] * chance.choice([0, 0, 40])
            a.source.upsert(long_frame({key: round_ + number / 10**6 for number, key in enumerate(keys)}))
            world.next = []
            world.advance(chance.choice([0.0, 1.0, WINDOW_S / 2]))
        a.source.flush()
        first += 50
    world.advance(3 * WINDOW_S)
    assert world.content() == contents(a.source.read())
    assert len(world.content()) == first


# Nothing lost


def test_what_cannot_be_sent_is_kept_and_sent_later(world, process):
    """An outage: the rows are pending, readable, and delivered by the next upsert, oldest first."""
    a = process(MirrorOptions())
    world.next = ["refused"] * 40
    with pytest.raises(UnavailableError, match="1 is kept in the mirror") as caught:
        put(a, 1.0)
    assert (caught.value.report.pending, caught.value.report.unsent, adds_up(caught.value.report)) == (1, 0, True)
    info = a.source.pending()
    assert (info.rows, info.oldest is not None, "refused" in str(info.last_error)) == (1, True, True)
    assert a.source.read().value.tolist() == [1.0]
    world.next = []
    assert put(a, 3.0, ("b", 1)).stored == 1
    assert world.content() == {KEY: 1.0, ("b", 1): 3.0}
    assert (a.source.pending().rows, a.source.pending().last_error) == (0, None)


def test_a_queueing_upsert_does_not_raise(world, process):
    """on_unavailable="queue": the report says pending, and that is all."""
    a = process()
    world.next = ["refused"] * 40
    assert put(a, 1.0).pending == 1
    world.state.archived[SOURCE] = True
    world.next = []
    assert put(a, 2.0).pending == 1


def test_other_refusals_raise_and_keep_the_rows(world, process):
    """An unknown token is an error of the caller's, also when queueing; the rows stay pending."""
    a = process()
    world.state.rules = type(world.state.rules)("ts_another")
    with pytest.raises(AuthenticationError) as caught:
        put(a, 1.0)
    assert (caught.value.report.pending, a.source.pending().rows) == (1, 1)


def test_an_interrupted_upsert_has_its_rows_in_the_mirror(world, process):
    """Ctrl-C in the middle of a request: the exception's report counts the rows as pending."""
    a = process()

    def interrupt() -> None:
        raise KeyboardInterrupt

    world.next = [interrupt]
    with pytest.raises(KeyboardInterrupt) as caught:
        put(a, 1.0)
    assert caught.value.report.pending == 1
    a.source.flush()
    assert world.content() == {KEY: 1.0}


def test_the_mirror_takes_no_more_than_its_cap(world, process):
    """Beyond max_pending_rows an upsert is refused, loudly, before anything is written."""
    a = process(MirrorOptions(on_unavailable="queue", max_pending_rows=3))
    world.next = ["refused"] * 40
    a.source.upsert(long_frame({("a", number): 1.0 for number in range(3)}))
    with pytest.raises(MirrorError, match="holds 3 pending rows") as caught:
        put(a, 2.0)
    assert (caught.value.report.unsent, a.source.read().value.tolist()) == (1, [1.0] * 3)


def test_a_small_upsert_leaves_a_large_backlog_alone(world, process, monkeypatch):
    """Only its own rows are sent, and only they are in its report; a large one takes as many along as it has."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 10)
    a = process(batch_rows=10)
    world.next = ["refused"] * 40
    a.source.upsert(long_frame({("a", number): 1.0 for number in range(30)}))
    world.next = []
    report = put(a, 2.0, ("b", 0))
    assert (report.stored, report.requests, len(world.content())) == (1, 1, 1)
    report = a.source.upsert(long_frame({("b", number): 1.0 for number in range(10)}))
    assert (report.observations_in, report.requests, len(world.content())) == (10, 1, 20)


# Only what changed


def test_unchanged_rows_are_not_sent(world, process):
    """skip_unchanged: equal bit for bit and acknowledged is not sent again; what changed is, and the report tells."""
    a = process(DELTAS)
    rows = {("a", number): 0.0 for number in range(10)}
    a.source.upsert(long_frame(rows))
    before = len(world.state.requests)
    assert a.source.upsert(long_frame(rows)).unchanged == 10
    assert len(world.state.requests) == before
    report = a.source.upsert(long_frame(rows | {("a", 3): -0.0, ("b", 1): 1.0}))
    assert (report.stored, report.unchanged, report.requests) == (2, 9, 1)
    assert str(contents(a.source.read())["a", 3]) == "-0.0"


def test_pending_rows_are_not_unchanged(world, process):
    """What was never acknowledged is sent, however equal it is."""
    a = process(MirrorOptions(skip_unchanged=True, on_unavailable="queue"))
    world.next = ["refused"] * 40
    put(a, 1.0)
    world.next = []
    assert (put(a, 1.0).stored, sent(world, 1.0), a.source.pending().rows) == (1, 1, 0)


# Archived


def test_known_to_be_archived_is_refused_before_anything_is_written(world, process):
    """The first upsert learns it, its rows stay pending; the second writes nothing; after an unarchive all goes out."""
    a = process(MirrorOptions())
    world.state.archived[SOURCE] = True
    with pytest.raises(DataSourceArchivedError) as caught:
        put(a, 1.0)
    assert caught.value.report.pending == 1
    with pytest.raises(DataSourceArchivedError, match="Nothing was written") as caught:
        put(a, 2.0)
    assert (caught.value.report.unsent, a.source.read().value.tolist()) == (1, [1.0])
    with pytest.raises(DataSourceArchivedError):
        a.source.flush()
    world.state.archived[SOURCE] = False
    assert put(a, 3.0).stored == 1
    assert (a.source.pending().rows, world.content()) == (0, {KEY: 3.0})


# Rejected


def test_rejected_rows_are_kept_with_their_reason(world, process):
    """The others are stored; the rejected are not read, can be retried or discarded, and a correction replaces them."""
    a = process()
    with pytest.raises(RejectedObservationsError) as caught:
        a.source.upsert(long_frame({("a", 1): BAD, ("a", 2): 2.0, ("a", 3): BAD}))
    assert (caught.value.report.stored, caught.value.report.rejected) == (1, 2)
    kept = a.source.rejected_rows()
    assert (kept.value.tolist(), a.source.pending().rejected) == ([BAD, BAD], 2)
    assert kept.reason.str.contains("422").all()
    assert list(kept) == ["timestamp", "name", "value", "reason", "rejected_at"]
    assert a.source.read().value.tolist() == [2.0]
    put(a, 1.0)
    assert contents(a.source.rejected_rows()) == {("a", 3): BAD}
    assert (a.source.retry_rejected(), a.source.pending().rows) == (1, 1)
    assert a.source.flush().rejected == 1
    assert (a.source.discard_rejected(), len(a.source.rejected_rows())) == (1, 0)
    assert a.source.read().value.tolist() == [1.0, 2.0]


# The database


def test_a_mirror_belongs_to_one_target(world, process, mirror_db):
    """Another URL and another token are refused; the token itself is nowhere in the mirror."""
    put(process(), 1.0)
    for settings in ({"token": "ts_other"}, {"url": "http://127.0.0.1:2"}):
        with pytest.raises(MirrorError, match=r"it is the mirror of http://127\.0\.0\.1:1") as caught:
            put(process(**settings), 2.0)
        assert caught.value.report.unsent == 1
        with pytest.raises(MirrorError):
            process(**settings).source.read()
    assert mirror_db.shows("http://127.0.0.1:1")
    assert not mirror_db.shows(CANARY)
    moved = process(token="ts_other")
    moved.mirror.rebind()
    assert moved.source.read().value.tolist() == [1.0]


def test_an_embedded_data_source_is_no_mirror(world, process, mirror_db):
    """A store that holds data sources of its own is left alone."""
    with connect(mirror_db.url) as temporis:
        temporis.create_data_source("mine")
    with pytest.raises(StoreError, match="is not a mirror"):
        put(process(), 1.0)
    with connect(mirror_db.url) as temporis:
        assert temporis.data_sources() == ["mine"]


def small_file(monkeypatch, pages: int) -> None:
    """Let no file grow beyond this number of pages."""
    usual = sqlite_file._connect

    def limited(*arguments):
        connection = usual(*arguments)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite_file, "_connect", limited)


@ON_SQLITE
@pytest.mark.parametrize("pages", [45, 60, 75])
def test_a_full_file_is_an_error_that_counts_the_rows(world, process, monkeypatch, pages):
    """What got in is pending and is delivered; what did not is unsent; nothing is acknowledged that is not."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 1_000)
    small_file(monkeypatch, pages)
    rows = {("a", number): float(number) for number in range(8_000)}
    a = process(batch_rows=1_000)
    with pytest.raises(StoreError, match="full") as caught:
        a.source.upsert(long_frame(rows))
    report = caught.value.report
    assert adds_up(report)
    assert report.unsent > 0
    assert report.unknown == 0
    assert len(a.source.read()) == report.pending + report.stored == a.source.pending().rows
    assert world.content().items() <= rows.items()


@ON_SQLITE
def test_a_read_only_file_is_an_error(world, process, make_read_only):
    """Nothing is sent that could not be kept first."""
    a = process()
    put(a, 1.0)
    make_read_only()
    b = process()
    with pytest.raises(StoreError, match="readonly") as caught:
        put(b, 2.0)
    assert (caught.value.report.unsent, sent(world, 2.0)) == (1, 0)
    assert b.source.read().value.tolist() == [1.0]


@ON_SQLITE
@pytest.mark.parametrize("left", [100, 5_000, 30_000])
def test_a_truncated_file_is_an_error(process, mirror_db, left):
    """A damaged mirror is not taken for a new one."""
    a = process()
    a.source.upsert(long_frame({("a", number): 1.0 for number in range(1_000)}))
    a.close()
    with mirror_db.path.open("r+b") as file:
        file.truncate(left)
    with pytest.raises(StoreError) as caught:
        process().source.upsert(long_frame({("a", number): 2.0 for number in range(1_000)}))
    assert caught.value.report is None or caught.value.report.stored == 0


def test_a_mirror_that_is_gone_in_the_middle_is_an_error(world, process, mirror_db):
    """Rows that were in the mirror that is gone are unknown, not pending."""
    a = process()
    put(a, 0.0, ("b", 1))
    world.next = [mirror_db.remove]
    with pytest.raises(StoreError, match="replaced or deleted") as caught:
        put(a, 1.0)
    assert (caught.value.report.unknown, adds_up(caught.value.report)) == (1, True)


def test_rebuild_sends_everything_again(world, process):
    """A new service gets every row that the mirror has, pending or long delivered, and the mirror is bound to it."""
    a = process()
    a.source.upsert(long_frame({("a", 1): 1.0, ("b", 2): -0.0}))
    world.next = ["refused"] * 40
    put(a, 3.0, ("c", 3))
    other = World()
    moved = process(into=other, url="http://127.0.0.1:2")
    settled = []
    assert moved.mirror.rebuild(settled.append) == sum(settled) == 3
    assert moved.source.pending().rows == 3
    with pytest.raises(MirrorError):
        process().source.read()
    assert moved.source.flush().stored == 3
    assert str(other.content()) == str({("a", 1): 1.0, ("b", 2): -0.0, ("c", 3): 3.0})


def test_rebuild_waits_for_nobody(world, process):
    """While another process is sending from the mirror, it is refused, and says when to come back."""
    a, b = process(), process()

    def meanwhile() -> None:
        with pytest.raises(StoreError, match="another process is sending") as caught:
            b.mirror.rebuild()
        assert caught.value.retryable

    world.next = [meanwhile]
    assert put(a, 1.0).stored == 1


# Clocks, windows, and what a claim costs


@pytest.mark.parametrize("ahead_s", [1_000.0, 365 * 86_400.0])
def test_a_clock_that_was_ahead_once_keeps_nothing_waiting(ahead_s, world, process):
    """A doubt, a lease and a second sending from that future end when they would have, by the clock that is right."""
    a = process()
    now = world.now
    world.now = now + ahead_s
    world.next = [("late", 1.0), *["refused"] * 40]
    put(a, 1.0)
    world.next = []
    assert put(a, 2.0).pending == 1
    world.next = ["kill"]
    with pytest.raises(Killed):
        put(process(), 3.0, ("b", 1))
    world.next, world.now, world.late = [], now, []
    b = process()
    assert put(b, 4.0).pending == 1, "the older value may still arrive"
    assert b.source.flush().pending == 0
    assert world.now - now < 2 * WINDOW_S
    assert world.content() == {KEY: 4.0, ("b", 1): 3.0}


def test_a_doubt_does_not_get_shorter_when_the_clock_is_set_back(world, process):
    """A late value still lands within its window, and the newer one wins."""
    a = process()
    world.next = [("late", 25.0), *["refused"] * 40]
    put(a, 1.0)
    world.next, back = [], 500.0
    world.now, world.late = world.now - back, [(due - back, records) for due, records in world.late]
    b = process()
    assert put(b, 2.0).pending == 1
    b.source.flush()
    world.advance(100.0)
    assert (world.overwritten, world.content()) == (1, {KEY: 2.0})


def test_the_window_is_kept_with_the_mirror(world, process):
    """A caller that does not choose a window, such as the command line, uses the longest one ever chosen."""
    long, short = 120.0, 5.0
    for window_s in (short, long, short):
        put(process(MirrorOptions(on_unavailable="queue", late_write_window_s=window_s)), 0.0, ("z", 1))
    a = process(MirrorOptions(on_unavailable="queue", late_write_window_s=short))
    world.next = ["refused"] * 40
    put(a, 1.0)
    world.next = [("late", 100.0)]
    silent = process(MirrorOptions(late_write_window_s=None), timeout_s=10_000.0)
    with pytest.raises(UnavailableError):
        silent.source.flush(wait=False)
    world.next = []
    put(a, 2.0)
    a.source.flush()
    world.advance(10_000.0)
    assert world.content()[KEY] == 2.0


def test_a_claim_looks_at_doubtful_batches_once(world, process, monkeypatch):
    """What a flush decodes grows with its rows, not with their square, and not with a doubtful backlog elsewhere."""
    decoded, usual = [], Rows.from_bytes
    monkeypatch.setattr(Rows, "from_bytes", lambda keys, values: decoded.append(1) or usual(keys, values))
    a = process(MirrorOptions(on_unavailable="queue", late_write_window_s=1e9), batch_rows=1_000, give_up_after_s=0.001)
    count = 60
    for number in range(count):
        world.next = ["busy"] * 3
        put(a, 1.0, ("a", number))
    world.next, before = [], len(decoded)
    assert a.source.flush().pending == 0
    assert len(decoded) - before <= 10 * count
    before = len(decoded)
    assert put(a, 1.0, ("a", 10**6)).stored == 1
    assert len(decoded) - before < 5


def test_an_answer_that_is_not_the_apis_rejects_nothing(mirror_db):
    """A proxy's page with 400: the rows stay pending, and none is moved to the rejected ones."""
    page = html_page(400)
    with (
        FakeService(script=lambda _request: page) as service,
        connect(
            service.url, service.token, mirror=mirror_db.url, on_unavailable="queue", give_up_after_s=0.1
        ) as temporis,
    ):
        source = temporis.data_source(SOURCE)
        report = source.upsert(sample_frame(), on_invalid="drop")
        assert (report.pending, report.rejected, source.pending().rejected) == (48, 0, 0)
        service.state.script = lambda _request: None
        assert source.flush().stored == 48


# The face


def test_a_mirror_can_be_read_and_compared(world, process):
    """read and content_digest work, in time ranges and by names; a data source without writes is empty."""
    a = process()
    assert a.source.read().empty
    a.source.upsert(long_frame({("a", 1): 1.0, ("b", 2): 2.0}))
    assert a.source.read(names=["b"]).value.tolist() == [2.0]
    assert a.source.content_digest() != a.source.content_digest(names=["b"])
    with pytest.raises(NotSupportedError, match="temporis sources archive"):
        a.source.archive()


def test_options_that_cannot_hold_are_refused():
    """The mirror's options need a mirror, and an embedded data source needs none."""
    for options in (
        {"url": "http://127.0.0.1:1", "skip_unchanged": True},
        {"url": "http://127.0.0.1:1", "on_unavailable": "queue"},
        {"url": "sqlite:///x.db", "mirror": "sqlite:///y.db"},
        {"url": "http://127.0.0.1:1", "mirror": "mysql://x/y"},
        {"url": "http://127.0.0.1:1", "mirror": "sqlite:///y.db", "on_unavailable": "wait"},
        {"url": "http://127.0.0.1:1", "mirror": "sqlite:///y.db", "late_write_window_s": -1},
        {"url": "http://127.0.0.1:1", "mirror": "sqlite:///y.db", "max_pending_rows": 0},
    ):
        with pytest.raises(ConfigurationError):
            connect(token=CANARY, **options)


def test_without_a_mirror_there_is_nothing_to_flush():
    """The error says how to have one."""
    with connect("http://127.0.0.1:1", CANARY) as temporis, pytest.raises(NotSupportedError, match="mirror="):
        temporis.data_source(SOURCE).pending()


def test_a_dry_run_changes_nothing(mirror_db):
    """No row, no flush, no decision on rejected rows; not even the mirror is made by an upsert."""
    with connect("http://127.0.0.1:1", CANARY, mirror=mirror_db.url, dry_run=True) as temporis:
        source = temporis.data_source(SOURCE)
        assert source.upsert(sample_frame()).unsent == 48
        assert mirror_db.is_empty()
        assert (source.retry_rejected(), source.discard_rejected(), source.flush().requests) == (0, 0, 0)


def test_many_threads_and_a_real_service(mirror_db):
    """Threads upsert the same keys over HTTP at once: no key is in two requests, and the last write wins."""
    with (
        FakeService() as service,
        connect(service.url, service.token, mirror=mirror_db.url, batch_rows=10) as temporis,
    ):
        source, failures = temporis.data_source(SOURCE), []

        def work(number: int) -> None:
            try:
                for round_ in range(5):
                    source.upsert(sample_frame(10) + number * 100 + round_)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        source.flush()
        kept = source.read()
        stamps = kept.timestamp.dt.tz_convert(None).to_numpy().astype("datetime64[s]").astype(np.int64)
        there = {(SOURCE, int(s), n): v for s, n, v in zip(stamps, kept["name"], kept.value, strict=True)}
        assert there == service.content
        assert service.overlapping_keys == set()


def test_keys_pack_and_unpack():
    """The whole range of timestamps and of series ids, exactly."""
    series = np.array([0, 1, 33_000_000], dtype=np.int64)
    stamps = np.array([-62_135_596_800, 0, 99_999_999_999], dtype=np.int64)
    back = unpacked(packed(series, stamps))
    assert (back[0].tolist(), back[1].tolist()) == (series.tolist(), stamps.tolist())


def test_risk_is_about_other_values_only():
    """0.0 and -0.0 are two values; the same bits are not a risk; the latest moment counts."""
    rows = Rows(np.array([5, 3, 9]), np.array([0.0, 1.0, 2.0]))
    risk = Risk(rows)
    risk.add(Rows(np.array([3, 5, 7]), np.array([1.0, -0.0, 2.0])), 10.0)
    risk.add(Rows(np.array([5]), np.array([7.0])), 8.0)
    assert risk.until.tolist() == [10.0, 0.0, 0.0]


# What is sent from memory, and old versions of SQLite


@pytest.fixture
def compared(monkeypatch):
    """Compares every batch with the mirror, in the transaction that claims it; how many rows of each were compared."""
    usual, sizes = relay.Relay.claim, []

    def claim(self, tx, *arguments, **named):
        group = usual(self, tx, *arguments, **named)
        for batch in group:
            stored, ids = batches.get(tx, batch.id), batch.rows.series_ids()
            assert stored.rows.to_bytes() == batch.rows.to_bytes()
            assert (stored.written_at, stored.read_at) == (batch.written_at, batch.read_at)
            assert relay.names_of(tx.connection, ids) == {number: self._names[number] for number in ids}
            assert (statements_of(tx.connection).present(tx.connection, batch.rows.keys).batches == batch.id).all()
            sizes.append(len(batch.rows))
        return group

    monkeypatch.setattr(relay.Relay, "claim", claim)
    return sizes


def test_what_an_upsert_sends_from_memory_is_what_the_mirror_has(world, process, mirror_db, compared, monkeypatch):
    """In chunks, with -0.0, values of others, unchanged rows, and series that were numbered in one that failed."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 5)
    a, b = process(DELTAS), process(DELTAS)
    rows = {(name, number): value for number in range(4) for name, value in (("a", -0.0), ("b", 1.5), ("c", 0.0))}
    assert a.source.upsert(long_frame(rows)).stored == 12
    commit = a.mirror._file.commit

    def fails(*_arguments):
        raise mirror_db.commit_failure()

    monkeypatch.setattr(a.mirror._file, "commit", fails)
    with pytest.raises(StoreError):
        a.source.upsert(long_frame({("of the chunk that failed", 1): 1.0}))
    monkeypatch.setattr(a.mirror._file, "commit", commit)
    # The id that the failed transaction gave to its series goes to another one now.
    assert b.source.upsert(long_frame({("new", 1): 2.0, ("a", 0): 0.0})).stored == 2
    report = a.source.upsert(long_frame(rows | {("of the chunk that failed", 1): 1.0}))
    assert (report.stored, report.unchanged) == (2, 11)
    assert repr(sorted(contents(a.source.read()).items())) == repr(sorted(world.content().items()))  # -0.0, not 0.0
    assert len(compared) >= 4


@ON_SQLITE
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python sets a limit of SQLite only from 3.11 on")
def test_no_statement_has_more_parameters_than_an_old_sqlite_takes(world, process, monkeypatch):
    """1,100 series: written, looked up, overwritten in part, moved, rejected, retried, read and discarded."""
    usual = sqlite_file._connect

    def connected(*arguments):
        connection = usual(*arguments)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, sqlite_file.PARAMETERS)
        return connection

    monkeypatch.setattr(sqlite_file, "_connect", connected)
    monkeypatch.setattr(write, "ROWS_PER_STATEMENT", sqlite_file.PARAMETERS // 4)
    names = [f"series {number}" for number in range(1100)]
    a = process(MirrorOptions(on_unavailable="queue", skip_unchanged=True), batch_rows=2000)
    world.next = ["refused"] * 40
    assert a.source.upsert(long_frame({(name, 1): 1.0 for name in names})).pending == 1100
    world.next = []
    report = a.source.upsert(long_frame({(name, 1): 2.0 for name in names[:600]}))
    assert (report.stored, a.source.pending().rows) == (600, 0)
    assert a.source.upsert(long_frame({(name, 1): 2.0 for name in names})).unchanged == 600
    assert contents(a.source.read()) == world.content() == {(name, 1): 2.0 for name in names}
    world.next = ["refused"] * 40
    assert a.source.upsert(long_frame({(name, 1): 3.0 for name in names})).pending == 1100
    assert a.source.discard_pending() == 1100
