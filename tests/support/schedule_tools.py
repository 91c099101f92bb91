"""Schedules and sensors for tests: evaluate a tick, run what it returned as the daemon would, ask what is stored.

Comes in: assets, and a schedule or sensor over them. Goes out: run requests, finished runs, observations.
Never: fakes Dagster: the instance, the runs and the data source are real ones.
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd

from temporis_dagster import TemporisIOManager, TemporisResource, connect, data_source_spec, temporis_asset
from tests.support.dagster_harness import queued_from

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
JOB = "fill"


class Upstream:
    """What the asset extracts from: every hour has the current ``version`` as its value; some partitions fail."""

    def __init__(self) -> None:
        self.version = 1.0
        self.broken: set[str] = set()
        self.extractions: list[tuple[str, ...]] = []

    def extract(self, context: dg.AssetExecutionContext) -> pd.DataFrame:
        self.extractions.append(tuple(context.partition_keys))
        if self.broken & set(context.partition_keys):
            raise RuntimeError("the upstream has a bad partition")
        window = context.partition_time_window
        start, end = (pd.Timestamp(moment).tz_convert("UTC") for moment in (window.start, window.end))
        hours = pd.date_range(start, end, freq="h", inclusive="left")
        return pd.DataFrame({"load": self.version}, index=hours)


def load_asset(upstream: Upstream, partitions_def: dg.PartitionsDefinition, **asset: Any) -> dg.AssetsDefinition:
    """An asset that writes hourly observations to the data source ``grid``."""

    @temporis_asset(**{"data_source": "grid", "name": "load", "partitions_def": partitions_def, **asset})
    def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return upstream.extract(context)

    return load


class World:
    """One instance, one data source, one asset that fills it."""

    def __init__(self, instance: dg.DagsterInstance, url: str, asset: dg.AssetsDefinition) -> None:
        self.instance, self.url, self.asset = instance, url, asset
        self.key = asset.key
        self.job = dg.define_asset_job(JOB, selection=dg.AssetSelection.assets(asset))
        self.jobs = [self.job]
        self.temporis: Any = TemporisResource(url=url)
        self.io_manager = TemporisIOManager(temporis=TemporisResource(url=url))
        self.others: list[dg.AssetsDefinition] = []  # and checks
        self._repositories: dict[tuple[int, ...], tuple[dg.RepositoryDefinition, list[Any]]] = {}

    def repository(self, **more: Any) -> dg.RepositoryDefinition:
        """The definitions as Dagster compiles them, which takes longer than a tick: once, as long as none changes."""
        launchers = [one for many in more.values() for one in many]
        parts = [self.asset, *self.others, *self.jobs, self.temporis, self.io_manager, *launchers]
        key = tuple(id(part) for part in parts)
        if key not in self._repositories:  # the parts are kept there as well, so that no other gets the id of one
            self._repositories[key] = self.definitions(**more).get_repository_def(), parts
        return self._repositories[key][0]

    def definitions(self, **more: Any) -> dg.Definitions:
        return dg.Definitions(
            assets=[data_source_spec("grid"), self.asset, *(one for one in self.others if not is_check(one))],
            asset_checks=[one for one in self.others if is_check(one)],
            jobs=self.jobs,
            resources={
                "temporis": self.temporis,
                "temporis_io_manager": self.io_manager,
            },
            **more,
        )

    def tick(self, schedule: dg.ScheduleDefinition, at: datetime) -> dg.RunRequest | str:
        """The first run that a schedule requests at a time, or the reason why there is none."""
        data = self.evaluated(schedule, at)
        return data.run_requests[0] if data.run_requests else data.skip_message

    def ticks(self, schedule: dg.ScheduleDefinition, at: datetime) -> list[dg.RunRequest]:
        """All runs that a schedule requests at a time."""
        return list(self.evaluated(schedule, at).run_requests)

    def evaluated(self, schedule: dg.ScheduleDefinition, at: datetime) -> Any:
        repository = self.repository(schedules=[schedule])
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=repository,
            resources={"temporis": self.temporis},
        ) as context:
            return schedule.evaluate_tick(context)

    def sense(self, sensor: dg.SensorDefinition) -> list[dg.RunRequest] | str:
        """The runs that a sensor requests now, or the reason why there are none."""
        repository = self.repository(sensors=[sensor])
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=repository,
            resources={"temporis": self.temporis},
            sensor_name=sensor.name,
        ) as context:
            data = sensor.evaluate_tick(context)
        return list(data.run_requests) or data.skip_message

    def run(self, request: dg.RunRequest, launcher: dg.ScheduleDefinition | dg.SensorDefinition) -> bool:
        """Run what was requested, with the tags that the daemon adds; True if it succeeded."""
        return self.launch({**request.tags, **daemon_tags(request, launcher)})

    def launch(self, tags: Mapping[str, str], partition_key: str | None = None) -> bool:
        job = self.repository().get_job(JOB)
        done = job.execute_in_process(
            instance=self.instance, tags=dict(tags), partition_key=partition_key, raise_on_error=False
        )
        return done.success

    def at_work(
        self, tags: Mapping[str, str], status: dg.DagsterRunStatus, assets: frozenset[dg.AssetKey] | None = None
    ) -> dg.DagsterRun:
        """Add a run of the job, or of some of its assets, with a status, as another process would."""
        run = dg.DagsterRun(
            job_name=JOB,
            run_id=str(uuid4()),
            status=status,
            tags=dict(tags),
            asset_selection=assets,
            remote_job_origin=queued_from(JOB),
        )
        return self.instance.add_run(run)

    def stored(self) -> pd.DataFrame:
        with connect(self.url) as temporis:
            return temporis.data_source("grid").read()


def is_check(definition: dg.AssetsDefinition) -> bool:
    return isinstance(definition, dg.AssetChecksDefinition)


def daemon_tags(request: dg.RunRequest, launcher: dg.ScheduleDefinition | dg.SensorDefinition) -> dict[str, str]:
    """What the daemon adds to the tags of a run."""
    kind = "schedule" if isinstance(launcher, dg.ScheduleDefinition) else "sensor"
    return {f"dagster/{kind}_name": launcher.name, "dagster/run_key": request.run_key}


def asked(request: dg.RunRequest) -> tuple[str, str]:
    """The range that a run request is about."""
    assert isinstance(request, dg.RunRequest), request
    return request.tags[RANGE[0]], request.tags[RANGE[1]]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def world_of(
    instance: dg.DagsterInstance, tmp_path: Any, partitions_def: dg.PartitionsDefinition, **asset: Any
) -> tuple[World, Upstream]:
    """An empty world, and its upstream."""
    instance.wipe()
    url, upstream = f"sqlite:///{tmp_path}/temporis.db", Upstream()
    with connect(url) as temporis:
        temporis.create_data_source("grid")
    return World(instance, url, load_asset(upstream, partitions_def, **asset)), upstream
