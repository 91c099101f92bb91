"""build_gap_fill_sensor: gaps are filled, what always fails is given up, and other runs are left alone."""

from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, build_gap_fill_sensor, connect
from tests.support.dagster_harness import key_range, requested_backfill
from tests.support.schedule_tools import Upstream, asked, load_asset, utc, world_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01")


class Clock:
    """A clock that a test sets; runs end in the real present, so it starts there."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def june(stored_instance, tmp_path):
    """Ten days of June, the sensor's clock on the eleventh: partitions 06-01 to 06-09, without the latest."""
    days = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-11")
    world, upstream = world_of(stored_instance, tmp_path, days)
    return world, upstream


def sensor_of(world, **arguments):
    arguments = {"target": world.asset, "horizon": 10, "retry_delay_s": 0, **arguments}
    return build_gap_fill_sensor(**arguments)


def fill(world, first, last):
    assert world.launch(key_range(first, last))


def asked_of(requests):
    assert isinstance(requests, list), requests
    return [asked(request) for request in requests]


def test_gaps_are_joined_and_filled(june):
    """Missing partitions become one run per range of neighbours; once they are filled, the sensor reports no gaps."""
    world, upstream = june
    sensor = sensor_of(world)
    fill(world, "2024-06-03", "2024-06-04")
    fill(world, "2024-06-07", "2024-06-07")
    requests = world.sense(sensor)
    assert asked_of(requests) == [
        ("2024-06-01", "2024-06-02"),
        ("2024-06-05", "2024-06-06"),
        ("2024-06-08", "2024-06-09"),
    ]
    assert all(world.run(request, sensor) for request in requests)
    assert world.sense(sensor) == "No gaps: 9 partitions (2024-06-01 to 2024-06-09)."
    assert len(world.stored()) == 9 * 24
    assert upstream.extractions[2:] == [
        ("2024-06-01", "2024-06-02"),
        ("2024-06-05", "2024-06-06"),
        ("2024-06-08", "2024-06-09"),
    ]


def test_only_the_horizon_is_looked_at_and_the_latest_is_left_to_the_schedule(june):
    """horizon counts back from the newest partition, exclude_latest leaves out the newest of them."""
    world, _ = june
    assert asked_of(world.sense(sensor_of(world, horizon=4))) == [("2024-06-07", "2024-06-09")]
    assert asked_of(world.sense(sensor_of(world, horizon=4, exclude_latest=0))) == [("2024-06-07", "2024-06-10")]
    early = Clock(utc("2024-05-01").timestamp())
    assert "no partition is complete yet" in world.sense(sensor_of(world, clock=early))


def test_a_broken_partition_is_healed_and_its_neighbours_with_it(june):
    """A partition that fails for a while does not affect its neighbours, and is filled once the upstream is fixed."""
    world, upstream = june
    sensor = sensor_of(world)
    upstream.broken = {"2024-06-05"}
    (request,) = world.sense(sensor)
    assert not world.run(request, sensor)
    for request in world.sense(sensor):
        world.run(request, sensor)
    upstream.broken = set()
    for _ in range(3):
        requests = world.sense(sensor)
        for request in requests if isinstance(requests, list) else []:
            assert world.run(request, sensor)
    assert world.sense(sensor).startswith("No gaps")
    assert len(world.stored()) == 9 * 24


def test_what_always_fails_is_tried_a_bounded_number_of_times(june):
    """Exactly max_attempts runs have the broken partition, then the sensor gives it up; all others are filled.

    No two of its runs have the same key.
    """
    world, upstream = june
    sensor = sensor_of(world, max_attempts=3, max_runs_per_tick=10)
    upstream.broken = {"2024-06-05"}
    keys = []
    for _ in range(5):
        requests = world.sense(sensor)
        if isinstance(requests, str):
            break
        for request in requests:
            keys.append(request.run_key)
            world.run(request, sensor)
    assert sum("2024-06-05" in extracted for extracted in upstream.extractions) == 3
    assert "Given up after 3 attempts: 2024-06-05. Look at the failed runs" in world.sense(sensor)
    assert len(keys) == len(set(keys))
    assert len(world.stored()) == 8 * 24

    upstream.broken = set()
    fill(world, "2024-06-05", "2024-06-05")
    assert world.sense(sensor).startswith("No gaps")


