"""build_trailing_window_schedule: late data is picked up, nothing is overwritten by something older, nothing missed."""

import itertools
from collections import Counter
from datetime import datetime, timedelta, timezone
from inspect import isfunction
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    ConfigurationError,
    TemporisResource,
    build_trailing_window_schedule,
    connect,
    temporis_asset,
)
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.schedules import archive_gate
from tests.support.dagster_harness import end_backfill, key_range, plan, requested_backfill, requested_job_backfill
from tests.support.schedule_tools import Upstream, asked, daemon_tags, load_asset, utc, world_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01")
STARTED, QUEUED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED


@pytest.fixture
def days(stored_instance, tmp_path):
    """A world of daily partitions, its upstream, and a schedule of the last three."""
    world, upstream = world_of(stored_instance, tmp_path, DAYS)
    return world, upstream, build_trailing_window_schedule(target=world.asset, lookback=3)


def tick_of_day(day):
    return utc(f"2024-06-{day:02d}")


def test_every_tick_fills_the_trailing_partitions_in_one_run(days):
    """A correction to a partition inside the window is picked up by the next tick; one before it is not."""
    world, upstream, schedule = days
    request = world.tick(schedule, tick_of_day(10))
    assert asked(request) == ("2024-06-07", "2024-06-09")
    assert world.run(request, schedule)
    assert upstream.extractions == [("2024-06-07", "2024-06-08", "2024-06-09")]

    upstream.version = 2.0
    request = world.tick(schedule, tick_of_day(11))
    assert asked(request) == ("2024-06-08", "2024-06-10")
    assert world.run(request, schedule)
    by_day = world.stored().groupby(world.stored()["timestamp"].dt.day)["value"].agg(["min", "max", "size"])
    assert by_day.to_dict("index") == {
        7: {"min": 1.0, "max": 1.0, "size": 24},
        **{day: {"min": 2.0, "max": 2.0, "size": 24} for day in (8, 9, 10)},
    }


def test_the_first_ticks_fill_what_there_is(days):
    """Before a partition is complete, a tick reports that; if there are fewer than the lookback, it fills them all."""
    world, _, schedule = days
    assert world.tick(schedule, tick_of_day(1)).startswith("No partition is complete yet")
    assert asked(world.tick(schedule, tick_of_day(2))) == ("2024-06-01", "2024-06-01")
    assert asked(world.tick(schedule, tick_of_day(3))) == ("2024-06-01", "2024-06-02")


def test_the_run_key_is_the_tick(days):
    """Evaluated again after a restart, a tick requests the same run; another tick requests another run."""
    world, _, schedule = days
    first, again = (world.tick(schedule, tick_of_day(10)) for _ in range(2))
    assert (first.run_key, first.tags) == (again.run_key, again.tags)
    assert world.tick(schedule, tick_of_day(11)).run_key != first.run_key


def test_a_killed_daemon_finds_its_own_run_again(days):
    """Killed between making the run and launching it, the daemon evaluates the tick again and launches that very run.

    The run of another tick or schedule would block it.
    """
    world, _, schedule = days
    request = world.tick(schedule, tick_of_day(10))
    own = {**request.tags, **daemon_tags(request, schedule)}
    world.at_work(own, dg.DagsterRunStatus.NOT_STARTED)
    again = world.tick(schedule, tick_of_day(10))
    assert (again.run_key, again.tags) == (request.run_key, request.tags)
    assert "NOT_STARTED" in world.tick(schedule, tick_of_day(11))
    other = build_trailing_window_schedule(target=world.asset, lookback=3, name="other")
    assert "NOT_STARTED" in world.tick(other, tick_of_day(10))


FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@pytest.mark.parametrize(
    ("tags", "overlaps"),
    [
        (key_range("2024-06-01", "2024-06-07"), True),
        (key_range("2024-06-09", "2024-06-20"), True),
        (key_range("2024-06-01", "2024-06-06"), False),
        ({"dagster/partition": "2024-06-08"}, True),
        ({"dagster/partition": "2024-06-06"}, False),
        ({"dagster/partition": "no|date"}, True),
        ({}, True),
    ],
)
@pytest.mark.no_cover
def test_a_tick_keeps_out_of_the_way_of_whoever_is_at_work(days, tags, overlaps):
    """While a run over one of the partitions is queued or running, the tick is skipped and names it.

    A run that does not state its partitions counts for all. A finished run, or one elsewhere, does not block.
    """
    world, _, schedule = days
    for status in dg.DagsterRunStatus:
        run = world.at_work(tags, status)
        result = world.tick(schedule, tick_of_day(10))
        if overlaps and status not in FINISHED:
            assert f"Run {run.run_id[:8]} ({status.value})" in result
        else:
            assert asked(result) == ("2024-06-07", "2024-06-09")
        world.instance.delete_run(run.run_id)


def test_a_tick_keeps_out_of_the_way_of_a_backfill(days):
    """A backfill that may still launch runs over one of the partitions blocks, and is named; others do not."""
    world, _, schedule = days
    repository = world.definitions().get_repository_def()
    for partitions, overlaps in ((["2024-06-05", "2024-06-06"], False), (["2024-06-02", "2024-06-07"], True)):
        for backfill in (
            lambda wanted: requested_backfill(world.instance, repository, [world.key], wanted),
            lambda wanted: requested_job_backfill(world.instance, "fill", wanted),
        ):
            name = backfill(partitions)
            result = world.tick(schedule, tick_of_day(10))
            if overlaps:
                assert f"Backfill {name} (REQUESTED) is at work on 2024-06-07" in result
            else:
                assert asked(result) == ("2024-06-07", "2024-06-09")
            end_backfill(world.instance, name)
            assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-07", "2024-06-09")
            world.instance.wipe()


def test_a_run_over_other_assets_is_in_nobodys_way(days):
    """Only runs that write the same assets count; a run of part of a larger job counts by its own selection."""
    world, upstream, schedule = days
    other = load_asset(upstream, DAYS, name="other")
    world.others = [other]
    world.jobs = [dg.define_asset_job("fill", selection=dg.AssetSelection.assets(world.asset, other))]
    world.at_work({}, STARTED, assets=frozenset({other.key}))
    assert asked(world.tick(schedule, tick_of_day(10)))
    world.at_work({}, STARTED, assets=frozenset({world.key}))
    assert "is at work on" in world.tick(schedule, tick_of_day(10))


def test_a_namesake_in_another_code_location_is_somebody_else(days):
    """Its job and schedule have the same names, but its runs do not block, and its success does not count."""
    world, _, schedule = days
    assert world.run(world.tick(schedule, tick_of_day(10)), schedule)
    theirs = dg.RunRequest(run_key=tick_of_day(12).isoformat())
    for _ in range(30):
        run = world.at_work(daemon_tags(theirs, schedule), dg.DagsterRunStatus.SUCCESS)
        plan(world.instance, run, dg.AssetKey(["theirs", "load"]))
    plan(world.instance, world.at_work({}, STARTED), dg.AssetKey(["theirs", "load"]))
    assert asked(world.tick(schedule, tick_of_day(13))) == ("2024-06-08", "2024-06-12")
    plan(world.instance, world.at_work({}, STARTED), world.key)
    assert "is at work on" in world.tick(schedule, tick_of_day(13))


def test_what_was_left_out_is_made_up_for(days):
    """After ticks that were skipped or whose run failed, the next one starts where the first of them would have.

    So it fills what is missing and refreshes what that tick would have refreshed. Then it is the lookback again.
    """
    world, upstream, schedule = days
    assert world.run(world.tick(schedule, tick_of_day(10)), schedule)
    blocker = world.at_work({}, QUEUED)
    assert "is at work on" in world.tick(schedule, tick_of_day(11))
    world.instance.delete_run(blocker.run_id)
    upstream.broken = {"2024-06-11"}
    assert not world.run(world.tick(schedule, tick_of_day(12)), schedule)
    upstream.broken = set()
    request = world.tick(schedule, tick_of_day(15))
    assert asked(request) == ("2024-06-08", "2024-06-14")
    assert world.run(request, schedule)
    assert asked(world.tick(schedule, tick_of_day(16))) == ("2024-06-13", "2024-06-15")


