"""The example's assets on Celery workers: a backfill is cut into runs, and each step of a run is a task for a worker.

Comes in: celery.yaml next to this file, which the workers read as well, and variables of the environment, which are
read in each process of the deployment. Goes out: Dagster definitions.
Never: connects to anything while it is loaded.
"""

from pathlib import Path

import dagster as dg
import yaml
from dagster_celery import celery_executor
from nyc_airports.definitions import defs as load_example

from temporis_dagster import TemporisIOManager, TemporisResource

celery = yaml.safe_load(Path(__file__).with_name("celery.yaml").read_text())["execution"]["config"]
temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_URL"))  # the token is read from TEMPORIS_TOKEN
a_month = dg.BackfillPolicy.multi_run(max_partitions_per_run=31)

example = load_example()
defs = dg.Definitions(
    assets=[
        asset.with_attributes(backfill_policy=a_month) if isinstance(asset, dg.AssetsDefinition) else asset
        for asset in example.assets or ()
    ],
    resources={
        **(example.resources or {}),
        "temporis": temporis,
        "temporis_io_manager": TemporisIOManager(temporis=temporis),
    },
    executor=celery_executor.configured(celery),
)