def test_attempts_start_anew_once_a_partition_was_there(june):
    """A partition that was filled by hand and fails again has all its attempts, under new run keys."""
    world, upstream = june
    fill(world, "2024-06-01", "2024-06-09")
    sensor = sensor_of(world, max_attempts=2)
    upstream.broken = {"2024-06-05"}
    keys = []
    for _ in range(2):
        assert not world.launch(key_range("2024-06-05", "2024-06-05"))
        for attempt in ("1", "2"):
            (request,) = world.sense(sensor)
            assert request.tags["temporis/attempt"] == attempt
            keys.append(request.run_key)
            assert not world.run(request, sensor)
        assert "Given up" in world.sense(sensor)
        upstream.broken = set()
        fill(world, "2024-06-05", "2024-06-05")
        upstream.broken = {"2024-06-05"}
    assert len(set(keys)) == 4


def test_attempts_wait_twice_as_long_each_time(june):
    """After the first failure retry_delay_s, after the second twice that; meanwhile the sensor says when it is due."""
    world, upstream = june
    upstream.broken = {"2024-06-09"}
    fill(world, "2024-06-01", "2024-06-08")
    clock = Clock(pd.Timestamp.now("UTC").timestamp())
    sensor = sensor_of(world, max_attempts=4, retry_delay_s=10_000, clock=clock)
    for delay in (10_000, 20_000, 40_000):
        (request,) = world.sense(sensor)
        assert not world.run(request, sensor)
        (record,) = world.instance.get_run_records(limit=1)
        clock.now = record.end_time + delay - 1
        assert "Waiting for the next attempt (the first is due at" in world.sense(sensor)
        clock.now = record.end_time + delay
    (request,) = world.sense(sensor)
    assert request.tags["temporis/attempt"] == "4"


def test_whoever_is_at_work_is_left_alone(june):
    """Partitions that a queued run or a backfill will write do not count as gaps; the others are filled around them."""
    world, _ = june
    repository = world.definitions().get_repository_def()
    world.at_work(key_range("2024-06-02", "2024-06-03"), dg.DagsterRunStatus.QUEUED)
    world.at_work({"dagster/partition": "2024-06-05"}, dg.DagsterRunStatus.STARTED)
    requested_backfill(world.instance, repository, [world.key], ["2024-06-07", "2024-06-09"])
    assert asked_of(world.sense(sensor_of(world))) == [
        ("2024-06-01", "2024-06-01"),
        ("2024-06-04", "2024-06-04"),
        ("2024-06-06", "2024-06-06"),
        ("2024-06-08", "2024-06-08"),
    ]
    world.at_work({}, dg.DagsterRunStatus.STARTED)
    assert "Another run or backfill is at work on 2024-06-01, 2024-06-02" in world.sense(sensor_of(world))


def test_a_tick_launches_no_more_than_it_may(june):
    """max_partitions_per_run limits ranges, max_runs_per_tick limits runs; the rest is left to the next ticks."""
    world, _ = june
    sensor = sensor_of(world, max_partitions_per_run=2, max_runs_per_tick=2)
    assert asked_of(world.sense(sensor)) == [("2024-06-01", "2024-06-02"), ("2024-06-03", "2024-06-04")]


def test_archived_waits_and_unarchived_fills(june):
    """While the data source is archived nothing is launched, and the sensor reports what waits."""
    world, _ = june
    sensor = sensor_of(world)
    with connect(world.url) as temporis:
        temporis.data_source("grid").archive()
        assert world.sense(sensor).startswith("Archived: grid. 9 gaps among 9 partitions")
        temporis.data_source("grid").unarchive()
    assert asked_of(world.sense(sensor)) == [("2024-06-01", "2024-06-09")]


def test_a_partition_that_one_of_two_assets_lacks_is_filled_in_both(june):
    """Assets that are filled together are complete together."""
    world, upstream = june
    other = load_asset(upstream, world.asset.partitions_def, name="other")
    world.others = [other]
    fill(world, "2024-06-01", "2024-06-09")
    for day in range(1, 9):
        world.instance.report_runless_asset_event(dg.AssetMaterialization("other", partition=f"2024-06-0{day}"))
    sensor = sensor_of(world, target=[world.asset, other], name="both")
    assert asked_of(world.sense(sensor)) == [("2024-06-09", "2024-06-09")]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"])
