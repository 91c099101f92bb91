"""Facts that the definitions share: data sources, partitions, contracts of series. Never: reads or writes data.

A series is named `measure__airport`, for example `temp_f__JFK`.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from temporis_dagster import ArchiveState, Series

DATA_SOURCE = "nyc_airports"
FIRST_QUARTER = "nyc_airports_2013_q1"  # frozen, so that what was published can be computed again
STATES = {DATA_SOURCE: ArchiveState.ACTIVE, FIRST_QUARTER: ArchiveState.ARCHIVED}

GROUP = "nyc_airports"
AIRPORTS = ("EWR", "JFK", "LGA")

# Days in New York: 2013-03-10 has 23 hours and 2013-11-03 has 25.
NYC_DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2014-01-01", timezone="America/New_York")


def series_of(measures: Mapping[str, Mapping[str, Any]]) -> list[Series]:
    """State what holds for the series of every measure, at every airport."""
    return [Series(f"{measure}__{airport}", **stated) for measure, stated in measures.items() for airport in AIRPORTS]


def end_of_data() -> float:
    """Return the time at which the checks look back: the midnight at which the year ended, in Unix seconds."""
    return NYC_DAYS.time_window_for_partition_key("2013-12-31").end.timestamp()


# What is stated about the series: checked before anything is sent and again by checks, and shown in Dagster's catalog.
DEPARTURE_MEASURES: dict[str, dict[str, Any]] = {
    # No airport sleeps longer than 12 hours.
    "departures": {"unit": "1", "minimum": 0, "integer": True, "every": "12h"},
    "mean_delay_min": {"unit": "min", "every": "12h"},  # a limit of the asset stops another unit
    "cancellations": {"unit": "1", "minimum": 0, "integer": True, "every": "12h"},
}
WEATHER_MEASURES: dict[str, dict[str, Any]] = {
    "temp_f": {"unit": "°F", "minimum": -40, "maximum": 130},
    "dewpoint_f": {"unit": "°F", "minimum": -80, "maximum": 130},
    "humidity_pct": {"unit": "%", "minimum": 0, "maximum": 100},
    "wind_dir_deg": {"unit": "°", "minimum": 0, "maximum": 360},
    "wind_speed_mph": {"unit": "mph", "minimum": 0},  # no maximum: a broken sensor's 1,048 mph is in the data
    "wind_gust_mph": {"unit": "mph", "minimum": 0},
    "precip_in": {"unit": "in", "minimum": 0},
    "pressure_hpa": {"unit": "hPa", "minimum": 850, "maximum": 1100},
    "visibility_mi": {"unit": "mi", "minimum": 0},
}
DEPARTURES, WEATHER = series_of(DEPARTURE_MEASURES), series_of(WEATHER_MEASURES)
