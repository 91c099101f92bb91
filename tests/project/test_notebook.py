"""docs/notebook.ipynb runs, and shows what today's code shows."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CHANGING = re.compile(r"\b\d+\.\d\d s\b")
"""How long something took."""

LARGEST_BYTES = 150_000


def shown(notebook):
    """What each cell shows, without pictures, of which every machine makes others."""
    return [
        [
            {
                kind: "a picture" if kind.startswith("image/") else CHANGING.sub("... s", content)
                for kind, content in output.get("data", {"text": output.get("text")}).items()
            }
            for output in cell.get("outputs", ())
        ]
        for cell in notebook.cells
    ]


@pytest.fixture(scope="module")
def stored():
    """The notebook in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the programs that start the kernel
def test_the_notebook_runs_and_stores_what_todays_code_shows(stored):
    """Run in an empty folder, every cell shows what is stored; ``python docs/notebook.py`` stores it anew."""
    executed = runpy.run_path(str(ROOT / "docs" / "notebook.py"))["executed"]()
    assert shown(executed) == shown(stored)


def test_the_stored_notebook_is_valid_small_and_shows_everything_that_it_promises(stored):
    """A data source, a report, a plan, an error and a plot, each as a notebook shows it, and no error on the way."""
    nbformat.validate(stored)
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"execute_result", "display_data"}
    html = " ".join(output.data.get("text/html", "") for output in outputs)
    for part in ("<b>store_metrics</b>: a data source", "<td", "InvalidObservationsError", "changed"):
        assert part in html
    assert sum("image/png" in output.data for output in outputs) == 2
