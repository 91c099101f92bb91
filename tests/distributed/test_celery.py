"""The Celery recipe of deploy/celery, with a real broker, a daemon and three workers, some of which are killed.

The instance is in PostgreSQL. The example's hourly assets are backfilled into each kind of data source that workers can
share; what arrives there is compared with what a single process writes into a file.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import pytest
from nyc_airports.dataset import DATA_SOURCE, NYC_DAYS

from temporis_dagster import DataSource, connect
from temporis_dagster.data_source.store import SqlStore
from tests.support.dagster_harness import key_range
from tests.support.distributed_definitions import POOLED, defs_of, recipe
from tests.support.distributed_processes import Deployment, deployment
from tests.support.distributed_service import Door, service_with_a_door
from tests.support.service_fixture import ServiceProcess

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")

HOURLY = ("departures", "weather")
DAYS = NYC_DAYS.get_partition_keys()[:93]  # three runs of 31 days, each with one step for each asset
RUNS = 3


@dataclass
class Scene:
    """A deployment, the data source that it writes to, seen past it, and the service of the pool."""

    deployed: Deployment
    source: DataSource
    defs: dg.Definitions
    door: Door


@contextmanager
def served(folder):
    """The data source behind `temporis serve`: the variables of its clients, and the data source."""
    store = SqlStore(f"sqlite:///{folder}/served.db")
    store.create_data_source(DATA_SOURCE)
    service = ServiceProcess(store.url)
    try:
        with connect(store.url) as temporis:
            yield {"TEMPORIS_URL": service.url, "TEMPORIS_TOKEN": store.tokens.create("workers")}, temporis
    finally:
        service.stop()
        store.close()


TARGETS = {"service": served}


@pytest.fixture(scope="module", params=TARGETS)
def scene(request, tmp_path_factory, city, broker_of_ours, instance_database):
    """A running deployment."""
    folder = tmp_path_factory.mktemp("deployed")
    with TARGETS[request.param](folder) as (variables, temporis), service_with_a_door(folder, POOLED) as (pool, door):
        variables |= {"POOLED_URL": pool.url, "POOLED_TOKEN": pool.token, "NYC_OPERATIONAL_DB": str(city)}
        with deployment(folder, broker_of_ours, instance_database, **variables) as deployed:
            yield Scene(deployed, temporis.data_source(DATA_SOURCE), defs_of(recipe()), door)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, city):
    """What a single process makes of the same days: how many observations, and their digest."""
    from nyc_airports.definitions import defs as example

    url = f"sqlite:///{tmp_path_factory.mktemp('single')}/temporis.db"
    with pytest.MonkeyPatch.context() as patch, connect(url) as temporis, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("TEMPORIS_URL", url)
        patch.setenv("NYC_OPERATIONAL_DB", str(city))
        source = temporis.create_data_source(DATA_SOURCE)
        job = example().resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset) for asset in HOURLY],
            tags=key_range(DAYS[0], DAYS[-1]),
        )
        assert done.success
        yield len(source.read()), source.content_digest()


def test_a_backfill_ends_like_an_undisturbed_one_when_a_worker_is_killed(scene, undisturbed):
    """kill -9 of a worker in the middle of a step: another one runs the step again, and every run succeeds."""
    deployed = scene.deployed
    deployed.watch.arm()
    backfill = deployed.backfill(scene.defs, HOURLY, DAYS)
    deployed.until("a step waits to be killed", lambda: deployed.watch.victim() is not None)
    victim = deployed.watch.victim()
    deployed.worker_of(victim.pid).kill()
    runs = deployed.until_ended(backfill, RUNS)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * RUNS, deployed.last_words()
    starts = deployed.starts(backfill)
    assert sorted(starts.values()) == [1] * (2 * RUNS - 1) + [2], "other steps than the killed one ran twice"
    again = [query for query in deployed.watch.queries() if query.first_day == victim.first_day]
    assert len({query.pid for query in again}) == 2
    assert (len(scene.source.read()), scene.source.content_digest()) == undisturbed
