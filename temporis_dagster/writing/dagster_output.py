"""Where a write inside of Dagster shows what became of it: an IO manager's output, or the result of an asset's body.

Comes in: metadata and events as plain values. Goes out: Dagster's metadata, events and data versions.
Never: decides what is shown.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from temporis_dagster.catalog import defined_schema, plain, storage_address, written_schema
from temporis_dagster.dagster_keys import COLUMN_LINEAGE, COLUMN_SCHEMA, DATA_VERSION, STORAGE_KIND, TABLE_NAME
from temporis_dagster.dagster_metadata import for_dagster
from temporis_dagster.data_source.observations import Series
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.data_source_page import data_source_observation
from temporis_dagster.metadata_keys import DATA_SOURCE, SERIES, WRITER
from temporis_dagster.metadata_values import Value, Values
from temporis_dagster.partition_parts import parts_of
from temporis_dagster.writing.dagster_rules import StepPartitions, write_rules
from temporis_dagster.writing.output import Output, PartitionGuard, Place
from temporis_dagster.writing.own_versions import MOST_TOLD_APART, OwnVersions, latest_version
from temporis_dagster.writing.partition_guard import SeriesGuard
from temporis_dagster.writing.rules import WriteRules
from temporis_dagster.writing.versions import Versions
from temporis_dagster.writing.written_series import Written

StepContext: TypeAlias = dg.AssetExecutionContext | dg.OpExecutionContext
"""What the body of an asset is given; in a graph of ops, each op is given the second one."""


class DagsterOutput(Output, ABC):
    """What all outputs in Dagster have in common.

    Args:
        configured: The options of the IO manager, or those that the caller passed, by name.
        definition: The asset's metadata.
        stated: Metadata that the asset itself gave to its output.
        partitions: The partitions of the step.
        asset: The asset; None for an op.
        tags: The tags of the run.
        run_options: Metadata with options for this run only, which override the asset's.
        contracts: What the caller states about series, in addition to the asset's metadata.

    Attributes:
        own_versions: The versions of single partitions, to be reported when Dagster has recorded the materializations;
            None if the step's version says it all.
    """

    log: Any  # Dagster's log manager

    def __init__(
        self,
        configured: Mapping[str, object],
        definition: Mapping[str, Any],
        stated: Mapping[str, Any],
        partitions: StepPartitions,
        asset: dg.AssetKey | None,
        tags: Mapping[str, str],
        run_options: Mapping[str, Any] | None = None,
        contracts: Sequence[Series] = (),
    ) -> None:
        self._definition, self._stated, self._partitions, self._asset = definition, stated, partitions, asset
        options = stated if run_options is None else run_options
        self._rules = write_rules(
            configured, definition, options, partitions, contracts, is_asset=asset is not None, tags=tags
        )
        self.own_versions: OwnVersions | None = None

    @property
    def rules(self) -> WriteRules:
        """What applies to the write."""
        return self._rules

    @property
    def in_a_run(self) -> bool:
        """Whether there are events to add to; ``dg.migrate_io_storage`` and unit tests write without a run."""
        return self._partitions.instance is not None

    @property
    def stated(self) -> frozenset[str]:
        """The metadata keys under which the asset itself has put something."""
        return frozenset(self._stated)

    def states(self, key: str) -> bool:
        """Tell whether the asset itself has put something under a metadata key."""
        return key in self._stated

    def columns(self, names: Sequence[str]) -> Values:
        """Return the columns of what is written, and where they come from, as Dagster's catalog and its checks read it.

        What the run or the definition states about them overrides what we would say.
        """
        definition, options = self._definition, self._rules.options
        series = plain(definition.get(SERIES))
        schema, lineage = plain(definition.get(COLUMN_SCHEMA)), plain(definition.get(COLUMN_LINEAGE))
        if schema in (None, defined_schema(series, options.contracts)):
            partitions = 1 if self._rules.partitions is None else len(self._rules.partitions)
            schema = written_schema(names, series, self._rules.contracts, partitions=partitions)
        said: dict[str, dg.MetadataValue] = {COLUMN_SCHEMA: dg.MetadataValue.table_schema(schema)}
        if lineage is not None:
            said[COLUMN_LINEAGE] = dg.MetadataValue.column_lineage(lineage)
        ours = storage_address(str(plain(definition.get(DATA_SOURCE))))
        for key in (TABLE_NAME, STORAGE_KIND):
            if (stated := plain(definition.get(key, ours[key]))) != ours[key]:
                said[key] = dg.MetadataValue.text(str(stated))
        return {key: Value("native", value) for key, value in said.items() if not self.states(key)}

    def guard(self, written: Written, data_source: str) -> PartitionGuard:
        """Return what keeps partitions that time does not tell apart from overwriting each other's rows."""
        definition, instance = self._partitions.definition, self._partitions.instance
        parts = None if definition is None else parts_of(definition)
        if self._rules.parts is None or parts is None or instance is None or self._asset is None:
            return PartitionGuard()
        return SeriesGuard(self, instance, self._asset, parts, written, data_source)

    def record(self, partition: str, values: Values, version: str | None) -> None:
        """Record a materialization of one partition now: the step is about to fail."""
        if self._asset is not None:
            metadata = {**self._stated, **for_dagster(values)}
            tags = None if version is None else {DATA_VERSION: version}
            self._log_event(dg.AssetMaterialization(self._asset, partition=partition, metadata=metadata, tags=tags))

    def observe(self, source: Place, state: ArchiveState | None, facts: Values) -> None:
        """Record an observation on the page of the data source."""
        writer = {} if self._asset is None else {WRITER: dg.MetadataValue.asset(self._asset)}
        self._log_event(data_source_observation(source, state, {**writer, **for_dagster(facts)}))

    def set_versions(self, versions: Versions, *, may_stay: bool) -> None:
        """Set the data version of the materializations."""
        asset, instance = self._asset, self._partitions.instance
        if asset is None or instance is None:
            return
        whole = (latest_version(instance, asset, self._rules.partitions) if may_stay else None) or versions.whole
        self._set_version(asset, dg.DataVersion(whole))
        if 1 < len(versions.by_partition) <= MOST_TOLD_APART:
            self.own_versions = OwnVersions(instance, self.run_id, asset, versions)

    @abstractmethod
    def _log_event(self, event: dg.AssetMaterialization | dg.AssetObservation) -> None: ...

    @abstractmethod
    def _set_version(self, asset: dg.AssetKey, version: dg.DataVersion) -> None: ...


