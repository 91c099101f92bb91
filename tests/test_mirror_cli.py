"""``temporis mirror``: what it prints, and what it does."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from temporis_dagster import connect
from temporis_dagster.cli import main
from temporis_dagster.testing import FakeService, sample_frame

BAD = 7.25


@pytest.fixture
def service():
    with FakeService(fault_of=lambda record: "too odd" if record["value"] == BAD else None) as running:
        yield running


@pytest.fixture
def run(service, tmp_path):
    settings = {
        "TEMPORIS_URL": service.url,
        "TEMPORIS_TOKEN": service.token,
        "TEMPORIS_MIRROR": f"sqlite:///{tmp_path}/mirror.db",
    }
    return lambda *arguments, **changed: CliRunner().invoke(main, ["mirror", *arguments], env=settings | changed)


@pytest.fixture
def backlog(service, tmp_path):
    """48 rows that could not be delivered, one of which the service will refuse."""
    service.archive("store_metrics")
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    with connect(service.url, service.token, mirror=mirror, on_unavailable="queue") as temporis:
        assert temporis.data_source("store_metrics").upsert(sample_frame()).pending == 48
    service.archive("store_metrics", archived=False)


def test_status_tells_what_is_pending(run, backlog):
    """A line a data source; as JSON with all parts."""
    line = run("status").stdout
    assert line.startswith("store_metrics\t48 pending since 20")
    assert "archived" in line
    (row,) = json.loads(run("status", "--json").stdout)
    assert (row["data_source"], row["pending"], row["rejected"]) == ("store_metrics", 48, 0)


def test_flush_delivers(run, backlog, service):
    """The report on stdout; the refused row is kept and can be listed, retried and discarded."""
    assert "47 stored, 1 rejected" in run("flush").stdout
    assert len(service.content) == 47
    header, row = run("rejected", "--data-source", "store_metrics").stdout.splitlines()
    assert header == "timestamp,name,value,reason,rejected_at"
    assert row.startswith("2024-06-20T07:00:00Z,revenue,7.25,")
    assert run("retry-rejected").stdout == "store_metrics\t1 pending again\n"
    assert json.loads(run("flush", "--json", "--no-wait").stdout)["rejected"] == 1
    assert run("discard-rejected").stdout == "store_metrics\t1 discarded\n"
    assert run("status").stdout == "store_metrics\t0 pending\t0 rejected\n"


def test_flush_fails_as_upserts_do(run, backlog, service):
    """The report, then the exit code of the error."""
    service.archive("store_metrics")
    result = run("flush")
    assert (result.exit_code, "48 pending" in result.stdout) == (5, True)


def test_rebuild_sends_everything_to_a_new_service(run, backlog):
    """Bound to the new service; the next flush fills it."""
    run("flush")
    with FakeService() as new:
        assert run("status", TEMPORIS_URL=new.url).exit_code == 1
        assert run("rebuild", TEMPORIS_URL=new.url).stdout == "47 pending\n"
        assert "47 stored" in run("flush", TEMPORIS_URL=new.url).stdout
        assert len(new.content) == 47


def test_rebind_takes_a_new_token(run, backlog, service):
    """Nothing is sent again, and the old token is refused from then on."""
    before = len(service.requests)
    assert run("rebind", TEMPORIS_TOKEN="ts_new").exit_code == 0
    assert run("status", TEMPORIS_TOKEN="ts_new").exit_code == 0
    refused = run("status")
    assert (refused.exit_code, "rebind" in refused.stderr) == (1, True)
    assert len(service.requests) == before


def test_a_file_that_is_no_mirror_is_left_alone(run, tmp_path):
    """rebind and rebuild refuse an embedded data source."""
    url = f"sqlite:///{tmp_path}/other.db"
    with connect(url) as temporis:
        temporis.create_data_source("mine")
    for command in ("rebind", "rebuild", "status"):
        assert "is no mirror" in run(command, TEMPORIS_MIRROR=url).stderr
