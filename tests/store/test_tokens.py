"""Access tokens in a store, in SQLite and in PostgreSQL: shown once, kept as a hash, gone when deleted."""

from __future__ import annotations

import hashlib
import logging
import re
import sqlite3
import string
from contextlib import closing
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster.contract import TOKEN
from temporis_dagster.data_source.store import SqlStore, token_uses, tokens
from temporis_dagster.data_source.store.sqlite import schema
from temporis_dagster.errors import ConfigurationError, StoreError


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request):
    """In which database the store is."""
    return request.param


in_a_file = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@pytest.fixture
def url(kind, request, tmp_path):
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    store = SqlStore(url)
    yield store
    store.close()


def kept_in(url, tmp_path) -> bytes:
    """Everything that the store keeps: the bytes of its files, or the rows of the table of tokens."""
    if url.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with psycopg.connect(url.replace("+psycopg", "")) as by_hand:
        return repr(by_hand.execute("SELECT * FROM temporis_token").fetchall()).encode()


def test_a_token_is_256_random_bits_with_a_prefix(store):
    """43 characters of base64 after ``ts_``, each different, and what our own client takes for a token."""
    made = [store.tokens.create(f"label {number}") for number in range(20)]
    assert len(set(made)) == 20
    assert all(re.fullmatch(r"ts_[A-Za-z0-9_-]{43}", token) for token in made)
    assert all(TOKEN.fullmatch(token) for token in made)


def test_only_the_hash_is_kept_and_nothing_shows_the_token(store, url, tmp_path, caplog):
    """Not in the database nor a file's log, not in a listing, a repr or a debug log: SHA-256 is all there is."""
    caplog.set_level(logging.DEBUG)
    token = store.tokens.create("laptop")
    shown = repr([store, store.tokens, store.tokens.all(), store.tokens.owner(token)])
    kept = kept_in(url, tmp_path)
    assert hashlib.sha256(token.encode()).hexdigest().encode() in kept
    for part in (token, token.removeprefix("ts_")):
        assert part.encode() not in kept
        assert part not in shown + caplog.text


def test_a_listing_has_label_and_age(store):
    """In the order of making, with UTC moments; none where there is no store, and none is made."""
    assert store.tokens.all() == []
    assert not store.exists
    store.tokens.create("z")
    store.tokens.create("a")
    listed = store.tokens.all()
    assert [token.label for token in listed] == ["z", "a"]
    assert all(timedelta(0) <= datetime.now(timezone.utc) - token.created_at < timedelta(minutes=5) for token in listed)


def test_the_owner_of_a_token(store, url):
    """The account that a token was made for, whichever account asks; a deleted or unknown token has no owner."""
    other = store.of_account("other")
    mine, theirs = store.tokens.create("x"), other.tokens.create("x")
    again = SqlStore(url)
    for view in (store, other, again):
        assert (view.tokens.owner(mine), view.tokens.owner(theirs)) == ("default", "other")
    for wrong in ("", "ts_", mine[:-1], mine + "x", mine.upper(), " " + mine, "\udc80", "é", "%", "_" * len(mine)):
        assert store.tokens.owner(wrong) is None
    assert store.tokens.delete("x")
    assert (store.tokens.owner(mine), store.tokens.owner(theirs)) == (None, "other")


def test_no_token_is_for_both_the_api_and_the_dashboard(store):
    """Each kind is found where it belongs, and is unknown elsewhere, as if it did not exist."""
    ingests, opens = store.tokens.create("cron"), store.of_account("other").tokens.create("browser", dashboard=True)
    assert store.tokens.find(ingests) == ("default", "cron")
    assert store.tokens.find(opens, dashboard=True) == ("other", "browser")
    assert (store.tokens.find(ingests, dashboard=True), store.tokens.find(opens)) == (None, None)
    assert store.tokens.owner(opens) is None
    assert [token.dashboard for token in store.tokens.all()] == [False]
    assert [token.dashboard for token in store.of_account("other").tokens.all()] == [True]


