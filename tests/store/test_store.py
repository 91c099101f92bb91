"""What a store promises, in SQLite and in PostgreSQL. Nothing here waits for time to pass."""

from __future__ import annotations

import gc
import sqlite3
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from temporis_dagster.data_source.reading.forms import pandas_frame
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore, chunks
from temporis_dagster.data_source.store.postgres import lookup as postgres_lookup
from temporis_dagster.data_source.store.postgres import read as postgres_read
from temporis_dagster.data_source.store.postgres import write as postgres_write
from temporis_dagster.data_source.store.sqlite import write as sqlite_write
from temporis_dagster.data_source.target import ArchiveState, ReadableTarget
from temporis_dagster.errors import ConfigurationError, DataSourceArchivedError, DataSourceNotFoundError, TemporisError
from tests.support.store_tools import (
    bits,
    content,
    cut_into_chunks,
    digest,
    failing,
    minutes,
    observed,
    put,
    tally_of,
)

DATABASES = ["sqlite", "postgres"]
DISK_FULL = {"sqlite": sqlite3.OperationalError, "postgres": psycopg.errors.DiskFull}


@pytest.fixture(params=DATABASES)
def kind(request) -> str:
    """In which database the store is."""
    return request.param


@pytest.fixture
def url(kind, request, tmp_path) -> str:
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    store.create_data_source("metrics")
    yield store
    store.close()


@pytest.fixture(scope="module", params=DATABASES)
def shared(request, tmp_path_factory) -> Iterator[SqlStore]:
    """A store that examples share: each makes data sources of its own."""
    if request.param == "sqlite":
        store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('shared')}/temporis.db")
        yield store
        store.close()
    else:
        with request.getfixturevalue("postgres_server").database() as url:
            store = SqlStore(url)
            yield store
            store.close()


