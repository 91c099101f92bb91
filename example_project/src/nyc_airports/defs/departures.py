"""Departures, mean delay and cancellations per airport and hour, computed from individual flights.

In: the flights scheduled on the partitions' days. Out: a wide frame, one row per hour and one column per series.
Never: fills an hour in which an airport scheduled nothing; its cells stay empty, and are not observations.
"""

import dagster as dg
import pandas as pd

from nyc_airports.database import OperationalDatabase
from nyc_airports.dataset import DATA_SOURCE, DEPARTURE_MEASURES, DEPARTURES, GROUP, NYC_DAYS
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
    series=DEPARTURES,
    # Airlines correct what they reported, but not a quarter of three days: a run that would change that much stops.
    max_changed=0.25,
    max_ghosts=0.1,
    deps=[dg.AssetKey(["operational_db", "flights"])],
    plot=True,  # each materialization shows a small plot of what its run wrote
    group_name=GROUP,
    kinds={"sqlite"},
)
def departures(context: dg.AssetExecutionContext, operational_db: OperationalDatabase) -> pd.DataFrame:
    """Flights that left, their mean delay in minutes (negative if early) and cancellations, by scheduled UTC hour."""
    hours = operational_db.query(HOURLY_DEPARTURES, context.partition_time_window)
    return wide(hours)


def wide(hours: pd.DataFrame) -> pd.DataFrame:
    """Turn one row per hour and airport into one row per hour, with columns such as `departures__JFK`."""
    frame = hours.pivot(index="hour", columns="origin", values=list(DEPARTURE_MEASURES))  # noqa: PD010  nothing to aggregate
    frame.columns = frame.columns.map("__".join)
    frame.index = pd.to_datetime(frame.index, unit="s", utc=True)
    return frame.astype("float64")
