"""PostgreSQL that cannot be used, and administrators and other programs that get in the way.

Every error says what happened, nothing is written or exactly what its report says, and no user and no password shows in
its text, in what it was raised from, in the variables of its traceback, or in the log.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import pandas as pd
import psycopg
import pytest
import trustme
from sqlalchemy import make_url

from temporis_dagster import (
    ConfigurationError,
    DataSourceNotFoundError,
    StoreError,
    TemporisError,
    UnavailableError,
    connect,
)
from tests.conftest import CANARY
from tests.support.postgres_crew import Writer, stored_in, until_settled
from tests.support.postgres_proxy import Proxy
from tests.support.postgres_server import PrivatePostgres
from tests.support.postgres_worker import SOURCE, Plan
from tests.support.secrets_shown import showing
from tests.support.store_tools import cut_into_chunks

PLAN = Plan(rows=40, own=60, chunk_rows=16)
USER = "quiet_reader_5d1c"
"""A user whose name, like the canary, nothing may show."""

SHORT_S = 0.2
"""How long to go on where nothing is going to change."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    cut_into_chunks(PLAN.chunk_rows, monkeypatch)


@pytest.fixture(scope="module")
def guarded():
    """A server that asks for passwords, with a user who may do nothing yet."""
    with PrivatePostgres({"deadlock_timeout": "50ms"}, password="the superuser's") as server:
        server.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{CANARY}'")
        yield server


@pytest.fixture
def database(guarded):
    """The URL of a new database, as that user."""
    with guarded.database() as url:
        try:
            yield guarded.url(make_url(url).database, username=USER, password=CANARY)
        finally:
            guarded.execute(f"DROP OWNED BY {USER}", make_url(url).database, writable=True)


@pytest.fixture
def admin(guarded, database):
    """A connection of the superuser to that database, by hand."""
    with guarded.connect(make_url(database).database) as connection:
        yield connection


@pytest.fixture
def owned(database, admin):
    """A database in which the user may make a store, and has made one."""
    admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
    with connect(database) as temporis:
        temporis.create_data_source(SOURCE)
    return database


def frame(rows: int = 3, value: float = 1.0, name: str = "orders") -> pd.DataFrame:
    return pd.DataFrame({"timestamp": np.arange(rows) + 1_700_000_000, "name": name, "value": value})


def refused(url: str, caplog: pytest.LogCaptureFixture, **options: object) -> TemporisError:
    """Upsert and read; both must fail with an error that shows no secret. Returns that of the upsert."""
    with connect(url, give_up_after_s=SHORT_S, create_missing=True, **options) as temporis:
        source = temporis.data_source(SOURCE)
        with pytest.raises((StoreError, UnavailableError)) as caught:
            source.upsert(frame())
        with pytest.raises(TemporisError) as reading:
            source.read()
    report = caught.value.report
    assert (report.unsent, report.observations_in) == (3, 3)
    for error in (caught.value, reading.value):
        assert showing(error, CANARY, USER) == []
    assert CANARY not in caplog.text
    assert USER not in caplog.text
    return caught.value


def of_another(url: str, **parts: object) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


def test_a_wrong_password(database, caplog):
    """The error says so at once, and that it is about the user and the password, without showing them."""
    error = refused(of_another(database, password=CANARY + "?"), caplog)
    assert "password" in str(error)
    assert not error.retryable


def test_no_password(database, caplog):
    """The same where the URL has none and there is no password file."""
    url = make_url(database)
    without = url.set(password=None)._replace(password=None).render_as_string(hide_password=False)
    error = refused(without, caplog)
    assert "password" in str(error)
    assert not error.retryable


def test_a_user_who_does_not_exist(database, caplog):
    """To somebody without a password, the server does not even say that there is no such user."""
    assert not refused(of_another(database, username=f"{USER}_x"), caplog).retryable


def test_a_database_that_does_not_exist(database, caplog):
    """The error names the database, and waiting for it would not help."""
    error = refused(of_another(database, database="nowhere"), caplog)
    assert "nowhere" in str(error)
    assert not error.retryable


def test_a_user_who_may_not_connect(database, admin, caplog):
    """The error is the server's, with advice."""
    admin.execute(f"REVOKE CONNECT ON DATABASE {make_url(database).database} FROM PUBLIC")
    assert not refused(database, caplog).retryable