def rows_of(url: str, table: str) -> int:
    """How many rows a table has, counted with SQL."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    finally:
        engine.dispose()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into_chunks(10, monkeypatch)
    monkeypatch.setattr(sqlite_write, "ROWS_PER_STATEMENT", 4)
    monkeypatch.setattr(postgres_write, "FEWEST_TO_COPY", 4)


fresh_names = (f"source_{number}" for number in count())
keys = st.tuples(st.integers(-5, 5) | st.integers(-62_135_596_800, 10**11 - 1), st.text(min_size=1, max_size=3))
series_keys = keys.filter(lambda key: "\0" not in key[1] and key[1].encode(errors="ignore").decode() == key[1])
values = st.sampled_from([0.0, -0.0, 1.0]) | st.floats(allow_nan=False, allow_infinity=False)
contents = st.dictionaries(series_keys, values, max_size=30)


# What is stored


def test_values_come_back_bit_for_bit(store):
    """Every finite double survives, and an upsert says how many observations it stored."""
    extremes = [-0.0, 0.0, 5e-324, -5e-324, 1e22, 2.0**53, 2.0**53 - 1, 0.1, 1.7976931348623157e308, 42.0, -1.5]
    rows = {(second, "orders"): value for second, value in enumerate(extremes)}
    report = put(store, rows)
    assert report.stored == report.observations_in == len(extremes)
    assert bits(content(store)) == bits(rows)


def test_the_same_again_is_unchanged(store):
    """What is already stored with this value is counted as unchanged, and nothing is written."""
    put(store, minutes(100))
    again = put(store, minutes(100) | {(0, "orders"): 7.0, (-60, "orders"): 8.0})
    assert (again.stored, again.unchanged) == (2, 99)
    assert content(store)[0, "orders"] == 7.0


@pytest.mark.parametrize(("first", "second"), [(0.0, -0.0), (-0.0, 0.0)])
def test_the_sign_of_zero_is_a_change(store, first, second):
    """0.0 and -0.0 are different values, either way, although SQL deems them equal."""
    put(store, {(0, "orders"): first})
    assert put(store, {(0, "orders"): first}).unchanged == 1
    assert put(store, {(0, "orders"): second}).stored == 1
    assert bits(content(store)) == bits({(0, "orders"): second})


@pytest.mark.parametrize("name", ["it's", 'a "b"', "100%", "%(x)s", "a:b", ":a", "?", "📈 é", " ", "e\u0301", "é"])
def test_any_series_name(store, name):
    """A series name is any Unicode text, compared byte by byte."""
    rows = {(0, name): 1.0, (0, name + "x"): 2.0}
    put(store, rows)
    assert content(store) == rows
    assert content(store, names=[name]) == {(0, name): 1.0}


@given(st.lists(contents, min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_a_store_equals_a_dict(shared, batches, random):
    """Upserts in whatever order and size leave what a dict would hold, and count what a dict would change."""
    source, expected = next(fresh_names), {}
    shared.create_data_source(source)
    for batch in batches:
        rows = dict(random.sample(list(batch.items()), len(batch)))
        with pytest.MonkeyPatch.context() as patch:
            cut_into_chunks(random.randint(1, 12), patch)
            patch.setattr(sqlite_write, "ROWS_PER_STATEMENT", random.randint(1, 12))
            patch.setattr(sqlite_write, "SHARES", random.choice([True, False]))
            patch.setattr(postgres_lookup, "FEWEST_IN_A_RANGE", random.choice([1, 2, 4, 16]))
            patch.setattr(postgres_lookup, "WASTE", random.choice([0, 1, 2, 100]))
            patch.setattr(postgres_write, "FEWEST_TO_COPY", random.choice([1, 3, 200]))
            patch.setattr(postgres_read, "PAGE_ROWS", random.randint(1, 12))
            patch.setattr(postgres_read, "PAGE_SERIES", random.randint(1, 3))
            report = put(shared, rows, source)
        same = sum(bits(expected).get(key) == value for key, value in bits(rows).items())
        assert (report.unchanged, report.stored) == (same, len(rows) - same)
        expected |= rows
    assert bits(content(shared, source)) == bits(expected)


def test_a_late_chunk_brings_new_series(store, small_chunks):
    """Series are made in the chunk that needs them, whatever came before."""
    rows = {(second, f"series_{second % 7 if second < 25 else second}"): float(second) for second in range(60)}
    assert put(store, rows).stored == 60
    assert content(store) == rows


def test_requests_are_transactions(store, small_chunks):
    """The report counts one request per chunk."""
    assert put(store, minutes(95)).requests == 10


# Reading


def test_read_is_sorted_and_typed(store):
    """Rows come by (timestamp, name by code point), with the same dtypes whatever there is."""
    put(store, {(60, "b"): 1.0, (0, "ä"): 2.0, (0, "z"): 3.0, (60, "B"): 4.0, (-60, "😀"): 5.0, (0, "\uffff"): 6.0})
    frame = pandas_frame(store.rows("metrics", None, None, None))
    assert frame["name"].tolist() == ["😀", "z", "ä", "\uffff", "B", "b"]
    assert frame["value"].tolist() == [5.0, 3.0, 2.0, 6.0, 4.0, 1.0]
    assert frame["timestamp"].iloc[0] == pd.Timestamp("1969-12-31T23:59:00Z")
    empty = pandas_frame(store.rows("metrics", 1, 2, None))
    assert len(empty) == 0
    assert frame.dtypes.to_dict() == empty.dtypes.to_dict()
    assert [str(dtype) for dtype in frame.dtypes] == ["datetime64[s, UTC]", str(pd.Series(["a"]).dtype), "float64"]


def test_read_is_half_open(store):
    """The start is included, the end is not; bounds beyond anything storable do not exclude anything."""
    put(store, minutes(10))
    assert sorted(content(store, start=60, end=180)) == [(60, "orders"), (120, "orders")]
    assert len(content(store, start=-(10**30), end=10**30)) == 10
    assert content(store, start=180, end=60) == {}


def test_read_thousands_of_names(store):
    """A filter takes any number of names, unknown and impossible ones too."""
    rows = {(0, f"series {number}"): float(number) for number in range(5_000)}
    put(store, rows)
    wanted = [f"series {number}" for number in range(0, 5_000, 2)]
    assert len(content(store, names=[*wanted, *wanted, "other", "\ud800"])) == 2_500
    assert content(store) == rows
    assert content(store, names=[]) == {}
    assert content(store, names=["Series 1"]) == {}


def test_the_digest_ignores_the_order_of_writing(store, small_chunks):
    """Equal content has an equal digest however it came about, and other accounts do not count."""
    rows = minutes(50) | minutes(50, name="visits")
    put(store, rows)
    store.create_data_source("other")
    put(store, minutes(50, 9.0, "visits"), "other")
    for part in (dict(reversed(rows.items())), minutes(50)):
        put(store, part, "other")
    assert digest(store) == digest(store, "other")
    assert digest(store, names=["orders"]) == digest(store, names=["orders", "missing"]) != digest(store)
    assert digest(store, start=0, end=60) != digest(store, start=60, end=120)
    assert digest(store, start=-10, end=0) == digest(store, names=[])


@given(contents, contents)
@settings(deadline=None, max_examples=60)
def test_digests_are_equal_exactly_when_the_content_is(shared, one, other):
    """No two different contents share a digest, and no two equal ones differ."""
    first, second = next(fresh_names), next(fresh_names)
    for source, rows in ((first, one), (second, other)):
        shared.create_data_source(source)
        put(shared, rows, source)
    assert (digest(shared, first) == digest(shared, second)) == (bits(one) == bits(other))
    put(shared, one, second)
    put(shared, other, first)
    put(shared, one, first)
    assert digest(shared, first) == digest(shared, second)


# Data sources, accounts, archiving


def test_it_is_a_readable_target(store):
    """The store does all that the seam asks for."""
    target: ReadableTarget = store
    assert target.archive_state("metrics") is ArchiveState.ACTIVE


def test_accounts_are_isolated(url, store):
    """Another account's data sources are neither listed nor found, and names do not clash."""
    put(store, minutes(3))
    other = SqlStore(url, account="other")
    assert other.data_sources() == []
    for call in (lambda: content(other), lambda: put(other, minutes(1)), lambda: digest(other)):
        with pytest.raises(DataSourceNotFoundError, match="'metrics' of account 'other'"):
            call()
    other.create_data_source("metrics")
    assert content(other) == {}
    other.set_archived("metrics", archived=True)
    assert store.archive_state("metrics") is ArchiveState.ACTIVE
    other.close()


