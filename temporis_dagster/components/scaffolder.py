"""``dg scaffold defs``: a first YAML file that loads and runs without edits, with comments on what to change.

Comes in: the options of the command. Goes out: a defs.yaml, a function if the user asked for one, and the project's
resources if it has none.
Never: writes a secret, or overwrites a file of the project.
"""

from collections.abc import Iterator
from pathlib import Path

from dagster.components import Scaffolder, ScaffoldRequest
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, Field

ASSET = """\
# To run it, set the environment variable{variables}, create the data source, and store a day:
#   temporis sources create {data_source} --store $TEMPORIS_URL
#   dg launch --assets {asset_key} --partition 2024-01-01
# With 'schedule: {{lookback: 3}}' under attributes, there is a job that asks first whether the data source is archived:
#   dg launch --job {job} --partition 2024-01-01
type: {type_name}

attributes:
  data_source: {data_source}
  asset:
    key: {asset_key}
    partitions_def:
      type: daily
      start_date: "2024-01-01"
      timezone: UTC
"""
SQL = """\
  # Instead of sql: 'function: .my_module.fetch', called as fetch(start, end) with datetimes in UTC.
  sql:
    url: "{{{{ env.{url_variable} }}}}"
    # This query runs on any database and stores one observation per run. Replace it with your own, such as
    #   SELECT measured_at AS timestamp, sensor AS name, reading AS value
    #   FROM readings
    #   WHERE measured_at >= :start AND measured_at < :end
    query: |
      SELECT :start AS timestamp, 'example' AS name, 1.0 AS value
      WHERE :start < :end
    time_column:
      # How the column that is compared with :start and :end holds time: timestamptz, epoch (unit: s), naive
      # (timezone: ...) or text (timezone: ..., format: ...).
      stored_as: epoch
"""
FUNCTION = """\
  # Called with start and end of the window, as datetimes in UTC; see fetching.py.
  function: .fetching.fetch
"""
MODULE = '''\
from datetime import datetime

import pandas as pd


def fetch(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the observations of a window, its end excluded. Replace this with your own."""
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({"example": 1.0}, index=hours)
'''
RESOURCES = """\
import dagster as dg

from temporis_dagster import TemporisIOManager, TemporisResource

temporis = TemporisResource(url=dg.EnvVar("TEMPORIS_URL"))  # the token, if any, comes from TEMPORIS_TOKEN


@dg.definitions
def temporis_resources() -> dg.Definitions:
    return dg.Definitions(resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)})
"""


class IngestScaffoldParams(BaseModel):
    """The options of ``dg scaffold defs``."""

    data_source: str = Field(default="my_data_source", description="Name of the data source to write to.")
    asset_key: str | None = Field(default=None, description="Key of the asset. Defaults to the folder's name.")
    url_variable: str = Field(
        default="WAREHOUSE_URL", description="Environment variable that holds the URL of the database to read from."
    )
    function: bool = Field(default=False, description="Write a Python function instead of a SQL query.")


class IngestScaffolder(Scaffolder[IngestScaffoldParams]):
    """Writes the YAML file of a ``TemporisIngestComponent``, and the files that it needs."""

    @classmethod
    def get_scaffold_params(cls) -> type[IngestScaffoldParams]:
        """Return the options of the command."""
        return IngestScaffoldParams

    def scaffold(self, request: ScaffoldRequest[IngestScaffoldParams]) -> None:
        """Write defs.yaml, or component.py for the Python format, and resources if the project has none."""
        _write_resources(request.target_path)
        if request.scaffold_format != "yaml":
            scaffold_component(request)
            return
        params = request.params
        asset_key = params.asset_key or request.target_path.name
        text = (ASSET + (FUNCTION if params.function else SQL)).format(
            type_name=request.type_name,
            data_source=params.data_source,
            asset_key=asset_key,
            job=f"{asset_key.replace('/', '__')}_job",
            url_variable=params.url_variable,
            variables=" TEMPORIS_URL" if params.function else f"s TEMPORIS_URL and {params.url_variable}",
        )
        with (request.target_path / "defs.yaml").open("a" if request.append else "w", encoding="utf-8") as file:
            file.write(f"---\n{text}" if request.append else text)
        if params.function:
            _write_new(request.target_path / "fetching.py", MODULE)


def _write_resources(folder: Path) -> None:
    """Write resources if no module of the package names the IO manager, without which no component would load."""
    defs = next((parent for parent in folder.parents if parent.name == "defs"), None)
    if defs is None or not (defs.parent / "__init__.py").is_file() or any(_names_resources(defs.parent)):
        return
    free = defs / "resources.py"
    _write_new(defs / "temporis_resources.py" if free.exists() else free, RESOURCES)


def _names_resources(package: Path) -> Iterator[bool]:
    for module in package.rglob("*.py"):
        yield "temporis_io_manager" in module.read_text(encoding="utf-8", errors="replace")


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")
