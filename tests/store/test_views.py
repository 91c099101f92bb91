"""The SQL views of a store, which other programs read, in a SQLite file and in PostgreSQL.

How stores that were made before there were views get them is here as well.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from temporis_dagster import connect
from temporis_dagster.data_source.store import SqlStore, views
from temporis_dagster.data_source.store.postgres import schema as postgres_schema
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite import schema as sqlite_schema
from temporis_dagster.errors import StoreError, UnavailableError
from temporis_dagster.testing import FakeService
from tests.support.store_tools import content, minutes, put

VIEWS = {
    "temporis_v_observations": ["account", "data_source", "series", "timestamp", "at", "value"],
    "temporis_v_series": ["account", "data_source", "series", "observations", "first", "last"],
    "temporis_v_sources": ["account", "data_source", "archived", "series", "observations", "first", "last"],
}
FIRST, LAST = -62_135_596_800, 99_999_999_999
LATEST = {"sqlite": len(sqlite_schema.MIGRATIONS), "postgres": len(postgres_schema.MIGRATIONS)}
NAME = "o'r\"d 📈 <script>"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request) -> str:
    """Which database the test runs on."""
    return request.param


@pytest.fixture
def place(database, tmp_path, request) -> str:
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db" if database == "sqlite" else request.getfixturevalue("postgres_url")


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as another program would."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, options="-c timezone=UTC") as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def columns(url: str, view: str) -> list[str]:
    of_file = f"SELECT name FROM pragma_table_info('{view}') ORDER BY cid"
    of_server = f"SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{view}') ORDER BY attnum"
    return [name for (name,) in rows(url, of_file if url.startswith("sqlite") else of_server)]


@pytest.fixture
def old(place, monkeypatch) -> str:
    """The URL of a store from before there were views, with five observations."""
    with monkeypatch.context() as before:
        before.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:3])
        before.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:1])
        with closing(SqlStore(place)) as store:
            store.create_data_source("metrics")
            put(store, minutes(5))
    assert columns(place, "temporis_v_series") == []
    return place


@contextmanager
def noted() -> Iterator[list[tuple[str, str]]]:
    """The level and the text of each line in the log about views."""
    lines: list[tuple[str, str]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.levelname, record.getMessage()))

    handler = Keeping()
    views.LOGGER.addHandler(handler)
    try:
        yield lines
    finally:
        views.LOGGER.removeHandler(handler)


def test_the_views_show_what_is_stored(place):
    """Every account, source and series, the first and last possible second, and counts that agree with the rows."""
    with closing(SqlStore(place)) as store:
        for name in ("metrics", "empty"):
            store.create_data_source(name)
        put(store, {(FIRST, NAME): -0.5, (-1, NAME): 1e300, (LAST, NAME): 0.1, (1_718_870_400, "orders"): 42.0})
        store.set_archived("metrics", archived=True)
        other = store.of_account("other")
        other.create_data_source("metrics")
        put(other, minutes(3))
        put(other, minutes(1, name="gone"))
        other.delete("metrics", None, None, ["gone"], dry_run=False)
    assert {view: columns(place, view) for view in VIEWS} == VIEWS
    at = "at" if place.startswith("sqlite") else """to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    shown = rows(
        place,
        f"SELECT account, data_source, series, timestamp, {at}, value FROM temporis_v_observations"
        " WHERE account = 'default' ORDER BY timestamp",
    )
    assert shown == [
        ("default", "metrics", NAME, FIRST, "0001-01-01T00:00:00Z", -0.5),
        ("default", "metrics", NAME, -1, "1969-12-31T23:59:59Z", 1e300),
        ("default", "metrics", "orders", 1_718_870_400, "2024-06-20T08:00:00Z", 42.0),
        ("default", "metrics", NAME, LAST, "5138-11-16T09:46:39Z", 0.1),
    ]
    assert rows(place, "SELECT * FROM temporis_v_series ORDER BY account, series DESC") == [
        ("default", "metrics", "orders", 1, 1_718_870_400, 1_718_870_400),
        ("default", "metrics", NAME, 3, FIRST, LAST),
        ("other", "metrics", "orders", 3, 0, 120),
        ("other", "metrics", "gone", 0, None, None),
    ]
    assert rows(place, "SELECT * FROM temporis_v_sources ORDER BY account, data_source DESC") == [
        ("default", "metrics", True, 2, 4, FIRST, LAST),
        ("default", "empty", False, 0, 0, None, None),
        ("other", "metrics", False, 2, 3, 0, 120),
    ]
    with pytest.raises((sqlite3.OperationalError, psycopg.DatabaseError)):
        rows(place, "DELETE FROM temporis_v_observations")


