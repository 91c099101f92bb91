"""Ghost rows: stored rows that vanished upstream are counted, shown and checked; an asset may ask to delete them."""

import logging

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    ConfigurationError,
    DataSource,
    TemporisIOManager,
    TemporisResource,
    build_series_checks,
    connect,
    temporis_asset,
)
from temporis_dagster.testing import FakeService
from tests.support.dagster_harness import attempts, failure_of, key_range, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

HOURS = pd.date_range("2024-06-01", periods=5 * 24, freq="h", tz="UTC")
SERIES = ["north", "south"]
ZONED = dg.MultiPartitionsDefinition({"date": DAYS, "zone": dg.StaticPartitionsDefinition(["north", "south"])})


class Feed:
    """An upstream that a test can change: the asset returns its rows in the windows of the run."""

    def __init__(self):
        self.frame = pd.DataFrame({"north": 1.0, "south": 2.0}, index=HOURS)

    def without(self, *moments):
        self.frame = self.frame.drop(pd.DatetimeIndex(moments, tz="UTC"))

    def asset(self, **arguments):
        options = {"data_source": SOURCE, "name": "load", "series": SERIES, "partitions_def": DAYS, **arguments}

        @temporis_asset(**options)
        def load(context: dg.AssetExecutionContext):
            window = context.partition_time_window
            return self.frame[(self.frame.index >= window.start) & (self.frame.index < window.end)]

        return load


@pytest.fixture
def feed():
    return Feed()


def loaded(project, asset):
    assert project.run(asset, tags=key_range("2024-06-01", "2024-06-05")).success


def table(shown):
    return [(record.data["series"], record.data["timestamp"][:16]) for record in shown.records]


def warnings_of(project, result):
    return [e.user_message for e in project.instance.all_logs(result.run_id) if e.level == logging.WARNING]


def rows(project):
    return len(project.read())


# Told of


def test_rows_that_vanished_upstream_are_counted_and_shown(project, feed):
    """A day of 48 rows is refilled with 40: the 8 that stay are in the metadata, and the log says what to do."""
    loaded(project, asset := feed.asset())
    feed.without(*HOURS[24:28])
    result = project.run(asset, partition_key="2024-06-02")
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert (shown["temporis/unchanged"], shown["temporis/ghost_rows"]) == (40, 8)
    assert table(shown["temporis/ghosts"])[0] == ("north", "2024-06-02T00:00")
    assert rows(project) == 240
    assert any("8 ghost rows" in line and "ghost_rows='delete'" in line for line in warnings_of(project, result))


def test_without_ghosts_there_is_a_zero_and_no_warning(project, feed):
    """The count can be plotted, so it is there where it could be counted; a healthy run's log stays quiet."""
    loaded(project, asset := feed.asset())
    result = project.run(asset, partition_key="2024-06-02")
    (shown,) = materializations(result, "load").values()
    assert shown["temporis/ghost_rows"] == 0
    assert "temporis/ghosts" not in shown
    assert not any("ghost" in line for line in warnings_of(project, result))


def test_each_partition_of_a_range_gets_its_own_count(project, feed):
    """The table of the first ghost rows is on the last partition only."""
    loaded(project, asset := feed.asset())
    feed.without(HOURS[0], *HOURS[48:50])
    result = project.run(asset, tags=key_range("2024-06-01", "2024-06-04"))
    shown = materializations(result, "load")
    assert [shown[f"2024-06-0{day}"]["temporis/ghost_rows"] for day in (1, 2, 3, 4)] == [2, 0, 4, 0]
    assert [key for key, metadata in shown.items() if "temporis/ghosts" in metadata] == ["2024-06-04"]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (["load_{zone}/x"], {"2024-06-01|north": 1, "2024-06-02|south": 2}),
        ("load_{zone}/", {"2024-06-01|north": 1, "2024-06-02|south": 2}),
        (None, {"2024-06-02|south": 3}),
    ],
)
def test_partitions_that_share_their_hours_get_their_own_count_or_one_that_of_all(project, series, expected):
    """Templates tell whose ghost rows they are. Otherwise one event has the number of all, so the check is right."""
    whole = pd.DataFrame({"load_north/x": 1.0, "load_south/x": 2.0}, index=HOURS[:48])
    lost = {"load_north/x": [], "load_south/x": []}

    @temporis_asset(data_source=SOURCE, name="load", series=series, partitions_def=ZONED)
    def load():
        frame = whole.copy()
        for name, hours in lost.items():
            frame.loc[hours, name] = None
        return frame

    both = key_range("2024-06-01|north", "2024-06-02|south")
    assert project.run(load, tags=both).success
    lost.update({"load_north/x": HOURS[3:4], "load_south/x": HOURS[30:32]})
    shown = materializations(project.run(load, tags=both), "load")
    counts = {
        key: metadata["temporis/ghost_rows"] for key, metadata in shown.items() if "temporis/ghost_rows" in metadata
    }
    assert {key: count for key, count in counts.items() if count} == expected
    assert checked(project, load, ghosts="warn").metadata["temporis/ghost_rows"].value == 3


