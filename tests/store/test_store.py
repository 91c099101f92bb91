"""The SQL data source on SQLite, against real files. Nothing here waits for time to pass."""

from __future__ import annotations

import gc
import os
import pickle
import sqlite3
import struct
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore, upsert
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite import schema, write
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.data_source.target import ArchiveState, ReadableTarget
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    StoreError,
    TemporisError,
)

Content = dict[tuple[int, str], float]


def observed(rows: Content) -> Observations:
    names = tuple(dict.fromkeys(name for _, name in rows))
    codes = {name: code for code, name in enumerate(names)}
    return Observations(
        timestamps=np.array([timestamp for timestamp, _ in rows], dtype=np.int64),
        codes=np.array([codes[name] for _, name in rows], dtype=np.int32),
        names=names,
        values=np.array(list(rows.values()), dtype=np.float64),
        origin=Origin(pd.RangeIndex(len(rows))),
    )


def tally_of(rows: Content, source: str = "metrics", progress=None) -> Tally:
    return Tally(source, observed(rows), progress=progress)


def put(store: SqlStore, rows: Content, source: str = "metrics"):
    tally = tally_of(rows, source)
    store.upsert(tally)
    return tally.report()


def content(store: SqlStore, source: str = "metrics", start=None, end=None, names=None) -> Content:
    frame = store.read(source, start, end, names)
    stamps = frame["timestamp"].astype("int64").tolist()
    return dict(zip(zip(stamps, frame["name"], strict=True), frame["value"].tolist(), strict=True))


def bits(rows: Content) -> dict[tuple[int, str], bytes]:
    return {key: struct.pack("<d", value) for key, value in rows.items()}


def digest(store: SqlStore, source: str = "metrics", start=None, end=None, names=None) -> str:
    return store.content_digest(source, start, end, names)


def minutes(rows: int, value: float = 1.0, name: str = "orders") -> Content:
    return {(60 * minute, name): value + minute for minute in range(rows)}


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    store.create_data_source("metrics")
    yield store
    store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('shared')}/temporis.db")
    yield store
    store.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 10)
    monkeypatch.setattr(write, "ROWS_PER_STATEMENT", 4)


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


def test_sql_reads_negative_zero_as_a_number(store, url):
    """A hand-written query may add and average what is stored."""
    put(store, {(0, "orders"): -0.0, (60, "orders"): 3.0})
    with sqlite3.connect(url.removeprefix("sqlite:///")) as by_hand:
        assert by_hand.execute("SELECT sum(value), avg(value) FROM temporis_observation").fetchone() == (3.0, 1.5)
    by_hand.close()


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
            patch.setattr(upsert, "CHUNK_ROWS", random.randint(1, 12))
            patch.setattr(write, "ROWS_PER_STATEMENT", random.randint(1, 12))
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
    frame = store.read("metrics", None, None, None)
    assert frame["name"].tolist() == ["😀", "z", "ä", "\uffff", "B", "b"]
    assert frame["value"].tolist() == [5.0, 3.0, 2.0, 6.0, 4.0, 1.0]
    assert frame["timestamp"].iloc[0] == pd.Timestamp("1969-12-31T23:59:00Z")
    empty = store.read("metrics", 1, 2, None)
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


def test_not_found_leaves_the_store_as_it_was(store):
    """An upsert to a data source that does not exist stores nothing and creates nothing."""
    for rows in (minutes(5), {}):
        with pytest.raises(DataSourceNotFoundError, match="create_data_source") as caught:
            put(store, rows, "unknown")
        assert (caught.value.report.unsent, caught.value.data_source) == (len(rows), "unknown")
    assert store.data_sources() == ["metrics"]
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as by_hand:
        assert by_hand.execute("SELECT count(*) FROM temporis_series").fetchone() == (0,)
    by_hand.close()


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


# The file


