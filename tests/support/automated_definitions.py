"""A code location whose asset is refilled by a schedule, with a report on it that runs when its content has changed.

The values are those of the file that ``TEMPORIS_TEST_VALUES`` names: JSON, by day.
"""

import json
import os
from pathlib import Path

import dagster as dg
import pandas as pd

from temporis_dagster import (
    TemporisIOManager,
    TemporisResource,
    build_trailing_window_schedule,
    data_source_spec,
    temporis_asset,
)

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")
ONE_BY_ONE = os.getenv("TEMPORIS_TEST_ONE_BY_ONE")
POLICY = dg.BackfillPolicy.multi_run(1) if ONE_BY_ONE else None


@temporis_asset(data_source="grid", series=["load"], partitions_def=DAYS, backfill_policy=POLICY)
def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
    window = context.partition_time_window
    hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
    values = json.loads(Path(os.environ["TEMPORIS_TEST_VALUES"]).read_text())
    return pd.DataFrame({"load": [float(values.get(str(hour.date()), 0)) for hour in hours]}, index=hours)


@dg.asset(
    deps=[load],
    partitions_def=DAYS,
    automation_condition=dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()),
)
def report() -> None:
    """Is made of one day."""


temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_TEST_URL"), create_missing=True)
defs = dg.Definitions(
    assets=[load, report, data_source_spec("grid")],
    schedules=[
        build_trailing_window_schedule(
            target=load, lookback=3, cron_schedule="0 1 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
        )
    ],
    sensors=[
        dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=1,
        )
    ],
    resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
    executor=dg.in_process_executor,
)