def test_archived_skips_and_unarchived_refills_corrections_too(days):
    """While the data source is archived nothing is extracted, and a tick says why; then what was missed is filled.

    Corrections that were made meanwhile to partitions that were filled already are picked up, too.
    """
    world, upstream, schedule = days
    assert world.run(world.tick(schedule, tick_of_day(10)), schedule)
    with connect(world.url) as temporis:
        temporis.data_source("grid").archive()
        for day in range(11, 20):
            assert world.tick(schedule, tick_of_day(day)).startswith("Archived: grid. Nothing was launched.")
        assert len(upstream.extractions) == 1
        temporis.data_source("grid").unarchive()
    upstream.version = 2.0
    request = world.tick(schedule, tick_of_day(20))
    assert asked(request) == ("2024-06-08", "2024-06-19")
    assert world.run(request, schedule)
    values = world.stored().set_index("timestamp")["value"]
    assert set(values["2024-06-07"]) == {1.0}
    assert set(values["2024-06-08":"2024-06-19"]) == {2.0}
    assert len(values) == 13 * 24


def test_reaching_back_is_bounded(days):
    """max_reach_back is the maximum number of partitions of a run, however long nothing succeeded."""
    world, _, _ = days
    schedule = build_trailing_window_schedule(target=world.asset, lookback=2, max_reach_back=5)
    assert world.run(world.tick(schedule, tick_of_day(5)), schedule)
    assert asked(world.tick(schedule, tick_of_day(30))) == ("2024-06-25", "2024-06-29")


def test_a_retried_old_run_does_not_hide_a_newer_one(days):
    """What counts is the latest tick that succeeded, not the run that was made last."""
    world, _, schedule = days
    requests = [world.tick(schedule, tick_of_day(day)) for day in (12, 10)]
    assert all(world.run(request, schedule) for request in requests)
    assert asked(world.tick(schedule, tick_of_day(13))) == ("2024-06-10", "2024-06-12")


def test_runs_with_other_keys_are_passed_over(days):
    """A run by an older schedule of the same name states no tick, and breaks nothing."""
    world, _, schedule = days
    whole = key_range("2024-06-01", "2024-06-02")
    for key in ("2024-06-02", "2024-06-02T00:00:00", "anything"):
        assert world.launch({**whole, "dagster/schedule_name": schedule.name, "dagster/run_key": key})
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-07", "2024-06-09")


@pytest.mark.parametrize("rhythm", ["daily partitions, hourly ticks", "hourly partitions, ticks every six hours"])
def test_any_rhythm_makes_up_for_exactly_the_ticks_that_were_missed(stored_instance, tmp_path, rhythm):
    """Nothing missed is the lookback and no more, and one missed tick adds what it would have filled."""
    if rhythm.startswith("daily"):
        partitions, cron, lookback, step = DAYS, "0 * * * *", 1, timedelta(hours=1)
        plain, after_a_miss = ("2024-06-09", "2024-06-09"), ("2024-06-09", "2024-06-09")
    else:
        partitions = dg.HourlyPartitionsDefinition("2024-06-01-00:00")
        cron, lookback, step = "0 */6 * * *", 6, timedelta(hours=6)
        plain = ("2024-06-11-18:00", "2024-06-11-23:00")
        after_a_miss = ("2024-06-11-12:00", "2024-06-11-23:00")
    at = utc("2024-06-10T03:00") if rhythm.startswith("daily") else utc("2024-06-12")
    for missed, expected in ((1, plain), (2, after_a_miss)):
        world, _ = world_of(stored_instance, tmp_path, partitions)
        schedule = build_trailing_window_schedule(target=world.asset, lookback=lookback, cron_schedule=cron)
        assert world.run(world.tick(schedule, at - missed * step), schedule)
        assert asked(world.tick(schedule, at)) == expected


