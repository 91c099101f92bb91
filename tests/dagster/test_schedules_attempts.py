"""The gap sensor's attempts: what counts as one, what does not, and that a tick's work is bounded."""

from uuid import uuid4

import dagster as dg
import pytest

from temporis_dagster import (
    ArchiveState,
    TemporisIOManager,
    TemporisResource,
    build_archive_state_checks,
    build_gap_fill_sensor,
    build_trailing_window_schedule,
    gated_selection,
)
from temporis_dagster.schedules import activity
from temporis_dagster.testing import FakeService, answer
from tests.support.dagster_harness import key_range, queued_from
from tests.support.schedule_tools import asked, load_asset, utc, world_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

JUNE = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-11")
STATUS = dg.DagsterRunStatus


@pytest.fixture
def june(stored_instance, tmp_path):
    """Ten days of June; the sensor looks at the first nine."""
    return world_of(stored_instance, tmp_path, JUNE)


def sensor_of(world, **arguments):
    return build_gap_fill_sensor(**{"target": world.asset, "horizon": 10, "retry_delay_s": 0, **arguments})


def failed_run(world, sensor, request, status=STATUS.FAILURE, **tags):
    """A run that the sensor requested, after it ended."""
    given = {**request.tags, "dagster/sensor_name": sensor.name, "dagster/run_key": request.run_key, **tags}
    return world.at_work(given, status)


def asked_of(requests):
    assert isinstance(requests, list), requests
    return [asked(request) for request in requests]


def test_a_run_that_succeeds_without_storing_anything_is_an_attempt_like_any_other(stored_instance, tmp_path):
    """An asset that yields nothing is tried max_attempts times, in shorter ranges, and then given up."""
    world, _ = world_of(stored_instance, tmp_path, JUNE)

    @dg.asset(
        name="load",
        partitions_def=JUNE,
        output_required=False,
        backfill_policy=dg.BackfillPolicy.single_run(),
        metadata={"temporis/data_source": "grid"},
    )
    def load():
        ran.append(1)
        yield from ()

    ran = []
    world.asset = load
    sensor = sensor_of(world, horizon=3, max_attempts=2, max_partitions_per_run=2)
    for _ in range(6):
        requests = world.sense(sensor)
        if isinstance(requests, str):
            break
        for request in requests:
            assert world.run(request, sensor)
    assert requests.startswith("2 gaps among 2 partitions (2024-06-08 to 2024-06-09). Given up after 2 attempts")
    assert len(ran) == 1 + 2


def test_a_run_that_filled_a_partition_is_no_attempt_at_filling_it_again(june):
    """Filled by the sensor, then failed by hand, a partition has all its attempts again, the first at once."""
    world, upstream = june
    sensor = sensor_of(world, horizon=4, max_attempts=2, retry_delay_s=3_600)
    (request,) = world.sense(sensor)
    assert world.run(request, sensor)
    upstream.broken = {"2024-06-08"}
    assert not world.launch({}, partition_key="2024-06-08")
    (request,) = world.sense(sensor)
    assert (asked(request), request.tags["temporis/attempt"]) == (("2024-06-08", "2024-06-08"), "1")
    assert not world.run(request, sensor)
    assert "Waiting for the next attempt" in world.sense(sensor)


def test_run_retries_and_re_executions_are_part_of_their_attempt(june):
    """One bad day of nine, each failed run retried three times: eight days are filled, the bad one has its attempts."""
    world, upstream = june
    upstream.broken = {"2024-06-05"}
    sensor = sensor_of(world, max_attempts=3, max_partitions_per_run=9, max_runs_per_tick=10)
    launched = 0
    for _ in range(5):
        requests = world.sense(sensor)
        if isinstance(requests, str):
            break
        for request in requests:
            launched += asked(request)[0] <= "2024-06-05" <= asked(request)[1]
            if not world.run(request, sensor):
                root = world.instance.get_runs(limit=1)[0].run_id
                for _ in range(3):
                    failed_run(world, sensor, request, **{"dagster/root_run_id": root, "dagster/parent_run_id": root})
    assert "Given up after 3 attempts: 2024-06-05." in requests
    assert launched == 3
    assert len(world.stored()) == 8 * 24


def test_a_run_that_is_about_to_be_retried_is_still_at_work(june):
    """Between the failure and Dagster's own retry the sensor launches nothing over it."""
    world, _ = june
    sensor = sensor_of(world)
    (request,) = world.sense(sensor)
    run = failed_run(world, sensor, request, **{"dagster/will_retry": "true"})
    assert "Another run or backfill is at work on 2024-06-01" in world.sense(sensor)
    world.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": str(uuid4())})
    assert isinstance(world.sense(sensor), list)


def test_a_run_key_is_one_that_no_run_has(june):
    """No matter which of its runs are deleted, the sensor requests runs under new run keys."""
    world, _ = june
    sensor = sensor_of(world, max_attempts=5, horizon=2, exclude_latest=1)
    runs = []
    for _ in range(3):
        (request,) = world.sense(sensor)
        runs.append(failed_run(world, sensor, request))
    for kept in ((0, 1), (1, 2), (0, 2), (2,), ()):
        world.instance.wipe()
        for number in kept:
            world.at_work(runs[number].tags, STATUS.FAILURE)
        (request,) = world.sense(sensor)
        assert request.run_key not in {run.tags["dagster/run_key"] for run in world.instance.get_runs()}


