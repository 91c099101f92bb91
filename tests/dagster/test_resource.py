"""TemporisResource: connects late and once, closes, works without a run, and shows no secret."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from inspect import signature

import dagster as dg
import pandas as pd
import pytest
import trustme
from pydantic import ValidationError

from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    TemporisIOManager,
    TemporisResource,
    connect,
)
from temporis_dagster.testing import FakeService
from tests.support.dagster_harness import shown_in_the_ui

HOURS = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
ORDERS = pd.DataFrame({"orders": range(24)}, index=HOURS)


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


def test_every_argument_of_connect_is_a_field():
    """With the same default, so that code from a notebook works as a resource unchanged; verify= is the path only."""
    arguments = {name: argument.default for name, argument in signature(connect).parameters.items()}
    fields = {name: field.default for name, field in TemporisResource.model_fields.items()}
    assert fields == {**arguments, "verify": None}


def test_options_of_http_reach_the_requests():
    """Two rows per request, as configured, in a run whose values come from the environment."""

    @dg.asset
    def orders(temporis: TemporisResource) -> None:
        temporis.data_source("store_metrics").upsert(ORDERS)

    with FakeService() as service, pytest.MonkeyPatch.context() as environment:
        said = {"URL": service.url, "TOKEN": service.token, "ROWS": "2", "IN_FLIGHT": "1"}
        for name, value in said.items():
            environment.setenv(f"OUR_{name}", value)
        temporis = TemporisResource(
            url=dg.EnvVar("OUR_URL"),
            token=dg.EnvVar("OUR_TOKEN"),
            batch_rows=dg.EnvVar.int("OUR_ROWS"),
            max_in_flight=dg.EnvVar.int("OUR_IN_FLIGHT"),
            give_up_after_s=60,
        )
        assert dg.materialize([orders], resources={"temporis": temporis}).success
        assert [len(request.records) for request in service.requests] == [2] * 12


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch_rows": 0}, "batch_rows must be a positive integer, got 0"),
        ({"timeout_s": -1.0}, "timeout_s must be a positive number, got -1.0"),
        ({"requests_per_second": 0.0}, "requests_per_second"),
        ({"verify": "/no/such/file.pem"}, "verify='/no/such/file.pem' is not a CA bundle"),
        ({"url": "http://example.org"}, "unencrypted"),
        ({"url": "sqlite:///x.db", "mirror": "sqlite:///m.db"}, "Leave out mirror of the TemporisResource"),
        ({"skip_unchanged": True}, "set mirror of the TemporisResource to 'sqlite:///mirror.db'"),
        ({"url": "ftp://example.org"}, "Set url of the TemporisResource"),
        ({"url": "", "token": ""}, "Set url of the TemporisResource"),
    ],
)
def test_options_are_checked_when_it_connects(option, message):
    """Not earlier: a field may be an EnvVar, whose value is unknown when the code is loaded."""
    resource = TemporisResource(**{"url": "https://example.org", "token": "ts_secret", **option})
    with pytest.raises(ConfigurationError, match=message):
        resource.data_source("store_metrics")


def test_a_certificate_authority_of_ones_own_is_a_path(tmp_path):
    """verify= takes the file of a CA bundle; and nothing turns verification off."""
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    assert TemporisResource(url="https://example.org", token="ts_secret", verify=str(bundle)).connection.url
    with pytest.raises(ValidationError):
        TemporisResource(url="https://example.org", verify=False)


def test_names_the_run_in_a_run_only():
    """The User-Agent has the run's id in a run, and nothing of Dagster in a notebook."""
    with FakeService() as service:
        alone = TemporisResource(url=service.url, token=service.token)
        alone.data_source("store_metrics").upsert(ORDERS)
        alone.close()

        @dg.asset
        def orders(temporis: TemporisResource) -> None:
            temporis.data_source("store_metrics").upsert(ORDERS)

        result = dg.materialize([orders], resources={"temporis": alone})
        notebook, run = (request.headers["user-agent"] for request in service.requests)
    assert run == f"{notebook} dagster-run/{result.run_id}"
    assert notebook.startswith("temporis-dagster/")


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
    mirror = "postgresql+psycopg://me:hunter2@host/mirror"
    resource = TemporisResource(url="mysql://me:hunter2@host/db", token="ts_hunter2", mirror=mirror)
    assert "hunter2" not in repr(resource)
    assert "hunter2" not in repr(TemporisIOManager(temporis=resource))
    assert shown_in_the_ui(resource) == {
        "url": "********",
        "token": "********",
        "batch_rows": "null",
        "max_body_bytes": "4000000",
        "max_in_flight": "null",
        "requests_per_second": "null",
        "timeout_s": "30.0",
        "give_up_after_s": "300.0",
        "allow_http": "false",
        "verify": "null",
        "create_missing": "false",
        "account": '"default"',
        "mirror": "********",
        "skip_unchanged": "false",
        "on_unavailable": '"raise"',
        "late_write_window_s": "60.0",
        "max_pending_rows": "50000000",
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TemporisResource(uri="sqlite:///hunter2.db"), "TemporisResource has no option 'uri'.*mean 'url'"),
        (lambda: TemporisResource(whatever="hunter2"), "has no option 'whatever'. Its options are url, token,"),
        (lambda: TemporisIOManager(temporis=TemporisResource(), data_sources="a"), "'data_sources'.*'data_source'"),
        (lambda: TemporisIOManager(temporis=TemporisResource(), url="sqlite:///hunter2.db"), "no option 'url'"),
        (TemporisIOManager, "has no connection.*temporis=TemporisResource"),
        (lambda: TemporisIOManager(temporis="sqlite:///hunter2.db"), "has no connection"),
    ],
)
def test_unknown_options_are_refused(make, message):
    """Dagster ignores them silently, and with a misspelt url rows would go to the cloud. Values are not shown."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        make()
    assert "hunter2" not in str(caught.value)


def test_a_value_of_the_wrong_type_is_not_shown():
    """It may be a token of the wrong type."""
    with pytest.raises(ValidationError) as caught:
        TemporisResource(token=["ts_hunter2"])
    assert "hunter2" not in str(caught.value)


def test_what_is_configured_at_launch_still_is(url):
    """A connection that is configured at launch may nest in an IO manager, and uses that configuration."""

    @dg.asset(io_manager_key="temporis_io_manager", metadata={"temporis/data_source": "store_metrics"})
    def orders() -> pd.DataFrame:
        return ORDERS

    late = TemporisResource.configure_at_launch(create_missing=True)
    defs = dg.Definitions(
        assets=[orders],
        resources={"temporis": late, "temporis_io_manager": TemporisIOManager(temporis=late)},
        jobs=[dg.define_asset_job("job")],
    )
    config = {"resources": {"temporis": {"config": {"url": url}}}}
    result = defs.resolve_job_def("job").execute_in_process(run_config=config)
    stored = result.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata
    assert stored["temporis/stored"].value == 24
