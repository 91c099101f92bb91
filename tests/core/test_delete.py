"""Deleting from a store, on SQLite and on PostgreSQL: exact, in turns with upserts, and right when it is cut off."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporis_dagster import (
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    NotSupportedError,
    StoreError,
    connect,
)
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.plan import Within
from temporis_dagster.data_source.store import delete as store_delete
from temporis_dagster.data_source.store.postgres.database import PostgresDatabase
from temporis_dagster.data_source.store.postgres.server import driver
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.testing import FakeService

SOURCE = "store_metrics"
ROOT = Path(__file__).parents[2]
fresh_accounts = (f"account_{number}" for number in itertools.count())


@contextmanager
def sqlite(request, tmp_path):
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        yield temporis.create_data_source(SOURCE)


@contextmanager
def postgres(request, tmp_path):
    with connect(request.getfixturevalue("database"), account=next(fresh_accounts)) as temporis:
        yield temporis.create_data_source(SOURCE)


@pytest.fixture(scope="module")
def database(postgres_server):
    """The URL of a PostgreSQL database that the tests of this file share: each has an account of its own."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=[sqlite, postgres], ids=lambda kind: kind.__name__)
def source(request, tmp_path):
    with request.param(request, tmp_path) as source:
        yield source


@pytest.fixture
def small_chunks(monkeypatch):
    """Transactions of ten rows, so that a delete of a few rows takes several."""
    monkeypatch.setattr(store_delete, "CHUNK_ROWS", 10)
    monkeypatch.setattr(store_delete, "PAGE_ROWS", 10)


def frame(*records):
    return pd.DataFrame(records, columns=["timestamp", "name", "value"])


def minutes(rows, *names):
    return frame(*((60 * row, name, row) for row in range(rows) for name in names or ("a",)))


def keys_in(source):
    back = source.read()
    return set(zip(back.timestamp.astype("int64"), back.name, strict=True)) if len(back) else set()


def again(source, *, dry_run):
    """The same data source over a connection of its own."""
    target = source._target
    return type(source)(SOURCE, target, dry_run=dry_run)


BOUNDS = st.none() | st.integers(-1, 21)
NAMES = st.none() | st.lists(st.sampled_from(["a", "b", "é", "missing", "", "a\0"]), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.tuples(st.integers(0, 20), st.sampled_from(["a", "b", "é"])), max_size=40), BOUNDS, BOUNDS, NAMES)
def test_exactly_the_rows_of_the_window_and_the_names_go(small_chunks, source, keys, start, end, names):
    """[start, end) is half-open, names are exact, a dry run says the same number, and chunks make no difference."""
    source.delete(everything=True)
    source.upsert(frame(*((second, name, 1) for second, name in sorted(keys))))
    if start is None and end is None and names is None:
        with pytest.raises(ConfigurationError, match="everything=True"):
            source.delete(start, end, names)
        assert keys_in(source) == keys
        return
    if start is not None and end is not None and end < start:
        for one in (source, again(source, dry_run=True)):
            with pytest.raises(ConfigurationError, match="ends before it begins"):
                one.delete(start, end, names)
        assert keys_in(source) == keys
        return
    gone = {
        (second, name)
        for second, name in keys
        if (start is None or start <= second) and (end is None or second < end) and (names is None or name in names)
    }
    assert again(source, dry_run=True).delete(start, end, names) == len(gone)
    assert keys_in(source) == keys
    assert source.delete(start, end, names) == len(gone)
    assert keys_in(source) == keys - gone
    assert source.delete(start, end, names) == 0


def test_everything_takes_no_bounds(source):
    """everything=True deletes all rows of the data source, of no other one, and is refused beside a bound."""
    source.upsert(minutes(5, "a", "b"))
    with pytest.raises(ConfigurationError, match="takes no bounds"):
        source.delete(0, everything=True)
    with pytest.raises(ConfigurationError, match="takes no bounds"):
        source.delete(names=["a"], everything=True)
    with pytest.raises(ConfigurationError, match="everything=True if"):
        source.delete(everything=0)
    other = connect_beside(source)
    other.upsert(minutes(3))
    assert source.delete(everything=True) == 10
    assert keys_in(source) == set()
    assert len(keys_in(other)) == 3
    assert source.upsert(minutes(5)).stored == 5


