"""The first steps of the component page, and the project of the tutorial, followed to the letter by a shell."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from temporis_dagster import connect
from tests.support.first_steps import follow, follow_the_tutorial

ROOT = Path(__file__).parents[2]


pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("dagster_dg_cli") is None, reason="`dg` is installed in .venv only, where this runs"),
]


def test_the_first_steps_of_the_page_lead_to_a_stored_observation(tmp_path):
    """From an empty folder: a project, a scaffolded component that loads, a run, and what it stored."""
    follow(tmp_path, sys.executable, packages=str(ROOT))


@pytest.mark.once
def test_the_tutorial_leads_to_a_table_that_is_ingested_unless_its_data_source_is_archived(tmp_path):
    """Three days of a table are stored by its job; the job stops at the check while the data source is archived."""
    printed = follow_the_tutorial(tmp_path, sys.executable, packages=str(ROOT))
    assert "The check has stopped the run." in printed
    assert "skipping: Archived: shop." in printed
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        stored = temporis.data_source("shop").read()
    assert stored.groupby("name").size().to_dict() == {"orders": 72, "revenue": 72}
    assert stored["value"][stored["name"] == "orders"].tolist() == [3.0] * 72