def test_a_user_who_may_not_create_tables(database, admin, caplog):
    """There is no store yet, and this user cannot make one: the error says that it is about rights."""
    admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    error = refused(database, caplog)
    assert "permission denied" in str(error)
    assert not error.retryable
    assert admin.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_user_who_may_only_read(owned, admin, guarded, caplog):
    """Reading works; an upsert fails and writes nothing."""
    writer = Writer(0, PLAN)
    with connect(owned) as temporis:
        writer.upsert(temporis._target)
    admin.execute("CREATE ROLE only_reads_5d1c LOGIN PASSWORD 'secret of the reader'")
    try:
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads_5d1c")
        url = of_another(owned, username="only_reads_5d1c", password="secret of the reader")
        with connect(url, give_up_after_s=SHORT_S) as temporis:
            writer.settle(stored_in(url))
            record = writer.upsert(temporis._target)
            assert record["error"] == "StoreError"
            assert "permission denied" in record["text"]
            assert record["unsent"] == PLAN.rows
            with pytest.raises(StoreError) as caught:
                temporis.data_source(SOURCE).upsert(frame())
            assert showing(caught.value, "only_reads_5d1c", "secret of the reader") == []
        writer.settle(stored_in(owned))
    finally:
        admin.execute("DROP OWNED BY only_reads_5d1c")
        admin.execute("DROP ROLE only_reads_5d1c")


def test_nobody_listens(caplog):
    """The server is not there: the upsert goes on for as long as it may, then says that the server is not available."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(f"postgresql+psycopg://{USER}:{CANARY}@127.0.0.1:{port}/shop", caplog)
    assert isinstance(error, UnavailableError)
    assert error.attempts > 1
    assert f"127.0.0.1:{port}" in str(error)


def test_a_host_that_does_not_exist(caplog):
    """The name of the host is in the error."""
    error = refused(f"postgresql+psycopg://{USER}:{CANARY}@no-such-host.invalid/shop", caplog)
    assert "no-such-host.invalid" in str(error)


def test_something_else_listens(caplog):
    """A server that is not PostgreSQL: an error, not a crash and not an endless wait."""

    def answer(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        refused(f"postgresql+psycopg://{USER}:{CANARY}@127.0.0.1:{listener.getsockname()[1]}/shop", caplog)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_never_answers(caplog):
    """It takes the connection and says nothing: each attempt ends after connect_timeout, and the upsert gives up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = refused(f"postgresql+psycopg://{USER}:{CANARY}@127.0.0.1:{port}/shop?connect_timeout=2", caplog)
    assert isinstance(error, UnavailableError)
    assert "timeout" in str(error)


def tls(tmp_path) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, str(tmp_path / "ca.pem")


def test_tls_with_a_verified_certificate(owned, tmp_path):
    """The TLS options of the URL are libpq's, and an upsert goes through."""
    context, authority = tls(tmp_path)
    with Proxy(owned, context) as proxy, connect(with_options(proxy.url(), "verify-full", authority)) as temporis:
        assert temporis.data_source(SOURCE).upsert(frame()).stored == 3


def test_tls_with_a_certificate_of_somebody_else(owned, tmp_path, caplog):
    """The error is about the certificate, and no attempt follows the first."""
    context, _ = tls(tmp_path)
    (tmp_path / "other").mkdir()
    _, authority = tls(tmp_path / "other")
    with Proxy(owned, context) as proxy:
        error = refused(with_options(proxy.url(), "verify-full", authority), caplog)
    assert "certificate" in str(error)
    assert not error.retryable


def test_a_server_without_tls_where_tls_is_required(owned, caplog):
    """The password does not travel unencrypted where the URL forbids it."""
    error = refused(with_options(owned, "require"), caplog)
    assert "SSL" in str(error)
    assert not error.retryable


def with_options(url: str, sslmode: str, authority: str | None = None) -> str:
    options = {"sslmode": sslmode, **({"sslrootcert": authority} if authority else {})}
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


def test_an_option_that_libpq_does_not_know(database):
    """An error at once, which does not quote the URL."""
    url = make_url(database).update_query_dict({"sslmoda": CANARY}).render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    assert showing(caught.value, CANARY, USER) == []


