"""Limits: a run that would change more than its asset allows is stopped before anything is sent, and shows its plan."""

import logging
from importlib import import_module

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, TemporisIOManager, TemporisResource, connect, temporis_asset
from temporis_dagster.testing import FakeService
from tests.support.component_tools import Project as ComponentProject
from tests.support.dagster_harness import attempts, failure_of, key_range, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

HOURS = pd.date_range("2024-06-01", periods=5 * 24, freq="h", tz="UTC")
SERIES = ["north", "south"]
WAVED_THROUGH = {"temporis/ignore_limits": "true"}


def upstream():
    """Five days of two series, hour by hour, as upstream has them before anything goes wrong."""
    daily = 100 + 40 * np.sin(np.arange(len(HOURS)) * 2 * np.pi / 24)
    return pd.DataFrame({"north": daily, "south": 3 * daily}, index=HOURS).round(2)


class Feed:
    """An upstream that a test can spoil: the asset returns its rows in the windows of the run."""

    def __init__(self):
        self.frame = upstream()

    def asset(self, **arguments):
        options = {"data_source": SOURCE, "name": "load", "series": SERIES, "partitions_def": DAYS, **arguments}

        @temporis_asset(**options)
        def load(context: dg.AssetExecutionContext):
            if not context.has_partition_key and not context.has_partition_key_range:
                return self.frame
            window = context.partition_time_window
            return self.frame[(self.frame.index >= window.start) & (self.frame.index < window.end)]

        return load


@pytest.fixture
def feed():
    return Feed()


def failed(result):
    """The failure of the one step: its text and its metadata as plain values."""
    data = failure_of(result).event_specific_data.user_failure_data
    return data.description, {key: entry.value for key, entry in data.metadata.items()}


def table(shown):
    return [record.data for record in shown.records]


def loaded(project, asset):
    """Fill the five days that upstream has."""
    assert project.run(asset, tags=key_range("2024-06-01", "2024-06-05")).success
    return project.temporis.data_source(SOURCE).content_digest()


def in_other_units(frame):
    return frame * 1_000


def shifted_by_a_zone(frame):
    return frame.shift(2, freq=None).fillna(frame.iloc[0])


def cut_off(frame):
    return frame[frame.index.hour < 9]


