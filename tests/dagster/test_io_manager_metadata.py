"""What a write records: in the run's log, on the partition's page, on the page of the data source."""

import logging

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from temporis_dagster import TemporisIOManager, TemporisResource, connect, data_source_spec, temporis_asset
from temporis_dagster.testing import FakeService, answer
from tests.support.dagster_harness import key_range, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

HOURS = pd.date_range("2024-06-01", periods=120, freq="h", tz="UTC")
AT_ONCE = {"give_up_after_s": 1e-9}


def hourly(hours=HOURS):
    return pd.DataFrame({"orders": np.arange(len(hours), dtype=float)}, index=hours)


def storing(data, **arguments):
    @temporis_asset(**{"data_source": SOURCE, "name": "orders", **arguments})
    def orders():
        return data

    return orders


def metadata_of(result):
    return next(iter(materializations(result, "orders").values()))


# The page of the data source


def test_a_write_is_an_observation_on_the_page_of_the_data_source(project):
    """Who wrote, how many rows of how many series, from when to when, where, and that it is active: never nothing."""
    assert project.run(storing(hourly())).success
    (page,) = project.observations()
    assert page == {
        "temporis/archive_state": "active",
        "temporis/asset": dg.AssetKey("orders"),
        "temporis/stored": 120,
        "temporis/unchanged": 0,
        "temporis/series_count": 1,
        "temporis/first_observation": HOURS[0].timestamp(),
        "temporis/last_observation": HOURS[-1].timestamp(),
        "dagster/uri": project.temporis.connection.data_source(SOURCE).url,
        "dagster/table_name": f"temporis.{SOURCE}",
    }


