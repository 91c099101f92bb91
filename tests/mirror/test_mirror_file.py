"""Where a mirror is: missing, replaced, bound to another target, damaged, used across forks; and a store's file."""

from __future__ import annotations

import os
import random
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from temporis_dagster import (
    ConfigurationError,
    DataSourceArchivedError,
    MirrorError,
    StoreError,
    TemporisError,
    connect,
)
from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.mirror import Mirror, schema, upsert
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.data_source.store.sqlite.read import integers
from temporis_dagster.testing import FakeService, sample_frame
from tests.support.mirror_databases import ON_SQLITE
from tests.support.mirror_tools import SOURCE, Process, World, long_frame
from tests.support.store_tools import cut_into_chunks

DELTAS = MirrorOptions(skip_unchanged=True)
ROWS = {("a", 1): 1.0, ("a", 2): 2.0, ("b", 1): 3.0}


@pytest.fixture
def process(process_with):
    """Makes processes that share a mirror, with these options unless others are given."""
    return lambda options=DELTAS, **settings: process_with(options, **settings)


@pytest.fixture
def one_inode(monkeypatch):
    """Every file has the same inode number, as those have that come after each other on many file systems."""
    usual = sqlite_file.SqliteFile._place
    monkeypatch.setattr(sqlite_file.SqliteFile, "_place", lambda self: usual(self) and (1, 1))


def deleted(path) -> None:
    for name in path.parent.glob(f"{path.name}*"):
        name.unlink()


# Missing


CALLS = {
    "read": lambda source: source.read().empty,
    "content_digest": lambda source: source.content_digest() != "",
    "pending": lambda source: source.pending().rows == 0,
    "rejected_rows": lambda source: source.rejected_rows().empty,
    "flush": lambda source: source.flush().observations_in == 0,
    "retry_rejected": lambda source: source.retry_rejected() == 0,
    "discard_rejected": lambda source: source.discard_rejected() == 0,
    "discard_pending": lambda source: source.discard_pending() == 0,
    "archive_state": lambda source: source.archive_state().value == "active",
    "ensure_writable": lambda source: source.ensure_writable() is None,
}


@pytest.mark.parametrize("call", CALLS)
def test_only_an_upsert_makes_a_mirror(call, process, mirror_db):
    """A read-only use finds nothing where there is no mirror, and makes and binds none."""
    a = process()
    assert CALLS[call](a.source)
    assert a.mirror.data_sources() == []
    assert not a.mirror.exists
    assert mirror_db.is_empty()


@pytest.mark.parametrize("call", CALLS)
def test_a_name_that_the_mirror_does_not_know_is_not_learned_by_asking(call, world, process):
    """A slip in the name of a data source does not appear in the list of data sources."""
    a = process()
    a.source.upsert(long_frame(ROWS))
    world.state.archived["stroe_metrics"] = False
    assert CALLS[call](Temporis(a.mirror).data_source("stroe_metrics"))
    assert a.mirror.data_sources() == [SOURCE]


def test_asking_without_a_token_does_not_bind_the_mirror(process):
    """Asking first, with whatever token, decides nothing: the first upsert binds the mirror."""
    other = process(token="ts_other")
    assert other.source.pending().rows == 0
    assert process().source.upsert(long_frame(ROWS)).stored == 3
    with pytest.raises(MirrorError, match="another access token"):
        other.source.pending()


@pytest.mark.parametrize("call", ["rebuild", "rebind"])
def test_what_needs_a_mirror_says_that_it_is_missing(call, process, mirror_db):
    """Nothing is made by a slip in the URL."""
    with pytest.raises(StoreError, match="does not exist"):
        getattr(process().mirror, call)()
    assert mirror_db.is_empty()


def test_a_failed_constructor_has_a_repr(process):
    """A traceback that shows the locals of a failed ``connect`` does not fail itself."""
    made = Mirror.__new__(Mirror)
    with pytest.raises(TemporisError):
        made.__init__("sqlite://", process().mirror._service, None)
    assert repr(made).startswith("Mirror('not opened', ")


# Replaced, or bound to another target


@pytest.mark.usefixtures("one_inode")
def test_a_mirror_in_the_place_of_another_is_another_mirror(world, process, mirror_db):
    """A connection to staging is refused by production's mirror, also where the file has the number of the old one."""
    prod, staging = World(), process(url="http://127.0.0.1:2")
    staging.source.upsert(long_frame(ROWS))
    staging.close()
    mirror_db.remove()
    process(into=prod).source.upsert(long_frame({("z", 9): 9.0}))
    with pytest.raises(MirrorError, match="it is the mirror of") as caught:
        staging.source.upsert(long_frame(ROWS))
    assert caught.value.report.unsent == 3
    assert process(into=prod).source.upsert(long_frame(ROWS)).stored == 3
    assert prod.content().items() >= ROWS.items()


