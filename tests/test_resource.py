"""TemporisResource: connects late and once, closes, works without a run, shows nothing it should not."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    TemporisIOManager,
    TemporisResource,
    connect,
)
from tests.dagster_harness import shown_in_the_ui

HOURS = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
ORDERS = pd.DataFrame({"orders": range(24)}, index=HOURS)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/temporis.db"


def test_works_outside_a_run(url):
    """In a notebook the resource of a project is a connection like any other."""
    resource = TemporisResource(url=url, create_missing=True)
    assert resource.data_source("store_metrics").upsert(ORDERS).stored == 24
    assert len(resource.data_source("store_metrics").read()) == 24
    resource.close()


def test_opens_nothing_before_its_first_use(tmp_path):
    """Setting up does no I/O: Dagster does it once for every resource that nests this one."""
    with TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db").process_config_and_initialize_cm() as resource:
        assert resource.connection.url.endswith("/temporis.db")
    assert list(tmp_path.iterdir()) == []


def test_is_one_connection_for_all_threads(url):
    """Threads that meet at the first use share what one of them made."""
    resource = TemporisResource(url=url)
    with ThreadPoolExecutor(8) as pool:
        connections = set(pool.map(lambda _: resource.connection, range(64)))
    assert len(connections) == 1


def test_closes_at_the_end_of_the_run(url, monkeypatch):
    """The connection that a run used is closed when it ends; the next use would make a new one."""
    seen = []

    @dg.asset
    def orders(temporis: TemporisResource) -> None:
        seen.append(temporis.connection)
        monkeypatch.setattr(temporis.connection, "close", lambda: seen.append("closed"))

    dg.materialize([orders], resources={"temporis": TemporisResource(url=url)})
    assert seen[1:] == ["closed"]


def test_takes_the_url_of_the_environment_when_it_connects(url, monkeypatch):
    """Without a URL, TEMPORIS_URL decides, read in the process that runs; without both, the error says what to do."""
    monkeypatch.delenv("TEMPORIS_URL", raising=False)
    resource = TemporisResource()
    with pytest.raises(ConfigurationError, match="TEMPORIS_URL"):
        resource.data_source("store_metrics")
    monkeypatch.setenv("TEMPORIS_URL", url)
    assert resource.connection.url == url


def test_takes_env_vars_in_a_run(url, monkeypatch):
    """dg.EnvVar is resolved when the run starts."""
    monkeypatch.setenv("OUR_STORE", url)

    @dg.asset
    def orders(temporis: TemporisResource) -> str:
        return temporis.connection.url

    result = dg.materialize([orders], resources={"temporis": TemporisResource(url=dg.EnvVar("OUR_STORE"))})
    assert result.output_for_node("orders") == url


def test_passes_every_option_on(url):
    """create_missing, account and dry_run are those of connect."""
    TemporisResource(url=url, create_missing=True, account="acme").data_source("store_metrics").upsert(ORDERS)
    with connect(url, account="acme") as acme, connect(url) as default:
        assert (acme.data_sources(), default.data_sources()) == (["store_metrics"], [])
    report = TemporisResource(url=url, account="acme", dry_run=True).data_source("store_metrics").upsert(ORDERS + 1)
    assert (report.dry_run, report.stored, report.unsent) == (True, 0, 24)


def test_ensure_writable_is_the_preflight(url):
    """Before an expensive body: returns for an active data source, raises for an archived or a missing one."""
    resource = TemporisResource(url=url)
    with connect(url) as temporis:
        source = temporis.create_data_source("store_metrics")
        resource.ensure_writable("store_metrics")
        source.archive()
        with pytest.raises(DataSourceArchivedError):
            resource.ensure_writable("store_metrics")
        assert source.archive_state() is ArchiveState.ARCHIVED
        with pytest.raises(DataSourceNotFoundError):
            resource.ensure_writable("no_such")
    with pytest.raises(ConfigurationError, match="cannot name"):
        resource.ensure_writable("Store-Metrics")
    resource.close()


def test_shows_no_secrets():
    """A password in a URL is neither in the UI's view of the configuration nor in a repr."""
    resource = TemporisResource(url="postgresql://me:hunter2@host/db", token="ts_hunter2")
    assert "hunter2" not in repr(resource)
    assert "hunter2" not in repr(TemporisIOManager(temporis=resource))
    assert shown_in_the_ui(resource) == {
        "url": "********",
        "token": "********",
        "create_missing": "false",
        "account": '"default"',
        "dry_run": "false",
    }
    with pytest.raises(ConfigurationError) as caught:
        resource.data_source("store_metrics")
    assert "hunter2" not in str(caught.value)


def test_warns_of_nothing(url):
    """No beta, preview or deprecated feature of Dagster is behind the resource."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with TemporisResource(url=url, create_missing=True).process_config_and_initialize_cm() as resource:
            resource.data_source("store_metrics").upsert(ORDERS)
