"""The project's resources: where the assets read, and where their frames go."""

import dagster as dg

from nyc_airports import settings
from nyc_airports.database import OperationalDatabase
from temporis_dagster import TemporisIOManager, TemporisResource


@dg.definitions
def resources() -> dg.Definitions:
    """Define the resources when Dagster loads the project, with the environment of that moment."""
    temporis = TemporisResource(url=settings.temporis_url())
    return dg.Definitions(
        resources={
            "temporis": temporis,
            "temporis_io_manager": TemporisIOManager(temporis=temporis),
            "operational_db": OperationalDatabase(path=str(settings.operational_db())),
        },
        # Three small assets finish before three worker processes have started.
        executor=dg.in_process_executor,
    )
