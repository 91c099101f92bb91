"""``@temporis_asset`` and ``data_source_spec``: assets, including everything that is easily forgotten.

Comes in: the arguments of ``dagster.asset`` and ``dagster.AssetSpec``, and the asset's data source. Goes out: plain
Dagster definitions.
Never: does I/O, or has behaviour of its own (that is the IO manager's).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, cast

import dagster as dg

from temporis_dagster.asset_options import (
    SEVERAL,
    contracts_for_partitions,
    contracts_of,
    ensure_data_source,
    ensure_known_keys,
    ensure_outside_partition,
    ensure_plot,
    frame_options,
    names_and_contracts,
    options_said,
    own_series,
)
from temporis_dagster.automation_conditions import without_waiting_for
from temporis_dagster.catalog import defined_schema, ensure_no_password, storage_address
from temporis_dagster.change_options import Share, change_options, ensure_can_delete
from temporis_dagster.dagster_keys import COLUMN_SCHEMA
from temporis_dagster.data_source.observations import (
    AllowFuture,
    Decimals,
    Layout,
    OnConflict,
    OnInvalid,
    Series,
    SubSecond,
    Unit,
)
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.frame_schema import schema_text
from temporis_dagster.input_options import input_options
from temporis_dagster.metadata_keys import SERIES, option_key
from temporis_dagster.write_options import GhostRows, OutsidePartition

AssetDecorator: TypeAlias = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def temporis_asset(  # noqa: PLR0913  an editor shows the arguments of dagster.asset and of a frame
    *,
    data_source: str,
    series: str | Sequence[str | Series] | None = None,
    schema: Any = None,
    uri: str | None = None,
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
    max_changed: Share | None = None,
    max_shift: float | None = None,
    max_ghosts: Share | None = None,
    ghost_rows: GhostRows | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    deps: Iterable[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    kinds: Iterable[str] | None = None,
    pool: str | None = None,
    io_manager_key: str = "temporis_io_manager",
    **asset_arguments: Any,
) -> AssetDecorator:
    """Define an asset whose frame is upserted into a data source.

    This is ``dagster.asset`` with the IO manager's key, a dependency on the data source (see ``data_source_spec``), a
    single run for a whole backfill if the asset is partitioned, one pool per data source, kinds, and the metadata that
    ``TemporisIOManager`` reads. What is given here overrides, or is added to, what the decorator sets.

    An ``automation_condition`` never waits for the data source itself, which nothing materializes or updates (a plain
    ``dagster.asset`` that depends on it would never fire). Conditions on the checks of dependencies, such as
    ``all_deps_blocking_checks_passed()``, do apply to the data source.

    Args:
        data_source: The name of the data source.
        series: The asset's own series: a list of exact names, or one prefix. No others can be written, and only these
            are read back. A list may hold contracts (``Series``) in the place of names: rows that break one are
            invalid, and ``build_series_checks`` knows them. Contracts for families belong to the shortest of their
            prefixes. If the texts contain a dimension of the partitions in braces, such as ``"load_{zone}"``
            (``"load_{partition}"`` for static or dynamic partitions), each partition has series of its own; braces that
            belong to a name are doubled. Defaults to every series of the data source.
        schema: A pandera ``DataFrameSchema`` or ``DataFrameModel`` of the frame that the asset returns (extra
            ``[pandera]``). Rows that it refuses are invalid, like those that break a contract; the frame itself is not
            changed, so ``coerce=True`` only concerns its checks.
        uri: The URL of the store or service, if it is the same wherever this code is loaded: the catalog then shows it
            before the first run, without user, password and options. Nothing connects to it.
        outside_partition: What happens to rows outside the run's partitions: ``"raise"``, ``"drop"`` or ``"allow"``.
        layout: ``"long"``, ``"wide"`` or ``"auto"``. This option and those down to ``decimals`` are those of
            ``DataSource.upsert``. They default to the IO manager's configuration.
        timestamp: The column of timestamps.
        name_column: The column of series names; ``name`` is the asset's name here, as in ``dagster.asset``.
        value: The column of values.
        timezone: The time zone of naive timestamps and dates.
        ambiguous: How to read a local time that occurs twice.
        nonexistent: How to read a local time that the clock skipped.
        sub_second: ``"floor"`` cuts fractions of a second off.
        on_invalid: ``"drop"`` stores the other rows and counts the invalid ones.
        unit: What numeric timestamps count since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
        allow_future: How far ahead of the clock a timestamp may lie: a timedelta, text such as ``"730 days"``, or True
            for any distance. Defaults to a year.
        on_conflict: ``"raise"`` refuses rows with the same (timestamp, name) but different values.
        decimals: ``"exact"`` refuses decimal numbers that float64 does not hold exactly.
        plot: Whether each materialization shows a small plot of what was written (extra ``[plots]``).
        max_changed: Limit on the stored rows that a run may change: a float up to 1.0 is a share of the rows stored in
            the windows of its partitions, an integer a number of rows. A run that exceeds this limit, or one of the
            next two, fails before anything is sent, and shows what it would change. Needs read-back.
        max_shift: Limit on how far a run may move the mean of a series: 0.5 is half of the mean size of the stored
            values that it changes.
        max_ghosts: Limit on the stored rows that may be missing from the frame, in the form of ``max_changed``.
            Defaults to 0.25 if ghost rows are deleted.
        ghost_rows: ``"delete"`` deletes stored rows that are missing from the frame, in the run's windows and of the
            asset's own series (SQL only). Needs ``series``, and partitions with a time window. ``"keep"`` only counts
            them.
        partitions_def: The asset's partitions.
        backfill_policy: How a backfill is divided into runs. For a partitioned asset, defaults to
            ``BackfillPolicy.single_run()``: one run for the whole range, whose body reads ``context.partition_keys`` or
            ``context.partition_time_window`` (``context.partition_key`` raises in it). For an asset that depends on
            itself, defaults to ``multi_run(1)``: one run per partition.
        deps: Further dependencies.
        metadata: Further metadata.
        kinds: Added to ``{"temporis", "pandas"}``.
        pool: Defaults to ``temporis_<data source>``. A pool without a limit limits nothing.
        io_manager_key: The key of the ``TemporisIOManager``.
        **asset_arguments: Further arguments of ``dagster.asset``.

    Raises:
        ConfigurationError: The name cannot be that of a data source, an option does not take its value, or the metadata
            contradict the arguments.

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
    names, contracts = names_and_contracts(series)
    given = {
        "data_source": data_source,
        "series": names,
        "contracts": [contract.stated() for contract in contracts] or None,
        "schema": None if schema is None else schema_text(schema),
        "outside_partition": outside_partition,
        "plot": plot,
        "max_changed": max_changed,
        "max_shift": max_shift,
        "max_ghosts": max_ghosts,
        "ghost_rows": ghost_rows,
        **frame,
    }
    options = {option: value for option, value in given.items() if value is not None}
    key = data_source_key(data_source)
    _ensure_usable(options, frame, metadata or {})
    merged = _merged(metadata, options)
    _ensure_series(merged, partitions_def)
    _ensure_changes(merged, partitions_def)
    for given_input in (asset_arguments.get("ins") or {}).values():
        input_options(getattr(given_input, "metadata", None))
    if isinstance(condition := asset_arguments.get("automation_condition"), dg.AutomationCondition):
        asset_arguments["automation_condition"] = without_waiting_for(condition, key)
    asset_arguments |= {
        "deps": _with_data_source(deps, key),
        "metadata": {**_catalogued(data_source, uri, merged), **merged},
        "kinds": {"temporis", "pandas", *(kinds or ())},
        "pool": pool or f"temporis_{data_source}",
        "io_manager_key": io_manager_key,
    }
    if partitions_def is None:
        return cast("AssetDecorator", dg.asset(**asset_arguments))

    def partitioned(body: Callable[..., Any]) -> dg.AssetsDefinition:
        def with_policy(policy: dg.BackfillPolicy) -> dg.AssetsDefinition:
            decorator = dg.asset(partitions_def=partitions_def, backfill_policy=policy, **asset_arguments)
            return cast("AssetDecorator", decorator)(body)

        asset = with_policy(backfill_policy or dg.BackfillPolicy.single_run())
        if backfill_policy is None and asset.key in {dep.asset_key for dep in asset.get_asset_spec().deps}:
            return with_policy(dg.BackfillPolicy.multi_run(1))  # each partition needs the one before it
        return asset

    return partitioned


