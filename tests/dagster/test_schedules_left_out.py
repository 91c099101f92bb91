"""The trailing-window schedule leaves nothing out: whatever happened to its ticks and runs, a later tick fills it."""

import itertools

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster import TemporisIOManager, TemporisResource, build_trailing_window_schedule, connect
from temporis_dagster.metadata_keys import TICK
from temporis_dagster.schedules import trailing_window
from temporis_dagster.schedules.left_out import Rhythm, began, left_out
from temporis_dagster.schedules.materialized import Materialized
from temporis_dagster.schedules.partition_row import PartitionRow, keys_since
from temporis_dagster.schedules.selection import PartitionedAssets
from temporis_dagster.schedules.trailing_window import _ranges
from tests.support.dagster_harness import key_range
from tests.support.schedule_tools import asked, load_asset, utc, world_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01")
STATUS = dg.DagsterRunStatus


@pytest.fixture
def days(stored_instance, tmp_path):
    """A world of daily partitions, its upstream, and a schedule of the last one."""
    world, upstream = world_of(stored_instance, tmp_path, DAYS)
    return world, upstream, build_trailing_window_schedule(target=world.asset, lookback=1)


def tick_of_day(day):
    return utc(f"2024-06-{day:02d}")


def run_tick(world, schedule, day):
    """Run all that a tick requests; True if all of it succeeded."""
    done = [world.run(request, schedule) for request in world.ticks(schedule, tick_of_day(day))]
    return all(done)


def days_stored(world):
    return sorted({moment.day for moment in world.stored()["timestamp"]})


def test_what_the_first_ticks_failed_to_fill_is_filled_once_a_run_succeeds(days):
    """Three runs fail before the first that succeeds: the days of all four are filled."""
    world, upstream, schedule = days
    upstream.broken = {"2024-06-01", "2024-06-02", "2024-06-03"}
    assert [run_tick(world, schedule, day) for day in (2, 3, 4)] == [False] * 3
    upstream.broken = set()
    assert asked(world.tick(schedule, tick_of_day(5))) == ("2024-06-01", "2024-06-04")
    assert run_tick(world, schedule, 5)
    assert asked(world.tick(schedule, tick_of_day(6))) == ("2024-06-05", "2024-06-05")


def test_what_was_archived_before_the_first_run_is_filled_afterwards(days):
    """The next tick also fills what was left out, as the skip message promises, even if there was never a run."""
    world, _, schedule = days
    with connect(world.url) as temporis:
        temporis.data_source("grid").archive()
        for day in (7, 8, 9):
            assert "the next tick also fills what was left out" in world.tick(schedule, tick_of_day(day))
        temporis.data_source("grid").unarchive()
    assert asked(world.tick(schedule, tick_of_day(10))) == ("2024-06-06", "2024-06-09")


def test_what_lies_beyond_max_reach_back_is_filled_by_the_next_ticks(days):
    """Ten missed days and runs of at most three: the newest first, and in the end all of them."""
    world, upstream, _ = days
    schedule = build_trailing_window_schedule(target=world.asset, lookback=1, max_reach_back=3)
    assert run_tick(world, schedule, 2)
    assert asked(world.tick(schedule, tick_of_day(12))) == ("2024-06-09", "2024-06-11")
    for day in range(12, 16):
        assert run_tick(world, schedule, day)
    assert days_stored(world) == list(range(1, 15))
    assert max(map(len, upstream.extractions)) == 3
    assert [asked(one) for one in world.ticks(schedule, tick_of_day(16))] == [("2024-06-15", "2024-06-15")]


def test_runs_that_a_retention_deleted_are_not_missed(stored_instance, tmp_path):
    """All runs are deleted while the schedule is stopped: what it fills next is the same as if they still existed."""
    reached = []
    for deleted in (False, True):
        world, _ = world_of(stored_instance, tmp_path, DAYS)
        schedule = build_trailing_window_schedule(target=world.asset, lookback=2)
        for day in (4, 5, 6):
            assert run_tick(world, schedule, day)
        for run in stored_instance.get_runs() if deleted else ():
            stored_instance.delete_run(run.run_id)
        again = build_trailing_window_schedule(target=world.asset, lookback=2)  # a process that remembers nothing
        reached.append(asked(world.tick(again, tick_of_day(12))))
    assert reached == [("2024-06-05", "2024-06-11")] * 2


