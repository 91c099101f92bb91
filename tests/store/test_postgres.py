"""A store in PostgreSQL: what is PostgreSQL's own, and every kind of bad input that the database can be."""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa

from temporis_dagster.data_source.plan import Within
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.store.postgres import read, schema
from temporis_dagster.data_source.store.read import Window
from temporis_dagster.errors import ConfigurationError, DataSourceNotFoundError, StoreError, UnavailableError
from tests.conftest import CANARY
from tests.support.store_tools import (
    content,
    cut_into_chunks,
    digest,
    every_call_fails,
    failing,
    minutes,
    observed,
    put,
    tally_of,
)


def by_hand(url: str, statement: str) -> list[tuple]:
    """Run a statement as another program would."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> set[str]:
    return {name for (name,) in by_hand(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@pytest.fixture
def store(postgres_url):
    with closing(SqlStore(postgres_url)) as store:
        store.create_data_source("metrics")
        yield store


def test_asking_makes_no_table(postgres_url):
    """Only creating makes a store, in a database that may have tables of others; nothing else touches either."""
    by_hand(postgres_url, "CREATE TABLE mine (x int)")
    store = SqlStore(postgres_url)
    calls = (
        lambda: put(store, minutes(5)),
        lambda: content(store),
        lambda: digest(store),
        lambda: store.archive_state("metrics"),
        lambda: store.set_archived("metrics", archived=True),
    )
    for call in calls:
        with pytest.raises(DataSourceNotFoundError, match="there is no store in this database yet"):
            call()
    assert (store.data_sources(), store.tokens.all(), store.exists) == ([], [], False)
    assert tables(postgres_url) == {"mine"}
    store.create_data_source("metrics")
    assert store.exists
    assert {name for name in tables(postgres_url) if not name.startswith("temporis_")} == {"mine"}
    store.close()


VERSION_1 = {
    "temporis_account": "id bigint, name text",
    "temporis_data_source": "id bigint, account bigint, name text, archived boolean, created_at bigint"
    ", last_write bigint, first_timestamp bigint, last_timestamp bigint",
    "temporis_observation": "timestamp bigint, value double precision, series integer",
    "temporis_schema_version": "version integer",
    "temporis_series": "id integer, data_source bigint, name text",
    "temporis_store": "id uuid",
    "temporis_token": "id bigint, account bigint, label text, hash text, created_at bigint"
    ", dashboard boolean, last_used_at bigint",
}


def test_the_tables_of_version_1(store, postgres_url):
    """The shape of a released version never changes: a new shape is a new migration step."""
    found = by_hand(
        postgres_url,
        "SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)"
        " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' GROUP BY 1",
    )
    assert dict(found) == VERSION_1
    assert by_hand(postgres_url, "SELECT version FROM temporis_schema_version") == [(2,)]


def test_an_older_store_is_migrated(store, postgres_url, monkeypatch):
    """Opening a store of an older version runs the steps it lacks, once, and keeps what it holds."""
    put(store, minutes(5))
    store.close()
    step = ("CREATE TABLE temporis_later (x int)", "INSERT INTO temporis_later VALUES (1)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    for _ in range(2):
        assert len(content(store)) == 5
        store.close()
    assert by_hand(postgres_url, "SELECT x FROM temporis_later") == [(1,)]
    assert by_hand(postgres_url, "SELECT version FROM temporis_schema_version") == [(3,)]


@pytest.mark.parametrize("opened", [False, True])
def test_a_newer_store_is_refused(store, postgres_url, opened):
    """A store written by a newer version is left alone, also if it was upgraded under an open connection."""
    if not opened:
        store.close()
    by_hand(postgres_url, "UPDATE temporis_schema_version SET version = 99")
    every_call_fails(store, r"has version 99.*Upgrade temporis_dagster")


@pytest.mark.parametrize(
    "foreign", ["CREATE TABLE temporis_schema_version (release text)", "CREATE TABLE temporis_account (who text)"]
)
def test_tables_that_are_no_store_of_ours(postgres_url, foreign):
    """A table of another program under one of our names is an error, and stays as it was."""
    by_hand(postgres_url, foreign)
    before = tables(postgres_url)
    with closing(SqlStore(postgres_url, create_missing=True)) as store, pytest.raises(StoreError) as caught:
        store.create_data_source("metrics")
    assert not caught.value.retryable
    assert tables(postgres_url) == before


@pytest.mark.parametrize("table", ["temporis_observation", "temporis_data_source"])
def test_a_table_that_was_removed(store, postgres_url, table):
    """A store that lacks a table is a StoreError, not an empty store."""
    put(store, minutes(5))
    by_hand(postgres_url, f"DROP TABLE {table} CASCADE")
    with pytest.raises(StoreError, match="does not exist"):
        content(store)
    assert failing(store, minutes(5)).report.unsent == 5


def test_a_schema_of_the_search_path_holds_the_store(postgres_server, postgres_url):
    """The first schema of the search path gets the tables; two schemas hold two stores."""
    stores = []
    for schema_name in ("one", "two"):
        by_hand(postgres_url, f"CREATE SCHEMA {schema_name}")
        url = sa.make_url(postgres_url).update_query_dict({"options": f"-csearch_path={schema_name}"})
        stores.append(SqlStore(url.render_as_string(hide_password=False)))
    stores[0].create_data_source("metrics")
    put(stores[0], minutes(5))
    assert stores[1].data_sources() == []
    assert len(by_hand(postgres_url, "SELECT * FROM one.temporis_observation")) == 5
    for store in stores:
        store.close()


def test_a_search_path_without_a_schema(postgres_url):
    """The error says which schema to create."""
    url = sa.make_url(postgres_url).update_query_dict({"options": "-csearch_path=nowhere"})
    with closing(SqlStore(url.render_as_string(hide_password=False))) as store, pytest.raises(StoreError) as caught:
        store.create_data_source("metrics")
    assert "Create the schema that the search_path names first" in str(caught.value)


def test_a_server_in_recovery_can_be_read(private_postgres):
    """Reading goes on; writing is an error that says where to write; after the promotion, both work."""
    private_postgres.execute("CREATE DATABASE metrics")
    with closing(SqlStore(private_postgres.url("metrics"), give_up_after_s=5.0)) as store:
        store.create_data_source("metrics")
        put(store, minutes(5))
        private_postgres.enter_recovery()
        assert len(content(store)) == 5
        error = failing(store, minutes(9))
        assert "Connect to the primary server" in str(error)
        assert error.report.unsent == 9
        private_postgres.promote()
        assert put(store, minutes(9)).stored == 4


REFUSED = {
    "a database that is not there": ({"database": "nowhere"}, StoreError, "Create the database"),
    "a wrong password": ({"password": "wrong"}, StoreError, "password authentication failed"),
    "no password": ({"password": None}, StoreError, "no password supplied"),
    "a role that is not there": ({"username": "stranger"}, StoreError, "authentication failed"),
    "a certificate that is not there": ({"query": {"sslmode": "verify-full"}}, StoreError, "sslmode, sslrootcert"),
    "TLS that the server lacks": ({"query": {"sslmode": "require"}}, StoreError, "sslmode, sslrootcert"),
    "a service that is not there": ({"query": {"service": "nowhere"}}, StoreError, "the service file"),
    "an option that is not there": ({"query": {"sslmod": "require"}}, ConfigurationError, "question mark"),
    "a host that is not there": ({"host": "no-such-host.invalid"}, StoreError, "name of the host"),
}


@pytest.fixture(scope="module")
def with_passwords():
    """A server that asks for passwords."""
    from tests.support.postgres_server import PrivatePostgres

    with PrivatePostgres(password=CANARY) as server:
        yield server


@pytest.mark.parametrize(("change", "kind", "advice"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_connected_to(with_passwords, monkeypatch, change, kind, advice):
    """An error at once, with what to do; neither it nor its traceback shows the user or the password."""
    for variable in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    password = change.get("password", CANARY)
    changed = {"username": "postgres", "password": password, "database": "postgres"} | change
    url = sa.make_url(with_passwords.url()).set(**{name: part for name, part in changed.items() if part is not None})
    if password is None:
        url = sa.URL.create(url.drivername, url.username, None, url.host, url.port, url.database)
    with pytest.raises(kind) as caught, closing(SqlStore(url.render_as_string(hide_password=False))) as store:
        store.create_data_source("metrics")
    assert advice in str(caught.value)
    assert not caught.value.retryable
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if "temporis_dagster" in frame.filename]
    said = str(caught.value) + "".join(str(frame.locals) for frame in ours)
    assert CANARY not in said
    assert "stranger" not in said


OF_A_WRITER = [
    *(f"SELECT ON temporis_{table}" for table in ("schema_version", "store", "account", "data_source", "series")),
    *("SELECT ON temporis_observation", "UPDATE ON temporis_data_source", "INSERT ON temporis_series"),
    *("INSERT ON temporis_observation", "UPDATE ON temporis_observation"),
]
"""The rights that docs/postgres.md grants to a role that upserts."""


def writer(server, url, role):
    """The URL of a new role that has these rights in this database."""
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    for right in OF_A_WRITER:
        by_hand(url, f"GRANT {right} TO {role}")
    return sa.make_url(url).set(username=role, password="right").render_as_string(hide_password=False)


def test_a_writer_needs_each_right_that_the_docs_grant_and_no_other(with_passwords):
    """With all of them, an upsert of new and changed rows succeeds; without any one of them, it is refused."""
    with with_passwords.database() as url, closing(SqlStore(url)) as owner:
        owner.create_data_source("metrics")
        put(owner, minutes(1))
        as_writer = writer(with_passwords, url, "writes")
        for number, right in enumerate(OF_A_WRITER):
            rows = {(0, "orders"): 10.0 + number, (0, f"new {number}"): 1.0}
            by_hand(url, f"REVOKE {right} FROM writes")
            with closing(SqlStore(as_writer)) as store:
                error = failing(store, rows)
            assert "Grant this user the rights that docs/postgres.md lists" in str(error), right
            assert (error.report.unsent, error.retryable) == (2, False), right
            by_hand(url, f"GRANT {right} TO writes")
            with closing(SqlStore(as_writer)) as store:
                assert put(store, rows).stored == 2, right


def test_a_delete_needs_the_right_that_the_docs_grant_for_it(with_passwords):
    """A writer without it is told so, and nothing is deleted; planning needs only the rights of a reader."""
    with with_passwords.database() as url, closing(SqlStore(url)) as owner:
        owner.create_data_source("metrics")
        put(owner, minutes(3))
        with closing(SqlStore(writer(with_passwords, url, "deletes"))) as store:
            assert store.plan("metrics", observed(minutes(2)), Within(((0, 600),))).ghosts == 1
            with pytest.raises(StoreError, match=r"Grant this user the rights .* Nothing was deleted\."):
                store.delete("metrics", 0, 60, None, dry_run=False)
            assert len(content(store)) == 3
            by_hand(url, "GRANT DELETE ON temporis_observation TO deletes")
            assert store.delete("metrics", 0, 60, None, dry_run=False) == 1


@pytest.mark.parametrize(("query", "expected"), [("", 3), ("?connect_timeout=2", 2), ("?connect_timeout=0", 3)])
def test_who_is_in_a_hurry_does_not_wait_for_a_silent_server(query, expected):
    """A service, which has to answer, gives up on it sooner than the ten seconds of everybody else, but never later."""
    store = SqlStore(f"postgresql+psycopg://db.example.com/metrics{query}")
    store.wait_for_locks(2.5)
    assert store._database._parameters._given["connect_timeout"] == expected


@pytest.mark.parametrize("option", ["connect_timeout=soon", "connect_timeout=inf", "port=many"])
def test_an_option_that_is_no_number_is_refused_at_once(option):
    """Nothing is waited for, and the error is one of the tree."""
    with pytest.raises(ConfigurationError, match="a value that it cannot take"):
        SqlStore(f"postgresql+psycopg://db.example.com/metrics?{option}")


def test_a_fraction_of_a_second_to_connect():
    """The driver takes one; so does a service, which shortens it."""
    store = SqlStore("postgresql+psycopg://db.example.com/metrics?connect_timeout=2.5")
    store.wait_for_locks(2.5)
    assert store._database._parameters._given["connect_timeout"] == 2


def test_what_the_url_leaves_out_comes_from_where_libpq_looks(with_passwords, monkeypatch, tmp_path):
    """Host, port, user and database from variables, the password from a password file; none of it is shown."""
    passwords = tmp_path / "passwords"
    passwords.write_text(f"127.0.0.1:{with_passwords.port}:*:postgres:{CANARY}\n")
    passwords.chmod(0o600)
    given = {"PGHOST": "127.0.0.1", "PGPORT": with_passwords.port, "PGUSER": "postgres", "PGDATABASE": "postgres"}
    for name, value in (given | {"PGPASSFILE": passwords}).items():
        monkeypatch.setenv(name, str(value))
    with closing(SqlStore("postgresql+psycopg://")) as store:
        assert store.data_sources() == []
        assert CANARY not in repr(store) + store.url
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with closing(SqlStore("postgresql+psycopg://")) as store, pytest.raises(StoreError, match="no password supplied"):
        store.data_sources()


def test_a_dump_restored_in_the_middle_of_an_upsert_is_another_store(store, postgres_url, monkeypatch):
    """A restored store has the id of the first, but its tables are new: the upsert stops, and doubts what it stored."""
    cut_into_chunks(10, monkeypatch)

    def restore(settled: int) -> None:
        by_hand(postgres_url, "ALTER TABLE temporis_observation RENAME TO before")
        by_hand(postgres_url, "CREATE TABLE temporis_observation (LIKE before INCLUDING ALL)")

    tally = tally_of(minutes(30), progress=restore)
    with pytest.raises(StoreError, match="replaced during the upsert") as caught:
        store.upsert(tally)
    assert (caught.value.report.stored, caught.value.report.unknown, caught.value.report.unsent) == (0, 10, 20)


def test_series_that_a_restored_server_does_not_have_are_made_anew(store, postgres_url, monkeypatch):
    """After a restart, a server may be in an older state. No row is written under the id of a series that is gone."""
    cut_into_chunks(10, monkeypatch)
    restored = []

    def restore(settled: int) -> None:
        if not restored:
            restored.append(settled)
            by_hand(postgres_url, "DELETE FROM temporis_observation; DELETE FROM temporis_series")
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            by_hand(postgres_url, f"{ended} AND pid <> pg_backend_pid()")

    store.upsert(tally_of(minutes(30), progress=restore))
    assert content(store) == dict(list(minutes(30).items())[10:])


@pytest.mark.parametrize("table", ["temporis_account", "temporis_data_source", "temporis_series"])
def test_a_sequence_that_is_behind_its_table_is_named(store, postgres_url, table):
    """As after a promotion of a logical replica: an error that says what to do, not a data source that is not there."""
    put(store, minutes(1))
    by_hand(postgres_url, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1, false)")
    with closing(
        SqlStore(postgres_url, account="new" if "account" in table else "default", create_missing=True)
    ) as other:
        error = failing(other, minutes(1, name="new"), "metrics" if "series" in table else "fresh")
    assert f"{table}_pkey" in str(error)
    assert "setval" in str(error)
    assert not error.retryable


def test_a_name_that_the_index_does_not_take(store):
    """The error says that the name is too long; other names are stored."""
    name = "".join(chr(0x4E00 + number) for number in range(2000))  # which does not compress
    assert "Shorten the name" in str(failing(store, minutes(1, name=name)))
    assert put(store, minutes(1)).stored == 1


def test_series_without_a_number_left(store, postgres_url):
    """Known series go on; a new one is an error that says that there are no more."""
    put(store, minutes(1))
    by_hand(postgres_url, "SELECT setval(pg_get_serial_sequence('temporis_series', 'id'), 2147483647)")
    assert "no more numbers" in str(failing(store, minutes(1, name="new")))
    assert put(store, minutes(2)).stored == 1


def test_reading_holds_few_pages_besides_the_series_at_hand(store, postgres_url, monkeypatch):
    """Also where many series have more rows than a page has room for."""
    rows = {key: value for name in range(30) for key, value in minutes(200, name=f"series{name:02}").items()}
    put(store, rows)
    monkeypatch.setattr(read, "PAGE_ROWS", 100)
    held, most = 0, 0
    add = read._Unfinished.add

    def added(self, timestamps, values, at_most):
        nonlocal held, most
        held += len(timestamps)
        most = max(most, held)
        add(self, timestamps, values, at_most)

    monkeypatch.setattr(read._Unfinished, "add", added)
    database = store._database
    with database.reading() as connection:
        ids = database.series(connection, database.find(connection, "default", "metrics"), None)
        for one in database.series_rows(connection, ids, Window(0, 10**9)):
            held -= len(one.timestamps)
            assert len(one.timestamps) == 200
    assert held == 0
    assert most <= 3 * 100 + 200


def test_reading_gives_up_on_a_lock_that_somebody_holds(store, postgres_url):
    """As long as ``give_up_after_s`` says and no second time; then reading goes on over the same connections."""
    put(store, minutes(5))
    with closing(SqlStore(postgres_url, give_up_after_s=0.05)) as hasty:
        assert content(hasty) == minutes(5)
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
            other.execute("LOCK TABLE temporis_observation IN ACCESS EXCLUSIVE MODE")
            for ask in (lambda: content(hasty), lambda: put(hasty, minutes(5, value=2.0))):
                with pytest.raises(UnavailableError, match=r"after 1 attempt: .*lock timeout"):
                    ask()
            other.rollback()
        assert content(hasty) == minutes(5)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_store_is_made_while_another_process_makes_it(postgres_url, isolation):
    """Who comes second waits, and then finds the store, whatever the database's default isolation is."""
    by_hand(
        postgres_url,
        f"ALTER DATABASE {sa.make_url(postgres_url).database} SET default_transaction_isolation = '{isolation}'",
    )
    engine = sa.create_engine(postgres_url, isolation_level="READ COMMITTED", poolclass=sa.NullPool)
    with closing(SqlStore(postgres_url)) as second, ThreadPoolExecutor(1) as pool:
        with engine.begin() as first:
            schema.migrate(first)
            waiting = pool.submit(second.create_data_source, "metrics")
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
            )
            while by_hand(postgres_url, waits) != [(1,)]:
                assert not waiting.done()
        waiting.result()
        assert second.data_sources() == ["metrics"]


def test_making_a_store_gives_up_on_another_process_that_does_not_go_on(postgres_url):
    """As long as ``give_up_after_s`` says."""
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('temporis_store'))")
        with closing(SqlStore(postgres_url, give_up_after_s=0.05)) as store:
            with pytest.raises(UnavailableError, match="lock timeout"):
                store.create_data_source("metrics")
            other.rollback()
            store.create_data_source("metrics")


def test_no_connection_stays_open_when_another_thread_closes_the_store_at_the_same_time(
    store, postgres_url, monkeypatch
):
    """Who has the engine in hand already still gets its answer, and the connection closes with it."""
    database = store._database
    opened = database._open
    engines = []

    def closed_at_once(create: bool) -> sa.Engine:
        engines.append(opened(create))
        database.close()
        return engines[-1]

    monkeypatch.setattr(database, "_open", closed_at_once)
    assert store.data_sources() == ["metrics"]
    assert not any(engine.pool._idle for engine in engines)