def connect_beside(source):
    """Another data source of the same account."""
    source._target.create_data_source("other")
    return type(source)("other", source._target)


def test_a_text_is_one_name_and_bounds_need_a_zone(source):
    """As for read: names="ab" is one series; a naive datetime is refused before anything is deleted."""
    source.upsert(minutes(2, "a", "b", "ab"))
    assert source.delete(names="ab") == 2
    with pytest.raises(ConfigurationError, match="has no time zone"):
        source.delete(pd.Timestamp("2024-06-20").to_pydatetime())
    with pytest.raises(ConfigurationError, match="must contain only strings"):
        source.delete(names=[1])
    assert len(keys_in(source)) == 4


def test_an_archived_data_source_refuses_a_delete(source):
    """Nothing is deleted, not in a dry run either, and unarchiving undoes it."""
    source.upsert(minutes(5))
    source.archive()
    for one in (source, again(source, dry_run=True)):
        with pytest.raises(DataSourceArchivedError, match="is archived"):
            one.delete(0, 120)
    assert len(keys_in(source)) == 5
    source.unarchive()
    assert source.delete(0, 120) == 2


def test_a_data_source_that_is_archived_in_the_middle_loses_no_further_row(small_chunks, source, monkeypatch):
    """The flag is read in each transaction, and the error says how many rows were deleted before."""
    source.upsert(minutes(35))
    taken = store_delete.RowsOfWindow.take
    calls = []

    def archiving(self, rows, todo):
        found = taken(self, rows, todo)
        calls.append(found[0])
        return found

    monkeypatch.setattr(store_delete.RowsOfWindow, "take", archiving)
    committed = store_delete.StoreDelete._commit

    def then_archive(self, connection, deleted):
        committed(self, connection, deleted)
        if len(calls) == 2:
            pending.append(True)

    pending: list[bool] = []
    monkeypatch.setattr(store_delete.StoreDelete, "_commit", then_archive)
    attempt = store_delete.StoreDelete._attempt

    def archived_between(self):
        if pending:
            source.archive()
        attempt(self)

    monkeypatch.setattr(store_delete.StoreDelete, "_attempt", archived_between)
    with pytest.raises(DataSourceArchivedError, match="20 observations were deleted") as caught:
        source.delete(everything=True)
    assert str(caught.value).endswith("Deleting again is safe.")
    assert len(keys_in(source)) == 15