def of_another_day(frame):
    return pd.DataFrame(np.roll(frame.to_numpy() + np.arange(len(frame))[:, None] // 24, 24, axis=0), HOURS, SERIES)


DISASTERS = {
    "another unit": (in_other_units, {"max_shift": 0.5}, "max_shift"),
    "a shift by a time zone": (shifted_by_a_zone, {"max_changed": 0.5}, "max_changed"),
    "a truncated extract": (cut_off, {"max_ghosts": 0.25}, "max_ghosts"),
    "the data of another partition": (of_another_day, {"max_changed": 0.5}, "max_changed"),
}


@pytest.mark.parametrize(("spoil", "limits", "limit"), DISASTERS.values(), ids=DISASTERS)
@pytest.mark.parametrize("days", [{"partition_key": "2024-06-03"}, {"tags": key_range("2024-06-02", "2024-06-04")}])
def test_a_disaster_is_stopped_before_anything_is_sent(project, feed, spoil, limits, limit, days):
    """Nothing is written, no retry is made, and the failure names the limit and shows the plan."""
    asset = feed.asset(**limits, retry_policy=dg.RetryPolicy(max_retries=2))
    digest = loaded(project, asset)
    feed.frame = spoil(feed.frame)
    result = project.run(asset, **days)
    assert not result.success
    assert attempts(result) == 1
    assert project.temporis.data_source(SOURCE).content_digest() == digest
    said, shown = failed(result)
    assert f"{limit} is {limits[limit]}" in said
    assert "Nothing was sent" in said
    assert "temporis/ignore_limits" in said
    assert [row["series"] for row in table(shown["temporis/plan"])] == SERIES


@pytest.mark.parametrize("spoil", [spoil for spoil, _, _ in DISASTERS.values()], ids=DISASTERS)
def test_a_person_waves_a_run_through_with_a_tag(project, feed, spoil):
    """The run writes what it brings; its log, its metadata and its plan say which limit it would have broken."""
    asset = feed.asset(max_changed=0.1, max_shift=0.1, max_ghosts=0.1)
    loaded(project, asset)
    feed.frame = spoil(feed.frame)
    result = project.run(asset, partition_key="2024-06-03", tags=WAVED_THROUGH)
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert "max_" in shown["temporis/limits"]
    assert table(shown["temporis/plan"])
    assert any("temporis/ignore_limits" in line for line in project.logged(result))


@pytest.mark.parametrize("value", ["false", "", "no"])
def test_only_true_waves_a_run_through(project, feed, value):
    """A tag that says something else is no permission."""
    asset = feed.asset(max_changed=0.1)
    loaded(project, asset)
    feed.frame = in_other_units(feed.frame)
    assert not project.run(asset, partition_key="2024-06-03", tags={"temporis/ignore_limits": value}).success


@pytest.mark.parametrize(
    ("tag", "value", "shown"),
    [
        ("temporis/ignore_limits", "yes", "The run's tag temporis/ignore_limits: 'yes' has no effect."),
        ("temporis/ignore_limit", "true", "The run's tag temporis/ignore_limit: 'true' has no effect."),
        ("temporis/Ignore-Limits", "true", "The run's tag temporis/Ignore-Limits: 'true' has no effect."),
        ("temporis/tick_of_mine", "true", ""),
    ],
)
def test_a_failure_says_that_a_tag_has_no_effect(project, feed, tag, value, shown):
    """A tag that is misspelt, or has another value than "true", was meant to let the run write."""
    asset = feed.asset(max_changed=0.1)
    loaded(project, asset)
    feed.frame = in_other_units(feed.frame)
    said, _ = failed(project.run(asset, partition_key="2024-06-03", tags={tag: value}))
    assert shown in said
    assert ("has no effect" in said) == bool(shown)


def test_the_plan_in_a_failure_reads_well(project, feed):
    """Per series: what is new, changed and unchanged, what has vanished, and the largest move."""
    asset = feed.asset(max_changed=3)
    loaded(project, asset)
    feed.frame.loc["2024-06-03 00:00":"2024-06-03 03:00", "south"] = 1.0
    feed.frame.loc["2024-06-03 10:00", "north"] = np.nan
    said, shown = failed(project.run(asset, partition_key="2024-06-03"))
    assert "max_changed is 3" in said
    south, north = table(shown["temporis/plan"])  # the one with the most changes first
    assert (north["new"], north["changed"], north["unchanged"], north["ghosts"]) == (0, 0, 23, 1)
    assert (south["new"], south["changed"], south["unchanged"], south["ghosts"]) == (0, 4, 20, 0)
    assert "2024-06-03" in south["largest move"]
    assert shown["temporis/changed_count"] == 4
    assert shown["temporis/ghost_rows"] == 1


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ({"max_changed": 1}, False),
        ({"max_changed": 2}, True),
        ({"max_changed": 1.0}, True),
        ({"max_changed": 0.02}, False),
        ({"max_changed": 2 / 48}, True),
        ({"max_ghosts": 0}, True),
        ({"max_changed": 0}, False),
    ],
)
def test_an_integer_is_a_number_of_rows_and_a_float_a_share(project, feed, limits, passes):
    """Two of the 48 rows of the day change. A limit is what is still allowed."""
    asset = feed.asset(**limits)
    loaded(project, asset)
    feed.frame.loc["2024-06-03 07:00"] += 1
    assert project.run(asset, partition_key="2024-06-03").success == passes


def test_a_first_load_and_new_rows_have_nothing_to_break(project, feed):
    """A data source that does not exist yet, a day that was never loaded, an hour that arrives late."""
    asset = feed.asset(max_changed=0, max_ghosts=0, max_shift=0.01)
    whole = feed.frame
    feed.frame = whole[whole.index != whole.index[30]]
    assert project.run(asset, partition_key="2024-06-01").success
    assert project.run(asset, partition_key="2024-06-02").success
    feed.frame = whole
    result = project.run(asset, tags=key_range("2024-06-01", "2024-06-05"))
    assert result.success
    assert materializations(result, "load")["2024-06-01"]["temporis/stored"] == 2 * (3 * 24 + 1)


def test_unlimited_assets_ask_nothing_first(project, feed):
    """Without limits, no plan is made, and nothing is said of limits."""
    loaded(project, asset := feed.asset())
    feed.frame = in_other_units(feed.frame)
    result = project.run(asset, partition_key="2024-06-03")
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert not {"temporis/limits", "temporis/plan"} & shown.keys()


def test_limits_that_hold_are_said_to_hold(project, feed):
    """The materialization says that they were asked."""
    loaded(project, asset := feed.asset(max_changed=0.1))
    (shown,) = materializations(project.run(asset, partition_key="2024-06-03"), "load").values()
    assert "max_changed=0.1" in shown["temporis/limits"]


def test_where_nothing_can_be_read_it_says_so_and_goes_on(instance, feed):
    """Over HTTP without a mirror: a warning in the log, and the same in the metadata."""
    with FakeService() as service:
        project = Project(TemporisResource(url=service.url, token=service.token), instance)
        result = project.run(feed.asset(max_changed=0), partition_key="2024-06-03")
        assert result.success
        assert len(service.content) == 48
        (shown,) = materializations(result, "load").values()
        assert "mirror" in shown["temporis/limits"]
        assert "temporis/ghost_rows" not in shown
        warned = [e.user_message for e in instance.all_logs(result.run_id) if e.level == logging.WARNING]
        assert any("max_changed" in line and "mirror" in line for line in warned)


