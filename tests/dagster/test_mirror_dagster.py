"""The mirror under Dagster, through real runs: what is loaded, what waits, what fails, and the checks that see it."""

from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    ConfigurationError,
    TemporisIOManager,
    TemporisResource,
    build_series_checks,
    connect,
    temporis_asset,
)
from temporis_dagster.testing import FakeService, answer, in_sequence, sample_frame
from tests.support.dagster_harness import attempts, failure_of, key_range, materializations, recorded

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

BAD = 3.0
NOON = 1_718_884_800  # 2024-06-20 12:00 UTC
AT_ONCE = {"give_up_after_s": 1e-9}
DAYS = dg.DailyPartitionsDefinition("2024-06-20", end_date="2024-06-22")


@pytest.fixture
def service():
    with FakeService(fault_of=lambda record: "too odd" if record["value"] == BAD else None) as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    return f"sqlite:///{tmp_path}/mirror.db"


def resource(service, mirror, **options):
    return TemporisResource(url=service.url, token=service.token, mirror=mirror, **options)


def writer(data, bodies=None, **asset):
    @temporis_asset(data_source="store_metrics", name="orders", **asset)
    def orders():
        if bodies is not None:
            bodies.append("run")
        return data

    return orders


def run(temporis, *assets, instance=None, **arguments):
    io_manager = TemporisIOManager(temporis=temporis)
    resources = {"temporis_io_manager": io_manager, "io_manager": io_manager, "temporis": temporis}
    return dg.materialize(list(assets), instance=instance, resources=resources, raise_on_error=False, **arguments)


def facts(result):
    failure = failure_of(result).event_specific_data.user_failure_data
    return {key: entry.value for key, entry in failure.metadata.items()}


def down(_request):
    return answer(503, "busy")


def down_from_noon(request):
    return answer(503, "busy") if any(record["timestamp"] >= NOON for record in request.records) else None


def days(count):
    """Hourly observations of a number of days."""
    hours = pd.date_range("2024-06-20", periods=24 * count, freq="h", tz="UTC")
    return pd.DataFrame({"orders": [hour + 0.5 for hour in range(len(hours))]}, index=hours)


# What is loaded


def test_a_downstream_asset_loads_what_is_in_the_mirror(service, mirror):
    """Over HTTP there is no read-back; a mirror provides it: stored and pending rows, without rejected ones."""
    loaded = []

    @dg.asset
    def reader(orders) -> None:
        loaded.append(orders)

    service.state.script = down_from_noon
    temporis = resource(service, mirror, on_unavailable="queue", batch_rows=24, max_in_flight=1, **AT_ONCE)
    result = run(temporis, writer(sample_frame(), on_invalid="drop"), reader)
    assert result.success
    (metadata,) = [said for key, said in materializations(result, "orders").items()]
    counts = [metadata[f"temporis/{name}"] for name in ("stored", "rejected", "pending")]
    assert (sum(counts), min(counts) > 0) == (48, True), counts
    (frame,) = loaded
    assert list(frame) == ["timestamp", "name", "value"]
    assert len(frame) == 48 - metadata["temporis/rejected"]
    assert BAD not in frame["value"].tolist()


# What waits


def test_queued_rows_let_the_step_succeed_and_are_counted(service, mirror, instance):
    """While the service is down the step is green, says how many rows wait and why; a flush delivers them."""
    service.state.script = down
    temporis = resource(service, mirror, on_unavailable="queue", **AT_ONCE)
    result = run(temporis, writer(days(1), partitions_def=DAYS), instance=instance, partition_key="2024-06-20")
    assert result.success
    (metadata,) = materializations(result, "orders").values()
    assert (metadata["temporis/pending"], metadata["temporis/stored"]) == (24, 0)
    assert metadata["dagster/partition_row_count"] == 24
    (warning,) = [log.user_message for log in instance.all_logs(result.run_id) if "wait in the mirror" in log.message]
    assert warning.startswith("24 observations wait")
    assert "busy" in warning
    service.state.script = lambda _request: None
    with connect(service.url, service.token, mirror=mirror) as temporis:
        assert temporis.data_source("store_metrics").flush().stored == 24
    assert len(service.content) == 24


def test_nothing_pending_is_not_said(service, mirror):
    """A delivered write has no such figure, and no warning."""
    (metadata,) = materializations(run(resource(service, mirror), writer(days(1).tail(3))), "orders").values()
    assert (metadata["temporis/stored"], "temporis/pending" in metadata) == (3, False)


# What fails


def test_a_failure_says_how_many_rows_the_mirror_keeps(service, mirror, instance):
    """With on_unavailable='raise' the step fails; its metadata count the pending rows, and it is not re-run."""
    service.state.script = lambda _request: answer(429, "slow down", retry_after=3_600)
    bodies = []
    result = run(resource(service, mirror), writer(days(1), bodies), instance=instance)
    assert (result.success, bodies, attempts(result)) == (False, ["run"], 1)
    shown = facts(result)
    assert (shown["temporis/error"], shown["temporis/pending"], shown["temporis/unsent"]) == ("UnavailableError", 24, 0)
    assert recorded(instance, "orders") == {}