def test_a_template_tells_static_partitions_apart(project):
    """They have no windows: those of a series go from its first to its last row in the frame."""
    lost = []

    @temporis_asset(
        data_source=SOURCE,
        name="load",
        series=["load_{partition}"],
        partitions_def=dg.StaticPartitionsDefinition(["north", "south"]),
    )
    def load():
        return pd.DataFrame({"load_north": 1.0, "load_south": 2.0}, index=HOURS[:24]).mask(
            pd.DataFrame({"load_north": HOURS[:24].isin(lost), "load_south": False}, index=HOURS[:24])
        )

    assert project.run(load, tags=key_range("north", "south")).success
    lost.append(HOURS[5])
    shown = materializations(project.run(load, tags=key_range("north", "south")), "load")
    assert {key: metadata["temporis/ghost_rows"] for key, metadata in shown.items()} == {"north": 1, "south": 0}


def test_a_dropped_row_is_no_ghost(project, feed):
    """Its key was in the input: upstream still has the row, it only cannot be stored."""
    loaded(project, feed.asset())
    at = HOURS[24:48].repeat(2)
    long = pd.DataFrame({"timestamp": at, "name": SERIES * 24, "value": [1.0, 2.0] * 24})
    long.loc[3, "value"] = None

    @temporis_asset(data_source=SOURCE, name="load", series=SERIES, partitions_def=DAYS, on_invalid="drop")
    def load():
        return long

    (shown,) = materializations(project.run(load, partition_key="2024-06-02"), "load").values()
    assert (shown["temporis/dropped"], shown["temporis/ghost_rows"]) == (1, 0)


def test_another_writers_rows_are_no_ghosts(project, feed):
    """Of a shared data source, only the asset's own series count; without series=, only those in the frame."""
    loaded(project, feed.asset())
    feed.frame = feed.frame[["north"]]
    for series, expected in ((["north"], 0), (None, 0), (SERIES, 24), ("", 0)):
        arguments = {"series": series} if series != "" else {"series": "nor"}
        result = project.run(feed.asset(**arguments), partition_key="2024-06-02")
        (shown,) = materializations(result, "load").values()
        assert shown["temporis/ghost_rows"] == expected


@pytest.mark.parametrize(("series", "expected"), [(["load_{zone}"], 1), ("load_", 1), (None, 1)])
def test_partitions_of_one_time_are_told_apart(project, series, expected):
    """The rows of the other zone are in the same hours; they are never ghosts of this one."""
    lost = []

    @temporis_asset(
        data_source=SOURCE,
        name="load",
        series=series,
        partitions_def=ZONED,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
    )
    def load(context: dg.AssetExecutionContext):
        zone = context.partition_key.keys_by_dimension["zone"]
        return pd.DataFrame({f"load_{zone}": 1.0}, index=HOURS[:24]).drop(lost)

    keys = {zone: dg.MultiPartitionKey({"date": "2024-06-01", "zone": zone}) for zone in ("north", "south")}
    for key in keys.values():
        assert project.run(load, partition_key=key).success
    lost.append(HOURS[3])
    (shown,) = materializations(project.run(load, partition_key=keys["south"]), "load").values()
    assert shown["temporis/ghost_rows"] == expected


def test_over_http_nothing_is_counted_and_nothing_is_said(instance, feed):
    """There is nothing to compare with; the write is as it was."""
    with FakeService() as service:
        project = Project(TemporisResource(url=service.url, token=service.token), instance)
        result = project.run(feed.asset(), partition_key="2024-06-02")
        (shown,) = materializations(result, "load").values()
        assert not [key for key in shown if "ghost" in key]
        assert not any("ghost" in line for line in warnings_of(project, result))