def test_negative_zero_is_a_number(place):
    """The file keeps it as a text, which nobody who reads the view meets."""
    with closing(SqlStore(place, create_missing=True)) as store:
        put(store, {(0, "orders"): -0.0, (60, "orders"): 3.0})
    assert str(rows(place, "SELECT value FROM temporis_v_observations ORDER BY timestamp")) == "[(-0.0,), (3.0,)]"


QUERIES = {
    "one series": "SELECT at, value FROM temporis_v_observations WHERE data_source = 'metrics' AND series = 's7'"
    " AND timestamp >= 6000 AND timestamp < 9600 ORDER BY timestamp",
    "some series": "SELECT at, value FROM temporis_v_observations WHERE account = 'default' AND data_source = 'metrics'"
    " AND series IN ('s7', 's8') AND timestamp BETWEEN 6000 AND 9600 ORDER BY timestamp",
    "all series": "SELECT series, avg(value) FROM temporis_v_observations WHERE data_source = 'metrics'"
    " AND timestamp BETWEEN 6000 AND 9600 GROUP BY series",
}


def test_a_window_of_time_is_read_by_the_primary_key(place):
    """Not the whole table, nor all rows of a series, also before statistics have been gathered.

    For all series in a window, PostgreSQL takes what is cheaper. The last time of a series is found without a count.
    """
    with closing(SqlStore(place)) as store:
        store.create_data_source("metrics")
        put(store, {(0, f"s{number}"): 1.0 for number in range(20)})
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
    rows(
        place,
        "INSERT INTO temporis_observation (series, timestamp, value)"
        f" {numbers} SELECT s.id, 60 * i, 0.5 FROM temporis_series s, n",
    )
    for statistics in (False, True):
        if statistics:
            rows(place, "ANALYZE")
        for what, query in list(QUERIES.items())[: 3 if place.startswith("sqlite") else 2]:
            plan = plan_of(place, query)
            assert "the key, from series and time" in plan, (what, statistics, plan)
            assert "all observations" not in plan, (what, statistics, plan)
        last = plan_of(place, "SELECT series, last FROM temporis_v_series WHERE data_source = 'metrics'")
        assert "all observations" not in last
        assert "SUBQUERY 4" not in last  # neither the first nor the count


def plan_of(url: str, query: str) -> str:
    """How the database would run a query, in words that are the same for both of them."""
    if url.startswith("sqlite"):
        plan = "\n".join(row[-1] for row in rows(url, f"EXPLAIN QUERY PLAN {query}"))
        by_key, scan = "o USING PRIMARY KEY (series=? AND timestamp>? AND timestamp<?)", "SCAN o"
    else:
        plan = "\n".join(row[0] for row in rows(url, f"EXPLAIN {query}"))
        by_key, scan = 'Index Cond: ((series = s.id) AND ("timestamp" >= 6000)', "Seq Scan on temporis_observation"
    return plan.replace(by_key, "the key, from series and time").replace(scan, "all observations")


def test_a_mirror_has_them_too(tmp_path):
    """Under the account ``mirror``, what was delivered; a file for a mirror is no different."""
    with FakeService() as service, connect(service.url, service.token, mirror=f"sqlite:///{tmp_path}/m.db") as temporis:
        temporis.data_source("store_metrics").upsert(
            pd.DataFrame({"timestamp": [0], "name": ["orders"], "value": [42.0]})
        )
    found = rows(f"sqlite:///{tmp_path}/m.db", "SELECT account, series, at, value FROM temporis_v_observations")
    assert found == [("mirror", "orders", "1970-01-01T00:00:00Z", 42.0)]


# Stores from before there were views


def test_reading_an_older_store_adds_them(old, database):
    """Once, and the store keeps what it holds."""
    for _ in range(2):
        with closing(SqlStore(old)) as store:
            assert len(content(store)) == 5
    assert {view: columns(old, view) for view in VIEWS} == VIEWS
    assert rows(old, "SELECT version FROM temporis_schema_version") == [(LATEST[database],)]
    assert rows(old, "SELECT observations FROM temporis_v_sources") == [(5,)]