def test_an_interrupted_delete_can_be_finished(small_chunks, source, monkeypatch):
    """What was committed is gone, the rest is there, and the second delete takes exactly the rest."""
    source.upsert(minutes(35))
    committed, calls = store_delete.StoreDelete._commit, itertools.count(1)

    def interrupted(self, connection, deleted):
        if next(calls) == 3:
            raise KeyboardInterrupt
        committed(self, connection, deleted)

    with monkeypatch.context() as patch:
        patch.setattr(store_delete.StoreDelete, "_commit", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            source.delete(everything=True)
    if hasattr(caught.value, "__notes__"):
        assert "20 observations were deleted" in caught.value.__notes__[0]
    assert len(keys_in(source)) == 15
    assert source.delete(everything=True) == 15


@pytest.mark.parametrize("took_place", [True, False], ids=["committed", "not committed"])
def test_the_number_is_right_although_a_commit_had_no_answer(small_chunks, database, monkeypatch, took_place):
    """PostgreSQL: whether the server had committed or not, the next attempt finds out, and counts each row once."""
    with connect(database, account=next(fresh_accounts)) as temporis:
        source = temporis.create_data_source(SOURCE)
        source.upsert(minutes(35))
        commit, calls = PostgresDatabase.commit, itertools.count(1)

        def cut(self, connection):
            if next(calls) != 2:
                return commit(self, connection)
            if took_place:
                commit(self, connection)
            driver(connection).close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(PostgresDatabase, "commit", cut)
        assert source.delete(everything=True) == 35
        assert keys_in(source) == set()


def test_a_failed_commit_says_what_may_be_deleted(small_chunks, tmp_path, monkeypatch):
    """SQLite does not try again: the error counts what is surely gone and what may be."""
    import sqlite3

    with sqlite(None, tmp_path) as source:
        source.upsert(minutes(35))
        commit, calls = SqliteDatabase.commit, itertools.count(1)

        def failing(self, connection):
            if next(calls) == 2:
                raise sqlite3.OperationalError("disk I/O error")
            commit(self, connection)

        monkeypatch.setattr(SqliteDatabase, "commit", failing)
        with pytest.raises(StoreError, match="10 observations were deleted, and 10 more may have been"):
            source.delete(everything=True)
        monkeypatch.undo()
        assert len(keys_in(source)) == 25


def test_upserts_and_deletes_of_one_data_source_take_turns(small_chunks, source):
    """With three writers and two deleters at once, every row that was stored was deleted once, or is there."""
    stop, whole = threading.Event(), minutes(40, "a", "b")

    def upserting():
        return sum(source.upsert(whole).stored for _ in range(6))

    def deleting():
        count = 0
        while not stop.is_set():
            count += source.delete(0, 1200) + source.delete(names=["b"])
        return count

    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(upserting) for _ in range(3)]
        deleters = [pool.submit(deleting) for _ in range(2)]
        stored = sum(writer.result(120) for writer in writers)
        stop.set()
        deleted = sum(deleter.result(120) for deleter in deleters)
    assert stored - deleted == len(keys_in(source))
    assert deleted


DELETING = """
import sys
from temporis_dagster import connect
from temporis_dagster.data_source.store import delete as store_delete
store_delete.CHUNK_ROWS = 10
commit = store_delete.StoreDelete._commit
def told(self, connection, deleted):
    commit(self, connection, deleted)
    print(self.deleted, flush=True)
store_delete.StoreDelete._commit = told
with connect(sys.argv[1], account=sys.argv[2]) as temporis:
    temporis.data_source("store_metrics").delete(everything=True)
"""


