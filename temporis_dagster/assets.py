"""``@temporis_asset`` and ``data_source_spec``: assets with all that is easy to forget.

Comes in: what ``dagster.asset`` and ``dagster.AssetSpec`` take, and the asset's data source. Goes out: plain Dagster
definitions. Never: does I/O, or has behaviour of its own (the IO manager has it).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, cast

import dagster as dg

from temporis_dagster.asset_options import (
    SEVERAL,
    OutsidePartition,
    ensure_outside_partition,
    ensure_plot,
    frame_options,
    own_series,
)
from temporis_dagster.automation_conditions import without_waiting_for
from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, is_data_source_name
from temporis_dagster.data_source.observations import (
    AllowFuture,
    Decimals,
    Layout,
    OnConflict,
    OnInvalid,
    SubSecond,
    Unit,
)
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import option_key

AssetDecorator: TypeAlias = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def temporis_asset(  # noqa: PLR0913  the arguments of dagster.asset, and those of a frame, show in an editor
    *,
    data_source: str,
    series: str | Sequence[str] | None = None,
    outside_partition: OutsidePartition | None = None,
    layout: Layout | None = None,
    timestamp: str | None = None,
    name_column: str | None = None,
    value: str | None = None,
    timezone: str | None = None,
    ambiguous: bool | str | None = None,
    nonexistent: str | None = None,
    sub_second: SubSecond | None = None,
    on_invalid: OnInvalid | None = None,
    unit: Unit | None = None,
    allow_future: AllowFuture = None,
    on_conflict: OnConflict | None = None,
    decimals: Decimals | None = None,
    plot: bool | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    deps: Iterable[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    kinds: Iterable[str] | None = None,
    pool: str | None = None,
    io_manager_key: str = "temporis_io_manager",
    **asset_arguments: Any,
) -> AssetDecorator:
    """An asset whose frame is upserted into a data source.

    It is ``dagster.asset`` with the IO manager's key, a dependency on the data source (see ``data_source_spec``), one
    run for a whole backfill where it is partitioned, one pool for each data source, kinds, and the metadata that
    ``TemporisIOManager`` reads. What is given here wins over, or is added to, what it would set by itself.

    An ``automation_condition`` never waits for the data source itself, which nothing materializes or updates (a plain
    ``dagster.asset`` that depends on it would never fire); what the condition says of the checks of dependencies, such
    as ``all_deps_blocking_checks_passed()``, holds for the data source, too.

    Args:
        data_source: The name of the data source.
        series: The asset's own series: exact names, or one prefix. No others can be written, and only these are read
            back. By default every series of the data source.
        outside_partition: What becomes of rows outside the run's partitions: ``"raise"``, ``"drop"`` or ``"allow"``.
        layout: ``"long"``, ``"wide"`` or ``"auto"``. This and the options down to ``decimals`` are those of
            ``DataSource.upsert``; None leaves them as the IO manager is configured.
        timestamp: The column of timestamps.
        name_column: The column of series names; ``name`` is the asset's name here, as in ``dagster.asset``.
        value: The column of values.
        timezone: The time zone that naive timestamps and dates are in.
        ambiguous: What a local time that occurs twice means.
        nonexistent: What a local time that the clock skipped means.
        sub_second: ``"floor"`` cuts fractions of a second off.
        on_invalid: ``"drop"`` stores the rest and counts the invalid rows.
        unit: What number timestamps count since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
        allow_future: How far ahead of the clock a timestamp may lie, by default a year: a timedelta, text such as
            ``"730 days"``, or True for any distance.
        on_conflict: ``"raise"`` refuses rows with one (timestamp, name) and different values.
        decimals: ``"exact"`` refuses decimal numbers that float64 does not hold exactly.
        plot: Whether each materialization shows a small plot of what was written (extra ``[plots]``).
        partitions_def: The asset's partitions.
        backfill_policy: How a backfill divides into runs. By default ``BackfillPolicy.single_run()`` where the asset
            is partitioned: one run for the whole range, whose body reads ``context.partition_keys`` or
            ``context.partition_time_window`` (``context.partition_key`` fails in it); and ``multi_run(1)``, one run per
            partition, where the asset depends on itself.
        deps: What else it depends on.
        metadata: What else it says of itself.
        kinds: Added to ``{"temporis", "pandas"}``.
        pool: By default ``temporis_<data source>``. A pool without a limit limits nothing.
        io_manager_key: The key of the ``TemporisIOManager``.
        **asset_arguments: Whatever else ``dagster.asset`` takes.

    Raises:
        ConfigurationError: No data source can have this name, an option has a value that it does not take, or the
            metadata say something else than the arguments.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec, temporis_asset


            @temporis_asset(
                data_source="store_metrics",
                series=["orders"],
                partitions_def=dg.DailyPartitionsDefinition("2024-06-01"),
            )
            def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
                window = context.partition_time_window
                hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
                return pd.DataFrame({"orders": range(len(hours))}, index=hours)


            temporis = TemporisResource(url="sqlite:///temporis.db", create_missing=True)
            defs = dg.Definitions(
                assets=[data_source_spec("store_metrics"), orders],
                resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)},
            )
    """
    frame = {
        "layout": layout,
        "timestamp": timestamp,
        "name": name_column,
        "value": value,
        "timezone": timezone,
        "ambiguous": ambiguous,
        "nonexistent": nonexistent,
        "sub_second": sub_second,
        "on_invalid": on_invalid,
        "unit": unit,
        "allow_future": allow_future,
        "on_conflict": on_conflict,
        "decimals": decimals,
    }
    said = {"data_source": data_source, "series": series, "outside_partition": outside_partition, "plot": plot, **frame}
    options = {option: value for option, value in said.items() if value is not None}
    key = data_source_key(data_source)
    _ensure_usable(options, frame)
    if isinstance(condition := asset_arguments.get("automation_condition"), dg.AutomationCondition):
        asset_arguments["automation_condition"] = without_waiting_for(condition, key)
    asset_arguments |= {
        "deps": _with_data_source(deps, key),
        "metadata": _merged(metadata, options),
        "kinds": {"temporis", "pandas", *(kinds or ())},
        "pool": pool or f"temporis_{data_source}",
        "io_manager_key": io_manager_key,
    }
    if partitions_def is None:
        return cast("AssetDecorator", dg.asset(**asset_arguments))

    def partitioned(body: Callable[..., Any]) -> dg.AssetsDefinition:
        def made(policy: dg.BackfillPolicy) -> dg.AssetsDefinition:
            decorator = dg.asset(partitions_def=partitions_def, backfill_policy=policy, **asset_arguments)
            return cast("AssetDecorator", decorator)(body)

        asset = made(backfill_policy or dg.BackfillPolicy.single_run())
        if backfill_policy is None and asset.key in {dep.asset_key for dep in asset.get_asset_spec().deps}:
            return made(dg.BackfillPolicy.multi_run(1))  # it depends on itself: each partition needs the one before
        return asset

    return partitioned


def data_source_spec(
    data_source: str,
    *,
    kinds: Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    io_manager_key: str | None = None,
    **spec: Any,
) -> dg.AssetSpec:
    """A data source as an external asset: what the assets that write to it depend on.

    Assets that read observations depend on the assets that write them. What other code writes is read as an input from
    the data source itself: with all its series, or those of ``metadata={"temporis/series": [...]}``.

    Args:
        data_source: The name of the data source.
        kinds: Added to ``{"temporis"}``.
        metadata: What else it says of itself.
        io_manager_key: The key of the ``TemporisIOManager`` that loads it where it is an input. By default the input
            names it: ``dg.AssetIn(..., input_manager_key="temporis_io_manager")``.
        **spec: Whatever else ``dagster.AssetSpec`` takes.

    Raises:
        ConfigurationError: No data source can have this name.

    Examples:
        .. code-block:: python

            import dagster as dg

            from temporis_dagster import data_source_spec

            defs = dg.Definitions(assets=[data_source_spec("store_metrics", owners=["team:ingest"])])
    """
    made = dg.AssetSpec(
        data_source_key(data_source),
        kinds={"temporis", *(kinds or ())},
        metadata=_merged(metadata, {"data_source": data_source}),
        **spec,
    )
    return made if io_manager_key is None else made.with_io_manager_key(io_manager_key)


def data_source_key(data_source: str) -> dg.AssetKey:
    """The key of the external asset that stands for a data source.

    Raises:
        ConfigurationError: No data source can have this name.

    Examples:
        >>> data_source_key("store_metrics")
        AssetKey(['temporis', 'store_metrics'])
    """
    if isinstance(data_source, dg.EnvVar):
        raise ConfigurationError(
            "A dg.EnvVar cannot name a data source: Dagster resolves it in a run, and the name is part of the "
            f"definition. Pass its value: os.environ[{data_source.env_var_name!r}]."
        )
    if not is_data_source_name(str(data_source)):
        raise ConfigurationError(f"{data_source!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}.")
    return dg.AssetKey(["temporis", data_source])


def _ensure_usable(options: Mapping[str, object], frame: Mapping[str, object]) -> None:
    """Refuse when the code is loaded what the IO manager would refuse in a run."""
    own_series(options.get("series"))
    frame_options({option: options[option] for option in frame if option in options})
    if "outside_partition" in options:
        ensure_outside_partition(options["outside_partition"])
    if "plot" in options:
        ensure_plot(options["plot"])


def _with_data_source(deps: Iterable[Any] | None, key: dg.AssetKey) -> list[Any]:
    """The dependencies with the data source among them, once: a dep with a partition mapping stands for itself."""
    given = list(deps or ())
    named = any(isinstance(dep, dg.AssetDep) and dep.asset_key == key for dep in given)
    return given if named else [*given, key]


def _merged(metadata: Mapping[str, Any] | None, options: Mapping[str, object]) -> dict[str, Any]:
    said = {option_key(option): _as_metadata(value) for option, value in options.items()}
    for key, value in (metadata or {}).items():
        if said.get(key, value) != value:
            raise ConfigurationError(f"The metadata say {key}={value!r}, the arguments {said[key]!r}. Say it once.")
    return {**said, **(metadata or {})}


def _as_metadata(value: object) -> object:
    """Metadata knows lists, not tuples or sets, and text, not timedeltas."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} s"
    return list(value) if isinstance(value, SEVERAL) else value