def test_gaps_on_the_day_of_25_hours(stored_instance, tmp_path, zone):
    """Both hours of the repeated hour are partitions of their own, and one may be filled while the other is a gap."""
    fold = pd.Timestamp("2026-11-01 05:00" if zone == "America/New_York" else "2026-10-25 00:00", tz="UTC")
    start = (fold - timedelta(hours=2)).tz_convert(zone)
    hours = dg.HourlyPartitionsDefinition(f"{start:%Y-%m-%d-%H:%M}", timezone=zone)
    world, _ = world_of(stored_instance, tmp_path, hours)
    clock = Clock((fold + timedelta(hours=4)).timestamp())
    sensor = sensor_of(world, horizon=6, exclude_latest=0, clock=clock)
    with dg.partition_loading_context(effective_dt=fold + timedelta(hours=4)):
        keys = hours.get_partition_keys()
    first, second = keys[2:4]
    assert second.startswith(first)
    fill(world, first, first)
    requests = world.sense(sensor)
    assert asked_of(requests) == [(keys[0], keys[1]), (second, keys[-1])]
    assert all(world.run(request, sensor) for request in requests)
    assert world.sense(sensor).startswith("No gaps: 6 partitions")
    assert list(world.stored()["timestamp"]) == list(pd.date_range(start.tz_convert("UTC"), periods=6, freq="h"))


def test_it_is_a_sensor_like_any_other():
    """Name, description, tags, metadata, interval, status: as in Dagster's own factories, and their defaults."""
    load = load_asset(Upstream(), DAYS)
    plain = build_gap_fill_sensor(target=load, horizon=30)
    assert (plain.name, plain.default_status) == ("load_gap_fill_sensor", dg.DefaultSensorStatus.STOPPED)
    assert (plain.minimum_interval_seconds, plain.required_resource_keys) == (60, set())
    assert plain.description == "Fills missing and failed partitions among the trailing 30 partitions."
    job = dg.define_asset_job("fill", selection=[load])
    assert build_gap_fill_sensor(target=job, horizon=30).name == "fill_gap_fill_sensor"


def test_run_tags_are_of_the_run(june):
    """run_tags= goes to every run, in addition to the range and the attempt."""
    world, _ = june
    (request,) = world.sense(sensor_of(world, run_tags={"team": "grid"}))
    wanted = {"team": "grid", "temporis/attempt": "1", **key_range("2024-06-01", "2024-06-09")}
    assert wanted.items() <= request.tags.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon must be a number of partitions .*got 0"),
        ({"horizon": 2.5}, "horizon must be a number of partitions .*got 2.5"),
        ({"horizon": 1}, "horizon must be greater than exclude_latest=1, got 1"),
        ({"horizon": 5, "exclude_latest": 5}, "Pass horizon=6 or more"),
        ({"exclude_latest": -1}, "exclude_latest must be a number of partitions .*got -1"),
        ({"max_partitions_per_run": 0}, "max_partitions_per_run must be an integer of at least 1, got 0"),
        ({"max_runs_per_tick": 0}, "max_runs_per_tick must be an integer of at least 1, got 0"),
        ({"max_attempts": 0}, "max_attempts must be an integer of at least 1, got 0"),
        ({"retry_delay_s": -1}, "retry_delay_s must not be negative, got -1"),
        ({"retry_delay_s": float("nan")}, "retry_delay_s must not be negative, got nan"),
        ({"target": dg.AssetSelection.all()}, "Pass name="),
        ({"data_sources": "grid"}, "must be a list"),
        ({"data_sources": ["Grid"]}, "'Grid' cannot name a data source"),
    ],
)
def test_mistakes_show_when_the_code_is_loaded(arguments, message):
    """What the arguments show is refused at once, not at a tick."""
    load = load_asset(Upstream(), DAYS)
    with pytest.raises(ConfigurationError, match=message):
        build_gap_fill_sensor(**{"target": load, "horizon": 30, **arguments})
