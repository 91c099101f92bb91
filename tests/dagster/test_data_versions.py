"""Data versions: what has changed runs what depends on it, and what was only written again does not."""

from contextlib import contextmanager
from datetime import datetime
from importlib import import_module

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from temporis_dagster import (
    DataSource,
    StoreError,
    TemporisIOManager,
    TemporisResource,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.testing import FakeService, answer
from temporis_dagster.writing.own_versions import MOST_TOLD_APART
from tests.support.dagster_harness import key_range
from tests.support.io_manager_tools import DAYS, SOURCE, Project

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

VERSION, OWN = "dagster/data_version", "dagster/data_version_is_user_provided"
CHANGED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
YEAR = dg.DailyPartitionsDefinition("2024-01-01", end_date="2025-01-01")


class Upstream:
    """Hourly rows, whose value is that of their day."""

    def __init__(self):
        self.of_day = {}
        self.left_out = set()

    def extract(self, context):
        window = context.partition_time_window
        hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
        hours = hours[[str(hour) not in self.left_out for hour in hours]]
        return pd.DataFrame({"orders": [float(self.of_day.get(str(hour.date()), 0)) for hour in hours]}, index=hours)


@pytest.fixture
def upstream():
    return Upstream()


def orders_asset(upstream, **arguments):
    @temporis_asset(**{"data_source": SOURCE, "series": ["orders"], "partitions_def": DAYS, **arguments})
    def orders(context):
        return upstream.extract(context)

    return orders


class Automation(Project):
    """A project with an asset that runs when the data version of what it depends on changes."""

    def __init__(self, url, instance, asset):
        super().__init__(url, instance)
        self.asset, self.cursor = asset, None

        @dg.asset(deps=[asset], partitions_def=asset.partitions_def, automation_condition=CHANGED)
        def report():
            """Runs when the orders have changed."""

        self.report = report
        self.tick()

    def fill(self, first, last=None):
        result = self.run(self.asset, tags=key_range(first, last or first))
        assert result.success

    def tick(self):
        """One evaluation; returns the partitions that it requests."""
        result = dg.evaluate_automation_conditions(
            defs=dg.Definitions(
                assets=[data_source_spec(SOURCE), self.asset, self.report],
                resources={"temporis_io_manager": TemporisIOManager(temporis=self.temporis)},
            ),
            instance=self.instance,
            cursor=self.cursor,
            evaluation_time=datetime(2025, 1, 1),
        )
        self.cursor = result.cursor
        return sorted(map(str, result.get_requested_partitions(self.report.key)))


@pytest.fixture
def automation(url, instance, upstream):
    return Automation(url, instance, orders_asset(upstream))


ignore_beta = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")


def versions(result, asset="orders"):
    """The data version of each partition's materialization."""
    return {
        event.partition: event.step_materialization_data.materialization.tags[VERSION]
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    }


def version_of(result):
    (version,) = versions(result).values()
    return version


@contextmanager
def served(service, **options):
    temporis = TemporisResource(url=service.url, token=service.token, **{"give_up_after_s": 1e-9, **options})
    yield temporis
    temporis.close()


HOURS = pd.date_range("2024-06-01", periods=24, freq="h", tz="UTC")
DAY = pd.DataFrame({"orders": np.arange(24.0)}, index=HOURS)


def storing(data, **arguments):
    @temporis_asset(**{"data_source": SOURCE, "name": "orders", **arguments})
    def orders():
        return data

    return orders


# What fires


@ignore_beta
def test_what_depends_on_an_asset_runs_once_after_a_change_and_not_after_a_refill(automation, upstream):
    """One partition per run: written, written again, changed, written again."""
    automation.fill("2024-06-01")
    assert automation.tick() == ["2024-06-01"]
    automation.fill("2024-06-01")
    assert automation.tick() == []
    upstream.of_day["2024-06-01"] = 1
    automation.fill("2024-06-01")
    assert (automation.tick(), automation.tick()) == (["2024-06-01"], [])
    automation.fill("2024-06-01")
    assert automation.tick() == []


@ignore_beta
def test_an_unchanged_refill_of_100_partitions_fires_nothing(url, instance, upstream):
    """Filled in one run, filled again in one run, in two, and in one with a change in the middle."""
    automation = Automation(url, instance, orders_asset(upstream, partitions_def=YEAR))
    automation.fill("2024-02-01", "2024-05-10")
    assert len(automation.tick()) == 100
    automation.fill("2024-02-01", "2024-05-10")
    assert automation.tick() == []
    automation.fill("2024-02-01", "2024-03-10")
    automation.fill("2024-03-11", "2024-05-10")
    assert automation.tick() == []
    upstream.of_day["2024-03-10"] = 1
    automation.fill("2024-02-01", "2024-05-10")
    assert automation.tick() == ["2024-03-10"]
    automation.fill("2024-03-10")
    assert automation.tick() == []


@ignore_beta
def test_a_trailing_window_fires_only_the_days_that_changed(automation, upstream):
    """Three days with lookback=3, of which the window moves on by one each: the unchanged days fire nothing."""
    automation.fill("2024-06-01", "2024-06-03")
    assert automation.tick() == ["2024-06-01", "2024-06-02", "2024-06-03"]
    automation.fill("2024-06-02", "2024-06-04")
    assert automation.tick() == ["2024-06-04"]
    upstream.of_day["2024-06-03"] = 1
    automation.fill("2024-06-03", "2024-06-05")
    assert automation.tick() == ["2024-06-03", "2024-06-05"]
    automation.fill("2024-06-04")
    assert automation.tick() == []


@ignore_beta
def test_a_longer_range_has_one_version(url, instance, upstream):
    """Beyond 100 partitions, none gets its own: unchanged, the same range fires nothing, another range all of it."""
    automation = Automation(url, instance, orders_asset(upstream, partitions_def=YEAR))
    last = YEAR.get_partition_keys()[MOST_TOLD_APART]
    automation.fill("2024-01-01", last)
    assert len(automation.tick()) == MOST_TOLD_APART + 1
    automation.fill("2024-01-01", last)
    assert automation.tick() == []
    assert instance.fetch_observations(automation.asset.key, limit=1).records == []
    automation.fill("2024-01-01", "2024-01-03")
    assert automation.tick() == ["2024-01-01", "2024-01-02", "2024-01-03"]
    automation.fill("2024-01-01", "2024-01-03")
    assert automation.tick() == []


@ignore_beta
def test_partitions_stored_before_a_failure_have_the_versions_of_a_run_that_succeeds(upstream, instance):
    """What a failed run stored fires once, and the run that does it again fires only the rest."""
    broken = [True]
    third = pd.Timestamp("2024-06-03", tz="UTC").timestamp()

    def script(request):
        return answer(500) if broken[0] and any(record["timestamp"] >= third for record in request.records) else None

    with FakeService(script=script) as service, served(service, batch_rows=24, max_in_flight=1) as temporis:
        automation = Automation(temporis, instance, orders_asset(upstream))
        assert not automation.run(automation.asset, tags=key_range("2024-06-01", "2024-06-04")).success
        assert automation.tick() == ["2024-06-01", "2024-06-02"]
        broken[0] = False
        automation.fill("2024-06-01", "2024-06-04")
        assert automation.tick() == ["2024-06-03", "2024-06-04"]


# Whose version it is


def test_the_version_is_the_users_own_for_dagster(project):
    """Dagster marks it as provided, without which the UI would ignore it."""
    result = project.run(storing(DAY))
    (event,) = result.get_asset_materialization_events()
    tags = event.step_materialization_data.materialization.tags
    assert (len(tags[VERSION]), tags[OWN]) == (32, "true")


def set_in_the_body():
    @temporis_asset(data_source=SOURCE, partitions_def=DAYS)
    def orders(context):
        context.set_data_version(dg.AssetKey("orders"), dg.DataVersion("mine"))
        return DAY

    return orders


def returned():
    @temporis_asset(data_source=SOURCE, partitions_def=DAYS)
    def orders() -> dg.Output[pd.DataFrame]:
        return dg.Output(DAY, data_version=dg.DataVersion("mine"))

    return orders


def returned_as_a_result():
    @temporis_asset(data_source=SOURCE, partitions_def=DAYS)
    def orders() -> dg.MaterializeResult[pd.DataFrame]:
        return dg.MaterializeResult(value=DAY, data_version=dg.DataVersion("mine"))

    return orders


@ignore_beta
@pytest.mark.parametrize("asset", [set_in_the_body, returned, returned_as_a_result])
def test_a_version_that_the_asset_gives_is_kept(project, asset):
    """In a run of one partition, and in that of a range, where ours do not come after it."""
    assert versions(project.run(asset(), partition_key="2024-06-01")) == {"2024-06-01": "mine"}
    ranged = project.run(asset(), tags=key_range("2024-06-01", "2024-06-02"))
    assert versions(ranged) == {"2024-06-01": "mine", "2024-06-02": "mine"}
    assert project.instance.fetch_observations(dg.AssetKey("orders"), limit=1).records == []


def test_a_dry_run_has_no_version_of_ours(url, instance):
    """It stores nothing: Dagster gives it the version that it gives to every asset."""
    project = Project(TemporisResource(url=url, dry_run=True), instance)
    for arguments in ({"partition_key": "2024-06-01"}, {"tags": key_range("2024-06-01", "2024-06-02")}):
        result = project.run(storing(DAY, partitions_def=DAYS), **arguments)
        (event, *_) = result.get_asset_materialization_events()
        assert OWN not in event.step_materialization_data.materialization.tags
    assert instance.fetch_observations(dg.AssetKey("orders"), limit=1).records == []


def test_an_op_has_no_version(project):
    """A job of ops uses the IO manager as well, and materializes nothing."""

    @dg.op(out=dg.Out(io_manager_key="temporis_io_manager"))
    def fetch():
        return DAY

    @dg.job(resource_defs={"temporis_io_manager": TemporisIOManager(temporis=project.temporis, data_source=SOURCE)})
    def fetch_job():
        fetch()

    assert fetch_job.execute_in_process(instance=project.instance).success
    assert len(project.read()) == 24


# What the version is of


def test_it_is_of_the_content_of_the_partition(project):
    """The same rows in another order and layout have the same version, in a range as well as alone."""
    long = DAY.rename_axis("timestamp").reset_index().melt("timestamp", var_name="name")[::-1]
    first = version_of(project.run(storing(DAY, partitions_def=DAYS), partition_key="2024-06-01"))
    assert version_of(project.run(storing(long, partitions_def=DAYS), partition_key="2024-06-01")) == first
    assert version_of(project.run(storing(DAY + 1, partitions_def=DAYS), partition_key="2024-06-01")) != first
    project.run(storing(DAY, partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-02"))
    records = project.instance.fetch_observations(dg.AssetKey("orders"), limit=9, ascending=True).records
    seen = {record.partition_key: record.asset_observation.tags[VERSION] for record in records}
    assert seen == {"2024-06-01": first, "2024-06-02": "0" * 32}


def test_rows_that_the_service_rejected_do_not_count(instance):
    """With on_invalid='drop', the others are stored: the version is that of a frame without them."""

    def fault_of(record):
        return "bad" if record["value"] == 3 else None

    with FakeService(fault_of=fault_of) as service, served(service) as temporis:
        project = Project(temporis, instance)
        some = version_of(project.run(storing(DAY, on_invalid="drop")))
        assert some == version_of(project.run(storing(DAY.drop(HOURS[3]))))
        assert some != version_of(project.run(storing(DAY.drop(HOURS[[3, 4]]))))


@ignore_beta
def test_rows_that_vanished_upstream_are_still_content(automation, upstream):
    """A day of 24 rows, refilled with 20, still holds 24: nothing has changed, and nothing fires."""
    automation.fill("2024-06-01", "2024-06-02")
    automation.tick()
    upstream.left_out = {str(hour) for hour in HOURS[20:]}
    automation.fill("2024-06-01", "2024-06-02")
    assert automation.tick() == []
    automation.fill("2024-06-01")
    assert automation.tick() == []
    automation.temporis.data_source(SOURCE).delete(HOURS[20], HOURS[22], ["orders"])
    automation.fill("2024-06-01")
    assert automation.tick() == ["2024-06-01"]


def test_an_asset_without_series_leaves_the_series_of_others_out(project):
    """Another asset writes to the same days of the same data source: the version does not depend on it."""
    arguments = {"partitions_def": DAYS}
    first = version_of(project.run(storing(DAY, **arguments), partition_key="2024-06-01"))
    project.run(storing(DAY.rename(columns={"orders": "returns"}), **arguments), partition_key="2024-06-01")
    assert version_of(project.run(storing(DAY, **arguments), partition_key="2024-06-01")) == first


def test_what_is_stored_under_the_key_of_a_dropped_row_is_content(project):
    """An invalid value leaves the stored one as it is, so the content is the same as before."""
    arguments = {"partitions_def": DAYS, "on_invalid": "drop", "layout": "long"}
    long = DAY.rename_axis("timestamp").reset_index().melt("timestamp", var_name="name")
    first = version_of(project.run(storing(long, **arguments), partition_key="2024-06-01"))
    invalid = long.assign(value=long["value"].where(long["value"] != 7))
    assert version_of(project.run(storing(invalid, **arguments), partition_key="2024-06-01")) == first


def test_rows_that_were_rejected_after_others_were_stored_do_not_count(tmp_path, instance):
    """With a mirror, which keeps what was rejected apart: the partition holds the other rows."""
    bad = [False]
    mirror = {"mirror": f"sqlite:///{tmp_path}/mirror.db"}

    def fault_of(record):
        return "bad" if bad[0] and record["value"] == 8 else None

    with FakeService(fault_of=fault_of) as service, served(service, **mirror) as temporis:
        project = Project(temporis, instance)
        arguments = {"partitions_def": DAYS, "on_invalid": "drop"}
        versions = []
        for frame, bad[0] in ((DAY, False), (DAY + 1, True), (DAY + 1, True)):
            versions.append(version_of(project.run(storing(frame, **arguments), partition_key="2024-06-01")))
        stored = temporis.data_source(SOURCE).read()
        assert len(stored) == 23
        assert versions[1] == versions[2] != versions[0]
        assert versions[1] == version_of(
            project.run(storing(stored, **arguments, layout="long"), partition_key="2024-06-01")
        )


def test_a_version_that_cannot_be_had_does_not_fail_the_write(project, monkeypatch):
    """The rows are stored; Dagster's own version, which is new with each run, says that they may have changed."""

    def broken(*_args, **_options):
        raise StoreError("the disk is gone", url="sqlite:///temporis.db")

    monkeypatch.setattr(DataSource, "ghosts", broken)
    result = project.run(storing(DAY, partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-02"))
    assert result.success
    (event, _) = result.get_asset_materialization_events()
    assert OWN not in event.step_materialization_data.materialization.tags
    assert any("There is no data version" in line for line in project.logged(result))


def test_an_asset_without_partitions_keeps_its_version_until_something_is_stored(project):
    """A run that finds nothing new, as increments do, changes nothing; nor does one that sends the same again."""
    first = version_of(project.run(storing(DAY)))
    assert version_of(project.run(storing(DAY[:0]))) == first
    assert version_of(project.run(storing(DAY[:5]))) == first
    second = version_of(project.run(storing(DAY.set_axis(HOURS + pd.Timedelta("1D")))))
    assert second != first
    assert version_of(project.run(storing(DAY[:0]))) == second


def test_a_partition_without_time_keeps_its_version_until_something_is_stored(project):
    """Each partition its own."""
    zones = dg.StaticPartitionsDefinition(["north", "south"])

    def fill(zone, frame):
        asset = storing(frame.rename(columns={"orders": zone}), partitions_def=zones)
        return version_of(project.run(asset, partition_key=zone))

    north, south = fill("north", DAY), fill("south", DAY)
    assert north != south
    assert (fill("north", DAY[:0]), fill("south", DAY[:3])) == (north, south)
    assert fill("north", DAY + 1) != north


def test_pending_rows_count_as_held(tmp_path, instance):
    """The mirror has them and delivers them: the version is that of a write that was delivered."""
    down = [True]
    options = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue"}

    def script(_):
        return answer(503, "busy") if down[0] else None

    with FakeService(script=script) as service, served(service, **options) as temporis:
        project = Project(temporis, instance)
        queued = project.run(storing(DAY, partitions_def=DAYS), partition_key="2024-06-01")
        assert project.temporis.data_source(SOURCE).pending().rows == 24
        down[0] = False
        project.temporis.data_source(SOURCE).flush()
        delivered = project.run(storing(DAY, partitions_def=DAYS), partition_key="2024-06-01")
        assert version_of(queued) == version_of(delivered)


# Runs of other kinds


MULTIPROCESS = """
import dagster as dg, pandas as pd
from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec, temporis_asset

@temporis_asset(data_source="store_metrics", partitions_def=dg.DailyPartitionsDefinition("2024-06-01"))
def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
    window = context.partition_time_window
    hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
    return pd.DataFrame({"orders": hours.dayofyear}, index=hours)

def fill():
    io_manager = TemporisIOManager(temporis=TemporisResource(url="URL", create_missing=True))
    return dg.Definitions(
        assets=[orders, data_source_spec("store_metrics")],
        jobs=[dg.define_asset_job("fill", dg.AssetSelection.assets(orders))],
        resources={"temporis_io_manager": io_manager},
    ).resolve_job_def("fill")
"""


def test_multiprocess_runs_tell_partitions_apart_as_well(url, tmp_path, monkeypatch, stored_instance):
    """Dagster's default executor: the step's own process reports the versions, before the run ends."""
    (tmp_path / "versions_definitions.py").write_text(MULTIPROCESS.replace("URL", url))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)  # where the children look for it
    job = dg.reconstructable(import_module("versions_definitions").fill)
    for tags in (key_range("2024-06-01", "2024-06-03"), key_range("2024-06-02", "2024-06-04")):
        with dg.execute_job(job, stored_instance, tags=tags) as result:
            assert result.success
    records = stored_instance.fetch_observations(dg.AssetKey("orders"), limit=9, ascending=True).records
    seen = [(record.partition_key, record.asset_observation.tags[VERSION]) for record in records]
    assert [key[-2:] for key, _ in seen] == ["01", "02", "03", "02", "03", "04"]
    assert (seen[1], seen[2]) == (seen[3], seen[4])
    assert len({version for _, version in seen}) == 4
    run = stored_instance.get_run_record_by_id(result.run_id)
    assert all(record.timestamp < run.end_time for record in records)


def test_the_store_sees_what_the_version_sees(project, url):
    """Two partitions have equal versions exactly when the store has equal content of them."""
    shifted = DAY.set_axis(HOURS + pd.Timedelta("1D"))
    with connect(url) as temporis:
        source = temporis.create_data_source(SOURCE)
        digests = []
        for frame in (DAY, DAY + 1, DAY):
            both = pd.concat([frame, shifted])
            project.run(storing(both, partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-02"))
            digests.append(source.content_digest())
    records = project.instance.fetch_observations(dg.AssetKey("orders"), limit=9, ascending=True).records
    seen = [record.asset_observation.tags[VERSION] for record in records]
    assert (seen[0] == seen[2], seen[0] == seen[4]) == (digests[0] == digests[1], digests[0] == digests[2])
    assert seen[1] == seen[3] == seen[5]