@pytest.mark.usefixtures("one_inode")
def test_a_mirror_that_is_made_anew_in_the_middle_is_another_one(world, process, mirror_db):
    """The same target, the same inode number, but the batches under way are not in it: their rows are unknown."""
    a, b = process(MirrorOptions()), process()

    def remake() -> None:
        a.mirror.close()
        mirror_db.remove()
        b.source.upsert(long_frame({("z", 9): 9.0}))

    world.next = [remake]
    with pytest.raises(StoreError, match="replaced or deleted") as caught:
        a.source.upsert(long_frame(ROWS))
    assert caught.value.report.unknown == 3


def test_a_connection_that_is_open_sees_that_the_mirror_was_bound_to_another_target(world, process):
    """After ``rebuild`` for a new service, a process that goes on with the old one is refused.

    Else its rows would be taken for delivered to the new one.
    """
    new = World()
    old = process()
    old.source.upsert(long_frame(ROWS))
    moved = process(into=new, url="http://127.0.0.1:2")
    assert moved.mirror.rebuild() == 3
    with pytest.raises(MirrorError, match="it is the mirror of"):
        old.source.upsert(long_frame({("c", 1): 1.0}))
    with pytest.raises(MirrorError):
        old.source.flush()
    moved.source.flush()
    assert new.content() == ROWS


def test_bound_to_another_target_while_a_request_is_under_way(world, process):
    """The answer of the old target settles nothing: the rows are pending for the new one."""
    a, b = process(), process(token="ts_other")
    world.next = [b.mirror.rebind]
    with pytest.raises(MirrorError) as caught:
        a.source.upsert(long_frame(ROWS))
    assert caught.value.report.pending == 3
    assert b.source.pending().rows == 3


@pytest.mark.usefixtures("one_inode")
def test_a_store_that_comes_back_with_the_same_inode_is_another_store(tmp_path, monkeypatch):
    """Between two chunks of an upsert: acknowledged rows of the store that is gone are taken back."""
    cut_into_chunks(10, monkeypatch)
    url = f"sqlite:///{tmp_path}/temporis.db"
    with connect(url, create_missing=True) as temporis:

        def replace(_settled: int) -> None:
            temporis.close()
            deleted(tmp_path / "temporis.db")
            with connect(url) as other:
                other.create_data_source(SOURCE)

        with pytest.raises(StoreError, match="replaced") as caught:
            temporis.data_source(SOURCE).upsert(sample_frame(hours=10), progress=replace)
    assert (caught.value.report.stored, caught.value.report.unknown, caught.value.report.unsent) == (0, 10, 10)


# Forks and close() in other threads


