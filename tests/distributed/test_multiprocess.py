"""Dagster's own executor for one machine, with a process for each step, of which one is killed."""

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from unittest.mock import patch

import dagster as dg
import pytest

from tests.support.dagster_harness import key_range
from tests.support.distributed_definitions import ON_ONE_MACHINE
from tests.support.distributed_processes import DEFINITIONS, ROOT, end_group, environment_of, program, until
from tests.support.distributed_targets import DAYS
from tests.support.distributed_watch import Watch

pytestmark = pytest.mark.timeout(900)  # five processes: seconds on an idle machine, minutes on a busy one


@contextmanager
def run_of(job, folder, environment):
    """A run of a job by `dagster job execute`; whatever it has started ends with the block."""
    command = ["job", "execute", "-f", str(DEFINITIONS), "-d", str(ROOT), "-j", job]
    tags = json.dumps(key_range(DAYS[0], DAYS[-1]))
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [program("dagster"), *command, "--tags", tags],
            env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            end_group(process.pid)
            process.wait()


def test_a_run_whose_step_is_killed_ends_like_an_undisturbed_one(target, tmp_path, undisturbed):
    """kill -9 of the process of a step: the retry policy starts it again, in a new process, and the run succeeds."""
    variables, source = target
    home, watch = tmp_path / "dagster_home", Watch(tmp_path)
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    environment = environment_of(tmp_path, **variables)
    watch.arm()
    with run_of(ON_ONE_MACHINE, tmp_path, environment) as run:

        def waits():
            assert run.poll() is None, (tmp_path / "run.log").read_text()[-3_000:]
            return watch.victim() is not None

        until("a step waits to be killed", waits)
        os.kill(watch.victim().pid, signal.SIGKILL)
        assert run.wait() == 0, (tmp_path / "run.log").read_text()[-3_000:]
    with patch.dict(os.environ, environment), dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        kinds = (dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED)
        again = [instance.all_logs(run.run_id, of_type=kind) for kind in kinds]
    assert [[entry.step_key for entry in entries] for entries in again] == [["departures"]] * 2
    assert (len(source.read()), source.content_digest()) == undisturbed
