"""TemporisIngestComponent: partitioned ingestion from a SQL query or a Python function, written in YAML.

Comes in: attributes, resolved from YAML or passed from Python. Goes out: plain Dagster definitions, made by the same
factories that Python code uses.
Never: has behaviour of its own: the asset is a ``@temporis_asset``, and the resources are the project's.
"""

import inspect
from types import ModuleType
from typing import Annotated, Any

import dagster as dg
from pydantic import Field, model_validator

from temporis_dagster.assets import temporis_asset
from temporis_dagster.components.automation import Automation
from temporis_dagster.components.code_version import code_version_of
from temporis_dagster.components.column_lineage import FrameColumns, column_lineage
from temporis_dagster.components.ingest_options import IngestOptions
from temporis_dagster.components.python_function import PythonFunction, resolve_python_function
from temporis_dagster.components.resolvers import Translation, described, translated
from temporis_dagster.components.scaffolder import IngestScaffolder
from temporis_dagster.components.sql_query import SqlQuery
from temporis_dagster.dagster_failures import failures_for_dagster
from temporis_dagster.dagster_keys import COLUMN_LINEAGE
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import COMPONENT, OUTSIDE_PARTITION, QUERY, TIME_COLUMN
from temporis_dagster.partition_windows import partition_windows


@dg.scaffold_with(IngestScaffolder)
class TemporisIngestComponent(dg.Component, dg.Resolvable, Automation, IngestOptions):
    """Ingests observations from a SQL query or a Python function into a Temporis data source.

    The asset is a `@temporis_asset`: a run over a range of partitions fetches the whole range at once, and sends one
    idempotent upsert. A schedule, a gap sensor and checks are optional.

    The project needs a `TemporisResource` and a `TemporisIOManager` under the resource keys `temporis` and
    `temporis_io_manager`. `dg scaffold defs temporis_dagster.components.TemporisIngestComponent NAME` writes a first
    file.

    In a subclass, `get_asset_spec` decides what the asset is called and how it is described, and `execute` returns the
    frame to store.
    """

    asset: dg.ResolvedAssetSpec = Field(
        description="The asset, as in other components: 'key', 'partitions_def', 'owners', ...",
        examples=[{"key": "orders", "partitions_def": {"type": "daily", "start_date": "2024-06-01"}}],
    )
    sql: Annotated[
        SqlQuery | None, described("The query whose rows are stored. Either this or 'function' must be given.")
    ] = None
    function: Annotated[
        PythonFunction | None,
        dg.Resolver(
            resolve_python_function,
            model_field_type=str | PythonFunction.model() | None,
            description="The function whose frame is stored. It is called with the start and the end of the window, as "
            "datetimes in UTC. Either this or 'sql' must be given.",
            examples=["my_module.fetch", {"call": ".stations.fetch", "arguments": {"station": "KLGA"}}],
        ),
    ] = None
    translation: Annotated[
        Translation | None,
        translated(
            "Attributes of the asset that depend on others: as in 'asset', but templates in them may use 'spec' (the "
            "asset so far) and 'data_source'. Metadata and tags are added, everything else is replaced.",
            examples=[{"key_prefix": "raw", "group_name": "{{ data_source }}"}],
        ),
    ] = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return what ``dg list components`` and the UI's picker show."""
        return dg.ComponentTypeSpec(
            description=inspect.getdoc(cls),
            owners=["team:temporis"],
            tags=["temporis", "sql", "time-series", "ingest"],
            produces=["asset", "asset_check", "job", "schedule", "sensor"],
        )

    @model_validator(mode="after")
    def _one_source(self) -> "TemporisIngestComponent":
        given = [self.sql, self.function].count(None) == 1
        neither = self.sql is None and self.function is None
        if not given and not (neither and self._fetches_itself):
            raise ValueError("Exactly one of sql: and function: must be given.")
        return self

    def get_asset_spec(self) -> dg.AssetSpec:
        """Return the asset as the component defines it: ``asset``, with the query, changed by ``translation``.

        Override it in a subclass to decide what the assets of all YAML files of this type are called, how they are
        described, or how they are partitioned. The dependency on the data source and the options of
        ``@temporis_asset`` are added to what it returns.

        Examples:
            .. code-block:: python

                class ShopIngestComponent(TemporisIngestComponent):
                    def get_asset_spec(self) -> dg.AssetSpec:
                        spec = super().get_asset_spec()
                        return spec.replace_attributes(key=spec.key.with_prefix("shop"), owners=["team:shop"])
        """
        spec = self.asset
        if self.sql is not None:
            spec = spec.replace_attributes(metadata={**self._of_query(self.sql), **spec.metadata})
        return spec if self.translation is None else self.translation(spec, {"data_source": self.data_source})

    def execute(self, context: dg.AssetExecutionContext) -> Any:
        """Fetch the observations of the run's partitions, and return the frame that the IO manager upserts.

        Override it in a subclass to change the frame, or to fetch it in another way; a subclass that does so needs
        neither ``sql`` nor ``function``.

        Args:
            context: Dagster's context of the asset.

        Examples:
            .. code-block:: python

                class CelsiusIngestComponent(TemporisIngestComponent):
                    def execute(self, context: dg.AssetExecutionContext) -> pd.DataFrame:
                        frame = super().execute(context)
                        return frame.assign(temperature=(frame["temperature"] - 32) / 1.8)
        """
        spans = _spans(context)
        if self.sql is None:
            return self.function.fetch(spans) if self.function else None
        found = self.sql.fetch(spans, self.timestamp or "timestamp")
        if found.remark:
            (context.log.warning if found.suspicious else context.log.info)(found.remark)
            context.add_output_metadata({TIME_COLUMN: found.remark})
        if not found.exact and self.outside_partition != "allow":
            context.add_output_metadata({OUTSIDE_PARTITION: "drop"})
        return found.frame

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the asset, its data source, and the automation and checks around them."""
        spec = self.get_asset_spec()
        self._ensure_usable(spec)
        asset = self._asset(spec)
        around = self.automate(asset, self.data_source)
        return dg.Definitions.merge(dg.Definitions(assets=[asset]), around, self._shared_defs(context))

    def _shared_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the data source's own definitions, if it is up to this component to provide them.

        Dagster marks each definition with its component, so two components with the same definition conflict. The first
        of those that define the data source does so for all of them, including the check if any of them needs it.
        """
        if not self.define_data_source:
            return dg.Definitions()
        tree = context.component_tree
        defining: list[TemporisIngestComponent] = [self]
        if isinstance(tree.defs_module, ModuleType):  # Dagster's test tools make trees without one
            every = tree.get_all_components(TemporisIngestComponent)
            shared = [one for one in every if one.define_data_source and one.data_source == self.data_source]
            defining = shared or defining
        if defining[0] is not self:
            return dg.Definitions()
        uri = next((one.uri for one in defining if one.uri is not None), None)
        needed = any(one.archive_check for one in defining)
        return self.data_source_defs(self.data_source, uri=uri, archive_check=needed)

    def _of_query(self, sql: SqlQuery) -> dict[str, Any]:
        """Return the metadata that show the query, and from which columns it computes its own."""
        columns = FrameColumns(self.timestamp or "timestamp", self.name_column or "name", self.value or "value")
        keys = [dep.asset_key for dep in self.asset.deps]
        lineage = column_lineage(sql.query, sql.dialect, keys, columns, self.layout)
        shown = {QUERY: dg.MetadataValue.md(f"```sql\n{sql.query}\n```")}
        return {**shown, COLUMN_LINEAGE: lineage} if lineage else shown

    @property
    def _fetches_itself(self) -> bool:
        """Whether a subclass overrides ``execute``, so that it may need neither a query nor a function."""
        return type(self).execute is not TemporisIngestComponent.execute

    def _ensure_usable(self, spec: dg.AssetSpec) -> None:
        """Refuse, while the code is loaded, what a run could not do."""
        name, partitions = spec.key.to_user_string(), spec.partitions_def
        if spec.skippable:
            raise ConfigurationError(
                f"{name} is skippable, but a window without rows must be materialized, with 0 rows, so that it does "
                "not count as a gap. Leave skippable out."
            )
        if self.sql is None and self.function is None:
            return
        if not isinstance(partitions, dg.TimeWindowPartitionsDefinition | None):
            raise ConfigurationError(
                f"The partitions of {name} must be time windows: a query or a function is only given the start and the "
                "end of one. Use hourly, daily, weekly or time_window, or an asset without partitions for each."
            )
        if self.function is not None:
            self.function.ensure_takes(window=partitions is not None)
        if self.sql is not None and self.sql.has_window != (partitions is not None):
            raise ConfigurationError(
                f"The query of {name} has :start and :end, but the asset has no partitions. Add partitions_def."
                if self.sql.has_window
                else f"{name} is partitioned, but its query has no :start and :end, so every partition would fetch "
                "everything. Compare its time column with them, as in 'WHERE at >= :start AND at < :end'."
            )

    def _asset(self, spec: dg.AssetSpec) -> dg.AssetsDefinition:
        @temporis_asset(**self._asset_arguments(spec))
        def ingest(context: dg.AssetExecutionContext) -> Any:
            with failures_for_dagster():
                return self.execute(context)

        return ingest

    def _asset_arguments(self, spec: dg.AssetSpec) -> dict[str, Any]:
        """Return the attributes of the spec and the component's options as arguments of ``@temporis_asset``."""
        options = self.arguments()
        if self.sql is not None and self.sql.time_column is not None and self.sql.time_column.timezone:
            options["timezone"] = self.timezone or self.sql.time_column.timezone
        overridden = type(self).execute if self._fetches_itself else None
        return options | {
            "key": spec.key,
            "partitions_def": spec.partitions_def,
            "deps": spec.deps,
            "description": spec.description,
            "metadata": {COMPONENT: type(self).__name__, **spec.metadata},
            "group_name": spec.group_name,
            "owners": spec.owners,
            "tags": {tag: value for tag, value in spec.tags.items() if not tag.startswith("dagster/kind/")},
            "kinds": spec.kinds,
            "code_version": spec.code_version or code_version_of(self.sql, self.function, options, overridden),
            "automation_condition": spec.automation_condition,
            "freshness_policy": spec.freshness_policy,
        }


def _spans(context: dg.AssetExecutionContext) -> list[tuple[int, int]] | None:
    """Return the windows of the run's partitions, in Unix seconds, adjacent ones joined."""
    partitions_def = context.assets_def.partitions_def
    if partitions_def is None:
        return None
    windows = partition_windows(partitions_def, context.partition_keys)
    return windows.spans() if windows is not None else None