def test_what_only_dry_runs_materialized_is_a_gap(june):
    """Once dry_run is switched off, the partitions are filled; while it is on, they count, and there is no loop."""
    world, _ = june
    live = world.temporis
    world.temporis = TemporisResource(url=world.url, dry_run=True)
    world.io_manager = TemporisIOManager(temporis=world.temporis)
    sensor = sensor_of(world)
    (request,) = world.sense(sensor)
    assert world.run(request, sensor)
    assert world.sense(sensor).startswith("No gaps")
    world.temporis, world.io_manager = live, TemporisIOManager(temporis=live)
    (request,) = world.sense(sensor)
    assert asked(request) == ("2024-06-01", "2024-06-09")
    assert world.run(request, sensor)
    assert world.sense(sensor).startswith("No gaps")
    assert len(world.stored()) == 9 * 24


def test_partitions_whose_runs_a_retention_deleted_are_no_gaps(june):
    """Dagster deletes the records of materializations with their runs; what it still knows of is not refilled."""
    world, _ = june
    sensor = sensor_of(world)
    (request,) = world.sense(sensor)
    assert world.run(request, sensor)
    assert world.sense(sensor).startswith("No gaps")
    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    assert world.sense(sensor).startswith("No gaps")
    assert world.sense(sensor_of(world)).startswith("No gaps")


def test_attempts_at_partitions_of_another_format_are_not_counted(stored_instance, tmp_path):
    """The asset was daily and its sensor gave up; hourly, it has all its attempts again, and its own run keys."""
    world, upstream = world_of(stored_instance, tmp_path, JUNE)
    sensor = sensor_of(world, max_attempts=1, horizon=2)
    (request,) = world.sense(sensor)
    failed_run(world, sensor, request)
    failed_run(world, sensor, request)
    assert "Given up after 1 attempt: 2024-06-09" in world.sense(sensor)
    hours = dg.HourlyPartitionsDefinition("2024-06-09-00:00", end_date="2024-06-11-00:00")
    world.asset = load_asset(upstream, hours)
    assert asked_of(world.sense(sensor_of(world, max_attempts=1, horizon=48, exclude_latest=0))) == [
        ("2024-06-09-00:00", "2024-06-10-23:00")
    ]


def test_attempts_at_another_asset_are_not_counted(june):
    """A sensor whose target changes starts anew, under unused run keys."""
    world, upstream = june
    sensor = sensor_of(world, max_attempts=1, name="mine")
    (request,) = world.sense(sensor)
    failed_run(world, sensor, request)
    assert "Given up" in world.sense(sensor)
    world.asset = load_asset(upstream, JUNE, name="another")
    (again,) = world.sense(sensor_of(world, max_attempts=1, name="mine"))
    assert asked(again) == asked(request)
    assert again.run_key != request.run_key


CHECK = dg.AssetCheckKey(dg.AssetKey("load"), "mine")


def check_only(world, status, **selection):
    """A run of one check, as the UI launches it: of the job, without a selection of assets."""
    run = dg.DagsterRun(
        job_name="fill",
        run_id=str(uuid4()),
        status=status,
        asset_check_selection=frozenset({CHECK}),
        remote_job_origin=queued_from("fill"),
        **selection,
    )
    return world.instance.add_run(run)


@pytest.mark.parametrize("status", [STATUS.QUEUED, STATUS.STARTED])
@pytest.mark.parametrize("selection", [{}, {"asset_selection": frozenset()}])
def test_a_run_of_checks_only_is_in_nobodys_way(june, status, selection):
    """It writes nothing, so schedule and sensor go on."""
    world, _ = june
    check_only(world, status, **selection)
    assert isinstance(world.sense(sensor_of(world)), list)
    schedule = build_trailing_window_schedule(target=world.asset, lookback=3)
    assert asked(world.tick(schedule, utc("2024-06-10"))) == ("2024-06-07", "2024-06-09")


def test_a_run_of_a_check_and_the_asset_is_at_work(june):
    """A selection with assets writes them, no matter which checks it includes."""
    world, _ = june
    check_only(world, STATUS.STARTED, asset_selection=frozenset({world.key}))
    assert "at work" in world.sense(sensor_of(world))


def from_the_code_location(world, launcher, at=None):
    """Evaluate a tick as the daemon does: with the resources of the code location, made there."""
    kind = {"sensors" if at is None else "schedules": [launcher]}
    repository = world.definitions(**kind).get_repository_def()
    build = dg.build_sensor_context if at is None else dg.build_schedule_context
    given = {} if at is None else {"scheduled_execution_time": at}
    with build(instance=world.instance, repository_def=repository, **given) as context:
        return launcher.evaluate_tick(context)


