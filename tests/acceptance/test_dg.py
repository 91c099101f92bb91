"""Components, used the way their first user would: a new project, nothing but the installed wheel and `dg`."""

from __future__ import annotations

import sqlite3

import pytest

from tests.support.first_steps import follow

pytestmark = pytest.mark.timeout(1_200)  # each `dg` command imports everything again

TYPE = "temporis_dagster.components.TemporisIngestComponent"
PYPROJECT = """\
[project]
name = "plant"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "plant"
"""
DEFINITIONS = """\
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
RESOURCES = """\
import dagster as dg

from temporis_dagster import TemporisIOManager, TemporisResource

temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_URL"))


@dg.definitions
def resources():
    return dg.Definitions(
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        executor=dg.in_process_executor,
    )
"""
FUNCTION = """\
import pandas as pd


def fetch(start, end):
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({"outside_temperature": range(len(hours))}, index=hours)
"""
WEATHER = f"""\
type: {TYPE}
attributes:
  data_source: plant_a
  asset:
    key: weather
    partitions_def: {{type: hourly, start_date: "2024-01-01-00:00", timezone: UTC}}
  function: .fetching.fetch
  schedule: {{lookback: 3}}
  gap_fill: {{horizon: 48}}
  series_checks: {{max_age: 3h, expected_series: [outside_temperature]}}
"""
SCAFFOLDED = """\
      SELECT :start AS timestamp, 'example' AS name, 1.0 AS value
      WHERE :start < :end
"""
QUERY = """\
      SELECT measured_at AS timestamp, sensor AS name, reading AS value
      FROM readings
      WHERE measured_at >= :start AND measured_at < :end
"""


class Project:
    """A new `dg` project with a warehouse, a data source, and a component of a Python function."""

    def __init__(self, folder, run):
        self.folder, self._run = folder, run
        self.package = folder / "src" / "plant"
        self.defs = self.package / "defs"
        self.yaml = self.defs / "readings" / "defs.yaml"
        self.environment = {
            "DAGSTER_HOME": str(folder / "home"),
            "PYTHONPATH": str(folder / "src"),
            "TEMPORIS_URL": f"sqlite:///{folder}/temporis.db",
            "WAREHOUSE_URL": f"sqlite:///{folder}/warehouse.db",
        }
        (folder / "home").mkdir()
        (self.defs / "weather").mkdir(parents=True)
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (self.package / "__init__.py").touch()
        (self.package / "definitions.py").write_text(DEFINITIONS)
        (self.defs / "__init__.py").touch()
        (self.defs / "resources.py").write_text(RESOURCES)
        (self.defs / "weather" / "fetching.py").write_text(FUNCTION)
        (self.defs / "weather" / "defs.yaml").write_text(WEATHER)
        warehouse(folder / "warehouse.db")
        run("temporis", "sources", "create", "plant_a", TEMPORIS_STORE=self.environment["TEMPORIS_URL"])

    def dg(self, *arguments, fails=False):
        """Run `dg` in the project and return what it printed."""
        return self._run("dg", *arguments, fails=fails, cwd=self.folder, **self.environment)

    def scaffold(self, name, *options):
        self.dg("scaffold", "defs", TYPE, name, "--data-source", "plant_a", *options)

    def complete_the_query(self):
        scaffolded = self.yaml.read_text()
        assert SCAFFOLDED in scaffolded, scaffolded
        self.yaml.write_text(scaffolded.replace(SCAFFOLDED, QUERY))

    def stored(self, series):
        """How many observations of a series the data source holds."""
        csv = self._run("temporis", "read", "--data-source", "plant_a", TEMPORIS_URL=self.environment["TEMPORIS_URL"])
        return sum(line.split(",")[1] == series for line in csv.splitlines())


def warehouse(path):
    """A database as operations have it: readings at whole hours of UTC, as Unix seconds."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE readings (measured_at INTEGER, sensor TEXT, reading REAL)")
        hours = [(1_704_067_200 + hour * 3_600, "boiler", float(hour)) for hour in range(72)]
        database.executemany("INSERT INTO readings VALUES (?, ?, ?)", hours)
    database.close()


@pytest.fixture
def project(tmp_path, run):
    return Project(tmp_path, run)


def test_the_first_steps_of_the_page_work(wheel_python, tmp_path):
    """From an empty folder to a stored observation, by typing what docs/components.md shows."""
    follow(tmp_path, str(wheel_python))


def test_dg_lists_scaffolds_checks_and_launches_components(project):
    """A query over two days, the scaffolded example and a Python function each store exactly the rows of their run."""
    assert TYPE in project.dg("list", "components", "--json")
    project.scaffold("readings")
    project.scaffold("example", "--function", "true")
    assert (project.defs / "resources.py").read_text() == RESOURCES, "scaffolding replaced the project's own resources"
    project.dg("check", "yaml")
    project.dg("check", "defs")
    project.complete_the_query()
    project.dg("check", "yaml")
    project.dg("check", "defs")
    assert "weather_job_schedule" in project.dg("list", "defs", "--json")
    project.dg("launch", "--assets", "readings", "--partition-range", "2024-01-01...2024-01-02")
    project.dg("launch", "--assets", "example", "--partition", "2024-01-01")
    project.dg("launch", "--assets", "weather", "--partition", "2024-01-01-05:00")
    stored = {series: project.stored(series) for series in ("example", "boiler", "outside_temperature")}
    assert stored == {"example": 24, "boiler": 48, "outside_temperature": 1}


def test_dg_points_at_the_line_of_a_mistake(project):
    """`dg check` names the file and the misspelled attribute, or the value and what would have been right."""
    project.scaffold("readings")
    right = project.yaml.read_text()
    project.yaml.write_text(right.replace("stored_as:", "storedas:"))
    # The folder is named because dg otherwise checks one file per type.
    printed = project.dg("check", "yaml", str(project.yaml.parent), fails=True)
    assert "readings/defs.yaml:" in printed
    assert "storedas" in printed
    project.yaml.write_text(right.replace("stored_as: epoch", "stored_as: eopch"))
    printed = project.dg("check", "defs", fails=True)
    assert "defs.yaml:" in printed
    assert "'epoch'" in printed
