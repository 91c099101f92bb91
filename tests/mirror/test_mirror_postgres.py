"""The mirror on PostgreSQL: rights, limits, other programs in the way, other schemas, restarts; and its secrets."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import make_url

from temporis_dagster import MirrorError, StoreError, TemporisError, UnavailableError, connect
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.store.postgres.server import driver
from temporis_dagster.testing import FakeService, sample_frame
from tests.support.delivery_tools import CANARY
from tests.support.mirror_tools import SOURCE, Process, World, contents, long_frame
from tests.support.postgres_server import PrivatePostgres
from tests.support.secrets_shown import showing

pytestmark = pytest.mark.once

QUEUE = MirrorOptions(on_unavailable="queue", late_write_window_s=30.0)
KEY = ("a", 1)
USER = "quiet_mirror_5d1c"
"""A user whose name, like the canary, nothing may show."""

SHORT_S = 0.2
"""How long to go on where nothing is going to change."""


@pytest.fixture
def mirror_db(postgres_mirror):
    """The mirrors of these tests are in PostgreSQL."""
    postgres_mirror.remake()
    return postgres_mirror


@pytest.fixture
def process(process_with):
    """Makes processes that share a mirror, and wait for the database for a moment only, unless told otherwise."""
    return lambda options=QUEUE, **settings: process_with(options, **{"give_up_after_s": SHORT_S, **settings})


def put(one: Process, value: float, key=KEY):
    return one.source.upsert(long_frame({key: value}))


def with_options(url: str, options: str) -> str:
    return make_url(url).update_query_dict({"options": options}).render_as_string(hide_password=False)


def refused(one: Process, match: str, value: float = 9.0) -> TemporisError:
    """An upsert is refused, and says that nothing of it was written."""
    with pytest.raises((StoreError, UnavailableError), match=match) as caught:
        put(one, value)
    assert (caught.value.report.unsent, caught.value.report.observations_in) == (1, 1)
    assert str(caught.value).endswith(".")
    return caught.value


# In the way


@pytest.mark.parametrize(
    "lock",
    [
        "SELECT 1 FROM temporis_data_source FOR UPDATE",
        "LOCK TABLE temporis_observation",
        "LOCK TABLE temporis_mirror_batch",
        "LOCK TABLE temporis_mirror",
    ],
)
def test_a_lock_that_another_program_holds_for_too_long(lock, world, process, mirror_db):
    """Nothing was written and nothing sent; once the lock is free, the same connection goes on."""
    a = process()
    put(a, 1.0)
    with mirror_db.locked(lock):
        assert "lock" in str(refused(a, "lock"))
    assert (put(a, 2.0).stored, world.content()) == (1, {KEY: 2.0})


def test_a_statement_timeout_that_is_too_short(world, process, process_with, mirror_db):
    """The error names the setting, and nothing was written."""
    put(process(), 1.0)
    hasty = Process(
        world, with_options(mirror_db.url, "-c statement_timeout=100"), mirror_options=QUEUE, give_up_after_s=5
    )
    with mirror_db.locked("LOCK TABLE temporis_observation"):
        refused(hasty, "statement timeout")
    assert put(hasty, 2.0).stored == 1
    hasty.close()


def test_a_user_whose_transactions_are_read_only_stays_a_reader(world, process, mirror_db):
    """Reading goes on, pending rows included; an upsert and a flush are refused."""
    world.next = ["refused"] * 40
    put(process(), 1.0)
    world.next = []
    url = with_options(mirror_db.url, "-c default_transaction_read_only=on")
    reader = Process(world, url, mirror_options=QUEUE, give_up_after_s=SHORT_S)
    refused(reader, "read-only transaction")
    with pytest.raises(StoreError, match="read-only transaction"):
        reader.source.flush()
    assert (reader.source.read().value.tolist(), reader.source.pending().rows, world.content()) == ([1.0], 1, {})
    reader.close()


@pytest.mark.parametrize("setting", ["default_transaction_isolation=serializable", "timezone=America/New_York"])
def test_the_defaults_of_an_administrator_change_nothing(setting, world, process, mirror_db):
    """Two processes, of which one has such a default, share the mirror as they do without."""
    url = with_options(mirror_db.url, f"-c {setting}")
    a, b = Process(world, url, mirror_options=QUEUE), process()
    told = []
    world.next = [lambda: told.append(put(b, 2.0))]
    assert (put(a, 1.0).stored, told[0].pending) == (1, 1)
    assert (a.source.flush().pending, world.content()) == (0, {KEY: 2.0})
    a.close()


def test_a_lease_is_counted_from_when_the_lock_was_there(process, mirror_db):
    """A transaction that waited for the lock does not take the moment at which it began for now.

    Its lease would be over too soon by the time that it waited, and another process could send the same keys.
    """
    put(process(), 1.0)
    seen, held = [], threading.Event()

    def look(_request):
        seen.extend(mirror_db.rows("SELECT min(stamped_at), min(lease_until) FROM temporis_mirror_batch"))

    def upsert() -> None:
        with connect(service.url, service.token, mirror=mirror_db.url) as temporis:
            temporis._target.rebind()
            held.wait()
            temporis.data_source(SOURCE).upsert(sample_frame(1))

    with FakeService(script=look) as service:
        beside = threading.Thread(target=upsert)
        beside.start()
        while mirror_db.rows(f"SELECT 1 FROM temporis_mirror WHERE url = '{service.url}'") == []:
            beside.join(0.01)
        with mirror_db.locked("SELECT 1 FROM temporis_data_source FOR UPDATE"):
            held.set()
            while not mirror_db.waiting():
                beside.join(0.01)
            ((released_at,),) = mirror_db.rows("SELECT extract(epoch FROM clock_timestamp())::float8")
        beside.join()
    ((stamped_at, lease_until),) = seen
    assert stamped_at >= released_at
    assert lease_until >= released_at + 30.0


def test_upserts_at_the_same_moment_do_not_exceed_the_cap(world, process, mirror_db):
    """Eight upserts that wait for each other's lock: as many are taken as there is room for, and no more."""
    put(process(), 0.0, ("z", 1))
    world.next = ["refused"] * 400
    cap = MirrorOptions(on_unavailable="queue", late_write_window_s=30.0, max_pending_rows=6)
    crew, outcomes = [process(cap, give_up_after_s=60.0) for _ in range(8)], []

    def work(number: int) -> None:
        rows = {("a", 10 * number + place): 1.0 for place in range(3)}
        try:
            outcomes.append(crew[number].source.upsert(long_frame(rows)).pending)
        except MirrorError as full:
            outcomes.append(-full.report.unsent)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    with mirror_db.locked("SELECT 1 FROM temporis_data_source FOR UPDATE"):
        for thread in threads:
            thread.start()
        while mirror_db.waiting() < len(threads):
            threads[0].join(0.01)
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [-3] * 6 + [3] * 2
    assert crew[0].source.pending().rows == 6