class BrokenResource(TemporisResource):
    """Its data sources cannot be asked."""

    def data_source(self, name: str) -> DataSource:
        raise ConnectionError(f"no answer for {name}")


@pytest.mark.parametrize("fault", ["unreachable", "unknown", "no such data source", "silent"])
def test_what_cannot_be_asked_never_stops_automation(days, monkeypatch, fault):
    """Only a data source that is known to be archived stops a run. Otherwise the run shows what is wrong."""
    world, _, schedule = days
    if fault == "unreachable":
        world.temporis = BrokenResource(url=world.url)
    elif fault == "unknown":
        monkeypatch.setattr(DataSource, "archive_state", lambda _: ArchiveState.UNKNOWN)
    elif fault == "no such data source":
        schedule = build_trailing_window_schedule(target=world.asset, lookback=3, data_sources=["elsewhere"])
    else:
        monkeypatch.setattr(archive_gate, "ANSWER_WITHIN_S", 0.0)
        monkeypatch.setattr(archive_gate.archived_data_sources, "__kwdefaults__", {"answer_within_s": 0.0})
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-07", "2024-06-09")


def test_one_archived_data_source_among_several_is_named(days):
    """data_sources= replaces the data sources of the assets, and the archived ones are named."""
    world, _, _ = days
    with connect(world.url) as temporis:
        temporis.create_data_source("frozen").archive()
    schedule = build_trailing_window_schedule(target=world.asset, lookback=1, data_sources=["grid", "frozen"])
    assert world.tick(schedule, tick_of_day(10)).startswith("Archived: frozen.")


def test_an_archived_data_source_is_found_however_the_asset_names_it(stored_instance, tmp_path):
    """Also as one of Dagster's metadata values."""
    named = {"temporis/data_source": dg.MetadataValue.text("grid")}
    world, _ = world_of(stored_instance, tmp_path, DAYS)
    policy = dg.BackfillPolicy.single_run()
    world.asset = dg.asset(name="load", partitions_def=DAYS, metadata=named, backfill_policy=policy)(lambda: None)
    with connect(world.url) as temporis:
        temporis.data_source("grid").archive()
    schedule = build_trailing_window_schedule(target=world.asset, lookback=1)
    assert world.tick(schedule, tick_of_day(10)).startswith("Archived: grid.")


ZONES = {
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
}


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, days in ZONES.items() for day in days])
@pytest.mark.parametrize("unit", ["hourly", "daily"])
@pytest.mark.no_cover
def test_each_observation_of_the_days_of_23_and_25_hours_is_in_exactly_one_partition(
    stored_instance, tmp_path, zone, day, unit
):
    """Tick by tick through a clock change: every requested key exists, and every hour is stored once.

    Each partition is filled as often as the lookback demands.
    """
    tz, lookback = ZoneInfo(zone), 2
    spans = {"hourly": (("hours", -1), ("hours", 4)), "daily": (("days", -1), ("days", 2))}
    local = datetime.fromisoformat(day).replace(tzinfo=tz)
    first, last = (local + timedelta(**{unit: count}) for unit, count in spans[unit])
    partitions = (
        dg.HourlyPartitionsDefinition(f"{first:%Y-%m-%d-%H:%M}", timezone=zone, end_date=f"{last:%Y-%m-%d-%H:%M}")
        if unit == "hourly"
        else dg.DailyPartitionsDefinition(f"{first:%Y-%m-%d}", timezone=zone, end_date=f"{last:%Y-%m-%d}")
    )
    with dg.partition_loading_context(effective_dt=last + timedelta(days=2)):
        keys = partitions.get_partition_keys()
        ends = [partitions.time_window_for_partition_key(key).end for key in keys]
    world, upstream = world_of(stored_instance, tmp_path, partitions)
    schedule = build_trailing_window_schedule(target=world.asset, lookback=lookback)
    assert schedule.execution_timezone == zone
    for end in ends:
        assert world.run(world.tick(schedule, end), schedule)
    stored = world.stored()["timestamp"]
    filled = Counter(itertools.chain.from_iterable(upstream.extractions))
    assert set(filled) == set(keys)
    assert set(list(filled.values())[: -lookback + 1]) == {lookback}
    start, end = (pd.Timestamp(moment).tz_convert("UTC") for moment in (first, last))
    assert list(stored) == list(pd.date_range(start, end, freq="h", inclusive="left"))


