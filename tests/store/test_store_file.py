"""A store in a SQLite file: what is SQLite's own. Nothing here waits for time to pass."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite import schema, write
from temporis_dagster.errors import DataSourceNotFoundError, StoreError
from tests.support.store_tools import (
    content,
    cut_into_chunks,
    digest,
    every_call_fails,
    failing,
    minutes,
    put,
    tally_of,
)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    store.create_data_source("metrics")
    yield store
    store.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_into_chunks(10, monkeypatch)
    monkeypatch.setattr(write, "ROWS_PER_STATEMENT", 4)


def test_sql_reads_negative_zero_as_a_number(store, url):
    """A hand-written query may add and average what is stored."""
    put(store, {(0, "orders"): -0.0, (60, "orders"): 3.0})
    with sqlite3.connect(url.removeprefix("sqlite:///")) as by_hand:
        assert by_hand.execute("SELECT sum(value), avg(value) FROM temporis_observation").fetchone() == (3.0, 1.5)
    by_hand.close()


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


def test_a_deleted_file_is_gone(store, tmp_path):
    """What is written never goes to a file that was deleted or replaced under an open store."""
    put(store, minutes(5))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataSourceNotFoundError, match="the file does not exist"):
        put(store, minutes(5))
    store.create_data_source("metrics")
    assert content(store) == {}


VERSION_1 = (
    """CREATE TABLE temporis_account (
        id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (name) )""",
    """CREATE TABLE temporis_data_source (
        id INTEGER NOT NULL, account INTEGER NOT NULL, name TEXT NOT NULL, archived BOOLEAN NOT NULL,
        created_at INTEGER NOT NULL, last_write INTEGER, first_timestamp INTEGER, last_timestamp INTEGER,
        PRIMARY KEY (id), UNIQUE (account, name),
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
    """The shape of a released version never changes: a new shape is a new migration step, such as ``last_write``."""
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as by_hand:
        later = "('temporis_token', 'temporis_store')"
        tables = f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name NOT IN {later} ORDER BY name"
        made = by_hand.execute(tables).fetchall()
        assert by_hand.execute("SELECT * FROM temporis_schema_version").fetchall() == [(4,)]
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
    assert len(content(store)) == 5
    store.close()
    assert len(content(store)) == 5
    assert len(added) == 1


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


def on_connect(store: SqlStore, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Run a statement on every new connection of the store."""
    connect = sqlite_file._connect

    def connected(path: Path, create: bool) -> sqlite3.Connection:
        connection = connect(path, create)
        connection.execute(statement)
        return connection

    store.close()
    monkeypatch.setattr(sqlite_file, "_connect", connected)