def test_an_older_store_that_cannot_be_written_is_read_as_it_is(old, database, monkeypatch):
    """A disk or a server that is read-only keeps nobody from reading, and the log says why there are no views."""
    if database == "sqlite":
        usual = sqlite_file._connect

        def read_only(path: Path, create: bool) -> sqlite3.Connection:
            connection = usual(path, create)
            connection.execute("PRAGMA query_only = ON")
            return connection

        monkeypatch.setattr(sqlite_file, "_connect", read_only)
        url = old
    else:
        options = {"options": "-c default_transaction_read_only=on"}
        url = sa.make_url(old).update_query_dict(options).render_as_string(hide_password=False)
    with noted() as said, closing(SqlStore(url)) as store:
        assert len(content(store)) == 5
    ((level, text),) = said
    assert level == "INFO"
    assert "has no SQL views: " in text
    assert "read" in text
    assert columns(old, "temporis_v_series") == []


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_role_that_does_not_own_an_older_store_uses_it_as_it_is(old):
    """Who upgrades this library before the owner of the tables has opened the store goes on writing."""
    role = f"writes_{sa.make_url(old).database}"
    rows(old, f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    try:
        rows(old, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
        rows(old, f"REVOKE UPDATE ON temporis_schema_version FROM {role}")
        as_writer = sa.make_url(old).set(username=role, password="right").render_as_string(hide_password=False)
        with noted() as said, closing(SqlStore(as_writer)) as store:
            assert put(store, minutes(6)).stored == 1
        ((level, text),) = said
        assert (level, "must be owner of table" in text, role in text) == ("INFO", True, False)
        with closing(SqlStore(old)) as store:
            assert len(content(store)) == 6
        assert rows(old, "SELECT observations FROM temporis_v_sources") == [(6,)]
    finally:
        rows(old, f"DROP OWNED BY {role}")
        rows(old, f"DROP ROLE {role}")


def test_what_an_older_store_lacks_is_missed_by_the_dashboard_only(old):
    """Where it cannot be migrated: upserts and tokens for the API work, and one for the dashboard is refused."""
    rows(old, OWN)
    with closing(SqlStore(old)) as store:
        token = store.tokens.create("laptop")
        assert store.tokens.find(token) == ("default", "laptop")
        assert store.tokens.find(token, dashboard=True) is None
        assert [(kept.dashboard, kept.last_used_at) for kept in store.tokens.all()] == [(False, None)]
        assert put(store, minutes(6)).stored == 1
        assert store.overview() == [("metrics", False, 1, 0, 300, None)]
        with pytest.raises(StoreError, match=r"no tokens for the dashboard\. Open the store once as a user who may"):
            store.tokens.create("browser", dashboard=True)
        assert len(store.tokens.all()) == 1


def test_a_store_that_was_migrated_while_version_4_was_developed_gets_its_columns(place, monkeypatch):
    """It has the views and not the columns; the first process that opens it adds them, and it keeps what it holds."""
    with monkeypatch.context() as before:
        views_only = [lambda connection: [connection.exec_driver_sql(view) for view in sqlite_schema.V4]]
        before.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS[:3], *views_only))
        views_only = postgres_schema.V2[len(postgres_schema.V2_COLUMNS) :]
        before.setattr(postgres_schema, "MIGRATIONS", (postgres_schema.V1, views_only))
        before.setattr(sqlite_file, "is_current", lambda _, version: version == 4)
        before.setattr(postgres_schema, "is_current", lambda _, version: version == 2)
        with closing(SqlStore(place)) as store:
            store.create_data_source("metrics")
    assert "last_write" not in columns(place, "temporis_data_source")
    with closing(SqlStore(place)) as store:
        assert put(store, minutes(1)).stored == 1
        assert store.overview()[0][3:5] == (0, 0)
        assert store.overview()[0].last_write is not None
        assert store.tokens.find(store.tokens.create("browser", dashboard=True), dashboard=True) is not None
    assert {view: columns(place, view) for view in VIEWS} == VIEWS


OWN = "CREATE VIEW temporis_v_sources AS SELECT 42 AS mine"


