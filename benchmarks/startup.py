"""Starting: what the library adds to an import of pandas, and how long short commands take. Each in a new process.

Python's compiled files are there: each way runs once before it is measured.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import ROOT, Given, Goal, Table, Turn, in_turns
from temporis_dagster import connect

PANDAS, OURS = "`import pandas`", "`import temporis_dagster`"
HELP, INGEST = "`temporis --help`", "`temporis ingest` of one row"
STEP = "one process"
ROW = "timestamp,name,value\n2024-06-20T08:00:00Z,orders,42\n"


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    table = Table(
        "startup",
        "Starting a process",
        columns={"milliseconds": "ms", "processor_ms": "processor, ms"},
        goals=[
            Goal(8, f"{OURS}, above pandas", OURS, STEP, at_most=50, above=PANDAS, figure="milliseconds", unit="ms"),
            Goal(8, HELP, HELP, STEP, at_most=300, figure="milliseconds", unit="ms"),
            Goal(8, INGEST, INGEST, STEP, at_most=1_200, figure="milliseconds", unit="ms"),
        ],
    )
    with TemporaryDirectory() as folder:
        url, file = f"sqlite:///{folder}/temporis.db", Path(folder) / "row.csv"
        file.write_text(ROW)
        with connect(url) as temporis:
            temporis.create_data_source("metrics")
        temporis_command = ["-m", "temporis_dagster.cli"]
        commands = {
            PANDAS: ["-c", "import pandas"],
            OURS: ["-c", "import pandas, temporis_dagster"],
            HELP: [*temporis_command, "--help"],
            INGEST: [*temporis_command, "ingest", str(file), "--data-source", "metrics", "--url", url],
        }
        if not given.smoke:
            for command in commands.values():
                seconds(command)
        ways = {name: partial(started, command) for name, command in commands.items()}
        yield in_turns(table, ways, 1 if given.smoke else 2 * given.rounds)


def started(command: list[str], turn: Turn) -> None:
    """One process."""
    turn.note(STEP, seconds(command))


def seconds(command: list[str]) -> Mapping[str, float]:
    """How long a process of this interpreter takes, and how much processor time."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"milliseconds": 1_000 * wall, "processor_ms": 1_000 * used}
