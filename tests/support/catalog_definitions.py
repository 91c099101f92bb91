"""A code location whose assets have everything that Dagster's catalog shows, for its GraphQL API."""

import os

import dagster as dg
import pandas as pd
from dagster.components.testing.utils import component_defs

from temporis_dagster import (
    Series,
    TemporisIngestComponent,
    TemporisIOManager,
    TemporisResource,
    temporis_asset,
)
from temporis_dagster.components import SqlQuery, TimeColumn

HOURS = pd.date_range("2024-06-01", periods=24, freq="h", tz="UTC")
URL = os.environ["CATALOG_TEMPORIS_URL"]


@temporis_asset(
    data_source="shop",
    series=[
        Series("orders", unit="1", every="1h", minimum=0, integer=True, description="Orders that were placed."),
        "revenue",
    ],
    uri=URL,
)
def orders() -> pd.DataFrame:
    return pd.DataFrame({"orders": range(24), "revenue": 1.5}, index=HOURS)


component = TemporisIngestComponent(
    data_source="shop",
    uri=URL,
    asset=dg.AssetSpec(
        ["shop", "returns"],
        deps=[dg.AssetKey(["erp", "returns"])],
        partitions_def=dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-03"),
    ),
    sql=SqlQuery(
        url=os.environ["CATALOG_WAREHOUSE_URL"],
        query="SELECT at AS timestamp, items AS returned FROM returns WHERE at >= :start AND at < :end",
        time_column=TimeColumn(stored_as="epoch"),
    ),
)
temporis = TemporisResource(url=URL, create_missing=True)
resources = {"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)}


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions.merge(component_defs(component=component, resources=resources), dg.Definitions([orders]))
