"""What is expected of the series, and a job that evaluates these checks and those of `data_sources.py` once an hour.

The year is long over, so the checks get a clock that stands at its end. With data of today, leave `clock=` out.
"""

from datetime import timedelta

import dagster as dg

from nyc_airports.dataset import AIRPORTS, DATA_SOURCE, DEPARTURE_SERIES, WEATHER_SERIES, end_of_data
from nyc_airports.defs.departures import departures
from temporis_dagster import build_series_checks

# The asset stands in YAML; this much of it the checks need.
WEATHER = dg.AssetSpec("weather", metadata={"temporis/data_source": DATA_SOURCE, "temporis/series": WEATHER_SERIES})


@dg.definitions
def checks() -> dg.Definitions:
    """Freshness, gaps, expected series and bounds, each where it makes sense; they warn, and block nothing."""
    of_series = [
        *build_series_checks(
            assets=[departures],
            max_age=timedelta(hours=6),
            expected_interval=timedelta(hours=12),  # no airport sleeps longer
            expected_series=DEPARTURE_SERIES,
            bounds={f"mean_delay_min__{airport}": (-60, 24 * 60) for airport in AIRPORTS},
            clock=end_of_data,
        ),
        *build_series_checks(
            assets=[WEATHER],
            max_age=timedelta(days=2),
            expected_series=WEATHER_SERIES,
            bounds={f"wind_speed_mph__{airport}": (0, 150) for airport in AIRPORTS},
            clock=end_of_data,
        ),
    ]
    job = dg.define_asset_job("checks_job", selection=dg.AssetSelection.all_asset_checks())
    hourly = dg.ScheduleDefinition(job=job, cron_schedule="@hourly")
    return dg.Definitions(asset_checks=of_series, jobs=[job], schedules=[hourly])
