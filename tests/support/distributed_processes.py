"""A Dagster deployment with everything real: instance in PostgreSQL, broker, daemon and three Celery workers.

Comes in: the folder of a recipe, URLs. Goes out: a deployment, whose workers can be killed and started again.
Never: waits for anything without a deadline, or leaves a process, a virtual host or a file behind.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import dagster as dg
import sqlalchemy as sa
import yaml

from tests.support.dagster_harness import requested_backfill
from tests.support.distributed_watch import FOLDER, RECIPE, Watch

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "tests" / "support" / "distributed_definitions.py"
WORKERS = ("w1", "w2", "w3")
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
LONGEST_S, STEP_S = 600.0, 0.2


class Worker:
    """A worker of the recipe, in a process group of its own.

    Args:
        name: Its name.
        log: Where its output goes.
        environment: Its environment.
    """

    def __init__(self, name: str, log: Path, environment: Mapping[str, str]) -> None:
        self.name, self._log = name, log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [str(RECIPE / "worker.sh"), name], env=environment, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def ready(self) -> bool:
        """Whether it listens; an error if it has ended."""
        assert self.process.poll() is None, f"worker {self.name} has ended:\n{self.said()[-3_000:]}"
        return f"{self.name}@" in self.said() and " ready." in self.said()

    def said(self) -> str:
        """Its output."""
        return self._log.read_text(errors="replace")

    @property
    def at_work(self) -> bool:
        """Whether it has begun a task and not ended it."""
        said = self.said()
        return said.count("] received") > said.count("] succeeded in") + said.count("raised error: WorkerLostError")

    def kill_child(self) -> None:
        """Kill the process in which it runs its step, as a machine without memory does."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def kill(self) -> None:
        """Kill it and what it has started, at once."""
        end_group(self.process.pid)
        self.process.wait()


class Deployment:
    """A running deployment.

    Args:
        folder: Where its files are.
        environment: The environment of all its processes.
        instance: Its instance.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], instance: dg.DagsterInstance) -> None:
        self.folder, self.environment, self.instance = folder, environment, instance
        self.home, self.watch = Path(environment["DAGSTER_HOME"]), Watch(folder)
        self.workers: dict[str, Worker] = {}
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and the workers, and wait until the workers listen."""
        workspace = self.folder / "workspace.yaml"
        location = {"relative_path": str(DEFINITIONS), "working_directory": str(ROOT), "location_name": "distributed"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": location}]}))
        for name in WORKERS:
            self.start_worker(name)
        with (self.folder / "daemon.log").open("wb") as log:
            command = [program("dagster-daemon"), "run", "-w", str(workspace)]
            self._daemon = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.until("the workers listen", lambda: all(worker.ready for worker in self.workers.values()))

    def start_worker(self, name: str) -> Worker:
        """Start a worker, in place of one with this name that has ended."""
        self.workers[name] = Worker(name, self.folder / f"{name}.{uuid4().hex[:6]}.log", self.environment)
        return self.workers[name]

    def restore(self) -> None:
        """Start a worker in place of each one that was killed, and wait until all of them listen."""
        for name, worker in list(self.workers.items()):
            if worker.process.poll() is not None:
                self.start_worker(name)
        self.until("the workers listen", lambda: all(worker.ready for worker in self.workers.values()))

    def stop(self) -> None:
        """End every process, at once."""
        for worker in self.workers.values():
            worker.kill()
        if self._daemon is not None:
            end_group(self._daemon.pid)
            self._daemon.wait()

    def worker_of(self, pid: int) -> Worker:
        """The worker that a process belongs to."""
        group = os.getpgid(pid)
        return next(worker for worker in self.workers.values() if worker.process.pid == group)

    def backfill(self, defs: dg.Definitions, assets: Sequence[str], days: Sequence[str]) -> str:
        """Request a backfill, as the UI does; its id."""
        keys = [dg.AssetKey(asset) for asset in assets]
        return requested_backfill(self.instance, defs.get_repository_def(), keys, days, uuid4().hex[:8])

    def runs(self, backfill: str) -> list[dg.DagsterRun]:
        """Its runs, the newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))

    def until_ended(self, backfill: str, count: int) -> list[dg.DagsterRun]:
        """Wait until so many runs of a backfill have ended, and return them."""
        self.until(
            f"{count} runs have ended",
            lambda: len(self.runs(backfill)) >= count and all(run.status in ENDED for run in self.runs(backfill)),
        )
        return self.runs(backfill)

    def held_back(self, backfill: str) -> int:
        """Of how many runs of a backfill the daemon has said that a pool holds them back."""
        said = (self.folder / "daemon.log").read_text(errors="replace")
        return sum(f"Run {run.run_id} is blocked by global concurrency" in said for run in self.runs(backfill))

    def backfill_ended(self, backfill: str) -> str:
        """How it has ended; nothing while it goes on."""
        status = str(self.instance.get_backfill(backfill).status.value)
        return status if status.startswith(("COMPLETED", "FAILED", "CANCELED")) else ""

    def start_times(self, backfill: str) -> dict[tuple[str, str], list[float]]:
        """When each step of the runs of a backfill was started, by run and step."""
        times = defaultdict(list)
        for run in self.runs(backfill):
            for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
                times[run.run_id, str(entry.step_key)].append(entry.timestamp)
        return {step: sorted(of_step) for step, of_step in times.items()}

    def until(self, what: str, reached: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
        """Wait for something that the deployment does."""

        def seen() -> bool:
            assert self._daemon is None or self._daemon.poll() is None, f"the daemon has ended:\n{self.last_words()}"
            return reached()

        try:
            until(what, seen, longest_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.last_words()}") from None

    def logs(self, last: int = 0) -> str:
        """What all processes have said, or the end of it."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-last:]}" for path in paths)

    def last_words(self) -> str:
        """The ends of all logs, for a failing test."""
        return self.logs(2_000)


