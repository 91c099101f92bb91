"""build_mirror_flush_schedule and discarding: what waits in a mirror is delivered on schedule or deleted on request."""

import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from click.testing import CliRunner

from temporis_dagster import (
    ConfigurationError,
    MirrorError,
    NotSupportedError,
    TemporisResource,
    UnavailableError,
    build_mirror_flush_schedule,
    connect,
)
from temporis_dagster.cli import main
from temporis_dagster.schedules import mirror_flush
from temporis_dagster.testing import FakeService, answer, sample_frame, silence
from tests.support.dagster_harness import backfill_environment, failure_of, queued_from, run_schedules
from tests.support.mirror_tools import Process, World, contents, long_frame

AT = datetime(2024, 6, 20, 12, 5, tzinfo=timezone.utc)
BOTH = ("store_metrics", "grid")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def service():
    with FakeService(BOTH) as running:
        yield running


@pytest.fixture
def instance():
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def mirror(tmp_path):
    return f"sqlite:///{tmp_path}/mirror.db"


def down(_request):
    return answer(503, "busy")


def backlog(service, mirror, *names):
    """48 rows of each data source wait in the mirror, and the service is available again."""
    service.state.script = down
    with connect(service.url, service.token, mirror=mirror, on_unavailable="queue", give_up_after_s=1e-9) as temporis:
        for name in names:
            assert temporis.data_source(name).upsert(sample_frame()).pending == 48
    service.state.script = lambda _request: None


def pending(service, mirror, name="store_metrics"):
    with connect(service.url, service.token, mirror=mirror) as temporis:
        return temporis.data_source(name).pending().rows


class Deployment:
    """The schedule in a code location, with the instance of a daemon."""

    def __init__(self, instance, service, mirror, **options):
        self.instance = instance
        self.schedule = build_mirror_flush_schedule(data_sources=BOTH)
        self.temporis = TemporisResource(url=service.url, token=service.token, mirror=mirror, **options)
        self.defs = dg.Definitions(schedules=[self.schedule], resources={"temporis": self.temporis})

    def tick(self, at=AT):
        """The data sources that get a run; or the reason why none does."""
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=self.defs.get_repository_def(),
            resources={"temporis": self.temporis},
        ) as context:
            data = self.schedule.evaluate_tick(context)
        return list(data.run_requests) or data.skip_message

    def run(self, request):
        job = self.defs.resolve_job_def("mirror_flush")
        return job.execute_in_process(
            instance=self.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
        )


@pytest.fixture
def deployment(instance, service, mirror):
    return Deployment(instance, service, mirror)


def asked(requests):
    assert isinstance(requests, list), requests
    return [request.tags["temporis/data_source"] for request in requests]


def said(result):
    (event,) = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {key.removeprefix("temporis/"): entry.value for key, entry in event.step_output_data.metadata.items()}


# The schedule


def test_nothing_pending_launches_nothing_and_asks_the_service_nothing(deployment, service):
    """A tick with nothing pending only looks into a file."""
    assert deployment.tick() == "Nothing is pending in the mirror."
    assert service.requests == []


def test_a_mirror_whose_server_is_away_does_not_hold_up_the_tick(instance, service, monkeypatch):
    """Whatever the resource's patience, the tick looks for a moment, once, and then launches a run for each."""
    monkeypatch.setattr(mirror_flush, "LOOK_WITHIN_S", 0.01)
    deployment = Deployment(instance, service, "postgresql+psycopg://127.0.0.1:1/mirror", give_up_after_s=3_600.0)
    assert asked(deployment.tick()) == list(BOTH)


