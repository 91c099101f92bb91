"""The Celery recipe of deploy/celery, with a real broker, a daemon and three workers, some of which are killed.

The instance is in PostgreSQL. The example's hourly assets are backfilled into each kind of data source that workers can
share; what arrives there is compared with what a single process writes into a file.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass

import dagster as dg
import pytest

from temporis_dagster import DataSource
from tests.conftest import CANARY
from tests.support.distributed_definitions import POOLED, POOLED_DAYS, defs_of, recipe
from tests.support.distributed_processes import WORKERS, Deployment, cut_connections, deployment
from tests.support.distributed_service import Door, service_with_a_door
from tests.support.distributed_targets import DAYS, HOURLY, RUNS, YEAR, by_a_single_process

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
    pytest.mark.timeout(900),  # a dozen processes: seconds on an idle machine, minutes on a busy one
]


@dataclass
class Scene:
    """A deployment, the data source that it writes to, and what stands in front of the service of the pool."""

    deployed: Deployment
    source: DataSource
    defs: dg.Definitions
    door: Door


@pytest.fixture(scope="module")
def scene(target, tmp_path_factory, broker_of_ours, instance_database):
    """A running deployment, for each kind of data source."""
    folder, (variables, source) = tmp_path_factory.mktemp("deployed"), target
    with (
        service_with_a_door(folder, POOLED) as (pool, door),
        deployment(
            folder, broker_of_ours, instance_database, **variables, POOLED_URL=pool.url, POOLED_TOKEN=pool.token
        ) as deployed,
    ):
        yield Scene(deployed, source, defs_of(recipe()), door)


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
    starts = sorted(len(times) for times in deployed.start_times(backfill).values())
    assert starts == [1] * (2 * RUNS - 1) + [2], "other steps than the killed one ran twice"
    again = [query for query in deployed.watch.queries() if query.first_day == victim.first_day]
    assert len({query.pid for query in again}) == 2
    assert (len(scene.source.read()), scene.source.content_digest()) == undisturbed


@pytest.mark.parametrize("target", ["service"], indirect=True, scope="module")
def test_a_pool_bounds_who_writes_at_once_wherever_they_run(scene):
    """With a limit of 1, the service never sees two runs write at once; with a limit of 2, it does."""
    scene.deployed.restore()
    assert [peak_of_two_runs(scene, limit) for limit in (1, 2)] == [1, 2]


def peak_of_two_runs(scene, limit):
    """How many of two runs wrote at once, at most, although nothing else held the second one back."""
    deployed, door = scene.deployed, scene.door
    deployed.instance.event_log_storage.set_concurrency_slots(f"temporis_{POOLED}", limit)
    door.close()
    backfill = deployed.backfill(scene.defs, [POOLED], POOLED_DAYS.get_partition_keys())
    deployed.until("as many wait at the door as the pool lets in", lambda: door.within == limit)
    deployed.until("the pool holds the others back", lambda: deployed.held_back(backfill) >= 2 - limit)
    door.open()
    runs = deployed.until_ended(backfill, 2)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2, deployed.last_words()
    return door.peak


def test_no_password_is_in_what_travels_or_is_logged(scene):
    """The reference to the instance that is in every message names variables; the logs of all processes are clean."""
    assert CANARY not in str(scene.deployed.instance.get_ref())
    assert "DAGSTER_POSTGRES_URL" in str(scene.deployed.instance.get_ref())
    assert CANARY not in scene.deployed.logs()
    assert CANARY not in "".join(path.read_text() for path in scene.deployed.home.rglob("*.py"))


def test_a_year_ends_like_an_undisturbed_one_whatever_is_killed(scene, tmp_path, city, soak):
    """At random moments, a worker is killed, or only its child, or every connection is cut."""
    if not soak:
        pytest.skip("has a long form only")
    deployed, rng, cuts = scene.deployed, random.Random(11), []
    deployed.restore()
    backfill = deployed.backfill(scene.defs, HOURLY, YEAR)
    while not deployed.backfill_ended(backfill) and len(cuts) < 30:
        busy = [worker for worker in deployed.workers.values() if worker.at_work]
        if not busy:
            time.sleep(0.2)
            continue
        time.sleep(rng.uniform(0, 3))  # a random moment of a step is what this is about
        how, worker = rng.choice(["worker", "child", "connections"]), rng.choice(busy)
        cuts.append((how, time.time()))
        if how == "worker":
            worker.kill()
        elif how == "child":
            worker.kill_child()
        else:
            cut_connections(deployed.environment["DAGSTER_CELERY_BROKER_URL"])
        deployed.restore()
    deployed.until("the backfill has ended", lambda: bool(deployed.backfill_ended(backfill)), 3_600)
    starts = deployed.start_times(backfill)
    told = [
        f"target {scene.source.url}, {len(WORKERS)} workers, {len(deployed.runs(backfill))} runs, {len(starts)} steps,",
        f"disturbed {len(cuts)} times {dict(Counter(how for how, _ in cuts))},",
        f"steps started again {sum(len(times) - 1 for times in starts.values())},",
        f"seconds from a disturbance to the next start of a step that ran twice {sorted(recoveries(cuts, starts))},",
        f"{len(scene.source.read())} observations, digest {scene.source.content_digest()}",
    ]
    print("\n" + "\n".join(told))  # noqa: T201  figures for whoever watches
    assert deployed.backfill_ended(backfill) == "COMPLETED_SUCCESS", deployed.last_words()
    alone = by_a_single_process(tmp_path, city, YEAR)
    assert (len(scene.source.read()), scene.source.content_digest()) == alone


def recoveries(cuts, starts):
    """For each start of a step after its first one: the seconds since the last disturbance before it."""
    for times in starts.values():
        for start in times[1:]:
            before = [at for _, at in cuts if at <= start]
            if before:
                yield round(start - max(before), 1)
