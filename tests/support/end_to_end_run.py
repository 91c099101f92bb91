"""A run of a job of the story, from its first event to its last: here, or in a process of its own that may be killed.

Comes in: the name of a job, tags, an id. Goes out: what the run leaves in the instance and in the data source.
Never: launches through a daemon.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import dagster as dg


def execute(instance: dg.DagsterInstance, defs: dg.Definitions, run_id: str, job: str, tags: Mapping[str, str]) -> bool:
    """Run it here; whether it succeeded."""
    found = defs.resolve_job_def(job)
    return found.execute_in_process(instance=instance, run_id=run_id, tags=dict(tags), raise_on_error=False).success


def start(job: str, tags: Mapping[str, str], run_id: str | None = None) -> "subprocess.Popen[bytes]":
    """Run it in a process of its own, which ends with 0 whatever becomes of the run."""
    command = [sys.executable, "-W", "ignore", __file__, run_id or str(uuid4()), job, json.dumps(dict(tags))]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.support.end_to_end_definitions import defs as loaded

    with dg.DagsterInstance.get() as shared:
        execute(shared, loaded, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
