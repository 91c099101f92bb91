"""TemporisIOManager: what an asset returns becomes an upsert; what another asset asks for is read back.

Comes in: frames and Dagster's contexts. Goes out: one upsert a step and its metadata, a frame read back, or a failure.
Never: knows how a frame is checked or delivered (the core does), or writes a row outside a run's partitions unasked.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg
import numpy as np
import pandas as pd
from pydantic import Field

from temporis_dagster.asset_options import (
    PER_RUN_OPTIONS,
    AssetOptions,
    OutsidePartition,
    OwnSeries,
    asset_options,
    options_said,
)
from temporis_dagster.data_source.observations import Layout, Observations, OnInvalid, SubSecond, observe
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import ConfigurationError, DeliveryError, StoreError
from temporis_dagster.failures import SHOWN_ROWS, offending_rows, permanent_failures
from temporis_dagster.materialization import add_partition_rows, outcome, place, stored_partitions
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows, partition_windows
from temporis_dagster.read_back import ensure_materialized, read_back
from temporis_dagster.resource import TemporisResource

HOW_TO_RETURN_NOTHING = (
    "The asset returned None, and None cannot be stored. Return a DataFrame (an empty one is fine), "
    "or annotate the asset with '-> None' if it stores nothing."
)


class TemporisIOManager(dg.ConfigurableIOManager):
    """Upserts the frames that assets return, and reads them back for the assets that depend on them.

    Every option but ``temporis`` can be said by one asset, with ``metadata={"temporis/<option>": ...}``, or by one
    run of it, with output metadata of that key; what is nearer to the run wins. The asset's own series,
    ``temporis/series`` (a list of exact names, or a prefix), belong to its definition: no other series can be written,
    and only those are read back.

    *Writing.* A run over a range of partitions is one upsert, in time order. If it fails on the way, the partitions
    that are stored completely are recorded as materialized. An upsert never deletes: a row that vanished upstream
    stays.

    *Reading.* An input is always the long frame that ``DataSource.read`` gives (``timestamp``, ``name``, ``value``),
    whatever layout was written. Partitions without a time dimension, and the other dimension of multi-partitions, do
    not show in a data source: all of the asset's series are read, so give each such partition series of its own name.

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

    temporis: dg.ResourceDependency[TemporisResource] = Field(description="The connection to the data sources.")
    data_source: str | None = Field(default=None, description="The data source of assets that do not name their own.")
    outside_partition: OutsidePartition = Field(
        default="raise",
        description="What becomes of rows outside the time windows of the run's partitions: 'raise' sends nothing and "
        "fails, 'drop' leaves them out and counts them, 'allow' stores them all the same.",
    )
    layout: Layout = Field(
        default="auto", description="'long': a row is an observation; 'wide': a column is a series; 'auto' decides."
    )
    timestamp: str | None = Field(
        default="timestamp",
        description="The column of timestamps; a frame without it may have a DatetimeIndex. None takes the index.",
    )
    name: str = Field(default="name", description="The column of series names (long).")
    value: str = Field(default="value", description="The column of values (long).")
    timezone: str | None = Field(
        default=None, description="The time zone, such as 'Europe/Berlin', that naive timestamps and dates are in."
    )
    ambiguous: str = Field(
        default="raise", description="What a local time that occurs twice means: 'raise', 'infer' or 'NaT'."
    )
    nonexistent: str = Field(
        default="raise",
        description="What a local time that the clock skipped means: 'raise', 'shift_forward', 'shift_backward' or "
        "'NaT'.",
    )
    sub_second: SubSecond = Field(
        default="raise", description="'floor' cuts fractions of a second off instead of refusing them."
    )
    on_invalid: OnInvalid = Field(
        default="raise", description="'drop' stores the rest and counts the invalid rows; 'raise' sends nothing."
    )

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Upsert what the asset returned, and say in its metadata what became of it.

        Args:
            context: Dagster's, of the output.
            obj: A long or wide DataFrame, or a Series.

        Raises:
            Failure: A retry cannot mend it: invalid rows, rows outside the partitions, an archived or missing data
                source, a wrong option. Never retried, whatever the asset's retry policy.
            StoreError: The database failed in a way that may pass; the asset's retry policy decides.
        """
        with permanent_failures():
            if obj is None:
                raise ConfigurationError(HOW_TO_RETURN_NOTHING)
            options = self._options(context.definition_metadata, context.output_metadata)
            source = self.temporis.data_source(options.data_source)
            windows = _windows(context)
            checked = observe(cast("pd.DataFrame", obj), options.frame)  # anything else it refuses
            _ensure_own(checked, options.series)
            observations = _inside(windows, checked, options.outside_partition).in_time_order()
            report = _upsert(context, source, windows, observations)
            left_out = len(checked) - len(observations)
            context.add_output_metadata(
                {**place(source), **outcome(report), **({"temporis/outside_partition": left_out} if left_out else {})}
            )
            if context.has_asset_partitions and not report.dry_run:
                add_partition_rows(context, windows, observations)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read the upstream asset's own series back, in the windows of the partitions that the input maps to.

        Args:
            context: Dagster's, of the input.

        Returns:
            Columns ``timestamp`` (datetime64[s, UTC]), ``name`` (str) and ``value`` (float64), sorted by
            (timestamp, name).

        Raises:
            Failure: A retry cannot mend it: something was never materialized, there is no such data source. Never
                retried.
            StoreError: The database failed in a way that may pass; the asset's retry policy decides.
        """
        with permanent_failures():
            if not context.has_asset_key:
                raise ConfigurationError("Only assets can be read back. Return the frame of an op as an asset.")
            ensure_materialized(context)
            options = self._options(_upstream_metadata(context), _data_source_of_last_run(context))
            return read_back(self.temporis.data_source(options.data_source), options.series, _windows(context))

    def _options(self, definition: Mapping[str, Any], run: Mapping[str, Any]) -> AssetOptions:
        return asset_options({option: getattr(self, option) for option in PER_RUN_OPTIONS}, definition, run)