@pytest.mark.parametrize(
    "place",
    [
        f"me:pa@{CANARY}@host/shop",
        f"me:pa@ss/{CANARY}@host/shop",
        f"me:pa@ss?{CANARY}@host/shop",
        f"me@{CANARY}@host/shop",
        f"me:pa@{CANARY}@host/shop?application_name=a@b",
    ],
)
def test_an_at_in_a_password_that_is_not_encoded(place):
    """The URL is refused before anything connects, and no part of the password is taken for a host and shown."""
    with pytest.raises(ConfigurationError, match="%40") as caught:
        connect(f"postgresql+psycopg://{place}")
    assert showing(caught.value, CANARY) == []


@pytest.mark.parametrize(
    "rest", ["me:p%40ss@host/shop?user=a@b", "/shop?user=a@b&password=c@d", "me@/shop?host=a&user=b@c"]
)
def test_an_at_in_an_option_is_taken(rest):
    """The values of options may have an '@'."""
    connect(f"postgresql+psycopg://{rest}").close()


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "postgresql+asyncpg", "PostgreSQL"])
def test_another_driver_of_postgresql(scheme):
    """The error says how the URL has to begin."""
    with pytest.raises(ConfigurationError, match=r"psycopg 3.* postgresql\+psycopg://"):
        connect(f"{scheme}://host/shop")


@pytest.mark.parametrize(
    "scheme", ["mysql+pymysql", "mariadb", "mssql+pyodbc", "oracle", "postgresql+psycopg2", "duckdb"]
)
def test_a_database_of_another_kind(scheme):
    """The error names what is supported, and shows neither user nor password."""
    with pytest.raises(ConfigurationError, match="PostgreSQL") as caught:
        connect(f"{scheme}://{USER}:{CANARY}@host/shop")
    assert showing(caught.value, CANARY, USER) == []


def test_a_store_of_a_newer_version(owned, admin, caplog):
    """It is refused: nothing is read from it, nothing is written, and the advice is to upgrade."""
    admin.execute("UPDATE temporis_schema_version SET version = 999")
    error = refused(owned, caplog)
    assert "newer" in str(error)
    assert "999" in str(error)
    assert admin.execute("SELECT count(*) FROM temporis_observation").fetchone() == (0,)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE temporis_observation CASCADE",
        "DROP TABLE temporis_series CASCADE",
        "DROP TABLE temporis_store",
        "DELETE FROM temporis_store",
        "DELETE FROM temporis_schema_version",
        "ALTER TABLE temporis_observation RENAME value TO amount",
    ],
)
def test_a_database_that_is_only_part_of_a_store(owned, admin, damage, caplog):
    """An error of the tree, at the first use and at the next, and nothing is written."""
    writer = Writer(0, PLAN)
    with connect(owned) as temporis:
        writer.upsert(temporis._target)
        admin.execute(damage)
        with pytest.raises(StoreError) as caught:
            temporis.data_source(SOURCE).upsert(frame())
        assert caught.value.report.unsent == 3
        assert showing(caught.value, CANARY, USER) == []
    refused_again(owned)


def refused_again(url: str) -> None:
    with connect(url, give_up_after_s=SHORT_S) as temporis, pytest.raises(StoreError) as caught:
        temporis.data_source(SOURCE).upsert(frame())
    assert caught.value.report.unsent == 3


def test_tables_of_somebody_else_with_our_names(database, admin, caplog):
    """A table that looks like ours but is not: an error, and the table stays as it is."""
    admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
    admin.execute("CREATE TABLE temporis_observation (id int)")
    admin.execute("INSERT INTO temporis_observation VALUES (7)")
    refused(database, caplog)
    assert admin.execute("SELECT * FROM temporis_observation").fetchall() == [(7,)]
    assert admin.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)


def test_other_tables_of_the_database_stay_as_they_are(database, admin):
    """A store is made next to them."""
    admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
    admin.execute("CREATE TABLE orders AS SELECT 7 AS id")
    with connect(database, create_missing=True) as temporis:
        assert temporis.data_source(SOURCE).upsert(frame()).stored == 3
    assert admin.execute("SELECT * FROM orders").fetchall() == [(7,)]


def test_reading_where_there_is_no_store_makes_none(database, admin):
    """Not found, and the database stays empty."""
    with connect(database) as temporis, pytest.raises(DataSourceNotFoundError):
        temporis.data_source(SOURCE).read()
    assert admin.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_server_in_recovery(private_postgres):
    """It can be read; an upsert is refused with everything unsent; after its promotion the same connection goes on."""
    with private_postgres.database() as url, connect(url, create_missing=True, give_up_after_s=SHORT_S) as temporis:
        writer = Writer(0, PLAN)
        writer.upsert(temporis._target)
        private_postgres.enter_recovery()
        writer.settle(stored_in(url))
        record = writer.upsert(temporis._target)
        assert record["error"] is not None
        assert record["unsent"] == PLAN.rows
        assert "recovery" in record["text"] or "read-only" in record["text"]
        writer.settle(stored_in(url))
        private_postgres.promote()
        assert writer.upsert(temporis._target)["error"] is None
        writer.settle(stored_in(url))


