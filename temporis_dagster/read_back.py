"""What another asset asks for: the observations of its partitions, of the upstream asset's own series.

Comes in: a data source, the windows, the series. Goes out: one frame (timestamp, name, value), sorted.
Never: gives an empty frame for a partition that was never stored: that is an error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.asset_options import OwnSeries, options_said
from temporis_dagster.data_source.observations.model import Mask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.materialization import DRY_RUN, SERIES_COUNT
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows

MOST_READS = 16
"""Windows in more pieces than this are read at once, with what lies between them, which is then left out."""


@dataclass(frozen=True)
class Written:
    """What the latest materializations of what is read say of themselves.

    Attributes:
        data_source: Where they were written; None where nobody says.
        series_count: The most series that one of them wrote; None where none says.
    """

    data_source: str | None
    series_count: int | None


def last_written(context: dg.InputContext, default: str | None, *, dry_run: bool) -> Written:
    """What the latest materializations of what is read say of themselves.

    Args:
        context: Dagster's, of the input.
        default: The data source of those that name none.
        dry_run: Whether this is a dry run itself: then what dry runs materialized counts, too, and what is read is
            whatever is there.

    Raises:
        ConfigurationError: Something was never materialized, or they name several data sources; the message says what
            to do.
    """
    _ensure_materialized(context, _never_materialized(context), "was never materialized")
    latest = dict(_latest(context, dry_run=dry_run))
    keys = context.asset_partition_keys if context.has_asset_partitions else [None]
    only_dry = [key or "the asset" for key in keys if key not in latest]
    _ensure_materialized(context, only_dry, "was materialized only by dry runs, which store nothing")
    metadata = [materialization.metadata for materialization in latest.values()]
    said = {options_said(each).get("data_source", default) for each in metadata}
    if len(said) > 1:
        raise ConfigurationError(
            f"The partitions of {context.asset_key.to_user_string()} were written to several data sources "
            f"({', '.join(sorted(str(name or 'the default') for name in said))}). Read them in runs of their own, or "
            "materialize them again."
        )
    counts = [cast("int", each[SERIES_COUNT].value) for each in metadata if SERIES_COUNT in each]
    return Written(cast("str | None", said.pop() if said else default), max(counts, default=None))


def series_of_others(frame: pd.DataFrame, series: OwnSeries, written: Written) -> str | None:
    """What to warn of where an asset does not say which series are its own, and more are there than it wrote."""
    if series != OwnSeries() or written.series_count is None:
        return None
    found = frame["name"].nunique()
    if found <= written.series_count:
        return None
    return (
        f"{found:,} series were read, although no run that wrote these partitions had more than "
        f"{written.series_count:,}: the others may be of other assets that write to {written.data_source!r}. Say which "
        "series are the asset's own, with series= of @temporis_asset."
    )


def _ensure_materialized(context: dg.InputContext, missing: Sequence[str], fault: str) -> None:
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")  # noqa: PLR2004  enough to recognise them
        raise ConfigurationError(
            f"{context.asset_key.to_user_string()} cannot be loaded: {first} "
            f"({len(missing):,} in all) {fault}. Materialize it first, or ask for fewer partitions with a "
            "partition mapping."
        )


def _never_materialized(context: dg.InputContext) -> list[str]:
    if context.has_asset_partitions:
        materialized = context.instance.get_materialized_partitions(context.asset_key)
        return [key for key in context.asset_partition_keys if key not in materialized]
    never = context.instance.get_latest_materialization_event(context.asset_key) is None
    return ["the asset"] if never else []


def _latest(context: dg.InputContext, *, dry_run: bool) -> Iterator[tuple[str | None, dg.AssetMaterialization]]:
    """The latest materialization of each partition that is read, or of the asset; those of dry runs on request."""
    keys = list(context.asset_partition_keys) if context.has_asset_partitions else None
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=keys)
    seen: set[str | None] = set()
    cursor: str | None = None
    while True:
        found = context.instance.fetch_materializations(wanted, limit=1_000 if keys else 10, cursor=cursor)
        for record in found.records:
            materialization, key = record.asset_materialization, record.partition_key if keys else None
            if materialization and key not in seen and (dry_run or DRY_RUN not in materialization.metadata):
                seen.add(key)
                yield key, materialization
        if not found.has_more or len(seen) >= len(keys or [None]):
            return
        cursor = found.cursor


def read_back(source: DataSource, series: OwnSeries, windows: PartitionWindows | None) -> pd.DataFrame:
    """The stored observations of these windows and series.

    Args:
        source: Where they are.
        series: Which series.
        windows: Which times; None for all.
    """
    frame = source.read(names=series.names) if windows is None else _read_windows(source, series, windows)
    return _of_prefix(frame, series)


def _read_windows(source: DataSource, series: OwnSeries, windows: PartitionWindows) -> pd.DataFrame:
    spans = windows.spans()
    if not spans:  # before the first partition of an asset that depends on itself: there may be no data source yet
        columns = {"timestamp": pd.DatetimeIndex([], dtype="datetime64[s, UTC]"), "name": pd.Series(dtype=str)}
        return pd.DataFrame({**columns, "value": pd.Series(dtype=np.float64)})
    if len(spans) <= MOST_READS:
        frames = [source.read(start, end, series.names) for start, end in spans]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    frame = source.read(spans[0][0], spans[-1][1], series.names)
    inside: Mask = windows.of(pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8) != OUTSIDE
    return frame.loc[inside].reset_index(drop=True)


def _of_prefix(frame: pd.DataFrame, series: OwnSeries) -> pd.DataFrame:
    if series.names is not None or not series.prefix:
        return frame
    codes, names = pd.factorize(frame["name"])
    own = np.array([name in series for name in names], dtype=bool)
    return frame.loc[own[codes]].reset_index(drop=True)
