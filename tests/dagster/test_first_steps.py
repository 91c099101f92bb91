"""The first steps of the component page, followed to the letter by a shell."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_spec("dagster_dg_cli") is None, reason="`dg` is installed in .venv only, where this runs")
def test_the_first_steps_of_the_page_lead_to_a_stored_observation():
    """From an empty folder: a project, a scaffolded component that loads, a run, and what it stored."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(ROOT / ".ci" / "first_steps.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
