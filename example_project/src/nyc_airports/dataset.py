"""What the assets agree on: the data source, the partitions, the names of the series. Never: reads or writes data.

A series is named `measure__airport`, for example `temp_f__JFK`.
"""

from collections.abc import Iterable

import dagster as dg

DATA_SOURCE = "nyc_airports"
GROUP = "nyc_airports"
AIRPORTS = ("EWR", "JFK", "LGA")

# Days as New Yorkers count them: 2013-03-10 has 23 hours and 2013-11-03 has 25.
NYC_DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2014-01-01", timezone="America/New_York")


def series_names(measures: Iterable[str]) -> list[str]:
    """Every measure at every airport."""
    return [f"{measure}__{airport}" for measure in measures for airport in AIRPORTS]