class IOManagerOutput(DagsterOutput):
    """What an IO manager is given.

    Args:
        context: Dagster's context of the output.
        configured: The options of the IO manager, by name.
    """

    def __init__(self, context: dg.OutputContext, configured: Mapping[str, object]) -> None:
        self._context = context
        super().__init__(
            configured,
            context.definition_metadata or {},
            context.output_metadata or {},
            _partitions_of(context),
            context.asset_key if context.has_asset_key else None,
            context.step_context.run_tags if _in_a_run(context) else {},
        )

    @property
    def log(self) -> Any:
        """The log of the run."""
        return self._context.log

    @property
    def run_id(self) -> str:
        """The run."""
        return self._context.run_id

    @property
    def own_version(self) -> str | None:
        """The data version that the asset has set itself."""
        step, asset = self._context.step_context, self._context.asset_key
        return step.get_data_version(asset).value if step.has_data_version(asset) else None

    def add(self, values: Values) -> None:
        """Add metadata to the materializations of all partitions of the run."""
        self._context.add_output_metadata(for_dagster(values))

    def add_to(self, partition: str, values: Values) -> None:
        """Add metadata to the materialization of one partition."""
        self._context.step_context.add_asset_metadata(for_dagster(values), self._context.asset_key, partition)

    def _log_event(self, event: dg.AssetMaterialization | dg.AssetObservation) -> None:
        self._context.log_event(event)

    def _set_version(self, asset: dg.AssetKey, version: dg.DataVersion) -> None:
        self._context.step_context.set_data_version(asset, version)


