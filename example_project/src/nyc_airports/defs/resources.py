"""The project's resources: where the assets read from, and where their frames go."""

import dagster as dg

from nyc_airports import settings
from nyc_airports.database import OperationalDatabase
from nyc_airports.dataset import DATA_SOURCE, GROUP
from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec


@dg.definitions
def resources() -> dg.Definitions:
    """Made when Dagster loads the project, so that the environment of that moment counts."""
    temporis = TemporisResource(url=settings.temporis_url())
    return dg.Definitions(
        assets=[data_source_spec(DATA_SOURCE, group_name=GROUP, description="36 series of three airports.")],
        resources={
            "temporis": temporis,
            "temporis_io_manager": TemporisIOManager(temporis=temporis),
            "operational_db": OperationalDatabase(path=str(settings.operational_db())),
        },
        # Three small assets are done sooner than three worker processes have started.
        executor=dg.in_process_executor,
    )