@pytest.mark.parametrize("present", [False, True])
def test_asking_makes_no_file(tmp_path, url, present):
    """Only creating makes a store: nothing else makes a file, or tables in a file of another application."""
    path = tmp_path / "temporis.db"
    if present:
        with sqlite3.connect(path) as own:
            own.execute("CREATE TABLE mine (x)")
        own.close()
    before = path.read_bytes() if present else None
    store = SqlStore(url)
    calls = (
        lambda: put(store, minutes(5)),
        lambda: content(store),
        lambda: digest(store),
        lambda: store.archive_state("metrics"),
        lambda: store.set_archived("metrics", archived=True),
    )
    for call in calls:
        with pytest.raises(DataSourceNotFoundError, match="There is no data source 'metrics'") as caught:
            call()
        assert caught.value.report.data_source == "metrics"
    assert store.data_sources() == []
    store.close()
    assert (path.read_bytes() if path.exists() else None) == before
    assert len(list(tmp_path.iterdir())) == present


def test_a_file_may_hold_tables_of_others(tmp_path, url):
    """A store lives alongside a user's own tables and leaves them alone."""
    with sqlite3.connect(tmp_path / "temporis.db") as own:
        own.execute("CREATE TABLE account (x)")
        own.execute("INSERT INTO account VALUES (42)")
    store = SqlStore(url, create_missing=True)
    put(store, minutes(5))
    assert own.execute("SELECT * FROM account").fetchall() == [(42,)]
    own.close()
    store.close()