@ON_SQLITE
def test_a_close_in_the_middle_changes_nothing(world, process, monkeypatch):
    """close() in another thread, at any transaction of a mirror upsert: the same report, the same rows."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 2)
    a = process(MirrorOptions(), batch_rows=2)
    file, usual = a.mirror._file, a.mirror._file._database.writing

    @contextmanager
    def closed_inside(**options):
        with usual(**options) as connection:
            file._database.close()
            yield connection
            file._database.close()

    monkeypatch.setattr(file._database, "writing", closed_inside)
    rows = {("a", number): float(number) for number in range(10)}
    assert a.source.upsert(long_frame(rows)).stored == 10
    assert world.content() == rows


def test_a_close_in_the_middle_takes_nothing_back(tmp_path, monkeypatch):
    """close() in another thread, within a transaction of an embedded upsert: the same report, the same rows."""
    cut_into_chunks(10, monkeypatch)
    with connect(f"sqlite:///{tmp_path}/temporis.db", create_missing=True) as temporis:
        usual = SqliteDatabase.upsert_chunk

        def closed(database, *given):
            temporis.close()
            return usual(database, *given)

        monkeypatch.setattr(SqliteDatabase, "upsert_chunk", closed)
        assert temporis.data_source(SOURCE).upsert(sample_frame(hours=20)).stored == 40


MANY_FORKS = 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_in_another_thread_change_nothing(mirror_db, tmp_path, monkeypatch):
    """A thread that forks all the time, during upserts into a mirror and into a store: every row is counted once."""
    cut_into_chunks(500, monkeypatch)
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 500)
    frame, stop, forks = sample_frame(hours=5_000), threading.Event(), []

    def fork() -> None:
        while not stop.wait(0.002):
            child = os.fork()
            if not child:
                os._exit(0)
            forks.append(os.waitpid(child, 0)[1])

    with (
        FakeService() as service,
        connect(service.url, service.token, mirror=mirror_db.url) as mirrored,
        connect(f"sqlite:///{tmp_path}/temporis.db", create_missing=True) as embedded,
    ):
        thread = threading.Thread(target=fork)
        thread.start()
        try:
            reports = [one.data_source(SOURCE).upsert(frame) for one in (mirrored, embedded)]
            while len(forks) <= MANY_FORKS:  # a machine that is busy forks slowly
                again = [one.data_source(SOURCE).upsert(frame) for one in (mirrored, embedded)]
                assert [report.stored + report.unchanged for report in again] == [10_000, 10_000]
        finally:
            stop.set()
            thread.join()
        assert [report.stored for report in reports] == [10_000, 10_000]
        assert len(service.content) == len(embedded.data_source(SOURCE).read()) == 10_000
    assert set(forks) == {0}


# Errors carry the report


def damaged(path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def refused_with_a_report(one: Process) -> None:
    with pytest.raises((StoreError, MirrorError)) as caught:
        one.source.upsert(long_frame(ROWS))
    one.close()
    assert (caught.value.report.observations_in, caught.value.report.unsent) == (3, 3)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("mode", ["raise", "queue"])
@pytest.mark.parametrize("fault", ["another target", "an embedded store"])
def test_every_error_of_an_upsert_has_its_report(fault, mode, process, mirror_db):
    """The counts add up, whatever is wrong with the mirror, and whether or not the upsert queues."""
    settings = {}
    if fault == "another target":
        process(MirrorOptions()).source.upsert(long_frame(ROWS))
        settings = {"token": "ts_other"}
    else:
        with connect(mirror_db.url) as temporis:
            temporis.create_data_source("mine")
    refused_with_a_report(process(MirrorOptions(on_unavailable=mode), **settings))


@ON_SQLITE
@pytest.mark.parametrize("mode", ["raise", "queue"])
@pytest.mark.parametrize("fault", ["damaged", "no directory"])
def test_every_error_of_a_file_has_its_report(fault, mode, world, process, mirror_db):
    """The same for a file that cannot be used."""
    url = mirror_db.url
    if fault == "damaged":
        first = process(MirrorOptions())
        first.source.upsert(long_frame({("a", number): 1.0 for number in range(2_000)}))
        first.close()
        damaged(mirror_db.path)
    else:
        url = f"sqlite:///{mirror_db.folder}/missing/mirror.db"
    refused_with_a_report(Process(world, url, mirror_options=MirrorOptions(on_unavailable=mode)))


@ON_SQLITE
def test_an_error_while_the_archive_state_is_remembered_has_its_report(world, process, make_read_only):
    """A known-to-be-archived data source is asked for anew, and the mirror cannot note the answer."""
    a = process(MirrorOptions())
    world.state.archived[SOURCE] = True
    with pytest.raises(DataSourceArchivedError):
        a.source.upsert(long_frame(ROWS))
    world.state.archived[SOURCE] = False
    make_read_only()
    with pytest.raises(StoreError, match="readonly") as caught:
        process(MirrorOptions()).source.upsert(long_frame(ROWS))
    assert caught.value.report.unsent == 3


# Damage


def spoiled(content: bytes, chance: random.Random) -> bytes:
    """The file with some bytes changed, or cut, or a part of it put elsewhere."""
    spoilt = bytearray(content)
    kind = chance.randrange(4)
    if kind == 0:
        return content[: chance.randrange(1, len(content))]
    if kind == 1:
        at, size = chance.randrange(len(spoilt)), chance.choice([1, 16, 600, 4096])
        spoilt[at : at + size] = chance.randbytes(size)
    elif kind == 2:
        for _ in range(chance.choice([5, 50, 500])):
            spoilt[chance.randrange(100, len(spoilt))] = chance.randrange(256)
    else:
        from_, to = (chance.randrange(len(spoilt) // 4096) * 4096 for _ in range(2))
        spoilt[to : to + 4096] = spoilt[from_ : from_ + 4096]
    return bytes(spoilt)


def whatever(calls) -> set[str]:
    """Make each call; the kinds of errors that came, all of the tree."""
    return {kind for kind in map(outcome, calls) if kind}


def outcome(call) -> str:
    try:
        call()
    except TemporisError as error:
        assert str(error).endswith(".")  # noqa: PT017  # one of many calls, most of which work
        return type(error).__name__
    return ""


def test_a_damaged_store_raises_nothing_but_errors_of_the_tree(tmp_path, soak):
    """Random damage: every operation works, or raises a StoreError that says what to do; never the driver's error."""
    path = tmp_path / "temporis.db"
    with connect(f"sqlite:///{path}", create_missing=True) as temporis:
        temporis.data_source(SOURCE).upsert(sample_frame(hours=200))
    healthy, seen = path.read_bytes(), set()
    for seed in range(1_000 if soak else 60):
        for name in tmp_path.iterdir():
            name.unlink()
        path.write_bytes(spoiled(healthy, random.Random(seed)))
        with connect(f"sqlite:///{path}") as temporis:
            source = temporis.data_source(SOURCE)
            seen |= whatever(
                [
                    source.read,
                    source.archive_state,
                    lambda: source.upsert(sample_frame(hours=20)),  # noqa: B023
                    temporis.data_sources,
                    lambda: temporis.create_data_source("other"),
                    source.content_digest,
                ]
            )
    assert "StoreError" in seen


