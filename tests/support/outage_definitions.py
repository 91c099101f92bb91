"""A component with its default wiring, and a mirror that queues; read by the test of an outage."""

import os

import dagster as dg
import pandas as pd
from dagster.components.testing.utils import component_defs

from temporis_dagster import TemporisIOManager, TemporisResource
from temporis_dagster.components import TemporisIngestComponent

DAYS = {"type": "daily", "start_date": "2024-06-01", "end_date": "2024-06-11", "timezone": "UTC"}


def fetch(start, end):
    """The upstream: each extraction has the version of the moment."""
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({"load": float(os.environ["TEMPORIS_TEST_VERSION"])}, index=hours)


temporis = TemporisResource(
    url=dg.EnvVar("TEMPORIS_TEST_URL"),
    token=dg.EnvVar("TEMPORIS_TEST_TOKEN"),
    mirror=dg.EnvVar("TEMPORIS_TEST_MIRROR"),
    on_unavailable="queue",
    late_write_window_s=0.01,  # in production a minute, as are the five below
    give_up_after_s=0.1,
)
component = TemporisIngestComponent.from_attributes_dict(
    attributes={
        "data_source": "grid",
        "asset": {"key": "load", "partitions_def": DAYS},
        "function": {"call": f"{__name__}.fetch"},
        "schedule": {"lookback": 3, "cron_schedule": "* * * * *", "running": True},
        "gap_fill": {"horizon": 10, "running": True},
    }
)
defs = dg.Definitions.merge(
    component_defs(
        component=component,
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
    ),
    dg.Definitions(executor=dg.in_process_executor),
)