def test_what_waits_is_delivered_by_a_run(deployment, service, mirror):
    """Only data sources with a backlog get a run; its output says what was delivered; then there is nothing to do."""
    backlog(service, mirror, "grid")
    (request,) = deployment.tick()
    assert asked([request]) == ["grid"]
    result = deployment.run(request)
    assert result.success
    shown = said(result)
    assert (shown["stored"], shown["rejected"], shown["pending"], shown["rejected_kept"]) == (48, 0, 0, 0)
    assert (shown["dagster/table_name"], shown["dagster/uri"]) == ("temporis.grid", service.url)
    assert len(service.content) == 48
    assert deployment.tick() == "Nothing is pending in the mirror."


def test_one_data_source_that_fails_does_not_stop_another(deployment, service, mirror):
    """Each has a run of its own; the one that fails reports why, and how much is still pending."""
    backlog(service, mirror, *BOTH)
    requests = deployment.tick()
    assert asked(requests) == list(BOTH)
    del service.state.archived["store_metrics"]
    first, second = map(deployment.run, requests)
    assert (first.success, second.success) == (False, True)
    failure = failure_of(first).event_specific_data.user_failure_data
    assert failure.metadata["temporis/error"].value == "DataSourceNotFoundError"
    assert failure.metadata["temporis/pending"].value == 48
    assert {source for source, _, _ in service.content} == {"grid"}


def test_an_outage_fails_the_run_and_the_next_tick_tries_again(instance, service, mirror):
    """Rows stay pending, and the next tick has other run keys, so Dagster launches again."""
    backlog(service, mirror, "grid")
    deployment = Deployment(instance, service, mirror, give_up_after_s=1e-9)
    (request,) = deployment.tick()
    service.state.script = down
    result = deployment.run(request)
    failure = failure_of(result).event_specific_data.user_failure_data
    assert (failure.metadata["temporis/error"].value, failure.metadata["temporis/pending"].value) == (
        "UnavailableError",
        48,
    )
    (again,) = deployment.tick(AT.replace(minute=10))
    assert again.run_key != request.run_key
    service.state.script = lambda _request: None
    assert deployment.run(again).success
    assert pending(service, mirror, "grid") == 0


def test_archived_is_skipped_and_goes_out_after_an_unarchive(deployment, service, mirror):
    """The tick reports how much waits and what can be done; other data sources are flushed all the same."""
    backlog(service, mirror, *BOTH)
    service.archive("store_metrics")
    requests = deployment.tick()
    assert asked(requests) == ["grid"]
    assert deployment.run(requests[0]).success
    reason = deployment.tick()
    assert "store_metrics: It is archived, and 48 rows wait until it is unarchived." in reason
    assert "temporis mirror discard-pending --data-source store_metrics" in reason
    service.archive("store_metrics", archived=False)
    (request,) = deployment.tick()
    assert deployment.run(request).success
    assert pending(service, mirror) == 0


def test_runs_do_not_pile_up(deployment, service, mirror, instance):
    """While the run of an earlier tick is unfinished, its data source gets no second one; the same tick may repeat."""
    backlog(service, mirror, *BOTH)
    first, _second = deployment.tick()
    run = dg.DagsterRun(
        job_name="mirror_flush",
        run_id=str(uuid4()),
        status=dg.DagsterRunStatus.QUEUED,
        tags={**first.tags, "dagster/run_key": first.run_key},
        remote_job_origin=queued_from("mirror_flush"),
    )
    instance.add_run(run)
    assert asked(deployment.tick()) == list(BOTH)  # the tick of a daemon that was killed in the middle
    assert asked(deployment.tick(AT.replace(minute=10))) == ["grid"]
    instance.delete_run(run.run_id)
    assert asked(deployment.tick(AT.replace(minute=10))) == list(BOTH)


def test_a_mirror_that_cannot_be_read_is_flushed(deployment, service, mirror, tmp_path):
    """A tick that cannot read the mirror launches the run, which then shows what is wrong."""
    (tmp_path / "mirror.db").write_bytes(b"not a database" * 100)
    requests = deployment.tick()
    assert asked(requests) == list(BOTH)
    assert not deployment.run(requests[0]).success


