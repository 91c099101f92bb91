"""The code location of the tests of distributed runs: the recipe's definitions, and what makes them observable.

Read by code servers, run processes and Celery workers. Comes in: variables of the environment. Goes out: definitions.

* ``departures`` says when it queries its window, and in which process. The first query after ``arm`` never returns: it
  is the one whose process is killed.
* the job ``on_one_machine`` runs the same assets with Dagster's multiprocess executor, and retries.
* ``pooled`` writes a few rows for each of its days, to a service that counts who writes at once.
"""

import importlib.util
import os
from pathlib import Path

import dagster as dg
import pandas as pd
from nyc_airports.database import OperationalDatabase

from temporis_dagster import TemporisIOManager, TemporisResource, temporis_asset
from tests.support.distributed_targets import HOURLY
from tests.support.distributed_watch import FOLDER, RECIPE, Watch

ON_ONE_MACHINE = "on_one_machine"
POOLED, POOLED_DAYS = "pooled", dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-03")


class WatchedDatabase(OperationalDatabase):
    """The example's operational database, which says who queries it."""

    def query(self, sql: str, window: dg.TimeWindow) -> pd.DataFrame:
        """Query as the example does, after saying so."""
        Watch(Path(os.environ[FOLDER])).asks(window.start.date().isoformat())
        return super().query(sql, window)


def recipe() -> dg.Definitions:
    """The definitions of the recipe, loaded from their file."""
    spec = importlib.util.spec_from_file_location("recipe", RECIPE / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.defs


def defs_of(loaded: dg.Definitions) -> dg.Definitions:
    """The recipe's definitions with the observable database, and the asset of the pool."""

    @temporis_asset(
        data_source=POOLED,
        partitions_def=POOLED_DAYS,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        io_manager_key="pooled_io_manager",
    )
    def pooled(context: dg.AssetExecutionContext) -> pd.DataFrame:
        """One row for each hour of the day."""
        window = context.partition_time_window
        hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
        return pd.DataFrame({"row": range(len(hours))}, index=hours)

    service = TemporisResource(
        url=dg.EnvVar("POOLED_URL"),
        token=dg.EnvVar("POOLED_TOKEN"),
        max_in_flight=1,
        timeout_s=600,
        give_up_after_s=600,
    )
    on_one_machine = dg.define_asset_job(
        ON_ONE_MACHINE,
        selection=list(HOURLY),
        executor_def=dg.multiprocess_executor,
        op_retry_policy=dg.RetryPolicy(max_retries=2),
    )
    database = WatchedDatabase(path=os.environ["NYC_OPERATIONAL_DB"])
    more = {"operational_db": database, "pooled_io_manager": TemporisIOManager(temporis=service)}
    return dg.Definitions(
        assets=[*(loaded.assets or ()), pooled],
        resources={**(loaded.resources or {}), **more},
        executor=loaded.executor,
        jobs=[on_one_machine],
    )


if FOLDER in os.environ:  # it is loaded as a code location
    defs = defs_of(recipe())