def test_a_view_of_the_user_is_left_alone(old):
    """A store goes on without ours and says which name is taken; once that is free, the next process adds ours."""
    rows(old, OWN)
    with noted() as said, closing(SqlStore(old)) as store:
        assert put(store, minutes(6)).stored == 1
    ((level, text),) = said
    assert level == "WARNING"
    assert "temporis_v_sources" in text
    assert "Rename or drop it" in text
    assert rows(old, "SELECT mine FROM temporis_v_sources") == [(42,)]
    assert columns(old, "temporis_v_observations") == []
    rows(old, "DROP VIEW temporis_v_sources")
    with closing(SqlStore(old)) as store:
        assert len(content(store)) == 6
    assert rows(old, "SELECT observations FROM temporis_v_sources") == [(6,)]


def test_no_store_is_made_over_a_view_of_the_user(place):
    """It is an error that says what to rename, and nothing is made."""
    rows(place, OWN)
    with closing(SqlStore(place)) as store, pytest.raises(StoreError, match=r"temporis_v_sources.*Rename or drop it"):
        store.create_data_source("metrics")
    assert columns(place, "temporis_account") == []
    assert rows(place, "SELECT mine FROM temporis_v_sources") == [(42,)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_reader_of_an_older_file_is_not_held_up(old, monkeypatch):
    """While another program has the file locked, it is read as it is."""
    monkeypatch.setattr(views, "WAIT_S", 0.02)
    with closing(sqlite3.connect(old.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with noted() as said, closing(SqlStore(old)) as store:
            assert len(content(store)) == 5
    ((level, text),) = said
    assert (level, "is locked" in text) == ("INFO", True)
    assert columns(old, "temporis_v_series") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_process_that_is_killed_while_it_adds_them_leaves_nothing_half_done(old):
    """The next one adds them all."""

    def die(_connection: sa.Connection) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if not (child := os.fork()):
        sqlite_schema.MIGRATIONS = (*sqlite_schema.MIGRATIONS, die)
        content(SqlStore(old))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert columns(old, "temporis_v_observations") == []
    with closing(SqlStore(old)) as store:
        assert len(content(store)) == 5
    assert rows(old, "SELECT observations FROM temporis_v_sources") == [(5,)]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_connection_that_is_lost_while_they_are_added_leaves_nothing_half_done(old, monkeypatch):
    """It is an outage like any other, and the next process adds them all."""
    dying = (*postgres_schema.MIGRATIONS, ("SELECT pg_terminate_backend(pg_backend_pid())",))
    with monkeypatch.context() as dead, closing(SqlStore(old, give_up_after_s=0.01)) as store:
        dead.setattr(postgres_schema, "MIGRATIONS", dying)
        with pytest.raises(UnavailableError):
            content(store)
    assert columns(old, "temporis_v_observations") == []
    with closing(SqlStore(old)) as store:
        assert len(content(store)) == 5
    assert rows(old, "SELECT observations FROM temporis_v_sources") == [(5,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_eight_processes_open_an_older_file_at_once(old):
    """One adds the views; all of them read and write, and none is told that the file is locked."""
    read_end, write_end = os.pipe()
    children = [child for number in range(8) if (child := _forked(old, number, read_end, write_end))]
    os.close(read_end)
    os.close(write_end)  # which lets all of them go
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert rows(old, "SELECT series, observations FROM temporis_v_sources") == [(9, 13)]
    assert rows(old, "SELECT version FROM temporis_schema_version") == [(LATEST["sqlite"],)]


def _forked(url: str, number: int, read_end: int, write_end: int) -> int:
    if child := os.fork():
        return child
    status = 1
    try:
        os.close(write_end)
        os.read(read_end, 1)
        store = SqlStore(url)
        assert len(content(store, names=["orders"])) == 5
        put(store, {(0, f"of {number}"): 1.0})
        store.close()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_eight_sessions_open_an_older_database_at_once(old):
    """One adds the views; all of them read and write."""

    def use(number: int) -> int:
        with closing(SqlStore(old)) as store:
            assert len(content(store, names=["orders"])) == 5
            return put(store, {(0, f"of {number}"): 1.0}).stored

    with ThreadPoolExecutor(8) as sessions:
        assert list(sessions.map(use, range(8))) == [1] * 8
    assert rows(old, "SELECT series, observations FROM temporis_v_sources") == [(9, 13)]
    assert rows(old, "SELECT version FROM temporis_schema_version") == [(LATEST["postgres"],)]