def test_a_killed_delete_leaves_whole_transactions_and_no_lock(source):
    """After ``kill -9`` in the middle, upserts go on at once, and deleting again takes exactly what is left."""
    source.upsert(minutes(5000))
    database = source._target._database
    url = database.url if isinstance(database, SqliteDatabase) else database._parameters._given
    if not isinstance(url, str):
        url = f"postgresql+psycopg://{url['user']}@{url['host']}:{url['port']}/{url['dbname']}"
    account = source._target._account
    process = subprocess.Popen(
        [sys.executable, "-c", DELETING, url, account], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    known = [int(process.stdout.readline()) for _ in range(5)][-1]
    process.kill()
    known = max([known, *(int(line) for line in process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    left = len(keys_in(source))
    assert left % 10 == 0
    assert 5000 - left in (known, known + 10)  # killed between the commit and the word of it
    assert source.upsert(frame((-60, "a", 1))).stored == 1
    assert source.delete(everything=True) == left + 1


def test_a_data_source_that_is_not_there_is_not_made(source):
    """Deleting from a missing data source is the error of a read, and nothing is created."""
    missing = type(source)("no_such_source", source._target)
    with pytest.raises(DataSourceNotFoundError):
        missing.delete(0)
    assert source._target.data_sources() == [SOURCE]


@pytest.mark.parametrize("mirror", [None, "sqlite:///{}/mirror.db"], ids=["http", "mirror"])
def test_over_http_nothing_can_be_deleted(tmp_path, mirror):
    """The API has no request for that, with a mirror neither: the error says what to do, and nothing was sent."""
    with FakeService() as service:
        with connect(service.url, service.token, mirror=mirror and mirror.format(tmp_path)) as temporis:
            source = temporis.data_source(SOURCE)
            for attempt in (
                lambda: source.delete(0),
                lambda: source.delete(everything=True),
                lambda: source.delete_ghosts(observe(minutes(1)), Within()),
            ):
                with pytest.raises(NotSupportedError, match="temporis delete --data-source store_metrics --store"):
                    attempt()
        assert service.requests == []
    cloud = connect("https://api.temporis.co", "ts_x").data_source(SOURCE)
    with pytest.raises(NotSupportedError, match="new data source, and archive this one in the Temporis dashboard"):
        cloud.delete(0)


# The ghosts of a frame


def test_exactly_the_ghosts_go(small_chunks, source):
    """Stored rows within that the frame lacks; not those of other series, other times, or dropped rows."""
    source.upsert(minutes(30, "a", "b", "other"))
    lost = minutes(30, "a", "b").drop([0, 7, 8, 21])
    lost.loc[lost.index[5], "value"] = float("nan")
    observations = observe(lost, ObservationOptions(on_invalid="drop"))
    within = Within(spans=((0, 1200),), names=("a", "b"))
    before = keys_in(source)
    ghosts = source.ghosts(observations, within)
    rows = ghosts.rows(None)
    expected = set(zip(rows.timestamp.astype("int64"), rows.series, strict=True))
    assert again(source, dry_run=True).delete_ghosts(observations, within) == ghosts.count == len(expected) == 4
    assert keys_in(source) == before
    assert source.delete_ghosts(observations, within) == 4
    assert before - keys_in(source) == expected == {(0, "a"), (180, "b"), (240, "a"), (600, "b")}


def test_ghosts_of_many_series_do_not_hold_the_lock_for_long(small_chunks, source, monkeypatch):
    """A transaction looks at a bounded number of series and rows, and only at series that have ghosts."""
    names = [f"s{number:02}" for number in range(30)]
    source.upsert(minutes(6, *names))
    kept = minutes(6, *names)
    kept = kept[(kept["timestamp"] < 300) | (kept["name"] < "s20")]  # the last row of ten series is gone
    pages, deleted = [], []
    committed, take = store_delete.StoreDelete._commit, store_delete.GhostsOf.take

    class Watched:
        def __init__(self, rows):
            self.delete = rows.delete
            self._page = rows.page

        def page(self, *bounds):
            pages[-1] += 1
            return self._page(*bounds)

    def watched(self, rows, todo):
        pages.append(0)
        return take(self, Watched(rows), todo)

    def counting(self, connection, count):
        deleted.append(count)
        committed(self, connection, count)

    monkeypatch.setattr(store_delete.GhostsOf, "take", watched)
    monkeypatch.setattr(store_delete.StoreDelete, "_commit", counting)
    monkeypatch.setattr(store_delete, "MOST_PAGES", 3, raising=False)
    monkeypatch.setattr(store_delete, "PAGE_ROWS", 100)
    assert source.delete_ghosts(observe(kept), Within(((0, 3600),))) == sum(deleted) == 10
    assert (sum(pages), max(pages), max(deleted)) == (10, 3, 3)


def test_an_empty_frame_deletes_nothing(source):
    """A truncated extract of zero rows is not a request to delete the partition."""
    source.upsert(minutes(5))
    assert source.delete_ghosts(observe(minutes(0)), Within(((0, 3600),), ("a",))) == 0
    assert len(keys_in(source)) == 5


def test_ghosts_that_may_be_dropped_rows_stay(source):
    """A row whose timestamp could not be read may be any row of its series, so no row of that series is deleted."""
    source.upsert(minutes(5, "a", "b"))
    given = frame((0, "a", 0), (0, "b", 0), (float("nan"), "b", 1))
    observations = observe(given, ObservationOptions(on_invalid="drop"))
    within = Within(((0, 3600),), ("a", "b"))
    assert source.ghosts(observations, within).unreadable == 1
    assert source.delete_ghosts(observations, within) == 4
    assert keys_in(source) == {(0, "a"), *((60 * row, "b") for row in range(5))}
    nameless = frame((0, "a", 0), (0, "b", 0), (60, None, 1))
    observations = observe(nameless, ObservationOptions(on_invalid="drop"))
    assert source.delete_ghosts(observations, within) == 0
