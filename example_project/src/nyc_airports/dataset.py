"""Facts that the definitions share: data sources, partitions, names of series. Never: reads or writes data.

A series is named `measure__airport`, for example `temp_f__JFK`.
"""

from collections.abc import Iterable

import dagster as dg

from temporis_dagster import ArchiveState, Series

DATA_SOURCE = "nyc_airports"
FIRST_QUARTER = "nyc_airports_2013_q1"  # frozen, so that what was published can be computed again
STATES = {DATA_SOURCE: ArchiveState.ACTIVE, FIRST_QUARTER: ArchiveState.ARCHIVED}

GROUP = "nyc_airports"
AIRPORTS = ("EWR", "JFK", "LGA")

# Days in New York: 2013-03-10 has 23 hours and 2013-11-03 has 25.
NYC_DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2014-01-01", timezone="America/New_York")


def series_names(measures: Iterable[str]) -> list[str]:
    """Name the series of every measure at every airport."""
    return [f"{measure}__{airport}" for measure in measures for airport in AIRPORTS]


def end_of_data() -> float:
    """Return the time at which the checks look back: the midnight at which the year ended, in Unix seconds."""
    return NYC_DAYS.time_window_for_partition_key("2013-12-31").end.timestamp()


DEPARTURE_MEASURES = ["departures", "mean_delay_min", "cancellations"]
WEATHER_UNITS = {
    "temp_f": "°F",
    "dewpoint_f": "°F",
    "humidity_pct": "%",
    "wind_dir_deg": "°",
    "wind_speed_mph": "mph",
    "wind_gust_mph": "mph",
    "precip_in": "in",
    "pressure_hpa": "hPa",
    "visibility_mi": "mi",
}
DEPARTURE_SERIES, WEATHER_SERIES = series_names(DEPARTURE_MEASURES), series_names(WEATHER_UNITS)

# What is stated about the series: checked before anything is sent, and shown in Dagster's catalog.
DEPARTURES = [
    contract
    for airport in AIRPORTS
    for contract in (
        Series(
            f"departures__{airport}", unit="1", minimum=0, integer=True, description=f"Flights that left {airport}."
        ),
        Series(f"mean_delay_min__{airport}", unit="min", description="Their mean delay; negative if they were early."),
        Series(
            f"cancellations__{airport}", unit="1", minimum=0, integer=True, description="Flights that did not leave."
        ),
    )
]
WEATHER = [
    Series(f"{measure}__{airport}", unit=WEATHER_UNITS[measure]) for measure in WEATHER_UNITS for airport in AIRPORTS
]