def test_an_environment_variable_that_only_the_runs_have_stops_nothing(june, monkeypatch):
    """Without the variable, the state is unknown in the code location and runs are launched; with it, it is asked."""
    world, _ = june
    sensor, schedule = sensor_of(world), build_trailing_window_schedule(target=world.asset, lookback=3)
    world.temporis = TemporisResource(url=dg.EnvVar("ONLY_RUNS_HAVE_THIS"))
    monkeypatch.delenv("ONLY_RUNS_HAVE_THIS", raising=False)
    assert len(from_the_code_location(world, sensor).run_requests) == 1
    assert len(from_the_code_location(world, schedule, utc("2024-06-10")).run_requests) == 1
    monkeypatch.setenv("ONLY_RUNS_HAVE_THIS", world.url)
    TemporisResource(url=world.url).data_source("grid").archive()
    assert from_the_code_location(world, sensor).skip_message.startswith("Archived: grid")
    assert from_the_code_location(world, schedule, utc("2024-06-10")).skip_message.startswith("Archived: grid")


def test_a_resource_that_is_not_there_is_named(june):
    """A wrong resource_key= fails the first tick, instead of launching runs without asking for the state."""
    world, _ = june
    with pytest.raises(Exception, match="no resource 'tempris'"):
        from_the_code_location(world, sensor_of(world, resource_key="tempris"))


# Outages


def gated(world, service, **resource):
    """The job of the asset behind its archive check, on a service."""
    temporis = TemporisResource(url=service.url, token=service.token, give_up_after_s=1e-9, **resource)
    world.temporis, world.io_manager = temporis, TemporisIOManager(temporis=temporis)
    world.others = build_archive_state_checks(data_sources={"grid": ArchiveState.ACTIVE})
    world.jobs = [dg.define_asset_job("fill", selection=gated_selection(world.asset))]
    return sensor_of(world, target=world.jobs[0], max_attempts=2, max_runs_per_tick=20)


@pytest.mark.parametrize("is_gated", [True, False], ids=["archive check", "write"])
def test_an_outage_is_no_attempt(june, is_gated):
    """Without a mirror that queues, runs fail during an outage; afterwards all is filled, in ranges as before."""
    world, upstream = june
    down = [True]
    with FakeService(("grid",), script=lambda _: answer(503, "busy") if down else None) as service:
        sensor = gated(world, service)
        if not is_gated:
            world.jobs = [dg.define_asset_job("fill", selection=dg.AssetSelection.assets(world.asset))]
            sensor = sensor_of(world, target=world.jobs[0], max_attempts=2)
        for _ in range(3):
            (request,) = world.sense(sensor)
            assert request.tags["temporis/attempt"] == "1"
            assert not world.run(request, sensor)
        down.clear()
        (request,) = world.sense(sensor)
        assert asked(request) == ("2024-06-01", "2024-06-09")
        assert world.run(request, sensor)
        assert world.sense(sensor).startswith("No gaps")
        assert len(service.content) == 9 * 24
    assert len(upstream.extractions) == (1 if is_gated else 4)


def test_what_is_no_outage_is_an_attempt_also_during_one(june):
    """A bad partition and a wrong token use up attempts, whatever the service does."""
    world, upstream = june
    upstream.broken = {"2024-06-05"}
    with FakeService(("grid",), script=lambda _: answer(401, "no")) as service:
        sensor = gated(world, service)
        (request,) = world.sense(sensor)
        assert not world.run(request, sensor)
        assert {one.tags["temporis/attempt"] for one in world.sense(sensor)} == {"2"}


# The work of a tick


class Counted:
    """An instance that counts what is expensive."""

    def __init__(self, monkeypatch, instance):
        self.looked_up = 0
        original = type(instance).get_records_for_run

        def get_records_for_run(this, *arguments, **named):
            self.looked_up += 1
            return original(this, *arguments, **named)

        monkeypatch.setattr(type(instance), "get_records_for_run", get_records_for_run)


def test_unfinished_runs_are_not_looked_at_one_by_one(june, monkeypatch):
    """A tick looks up a bounded number of the runs that wait; any further one counts as at work."""
    world, _ = june
    monkeypatch.setattr(activity, "MOST_LOOKED_UP", 3)
    for day in (*range(1, 10), *range(1, 10)):
        world.at_work(key_range(f"2024-06-0{day}", f"2024-06-0{day}"), STATUS.QUEUED)
    counted = Counted(monkeypatch, world.instance)
    assert "9 gaps" in world.sense(sensor_of(world))
    assert counted.looked_up == 3
    schedule = build_trailing_window_schedule(target=world.asset, lookback=3)
    assert "is at work on" in world.tick(schedule, utc("2024-06-10"))
    assert counted.looked_up == 4


def test_failed_runs_are_read_a_few_per_tick_and_once(june, monkeypatch):
    """Each tick reads the events of a bounded number of failed runs, and those of each run only once."""
    world, _ = june
    sensor = sensor_of(world, max_attempts=100)
    (request,) = world.sense(sensor)
    for _ in range(30):
        failed_run(world, sensor, request)
    counted = Counted(monkeypatch, world.instance)
    seen = []
    for _ in range(3):
        world.sense(sensor)
        seen.append(counted.looked_up)
    assert seen == [20, 30, 30]