def test_a_relative_path_is_resolved_once(tmp_path, monkeypatch):
    """A store stays where it was when it was named, wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    store = SqlStore("sqlite:///a b%25#.db")
    monkeypatch.chdir("/")
    assert store.url.startswith(f"sqlite:///{tmp_path}/a b")
    store.create_data_source("metrics")
    assert list(tmp_path.glob("a b%*#.db"))
    again = SqlStore(store.url)
    assert again.data_sources() == ["metrics"]
    again.close()
    store.close()


def test_closing_is_not_final(store):
    """Closing twice is fine, and the next operation opens the file again."""
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


def test_a_deleted_file_is_gone(store, tmp_path):
    """What is written never goes to a file that was deleted or replaced under an open store."""
    put(store, minutes(5))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataSourceNotFoundError, match="the file does not exist"):
        put(store, minutes(5))
    store.create_data_source("metrics")
    assert content(store) == {}


BAD_URLS = [
    "temporis.db", "", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://temporis.db", "sqlite:///x?mode=ro",
    "sqlite+aiosqlite:///x.db", "mysql://me:s3cret@host:port/db", "mysql+pymysql://me:s3cret@host/db",
    "postgresql+psycopg2://me:s3cret@host/db",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_URLS)
def test_bad_urls(bad):
    """A URL that does not name a SQLite file is refused before any I/O, with an example and without secrets."""
    with pytest.raises(ConfigurationError, match="sqlite:///") as caught:
        SqlStore(bad)
    assert "s3cret" not in str(caught.value)


VERSION_1 = (
    """CREATE TABLE temporis_account (
        id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (name) )""",
    """CREATE TABLE temporis_data_source (
        id INTEGER NOT NULL, account INTEGER NOT NULL, name TEXT NOT NULL, archived BOOLEAN NOT NULL,
        created_at INTEGER NOT NULL, PRIMARY KEY (id), UNIQUE (account, name),
        FOREIGN KEY(account) REFERENCES temporis_account (id) )""",
    """CREATE TABLE temporis_observation (
        series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL, PRIMARY KEY (series, timestamp),
        FOREIGN KEY(series) REFERENCES temporis_series (id) ) WITHOUT ROWID""",
    "CREATE TABLE temporis_schema_version ( version INTEGER NOT NULL )",
    """CREATE TABLE temporis_series (
        id INTEGER NOT NULL, data_source INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id),
        UNIQUE (data_source, name), FOREIGN KEY(data_source) REFERENCES temporis_data_source (id) )""",
)


def test_the_tables_of_version_1(store):
    """The shape of a released version never changes: a new shape is a new migration step."""
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as by_hand:
        later = "('temporis_token', 'temporis_store')"
        tables = f"SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT IN {later} ORDER BY name"
        made = by_hand.execute(tables).fetchall()
        assert by_hand.execute("SELECT * FROM temporis_schema_version").fetchall() == [(3,)]
        assert by_hand.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    by_hand.close()
    assert [" ".join(sql.split()) for (sql,) in made] == [" ".join(sql.split()) for sql in VERSION_1]


def test_an_older_store_is_migrated(store, monkeypatch):
    """Opening a store of an older version runs the steps it lacks, once, and keeps what it holds."""
    put(store, minutes(5))
    store.close()
    added = []
    steps = (*schema.MIGRATIONS, added.append)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", steps)
    assert len(content(store)) == 5
    store.close()
    assert len(content(store)) == 5
    assert len(added) == 1


# Failures


def failing(store: SqlStore, rows: Content, source: str = "metrics") -> StoreError:
    """The error of an upsert that fails, which is complete and survives pickling."""
    with pytest.raises(StoreError) as caught:
        put(store, rows, source)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.url == store.url
    assert error.report.observations_in == len(rows)
    assert error.report.stored + error.report.unchanged + error.report.unsent + error.report.unknown == len(rows)
    assert str(error) == str(caught.value)
    assert str(error).endswith(".")
    return error


def every_call_fails(store: SqlStore, match: str) -> None:
    calls = (
        lambda: store.create_data_source("other"),
        lambda: store.set_archived("metrics", archived=True),
        lambda: store.archive_state("metrics"),
        lambda: content(store),
        lambda: digest(store),
        store.data_sources,
    )
    for call in calls:
        with pytest.raises(StoreError, match=match) as caught:
            call()
        assert caught.value.report is None
    assert failing(store, minutes(5)).report.unsent == 5


@pytest.mark.parametrize("opened", [False, True])
def test_a_newer_store_is_refused(store, url, opened):
    """A store written by a newer version is left alone, also if it was upgraded under an open connection."""
    if not opened:
        store.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as by_hand:
        by_hand.execute("UPDATE temporis_schema_version SET version = 99")
    by_hand.close()
    every_call_fails(store, r"has version 99.*Upgrade temporis_dagster")


def test_not_a_database(tmp_path, url):
    """A file that is not a database is refused with an error that explains it, and stays unchanged."""
    (tmp_path / "temporis.db").write_bytes(b"timestamp,name,value\n" * 100)
    every_call_fails(SqlStore(url), r"not a database.*Check the path")
    assert (tmp_path / "temporis.db").read_bytes() == b"timestamp,name,value\n" * 100


def test_a_directory_is_no_file(tmp_path):
    """A path that is a directory is an error that says what to check."""
    every_call_fails(SqlStore(f"sqlite:///{tmp_path}"), r"unable to open.*Check that it is a file")


def test_a_missing_directory(tmp_path):
    """Creating a store in a directory that does not exist names the directory; asking finds nothing."""
    store = SqlStore(f"sqlite:///{tmp_path}/missing/temporis.db", create_missing=True)
    with pytest.raises(StoreError, match=r"missing does not exist\. Create the directory"):
        store.create_data_source("metrics")
    assert "Create the directory" in str(failing(store, minutes(5)))
    assert store.data_sources() == []
    assert not (tmp_path / "missing").exists()


def test_read_only(store, monkeypatch):
    """A file that cannot be written is a StoreError that says so; reading goes on."""
    put(store, minutes(5))
    on_connect(store, monkeypatch, "PRAGMA query_only = ON")
    error = failing(store, minutes(9))
    assert (error.report.unsent, error.retryable) == (9, False)
    assert "writable" in str(error)
    assert len(content(store)) == 5


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_read_only_directory(store, tmp_path):
    """A directory that cannot be written is a StoreError, nothing else."""
    store.close()
    tmp_path.chmod(0o500)
    try:
        assert failing(store, minutes(9)).report.unsent == 9
    finally:
        tmp_path.chmod(0o700)


def test_disk_full(store, monkeypatch, small_chunks):
    """When the disk is full the report is exact: what was stored is stored, the rest is not."""
    on_connect(store, monkeypatch, "PRAGMA max_page_count = 40")
    rows = {(second, "x" * 500 + str(second)): float(second) for second in range(200)}
    error = failing(store, rows)
    assert "disk is full: " in str(error)
    assert "Free some space" in str(error)
    assert 0 < error.report.stored < 200
    assert error.report.unknown == 0
    assert content(store) == dict(list(rows.items())[: error.report.stored])
    on_connect(store, monkeypatch, "PRAGMA max_page_count = 100000")
    again = put(store, rows)
    assert (again.stored, again.unchanged) == (error.report.unsent, error.report.stored)


def test_a_damaged_file(store, tmp_path):
    """A damaged file is an error that says so, in every operation."""
    put(store, minutes(5_000))
    store.close()
    path = tmp_path / "temporis.db"
    healthy = path.read_bytes()
    path.write_bytes(healthy[:4096] + b"\xff" * (len(healthy) - 4096))
    assert "malformed" in str(failing(store, minutes(5)))
    with pytest.raises(StoreError, match="malformed"):
        content(store)


def test_locked_for_too_long(store, url, monkeypatch):
    """A lock that another holds beyond the timeout is a retryable error; readers are not held up."""
    put(store, minutes(5))
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    by_hand = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    by_hand.execute("BEGIN IMMEDIATE")
    error = failing(store, minutes(9))
    assert (error.retryable, error.report.unsent) == (True, 9)
    assert "transaction open" in str(error)
    assert len(content(store)) == 5
    by_hand.execute("ROLLBACK")
    by_hand.close()
    assert put(store, minutes(9)).stored == 4


def test_a_waiter_gets_the_lock(store, url):
    """A lock held for a while only delays."""
    by_hand = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    by_hand.execute("BEGIN IMMEDIATE")
    begun = threading.Event()
    tally = tally_of(minutes(5))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: (begun.set(), store.upsert(tally)))
        begun.wait()
        by_hand.execute("COMMIT")
        waiting.result()
    by_hand.close()
    assert tally.report().stored == 5


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("committed", [False, True])
def test_interrupted_in_the_commit(store, monkeypatch, small_chunks, committed):
    """Interrupted around a commit, the chunk is unknown, those before stored, those after unsent."""

    def commit(_database, connection) -> None:
        commits.append(1)
        if len(commits) < 3 or committed:
            sqlite_file.commit(connection)
        if len(commits) == 3:
            raise Interrupted

    commits: list[int] = []
    monkeypatch.setattr(SqliteDatabase, "commit", commit)
    tally = tally_of(minutes(50))
    with pytest.raises(Interrupted):
        store.upsert(tally)
    report = tally.report()
    assert (report.stored, report.unknown, report.unsent) == (20, 10, 20)
    assert len(content(store)) == 20 + 10 * committed
    monkeypatch.undo()
    assert put(store, minutes(50)).unchanged == 20 + 10 * committed


def test_a_failing_commit(store, monkeypatch, small_chunks):
    """A commit that fails leaves its rows unknown, and the error says so."""

    def commit(_database, connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(SqliteDatabase, "commit", commit)
    error = failing(store, minutes(50))
    assert (error.report.unknown, error.report.unsent) == (10, 40)
    assert "0 of 50 observations are stored, 40 are not, 10 may be" in str(error)
    assert error.report.unknown_rows["reason"].str.contains("disk I/O error").all()


def test_what_the_caller_raises_goes_through(store, small_chunks):
    """An exception from a progress callback is the caller's own, even one that looks like the database's."""

    def progress(settled: int) -> None:
        raise sqlite3.OperationalError("mine")

    tally = tally_of(minutes(50), progress=progress)
    with pytest.raises(sqlite3.OperationalError, match="mine"):
        store.upsert(tally)
    assert tally.report().stored == len(content(store)) == 10


def test_a_new_series_of_a_failed_chunk_is_not_remembered(store, monkeypatch, small_chunks):
    """After a chunk was rolled back, none of its series exists."""
    written = SqliteDatabase.upsert_chunk

    def fail(database, *given) -> int:
        written(database, *given)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(SqliteDatabase, "upsert_chunk", fail)
    failing(store, minutes(50))
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as by_hand:
        assert by_hand.execute("SELECT count(*) FROM temporis_series").fetchone() == (0,)
    by_hand.close()
    monkeypatch.undo()
    assert put(store, minutes(50)).stored == 50


def on_connect(store: SqlStore, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Run a statement on every new connection of the store."""
    connect = sqlite_file._connect

    def connected(path: Path, create: bool) -> sqlite3.Connection:
        connection = connect(path, create)
        connection.execute(statement)
        return connection

    store.close()
    monkeypatch.setattr(sqlite_file, "_connect", connected)


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
    series = SqliteDatabase.series

    def overtaken(*given):
        found = series(*given)
        put(store, {(0, "a"): 2.0, (0, "b"): 2.0})
        return found

    monkeypatch.setattr(SqliteDatabase, "series", overtaken)
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