def test_creating_again_changes_nothing(store):
    """An existing data source keeps its content and state; names are listed sorted."""
    put(store, minutes(3))
    store.set_archived("metrics", archived=True)
    store.create_data_source("metrics")
    store.create_data_source("a")
    assert store.data_sources() == ["a", "metrics"]
    assert store.archive_state("metrics") is ArchiveState.ARCHIVED
    assert len(content(store)) == 3


def test_archived_refuses_and_keeps(store):
    """An archived data source takes nothing, not even nothing, loses nothing, and is readable and undoable."""
    put(store, minutes(5))
    before = digest(store)
    store.set_archived("metrics", archived=True)
    for rows in (minutes(9), {}):
        with pytest.raises(DataSourceArchivedError, match="Unarchive it") as caught:
            put(store, rows)
        assert caught.value.report.unsent == len(rows)
        assert caught.value.data_source == "metrics"
    assert digest(store) == before
    store.set_archived("metrics", archived=False)
    assert put(store, minutes(9)).stored == 4


def test_archived_in_the_middle(store, small_chunks):
    """The report is exact when the data source is archived between two chunks."""

    def archive_at_30(settled: int) -> None:
        seen.append(settled)
        if sum(seen) == 30:
            store.set_archived("metrics", archived=True)

    seen: list[int] = []
    rows = minutes(95)
    with pytest.raises(DataSourceArchivedError, match="30 of 95 observations are stored, 65 are not") as caught:
        store.upsert(tally_of(rows, progress=archive_at_30))
    report = caught.value.report
    assert (report.stored, report.unsent, report.unknown, report.requests) == (30, 65, 0, 4)
    assert content(store) == dict(list(rows.items())[:30])
    assert report.unsent_rows["timestamp"].astype("int64").max() > 0
    assert report.unsent_rows["position"].tolist() == list(range(30, 95))
    assert report.unsent_rows["reason"].unique().tolist() == ["the data source is archived"]