def test_the_hour_that_comes_twice_is_two_partitions(stored_instance, tmp_path):
    """The second 02:00 has its own key, and a range may end with it."""
    hours = dg.HourlyPartitionsDefinition("2026-10-01-00:00", timezone="Europe/Berlin")
    world, _ = world_of(stored_instance, tmp_path, hours)
    schedule = build_trailing_window_schedule(target=world.asset, lookback=2)
    assert asked(world.tick(schedule, utc("2026-10-25T02:00"))) == ("2026-10-25-02:00", "2026-10-25-02:00+0100")
    assert asked(world.tick(schedule, utc("2026-10-25T01:00"))) == ("2026-10-25-01:00", "2026-10-25-02:00")


WEEKS = dg.WeeklyPartitionsDefinition("2024-06-03", day_offset=1)
QUARTERS = dg.TimeWindowPartitionsDefinition(
    start=datetime(2024, 6, 1), fmt="%Y-%m-%dT%H:%M", cron_schedule="*/15 * * * *", timezone="Asia/Kolkata"
)


@pytest.mark.parametrize(
    ("partitions", "arguments", "cron", "zone"),
    [
        (DAYS, {}, "0 0 * * *", "UTC"),
        (DAYS, {"hour_of_day": 2, "minute_of_hour": 30}, "30 2 * * *", "UTC"),
        (dg.HourlyPartitionsDefinition("2024-06-01-00:00"), {"minute_of_hour": 5}, "5 * * * *", "UTC"),
        (WEEKS, {"day_of_week": 3, "hour_of_day": 4}, "0 4 * * 3", "UTC"),
        (QUARTERS, {}, "*/15 * * * *", "Asia/Kolkata"),
        (DAYS, {"cron_schedule": "0 6 * * 1", "execution_timezone": "Asia/Tokyo"}, "0 6 * * 1", "Asia/Tokyo"),
        (dg.DailyPartitionsDefinition("2024-06-01", timezone="Europe/Berlin"), {}, "0 0 * * *", "Europe/Berlin"),
    ],
)
def test_the_rhythm_is_that_of_the_partitions_moved_or_another(partitions, arguments, cron, zone):
    """As in dagster.build_schedule_from_partitioned_job, in the partitions' zone."""
    load = load_asset(Upstream(), partitions)
    schedule = build_trailing_window_schedule(target=load, lookback=1, **arguments)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, zone)


@pytest.mark.parametrize("end_offset", [-1, 0, 1])
@pytest.mark.parametrize("partitions", [WEEKS, QUARTERS, DAYS], ids=["weekly", "cron", "daily"])
def test_end_offset_counts(stored_instance, tmp_path, partitions, end_offset):
    """The newest partition is the newest one of the partitions definition."""
    shifted = dg.TimeWindowPartitionsDefinition(
        start=partitions.start,
        fmt=partitions.fmt,
        cron_schedule=partitions.cron_schedule,
        timezone=partitions.timezone,
        end_offset=end_offset,
    )
    at = utc("2024-07-17T12:05")
    with dg.partition_loading_context(effective_dt=at):
        expected = shifted.get_partition_keys()[-2:]
    world, _ = world_of(stored_instance, tmp_path, shifted)
    schedule = build_trailing_window_schedule(target=world.asset, lookback=2)
    assert list(asked(world.tick(schedule, at))) == expected


