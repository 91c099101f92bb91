"""The end-to-end story with everything real: the service, Dagster's code server, daemon and webserver as processes.

Comes in: a folder. Goes out: a stage.
Never: waits for anything without a deadline, or leaves a process behind.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import httpx
import yaml

from temporis_dagster import connect
from temporis_dagster.data_source.store import SqlStore
from tests.support.dagster_harness import key_range
from tests.support.end_to_end_story import BACKFILLED, DAYS, GAPS, HISTORY, LOOKBACK, MINUTE, ROWS, SCHEDULE, Stage
from tests.support.end_to_end_upstream import FORMAT, Upstream
from tests.support.service_fixture import ServiceProcess

ROOT = Path(__file__).parents[2]
DEFINITIONS = Path(__file__).with_name("end_to_end_definitions.py")
LONGEST_S, STEP_S, ANSWER_S = 1_200.0, 0.5, 120.0
BEFORE = HISTORY + LOOKBACK + 1
INSTANCE = {
    "telemetry": {"enabled": False},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
    "concurrency": {"pools": {"default_limit": 1}},
    # A run that was killed keeps its place in the pool until somebody frees it.
    "run_monitoring": {"enabled": True, "poll_interval_seconds": 5, "free_slots_after_run_end_seconds": 5},
}
SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "story"}

LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on RunConfigValidationInvalid {
  errors { message } } ... on InvalidSubsetError { message } ... on UnauthorizedError { message } } }"""
BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
SHOWN = """query ($schedule: ScheduleSelector!, $sensor: SensorSelector!, $check: AssetCheckHandleInput!) {
  scheduleOrError(scheduleSelector: $schedule) { ... on Schedule { scheduleState { ticks(limit: 20) { skipReason } } } }
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { ticks(limit: 50) { skipReason } } } }
  runsOrError(limit: 100) { ... on Runs { results { runId status } } }
  assetCheckExecutions(assetKey: $check_asset, checkName: "archive_state_check", limit: 1) { status }
}""".replace("$check: AssetCheckHandleInput!", "$check_asset: AssetKeyInput!")


def a_backfill_that_was_killed_is_started_again(stage: "Processes") -> None:
    """kill -9 of the process of its run: the run is marked as failed, and the next backfill ends as if nothing was."""
    with connect(stage.store_url) as temporis:
        disturbed, undisturbed = map(temporis.data_source, BACKFILLED)
        first = stage.backfill("disturbed")
        stage.until("a part is stored", lambda: len(disturbed.read()) > 0)
        os.kill(stage.upstream.extractions("disturbed")[-1].pid, signal.SIGKILL)
        stage.until("its run is marked as failed", lambda: stage.of_backfill(first) == [dg.DagsterRunStatus.FAILURE])
        assert 0 < len(disturbed.read()) < ROWS, "it was not killed in the middle"
        both = [stage.backfill(name) for name in BACKFILLED]
        done = [[dg.DagsterRunStatus.SUCCESS]] * len(both)
        stage.until("both are through", lambda: [stage.of_backfill(one) for one in both] == done)
        assert len(undisturbed.read()) == ROWS
        assert disturbed.content_digest() == undisturbed.content_digest()


