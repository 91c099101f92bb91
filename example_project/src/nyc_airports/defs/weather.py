"""Hourly weather at each airport, as its station reported it.

In: the weather rows of the partitions' days. Out: a long frame, one row per observation: `timestamp`, `name`, `value`.
Never: a row for a measure that a station did not report.
"""

import dagster as dg
import pandas as pd

from nyc_airports.database import OperationalDatabase
from nyc_airports.dataset import DATA_SOURCE, GROUP, NYC_DAYS, series_names
from temporis_dagster import temporis_asset

MEASURES = [
    "temp_f",
    "dewpoint_f",
    "humidity_pct",
    "wind_dir_deg",
    "wind_speed_mph",
    "wind_gust_mph",
    "precip_in",
    "pressure_hpa",
    "visibility_mi",
]

HOURLY_WEATHER = """
SELECT *, observed_at AS timestamp
FROM weather
WHERE observed_at >= :start AND observed_at < :end
ORDER BY observed_at
"""


@temporis_asset(data_source=DATA_SOURCE, partitions_def=NYC_DAYS, series=series_names(MEASURES), group_name=GROUP)
def weather(context: dg.AssetExecutionContext, operational_db: OperationalDatabase) -> pd.DataFrame:
    """Temperature, humidity, wind, rain, pressure and visibility, by UTC hour; units are in the series' names."""
    hours = operational_db.query(HOURLY_WEATHER, context.partition_time_window)
    return long(hours)


def long(hours: pd.DataFrame) -> pd.DataFrame:
    """A column per measure becomes a row per observation, named for example `temp_f__JFK`.

    The timestamps stay what the database holds: whole Unix seconds are as good as datetimes.
    """
    cells = hours.melt(id_vars=["timestamp", "origin"], value_vars=MEASURES, var_name="measure").dropna(subset="value")
    return cells.assign(name=cells["measure"] + "__" + cells["origin"])[["timestamp", "name", "value"]]
