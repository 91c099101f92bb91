"""What another asset asks for: the observations of its partitions, of the upstream asset's own series.

Comes in: a data source, the windows, the series. Goes out: one frame (timestamp, name, value), sorted.
Never: gives an empty frame for a partition that was never materialized: that is an error.
"""

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.asset_options import OwnSeries
from temporis_dagster.data_source.observations.model import Mask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows

MOST_READS = 16
"""Windows in more pieces than this are read at once, with what lies between them, which is then left out."""


def ensure_materialized(context: dg.InputContext) -> None:
    """Return if everything that is to be read was materialized at least once.

    Raises:
        ConfigurationError: Some of it never was; the message says what to run.
    """
    missing = _never_materialized(context)
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")  # noqa: PLR2004  enough to recognise them
        raise ConfigurationError(
            f"{context.asset_key.to_user_string()} cannot be loaded: {first} "
            f"({len(missing):,} in all) never materialized. Materialize it first, or ask for fewer partitions with a "
            "partition mapping."
        )


def _never_materialized(context: dg.InputContext) -> list[str]:
    if context.has_asset_partitions:
        materialized = context.instance.get_materialized_partitions(context.asset_key)
        return [key for key in context.asset_partition_keys if key not in materialized]
    never = context.instance.get_latest_materialization_event(context.asset_key) is None
    return ["the asset"] if never else []


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
    spans = windows.spans() or [(0, 0)]
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