def test_the_key_of_logins_belongs_to_one_token_and_ends_with_it(url):
    """It is another one for each token, none for a token of the API, another account's or no token, and no hash."""
    with closing(SqlStore(url)) as store:
        kept = store.tokens
        assert kept.session_key("browser") is None  # there is no store
        token = kept.create("browser", dashboard=True)
        kept.create("other", dashboard=True)
        kept.create("cron")
        key = kept.session_key("browser")
        assert key is not None
        assert key == kept.session_key("browser") != kept.session_key("other")
        assert key.hex() != hashlib.sha256(token.encode()).hexdigest()
        assert kept.session_key("cron") is None
        assert store.of_account("others").tokens.session_key("browser") is None
        kept.delete("browser")
        assert kept.session_key("browser") is None
        kept.create("browser", dashboard=True)
        assert kept.session_key("browser") != key


class Clock:
    """Stands for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1_718_870_430.5

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(token_uses, "time", clock)
    return clock


def last_uses(store) -> list[float | None]:
    return [token.last_used_at and token.last_used_at.timestamp() for token in store.tokens.all()]


def test_the_minute_of_the_last_use_is_kept(store, url, clock, monkeypatch):
    """Of a token that was found, and written once per minute, however many requests and processes there are."""
    token, other = store.tokens.create("a"), SqlStore(url)
    store.tokens.create("b", dashboard=True)
    written, note = [], token_uses._note
    monkeypatch.setattr(token_uses, "_note", lambda *given: (written.append(given[2]), note(*given)))
    for wrong in ("x", token[:-1]):
        assert store.tokens.find(wrong) is None
    assert store.tokens.find(token, dashboard=True) is None
    assert last_uses(store) == [None, None]
    for each in (store, store.of_account("other"), other):
        assert each.tokens.find(token) == ("default", "a")
    assert last_uses(store) == [1_718_870_400, None]
    clock.now += 29
    store.tokens.find(token)
    clock.now += 1
    store.tokens.find(token)
    assert last_uses(store) == [1_718_870_460, None]
    assert written == [1_718_870_400, 1_718_870_460]
    other.close()


def test_a_use_that_cannot_be_noted_now_is_noted_later(store, url, clock, caplog):
    """Another program holds the lock: the token is found all the same, and a request ten seconds later notes it."""
    caplog.set_level(logging.INFO, logger="temporis_dagster")
    token = store.tokens.create("a")
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        other.execute("BEGIN; SELECT * FROM temporis_token FOR UPDATE")
    for _ in range(3):
        assert store.tokens.find(token) is not None
    other.execute("ROLLBACK")
    other.close()
    assert store.tokens.find(token) is not None
    assert last_uses(store) == [None]
    clock.now += token_uses.AGAIN_AFTER_S
    assert store.tokens.find(token) is not None
    assert last_uses(store) == [1_718_870_400]
    (said,) = [record.getMessage() for record in caplog.records if "time of use" in record.getMessage()]
    assert "lock" in said


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_a_role_that_may_not_note_uses_finds_tokens(store, url):
    """As before there were times of last use: the service goes on with the rights that it had."""
    token, role = store.tokens.create("a"), f"serves_{sa.make_url(url).database}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
        try:
            admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
            limited = sa.make_url(url).set(username=role, password="right").render_as_string(hide_password=False)
            with closing(SqlStore(limited)) as serving:
                assert serving.tokens.find(token) == ("default", "a")
                assert last_uses(store) == [None]
                admin.execute(f"GRANT UPDATE (last_used_at) ON temporis_token TO {role}")
            with closing(SqlStore(limited)) as serving:
                assert serving.tokens.find(token) == ("default", "a")
            assert last_uses(store) != [None]
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


def test_accounts_do_not_see_each_others_tokens(store):
    """Neither listed nor deleted by another account, and labels are apart."""
    other = store.of_account("other")
    store.tokens.create("laptop")
    assert other.tokens.all() == []
    assert not other.tokens.delete("laptop")
    other.tokens.create("laptop")
    assert len(store.tokens.all()) == len(other.tokens.all()) == 1


def test_deleting_tells_whether_there_was_one(store):
    """Once yes, then no; no where there is no store, and none is made."""
    assert not store.tokens.delete("laptop")
    token = store.tokens.create("laptop")
    assert store.tokens.delete("laptop")
    assert not store.tokens.delete("laptop")
    assert store.tokens.owner(token) is None
    assert store.tokens.create("laptop") != token


def test_asking_makes_no_store(store):
    """A service over a store that is not there knows no token."""
    assert (store.tokens.owner("ts_x"), store.tokens.all(), store.tokens.delete("x")) == (None, [], False)
    assert not store.exists


def test_a_label_is_taken_once(store):
    """A second token of that label is refused, and the first one goes on."""
    token = store.tokens.create("laptop")
    with pytest.raises(ConfigurationError, match="delete that token first"):
        store.tokens.create("laptop")
    assert store.tokens.owner(token) == "default"
    assert len(store.tokens.all()) == 1


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_a_commit_without_an_answer_changes_no_answer_of_ours(store, monkeypatch):
    """The connection is lost after the server committed: the token is made, or deleted, and that is what is said."""
    lost, commit = [], type(store._database).commit

    def losing(database, connection, *given):
        commit(database, connection, *given)
        if not lost:
            lost.append(True)
            connection.connection.driver_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    store.create_data_source("store_metrics")
    monkeypatch.setattr(type(store._database), "commit", losing)
    token = store.tokens.create("laptop")
    assert store.tokens.owner(token) == "default"
    lost.clear()
    assert store.tokens.delete("laptop")
    assert store.tokens.owner(token) is None
    assert store.tokens.all() == []


@pytest.mark.parametrize("label", ["", "x" * 65, "a\nb", "\0", "ts_secret", "my ts_" + "x" * 43, "\ud800"], ids=ascii)
def test_what_cannot_be_a_label_is_refused_unquoted(store, label):
    """Nothing is made, and a token that was pasted for a label is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        store.tokens.create(label)
    assert "secret" not in str(caught.value)
    assert not store.exists