def test_a_new_store_on_a_server_in_recovery(private_postgres):
    """There is no store, and none can be made: an error of the tree."""
    with private_postgres.database() as url:
        private_postgres.enter_recovery()
        with connect(url, create_missing=True, give_up_after_s=SHORT_S) as temporis:
            with pytest.raises((StoreError, UnavailableError), match=r"recovery|read-only") as caught:
                temporis.data_source(SOURCE).upsert(frame())
            assert caught.value.report.unsent == 3
            with pytest.raises(DataSourceNotFoundError):
                temporis.data_source(SOURCE).read()
        private_postgres.promote()


SETTINGS = {
    "lock_timeout": "1ms",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "100ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "timezone": "America/New_York",
    "datestyle": "German",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "enable_indexscan": "off",
    "row_security": "off",
    "search_path": "public, pg_catalog",
    "check_function_bodies": "off",
    "xmloption": "document",
    "plan_cache_mode": "force_generic_plan",
    "work_mem": "64kB",
}
"""Settings that an administrator may have made the default of a database, with values that get in the way the most."""


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_defaults_of_an_administrator_change_nothing(owned, admin, setting):
    """Several threads upsert over one connection, and every report is exact."""
    name = make_url(owned).database
    value = SETTINGS[setting] if setting == "search_path" else f"'{SETTINGS[setting]}'"
    admin.execute(f"ALTER DATABASE {name} SET {setting} TO {value}")
    with connect(owned) as temporis:
        assert upserted_by_threads(temporis, owned, threads=3, times=3) == set()


def test_a_user_whose_transactions_are_read_only_stays_a_reader(owned, admin):
    """An administrator's ``default_transaction_read_only`` is obeyed: nothing is written, and reading goes on."""
    writer = Writer(0, PLAN)
    with connect(owned) as temporis:
        temporis.data_source(SOURCE).upsert(frame(1))
    admin.execute(f"ALTER DATABASE {make_url(owned).database} SET default_transaction_read_only TO on")
    with connect(owned) as temporis:
        record = writer.upsert(temporis._target)
        assert (record["error"], record["unsent"]) == ("StoreError", PLAN.rows)
        assert "read-only transaction" in record["text"]
        assert len(temporis.data_source(SOURCE).read()) == 1


def upserted_by_threads(temporis, url: str, *, threads: int, times: int) -> set[str]:
    """Upsert in several threads over one connection; check all reports. Returns the errors."""
    writers = [Writer(number, PLAN) for number in range(threads)]

    def work(writer: Writer) -> set[str]:
        return {record["text"] for record in (writer.upsert(temporis._target) for _ in range(times))} - {""}

    with ThreadPoolExecutor(threads) as pool:
        errors = set().union(*pool.map(work, writers))
    found = stored_in(url)
    for writer in writers:
        writer.settle(found)
    return errors


def test_a_statement_timeout_that_is_too_short(owned, admin):
    """The chunk that ran into it is unsent, as the report says, and the error names the setting."""
    admin.execute("BEGIN")
    admin.execute("LOCK TABLE temporis_observation")
    url = (
        make_url(owned).update_query_dict({"options": "-c statement_timeout=100"}).render_as_string(hide_password=False)
    )
    writer = Writer(0, PLAN)
    with connect(url, give_up_after_s=5) as temporis:
        record = writer.upsert(temporis._target)
        assert record["unsent"] == PLAN.rows
        assert "statement timeout" in record["text"]
        admin.execute("ROLLBACK")
        assert writer.upsert(temporis._target)["error"] is None
    writer.settle(stored_in(owned))


def test_a_lock_that_another_program_holds_for_too_long(owned, admin):
    """Nothing was written, waiting may help, and the same connection goes on once the lock is free."""
    writer = Writer(0, PLAN)
    with connect(owned, give_up_after_s=SHORT_S) as temporis:
        writer.upsert(temporis._target)
        admin.execute("BEGIN")
        admin.execute("LOCK TABLE temporis_observation")
        record = writer.upsert(temporis._target)
        assert record["error"] in ("StoreError", "UnavailableError")
        assert record["unsent"] == PLAN.rows
        assert "lock" in record["text"]
        admin.execute("ROLLBACK")
        assert writer.upsert(temporis._target)["error"] is None
    writer.settle(stored_in(owned))


