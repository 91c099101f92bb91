"""A code location with a schedule and a sensor that run as soon as it is loaded; read by the daemon's tests."""

import dagster as dg
import pandas as pd

from temporis_dagster import (
    TemporisIOManager,
    TemporisResource,
    build_gap_fill_sensor,
    build_trailing_window_schedule,
    data_source_spec,
    temporis_asset,
)

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-11")
TIMES = {"minimum_interval_seconds": 0, "default_status": dg.DefaultSensorStatus.RUNNING}


@temporis_asset(data_source="grid", partitions_def=DAYS)
def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
    window = context.partition_time_window
    return pd.DataFrame({"load": 1.0}, index=pd.date_range(window.start, window.end, freq="h", inclusive="left"))


temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_TEST_URL"))
defs = dg.Definitions(
    assets=[load, data_source_spec("grid")],
    schedules=[
        build_trailing_window_schedule(
            target=load, lookback=3, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
        )
    ],
    sensors=[build_gap_fill_sensor(target=load, horizon=10, **TIMES)],
    resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
    executor=dg.in_process_executor,
)