def test_it_is_a_schedule_like_any_other():
    """Name, description, tags, metadata, status: what Dagster's own factories take, and their defaults."""
    load = load_asset(Upstream(), DAYS)
    plain = build_trailing_window_schedule(target=load, lookback=3)
    assert (plain.name, plain.default_status) == ("load_schedule", dg.DefaultScheduleStatus.STOPPED)
    assert plain.description == "Fills the trailing 3 partitions at every tick, in one run."
    assert plain.required_resource_keys == {"temporis"}
    named = build_trailing_window_schedule(
        target=dg.AssetSelection.assets(load),
        partitions_def=DAYS,
        lookback=3,
        name="nightly",
        description="Ours.",
        metadata={"owner": "me"},
        default_status=dg.DefaultScheduleStatus.RUNNING,
        resource_key="other",
    )
    assert (named.name, named.description, named.default_status.value) == ("nightly", "Ours.", "RUNNING")
    assert named.required_resource_keys == {"other"}
    assert "owner" in named.metadata
    job = dg.define_asset_job("fill", selection=[load])
    assert build_trailing_window_schedule(target=job, lookback=1, partitions_def=DAYS).name == "fill_schedule"


def test_tags_are_of_the_run(days):
    """tags= goes to every run, in addition to the range."""
    world, _, _ = days
    schedule = build_trailing_window_schedule(target=world.asset, lookback=1, tags={"team": "grid"})
    request = world.tick(schedule, tick_of_day(10))
    assert {"team": "grid", **key_range("2024-06-09", "2024-06-09")}.items() <= request.tags.items()


@pytest.mark.parametrize("form", ["asset", "list", "key", "text", "selection", "job", "resolved job"])
def test_every_form_of_target_means_the_same(days, form):
    """An asset, keys, a selection and a job are filled alike; checks of a selection go along with its job."""
    world, _, _ = days
    targets = {
        "asset": world.asset,
        "list": [world.asset],
        "key": world.key,
        "text": ["load"],
        "selection": dg.AssetSelection.assets(world.asset),
        "job": world.job,
        "resolved job": world.definitions().resolve_job_def("fill"),
    }
    world.jobs = [] if form == "resolved job" else world.jobs  # Dagster takes it from the schedule
    schedule = build_trailing_window_schedule(target=targets[form], lookback=2, partitions_def=DAYS, name="s")
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-08", "2024-06-09")


@dg.asset(partitions_def=DAYS)
def many_runs() -> None: ...


@dg.asset
def unpartitioned() -> None: ...


def ours(**partitions):
    """A target, made when the test runs: making an asset warns of Dagster's beta feature."""
    return lambda: [load_asset(Upstream(), definition, name=name) for name, definition in partitions.items()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": []}, "target must be a job, an AssetSelection, an asset or a list of assets"),
        ({"target": 5}, "target must be a job, an AssetSelection, an asset or a list of assets"),
        ({"target": [5]}, "target must be a job, an AssetSelection, an asset or a list of assets"),
        ({"target": many_runs}, r"Give it backfill_policy=dg.BackfillPolicy.single_run\(\)"),
        ({"target": unpartitioned}, "None of the assets is partitioned"),
        ({"target": ours(static=dg.StaticPartitionsDefinition(["a"]))}, "not time windows"),
        ({"target": ours(a=DAYS, b=WEEKS)}, "have different partitions"),
        ({"target": ours(a=DAYS, b=DAYS)}, "Pass name="),
        ({"target": dg.AssetSelection.all(), "name": "s"}, "Pass the partitions_def= of the assets, or cron_schedule="),
        ({"lookback": 0}, "lookback must be a number of partitions .*got 0"),
        ({"lookback": True}, "lookback must be a number of partitions .*got True"),
        ({"max_reach_back": 2}, "max_reach_back must be at least lookback=3, got 2"),
        ({"max_reach_back": 0}, "max_reach_back must be a number of partitions .*got 0"),
        ({"minute_of_hour": 5, "cron_schedule": "0 0 * * *"}, "Remove minute_of_hour"),
        ({"day_of_week": 5}, "day_of_week cannot be used with these partitions"),
        ({"data_sources": "grid"}, "must be a list"),
    ],
)
def test_mistakes_show_when_the_code_is_loaded(arguments, message):
    """What the arguments show is refused at once, not at a tick."""
    target = arguments.get("target", ours(a=DAYS))
    target = target() if isfunction(target) else target
    with pytest.raises(ConfigurationError, match=message):
        build_trailing_window_schedule(**{"lookback": 3, **arguments, "target": target})