@pytest.mark.parametrize("number", [1e300, -1e19, 1.5, float("nan"), float("inf")])
def test_a_damaged_timestamp_is_no_other_moment(number):
    """A number that is not an integer, or is out of bounds, is an error, never rounded or cut."""
    with pytest.raises((ArithmeticError, ValueError)):
        integers(np.array([1_700_000_000.0, number]))


@ON_SQLITE
def test_a_damaged_mirror_raises_nothing_but_errors_of_the_tree(world, process, mirror_db, soak):
    """The same for a mirror with pending, doubtful and rejected rows."""
    path = mirror_db.path
    a = process(MirrorOptions(on_unavailable="queue"), batch_rows=100)
    world.next = ["cut"] * 60
    a.source.upsert(long_frame({(f"series {number % 7}", number): float(number) for number in range(900)}))
    a.close()
    healthy, seen = path.read_bytes(), set()
    for seed in range(1_000 if soak else 40):
        mirror_db.remake()
        path.write_bytes(spoiled(healthy, random.Random(seed)))
        one = process(DELTAS, batch_rows=100)
        world.next = []
        seen |= whatever(
            [
                one.source.read,
                one.source.pending,
                lambda: one.source.upsert(long_frame({("series 1", 1): 5.0})),  # noqa: B023
                lambda: one.source.flush(wait=False),  # noqa: B023
                one.source.rejected_rows,
                one.source.retry_rejected,
                one.source.discard_pending,
                one.mirror.rebuild,
            ]
        )
        one.close()
    assert "StoreError" in seen


@ON_SQLITE
def test_a_mirror_of_version_1_is_upgraded(world, process):
    """What is pending in it is sent, and what is read stays."""
    a = process(MirrorOptions(on_unavailable="queue"))
    world.next = ["refused"] * 40
    a.source.upsert(long_frame(ROWS))
    with a.mirror._file.writing() as connection:
        for column in ("first_key", "last_key", "first_time", "last_time"):
            connection.exec_driver_sql(f"ALTER TABLE temporis_mirror_batch DROP COLUMN {column}")
        connection.exec_driver_sql("DROP INDEX temporis_mirror_stamped")
        connection.exec_driver_sql("ALTER TABLE temporis_mirror_batch DROP COLUMN stamped_at")
        connection.exec_driver_sql("ALTER TABLE temporis_mirror DROP COLUMN late_write_window_s")
        connection.exec_driver_sql("UPDATE temporis_mirror SET version = 1")
        sqlite_file.commit(connection)
    a.close()
    b = process()
    assert (b.source.pending().rows, len(b.source.read())) == (3, 3)
    world.next = []
    assert b.source.flush().stored == 3
    with b.mirror._file.reading() as connection:
        assert schema.installed_version(connection) == schema.VERSION


def test_a_mirror_is_not_bound_without_a_token(mirror_db, monkeypatch):
    """A forgotten token would bind the mirror to no account, and every later connection with one would be refused."""
    monkeypatch.delenv("TEMPORIS_TOKEN", raising=False)
    mirror = mirror_db.url
    with connect("http://127.0.0.1:1", mirror=mirror, on_unavailable="queue") as temporis:
        with pytest.raises(ConfigurationError, match="no access token") as caught:
            temporis.data_source("store_metrics").upsert(sample_frame(hours=1))
        assert "TEMPORIS_TOKEN" in str(caught.value)
    assert mirror_db.is_empty()
    with connect("http://127.0.0.1:1", "ts_x", mirror=mirror, on_unavailable="queue", give_up_after_s=0.01) as temporis:
        assert temporis.data_source("store_metrics").upsert(sample_frame(hours=1)).pending == 2
    with (
        connect("http://127.0.0.1:1", mirror=mirror) as temporis,
        pytest.raises(MirrorError, match="there is none here"),
    ):
        temporis.data_source("store_metrics").pending()
