"""What those ask who run the service, over real HTTP: is it ready, what has it done, and a log that programs read."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from contextlib import closing

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.errors import StoreError
from temporis_dagster.service import app
from temporis_dagster.service.log_lines import JsonLines
from temporis_dagster.service.metrics import Metrics
from tests.support.service_fixture import ONE, Service, ServiceProcess, ingest_of, started_service


def post(service: Service, body: object, **headers: str) -> httpx.Response:
    return httpx.post(service.endpoint, json=body, headers={**service.headers, **headers})


# Ready


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_service_is_ready_while_its_store_can_be_written(kind, tmp_path, request):
    """Without a token; and nothing is changed by asking."""
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    with started_service(tmp_path, store_url=url) as service:
        service.store.set_archived("store_metrics", archived=True)
        response = httpx.get(f"{service.url}/ready")
        assert (response.status_code, response.json()) == (200, {"status": "ready"})
        assert service.store.overview()[0][1:] == (True, 0, None, None, None)


NOT_READY = {"detail": "The store cannot be written. The service's log has the reason."}


def test_a_service_over_a_file_that_is_locked_is_not_ready(tmp_path, monkeypatch, caplog):
    """It can still be read, so it is healthy. Once the lock is gone, it is ready."""
    monkeypatch.setattr(app, "LOCK_PATIENCE_S", 0.02)
    with started_service(tmp_path) as service:
        with closing(sqlite3.connect(tmp_path / "temporis.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            response = httpx.get(f"{service.url}/ready")
            assert (response.status_code, response.json()) == (503, NOT_READY)
            assert httpx.get(f"{service.url}/health").status_code == 200
        assert httpx.get(f"{service.url}/ready").status_code == 200
    assert "The store cannot be written: " in caplog.text
    assert "database is locked" in caplog.text


def test_a_service_over_a_server_that_only_reads_is_not_ready(postgres_url):
    """Such as a standby, to which a proxy sends it by mistake."""
    reads = sa.make_url(postgres_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    with closing(SqlStore(postgres_url)) as store:
        store.create_data_source("store_metrics")
    with closing(SqlStore(reads.render_as_string(hide_password=False))) as store:
        assert store.data_sources() == ["store_metrics"]
        with pytest.raises(StoreError, match="read-only transaction"):
            store.ensure_ready()


def test_a_service_without_a_store_is_not_ready(tmp_path, caplog):
    """Nothing can be ingested before there is a data source; asking makes no store."""
    with started_service(tmp_path) as service:
        for path in tmp_path.iterdir():
            path.unlink()
        assert httpx.get(f"{service.url}/ready").json() == NOT_READY
        assert list(tmp_path.iterdir()) == []
    assert "Create its first data source with: temporis sources create NAME." in caplog.text


def test_whoever_asks_often_does_not_hold_up_writers(tmp_path, monkeypatch):
    """The lock is taken once per second, however many ask."""
    taken = []
    monkeypatch.setattr(SqlStore, "ensure_ready", lambda _: taken.append(1))
    monkeypatch.setattr(app, "READY_FOR_S", 60.0)
    with started_service(tmp_path) as service:
        assert [httpx.get(f"{service.url}/ready").status_code for _ in range(5)] == [200] * 5
    assert len(taken) == 1


# Metrics


def samples(service: Service) -> dict[tuple[str, ...], float]:
    """The values of our metrics, by name and labels."""
    response = httpx.get(f"{service.url}/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name.startswith("temporis_")
    }


def test_metrics_count_requests_and_rows(tmp_path):
    """By status, and by what became of rows; a histogram of how long requests took."""
    with started_service(tmp_path, pages=lambda _: Metrics()) as service:
        assert samples(service)["temporis_rows_total", "stored"] == 0
        assert post(service, ingest_of((0, "a", 1), (1, "a", 2), (2, "a", 3))).status_code == 204
        assert post(service, ingest_of((1, "a", 2), (2, "a", 30))).status_code == 204
        assert post(service, ingest_of((0, "a", 1), (1, "a", 2), source="missing")).status_code == 404
        service.store.set_archived("store_metrics", archived=True)
        assert post(service, ONE).status_code == 409
        service.store.set_archived("store_metrics", archived=False)
        assert post(service, {"data_source": "store_metrics", "records": [{}]}).status_code == 422
        assert post(service, ONE, Authorization="Bearer ts_nobody").status_code == 401
        assert httpx.get(f"{service.url}/a/path/of/the/client's").status_code == 404
        assert httpx.get(f"{service.url}/health").status_code == 200
        found = samples(service)
    rows = {key[1]: value for key, value in found.items() if key[0] == "temporis_rows_total"}
    requests = {key[1:]: value for key, value in found.items() if key[0] == "temporis_requests_total"}
    assert rows == {"stored": 4, "unchanged": 1, "rejected": 3}
    assert requests == {
        **{("ingest", status): 1 for status in ("401", "404", "409", "422")},
        ("ingest", "204"): 2,
        ("other", "404"): 1,
        ("health", "200"): 1,
        ("metrics", "200"): 1,
    }
    assert found["temporis_request_seconds_count", "ingest"] == 6
    assert found["temporis_request_seconds_bucket", "ingest", "+Inf"] == 6


def test_metrics_name_no_data_source_account_or_token(tmp_path):
    """Whatever clients send: they are for whoever may see how busy a service is, and no more."""
    with started_service(tmp_path, account="acme", pages=lambda _: Metrics()) as service:
        service.store.create_data_source("merger_plans")
        assert post(service, ingest_of((0, "price", 1), source="merger_plans")).status_code == 204
        httpx.request("BREW", f"{service.url}/ts_in_the_path?token=ts_in_the_query")
        shown = httpx.get(f"{service.url}/metrics").text
    assert not re.search(r"acme|merger|price|in_the|BREW|store_metrics", shown)


def test_a_service_shows_no_metrics_unless_it_is_asked_to(tmp_path):
    """There is no such path."""
    with started_service(tmp_path) as service:
        assert httpx.get(f"{service.url}/metrics").status_code == 404


# The log, and the command


def test_the_command_serves_metrics_and_logs_json_lines(store):
    """Each line of stderr is an object; that of a request has fields, and nothing that looks like a token."""
    token = store.tokens.create("test")
    service = ServiceProcess(store.url, 0, "--metrics", "--log-format", "json")
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "me\t'ts_secret_agent'"}
    assert httpx.post(service.url + INGEST_PATH, json=ONE, headers=headers).status_code == 204
    assert httpx.get(f"{service.url}/metrics").status_code == 200
    assert httpx.get(f"{service.url}/ready").status_code == 200
    service.hear("/ready")
    service.stop()
    lines = [json.loads(line) for line in service.complaints]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (ingest,) = [line for line in lines if line.get("path") == INGEST_PATH]
    assert {key: ingest[key] for key in ("method", "status", "account", "data_source", "records", "agent")} == {
        "method": "POST",
        "status": 204,
        "account": "default",
        "data_source": "store_metrics",
        "records": 1,
        "agent": "me\t'<token>'",
    }
    assert ingest["duration_ms"] > 0
    assert "ts_" not in "".join(service.complaints)


def test_what_the_command_remarks_at_its_start_is_a_json_line_too(tmp_path):
    """Such as that there is no store yet."""
    service = ServiceProcess(f"sqlite:///{tmp_path}/none.db", 0, "--log-format", "json")
    service.hear("does not exist yet")
    service.stop()
    assert [json.loads(line)["level"] for line in service.complaints if "does not exist yet" in line] == ["WARNING"]
    assert all(json.loads(line) for line in service.complaints)


def test_a_traceback_is_part_of_its_line():
    """So that a program that reads lines finds it with the message."""
    error = ValueError("one\ntwo")
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "It %s.", ("failed",), (type(error), error, None))
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "It failed."
    assert "ValueError: one\ntwo" in json.loads(line)["exception"]
