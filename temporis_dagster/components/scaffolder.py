"""``dg scaffold defs``: a first YAML file that loads as it is, and says what to change.

Comes in: the options of the command. Goes out: a defs.yaml.
Never: writes a secret, or anything that ``dg check yaml`` refuses.
"""

from dagster.components import Scaffolder, ScaffoldRequest
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, Field

TEMPLATE = """\
type: {type_name}

attributes:
  data_source: {data_source}
  asset:
    key: {asset_key}
    partitions_def:
      type: daily
      start_date: "2024-01-01"
      timezone: UTC
  # Instead of sql: 'function: .my_module.fetch', called as fetch(start, end) with datetimes in UTC.
  sql:
    url: "{{{{ env.{url_variable} }}}}"
    query: |
      SELECT measured_at AS timestamp, sensor AS name, reading AS value
      FROM readings
      WHERE measured_at >= :start AND measured_at < :end
    time_column:
      # Or epoch (unit: s), naive (timezone: ...), text (timezone: ..., format: ...).
      stored_as: timestamptz
"""


class IngestScaffoldParams(BaseModel):
    """The options of ``dg scaffold defs``."""

    data_source: str = Field(default="my_data_source", description="The data source that is written.")
    asset_key: str | None = Field(default=None, description="The key of the asset; by default the folder's name.")
    url_variable: str = Field(
        default="WAREHOUSE_URL", description="The environment variable that holds the URL of the database to read."
    )


class IngestScaffolder(Scaffolder[IngestScaffoldParams]):
    """Writes the YAML file of a ``TemporisIngestComponent``."""

    @classmethod
    def get_scaffold_params(cls) -> type[IngestScaffoldParams]:
        """What the command asks for."""
        return IngestScaffoldParams

    def scaffold(self, request: ScaffoldRequest[IngestScaffoldParams]) -> None:
        """Write defs.yaml, or component.py where Python was asked for."""
        if request.scaffold_format != "yaml":
            scaffold_component(request)
            return
        params = request.params
        text = TEMPLATE.format(
            type_name=request.type_name,
            data_source=params.data_source,
            asset_key=params.asset_key or request.target_path.name,
            url_variable=params.url_variable,
        )
        with (request.target_path / "defs.yaml").open("a" if request.append else "w", encoding="utf-8") as file:
            file.write(f"---\n{text}" if request.append else text)