def data_source_spec(
    data_source: str,
    *,
    kinds: Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    uri: str | None = None,
    io_manager_key: str | None = None,
    **spec: Any,
) -> dg.AssetSpec:
    """Define a data source as an external asset, on which the assets that write to it depend.

    Assets that read observations depend on the assets that write them. What other code writes can be read from the data
    source itself, as an input: all its series, or those of ``metadata={"temporis/series": [...]}``.

    Args:
        data_source: The name of the data source.
        kinds: Added to ``{"temporis"}``.
        metadata: Further metadata.
        uri: The URL of the store or service, as for ``temporis_asset``.
        io_manager_key: The key of the ``TemporisIOManager`` that loads the data source as an input. If it is left out,
            the input has to name it: ``dg.AssetIn(..., input_manager_key="temporis_io_manager")``.
        **spec: Further arguments of ``dagster.AssetSpec``.

    Raises:
        ConfigurationError: The name cannot be that of a data source.

    Examples:
        .. code-block:: python

            import dagster as dg

            from temporis_dagster import data_source_spec

            defs = dg.Definitions(assets=[data_source_spec("store_metrics", owners=["team:ingest"])])
    """
    merged = _merged(metadata, {"data_source": data_source})
    asset = dg.AssetSpec(
        data_source_key(data_source),
        kinds={"temporis", *(kinds or ())},
        metadata={**_catalogued(data_source, uri, merged), **merged},
        **spec,
    )
    _ensure_series(merged, asset.partitions_def)
    return asset if io_manager_key is None else asset.with_io_manager_key(io_manager_key)


