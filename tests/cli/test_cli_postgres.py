"""The ``temporis`` command over a store in PostgreSQL: the same commands, with another URL."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
import sqlalchemy as sa

from temporis_dagster.data_source.store import SqlStore
from tests.conftest import CANARY
from tests.support.cli_tools import LONG, run

TO = ("--data-source", "store_metrics")


@pytest.fixture
def at(postgres_url):
    """The variables that name the store, which does not exist yet. Its URL has something that nothing may show."""
    url = sa.make_url(postgres_url).update_query_dict({"application_name": CANARY})
    return dict.fromkeys(("TEMPORIS_STORE", "TEMPORIS_URL"), url.render_as_string(hide_password=False))


def test_a_store_is_managed_written_and_read(at, postgres_url):
    """Data sources and tokens, a file into the store and out of it: every command, the URL from a variable."""
    empty = run("sources", "list", **at)
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "does not exist yet" in empty.stderr
    assert run("ingest", "-", *TO, stdin=LONG, **at).exit_code == 4
    assert run("sources", "create", "store_metrics", **at).stderr.startswith("Created store_metrics in postgresql")
    token = run("tokens", "create", "laptop", **at).stdout.strip()
    with closing(SqlStore(postgres_url)) as store:
        assert store.tokens.owner(token) == "default"
    first, again = (json.loads(run("ingest", "-", *TO, "--json", stdin=LONG, **at).stdout) for _ in range(2))
    assert (first["stored"], again["stored"], again["unchanged"]) == (2, 0, 2)
    read = run("read", *TO, **at)
    assert run("ingest", "-", *TO, "--json", stdin=read.stdout, **at).exit_code == 0
    assert read.stdout.splitlines()[0] == "timestamp,name,value"
    assert run("sources", "archive", "store_metrics", **at).exit_code == 0
    assert run("ingest", "-", *TO, stdin=LONG, **at).exit_code == 5
    assert run("sources", "list", **at).stdout == "store_metrics\tarchived\n"
    assert run("tokens", "delete", "laptop", **at).exit_code == 0


def test_the_mirror_of_a_service_does_not_apply_to_a_store(at, tmp_path):
    """TEMPORIS_MIRROR is ignored for the URL of a store, as for a SQLite file; --mirror is refused."""
    run("sources", "create", "store_metrics", **at)
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    assert run("ingest", "-", *TO, stdin=LONG, TEMPORIS_MIRROR=mirror, **at).exit_code == 0
    refused = run("ingest", "-", *TO, "--mirror", mirror, stdin=LONG, **at)
    assert (refused.exit_code, "Leave out --mirror." in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_place_and_no_secret(at):
    """The advice of an error has the URL without its user and options, to be completed by the reader."""
    missing = run("read", *TO, **at)
    assert missing.exit_code == 4
    assert "temporis sources create store_metrics --store" in missing.stderr
    assert "application_name" not in missing.stderr


@pytest.mark.parametrize("command", ["sources", "tokens"])
def test_a_database_that_is_away_or_not_there_has_an_exit_code(private_postgres, command):
    """1 for a database that does not exist, which waiting does not change, and its cause in one line."""
    done = run(command, "list", "--store", private_postgres.url("nowhere"))
    assert done.exit_code == 1
    assert "Create the database" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_ingest_while_the_database_is_away(private_postgres):
    """8, so that cron may try again; the warning before it says what is waited for."""
    url = private_postgres.url()
    run("sources", "create", "store_metrics", "--store", url)
    private_postgres.stop()
    done = run("ingest", "-", *TO, "--url", url, "--give-up-after", "0.3", "--json", stdin=LONG)
    assert done.exit_code == 8
    assert "It is tried again" in done.stderr
    told = json.loads(done.stdout)
    assert (told["unsent"], told["error"]["kind"], told["error"]["retryable"]) == (2, "UnavailableError", True)


@pytest.mark.parametrize("url", ["mysql://me:s3cret@db/x", "mariadb+pymysql://me:s3cret@db/x", "oracle://me:s3cret@db"])
def test_other_databases_are_refused(url):
    """With what is supported, and without the password."""
    for done in (run("read", *TO, "--url", url), run("sources", "list", "--store", url), run("serve", "--store", url)):
        assert done.exit_code == 2
        assert "postgresql+psycopg://" in done.stderr
        assert "s3cret" not in done.stderr