class AssetOutput(DagsterOutput):
    """The result of an asset's own body.

    Args:
        context: Dagster's context of the body.
        asset: Which of its assets.
        configured: Options by name, which the asset's metadata override.
        run_options: Metadata with options that override the asset's.
        contracts: What the caller states about series, in addition to the asset's metadata.
    """

    def __init__(
        self,
        context: StepContext,
        asset: dg.AssetKey,
        configured: Mapping[str, object],
        run_options: Mapping[str, Any],
        contracts: Sequence[Series] = (),
    ) -> None:
        self._context, self._step = context, step_of(context)
        self.asset = asset
        spec = context.assets_def.get_asset_spec(asset)
        super().__init__(
            configured,
            spec.metadata,
            (self._step.get_asset_metadata(asset) if self._step else None) or {},
            _partitions_of_body(context, spec.partitions_def),
            asset,
            self._step.run_tags if self._step else {},
            run_options,
            contracts,
        )
        self._metadata: dict[str, dg.MetadataValue] = {}
        self._version: dg.DataVersion | None = None

    @property
    def log(self) -> Any:
        """The log of the run."""
        return self._context.log

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self._step.run_id) if self._step else ""

    @property
    def own_version(self) -> str | None:
        """The data version that the asset has set itself."""
        step, asset = self._step, self.asset
        return step.get_data_version(asset).value if step and step.has_data_version(asset) else None

    def add(self, values: Values) -> None:
        """Add metadata to the materializations of all partitions of the run."""
        self._metadata |= for_dagster(values)

    def add_to(self, partition: str, values: Values) -> None:
        """Add metadata to the materialization of one partition."""
        if self._step is not None:
            self._step.add_asset_metadata(for_dagster(values), self.asset, partition)

    def result(self) -> dg.MaterializeResult[Any]:
        """Return what the body has to return or yield."""
        return dg.MaterializeResult(asset_key=self.asset, metadata=self._metadata, data_version=self._version)

    def _log_event(self, event: dg.AssetMaterialization | dg.AssetObservation) -> None:
        self._context.log_event(event)

    def _set_version(self, asset: dg.AssetKey, version: dg.DataVersion) -> None:  # noqa: ARG002  the result names it
        self._version = version


def step_of(context: StepContext) -> Any:
    """Return the step that a body runs in; None if a test has called the body directly."""
    try:
        return context.get_step_execution_context()
    except dg.DagsterError:
        return None


def _partitions_of_body(context: StepContext, definition: dg.PartitionsDefinition | None) -> StepPartitions:
    instance = None if step_of(context) is None else context.instance
    keys = None if definition is None else context.partition_keys
    return StepPartitions(definition, keys, None, instance)


def _in_a_run(context: dg.OutputContext) -> bool:
    try:
        return context.step_context is not None
    except dg.DagsterInvariantViolationError:
        return False


def _partitions_of(context: dg.OutputContext) -> StepPartitions:
    """Return the partitions of an output.

    ``dg.migrate_io_storage`` names a single partition without saying what partitions there are.
    """
    instance = context.step_context.instance if _in_a_run(context) else None
    if context.has_asset_partitions:
        keys = context.asset_partition_keys
        return StepPartitions(_or_none(lambda: context.asset_partitions_def), keys, None, instance)
    of_run = None
    if not context.has_asset_key and context.has_partition_key:
        definition = context.step_context.run_partitions_def
        of_run = (definition, context.partition_key) if definition else None
    return StepPartitions(None, None, of_run, instance)


def _or_none(get: Callable[[], dg.PartitionsDefinition]) -> dg.PartitionsDefinition | None:
    try:
        return get()
    except dg.DagsterInvariantViolationError:
        return None