@pytest.mark.parametrize("keeps_order", [False, True])
def test_a_failure_is_reported_row_by_row(store, small_chunks, keeps_order):
    """Whatever the order in which rows are written; and what must keep its order is stored up to a row."""

    def archive_at_30(settled: int) -> None:
        seen.append(settled)
        if sum(seen) == 30:
            store.set_archived("metrics", archived=True)

    seen: list[int] = []
    rows = {(60 * (row // 5), f"series_{row % 5}"): float(row) for row in range(95)}
    observations = replace(observed(rows), keeps_order=keeps_order)
    with pytest.raises(DataSourceArchivedError, match="30 of 95 observations are stored, 65 are not") as caught:
        store.upsert(Tally("metrics", observations, progress=archive_at_30))
    report = caught.value.report
    assert (report.stored, report.unsent, report.unknown, report.requests) == (30, 65, 0, 4)
    lost = report.unsent_rows
    kept = [key for row, key in enumerate(rows) if row not in set(lost["position"])]
    assert content(store) == {key: rows[key] for key in kept}
    assert lost["value"].tolist() == lost["position"].tolist() == sorted(lost["position"])
    if keeps_order:
        assert kept == list(rows)[:30]


@given(
    keys=st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 40)), unique=True),
    by_time=st.booleans(),
    size=st.integers(1, 12),
    part=st.integers(1, 30),
)
@example(keys=[(0, 2), (0, 1), (0, 0)], by_time=False, size=1, part=30)
def test_chunks_take_series_by_series(keys, by_time, size, part):
    """Each row once, in the order of the key, and as few chunks as there can be, however the rows come."""
    rows = {(second, f"series_{series}"): 1.0 for series, second in keys}
    observations = observed(rows)
    observations = observations.in_time_order() if by_time else observations
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "PART_ROWS", part)
        patch.setattr(chunks, "BLOCK_ROWS", 4)
        found = list(chunks.in_chunks(observations, size, by_key=True))
        as_they_come = list(chunks.in_chunks(replace(observations, keeps_order=True), size, by_key=True))
    made = [chunks.chunk_of(observations, rows) for rows in found]
    order = np.lexsort((observations.timestamps, observations.codes))
    assert [len(chunk) for chunk in found[:-1]] == [size] * (len(found) - 1)
    assert len(found) == len(as_they_come) == max(1, -(-len(rows) // size))
    assert np.concatenate(as_they_come).tolist() == list(range(len(rows)))
    assert np.concatenate([chunk.codes for chunk in made]).tolist() == observations.codes[order].tolist()
    if len(rows) > size:
        assert np.concatenate(found).tolist() == order.tolist()


def test_not_found_leaves_the_store_as_it_was(store, url):
    """An upsert to a data source that does not exist stores nothing and creates nothing."""
    for rows in (minutes(5), {}):
        with pytest.raises(DataSourceNotFoundError, match="create_data_source") as caught:
            put(store, rows, "unknown")
        assert (caught.value.report.unsent, caught.value.data_source) == (len(rows), "unknown")
    assert store.data_sources() == ["metrics"]
    assert rows_of(url, "temporis_series") == 0


@pytest.mark.parametrize("rows", [{}, minutes(5)])
def test_create_missing(url, rows):
    """With create_missing an upsert makes what is not there, also without observations."""
    store = SqlStore(url, create_missing=True)
    assert put(store, rows).stored == len(rows)
    assert store.data_sources() == ["metrics"]
    store.set_archived("metrics", archived=True)
    with pytest.raises(DataSourceArchivedError):
        put(store, minutes(5))
    store.close()


# The database


def test_closing_is_not_final(store):
    """Closing twice is fine, and the next operation opens the database again."""
    put(store, minutes(5))
    store.close()
    store.close()
    assert len(content(store)) == 5


def test_a_store_let_go_is_closed(url, monkeypatch):
    """A notebook that never closes leaves no connection open, and hears no ResourceWarning (of Python 3.13) for it."""
    disposed = []
    dispose = sa.Engine.dispose
    monkeypatch.setattr(sa.Engine, "dispose", lambda engine: disposed.append(engine) or dispose(engine))
    store = SqlStore(url, create_missing=True)
    put(store, minutes(5))
    del store
    gc.collect()
    assert len(disposed) == 1


BAD_URLS = [
    "temporis.db", "", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://temporis.db", "sqlite:///x?mode=ro",
    "sqlite+aiosqlite:///x.db", "mysql://me:s3cret@host:port/db", "mysql+pymysql://me:s3cret@host/db",
    "postgresql+psycopg2://me:s3cret@host/db",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_URLS)
def test_bad_urls(bad):
    """A URL that names no store is refused before any I/O, with an example and without secrets."""
    with pytest.raises(ConfigurationError, match="sqlite:///") as caught:
        SqlStore(bad)
    assert "s3cret" not in str(caught.value)


# Failures


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("committed", [False, True])
def test_interrupted_in_the_commit(store, monkeypatch, small_chunks, committed):
    """Interrupted around a commit, the chunk is unknown, those before stored, those after unsent."""
    database = type(store._database)
    real = database.commit

    def commit(*given) -> None:
        commits.append(1)
        if len(commits) < 3 or committed:
            real(*given)
        if len(commits) == 3:
            raise Interrupted

    commits: list[int] = []
    monkeypatch.setattr(database, "commit", commit)
    tally = tally_of(minutes(50))
    with pytest.raises(Interrupted):
        store.upsert(tally)
    report = tally.report()
    assert (report.stored, report.unknown, report.unsent) == (20, 10, 20)
    assert len(content(store)) == 20 + 10 * committed
    monkeypatch.undo()
    assert put(store, minutes(50)).unchanged == 20 + 10 * committed


def test_a_failing_commit(store, kind, monkeypatch, small_chunks):
    """A commit that fails leaves its rows unknown, and the error says so."""

    def commit(*_given) -> None:
        raise DISK_FULL[kind]("disk I/O error")

    monkeypatch.setattr(type(store._database), "commit", commit)
    error = failing(store, minutes(50))
    assert (error.report.unknown, error.report.unsent) == (10, 40)
    assert "0 of 50 observations are stored, 40 are not, 10 may be" in str(error)
    assert error.report.unknown_rows["reason"].str.contains("disk I/O error").all()


@pytest.mark.parametrize("mine", [sqlite3.OperationalError, psycopg.OperationalError])
def test_what_the_caller_raises_goes_through(store, small_chunks, mine):
    """An exception from a progress callback is the caller's own, even one that looks like the database's."""

    def progress(settled: int) -> None:
        raise mine("mine")

    tally = tally_of(minutes(50), progress=progress)
    with pytest.raises(mine, match="mine"):
        store.upsert(tally)
    assert tally.report().stored == len(content(store)) == 10


def test_a_new_series_of_a_failed_chunk_is_not_remembered(store, url, kind, monkeypatch, small_chunks):
    """After a chunk was rolled back, none of its series exists."""
    database = type(store._database)
    written = database.upsert_chunk

    def fail(*given) -> int:
        written(*given)
        raise DISK_FULL[kind]("database or disk is full")

    monkeypatch.setattr(database, "upsert_chunk", fail)
    failing(store, minutes(50))
    assert rows_of(url, "temporis_series") == 0
    monkeypatch.undo()
    assert put(store, minutes(50)).stored == 50


# Threads


def test_threads_share_a_store(store, small_chunks):
    """Many threads upsert, read and open at once; every report is right and nothing is lost."""
    writers, errors = 12, []

    def work(number: int) -> None:
        try:
            assert put(store, minutes(60, name=f"series {number}")).stored == 60
            assert len(content(store, names=[f"series {number}"])) == 60
        except (TemporisError, AssertionError) as error:
            errors.append(error)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, range(writers)))
    assert errors == []
    assert len(content(store)) == writers * 60


def test_a_read_is_one_state(store, monkeypatch):
    """What is written while a read goes on is not in it: both series stand as they were at its start."""
    put(store, {(0, "a"): 1.0, (0, "b"): 1.0})
    database = type(store._database)
    series = database.series

    def overtaken(*given):
        found = series(*given)
        put(store, {(0, "a"): 2.0, (0, "b"): 2.0})
        return found

    monkeypatch.setattr(database, "series", overtaken)
    assert content(store) == {(0, "a"): 1.0, (0, "b"): 1.0}
    monkeypatch.undo()
    assert content(store) == {(0, "a"): 2.0, (0, "b"): 2.0}


@pytest.mark.parametrize("url", ["mysql://user:secret@here/db", "sqlite://", "nonsense"])
def test_a_traceback_with_variables_survives_a_store_that_cannot_be(url):
    """What shows a traceback with its variables (Rich, Sentry) asks for the repr of a store that was not made."""
    with pytest.raises(ConfigurationError) as caught:
        SqlStore(url)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    inside = [frame.locals for frame in frames.stack if frame.name == "__init__"]
    assert [variables["self"] for variables in inside] == ["SqlStore(None, account=None)"]
