"""The project's resources: where the assets read from, and where their frames go."""

import dagster as dg

from nyc_airports import settings
from nyc_airports.database import OperationalDatabase
from temporis_dagster import TemporisIOManager, TemporisResource


@dg.definitions
def resources() -> dg.Definitions:
    """Made when Dagster loads the project, so that the environment of that moment counts."""
    temporis = TemporisResource(url=settings.temporis_url())
    return dg.Definitions(
        resources={
            "temporis": temporis,
            "temporis_io_manager": TemporisIOManager(temporis=temporis),
            "operational_db": OperationalDatabase(path=str(settings.operational_db())),
        },
        # Three small assets are done sooner than three worker processes have started.
        executor=dg.in_process_executor,
    )