def test_another_targets_mirror_shows_in_the_run(instance, service, mirror):
    """It is not skipped as if nothing was pending."""
    backlog(service, mirror, "grid")
    with FakeService(BOTH) as other:
        deployment = Deployment(instance, other, mirror)
        result = deployment.run(deployment.tick()[0])
    failure = failure_of(result).event_specific_data.user_failure_data
    assert failure.metadata["temporis/error"].value == MirrorError.__name__


def test_a_dry_run_delivers_nothing(instance, service, mirror):
    """A dry run launches no runs that would do nothing."""
    backlog(service, mirror, "grid")
    assert (
        Deployment(instance, service, mirror, dry_run=True).tick()
        == "Nothing is delivered, because the resource has dry_run=True."
    )


def test_a_resource_without_a_mirror_fails_the_tick(instance, service):
    """A forgotten mirror= is reported."""
    with pytest.raises(Exception, match="mirror_flush_schedule") as caught:
        Deployment(instance, service, None).tick()
    assert isinstance(caught.value.__cause__, NotSupportedError)


@pytest.mark.parametrize("names", [[], "store_metrics", ["Store Metrics"], None])
def test_names_that_are_none_are_refused(names):
    """Refused when the code is loaded."""
    with pytest.raises(ConfigurationError):
        build_mirror_flush_schedule(data_sources=names)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the daemon's own
def test_the_daemon_launches_what_the_schedule_asks_for(service, mirror, monkeypatch):
    """Two runs at the first tick, one per data source, also if the daemon was killed halfway; none at the next."""
    backlog(service, mirror, *BOTH)
    for name, value in (("URL", service.url), ("TOKEN", service.token), ("MIRROR", mirror)):
        monkeypatch.setenv(f"TEMPORIS_TEST_{name}", value)
    now = datetime.now(timezone.utc)
    with backfill_environment(Path(__file__).parents[1] / "support" / "flushed_definitions.py") as (
        instance,
        workspace,
    ):
        run_schedules(workspace, now)
        run_schedules(workspace, now + timedelta(minutes=1), crash_at="RUN_CREATED")
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.NOT_STARTED]
        run_schedules(workspace, now + timedelta(minutes=1))
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2
        assert len(service.content) == 96
        run_schedules(workspace, now + timedelta(minutes=2))
        assert len(instance.get_runs()) == 2


# A process that dies

DYING = """
import sys
import dagster as dg
from temporis_dagster import TemporisIOManager, TemporisResource, temporis_asset
from temporis_dagster.testing import sample_frame

@temporis_asset(data_source="store_metrics")
def orders():
    return sample_frame()

temporis = TemporisResource(url=sys.argv[1], token=sys.argv[2], mirror=sys.argv[3], timeout_s=1.0, batch_rows=24,
                            max_in_flight=1)
dg.materialize([orders], resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)})
"""


def test_rows_of_a_run_that_was_killed_are_flushed(deployment, service, mirror):
    """kill -9 in the middle of a write: half is on the service, all is in the mirror; flush runs deliver the rest."""
    reached = threading.Event()

    def stuck(_request):
        if len(service.requests) > 1 and not reached.is_set():
            reached.set()
            return silence()
        return None

    service.state.script = stuck
    arguments = [sys.executable, "-W", "ignore", "-c", DYING, service.url, service.token, mirror]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dying:
        assert reached.wait(60)
        dying.send_signal(signal.SIGKILL)
        dying.wait()
    assert len(service.content) == 24
    assert pending(service, mirror) in (24, 48)
    while isinstance(requests := deployment.tick(), list):  # the lease of the dead lasts for some seconds
        assert all(deployment.run(request).success for request in requests)
    assert len(service.content) == 48
    assert pending(service, mirror) == 0


# Discarding