def test_the_retry_policy_may_turn_an_outage_green(service, mirror):
    """A retry policy of the asset still applies: only a step that is re-run can succeed."""
    service.state.script = in_sequence(answer(503, "busy"))
    asset = writer(days(1), bodies := [], retry_policy=dg.RetryPolicy(max_retries=1))
    assert run(resource(service, mirror, **AT_ONCE), asset).success
    assert bodies == ["run", "run"]
    assert len(service.content) == 24


def test_partitions_with_pending_rows_are_not_recorded_by_a_run_that_fails(service, mirror, instance):
    """If a range fails halfway, only partitions whose every row is on the service count as materialized."""
    service.state.script = in_sequence(None, *[answer(503, "busy")] * 9)
    temporis = resource(service, mirror, batch_rows=24, max_in_flight=1, **AT_ONCE)
    tags = key_range("2024-06-20", "2024-06-21")
    result = run(temporis, writer(days(2), partitions_def=DAYS), instance=instance, tags=tags)
    assert facts(result)["temporis/pending"] == 24
    assert set(recorded(instance, "orders")) == {"2024-06-20"}


def test_archived_in_the_middle_keeps_the_rest(service, mirror, instance):
    """The step fails for good and reports what is pending; after an unarchive it is delivered."""

    def archive_after_the_first(request):
        service.archive("store_metrics", archived=len(service.requests) > 1)

    service.state.script = archive_after_the_first
    temporis = resource(service, mirror, batch_rows=12, max_in_flight=1)
    result = run(temporis, writer(days(1), retry_policy=dg.RetryPolicy(max_retries=3)))
    assert attempts(result) == 1
    shown = facts(result)
    assert (shown["temporis/error"], shown["temporis/stored"]) == ("DataSourceArchivedError", 12)
    assert shown["temporis/pending"] == 12
    service.state.script = lambda _request: None
    service.archive("store_metrics", archived=False)
    with connect(service.url, service.token, mirror=mirror) as unarchived:
        assert unarchived.data_source("store_metrics").flush().stored == 12
    assert len(service.content) == 24


# Checks


def checked(temporis, *, later=timedelta(0), max_pending_age=timedelta(minutes=15)):
    orders = writer(days(1))
    now = pd.Timestamp.now(tz="UTC").timestamp() + later.total_seconds()
    checks = build_series_checks(assets=[orders], max_pending_age=max_pending_age, clock=lambda: now)
    defs = dg.Definitions(
        assets=[orders],
        asset_checks=checks,
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        executor=dg.in_process_executor,
    )
    result = defs.resolve_job_def("checks").execute_in_process(raise_on_error=False)
    assert result.success
    (said,) = result.get_asset_check_evaluations()
    return said, {key.removeprefix("temporis/"): entry.value for key, entry in said.metadata.items()}


def test_the_check_is_red_once_rows_wait_for_too_long(service, mirror):
    """A short wait passes; a longer one fails, with the number, since when, the reason, and what to do."""
    service.state.script = down
    temporis = resource(service, mirror, on_unavailable="queue", **AT_ONCE)
    assert run(temporis, writer(days(1))).success
    assert checked(temporis)[0].passed
    said, shown = checked(temporis, later=timedelta(minutes=16))
    assert (said.check_name, said.passed, said.severity) == ("pending_age_check", False, dg.AssetCheckSeverity.WARN)
    assert (shown["pending"], shown["max_pending_age_s"]) == (24, 900.0)
    assert "busy" in shown["last_error"]
    assert shown["found"].startswith("24 observations wait in the mirror, the oldest for 16 minutes")
    assert "flush" in shown["what_to_do"]
    assert abs(shown["oldest_pending"] - pd.Timestamp.now(tz="UTC").timestamp()) < 600


def test_the_check_passes_when_nothing_waits_and_tells_of_rejected_rows(service, mirror):
    """Rejected rows do not count as pending, but there is a warning."""
    temporis = resource(service, mirror)
    run(temporis, writer(sample_frame(), on_invalid="drop"))
    said, shown = checked(temporis, later=timedelta(days=1))
    assert (said.passed, shown["pending"], shown["rejected"]) == (True, 0, 1)
    assert "rejected_rows()" in shown["warning"]


def test_without_a_mirror_the_check_passes_with_a_warning(service):
    """What cannot be known passes, because a check that always fails would stop automation."""
    said, shown = checked(TemporisResource(url=service.url, token=service.token))
    assert said.passed
    assert "no mirror" in shown["warning"]


def test_a_mirror_that_cannot_be_read_fails_the_check(service, tmp_path):
    """An error while asking fails the check."""
    (tmp_path / "mirror.db").write_bytes(b"not a database" * 100)
    said, shown = checked(resource(service, f"sqlite:///{tmp_path}/mirror.db"))
    assert not said.passed
    assert "StoreError" in shown["found"]


def test_a_wait_that_is_no_length_of_time_is_refused():
    """Refused when the code is loaded."""
    with pytest.raises(ConfigurationError, match="max_pending_age"):
        build_series_checks(assets=[writer(days(1))], max_pending_age=15)