# Sessions and servers


def test_nothing_is_left_in_a_session(world, process, mirror_db):
    """Behind PgBouncer, each transaction may get another session: no lock, statement, table or setting outlives one."""
    a = process()
    world.next = ["cut"]
    put(a, 1.0)
    put(a, 2.0)
    a.source.flush()
    a.source.read()
    a.mirror.rebuild()
    a.source.discard_pending()
    database = a.mirror._file._database
    with database._open(create=False).connect() as connection:
        raw = driver(connection)
        assert raw.info.backend_pid in [pid for (pid,) in mirror_db.rows("SELECT pid FROM pg_stat_activity")]
        left = {
            "locks": "SELECT * FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "statements": "SELECT * FROM pg_prepared_statements",
            "tables": "SELECT * FROM pg_class WHERE relpersistence = 't'",
            "settings": "SELECT name, setting FROM pg_settings WHERE source = 'session'",
            "cursors": "SELECT * FROM pg_cursors WHERE name <> ''",
        }
        assert {what: rows for what, query in left.items() if (rows := raw.execute(query).fetchall())} == {}


@pytest.fixture(scope="module")
def broken_now_and_then():
    """A server that may be stopped."""
    with PrivatePostgres() as server:
        yield server


def test_what_was_written_survives_a_crash_of_the_server(broken_now_and_then, world):
    """Pending rows and a doubt are there after it; an upsert in the middle of which it crashed goes on by itself."""
    with broken_now_and_then.database() as url:
        a = Process(world, url, mirror_options=QUEUE, batch_rows=1)
        world.next = [("late", 20.0), *["refused"] * 40]
        put(a, 1.0)
        broken_now_and_then.restart("immediate")
        world.next = []
        assert (a.source.read().value.tolist(), a.source.pending().rows) == ([1.0], 1)
        assert put(a, 2.0).pending == 1, "the older value may still arrive"
        world.next = [broken_now_and_then.restart, None]
        assert put(a, 3.0, ("b", 1)).stored == 1
        a.source.flush()
        world.advance(100.0)
        assert world.content() == {KEY: 2.0, ("b", 1): 3.0}
        a.close()


