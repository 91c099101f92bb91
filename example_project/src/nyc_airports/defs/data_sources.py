"""The data sources as external assets, with checks that one is in use and the other is frozen.

The tables that the assets read are external assets, too: the catalog shows from which of their columns series come.
The checks gate the jobs that write (see `automation.py`); the sensor evaluates them without a run.
"""

import dagster as dg

from nyc_airports.dataset import DATA_SOURCE, FIRST_QUARTER, GROUP, STATES
from temporis_dagster import build_archive_state_checks, build_archive_state_sensor, data_source_spec


@dg.definitions
def data_sources() -> dg.Definitions:
    """Two data sources, each with a check of its archive state, and the tables of the operational database."""
    tables = [
        dg.AssetSpec(["operational_db", table], group_name=GROUP, kinds={"sqlite"}, description=description)
        for table, description in {"flights": "Individual flights.", "weather": "What the stations reported."}.items()
    ]
    return dg.Definitions(
        assets=[
            *tables,
            data_source_spec(DATA_SOURCE, group_name=GROUP, description="36 series of three airports, in use."),
            data_source_spec(
                FIRST_QUARTER, group_name=GROUP, description="January to March as published; archived, never written."
            ),
        ],
        asset_checks=build_archive_state_checks(data_sources=STATES),
        sensors=[build_archive_state_sensor(data_sources=STATES, minimum_interval_seconds=60)],
    )