def test_a_mirror_lets_limits_hold_over_http(instance, feed, tmp_path):
    """Plan and ghosts come from the mirror; the service sees nothing of a run that is stopped."""
    with FakeService() as service:
        temporis = TemporisResource(url=service.url, token=service.token, mirror=f"sqlite:///{tmp_path}/mirror.db")
        project = Project(temporis, instance)
        asset = feed.asset(max_changed=0.5, max_ghosts=0.25)
        assert project.run(asset, partition_key="2024-06-03").success
        requests = len(service.requests)
        for spoil in (in_other_units, cut_off):
            good, feed.frame = feed.frame, spoil(feed.frame)
            said, shown = failed(project.run(asset, partition_key="2024-06-03"))
            assert "Nothing was sent" in said
            assert table(shown["temporis/plan"])
            feed.frame = good
        assert len(service.requests) == requests
        assert temporis.data_source(SOURCE).pending().rows == 0


def test_a_dry_run_shows_what_would_change(project, feed):
    """As a table, whether or not the asset has limits; limits stop it as they would stop the real run."""
    digest = loaded(project, feed.asset())
    feed.frame.loc["2024-06-03 07:00"] += 1
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    result = dry.run(feed.asset(), partition_key="2024-06-03")
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert [(row["series"], row["changed"]) for row in table(shown["temporis/plan"])] == [("north", 1), ("south", 1)]
    assert not dry.run(feed.asset(max_changed=1), partition_key="2024-06-03").success
    assert project.temporis.data_source(SOURCE).content_digest() == digest


def test_a_dry_run_of_a_first_load_shows_that_all_is_new(instance, feed, tmp_path):
    """The data source does not exist; asking for the plan does not create it."""
    temporis = TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db", create_missing=True, dry_run=True)
    result = Project(temporis, instance).run(feed.asset(max_changed=0), partition_key="2024-06-03")
    assert result.success
    assert temporis.connection.data_sources() == []


def test_other_writers_rows_do_not_count(project, feed):
    """Without series=, only the series that are in the frame are compared: the others may be anyone's."""
    loaded(project, feed.asset())
    asset = feed.asset(name="north", series=None, max_ghosts=0)
    feed.frame = feed.frame[["north"]]
    assert project.run(asset, partition_key="2024-06-03").success


@pytest.mark.parametrize("place", ["argument", "metadata", "output", "IO manager"])
def test_limits_can_be_set_in_each_place_of_an_option(project, feed, place):
    """As an argument, as metadata of the asset or of the output, or for all assets of an IO manager."""
    loaded(project, feed.asset())
    feed.frame.loc["2024-06-03 07:00"] += 1
    arguments = {"max_changed": 1} if place == "argument" else {}
    if place == "metadata":
        arguments = {"metadata": {"temporis/max_changed": 1}}
    asset = feed.asset(**arguments)
    if place == "output":

        @temporis_asset(data_source=SOURCE, name="load", series=SERIES, partitions_def=DAYS)
        def asset(context: dg.AssetExecutionContext):
            context.add_output_metadata({"temporis/max_changed": 1})
            return feed.frame.loc["2024-06-03":"2024-06-03"]

    options = {"max_changed": 1} if place == "IO manager" else None
    result = project.run(asset, partition_key="2024-06-03", options=options)
    assert not result.success
    assert "max_changed is 1" in failure(result)


REFUSED = [
    {"max_changed": 1.5},
    {"max_changed": -1},
    {"max_changed": -0.1},
    {"max_changed": True},
    {"max_changed": "0.1"},
    {"max_changed": float("nan")},
    {"max_ghosts": 1.01},
    {"max_ghosts": False},
    {"max_shift": 0.0},
    {"max_shift": -1.0},
    {"max_shift": True},
    {"max_shift": float("inf")},
]


@pytest.mark.parametrize("limits", REFUSED, ids=str)
def test_a_limit_that_cannot_be_meant_is_refused_at_load(limits):
    """More than all rows, fewer than none, a bool: the message names the option and what it may be."""
    ((option, _),) = limits.items()
    with pytest.raises(ConfigurationError, match=option):
        temporis_asset(data_source=SOURCE, **limits)


@pytest.mark.parametrize("value", [1.5, -1, True, "many"])
def test_an_io_manager_refuses_it_as_well(project, value):
    """When the code is loaded."""
    with pytest.raises(ConfigurationError, match="max_changed"):
        TemporisIOManager(temporis=project.temporis, max_changed=value)


