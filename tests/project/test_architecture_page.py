"""docs/architecture.md cannot drift: it names the rooms that there are, and the docs mention no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from temporis_dagster import DataSource, TemporisIOManager, spark, temporis_asset
from temporis_dagster.cli.ingest import ingest
from temporis_dagster.components.ingest_options import IngestOptions
from temporis_dagster.data_source.observations import ObservationArguments, ObservationOptions

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "temporis_dagster"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_architecture_names_every_room_and_no_other():
    """Folder by folder, the modules and folders of the package are exactly those of the page."""
    rooms = ARCHITECTURE.read_text().split("\n## The rooms\n")[1]
    named = {
        folder.strip("/"): re.findall(r"^\| `([\w./]+)` \|", section, re.MULTILINE)
        for folder, section in re.findall(r"^### `([\w/]+)`(.*?)(?=^### |\Z)", rooms, re.DOTALL | re.MULTILINE)
    }
    folders = {PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))}
    assert {folder.relative_to(ROOT).as_posix() for folder in folders} == set(named)
    for folder in folders:
        inside = {path.name for path in folder.glob("*.py") if path.name != "__init__.py" or folder == PACKAGE}
        inside |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
        assert sorted(named[folder.relative_to(ROOT).as_posix()]) == sorted(inside), folder


def test_the_modules_that_the_docs_mention_exist():
    """A module that is named in the text of a page is still there."""
    there = {f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.rglob("*.py") if ".venv" not in path.parts[0]}
    for page in PAGES:
        for name in re.findall(r"`([a-z_/]+\.py)`", page.read_text().split("\n## The rooms\n")[0]):
            own = name in ("definitions.py", "resources.py", "make_orders.py") or name.startswith(
                "src/"
            )  # of the reader's project
            assert own or any(path.endswith(f"/{name}") for path in there), f"{page.name}: {name}"


def test_every_surface_has_every_option_of_a_frame():
    """What the page lists for a new option is complete: Python, assets, the IO manager, YAML and the command line."""
    options = set(ObservationOptions.__dataclass_fields__)
    assert options == set(ObservationArguments.__annotations__)
    of_assets = {"name_column" if option == "name" else option for option in options}  # ``name`` is the asset's own
    assert options <= set(inspect.signature(DataSource.upsert).parameters)
    assert of_assets <= set(inspect.signature(temporis_asset).parameters)
    assert options <= set(TemporisIOManager.model_fields)
    assert of_assets <= set(IngestOptions.model_fields)
    assert options <= {parameter.name for parameter in ingest.params}
    assert options - {"on_conflict"} <= set(inspect.signature(spark.upsert).parameters)  # order_by decides there
    api = (ROOT / "docs" / "api.md").read_text()
    assert all(f"`{option}`" in api for option in options)
