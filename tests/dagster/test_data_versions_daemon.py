"""The daemon's own loops over three days with ``lookback=3``: what fires, and what the UI calls stale."""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.support.dagster_harness import at, backfill_environment, run_automation, run_backfill, run_schedules, stale

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of Dagster's daemon, which runs in this process here
    pytest.mark.no_cover,  # days of a deployment, nearly all of whose lines are Dagster's
]
DEFINITIONS = Path(__file__).parents[1] / "support" / "automated_definitions.py"


class Days:
    """Days of a deployment: a tick of the schedule at one o'clock, then the automation daemon."""

    def __init__(self, instance, workspace, values):
        self.instance, self.workspace, self._values = instance, workspace, values
        self.change({})
        self.pass_one(4)  # switches both on

    def change(self, values):
        """Change what the upstream has."""
        self._values.write_text(json.dumps(values))

    def pass_one(self, day):
        """Return the days that the schedule filled, and those that the report was made for."""
        with at(datetime(2024, 6, day, 0, 30, tzinfo=timezone.utc)):
            run_schedules(self.workspace, datetime(2024, 6, day, 0, 30, tzinfo=timezone.utc))
        with at(datetime(2024, 6, day, 2, tzinfo=timezone.utc)):
            before = {run.run_id for run in self.instance.get_runs()}
            run_schedules(self.workspace, datetime(2024, 6, day, 2, tzinfo=timezone.utc))
            filled = self._days(before)
            before |= {run.run_id for run in self.instance.get_runs()}
            run_automation(self.workspace)
            fired = self._days(before)
            run_automation(self.workspace)
            assert self._days(before) == fired, "it fired twice"
            return filled, fired

    def _days(self, before):
        found = []
        for run in self.instance.get_runs():
            if run.run_id not in before:
                assert run.is_success
                first = run.tags.get("dagster/asset_partition_range_start", run.tags.get("dagster/partition"))
                last = run.tags.get("dagster/asset_partition_range_end", first)
                found += range(int(first[-2:]), int(last[-2:]) + 1)
        return sorted(found)

    def fill(self, day):
        """Fill a day by hand, before the automation looks."""
        return run_backfill(self.instance, self.workspace, "load", [f"2024-06-0{day}"])

    def stale(self):
        """Return what the UI shows of the report of each of three days."""
        with at(datetime(2024, 6, 9, tzinfo=timezone.utc)):
            return [stale(self.workspace, "report", f"2024-06-0{day}") for day in (4, 5, 6)]


@pytest.fixture
def days(tmp_path, monkeypatch, request):
    monkeypatch.setenv("TEMPORIS_TEST_URL", f"sqlite:///{tmp_path}/temporis.db")
    monkeypatch.setenv("TEMPORIS_TEST_VALUES", str(tmp_path / "values.json"))
    monkeypatch.setenv("TEMPORIS_TEST_ONE_BY_ONE", request.param)
    monkeypatch.delitem(sys.modules, DEFINITIONS.stem, raising=False)  # it reads the environment when it is loaded
    with backfill_environment(DEFINITIONS) as (instance, workspace):
        yield Days(instance, workspace, tmp_path / "values.json")


CHANGED = ("STALE", ["has a new data version"])
FRESH = ("FRESH", [])


@pytest.mark.parametrize(
    ("days", "unchanged"),
    [("", CHANGED), ("yes", FRESH)],
    indirect=["days"],
    ids=["one run", "a run per partition"],
)
def test_three_daily_ticks_fire_what_has_changed(days, unchanged):
    """The new day each time; of the two others only the one whose content was corrected upstream.

    The UI compares materializations only. In runs over several partitions, these have the version of all of them, so a
    day that has not changed is shown as stale as soon as the window has moved on.
    """
    assert days.pass_one(5) == ([2, 3, 4], [4])
    assert days.pass_one(6) == ([3, 4, 5], [5])
    days.change({"2024-06-05": 1})
    assert days.pass_one(7) == ([4, 5, 6], [5, 6])
    pytest.importorskip("dagster_graphql", reason="comes with the webserver, which this environment lacks")
    assert days.stale() == [unchanged, FRESH, FRESH]
    days.change({"2024-06-05": 1, "2024-06-06": 1})
    assert days.fill(6) == "COMPLETED_SUCCESS"
    assert days.stale() == [unchanged, FRESH, CHANGED]