@pytest.fixture
def two(days):
    """Two assets that one job fills."""
    world, upstream, _ = days
    other = load_asset(upstream, DAYS, name="other", data_source="grid")
    world.others = [other]
    world.jobs = [dg.define_asset_job("fill", selection=dg.AssetSelection.assets(world.asset, other))]
    return world, other, build_trailing_window_schedule(target=world.jobs[0], lookback=1, partitions_def=DAYS)


def test_half_a_re_execution_makes_up_for_half(two):
    """A run filled one of two assets and its re-execution, of that one only, succeeded: the other asset is filled."""
    world, other, schedule = two
    world.tick(schedule, tick_of_day(5))
    for asset in (world.asset, other):
        record(world.instance, asset.key, "2024-06-04", tick_of_day(5))
    for day, key in ((6, "2024-06-05"), (7, "2024-06-06")):
        request = world.tick(schedule, tick_of_day(day))
        tags = {**request.tags, "dagster/schedule_name": schedule.name, "dagster/run_key": request.run_key}
        world.at_work(tags, STATUS.SUCCESS, assets=frozenset({world.asset.key}))
        record(world.instance, world.asset.key, key, tick_of_day(day))
    assert asked(world.tick(schedule, tick_of_day(8))) == ("2024-06-05", "2024-06-07")


def test_an_asset_that_joins_the_job_is_filled_from_then_on(days):
    """The past of a new asset is left to a backfill; it does not make the other assets run again."""
    world, upstream, _ = days
    other = load_asset(upstream, DAYS, name="other")
    alone = build_trailing_window_schedule(target=world.asset, lookback=1, name="s")
    for day in (5, 6, 7):
        assert run_tick(world, alone, day)
    world.others = [other]
    both = build_trailing_window_schedule(target=[world.asset, other], lookback=1, name="s")
    assert asked(world.tick(both, tick_of_day(8))) == ("2024-06-07", "2024-06-07")
    assert asked(world.tick(both, tick_of_day(10))) == ("2024-06-07", "2024-06-09")


def test_a_renamed_schedule_goes_on_where_the_old_one_stopped(days):
    """What is missing is seen in the assets, whatever the schedule or its job is called."""
    world, _, schedule = days
    assert run_tick(world, schedule, 5)
    renamed = build_trailing_window_schedule(target=world.job, lookback=1, name="another", partitions_def=DAYS)
    assert asked(world.tick(renamed, tick_of_day(8))) == ("2024-06-05", "2024-06-07")


def test_dry_runs_fill_nothing_unless_everything_is_one(days):
    """Once dry_run is off, what only dry runs materialized counts as left out; in a dry run it counts as filled."""
    world, _, schedule = days
    dry = TemporisResource(url=world.url, dry_run=True)
    live, world.temporis = world.temporis, dry
    world.io_manager = TemporisIOManager(temporis=dry)
    for day in (3, 4, 5):
        assert run_tick(world, schedule, day)
    assert asked(world.tick(schedule, tick_of_day(6))) == ("2024-06-05", "2024-06-05")
    world.temporis, world.io_manager = live, TemporisIOManager(temporis=live)
    assert len(world.stored()) == 0
    assert asked(world.tick(schedule, tick_of_day(6))) == ("2024-06-02", "2024-06-05")
    assert run_tick(world, schedule, 6)
    assert days_stored(world) == [2, 3, 4, 5]


def test_a_dry_run_over_stored_partitions_leaves_them_stored(days):
    """A dry run after a real one hides nothing."""
    world, _, schedule = days
    assert run_tick(world, schedule, 5)
    dry = TemporisResource(url=world.url, dry_run=True)
    world.io_manager = TemporisIOManager(temporis=dry)
    assert world.launch(key_range("2024-06-04", "2024-06-04"))
    assert asked(world.tick(schedule, tick_of_day(6))) == ("2024-06-05", "2024-06-05")


