"""The end-to-end story in this process: the daemons' own loops, turned by the test, a minute of the schedule each time.

Comes in: a folder. Goes out: a stage.
Never: waits for the clock.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import dagster as dg

from temporis_dagster import connect
from tests.support.dagster_harness import backfill_environment, key_range, run_schedules, run_sensors
from tests.support.end_to_end_run import execute, start
from tests.support.end_to_end_story import HISTORY, LOOKBACK, MINUTE, Stage
from tests.support.end_to_end_upstream import FORMAT, PATIENCE_S, Upstream
from tests.support.service_fixture import started_service

DEFINITIONS = Path(__file__).with_name("end_to_end_definitions.py")
POOL = "temporis_grid"
LENGTH = 60
BEFORE = HISTORY + LOOKBACK + 1


@dataclass
class Loops(Stage):
    """All of it in this process, but for runs launched by hand while the upstream is held: they would not return.

    Attributes:
        workspace: The code location.
        defs: What is in it.
        now: What time the schedule takes it for.
    """

    workspace: Any
    defs: dg.Definitions
    now: datetime
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def turn(self) -> None:
        if self.now > self.start + (LENGTH - 2) * MINUTE:
            raise TimeoutError
        self.now += MINUTE
        run_schedules(self.workspace, self.now)
        run_sensors(self.workspace)

    def between_ticks(self) -> bool:
        return True

    def finished(self, run_id: str) -> dg.DagsterRunStatus:
        """No time of the schedule has to pass for a run to end."""
        if run_id in self.processes:
            assert self.processes[run_id].wait(PATIENCE_S) == 0
        return self.run(run_id).status

    def launch(self, job: str, keys: Sequence[str] = ()) -> str:
        run_id, tags = str(uuid4()), key_range(keys[0], keys[-1]) if keys else {}
        if self.upstream.is_held():
            self.processes[run_id] = start(job, tags, run_id)
            self._wait_until_it_asked_for_a_slot(run_id)
        else:
            execute(self.instance, self.defs, run_id, job, tags)
        return run_id

    def _wait_until_it_asked_for_a_slot(self, run_id: str) -> None:
        """Who asks while another gives his back may wait for ever: Dagster looks and enqueues in two transactions."""
        deadline = time.monotonic() + PATIENCE_S
        while run_id not in self._in_the_pool():
            assert time.monotonic() < deadline, "the run does not get to its step"
            time.sleep(0.05)

    def _in_the_pool(self) -> set[str]:
        """The runs that hold a slot of the data source's pool, or wait for one."""
        pool = self.instance.event_log_storage.get_concurrency_info(POOL)
        return {one.run_id for one in (*pool.claimed_slots, *pool.pending_steps)}

    def ensure_shown(self, words: str) -> None:
        """Nobody looks."""


@contextmanager
def loops(folder: Path) -> Iterator[Loops]:
    """A service in a thread, an instance, and the code location."""
    start = datetime.now(timezone.utc).replace(second=0, microsecond=0) - LENGTH * MINUTE
    with ExitStack() as stack:
        service = stack.enter_context(started_service(folder))
        for name in ("grid", "legacy"):
            service.store.create_data_source(name)
        service.store.set_archived("legacy", archived=True)
        environment = {
            "E2E_URL": service.url,
            "E2E_TOKEN": service.token,
            "E2E_FOLDER": str(folder),
            "E2E_START": start.strftime(FORMAT),
            "E2E_EXCLUDE_LATEST": str(LENGTH - BEFORE),
        }
        stack.enter_context(patch.dict(os.environ, environment))
        instance, workspace = stack.enter_context(backfill_environment(DEFINITIONS))
        instance.event_log_storage.set_concurrency_slots(POOL, 1)
        sys.modules.pop("tests.support.end_to_end_definitions", None)
        definitions = importlib.import_module("tests.support.end_to_end_definitions")
        url = service.store.url
        grid = stack.enter_context(connect(url)).data_source("grid")
        now = start + BEFORE * MINUTE
        run_schedules(workspace, now)
        stage = Loops(instance, Upstream(folder), grid, url, start, workspace, definitions.defs, now)
        try:
            yield stage
        finally:
            for process in stage.processes.values():
                process.kill()
                process.wait()