def test_what_only_the_repository_knows_fails_the_tick(days):
    """A selection is checked when it is resolved, with the same messages."""
    world, _, _ = days
    world.others = [many_runs]
    schedule = build_trailing_window_schedule(target=["many_runs"], lookback=3, partitions_def=DAYS, name="s")
    with pytest.raises(dg.DagsterError) as failure:
        world.tick(schedule, tick_of_day(10))
    assert isinstance(failure.value.__cause__, ConfigurationError)
    assert "'many_runs' cannot fill a range in one run" in str(failure.value.__cause__)


def test_what_else_the_job_runs_goes_along(days):
    """Unpartitioned assets of the job, and the external data source, do not affect the result."""
    world, _, _ = days
    world.others = [unpartitioned]
    everything = dg.AssetSelection.assets("load", "unpartitioned") | dg.AssetSelection.assets("temporis/grid")
    schedule = build_trailing_window_schedule(target=everything, lookback=1, partitions_def=DAYS, name="s")
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-09", "2024-06-09")


def test_the_checks_of_a_selection_go_along(days):
    """A selection with blocking checks of the data source is launched with them, so they gate the writer."""
    world, _, _ = days

    @dg.asset_check(asset=dg.AssetKey(["temporis", "grid"]), blocking=True)
    def is_active() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    gated = dg.AssetSelection.assets(world.asset) | dg.AssetSelection.checks(is_active)
    schedule = build_trailing_window_schedule(target=gated, lookback=1, partitions_def=DAYS, name="s")
    world.others = [is_active]
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-09", "2024-06-09")
    launched = world.definitions(schedules=[schedule]).get_repository_def().get_job(schedule.job_name)
    done = launched.execute_in_process(instance=world.instance, tags=key_range("2024-06-09", "2024-06-09"))
    assert [evaluation.check_name for evaluation in done.get_asset_check_evaluations()] == ["is_active"]
    assert len(world.stored()) == 24


def test_two_assets_on_two_data_sources_ask_both(days):
    """The data sources are those of all the assets, by their metadata."""
    world, upstream, _ = days

    @temporis_asset(data_source="frozen", partitions_def=DAYS)
    def second(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return upstream.extract(context)

    world.others = [second]
    with connect(world.url) as temporis:
        temporis.create_data_source("frozen").archive()
    schedule = build_trailing_window_schedule(target=[world.asset, second], lookback=1, name="both")
    assert world.tick(schedule, tick_of_day(10)).startswith("Archived: frozen.")


def test_ticks_are_compared_in_utc(days):
    """A tick in a zone is the same tick as in UTC: same run key, and reaching back counts from it."""
    world, _, schedule = days
    tokyo = tick_of_day(10).astimezone(ZoneInfo("Asia/Tokyo"))
    request = world.tick(schedule, tokyo)
    assert request.run_key == datetime(2024, 6, 10, tzinfo=timezone.utc).isoformat()
    assert world.run(request, schedule)
    assert asked(world.tick(schedule, tick_of_day(11))) == ("2024-06-08", "2024-06-10")
