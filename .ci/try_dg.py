"""Use components the way their first user would: a new project, with nothing but the installed wheel and `dg`.

Run by the Python of an environment that holds both. It lists, scaffolds, checks and launches, and reads what is stored.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from first_steps import follow

import temporis_dagster
from temporis_dagster import connect

assert "site-packages" in temporis_dagster.__file__, temporis_dagster.__file__  # noqa: S101

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


def project(folder: Path) -> Path:
    package = folder / "src" / "plant"
    (package / "defs" / "weather").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    (package / "defs" / "__init__.py").touch()
    (package / "defs" / "resources.py").write_text(RESOURCES)
    (package / "defs" / "weather" / "fetching.py").write_text(FUNCTION)
    (package / "defs" / "weather" / "defs.yaml").write_text(WEATHER)
    return package


def warehouse(path: Path) -> None:
    """A database as operations have it: local readings, at whole hours of UTC, as Unix seconds."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE readings (measured_at INTEGER, sensor TEXT, reading REAL)")
        hours = [(1_704_067_200 + hour * 3_600, "boiler", float(hour)) for hour in range(72)]
        database.executemany("INSERT INTO readings VALUES (?, ?, ?)", hours)
    database.close()


def dg(folder: Path, *arguments: str, fails: bool = False) -> str:
    command = [str(Path(sys.executable).with_name("dg")), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    said = done.stdout + done.stderr
    print("$ dg", *arguments, "->", done.returncode)
    assert (done.returncode != 0) == fails, said  # noqa: S101
    return said


follow(Path(tempfile.mkdtemp()))
folder = Path(tempfile.mkdtemp())
os.environ |= {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DAGSTER_HOME": str(folder / "home"),
    "PYTHONPATH": str(folder / "src"),
    "TEMPORIS_URL": f"sqlite:///{folder}/temporis.db",
    "WAREHOUSE_URL": f"sqlite:///{folder}/warehouse.db",
}
(folder / "home").mkdir()
package = project(folder)
warehouse(folder / "warehouse.db")
with connect(os.environ["TEMPORIS_URL"]) as temporis:
    source = temporis.create_data_source("plant_a")

    assert TYPE in dg(folder, "list", "components", "--json")  # noqa: S101
    dg(folder, "scaffold", "defs", TYPE, "readings", "--data-source", "plant_a")
    dg(folder, "scaffold", "defs", TYPE, "example", "--data-source", "plant_a", "--function", "true")
    assert (package / "defs" / "resources.py").read_text() == RESOURCES  # noqa: S101  the project's own
    yaml = package / "defs" / "readings" / "defs.yaml"
    dg(folder, "check", "yaml")
    dg(folder, "check", "defs")
    scaffolded = yaml.read_text()
    assert SCAFFOLDED in scaffolded, scaffolded  # noqa: S101
    yaml.write_text(scaffolded.replace(SCAFFOLDED, QUERY))
    dg(folder, "check", "yaml")
    dg(folder, "check", "defs")
    assert "weather_job_schedule" in dg(folder, "list", "defs", "--json")  # noqa: S101
    dg(folder, "launch", "--assets", "readings", "--partition-range", "2024-01-01...2024-01-02")
    dg(folder, "launch", "--assets", "example", "--partition", "2024-01-01")
    assert len(source.read(names=["example"])) == 24  # noqa: PLR2004, S101
    dg(folder, "launch", "--assets", "weather", "--partition", "2024-01-01-05:00")
    assert len(source.read(names=["boiler"])) == 48  # noqa: PLR2004, S101
    assert len(source.read(names=["outside_temperature"])) == 1  # noqa: S101

    right = yaml.read_text()
    yaml.write_text(right.replace("stored_as:", "storedas:"))
    complaint = dg(folder, "check", "yaml", str(yaml.parent), fails=True)  # without it, dg checks one file of a type
    assert "readings/defs.yaml:" in complaint and "storedas" in complaint, complaint  # noqa: PT018, S101
    yaml.write_text(right.replace("stored_as: epoch", "stored_as: eopch"))
    complaint = dg(folder, "check", "defs", fails=True)
    assert "defs.yaml:" in complaint and "'epoch'" in complaint, complaint  # noqa: PT018, S101
print("The components work: listed, scaffolded, checked and launched by dg.")