def test_an_upsert_waits_for_a_lock_that_another_program_holds(owned, admin, guarded):
    """It goes on when the lock is free."""
    writer = Writer(0, PLAN)
    with connect(owned) as temporis, ThreadPoolExecutor(1) as pool:
        writer.upsert(temporis._target)
        admin.execute("BEGIN")
        admin.execute("LOCK TABLE temporis_observation")
        waiting = pool.submit(writer.upsert, temporis._target)
        until_waiting(guarded, owned)
        admin.execute("ROLLBACK")
        assert waiting.result()["error"] is None
    writer.settle(stored_in(owned))


def until_waiting(server: PrivatePostgres, url: str, sessions: int = 1) -> None:
    """Wait until so many sessions of this database wait for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server.connect() as connection:
        while connection.execute(statement, (make_url(url).database,)).fetchone()[0] < sessions:
            pass


def test_several_connections_make_the_store_at_once(database, admin, guarded):
    """One makes it; those that waited for it meanwhile find it made."""
    admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
    admin.execute("BEGIN")
    admin.execute("SELECT pg_advisory_xact_lock(hashtext('temporis_store'))")

    def make(number: int) -> int:
        with connect(database, create_missing=True) as temporis:
            return temporis.data_source(SOURCE).upsert(frame(name=f"series {number}")).stored

    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(make, number) for number in range(3)]
        until_waiting(guarded, database, sessions=3)
        admin.execute("ROLLBACK")
        assert [one.result() for one in made] == [3, 3, 3]


def test_a_deadlock_with_another_program_is_tried_again(owned, admin, guarded):
    """Another program takes the same locks in another order; the store is the victim, begins again, and succeeds."""
    writer = Writer(0, PLAN)
    with connect(owned) as temporis, ThreadPoolExecutor(1) as pool:
        writer.upsert(temporis._target)
        admin.execute("SET deadlock_timeout = '1h'")  # so the other one is the victim
        admin.execute("BEGIN")
        admin.execute("UPDATE temporis_observation SET value = value")
        waiting = pool.submit(writer.upsert, temporis._target)
        until_waiting(guarded, owned)
        admin.execute("UPDATE temporis_data_source SET archived = archived")
        admin.execute("COMMIT")
        record = waiting.result()
        assert record["error"] is None
        assert record["retries"] >= 1
    writer.settle(stored_in(owned))


@pytest.mark.parametrize("rows", [40, 400], ids=["inserted", "copied"])
@pytest.mark.parametrize("value", ["1", "2"], ids=["the same value", "another value"])
def test_a_foreign_writer_inserts_the_same_key_at_the_same_time(owned, admin, guarded, value, rows, monkeypatch):
    """It does not take the lock of the data source: the upsert waits for it, and its own values win."""
    cut_into_chunks(1_000, monkeypatch)
    with connect(owned) as temporis, ThreadPoolExecutor(1) as pool:
        source = temporis.data_source(SOURCE)
        source.upsert(frame(1))
        series = admin.execute("SELECT id FROM temporis_series").fetchone()[0]
        admin.execute("BEGIN")
        admin.execute(
            f"INSERT INTO temporis_observation (series, timestamp, value)"
            f" SELECT {series}, 1700000000 + n, {value} FROM generate_series(20, 30) n"
        )
        waiting = pool.submit(source.upsert, frame(rows))
        until_waiting(guarded, owned)
        admin.execute("COMMIT")
        report = waiting.result()
        assert report.stored + report.unchanged == rows
        assert report.unchanged >= 1
        assert source.read()["value"].tolist() == [1.0] * rows


@contextmanager
def cut_in(owned: str, statement: str, action: Callable[[], object], occurrence: int) -> Iterator[tuple[Writer, dict]]:
    """An upsert of three chunks, during which something happens before a statement; yields its record."""
    writer = Writer(0, PLAN)
    with Proxy(owned) as proxy, connect(proxy.url(), give_up_after_s=SHORT_S) as temporis:
        writer.upsert(temporis._target)
        proxy.before(statement, action, occurrence)
        yield writer, writer.upsert(temporis._target)


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
def test_the_database_is_dropped_during_an_upsert(owned, guarded, statement):
    """An error of the tree; what was stored before is reported as stored, the rest as unsent or unknown."""
    name = make_url(owned).database
    drop = lambda: guarded.execute(f"DROP DATABASE {name} WITH (FORCE)")  # noqa: E731
    try:
        with cut_in(owned, statement, drop, 2) as (_, record):
            assert record["error"] is not None
            assert record["stored"] + record["unchanged"] == PLAN.chunk_rows, record
            assert bool(record["unknown"]) == (statement == "COMMIT")
    finally:
        guarded.execute(f"CREATE DATABASE {name}")


def test_the_tables_are_dropped_during_an_upsert(owned, guarded):
    """The same where only the tables are gone."""
    name = make_url(owned).database
    drop = lambda: guarded.execute("DROP TABLE temporis_observation CASCADE", name)  # noqa: E731
    with cut_in(owned, "BEGIN", drop, 2) as (_, record):
        assert record["error"] == "StoreError"
        assert (record["stored"] + record["unchanged"], record["unknown"]) == (PLAN.chunk_rows, 0)


def test_another_store_takes_the_place_of_the_first_during_an_upsert(owned, guarded):
    """The upsert does not go on in the other store, and doubts what it stored in the first."""
    name = make_url(owned).database

    def replace() -> None:
        tables = guarded.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
        guarded.execute(f"DROP TABLE {', '.join(table for (table,) in tables)} CASCADE", name)
        with connect(owned) as other:
            other.create_data_source(SOURCE)

    writer = Writer(0, PLAN)
    with Proxy(owned) as proxy, connect(proxy.url(), give_up_after_s=SHORT_S) as temporis:
        temporis.data_source(SOURCE).upsert(frame(1))
        proxy.before("BEGIN", replace, 2)
        with pytest.raises(StoreError, match="replaced") as caught:
            temporis.data_source(SOURCE).upsert(frame(PLAN.rows))
        report = caught.value.report
    assert (report.unknown, report.unsent, report.stored) == (PLAN.chunk_rows, PLAN.rows - PLAN.chunk_rows, 0)
    assert stored_in(owned) == writer.states[0] == {}


def test_the_disk_is_full(monkeypatch):
    """The chunk that found no space is unsent, those before it are stored, and the advice is to free some."""
    cut_into_chunks(10_000, monkeypatch)
    with PrivatePostgres(file_bytes=2 * 2**20 + 4096) as server, server.database() as url:
        with connect(url, create_missing=True, give_up_after_s=SHORT_S) as temporis:
            source = temporis.data_source(SOURCE)
            with pytest.raises(StoreError) as caught:
                source.upsert(frame(100_000))
            report = caught.value.report
            assert (report.unknown, report.stored + report.unsent) == (0, 100_000)
            assert report.stored % 10_000 == 0
            assert 0 < report.stored < 100_000
            assert len(source.read()) == report.stored
            assert "could not extend file" in str(caught.value)
        server.restart("fast")
        assert len(stored_in(url)) == report.stored


def test_a_server_that_is_slow(owned):
    """Every message takes a while; the reports are the same."""
    with Proxy(owned) as proxy:
        proxy.delay_s = 0.002
        with connect(proxy.url()) as temporis:
            assert upserted_by_threads(temporis, owned, threads=2, times=2) == set()


def test_a_connection_that_idles_for_too_long_is_replaced(owned, admin):
    """The server ended the session between two upserts: the next one connects again and says nothing of it."""
    writer = Writer(0, PLAN)
    name = make_url(owned).database
    with connect(owned) as temporis:
        for _ in range(3):
            assert writer.upsert(temporis._target)["error"] is None
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                f" WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            )
    writer.settle(stored_in(owned))


def test_too_many_connections(owned, admin):
    """The upsert waits until there is one free."""
    name = make_url(owned).database
    writer = Writer(0, PLAN)
    # Taken before there is a limit: the server may still be closing the connection that made the store.
    taken = psycopg.connect(make_url(owned).set(drivername="postgresql").render_as_string(hide_password=False))
    admin.execute(f"ALTER ROLE {USER} CONNECTION LIMIT 1")
    try:
        with connect(owned, give_up_after_s=SHORT_S) as temporis:
            record = writer.upsert(temporis._target)
            assert record["error"] == "UnavailableError", record
            assert record["unsent"] == PLAN.rows
            taken.close()
            admin.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        with connect(owned) as temporis:
            assert writer.upsert(temporis._target)["error"] is None
    finally:
        admin.execute(f"ALTER ROLE {USER} CONNECTION LIMIT -1")
    writer.settle(stored_in(owned))


def test_threads_share_one_connection_while_its_sockets_are_cut(owned, soak):
    """Every thread's upserts go on, and every report is exact."""
    with Proxy(owned) as proxy, connect(proxy.url()) as temporis:
        # Rarer than the messages of one attempt, connecting included: otherwise no attempt would get through.
        proxy.cut_when(lambda message: message.number % 397 == 0)
        assert upserted_by_threads(temporis, owned, threads=6, times=20 if soak else 4) == set()
        assert proxy.cuts > 2