def test_several_rhythms_at_once(days):
    """cron_schedule takes a list, as dg.schedule does: every tick after the first success works, too."""
    world, _, _ = days
    crons = ["0 6 * * *", "0 18 * * *"]
    schedule = build_trailing_window_schedule(target=world.asset, lookback=1, cron_schedule=crons)
    assert schedule.cron_schedule == crons
    for at in ("2024-06-05T06:00", "2024-06-05T18:00", "2024-06-06T06:00"):
        assert world.run(world.tick(schedule, utc(at)), schedule)
    assert asked(world.tick(schedule, utc("2024-06-06T18:00"))) == ("2024-06-05", "2024-06-05")
    assert asked(world.tick(schedule, utc("2024-06-08T06:00"))) == ("2024-06-05", "2024-06-07")


def test_the_look_back_of_a_tick_is_bounded(days, monkeypatch):
    """However long nothing succeeded, a tick looks at a bounded number of partitions, at least at its lookback."""
    world, _, schedule = days
    monkeypatch.setattr(trailing_window, "MOST_LOOKED_BACK", 4)
    world.tick(schedule, tick_of_day(2))
    assert asked(world.tick(schedule, tick_of_day(20))) == ("2024-06-16", "2024-06-19")


HOURS = dg.HourlyPartitionsDefinition("2024-06-01-00:00")
BOTH = PartitionedAssets(frozenset({dg.AssetKey("load"), dg.AssetKey("other")}), HOURS, ())
OUTCOMES = ["stored", "failed", "half", "skipped", "stopped", "forgotten"]


def at_hour(hour):
    return utc(f"2024-06-{1 + hour // 24:02d}T{hour % 24:02d}:00")


@settings(max_examples=settings.default.max_examples // 20)  # each has an instance of its own
@given(
    st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6),
    st.integers(1, 4),
    st.none() | st.integers(0, 3),
    st.sampled_from([1, 2, 3]),
)
def test_every_partition_ends_as_of_the_last_tick_that_was_to_fill_it(outcomes, lookback, more, every_hours):
    """Whatever happened to its ticks, each asset ends with each partition as of the last due tick.

    Runs fail or fill one asset only, ticks are skipped or never come, processes forget; then come enough good ticks.
    """
    most = None if more is None else lookback + more
    rhythm = Rhythm((f"0 */{every_hours} * * *" if every_hours > 1 else "0 * * * *",), "UTC", lookback)
    first = every_hours * 2
    ticks = [hour for hour in range(first, 24 * 10) if hour % 24 % every_hours == 0]
    have, memory = {}, Materialized()
    good = ["stored"] * (len(outcomes) * every_hours + 4)
    with dg.DagsterInstance.ephemeral() as instance:
        for hour, outcome in zip(ticks, [*outcomes, *good], strict=False):
            last = hour
            if outcome == "stopped":
                continue
            memory = Materialized() if outcome == "forgotten" else memory
            since = began(instance, BOTH, at_hour(hour))
            row = PartitionRow(HOURS, keys_since(HOURS, at_hour(hour), at_hour(max(first - lookback, 0))))
            missed = left_out(instance, BOTH, row, rhythm, since, memory, dry_runs_count=False)
            ranges = _ranges(len(row), lookback, missed, most)
            assert most is None or max(map(len, ranges)) <= most
            stored = {"failed": (), "skipped": (), "half": ("load",)}.get(outcome, ("load", "other"))
            for asset, position in itertools.product(stored, itertools.chain(*ranges)):
                record(instance, asset, row.keys[position], at_hour(hour))
                have[asset, row.keys[position]] = hour
        began_at = next(hour for hour, outcome in zip(ticks, [*outcomes, *good], strict=False) if outcome != "stopped")
    for position, key in enumerate(HOURS.get_partition_keys()[:last]):
        due = [hour for hour in ticks if began_at <= hour <= last and hour - lookback <= position < hour]
        for asset in ("load", "other"):
            assert not due or have.get((asset, key), -1) >= due[-1], (asset, key)


def record(instance, asset, key, at):
    said = {TICK: dg.MetadataValue.timestamp(at)}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key, metadata=said))