@contextmanager
def deployment(
    folder: Path, broker: str, database: str, instance_settings: Mapping[str, object] | None = None, **variables: str
) -> Iterator[Deployment]:
    """Run a deployment of the recipe until this is left.

    Args:
        folder: An empty folder.
        broker: The URL of a virtual host of its own.
        database: The URL of an empty PostgreSQL database, for the instance and for Celery's results.
        instance_settings: What to add to the recipe's dagster.yaml.
        **variables: Further variables of the environment of every process.
    """
    (home := folder / "dagster_home").mkdir()
    settings = yaml.safe_load((RECIPE / "dagster.yaml").read_text()) | dict(instance_settings or {})
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    environment = environment_of(
        folder,
        DAGSTER_POSTGRES_URL=database,
        DAGSTER_CELERY_BROKER_URL=broker,
        DAGSTER_CELERY_BACKEND_URL=f"db+{database}",
        **variables,
    )
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment))
        instance = stack.enter_context(dg.DagsterInstance.get())
        started = Deployment(folder, environment, instance)
        stack.callback(started.stop)
        started.start()
        yield started


def environment_of(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a process: this environment's programs, this project's code, and the folder's Dagster home."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore",
        "DAGSTER_HOME": str(folder / "dagster_home"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        FOLDER: str(folder),
        **variables,
    }


def until(what: str, reached: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + longest_s
    while not reached():
        assert time.monotonic() < deadline, f"not reached in {longest_s:.0f} s: {what}"
        time.sleep(STEP_S)


@contextmanager
def virtual_host(broker: str) -> Iterator[str]:
    """A virtual host of our own at a broker of this machine; without rabbitmqctl, the one that the URL names."""
    control, name = rabbitmqctl(), f"temporis_tests_{uuid4().hex[:8]}"
    if control is None:
        yield broker
        return
    user = sa.make_url(broker).username
    for command in (["add_vhost", name], ["set_permissions", "-p", name, user, ".*", ".*", ".*"]):
        subprocess.run([control, "-q", *command], check=True)
    try:
        yield sa.make_url(broker).set(drivername="pyamqp", database=name).render_as_string(hide_password=False)
    finally:
        subprocess.run([control, "-q", "delete_vhost", name], check=True)


def rabbitmqctl() -> str | None:
    """The broker's program for administrators, if this user may run it."""
    found = shutil.which("rabbitmqctl") or shutil.which("rabbitmqctl", path="/usr/sbin:/sbin")
    if found is None or subprocess.run([found, "-q", "list_vhosts"], capture_output=True, check=False).returncode:
        return None
    return found


def cut_connections(broker: str) -> None:
    """Close every connection to a virtual host, as a network that fails does."""
    control = rabbitmqctl()
    assert control is not None
    vhost = sa.make_url(broker).database
    subprocess.run([control, "-q", "close_all_connections", "--vhost", vhost, "a test"], check=True)


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).parent / name)


def end_group(pid: int) -> None:
    """Kill what is left of a process group of ours."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
