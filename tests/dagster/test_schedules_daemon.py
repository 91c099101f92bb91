"""The daemon's own loops over a real code location: what it launches, and what it does not launch twice."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from temporis_dagster import connect
from tests.support.dagster_harness import backfill_environment, run_schedules, run_sensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the daemon's own
]
DEFINITIONS = Path(__file__).parents[1] / "support" / "scheduled_definitions.py"


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """An instance, a workspace and the data source of its code location."""
    url = f"sqlite:///{tmp_path}/temporis.db"
    monkeypatch.setenv("TEMPORIS_TEST_URL", url)
    with backfill_environment(DEFINITIONS) as (instance, workspace), connect(url) as temporis:
        yield instance, workspace, temporis.create_data_source("grid")


def test_a_daemon_killed_between_making_a_run_and_launching_it_launches_that_run(daemon):
    """The tick is evaluated again, finds its own run, and there is one run, not none and not two."""
    instance, workspace, source = daemon
    now = datetime.now(timezone.utc)
    run_schedules(workspace, now)
    run_schedules(workspace, now + timedelta(minutes=1), crash_at="RUN_CREATED")
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.NOT_STARTED]
    run_schedules(workspace, now + timedelta(minutes=1))
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert len(source.read()) == 3 * 24
    run_schedules(workspace, now + timedelta(minutes=2))
    assert len(instance.get_runs()) == 2


def test_the_daemon_fills_gaps_once(daemon):
    """What the sensor asks for is launched, and the next tick finds nothing to do."""
    instance, workspace, source = daemon
    run_sensors(workspace)
    (run,) = instance.get_runs()
    assert (run.status, run.tags["dagster/run_key"]) == (dg.DagsterRunStatus.SUCCESS, "2024-06-01...2024-06-09:1")
    assert len(source.read()) == 9 * 24
    run_sensors(workspace)
    assert len(instance.get_runs()) == 1


NAMESAKE = """
import dagster as dg
from temporis_dagster import TemporisResource, build_gap_fill_sensor, data_source_spec, temporis_asset
from tests.support.scheduled_definitions import DAYS, TIMES, temporis

@temporis_asset(data_source="grid", key=["theirs", "load"], partitions_def=DAYS, io_manager_key="io_manager")
def load() -> int:
    raise RuntimeError("it always fails")

sensor = build_gap_fill_sensor(target=load, horizon=10, name="load_gap_fill_sensor", **TIMES)
defs = dg.Definitions(assets=[load, data_source_spec("grid")], sensors=[sensor], resources={"temporis": temporis})
"""


def test_a_namesake_in_another_code_location_costs_no_attempts(tmp_path, monkeypatch):
    """Its sensor has the name of ours and its runs fail over the same days; ours still has its first attempt."""
    monkeypatch.setenv("TEMPORIS_TEST_URL", f"sqlite:///{tmp_path}/temporis.db")
    theirs = tmp_path / "theirs.py"
    theirs.write_text(NAMESAKE)
    with backfill_environment(theirs, DEFINITIONS) as (instance, workspace):
        run_sensors(workspace)
        attempts = {run.remote_job_origin.location_name: run.tags["temporis/attempt"] for run in instance.get_runs()}
    assert attempts == {"0": "1", "1": "1"}
