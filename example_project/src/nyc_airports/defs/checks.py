"""Checks of the series, and a job that evaluates them and those of `data_sources.py` once an hour.

The year is long over, so the checks get a clock that stands still at its end. With current data, leave `clock=` out.
"""

from datetime import timedelta

import dagster as dg

from nyc_airports.dataset import AIRPORTS, end_of_data
from nyc_airports.defs.departures import departures
from temporis_dagster import build_series_checks


@dg.definitions
def checks(context: dg.ComponentLoadContext) -> dg.Definitions:
    """Freshness, ghost rows, bounds, and what the contracts in `dataset.py` state: expected series and gaps."""
    (weather,) = context.build_defs("weather").assets or ()  # from weather/defs.yaml
    of_series = [
        *build_series_checks(
            assets=[departures],
            max_age=timedelta(hours=6),
            bounds={f"mean_delay_min__{airport}": (-60, 24 * 60) for airport in AIRPORTS},
            ghosts="warn",
            clock=end_of_data,
        ),
        *build_series_checks(
            assets=[weather],
            max_age=timedelta(days=2),
            bounds={f"wind_speed_mph__{airport}": (0, 150) for airport in AIRPORTS},
            ghosts="warn",
            clock=end_of_data,
        ),
    ]
    job = dg.define_asset_job("checks_job", selection=dg.AssetSelection.all_asset_checks())
    hourly = dg.ScheduleDefinition(job=job, cron_schedule="@hourly")
    return dg.Definitions(asset_checks=of_series, jobs=[job], schedules=[hourly])