def test_a_mirror_tells_of_them_and_what_to_do_where_nothing_can_be_deleted(instance, feed, tmp_path):
    """The API has no delete, so the advice is another one."""
    with FakeService() as service:
        temporis = TemporisResource(url=service.url, token=service.token, mirror=f"sqlite:///{tmp_path}/mirror.db")
        project = Project(temporis, instance)
        assert project.run(feed.asset(), partition_key="2024-06-02").success
        feed.without(HOURS[30])
        result = project.run(feed.asset(), partition_key="2024-06-02")
        (shown,) = materializations(result, "load").values()
        assert shown["temporis/ghost_rows"] == 2
        (said,) = [line for line in warnings_of(project, result) if "ghost" in line]
        assert "no delete" in said
        assert "ghost_rows='delete'" not in said


def test_a_dry_run_shows_ghosts_in_its_plan(project, feed):
    """Nothing is deleted, and nothing is warned of as if it had been written."""
    loaded(project, feed.asset())
    feed.without(HOURS[30])
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    (shown,) = materializations(dry.run(feed.asset(ghost_rows="delete"), partition_key="2024-06-02"), "load").values()
    assert shown["temporis/ghost_rows"] == 2
    assert [record.data["ghosts"] for record in shown["temporis/plan"].records] == [1, 1]
    assert rows(project) == 240


# Deleted


def test_an_asset_deletes_them_on_request(project, feed):
    """Exactly the rows that the frame does not have, of its own series and windows; they are shown one last time."""
    with connect(project.temporis.url, create_missing=True) as temporis:
        temporis.data_source(SOURCE).upsert(pd.DataFrame({"other": 5.0}, index=HOURS))
    loaded(project, asset := feed.asset(ghost_rows="delete"))
    before = project.read()
    feed.without(*HOURS[24:28])
    result = project.run(asset, partition_key="2024-06-02")
    (shown,) = materializations(result, "load").values()
    assert (shown["temporis/ghost_rows"], shown["temporis/deleted_count"]) == (0, 8)
    assert table(shown["temporis/deleted_rows"])[0] == ("north", "2024-06-02T00:00")
    gone = before["name"].isin(SERIES) & before["timestamp"].isin(HOURS[24:28])
    pd.testing.assert_frame_equal(project.read(), before[~gone].reset_index(drop=True))


@pytest.mark.parametrize("place", ["metadata", "output", "IO manager"])
def test_a_delete_can_be_asked_for_in_each_place_of_an_option(project, feed, place):
    """As metadata of the asset, for one run by its body, or for all assets of an IO manager."""
    loaded(project, feed.asset())
    feed.without(HOURS[30])
    wanted = {"temporis/ghost_rows": "delete"}

    @temporis_asset(
        data_source=SOURCE,
        name="load",
        series=SERIES,
        partitions_def=DAYS,
        metadata=wanted if place == "metadata" else None,
    )
    def load(context: dg.AssetExecutionContext):
        context.add_output_metadata(wanted if place == "output" else {})
        return feed.frame.loc["2024-06-02":"2024-06-02"]

    options = {"ghost_rows": "delete"} if place == "IO manager" else None
    result = project.run(load, partition_key="2024-06-02", options=options)
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert (shown["temporis/ghost_rows"], shown["temporis/deleted_count"]) == (0, 2)
    assert rows(project) == 238


def test_too_many_are_not_deleted(project, feed):
    """More than a quarter of what is stored is more likely an extract that broke off; max_ghosts says otherwise."""
    loaded(project, asset := feed.asset(ghost_rows="delete"))
    feed.without(*HOURS[24:31])
    result = project.run(asset, partition_key="2024-06-02")
    assert not result.success
    assert "max_ghosts is 0.25" in failure(result)
    assert rows(project) == 240
    assert project.run(feed.asset(ghost_rows="delete", max_ghosts=14), partition_key="2024-06-02").success
    assert rows(project) == 226


def test_a_person_waves_a_delete_through(project, feed):
    """The failure says that the tag also lets ghost rows be deleted."""
    loaded(project, asset := feed.asset(ghost_rows="delete"))
    feed.without(*HOURS[24:40])
    assert "delete" in failure(project.run(asset, partition_key="2024-06-02"))
    result = project.run(asset, partition_key="2024-06-02", tags={"temporis/ignore_limits": "true"})
    assert result.success
    assert rows(project) == 240 - 32


@pytest.mark.parametrize("how", [{"max_ghosts": 1.0}, {}])
def test_an_empty_frame_deletes_nothing(project, feed, how):
    """Whatever the limit or the person says: nothing is what a broken extract looks like."""
    loaded(project, asset := feed.asset(ghost_rows="delete", **how))
    feed.frame = feed.frame.iloc[:0]
    tags = {} if how else {"temporis/ignore_limits": "true"}
    result = project.run(asset, partition_key="2024-06-02", tags=tags)
    assert result.success
    (shown,) = materializations(result, "load").values()
    assert shown["temporis/ghost_rows"] == 48
    assert rows(project) == 240
    assert not any("Deleted" in line for line in project.logged(result))


