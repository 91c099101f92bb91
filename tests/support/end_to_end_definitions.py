"""The code location of the end-to-end story: one partition a minute, an expensive asset, an upstream that misbehaves.

Comes in: the environment, and the state of the upstream, a file.
Goes out: definitions, and a line in a journal for each body that ran.
Never: knows which scene of the story it is in.
"""

import os

import dagster as dg
import pandas as pd

from temporis_dagster import (
    ArchiveState,
    TemporisIOManager,
    TemporisResource,
    build_archive_state_checks,
    build_archive_state_sensor,
    build_gap_fill_sensor,
    build_trailing_window_schedule,
    connect,
    data_source_spec,
    gated_selection,
    temporis_asset,
)
from temporis_dagster.data_source.connection import Temporis
from tests.support.end_to_end_story import BACKFILLED, DAYS, LOOKBACK, MAX_ATTEMPTS
from tests.support.end_to_end_upstream import FORMAT, Upstream

HORIZON = 240

upstream = Upstream.of_environment()
minutes = dg.TimeWindowPartitionsDefinition(
    start=os.environ.get("E2E_START", "2024-01-01-00:00"), fmt=FORMAT, cron_schedule="* * * * *", timezone="UTC"
)
days = dg.DailyPartitionsDefinition(DAYS[0], end_date="2024-01-11")


class SlowTemporis(TemporisResource):
    """A connection that sends small requests slowly, so that a process can be killed between two of them."""

    @property
    def connection(self) -> Temporis:
        if self._connection is None:
            self._connection = connect(self.url, self.token, batch_rows=400, max_in_flight=1, requests_per_second=20)
        return self._connection


@temporis_asset(data_source="grid", series=["load"], partitions_def=minutes)
def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
    version = upstream.extract("load", context.partition_keys)
    return pd.DataFrame({"load": version}, index=pd.to_datetime(context.partition_keys, format=FORMAT, utc=True))


@temporis_asset(data_source="grid", series=["forecast"])
def forecast() -> pd.DataFrame:
    version = upstream.extract("forecast", ())
    return pd.DataFrame({"forecast": version}, index=[pd.Timestamp("2024-06-01", tz="UTC")])


def backfilled(data_source: str) -> dg.AssetsDefinition:
    @temporis_asset(
        data_source=data_source, name=data_source, partitions_def=days, io_manager_key="slow_temporis_io_manager"
    )
    def some_days(context: dg.AssetExecutionContext) -> pd.DataFrame:
        upstream.extract(data_source, context.partition_keys)
        window = context.partition_time_window
        index = pd.date_range(window.start, window.end, freq="min", inclusive="left")
        return pd.DataFrame({"load": range(len(index))}, index=index)

    return some_days


states = {"grid": ArchiveState.ACTIVE, "legacy": ArchiveState.ARCHIVED, "ghost": ArchiveState.ACTIVE}
fill = dg.define_asset_job("fill", selection=gated_selection(load))
predict = dg.define_asset_job("predict", selection=gated_selection(forecast))
connection = {"url": dg.EnvVar("E2E_URL"), "token": dg.EnvVar("E2E_TOKEN")}
temporis = TemporisResource(**connection)
defs = dg.Definitions(
    assets=[load, forecast, *map(backfilled, BACKFILLED), *map(data_source_spec, (*states, *BACKFILLED))],
    asset_checks=build_archive_state_checks(data_sources=states),
    jobs=[fill, predict, *(dg.define_asset_job(f"backfill_{name}", selection=[name]) for name in BACKFILLED)],
    schedules=[
        build_trailing_window_schedule(
            target=fill,
            partitions_def=minutes,
            lookback=LOOKBACK,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
    sensors=[
        build_gap_fill_sensor(
            target=fill,
            horizon=HORIZON,
            exclude_latest=int(os.environ.get("E2E_EXCLUDE_LATEST", "1")),
            max_partitions_per_run=4,
            max_attempts=MAX_ATTEMPTS,
            retry_delay_s=0,
            minimum_interval_seconds=1,
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
        build_archive_state_sensor(
            data_sources=states, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING
        ),
    ],
    resources={
        "temporis": temporis,
        "temporis_io_manager": TemporisIOManager(temporis=temporis),
        "slow_temporis_io_manager": TemporisIOManager(temporis=SlowTemporis(**connection)),
    },
    executor=dg.in_process_executor,
)
