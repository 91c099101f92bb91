"""TemporisIOManager: upserts what an asset returns, and reads back what another asset asks for.

Comes in: frames and Dagster's contexts. Goes out: one upsert per step and its metadata, a frame read back, a failure.
Never: has steps of writing of its own (``writing`` has them), or knows how a frame is delivered (the core does).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from temporis_dagster.asset_options import (
    PER_RUN_OPTIONS,
    asset_options,
    options_said,
    own_series,
)
from temporis_dagster.change_options import change_options, number_in
from temporis_dagster.dagster_failures import failures_for_dagster
from temporis_dagster.data_source.observations import Decimals, Layout, OnConflict, OnInvalid, SubSecond
from temporis_dagster.env_vars import ENV_VARS, plain_value
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.io_manager.input_request import request_of
from temporis_dagster.io_manager.loading import loaded
from temporis_dagster.metadata_keys import DATA_SOURCE, SERIES
from temporis_dagster.resource import TemporisResource, ensure_known_options
from temporis_dagster.write_options import LIMITS, AssetOptions, GhostRows, OutsidePartition
from temporis_dagster.writing.dagster_output import IOManagerOutput
from temporis_dagster.writing.own_versions import OwnVersions
from temporis_dagster.writing.steps import write

HOW_TO_RETURN_NOTHING = (
    "The asset returned None, and None cannot be stored. Return a DataFrame (an empty one is fine), "
    "or annotate the asset with '-> None' if it stores nothing."
)


class TemporisIOManager(dg.ConfigurableIOManager):
    """Upserts the frames that assets return, and reads them back for the assets that depend on them.

    Every option but ``temporis`` can also be set for one asset, with ``metadata={"temporis/<option>": ...}``, or for
    one run of it, with output metadata of that key. A run's options override its asset's, which override these. The
    asset's own series, ``temporis/series`` (a list of exact names, or a prefix), are part of its definition: no other
    series can be written, and only those are read back.

    *Writing.* A run over a range of partitions is a single upsert, in time order. If it fails partway, the partitions
    that are completely stored are recorded as materialized. An upsert never deletes: a row that vanished upstream
    stays.

    *Reading.* An input is always the long frame that ``DataSource.read`` returns (``timestamp``, ``name``, ``value``),
    whatever layout was written: one of pandas, or of polars or Arrow if it is annotated so. If the input is annotated
    ``dict[str, pd.DataFrame]``, it is one such frame per partition. A data source has no partitions: give those that
    time does not tell apart (static or dynamic ones, the zones of (day, zone)) series of their own, with a template
    such as ``["load_{zone}"]``. Without one, they are read as the series that their materializations list, and two
    partitions that write the same rows are refused.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import TemporisIOManager, TemporisResource

            days = dg.DailyPartitionsDefinition("2024-06-01")


            @dg.asset(
                partitions_def=days,
                io_manager_key="temporis_io_manager",
                backfill_policy=dg.BackfillPolicy.single_run(),
                metadata={"temporis/series": ["orders"]},
            )
            def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
                window = context.partition_time_window
                hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
                return pd.DataFrame({"orders": range(len(hours))}, index=hours)


            temporis = TemporisResource(url="sqlite:///temporis.db", create_missing=True)
            defs = dg.Definitions(
                assets=[orders],
                resources={"temporis_io_manager": TemporisIOManager(temporis=temporis, data_source="store_metrics")},
            )
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    temporis: dg.ResourceDependency[TemporisResource] = Field(description="Connection to the data sources.")
    data_source: str | None = Field(
        default=None, description="Name of the data source of assets that do not name their own."
    )
    outside_partition: OutsidePartition = Field(
        default="raise",
        description="What happens to rows outside the time windows of the run's partitions: 'raise' sends nothing and "
        "fails the step, 'drop' leaves them out and counts them, 'allow' stores them.",
    )
    layout: Layout = Field(
        default="auto",
        description="'long' (one row per observation), 'wide' (one column per series), or 'auto', which tells them "
        "apart by their columns.",
    )
    timestamp: str | None = Field(
        default="timestamp",
        description="Name of the timestamp column. A frame without it may have a DatetimeIndex instead. None means the "
        "index.",
    )
    name: str = Field(default="name", description="Name of the column of series names in a long frame.")
    value: str = Field(default="value", description="Name of the value column in a long frame.")
    timezone: str | None = Field(
        default=None, description="Time zone of naive timestamps and dates, e.g. 'Europe/Berlin'."
    )
    ambiguous: str = Field(
        default="raise", description="How to read a local time that occurs twice: 'raise', 'infer' or 'NaT'."
    )
    nonexistent: str = Field(
        default="raise",
        description="How to read a local time that the clock skipped: 'raise', 'shift_forward', 'shift_backward' or "
        "'NaT'.",
    )
    sub_second: SubSecond = Field(
        default="raise",
        description="What happens to timestamps with fractions of a second: 'raise' refuses them, 'floor' cuts the "
        "fraction off.",
    )
    on_invalid: OnInvalid = Field(
        default="raise",
        description="What happens to invalid rows: 'raise' sends nothing and fails the step, 'drop' stores the other "
        "rows and counts the invalid ones.",
    )
    unit: str | None = Field(
        default=None,
        description="What numeric timestamps count since 1970: 's', 'ms', 'us' or 'ns'. Defaults to seconds.",
    )
    allow_future: str | None = Field(
        default=None,
        description="How far ahead of the clock a timestamp may lie: a length of time, e.g. '730 days', or 'true' for "
        "any. Defaults to a year.",
    )
    on_conflict: OnConflict = Field(
        default="last",
        description="What happens to rows with the same timestamp and name but different values: 'last' stores the "
        "last one, counts the others and warns; 'raise' sends nothing and fails the step.",
    )
    decimals: Decimals = Field(
        default="nearest",
        description="What happens to decimal numbers that float64 does not hold exactly: 'nearest' stores the nearest "
        "float, 'exact' refuses them.",
    )
    plot: bool = Field(
        default=False,
        description="Whether each materialization shows a small plot of what was written. Needs the extra [plots]. "
        "Dagster keeps the image in its event log permanently.",
    )

    max_changed: str | None = Field(
        default=None,
        description="Limit on the stored rows that a run may change: '0.1' is a tenth of those in its windows, '10' is "
        "ten rows. A run that exceeds a limit fails before anything is sent, and shows what it would change.",
    )
    max_shift: float | None = Field(
        default=None,
        description="Limit on how far a run may move the mean of a series: 0.5 is half of the mean size of the stored "
        "values that it changes.",
    )
    max_ghosts: str | None = Field(
        default=None,
        description="Limit on how many stored rows may be missing from the frame, in the form of max_changed. "
        "Defaults to no limit, or to '0.25' if ghost rows are deleted.",
    )
    ghost_rows: GhostRows = Field(
        default="keep",
        description="What happens to stored rows that are missing from the frame, in the windows of the run and of the "
        "asset's own series: 'keep' counts them, 'delete' deletes them (SQL only).",
    )

    _own_versions: list[OwnVersions] = PrivateAttr(default_factory=list)

    @field_validator("max_changed", "max_shift", "max_ghosts", mode="before")
    @classmethod
    def _checked_limit(cls, given: object, info: ValidationInfo) -> object:
        """Refuse a limit while the code is loaded, and turn numbers into text, which keeps 1 apart from 1.0."""
        option = str(info.field_name)
        if given is None or isinstance(given, ENV_VARS):
            return given
        limit = number_in(option, given) if isinstance(given, str) else given  # Dagster builds it again, from the text
        change_options({option: limit})
        return limit if option == "max_shift" else str(limit)

    @field_validator("allow_future", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Turn True and timedeltas into text: Dagster's configuration has no type for a choice of several."""
        if isinstance(given, timedelta):
            return f"{given.total_seconds()} s"
        return "true" if given is True else given

    @model_validator(mode="before")
    @classmethod
    def _known_options(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(given.get("temporis"), str | None):
            raise ConfigurationError(f"{cls.__name__} has no connection. Pass temporis=TemporisResource(url=...).")
        ensure_known_options(cls.__name__, given, cls.model_fields)
        return given

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Upsert what the asset returned, and record in its metadata what became of it.

        Args:
            context: Dagster's context of the output.
            obj: A long or wide DataFrame, or a Series.

        Raises:
            Failure: A retry cannot fix it: invalid rows, rows outside the partitions, an archived or missing data
                source, a wrong option. Never retried, whatever the asset's retry policy is.
            RetryRequested: The service asks for a longer wait than ``give_up_after_s``; the step runs again after it.
            UnavailableError: The service could not be reached; the asset's retry policy decides. If a mirror keeps the
                rows, this is a Failure that counts them as pending instead; the retry policy decides as well.
            StoreError: The database failed in a way that may pass; the asset's retry policy decides.
        """
        with failures_for_dagster(self.temporis.give_up_after_s):
            if obj is None:
                raise ConfigurationError(HOW_TO_RETURN_NOTHING)
            output = IOManagerOutput(context, self._configured())
            source = self.temporis.data_source(output.rules.options.data_source)
            write(output, source, obj, dry_run=self.temporis.dry_run)
            if output.own_versions is not None:
                self._own_versions.append(output.own_versions)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # Dagster passes it
        """Report the data versions of the partitions that one step wrote, now that they are materialized."""
        while self._own_versions:
            self._own_versions.pop(0).report()

    def load_input(self, context: dg.InputContext) -> object:
        """Read the upstream asset's own series back, in the windows of the partitions that the input maps to.

        Args:
            context: Dagster's context of the input.

        Returns:
            A frame with columns ``timestamp``, ``name`` and ``value``, typed as those of ``DataSource.read`` and sorted
            by (timestamp, name). It is what the input is annotated as: a ``pd.DataFrame`` (also without an annotation),
            ``pl.DataFrame``, ``pl.LazyFrame``, ``pa.Table``, or ``pa.RecordBatchReader``, which reads batch by batch
            while it is used. If the annotation is a ``dict[str, ...]`` of one of these, one such frame per partition.

        Raises:
            Failure: A retry cannot fix it: something was never materialized, or the data source does not exist. Never
                retried.
            StoreError: The database failed in a way that may pass; the asset's retry policy decides.
        """
        with failures_for_dagster(self.temporis.give_up_after_s):
            if not context.has_asset_key:
                raise ConfigurationError("Only assets can be read back. Make the op that returns the frame an asset.")
            definition = _upstream_metadata(context)
            default = cast("str | None", options_said(definition).get("data_source", self.data_source))
            own = own_series(definition.get(SERIES))
            request = request_of(context, default, own, dry_run=self.temporis.dry_run)
            options = self._options(definition, {DATA_SOURCE: request.data_source} if request.data_source else {})
            source = self.temporis.data_source(options.data_source)
            return loaded(context, source, request)

    def _options(self, definition: Mapping[str, Any], run: Mapping[str, Any]) -> AssetOptions:
        return asset_options(self._configured(), definition, run)

    def _configured(self) -> dict[str, object]:
        what = type(self).__name__
        configured = {option: plain_value(what, option, getattr(self, option)) for option in PER_RUN_OPTIONS}
        texts = {option: text for option in LIMITS if isinstance(text := configured[option], str)}
        return {**configured, **{option: number_in(option, text) for option, text in texts.items()}}


def _upstream_metadata(context: dg.InputContext) -> Mapping[str, Any]:
    return context.upstream_output.definition_metadata if context.upstream_output else {}
