"""Departures, mean delay and cancellations per airport and hour, counted from single flights.

In: the flights scheduled in the partitions' days. Out: a wide frame, one row per hour and one column per series.
Never: an hour in which an airport scheduled nothing; the cell stays empty, which is "no observation".
"""

import dagster as dg
import pandas as pd

from nyc_airports.database import OperationalDatabase
from nyc_airports.dataset import DATA_SOURCE, DEPARTURE_MEASURES, DEPARTURE_SERIES, GROUP, NYC_DAYS
from temporis_dagster import temporis_asset

HOURLY_DEPARTURES = """
SELECT
    scheduled_at - scheduled_at % 3600 AS hour,
    origin,
    count(dep_delay_min) AS departures,
    avg(dep_delay_min) AS mean_delay_min,
    count(*) - count(dep_delay_min) AS cancellations
FROM flights
WHERE scheduled_at >= :start AND scheduled_at < :end
GROUP BY hour, origin
ORDER BY hour
"""


@temporis_asset(
    data_source=DATA_SOURCE,
    partitions_def=NYC_DAYS,
    series=DEPARTURE_SERIES,
    plot=True,  # a small picture of what a run wrote, in its metadata
    group_name=GROUP,
    kinds={"sqlite"},
)
def departures(context: dg.AssetExecutionContext, operational_db: OperationalDatabase) -> pd.DataFrame:
    """Flights that left, their mean delay in minutes (negative: early) and cancellations, by scheduled UTC hour."""
    hours = operational_db.query(HOURLY_DEPARTURES, context.partition_time_window)
    return wide(hours)


def wide(hours: pd.DataFrame) -> pd.DataFrame:
    """One row per hour and airport becomes one row per hour, with columns such as `departures__JFK`."""
    frame = hours.pivot(index="hour", columns="origin", values=DEPARTURE_MEASURES)  # noqa: PD010  nothing left to aggregate
    frame.columns = frame.columns.map("__".join)
    frame.index = pd.to_datetime(frame.index, unit="s", utc=True)
    return frame.astype("float64")