def test_an_empty_partition_of_a_range_deletes_nothing(project, feed):
    """As in a run of its own. The ghost rows of the other partitions are deleted."""
    loaded(project, asset := feed.asset(ghost_rows="delete", max_ghosts=1.0))
    feed.without(HOURS[0], *HOURS[24:48])
    result = project.run(asset, tags=key_range("2024-06-01", "2024-06-03"))
    shown = materializations(result, "load")
    assert [shown[f"2024-06-0{day}"]["temporis/ghost_rows"] for day in (1, 2, 3)] == [0, 48, 0]
    assert rows(project) == 238
    assert shown["2024-06-03"]["temporis/deleted_count"] == 2
    assert table(shown["2024-06-03"]["temporis/deleted_rows"]) == [
        ("north", "2024-06-01T00:00"),
        ("south", "2024-06-01T00:00"),
    ]
    (said,) = [line for line in warnings_of(project, result) if "48 ghost rows" in line]
    assert "no row at all" in said
    assert "ghost_rows='delete'" not in said  # the asset has that already


def test_an_empty_zone_of_a_range_deletes_nothing(project):
    """Partitions that share their hours are told apart: the rows of one say nothing about those of the other."""
    lost = {"load_north": [], "load_south": []}

    @temporis_asset(
        data_source=SOURCE,
        name="load",
        series=["load_{zone}"],
        partitions_def=ZONED,
        ghost_rows="delete",
        max_ghosts=1.0,
    )
    def load():
        whole = pd.DataFrame({"load_north": 1.0, "load_south": 2.0}, index=HOURS[:48])
        for name, hours in lost.items():
            whole.loc[hours, name] = None
        return whole

    both = key_range("2024-06-01|north", "2024-06-02|south")
    assert project.run(load, tags=both).success
    lost.update(load_north=HOURS[3:5], load_south=HOURS[:24])
    result = project.run(load, tags=both)
    assert result.success
    counts = project.read().groupby("name").size()
    assert (counts["load_north"], counts["load_south"]) == (46, 48)


def test_a_run_that_dies_before_it_deletes_is_done_again(project, feed, monkeypatch):
    """The frame is stored first: no reader ever misses a row, and the run that is repeated deletes the ghost rows."""
    loaded(project, asset := feed.asset(ghost_rows="delete"))
    feed.without(HOURS[30])
    feed.frame.loc[HOURS[31]] += 5

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DataSource, "delete_ghosts", die)
        assert not project.run(asset, partition_key="2024-06-02").success
    assert rows(project) == 240
    assert project.read()["value"].isin([1, 2]).sum() == 238
    assert project.run(asset, partition_key="2024-06-02").success
    assert rows(project) == 238


def test_rows_that_appear_meanwhile_are_not_deleted(project, feed, monkeypatch):
    """Another writer is at work: what it stores between the plan and the delete is not taken for a ghost."""
    loaded(project, asset := feed.asset(ghost_rows="delete"))
    feed.without(HOURS[30])
    upsert = DataSource.upsert

    def beside(self, data, **options):
        report = upsert(self, data, **options)
        with connect(project.temporis.url) as other:
            upsert(other.data_source(SOURCE), pd.DataFrame({"north": 9.0}, index=HOURS[30:31] + pd.Timedelta("1min")))
        return report

    monkeypatch.setattr(DataSource, "upsert", beside)
    result = project.run(asset, partition_key="2024-06-02")
    assert result.success
    assert rows(project) == 241
    assert any("Another writer" in line for line in warnings_of(project, result))


