"""Assets whose steps run as jobs of a Ray cluster.

Comes in: TEMPORIS_URL and TEMPORIS_TOKEN, in the environment of the steps; RAY_ADDRESS, in that of the run.
Goes out: Dagster definitions with one job. Never: computes anything in the process of the run.
"""

import os

import dagster as dg
import pandas as pd
from dagster_ray import ray_executor

from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec, temporis_asset

DAYS = dg.DailyPartitionsDefinition(start_date="2024-06-20", end_date="2024-06-24", timezone="Europe/Berlin")


def of_shop(shop: str) -> dg.AssetsDefinition:
    """Define the asset of one shop, which writes its own series, so that shops can be written at once."""

    @temporis_asset(name=shop, data_source="sales", series=f"{shop}__", partitions_def=DAYS)
    def sales(context: dg.AssetExecutionContext) -> pd.DataFrame:
        window = context.partition_time_window
        hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
        context.log.info("Extracted by process %d.", os.getpid())
        return pd.DataFrame({f"{shop}__orders": range(len(hours))}, index=hours)

    return sales


temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_URL"), token=dg.EnvVar("TEMPORIS_TOKEN"))
shops = [of_shop(shop) for shop in ("north", "south", "east", "west")]
defs = dg.Definitions(
    assets=[*shops, data_source_spec("sales")],
    jobs=[dg.define_asset_job("sales_job", selection=shops, executor_def=ray_executor)],
    resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
)