def test_a_connection_that_is_lost_while_the_store_is_looked_at_leaves_no_traceback_in_the_log(owned, caplog):
    """The upsert goes on, and nothing is logged as an error, by this library or by SQLAlchemy's pool."""
    writer, cuts = Writer(0, PLAN), []
    with Proxy(owned) as proxy, connect(proxy.url()) as temporis:
        proxy.cut_when(lambda message: message.body.startswith(b"BEGIN") and not cuts and not cuts.append(1))
        assert writer.upsert(temporis._target)["error"] is None
    writer.settle(stored_in(owned))
    assert cuts == [1]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_never_uses_the_socket_of_its_parent(owned, admin):
    """The child connects by itself; what it does, closing and dying included, leaves the parent's session alone."""
    parent, child_writer = Writer(0, PLAN), Writer(1, PLAN)
    sessions = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{make_url(owned).database}' AND pid <> pg_backend_pid()"
    )
    with connect(owned) as temporis:
        parent.upsert(temporis._target)
        child = os.fork()
        if not child:
            in_child(child_writer, temporis)
        assert os.waitpid(child, 0)[1] == 0
        parent.upsert(temporis._target)
        before = admin.execute(sessions).fetchall()
        child = os.fork()
        if not child:
            gc.collect()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert parent.upsert(temporis._target)["error"] is None
        assert len(admin.execute(sessions).fetchall()) <= len(before)
    child_writer.upsert_was_made_elsewhere()
    found = stored_in(owned)
    parent.settle(found)
    child_writer.settle(found)