REFUSED = {
    "no series": {"series": None},
    "no partitions": {"partitions_def": None},
    "no time": {"partitions_def": dg.StaticPartitionsDefinition(["a", "b"]), "series": ["load_{partition}"]},
    "no template": {"partitions_def": ZONED, "series": ["load_north", "load_south"]},
    "rows outside": {"outside_partition": "allow"},
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_a_delete_that_could_meet_other_rows_is_refused(project, feed, arguments):
    """At load, where the decorator says it; in the run, before anything is sent, where metadata say it."""
    with pytest.raises(ConfigurationError, match="ghost_rows cannot be 'delete'"):
        feed.asset(ghost_rows="delete", **arguments)

    @dg.asset(
        io_manager_key="temporis_io_manager",
        partitions_def=arguments.get("partitions_def", DAYS),
        metadata={
            "temporis/data_source": SOURCE,
            "temporis/ghost_rows": "delete",
            **({"temporis/series": series} if (series := arguments.get("series", SERIES)) else {}),
            **({"temporis/outside_partition": "allow"} if "outside_partition" in arguments else {}),
        },
    )
    def load():
        return pd.DataFrame({"load_a": 1.0, "load_north": 1.0, "north": 1.0}, index=HOURS[:2])[
            ["load_a" if series == ["load_{partition}"] else "load_north" if series != SERIES else "north"]
        ]

    definition = arguments.get("partitions_def", DAYS)
    key = definition.get_partition_keys()[0] if definition else None
    result = project.run(load, partition_key=key)
    assert "ghost_rows cannot be 'delete'" in failure(result)
    assert project.temporis.connection.data_sources() == []


@pytest.mark.parametrize("value", ["drop", True, 1, ""])
def test_only_two_words_are_known(value):
    """Anything else is refused when the code is loaded."""
    with pytest.raises(ConfigurationError, match="ghost_rows must be 'keep' or 'delete'"):
        temporis_asset(data_source=SOURCE, ghost_rows=value)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_target_that_cannot_delete_is_refused_before_anything_is_sent(instance, feed, tmp_path, mirrored):
    """Over HTTP: a failure that is not retried, with the way out."""
    with FakeService() as service:
        mirror = f"sqlite:///{tmp_path}/mirror.db" if mirrored else None
        project = Project(TemporisResource(url=service.url, token=service.token, mirror=mirror), instance)
        asset = feed.asset(ghost_rows="delete", retry_policy=dg.RetryPolicy(max_retries=2))
        result = project.run(asset, partition_key="2024-06-02")
        assert not result.success
        assert attempts(result) == 1
        assert "no delete" in failure_of(result).event_specific_data.user_failure_data.description
        assert len(service.content) == 0


# Checked


def checked(project, asset, **options):
    """Evaluate the ghost check alone."""
    checks = build_series_checks(assets=[asset], clock=HOURS[-1].timestamp, **options)
    defs = dg.Definitions(
        assets=[asset],
        asset_checks=checks,
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
        resources={
            "temporis": project.temporis,
            "temporis_io_manager": TemporisIOManager(temporis=project.temporis),
        },
        executor=dg.in_process_executor,
    )
    result = defs.resolve_job_def("checks").execute_in_process(instance=project.instance)
    (found,) = result.get_asset_check_evaluations()
    return found


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
@pytest.mark.parametrize(
    ("ghosts", "severity"), [("warn", dg.AssetCheckSeverity.WARN), ("error", dg.AssetCheckSeverity.ERROR)]
)
def test_a_check_is_red_as_long_as_there_are_ghost_rows(project, feed, ghosts, severity):
    """It adds up what the latest materialization of each partition found, and turns green once they are deleted."""
    loaded(project, asset := feed.asset())
    assert checked(project, asset, ghosts=ghosts).passed
    feed.without(HOURS[30], HOURS[50])
    project.run(asset, tags=key_range("2024-06-01", "2024-06-05"))
    found = checked(project, asset, ghosts=ghosts)
    assert (found.passed, found.severity) == (False, severity)
    assert found.metadata["temporis/ghost_rows"].value == 4
    assert "2 partitions" in found.description
    project.run(feed.asset(ghost_rows="delete"), partition_key="2024-06-02")
    assert checked(project, asset, ghosts=ghosts).metadata["temporis/ghost_rows"].value == 2
    project.run(feed.asset(ghost_rows="delete"), partition_key="2024-06-03")
    assert checked(project, asset, ghosts=ghosts).passed


def test_a_check_of_what_was_never_counted_passes_with_a_warning(instance, feed):
    """Over HTTP without a mirror nothing is known, and a check that is always red is of no use."""
    with FakeService() as service:
        project = Project(TemporisResource(url=service.url, token=service.token), instance)
        for materialized in (False, True):
            found = checked(project, feed.asset(), ghosts="warn")
            assert found.passed
            reason = "mirror" if materialized else "no partition within the last"
            assert reason in found.metadata["temporis/warning"].value
            project.run(feed.asset(), partition_key="2024-06-02")


@pytest.mark.parametrize("value", ["warning", True, 1])
def test_a_check_takes_two_words(feed, value):
    """Anything else is refused when the code is loaded."""
    with pytest.raises(ConfigurationError, match="ghosts must be 'warn' or 'error'"):
        build_series_checks(assets=[feed.asset()], ghosts=value)
