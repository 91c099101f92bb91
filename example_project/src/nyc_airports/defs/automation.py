"""What keeps `departures` filled: a gated job, the schedule and the sensor that launch it.

`weather` has the same from five lines of its `defs.yaml`. All are off until switched on in the UI, under Automation.
"""

import dagster as dg

from nyc_airports.dataset import NYC_DAYS
from nyc_airports.defs.departures import departures
from temporis_dagster import build_gap_fill_sensor, build_trailing_window_schedule, gated_selection


@dg.definitions
def automation() -> dg.Definitions:
    """In the job, the archive check of the data source runs first; where it fails, `departures` does not run."""
    job = dg.define_asset_job("departures_job", selection=gated_selection(departures))
    return dg.Definitions(
        jobs=[job],
        # Every night the last three days once more: airlines report late, and correct what they reported.
        schedules=[build_trailing_window_schedule(target=job, lookback=3, partitions_def=NYC_DAYS, hour_of_day=2)],
        # Whatever of the year is missing or failed, a few attempts each.
        sensors=[build_gap_fill_sensor(target=job, horizon=365)],
    )