def in_child(writer: Writer, temporis) -> None:
    """Upsert over the inherited connection, close it and end. Never returns: the tests are the parent's."""
    status = 1
    try:
        record = writer.upsert(temporis._target)
        temporis.close()
        gc.collect()
        status = int(record["error"] is not None)
    finally:
        os._exit(status)


def test_a_fork_in_the_middle_of_an_upsert(owned):
    """While another thread upserts, this one forks: the child connects by itself, and the parent's upsert goes on."""
    writer = Writer(0, PLAN)
    with Proxy(owned) as proxy, connect(proxy.url()) as temporis, ThreadPoolExecutor(1) as pool:
        writer.upsert(temporis._target)
        reached, go_on = threading.Event(), threading.Event()
        proxy.before("COMMIT", lambda: (reached.set(), go_on.wait(60)), 2)
        running = pool.submit(writer.upsert, temporis._target)
        assert reached.wait(60)
        child = os.fork()
        if not child:
            read_in_child(temporis, owned)
        assert os.waitpid(child, 0)[1] == 0
        go_on.set()
        record = running.result()
        assert (record["error"], record["retries"]) == (None, 0)
    writer.settle(stored_in(owned))


def read_in_child(temporis, url: str) -> None:
    """Close the inherited connection, read over an own one, and end. Never returns: the tests are the parent's."""
    status = 1
    try:
        temporis.close()
        gc.collect()
        status = int(len(stored_in(url)) == 0)
    finally:
        os._exit(status)


def test_nothing_is_left_open(owned, guarded):
    """After the connection is closed there is no session of ours, also after errors."""
    writer = Writer(0, PLAN)
    with Proxy(owned) as proxy, connect(proxy.url(), give_up_after_s=SHORT_S) as temporis:
        for place in (5, 9, 13):
            proxy.cut_at(place, to_server=True)
            writer.upsert(temporis._target)
    until_settled(guarded, owned)
    name = make_url(owned).database
    ours = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND usename = '{USER}'"
    while guarded.execute(ours) != [(0,)]:
        pass
    writer.settle(stored_in(owned))
