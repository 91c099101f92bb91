"""The first steps of the component page, followed to the letter by a shell."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.first_steps import follow

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("dagster_dg_cli") is None, reason="`dg` is installed in .venv only, where this runs")
def test_the_first_steps_of_the_page_lead_to_a_stored_observation(tmp_path):
    """From an empty folder: a project, a scaffolded component that loads, a run, and what it stored."""
    follow(tmp_path, sys.executable, packages=str(ROOT))