def test_discarded_rows_are_neither_sent_nor_read(service, mirror):
    """Discarding deletes what waits for one data source; what was delivered, and other data sources, stay."""
    with connect(service.url, service.token, mirror=mirror) as temporis:
        temporis.data_source("store_metrics").upsert(sample_frame(hours=1))
    backlog(service, mirror, *BOTH)
    with connect(service.url, service.token, mirror=mirror) as temporis:
        source = temporis.data_source("store_metrics")
        before = dict(service.content)
        assert source.discard_pending() == 48
        assert (len(source.read()), source.pending().rows, source.pending().last_error) == (0, 0, None)
        assert source.flush().requests == 0
        assert source.discard_pending() == 0
        assert service.content == before
        assert temporis.data_source("grid").flush().stored == 48
        assert source.upsert(sample_frame()).stored == 48


def test_a_dry_run_discards_nothing(service, mirror):
    """A dry run discards nothing, as it changes nothing else."""
    backlog(service, mirror, "grid")
    with connect(service.url, service.token, mirror=mirror, dry_run=True) as temporis:
        assert temporis.data_source("grid").discard_pending() == 0
    assert pending(service, mirror, "grid") == 48


def test_without_a_mirror_there_is_nothing_to_discard(service):
    """The error explains how to configure a mirror."""
    with connect(service.url, service.token) as temporis, pytest.raises(NotSupportedError, match="mirror="):
        temporis.data_source("grid").discard_pending()


def test_what_is_being_sent_is_left_alone(tmp_path):
    """Rows under a lease belong to its holder; an older batch loses only the rows that are still its own."""
    world = World()
    a, b = (Process(world, f"sqlite:///{tmp_path}/mirror.db", batch_rows=100) for _ in "ab")
    discarded = []
    world.next = ["busy"] * 50
    with pytest.raises(UnavailableError):
        a.source.upsert(long_frame({("x", 1): 1.0, ("x", 2): 1.0}))
    world.advance(120)
    world.next = [lambda: discarded.append(b.source.discard_pending())]
    a.source.upsert(long_frame({("x", 1): 2.0}))
    assert discarded == [1]
    assert contents(a.source.read()) == {("x", 1): 2.0}
    assert (a.source.pending().rows, world.content()) == (0, {("x", 1): 2.0})
    a.close()
    b.close()


def test_a_doubt_outlives_what_was_discarded(tmp_path):
    """If a value that was sent without an answer and then discarded lands late, a later write of its key still wins."""
    world = World()
    process = Process(world, f"sqlite:///{tmp_path}/mirror.db")
    world.next = [("late", 30.0), *["refused"] * 50]
    with pytest.raises(UnavailableError):
        process.source.upsert(long_frame({("x", 1): 1.0}))
    assert process.source.discard_pending() == 1
    world.next = []
    process.source.upsert(long_frame({("x", 1): 2.0}))
    assert process.source.flush().pending == 0
    world.advance(300)
    assert world.content() == contents(process.source.read()) == {("x", 1): 2.0}
    assert world.overwritten == 1
    process.close()


def run_cli(service, mirror, *arguments, **options):
    settings = {"TEMPORIS_URL": service.url, "TEMPORIS_TOKEN": service.token, "TEMPORIS_MIRROR": mirror}
    return CliRunner().invoke(main, ["mirror", "discard-pending", *arguments], env=settings, **options)


def test_the_command_asks_first(service, mirror):
    """Nothing is deleted without --yes or a confirmation, and only for one named data source."""
    backlog(service, mirror, *BOTH)
    for answered in ("", "n\n", "\n"):
        assert run_cli(service, mirror, "--data-source", "grid", input=answered).exit_code == 1
    assert run_cli(service, mirror, "--yes").exit_code == 2
    assert pending(service, mirror, "grid") == 48
    assert "48 discarded\t0 pending" in run_cli(service, mirror, "--data-source", "grid", "--yes").stdout
    assert "0 discarded" in run_cli(service, mirror, "--data-source", "grid", input="y\n").stdout
    assert (pending(service, mirror, "grid"), pending(service, mirror)) == (0, 48)
