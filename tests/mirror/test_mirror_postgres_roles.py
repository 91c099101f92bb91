"""The mirror in PostgreSQL and who may use it: rights, secrets, a place of its own, and many first upserts at once."""

from __future__ import annotations

import secrets
import threading

import psycopg
import pytest
import sqlalchemy as sa

from temporis_dagster import StoreError, UnavailableError, connect
from temporis_dagster.testing import FakeService, sample_frame
from tests.conftest import CANARY
from tests.support.secrets_shown import showing

SOURCE = "store_metrics"

READ = "schema_version store account data_source series observation mirror mirror_source mirror_batch mirror_rows"
RIGHTS = [
    *(f"SELECT ON temporis_{table}" for table in f"{READ} mirror_rejected".split()),
    *(f"UPDATE ON temporis_{table}" for table in ("data_source", "mirror", "mirror_source")),
    *(f"INSERT ON temporis_{table}" for table in ("account", "data_source", "series", "mirror_source")),
    *(
        f"INSERT, UPDATE, DELETE ON temporis_{table}"
        for table in ("observation", "mirror_batch", "mirror_rows", "mirror_rejected")
    ),
]
"""The rights that docs/mirror.md names for a role that did not make the mirror."""


@pytest.fixture
def service():
    with FakeService([SOURCE, "grid"]) as running:
        yield running


@pytest.fixture
def role(postgres_server):
    """A role that may do nothing yet, with the canary as its password. Nothing may show its name, either."""
    name = f"mirror_writer_{secrets.token_hex(4)}"
    postgres_server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{CANARY}'")
    yield name
    postgres_server.execute(f"DROP ROLE {name}")


def in_psql(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def as_role(url: str, role: str) -> str:
    return sa.make_url(url).set(username=role, password=CANARY).render_as_string(hide_password=False)


def test_a_role_needs_no_more_rights_than_the_docs_name(service, postgres_url, role):
    """With them, it writes into a new data source, sends, overwrites and flushes, retries and discards."""
    with connect(service.url, service.token, mirror=postgres_url) as temporis:
        temporis.data_source(SOURCE).upsert(sample_frame(hours=1))
    in_psql(postgres_url, *(f"GRANT {right} TO {role}" for right in RIGHTS))
    try:
        with connect(
            service.url, service.token, mirror=as_role(postgres_url, role), late_write_window_s=99.0
        ) as temporis:
            grid = temporis.data_source("grid")
            assert grid.upsert(sample_frame(hours=2)).stored == 4
            assert grid.upsert(sample_frame(hours=3)).stored == 6
            assert (grid.flush().pending, grid.pending().rows, len(grid.read())) == (0, 0, 6)
            assert (grid.retry_rejected(), grid.discard_rejected(), grid.discard_pending()) == (0, 0, 0)
    finally:
        in_psql(postgres_url, f"DROP OWNED BY {role}")


def test_a_role_without_rights_is_told_where_they_are_listed_and_nothing_is_shown(service, postgres_url, role, caplog):
    """Neither user nor password: not in errors, their tracebacks, the log, or what the mirror says it is."""
    with connect(service.url, service.token, mirror=postgres_url) as temporis:
        temporis.data_source(SOURCE).upsert(sample_frame(hours=1))
    with connect(service.url, service.token, mirror=as_role(postgres_url, role)) as temporis:
        with pytest.raises(StoreError, match=r"docs/mirror\.md") as caught:
            temporis.data_source(SOURCE).upsert(sample_frame(hours=2))
        said = repr(temporis._target) + temporis._target.mirror_url
    assert (caught.value.report.unsent, caught.value.report.observations_in) == (4, 4)
    assert showing(caught.value, CANARY, role) == []
    assert CANARY not in caplog.text + said
    assert role not in caplog.text + said


def test_a_mirror_whose_server_is_away_shows_no_secret(service, caplog):
    """It is tried for as long as the options say; nothing is sent, and the report says so, also if it is to queue."""
    url = f"postgresql+psycopg://quiet_77c1:{CANARY}@127.0.0.1:1/mirror"
    options = {"give_up_after_s": 0.01, "on_unavailable": "queue"}
    with connect(service.url, service.token, mirror=url, **options) as temporis:
        with pytest.raises(UnavailableError) as caught:
            temporis.data_source(SOURCE).upsert(sample_frame(hours=2))
        with pytest.raises(UnavailableError):
            temporis.data_source(SOURCE).pending()
    assert (caught.value.report.unsent, len(service.writes)) == (4, 0)
    assert showing(caught.value, CANARY, "quiet_77c1") == []
    assert CANARY not in caplog.text
    assert "quiet_77c1" not in caplog.text


def test_a_store_is_not_made_a_mirror_but_a_schema_beside_it_can_be(service, postgres_url):
    """The store keeps what it has, and the mirror is none of its business."""
    with connect(postgres_url) as temporis:
        temporis.create_data_source(SOURCE).upsert(sample_frame(hours=1))
    with connect(service.url, service.token, mirror=postgres_url) as temporis:
        with pytest.raises(StoreError, match=r"is not a mirror.*search_path") as caught:
            temporis.data_source(SOURCE).upsert(sample_frame(hours=2))
        assert caught.value.report.unsent == 4
    in_psql(postgres_url, "CREATE SCHEMA mirror")
    beside = sa.make_url(postgres_url).update_query_dict({"options": "-csearch_path=mirror"})
    url = beside.render_as_string(hide_password=False)
    with connect(service.url, service.token, mirror=url) as temporis:
        assert temporis.data_source(SOURCE).upsert(sample_frame(hours=2)).stored == 4
        assert len(temporis.data_source(SOURCE).read()) == 4
    with connect(postgres_url) as temporis:
        assert len(temporis.data_source(SOURCE).read()) == 2


def test_of_many_first_upserts_one_makes_the_mirror(service, postgres_url):
    """Eight at once, each over connections of its own, into two data sources: every row is stored, without a retry."""
    together, reports = threading.Barrier(8), []

    def upsert(number: int) -> None:
        with connect(service.url, service.token, mirror=postgres_url) as temporis:
            source = temporis.data_source((SOURCE, "grid")[number % 2])
            together.wait()
            reports.append(source.upsert(sample_frame(hours=5).add_suffix(f" {number}")))

    threads = [threading.Thread(target=upsert, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [report.stored for report in reports] == [10] * 8
    assert len(service.content) == 80
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM temporis_mirror").fetchone() == (1,)
