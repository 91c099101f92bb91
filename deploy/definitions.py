"""The code location of a deployment: the example's assets, whose observations go where the environment says.

Comes in: TEMPORIS_URL and TEMPORIS_TOKEN, read in the process that runs a step. Goes out: Dagster definitions.
Never: connects to anything while it is loaded.
"""

import dagster as dg
from nyc_airports.definitions import defs as load_example

from temporis_dagster import TemporisIOManager, TemporisResource

# The service is reached over the network of the deployment, without TLS: the token does not leave it.
temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_URL"), token=dg.EnvVar("TEMPORIS_TOKEN"), allow_http=True)


def deployed(executor: dg.ExecutorDefinition) -> dg.Definitions:
    """Give the example another target, and another executor.

    Args:
        executor: What runs the steps of a run.
    """
    example = load_example()
    return dg.Definitions(
        assets=example.assets,
        asset_checks=example.asset_checks,
        jobs=example.jobs,
        schedules=example.schedules,
        sensors=example.sensors,
        resources={
            **(example.resources or {}),
            "temporis": temporis,
            "temporis_io_manager": TemporisIOManager(temporis=temporis),
        },
        executor=executor,
    )


defs = deployed(dg.multiprocess_executor)