def data_source_key(data_source: str) -> dg.AssetKey:
    """Return the key of the external asset that stands for a data source.

    Raises:
        ConfigurationError: The name cannot be that of a data source.

    Examples:
        >>> data_source_key("store_metrics")
        AssetKey(['temporis', 'store_metrics'])
    """
    ensure_data_source(data_source)
    return dg.AssetKey(["temporis", data_source])


def _ensure_usable(options: Mapping[str, object], frame: Mapping[str, object], metadata: Mapping[str, Any]) -> None:
    """Refuse, while the code is loaded, what the IO manager would refuse in a run."""
    frame_options({option: options[option] for option in frame if option in options}, metadata)
    if "outside_partition" in options:
        ensure_outside_partition(options["outside_partition"])
    if "plot" in options:
        ensure_plot(options["plot"])


def _ensure_series(metadata: Mapping[str, Any], partitions_def: dg.PartitionsDefinition | None) -> None:
    """Refuse, while the code is loaded, series that no run could have, or that do not tell partitions apart."""
    own_series(metadata.get(SERIES)).for_all_partitions(partitions_def)
    contracts_for_partitions(contracts_of(metadata), partitions_def, None)


def _catalogued(data_source: str, uri: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Dagster's catalog shows of an asset with this metadata; what the metadata say themselves wins."""
    schema = defined_schema(metadata.get(SERIES), contracts_of(metadata))
    return {**storage_address(data_source, uri), COLUMN_SCHEMA: schema}


def _ensure_changes(metadata: Mapping[str, Any], partitions_def: dg.PartitionsDefinition | None) -> None:
    """Refuse, while the code is loaded, limits that nothing can keep to, and deletes that could meet other rows."""
    said = options_said(metadata)
    if change_options(said).deletes:
        outside = cast("OutsidePartition | None", said.get("outside_partition"))
        ensure_can_delete(own_series(metadata.get(SERIES)), partitions_def, outside)


def _with_data_source(deps: Iterable[Any] | None, key: dg.AssetKey) -> list[Any]:
    """Add the data source to the dependencies, unless an ``AssetDep`` (with a partition mapping, say) names it."""
    given = list(deps or ())
    named = any(isinstance(dep, dg.AssetDep) and dep.asset_key == key for dep in given)
    return given if named else [*given, key]


def _merged(metadata: Mapping[str, Any] | None, options: Mapping[str, object]) -> dict[str, Any]:
    """Add the options to the metadata; refuse an option that the two give different values."""
    ensure_no_password(metadata)
    ensure_known_keys(metadata or {})
    own = {option_key(option): _as_metadata(value) for option, value in options.items()}
    for key, value in (metadata or {}).items():
        if own.get(key, value) != value:
            raise ConfigurationError(
                f"The metadata has {key}={value!r}, but the arguments have {own[key]!r}. Set it in one place only."
            )
    return {**own, **(metadata or {})}


def _as_metadata(value: object) -> object:
    """Return a value that metadata can hold: lists instead of tuples and sets, text instead of timedeltas."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} s"
    return list(value) if isinstance(value, SEVERAL) else value
