"""Warnings that a user sees: by Dagster, about what this library uses, only the one about the backfill policy."""

import subprocess
import sys

EVERY_MODULE = """
import warnings

warnings.simplefilter("error")

import importlib
import pkgutil

import temporis_dagster

for module in pkgutil.walk_packages(temporis_dagster.__path__, "temporis_dagster."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""

EVERYTHING_IN_USE = """
from datetime import datetime, timedelta, timezone

import dagster as dg
import pandas as pd

from temporis_dagster import *

warnings.filterwarnings("always", "Parameter `backfill_policy`", dg.BetaWarning)
warnings.filterwarnings("ignore", "InitResourceContext.dagster_run", DeprecationWarning)  # Dagster itself: nesting
warned = []
warnings.showwarning = lambda message, category, *_: warned.append((category.__name__, str(message).split(" of ")[0]))

days = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-05")


@temporis_asset(data_source="grid", series=["load"], partitions_def=days, plot=True)
def load(context: dg.AssetExecutionContext) -> pd.DataFrame:
    window = context.partition_time_window
    return pd.DataFrame({"load": 1.0}, index=pd.date_range(window.start, window.end, freq="h", inclusive="left"))


@dg.asset(io_manager_key="temporis_io_manager", metadata={"temporis/data_source": "grid"})
def total(load: pd.DataFrame) -> pd.DataFrame:
    return load.assign(name="total")


states = {"grid": ArchiveState.ACTIVE}
temporis = TemporisResource(url="sqlite:///temporis.db", create_missing=True)
job = dg.define_asset_job("ingest", selection=gated_selection(load) | dg.AssetSelection.assets(total))
schedule = build_trailing_window_schedule(target=load, lookback=2)
sensor, archive_sensor = build_gap_fill_sensor(target=load, horizon=3), build_archive_state_sensor(data_sources=states)
resources = {"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)}
defs = dg.Definitions(
    assets=[load, total, data_source_spec("grid")],
    asset_checks=[
        *build_archive_state_checks(data_sources=states),
        *build_series_checks(assets=[load], max_age=timedelta(days=1), expected_interval=timedelta(hours=1)),
    ],
    jobs=[job],
    schedules=[schedule],
    sensors=[sensor, archive_sensor],
    resources=resources,
)
dg.Definitions.validate_loadable(defs)
repository = defs.get_repository_def()
with dg.instance_for_test() as instance:
    everything = {"instance": instance, "repository_def": repository, "resources": {"temporis": temporis}}
    with dg.build_schedule_context(
        scheduled_execution_time=datetime(2024, 6, 5, tzinfo=timezone.utc), **everything
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    with dg.build_sensor_context(**everything) as context:
        assert sensor.evaluate_tick(context).run_requests
        assert archive_sensor.evaluate_tick(context).asset_events
    tags = {"dagster/asset_partition_range_start": "2024-06-01", "dagster/asset_partition_range_end": "2024-06-04"}
    assert defs.resolve_job_def("ingest").execute_in_process(instance=instance, tags=tags).success
print(*sorted(set(warned)))
"""


def test_importing_any_module_warns_of_nothing(tmp_path):
    """Every module, in a process where a warning of any kind is an error."""
    subprocess.run([sys.executable, "-c", EVERY_MODULE], check=True, cwd=tmp_path)


def test_all_of_it_in_use_warns_of_the_backfill_policy_only(tmp_path):
    """Definitions, runs, ticks and evaluations: any other warning is an error. Components are in test_components.py."""
    code = EVERY_MODULE + EVERYTHING_IN_USE
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "('BetaWarning', 'Parameter `backfill_policy`')"
