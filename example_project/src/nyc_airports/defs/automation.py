"""The automation of `departures`: a gated job, and the schedule and the sensor that launch it.

`weather` has the same, from two lines of its `defs.yaml`. All of them are off until you switch them on in the UI, under
Automation.
"""

import dagster as dg

from nyc_airports.dataset import NYC_DAYS
from nyc_airports.defs.departures import departures
from temporis_dagster import build_gap_fill_sensor, build_trailing_window_schedule, gated_selection


@dg.definitions
def automation() -> dg.Definitions:
    """In the job, the archive check of the data source runs first; if it fails, `departures` does not run."""
    job = dg.define_asset_job("departures_job", selection=gated_selection(departures))
    return dg.Definitions(
        jobs=[job],
        # Load the last three days again every night: airlines report late, and correct what they reported.
        schedules=[build_trailing_window_schedule(target=job, lookback=3, partitions_def=NYC_DAYS, hour_of_day=2)],
        # Fill every partition of the year that is missing or failed, with a few attempts each.
        sensors=[build_gap_fill_sensor(target=job, horizon=365)],
    )