@dataclass
class Processes(Stage):
    """Time is the clock's.

    Attributes:
        webserver: Where it answers.
        deadline: When the story has taken too long, by the monotonic clock.
    """

    webserver: str
    deadline: float

    def turn(self) -> None:
        if time.monotonic() > self.deadline:
            raise TimeoutError
        time.sleep(STEP_S)

    def between_ticks(self) -> bool:
        return 5 <= datetime.now(timezone.utc).second <= 20

    def launch(self, job: str, keys: Sequence[str] = ()) -> str:
        tags = key_range(keys[0], keys[-1]) if keys else {}
        params = {
            "selector": {**SELECTOR, "jobName": job},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.ask(LAUNCH, {"params": params})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def backfill(self, asset: str) -> str:
        """Launch a backfill of some days, as the UI does; its id."""
        params = {"assetSelection": [{"path": [asset]}], "partitionNames": DAYS}
        launched = self.ask(BACKFILL, {"params": params})["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def of_backfill(self, backfill_id: str) -> list[dg.DagsterRunStatus]:
        """How its runs are."""
        return [run.status for run in self.runs({"dagster/backfill": backfill_id})]

    def ensure_shown(self, words: str) -> None:
        shown = self.ask(
            SHOWN,
            {
                "schedule": {**SELECTOR, "scheduleName": SCHEDULE},
                "sensor": {**SELECTOR, "sensorName": GAPS},
                "check_asset": {"path": ["temporis", "grid"]},
            },
        )
        assert words in str(shown), f"the webserver does not show {words!r}"
        print(f"{datetime.now(timezone.utc):%H:%M:%S} the webserver shows: {words}")  # noqa: T201  for whoever watches

    def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the webserver answers."""
        asked = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.webserver}/graphql", json=asked, timeout=ANSWER_S, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert not answer.json().get("errors"), answer.json()
        return answer.json()["data"]


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """The service, the code server, the daemon and the webserver, until this is left."""
    start = datetime.now(timezone.utc).replace(second=0, microsecond=0) - BEFORE * MINUTE
    store = SqlStore(f"sqlite:///{folder}/temporis.db")
    for name in ("grid", "legacy", "disturbed", "undisturbed"):
        store.create_data_source(name)
    store.set_archived("legacy", archived=True)
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(INSTANCE))
    code_port, web_port = free_ports(2)
    workspace = folder / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": code_port, "location_name": "story"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    with ExitStack() as stack:
        service = ServiceProcess(store.url)
        stack.callback(service.stop)
        environment = {
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "E2E_URL": service.url,
            "E2E_TOKEN": store.tokens.create("story"),
            "E2E_FOLDER": str(folder),
            "E2E_START": start.strftime(FORMAT),
            "E2E_EXCLUDE_LATEST": str(LOOKBACK),
            "PYTHONWARNINGS": "ignore",
        }
        stack.callback(store.close)
        stack.enter_context(patch.dict(os.environ, environment))
        upstream = Upstream(folder)
        upstream.say(version=1.0, fails=((start + MINUTE).strftime(FORMAT), 1_000_000))
        at = ["-h", "127.0.0.1", "-p"]
        code = ["dagster", "api", "grpc", "-f", str(DEFINITIONS), "-d", str(ROOT), "--location-name", "story"]
        web = f"http://127.0.0.1:{web_port}"
        stack.enter_context(process(folder, *code, *at, str(code_port)))
        wait_for(lambda: socket.create_connection(("127.0.0.1", code_port), 1).close())
        stack.enter_context(process(folder, "dagster-webserver", "-w", str(workspace), *at, str(web_port)))
        stack.enter_context(process(folder, "dagster-daemon", "run", "-w", str(workspace)))
        wait_for(lambda: httpx.get(f"{web}/server_info", timeout=ANSWER_S, trust_env=False).raise_for_status())
        instance = stack.enter_context(dg.DagsterInstance.get())
        grid = stack.enter_context(connect(store.url)).data_source("grid")
        yield Processes(instance, upstream, grid, store.url, start, web, time.monotonic() + LONGEST_S)


@contextmanager
def process(folder: Path, program: str, *arguments: str) -> Iterator[None]:
    """A program of this environment, with all that it starts; what it says is kept in the folder."""
    path = Path(sys.executable).parent / program
    assert path.exists(), f"{path} is not there: run this with `make soak`, whose environment has Dagster's webserver"
    with (folder / f"{program}.log").open("wb") as log:
        command = [str(path), *arguments]
        started = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            yield
        finally:
            started.terminate()
            with suppress(subprocess.TimeoutExpired):  # a code server first ends what it was asked to evaluate
                started.wait(30)
            end_group(started.pid)
            started.wait()


def end_group(pid: int) -> None:
    """End what a process of ours has left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def wait_for(reach: Any) -> None:
    """Try until it does not fail."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            reach()
        except (OSError, httpx.HTTPError):  # noqa: PERF203  waiting is the point
            if time.monotonic() > deadline:
                raise
            time.sleep(STEP_S)
        else:
            return