def test_a_range_is_one_observation(project):
    """Dagster keeps events permanently: a backfill adds one line to the page, which names its partitions."""
    project.run(storing(hourly(), partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-05"))
    (page,) = project.observations()
    assert (page["temporis/partitions"], page["temporis/stored"]) == ("2024-06-01...2024-06-05 (5)", 120)


def test_the_page_shows_that_the_data_source_is_archived(project):
    """A write that met an archived data source records it there as well."""
    project.run(storing(hourly()))
    with connect(project.temporis.url) as temporis:
        temporis.data_source(SOURCE).archive()
    assert not project.run(storing(hourly() + 1)).success
    assert [page["temporis/archive_state"] for page in project.observations()] == ["active", "archived"]


@pytest.mark.parametrize("frame", [hourly()[:0], pd.DataFrame()])
def test_a_write_of_nothing_is_no_observation(project, frame):
    """An empty frame reveals nothing about the data source."""
    assert project.run(storing(frame)).success
    assert project.observations() == []


def test_a_dry_run_is_no_observation(project):
    """Nothing was written, so nothing is shown as written."""
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    assert dry.run(storing(hourly())).success
    assert project.observations() == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("partitioned", [False, True])
def test_an_observation_never_requests_the_writer_again(project, partitioned):
    """The writer depends on the data source: what it reports there must not look like an update of its input."""
    when = {"partitions_def": DAYS} if partitioned else {}
    key = {"partition_key": "2024-06-01"} if partitioned else {}
    condition = dg.AutomationCondition.any_deps_updated() | dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated()
    )
    orders = storing(hourly(HOURS[:24]), automation_condition=condition, **when)
    defs = dg.Definitions(
        assets=[data_source_spec(SOURCE), orders],
        resources={"temporis_io_manager": TemporisIOManager(temporis=project.temporis)},
    )
    tick = dg.evaluate_automation_conditions(defs, project.instance)
    for _ in range(3):
        assert project.run(orders, **key).success
        tick = dg.evaluate_automation_conditions(defs, project.instance, cursor=tick.cursor)
        assert tick.total_requested == 0
    assert len(project.observations()) == 3


def test_an_op_reports_too(tmp_path, instance):
    """What an op of a job writes is on the page as well, without the name of an asset."""
    project = Project(f"sqlite:///{tmp_path}/temporis.db", instance)

    @dg.op(out=dg.Out(io_manager_key="io"))
    def orders():
        return hourly()

    @dg.job(resource_defs={"io": TemporisIOManager(temporis=project.temporis, data_source=SOURCE)})
    def job():
        orders()

    assert job.execute_in_process(instance=instance).success
    (page,) = project.observations()
    assert (page["temporis/stored"], "temporis/asset" in page) == (120, False)


# The last observation is one that is stored


def served(tmp_path, instance, service, **options):
    temporis = TemporisResource(url=service.url, token=service.token, batch_rows=24, max_in_flight=1, **options)
    return Project(temporis, instance)


def test_the_last_observation_is_not_one_that_was_rejected(tmp_path, instance):
    """A service that refuses every recent row stored nothing recent, so freshness must not see any."""
    recent = HOURS[100].timestamp()
    with FakeService(fault_of=lambda record: "too new" if record["timestamp"] >= recent else None) as service:
        project = served(tmp_path, instance, service)
        metadata = metadata_of(project.run(storing(hourly(), on_invalid="drop")))
        assert metadata["temporis/rejected"] == 20
        assert metadata["temporis/last_observation"] == HOURS[99].timestamp()
        assert project.observations()[0]["temporis/last_observation"] == HOURS[99].timestamp()
        nothing = metadata_of(project.run(storing(hourly(HOURS[100:]), on_invalid="drop")))
        assert not [key for key in nothing if key.endswith("_observation")]


def test_the_last_observation_is_one_that_some_series_has(tmp_path, instance):
    """Of two series at one moment, one rejected and one stored: the moment is stored."""
    with FakeService(fault_of=lambda record: "bad" if record["name"] == "returns" else None) as service:
        both = hourly(HOURS[:3]).assign(returns=1.0)
        metadata = metadata_of(served(tmp_path, instance, service).run(storing(both, on_invalid="drop")))
        assert (metadata["temporis/stored"], metadata["temporis/rejected"]) == (3, 3)
        assert metadata["temporis/last_observation"] == HOURS[2].timestamp()


def test_the_last_observation_is_not_one_that_only_waits(tmp_path, instance):
    """Rows that wait in the mirror are not stored; their newest one stands apart, for when they are delivered."""
    noon = HOURS[24].timestamp()
    with FakeService(
        script=lambda request: (
            answer(503, "busy") if any(record["timestamp"] >= noon for record in request.records) else None
        )
    ) as service:
        mirror = f"sqlite:///{tmp_path}/mirror.db"
        project = served(tmp_path, instance, service, mirror=mirror, on_unavailable="queue", **AT_ONCE)
        metadata = metadata_of(project.run(storing(hourly())))
        assert metadata["temporis/pending"] == 96
        assert metadata["temporis/last_observation"] == HOURS[23].timestamp()
        assert metadata["temporis/last_pending_observation"] == HOURS[-1].timestamp()
        waiting = metadata_of(project.run(storing(hourly(HOURS[24:] + pd.Timedelta(days=9)))))
        assert "temporis/last_observation" not in waiting
        assert project.observations()[-1]["temporis/pending"] == 96
        assert "temporis/archive_state" not in project.observations()[-1]


def test_what_was_unchanged_is_stored(project):
    """The same write again stores nothing new, and its newest observation is there all the same."""
    for _ in range(2):
        metadata = metadata_of(project.run(storing(hourly())))
    assert (metadata["temporis/stored"], metadata["temporis/unchanged"]) == (0, 120)
    assert metadata["temporis/last_observation"] == HOURS[-1].timestamp()


def test_a_dry_run_stores_no_observation(project):
    """It says that it was one, and names no first or last observation."""
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    metadata = metadata_of(dry.run(storing(hourly())))
    assert metadata["temporis/dry_run"] is True
    assert not [key for key in metadata if key.endswith("_observation")]


# The log and the page of a partition


@pytest.mark.parametrize("again", [False, True])
def test_a_write_is_one_line_in_the_log(project, again):
    """The line of the report: data source, observations, series, outcomes, seconds."""
    orders = storing(hourly(), partitions_def=DAYS)
    if again:
        project.run(orders, tags=key_range("2024-06-01", "2024-06-05"))
    (line,) = project.logged(project.run(orders, tags=key_range("2024-06-01", "2024-06-05")))
    outcome = "120 unchanged" if again else "120 stored"
    assert line.startswith(f"store_metrics: 120 observations of 1 series ({outcome}) in ")


def test_a_partitions_page_opens_with_its_own_count(project):
    """Next is where its rows are, and only then what is about the whole run; also if its count differs."""
    uneven = hourly().drop(HOURS[30:40])
    result = project.run(storing(uneven, partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-05"))
    pages = materializations(result, "orders")
    assert {next(iter(page)) for page in pages.values()} == {"dagster/partition_row_count"}
    assert [page["dagster/partition_row_count"] for page in pages.values()] == [24, 14, 24, 24, 24]
    assert list(pages["2024-06-02"])[1:3] == ["dagster/uri", "dagster/table_name"]


def test_the_warning_of_a_dry_run_names_the_data_source(project):
    """One line says what was checked, one that nothing was stored."""
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    result = dry.run(storing(hourly()))
    levels = {entry.user_message: entry.level for entry in project.instance.all_logs(result.run_id)}
    assert [level for text, level in levels.items() if "nothing was stored" in text] == [logging.WARNING]


# What a message advises, and what a dry run asks


def test_advice_about_rejected_rows_is_that_of_an_asset(tmp_path, instance):
    """In Dagster there is no .report to look at and no argument to pass: the failure has the rows."""
    recent = HOURS[100].timestamp()
    with FakeService(fault_of=lambda record: "too new" if record["timestamp"] >= recent else None) as service:
        said = failure(served(tmp_path, instance, service).run(storing(hourly())))
    assert "temporis/on_invalid" in said
    assert "temporis/rejected_rows shows the first" in said
    assert ".report" not in said


def test_a_dry_run_sends_no_observation_but_asks(tmp_path, instance):
    """ensure_writable asks with an ingest without records, as documented; the write sends no request."""
    with FakeService() as service:
        dry = served(tmp_path, instance, service, dry_run=True)
        dry.temporis.ensure_writable(SOURCE)
        dry.temporis.close()
        assert dry.run(storing(hourly())).success
        assert [request.records for request in service.requests] == [[]]
