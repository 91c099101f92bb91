"""An outage of ten minutes, with a mirror and the defaults of a component: nothing is lost, nothing is done by hand."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from temporis_dagster import connect
from temporis_dagster.testing import FakeService, answer
from tests.support.dagster_harness import backfill_environment, run_schedules, run_sensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the daemon's own
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated", "ignore::dagster.BetaWarning"),
]
DEFINITIONS = Path(__file__).parents[1] / "support" / "outage_definitions.py"
MINUTES_DOWN = 10


def test_an_outage_of_ten_minutes_loses_nothing_and_needs_no_hand(tmp_path, monkeypatch, soak):
    """Schedule and sensor tick through it: every run succeeds, rows wait in the mirror, and are then delivered.

    The component's runs are gated by the archive check, which passes with a warning; the gap sensor gives nothing up.
    """
    down, minutes = [True], 1 if soak else 3
    with FakeService(("grid",), script=lambda _: answer(503, "down for ten minutes") if down else None) as service:
        mirror = f"sqlite:///{tmp_path}/mirror.db"
        for name, value in (("URL", service.url), ("TOKEN", service.token), ("MIRROR", mirror)):
            monkeypatch.setenv(f"TEMPORIS_TEST_{name}", value)
        monkeypatch.setenv("TEMPORIS_TEST_VERSION", "1")
        with backfill_environment(DEFINITIONS) as (instance, workspace):
            start = datetime.now(timezone.utc)
            for minute in range(0, MINUTES_DOWN + 3 * minutes, minutes):
                if minute >= MINUTES_DOWN and down:
                    assert (len(service.content), checks(instance)[0]) == (0, "unknown")
                    down.clear()
                    monkeypatch.setenv("TEMPORIS_TEST_VERSION", "2")
                run_schedules(workspace, start + timedelta(minutes=minute))
                run_sensors(workspace)
            runs = instance.get_runs()
            found, passed = checks(instance)
            with connect(service.url, service.token, mirror=mirror) as connection:
                pending = connection.data_source("grid").pending()
                stored = connection.data_source("grid").read()
        launched_by_sensor = [run for run in runs if "dagster/sensor_name" in run.tags]
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert len(runs) - len(launched_by_sensor) >= MINUTES_DOWN // minutes + 2
        assert [run.tags["temporis/attempt"] for run in launched_by_sensor] == ["1"]
        assert (found, passed, pending.rows, pending.rejected) == ("active", True, 0, 0)
        assert len(service.content) == len(stored) == 10 * 24
        values = stored.set_index("timestamp")["value"]
        assert (set(values[:"2024-06-07"]), set(values["2024-06-08":])) == ({1.0}, {2.0})


def checks(instance):
    """What the last evaluation of the archive check found, and whether it passed."""
    events = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=1)
    said = events[0].event_log_entry.dagster_event.asset_check_evaluation_data
    return said.metadata["temporis/found"].value, said.passed
