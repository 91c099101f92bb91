"""The local service over PostgreSQL while the database is away, silent or busy. tests/core has its contract."""

from __future__ import annotations

import socket

import httpx
import psycopg
import pytest

from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service import app
from tests.support.service_fixture import ONE, ServiceProcess, content, ingest_of, served, started_service

NOT_AVAILABLE = {"detail": "The store is not available. Try again later."}


def post(url, token, body=ONE):
    return httpx.post(f"{url}/v1/data_sources/ingest", json=body, headers={"Authorization": f"Bearer {token}"})


def test_an_outage_is_503_and_passes(private_postgres, monkeypatch):
    """503 with Retry-After while the server is down, also from /health; once it is back, requests are stored again."""
    monkeypatch.setattr(app, "LOCK_PATIENCE_S", 0.05)
    with started_service(store_url=private_postgres.url()) as service:
        assert post(service.url, service.token).status_code == 204
        private_postgres.stop()
        response = post(service.url, service.token, ingest_of((1, "late", 1.0)))
        assert (response.status_code, response.json()) == (503, NOT_AVAILABLE)
        assert response.headers["Retry-After"] == "1"
        assert httpx.get(f"{service.url}/health").status_code == 503
        private_postgres.start()
        assert httpx.get(f"{service.url}/health").status_code == 200
        assert post(service.url, service.token, ingest_of((1, "late", 1.0))).status_code == 204
        assert set(content(service.store)) == {(1718870400, "orders"), (1, "late")}


def test_a_service_that_starts_before_its_database(private_postgres):
    """It says that the database is away, answers 503, and serves as soon as the database is there.

    Its log has no line of SQLAlchemy for each attempt.
    """
    store = SqlStore(private_postgres.url())
    store.create_data_source("store_metrics")
    token = store.tokens.create("test")
    private_postgres.stop()
    service = ServiceProcess(private_postgres.url())
    service.hear("Until the store is available, requests are answered with 503.")
    assert post(service.url, token).status_code == 503
    private_postgres.start()
    assert post(service.url, token).status_code == 204
    service.stop()
    assert "Pool" not in "".join(service.complaints)
    assert len(content(store)) == 1
    store.close()


def test_a_database_that_says_nothing_at_all(monkeypatch):
    """A request whose token cannot be looked up is answered all the same: 503, and so is /health."""
    monkeypatch.setattr(app, "LOOKUP_PATIENCE_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        store = SqlStore(f"postgresql+psycopg://nobody@127.0.0.1:{silent.getsockname()[1]}/metrics")
        with served(store, listener) as url:
            response = post(url, "ts_x")
            assert (response.status_code, response.json()) == (503, NOT_AVAILABLE)
            assert httpx.get(f"{url}/health").status_code == 503


def test_a_lock_that_somebody_holds_is_503(postgres_url, monkeypatch):
    """A transaction that keeps the data source locked holds a request up for a while, and then it is told so."""
    monkeypatch.setattr(app, "LOCK_PATIENCE_S", 0.05)
    plain = postgres_url.replace("+psycopg", "")
    with started_service(store_url=postgres_url) as service, psycopg.connect(plain) as other:
        other.execute("SELECT * FROM temporis_data_source FOR UPDATE")
        response = post(service.url, service.token)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        other.rollback()
        assert post(service.url, service.token).status_code == 204


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_mistake_ends_the_service_at_once(private_postgres, wrong):
    """What waiting does not change is said when the service is started, without the user and the password."""
    with private_postgres.connect() as connection:
        connection.execute("CREATE ROLE serves LOGIN PASSWORD 'right'")
    private_postgres._require_password("secret")
    url = private_postgres.url(
        "postgres" if wrong == "password" else "no_such_database",
        username="serves",
        password="s3cret" if wrong == "password" else "right",
    )
    service = ServiceProcess(url)
    assert service.wait() == 1
    said = "".join(service.complaints)
    assert ("password" if wrong == "password" else "Create the database") in said
    assert "s3cret" not in said
    assert "serves" not in said
    assert "Traceback" not in said