def _windows(context: dg.OutputContext | dg.InputContext) -> PartitionWindows | None:
    if not context.has_asset_partitions:
        return None
    return partition_windows(context.asset_partitions_def, context.asset_partition_keys)


def _upstream_metadata(context: dg.InputContext) -> Mapping[str, Any]:
    return context.upstream_output.definition_metadata if context.upstream_output else {}


def _data_source_of_last_run(context: dg.InputContext) -> Mapping[str, Any]:
    """The data source that the latest materializations of what is read name in their metadata, if they name any.

    Raises:
        ConfigurationError: They name several.
    """
    said = {options_said(materialization.metadata).get("data_source") for materialization in _latest(context)}
    if len(said) > 1:
        raise ConfigurationError(
            f"The partitions of {context.asset_key.to_user_string()} were written to several data sources "
            f"({', '.join(sorted(str(name or 'the default') for name in said))}). Read them in runs of their own."
        )
    name = said.pop() if said else None
    return {"temporis/data_source": name} if name else {}


def _latest(context: dg.InputContext) -> Iterator[dg.AssetMaterialization]:
    """The latest materialization of each partition that is read, or of the asset."""
    keys = list(context.asset_partition_keys) if context.has_asset_partitions else None
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=keys)
    seen: set[str | None] = set()
    cursor: str | None = None
    while True:
        found = context.instance.fetch_materializations(wanted, limit=1_000 if keys else 1, cursor=cursor)
        for record in found.records:
            if record.asset_materialization and record.partition_key not in seen:
                seen.add(record.partition_key)
                yield record.asset_materialization
        if not keys or not found.has_more or len(seen) >= len(keys):
            return
        cursor = found.cursor


def _ensure_own(observations: Observations, series: OwnSeries) -> None:
    """Refuse series that are not the asset's own: nobody could load them back."""
    used = (observations.names[code] for code in np.unique(observations.codes))
    strange = [name for name in used if name not in series]
    if strange:
        raise ConfigurationError(
            f"{len(strange):,} series are not the asset's own, such as {', '.join(map(repr, strange[:5]))}. "
            f"Its 'temporis/series' are {series}: write only these, or add the others to them."
        )


def _inside(
    windows: PartitionWindows | None, observations: Observations, outside_partition: OutsidePartition
) -> Observations:
    """The observations inside the partitions of the run; all where partitions have no time or none is left out."""
    if windows is None or outside_partition == "allow":
        return observations
    outside = windows.of(observations.timestamps) == OUTSIDE
    if not outside.any():
        return observations
    if outside_partition == "raise":
        raise _outside_failure(windows, observations, np.flatnonzero(outside))
    return observations.take(~outside)


def _outside_failure(windows: PartitionWindows, observations: Observations, outside: np.ndarray) -> dg.Failure:
    keys = windows.keys[0] if len(windows.keys) == 1 else f"{windows.keys[0]} to {windows.keys[-1]}"
    first = observations.take(outside[:SHOWN_ROWS]).frame()
    return dg.Failure(
        f"{len(outside):,} of {len(observations):,} observations lie outside the run's partitions ({keys}), the first "
        f"at {first['timestamp'].iloc[0].isoformat()}. Nothing was sent. Return only rows inside the partitions' time "
        "windows (compared in UTC, their end left out), or set outside_partition to 'drop' or 'allow'.",
        metadata=offending_rows("outside", first, count=len(outside)),
        allow_retries=False,
    )


def _upsert(
    context: dg.OutputContext, source: DataSource, windows: PartitionWindows | None, observations: Observations
) -> UpsertReport:
    """Upsert; if that fails on the way, first record the partitions that are stored."""
    try:
        return source.upsert(observations)
    except (DeliveryError, StoreError) as error:
        if windows is not None and error.report is not None:
            for stored in stored_partitions(context, source, windows, observations, error.report):
                context.log_event(stored)
        raise
