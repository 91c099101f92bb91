"""A tick of the schedule and of the gap sensor over many hourly partitions, of which some have failed.

The events are real ones: runs over ranges, with our IO manager, of which some fail. Making them takes minutes, a tick
should take seconds: the daemon gives it 60 s. The instance is in memory; on disk, Dagster's part takes longer.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pandas as pd

from benchmarks.harness import Given, Goal, Table, Turn, in_turns
from temporis_dagster import (
    TemporisIOManager,
    TemporisResource,
    build_gap_fill_sensor,
    build_trailing_window_schedule,
    temporis_asset,
)

PARTITIONS, RANGE = 50_000, 2_500
FAILED_OF = 50 / 3
"""One partition in this number has failed: 3,000 of 50,000."""
KEY, STEP = "%Y-%m-%d-%H:%M", "one tick"
SENSOR, SCHEDULE = "gap sensor", "schedule of a trailing window"


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    partitions = min(PARTITIONS, max(100, given.rows // 20))
    failed = round(partitions / FAILED_OF)
    table = Table(
        "ticks",
        f"A tick over {partitions:,} hourly partitions, of which {failed:,} have failed",
        goals=[
            Goal(7, f"a tick of the {way}", way, STEP, at_most=5, unit="s") for way in (SENSOR, SCHEDULE)
        ],
    )  # fmt: skip
    end = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    hours = dg.HourlyPartitionsDefinition(start_date=(end - timedelta(hours=partitions)).strftime(KEY))
    with TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        url = f"sqlite:///{folder}/temporis.db"
        asset, broken = load_asset(hours)
        sensor = build_gap_fill_sensor(target=asset, horizon=partitions)
        schedule = build_trailing_window_schedule(target=asset, lookback=partitions)
        temporis = TemporisResource(url=url, create_missing=True)
        repository = dg.Definitions(
            assets=[asset],
            sensors=[sensor],
            schedules=[schedule],
            resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        ).get_repository_def()
        fill(repository, instance, hours.get_partition_keys()[:partitions], failed, broken)
        ways = {
            SENSOR: partial(ticked, partial(sensed, sensor, repository, instance, temporis)),
            SCHEDULE: partial(ticked, partial(scheduled, schedule, end, repository, instance)),
        }
        yield in_turns(table, ways, given.rounds)


def load_asset(hours: dg.HourlyPartitionsDefinition) -> tuple[dg.AssetsDefinition, set[str]]:
    """An hourly asset, and the partitions at which it fails."""
    broken: set[str] = set()

    @temporis_asset(data_source="grid", partitions_def=hours)
    def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
        if broken & set(context.partition_keys):
            raise RuntimeError("The upstream is away.")
        stamps = [window.timestamp() for window in map(started, context.partition_keys)]
        return pd.DataFrame({"timestamp": stamps, "name": "load", "value": 1.0}).astype({"timestamp": "int64"})

    return load, broken


def started(key: str) -> datetime:
    """When a partition begins."""
    return datetime.strptime(key, KEY).replace(tzinfo=timezone.utc)


def fill(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, keys: list[str], failed: int, broken: set[str]
) -> None:
    """Run over ranges: in each the first ones fail together, and the others are stored."""
    each = min(RANGE, len(keys))
    bad = failed * each // len(keys)
    job = repository.get_implicit_global_asset_job_def()
    for first in range(0, len(keys), each):
        some = keys[first : first + each]
        broken.update(some[:bad])
        for part in (some[:bad], some[bad:]):
            tags = {"dagster/asset_partition_range_start": part[0], "dagster/asset_partition_range_end": part[-1]}
            job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def sensed(
    sensor: dg.SensorDefinition, repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, temporis: Any
) -> int:
    """What the daemon asks of the sensor."""
    with dg.build_sensor_context(
        instance=instance, repository_def=repository, resources={"temporis": temporis}, sensor_name=sensor.name
    ) as context:
        return len(sensor.evaluate_tick(context).run_requests or ())


def scheduled(
    schedule: dg.ScheduleDefinition,
    at: datetime,
    repository: dg.RepositoryDefinition,
    instance: dg.DagsterInstance,
) -> int:
    """What the daemon asks of the schedule."""
    with _OnInstance(instance, at, repository) as context:
        return len(schedule.evaluate_tick(context).run_requests or ())


class _OnInstance(dg.ScheduleEvaluationContext):
    """The context of a schedule on an instance in memory, which Dagster's own context cannot have."""

    def __init__(self, instance: dg.DagsterInstance, at: datetime, repository: dg.RepositoryDefinition) -> None:
        super().__init__(None, at, None, None, repository_def=repository)
        self._given = instance

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._given


def ticked(tick: Callable[[], int], turn: Turn) -> None:
    """One tick, which requests runs; they are not launched, so that the next tick finds the same."""
    with turn.measure(STEP):
        requested = tick()
    assert requested