# In YAML, and in processes of their own


def fetch_upstream(start, end, *, factor=1.0):
    """What a component fetches."""
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({"north": factor * np.arange(1.0, 1 + len(hours))}, index=hours)


def component(folder, factor=1.0, **attributes):
    days = {"type": "daily", "start_date": "2024-06-01", "end_date": "2024-06-08", "timezone": "UTC"}
    function = {"call": f"{__name__}.fetch_upstream", "arguments": {"factor": factor}}
    given = {"asset": {"key": "load", "partitions_def": days}, "function": function, "series": ["north"], **attributes}
    return ComponentProject(folder, given)


@pytest.mark.parametrize(
    ("limits", "passes"),
    [({}, True), ({"max_changed": 0.5}, False), ({"max_changed": 1.0}, True), ({"max_changed": 1}, False)],
)
def test_a_component_has_limits(tmp_path, limits, passes):
    """The same options in YAML, where a number with a point is a share, too."""
    with component(tmp_path) as project:
        assert project.run("2024-06-01").success
    with component(tmp_path, 1_000, **limits) as project:
        assert project.run("2024-06-01", raise_on_error=False).success == passes


def test_a_component_deletes_ghost_rows(tmp_path):
    """The same option in YAML."""
    with component(tmp_path) as project:
        project.run("2024-06-01")
        more = pd.DataFrame({"north": 5.0}, index=pd.date_range("2024-06-01 12:30", periods=3, freq="h", tz="UTC"))
        project.temporis.data_source("grid_load").upsert(more)
    with component(tmp_path, ghost_rows="delete", series_checks={"ghosts": "warn"}) as project:
        (shown,) = materializations(project.run("2024-06-01"), "load").values()
        assert shown["temporis/deleted_count"] == 3
        assert len(project.stored()) == 24


@pytest.mark.parametrize(
    "attributes",
    [
        {"max_changed": True},
        {"max_changed": 1.5},
        {"max_shift": -1},
        {"max_shift": True},
        {"max_ghosts": "some"},
        {"ghost_rows": "drop"},
        {"ghost_rows": "delete", "series": None},
        {"ghost_rows": "delete", "outside_partition": "allow"},
    ],
    ids=str,
)
def test_a_component_refuses_what_cannot_be_meant(tmp_path, attributes):
    """When it loads, not in a run at night."""
    with pytest.raises(Exception, match="|".join(attributes)), component(tmp_path, **attributes) as project:
        project.defs.get_repository_def()


PROJECT = """
import os
import dagster as dg
import pandas as pd
from temporis_dagster import TemporisIOManager, TemporisResource, temporis_asset

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-08")


@temporis_asset(
    data_source="store_metrics", series=["north"], partitions_def=DAYS, max_changed=0.5, ghost_rows="delete"
)
def load(context: dg.AssetExecutionContext):
    window = context.partition_time_window
    hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
    return pd.DataFrame({"north": float(os.environ["FACTOR"])}, index=hours)[int(os.environ["LOST"]):]


temporis = TemporisResource(url=dg.EnvVar("TEST_STORE"), create_missing=True)
defs = dg.Definitions(
    assets=[load],
    resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)},
    executor=dg.multiprocess_executor,
    jobs=[dg.define_asset_job("load_job", [load])],
)


def load_job():
    return defs.resolve_job_def("load_job")
"""


@pytest.mark.filterwarnings("ignore")  # of Dagster's executor
def test_limits_and_ghost_rows_in_processes_of_their_own(tmp_path, url, monkeypatch):
    """The multiprocess executor stops, waves through and deletes alike; the plan crosses processes."""
    (tmp_path / "limited_project.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)  # where the children look for it
    monkeypatch.setenv("TEST_STORE", url)
    monkeypatch.setenv("FACTOR", "1")
    monkeypatch.setenv("LOST", "0")
    job = dg.reconstructable(import_module("limited_project").load_job)
    day = {"dagster/partition": "2024-06-01"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, connect(url) as temporis:

        def run(**tags):
            with dg.execute_job(job, instance, tags={**day, **tags}, raise_on_error=False) as result:
                return result.success, [event for event in result.all_events if event.is_step_failure]

        assert run()[0]
        monkeypatch.setenv("FACTOR", "1000")
        success, (failed_step,) = run()
        assert not success
        metadata = failed_step.event_specific_data.user_failure_data.metadata
        assert metadata["temporis/plan"].value.records[0].data["changed"] == 24
        source = temporis.data_source("store_metrics")
        assert source.read()["value"].unique().tolist() == [1.0]
        assert run(**WAVED_THROUGH)[0]
        monkeypatch.setenv("LOST", "4")
        assert run()[0]
        assert source.read()["value"].tolist() == [1000.0] * 20