def test_a_database_that_is_dropped_and_made_again_in_the_middle(postgres_server, world):
    """Another one is in its place: what was in the old one is unknown, and the next upsert begins anew."""
    with postgres_server.database() as url:
        a, database = Process(world, url, mirror_options=QUEUE), str(make_url(url).database)

        def replace() -> None:
            postgres_server.execute(f"DROP DATABASE {database} WITH (FORCE)")
            postgres_server.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'")

        world.next = [replace]
        with pytest.raises(StoreError, match="replaced or deleted") as caught:
            put(a, 1.0)
        assert caught.value.report.unknown == 1
        assert (put(a, 2.0).stored, a.source.read().value.tolist()) == (1, [2.0])
        a.close()


def test_a_dump_that_is_restored_in_the_middle_is_another_mirror(world, process, mirror_db):
    """It has the ids of the mirror that it was made from, but not its tables: the batch under way is not in it."""
    a = process()
    put(a, 1.0)

    def restore() -> None:
        by_hand = mirror_db.connection
        tables = [name for (name,) in mirror_db.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        by_hand.execute("ALTER SCHEMA public RENAME TO before; CREATE SCHEMA public")
        for name in tables:
            by_hand.execute(f"CREATE TABLE {name} (LIKE before.{name} INCLUDING ALL)")
            by_hand.execute(f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM before.{name}")
        by_hand.execute("DROP SCHEMA before CASCADE")

    world.next = [restore]
    with pytest.raises(StoreError, match="replaced or deleted") as caught:
        put(a, 2.0, ("b", 1))
    assert caught.value.report.unknown == 1


def test_each_schema_has_a_mirror_of_its_own(world, process, mirror_db):
    """Two targets share a database, each in a schema; in one schema, the second one is refused."""
    other = World()
    mirror_db.connection.execute("DROP SCHEMA IF EXISTS second CASCADE; CREATE SCHEMA second")
    try:
        a = process()
        url = with_options(mirror_db.url, "-c search_path=second")
        b = Process(other, url, url="http://127.0.0.1:2", mirror_options=QUEUE)
        put(a, 1.0)
        assert put(b, 2.0).stored == 1
        told = []
        world.next = [lambda: told.append(b.mirror.rebuild())]
        assert (put(a, 3.0).stored, told) == (1, [1]), "a rebuild waits for nobody in another schema"
        assert (a.source.read().value.tolist(), b.source.read().value.tolist()) == ([3.0], [2.0])
        with pytest.raises(MirrorError, match="it is the mirror of"):
            put(process(url="http://127.0.0.1:2"), 4.0)
        b.close()
    finally:
        mirror_db.connection.execute("DROP SCHEMA second CASCADE")


# Rights and secrets


@pytest.fixture
def user_url(mirror_db):
    """The URL of the mirror for a user with a password, who may do nothing yet."""
    mirror_db.connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{CANARY}'")
    yield make_url(mirror_db.url).set(username=USER, password=CANARY).render_as_string(hide_password=False)
    mirror_db.terminate()
    mirror_db.connection.execute(f"DROP OWNED BY {USER}; DROP ROLE {USER}")


def test_a_user_who_may_not_make_tables(user_url, world, mirror_db, caplog):
    """The error is about rights and shows neither user nor password; nothing was made."""
    mirror_db.connection.execute(f"GRANT USAGE ON SCHEMA public TO {USER}")
    one = Process(world, user_url, mirror_options=QUEUE, give_up_after_s=SHORT_S)
    error = refused(one, "permission denied")
    one.close()
    assert showing(error, USER, CANARY) == []
    assert USER not in caplog.text + repr(one.mirror) + one.mirror.mirror_url
    assert mirror_db.is_empty()


def test_a_user_who_may_only_read(user_url, world, process, mirror_db, caplog):
    """Reading and ``pending()`` work; whatever writes is refused, and shows neither user nor password."""
    world.next = ["refused"] * 40
    put(process(), 1.0)
    world.next = []
    mirror_db.connection.execute(f"GRANT USAGE ON SCHEMA public TO {USER}")
    mirror_db.connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {USER}")
    reader = Process(world, user_url, mirror_options=QUEUE, give_up_after_s=SHORT_S)
    assert (contents(reader.source.read()), reader.source.pending().rows) == ({KEY: 1.0}, 1)
    assert showing(refused(reader, "permission denied"), USER, CANARY) == []
    for call in (reader.source.flush, reader.source.discard_pending, reader.mirror.rebuild, reader.mirror.rebind):
        with pytest.raises(StoreError, match="permission denied") as caught:
            call()
        assert showing(caught.value, USER, CANARY) == []
    reader.close()
    assert USER not in caplog.text
    assert world.content() == {}


def test_a_mirror_of_another_target_does_not_show_who_asks(user_url, world, process, mirror_db):
    """The error of the wrong target has the URLs, without the user and the password of the database."""
    put(process(), 1.0)
    mirror_db.connection.execute(f"GRANT USAGE ON SCHEMA public TO {USER}")
    mirror_db.connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {USER}")
    one = Process(world, user_url, url="http://127.0.0.1:2", mirror_options=QUEUE, give_up_after_s=SHORT_S)
    with pytest.raises(MirrorError, match="it is the mirror of") as caught:
        put(one, 2.0)
    one.close()
    assert showing(caught.value, USER, CANARY) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE temporis_mirror_rows",
        "DELETE FROM temporis_mirror",
        "DROP TABLE temporis_observation CASCADE",
        "ALTER TABLE temporis_mirror_batch RENAME live TO alive",
        "UPDATE temporis_mirror SET version = 99",
        "DELETE FROM temporis_series",
        "UPDATE temporis_mirror_rows SET keys = 'x'",
    ],
)
def test_a_mirror_that_somebody_damaged(damage, world, process, mirror_db):
    """Whatever is done with it raises an error of the tree, or works; nothing is sent that is not in the mirror."""
    one = process()
    for value, key in ((1.0, KEY), (2.0, ("b", 1))):
        world.next = ["refused"] * 40
        assert put(one, value, key).pending == 1
    world.next = []
    mirror_db.connection.execute(damage)
    calls = (
        lambda: put(one, 3.0),
        lambda: one.source.flush(wait=False),
        one.source.read,
        one.source.pending,
        one.source.rejected_rows,
        one.source.discard_pending,
        one.mirror.rebuild,
    )
    assert {kind for kind in map(outcome, calls) if kind} & {"StoreError", "UnavailableError"}


def outcome(call) -> str:
    try:
        call()
    except TemporisError as error:
        assert str(error).endswith(".")  # noqa: PT017  # one of many calls, some of which work
        return type(error).__name__
    return ""