@settings(max_examples=30, deadline=None)
@given(label=st.text(string.printable + "äß€😀", min_size=1, max_size=tokens.LABEL_LENGTH))
def test_any_printable_label(tmp_path_factory, label):
    """A label comes back as it was given, or is refused."""
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('labels')}/temporis.db")
    try:
        token = store.tokens.create(label)
    except ConfigurationError:
        assert not label.isprintable() or "ts_" in label
    else:
        assert [kept.label for kept in store.tokens.all()] == [label]
        assert store.tokens.owner(token) == "default"
    store.close()


def test_hashes_that_begin_alike_are_told_apart(store, monkeypatch):
    """The index finds candidates by the first digits; only the whole hash decides."""
    monkeypatch.setattr(tokens, "SELECTOR_LENGTH", 0)
    mine, theirs = store.tokens.create("x"), store.of_account("other").tokens.create("x")
    assert (store.tokens.owner(mine), store.tokens.owner(theirs), store.tokens.owner("z")) == ("default", "other", None)


@in_a_file
def test_a_store_of_version_1_gets_tokens(store, monkeypatch):
    """A file from before there were tokens is migrated when it is opened, and keeps its data sources."""
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    store.create_data_source("store_metrics")
    store.close()
    monkeypatch.undo()
    assert store.tokens.all() == []
    assert store.tokens.owner(store.tokens.create("laptop")) == "default"
    assert store.data_sources() == ["store_metrics"]


@in_a_file
def test_the_table_of_version_2(store):
    """The shape of a released version never changes: a new shape is a new migration step, as two columns are."""
    store.create_data_source("store_metrics")
    by_hand = sqlite3.connect(store.url.removeprefix("sqlite:///"))
    [(made,)] = by_hand.execute("SELECT sql FROM sqlite_master WHERE name = 'temporis_token'").fetchall()
    by_hand.close()
    assert " ".join(made.split()) == (
        "CREATE TABLE temporis_token ( id INTEGER NOT NULL, account INTEGER NOT NULL, label TEXT NOT NULL, hash TEXT"
        " NOT NULL, created_at INTEGER NOT NULL, dashboard BOOLEAN NOT NULL DEFAULT 0, last_used_at INTEGER, PRIMARY"
        " KEY (id), UNIQUE (account, label), FOREIGN KEY(account) REFERENCES temporis_account (id), UNIQUE (hash) )"
    )


@in_a_file
def test_a_store_that_fails_is_a_store_error(store, tmp_path):
    """In the words of the store, without the token."""
    (tmp_path / "temporis.db").write_text("no database at all, but long enough to look like one" * 20)
    for call in (lambda: store.tokens.create("x"), store.tokens.all, lambda: store.tokens.owner("ts_secret")):
        with pytest.raises(StoreError, match="not a database") as caught:
            call()
        assert "ts_" not in str(caught.value)
