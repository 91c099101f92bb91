"""What a materialization says: where the observations are, how many, what became of them.

Comes in: reports, windows, timestamps. Goes out: metadata of plain Python types, under Dagster's own keys where it has
one, and ``temporis/...``.
Never: sends or reads observations.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.report import COUNTS, UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.partition_windows import PartitionWindows

PARTITION_ROWS = "dagster/partition_row_count"
ALWAYS_SHOWN = ("stored", "unchanged")


def place(source: DataSource) -> dict[str, dg.MetadataValue]:
    """Where the observations are."""
    return {
        "dagster/uri": dg.MetadataValue.text(source.url),
        "dagster/table_name": dg.MetadataValue.text(source.name),
    }


def outcome(report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """What became of the observations of one upsert; for a range of partitions, of them all together."""
    shown = [name for name in COUNTS if name in ALWAYS_SHOWN or getattr(report, name)]
    metadata: dict[str, dg.MetadataValue] = {
        **{f"temporis/{name}": dg.MetadataValue.int(getattr(report, name)) for name in shown},
        "temporis/series_count": dg.MetadataValue.int(report.series),
        "temporis/requests": dg.MetadataValue.int(report.requests),
        "temporis/duration_s": dg.MetadataValue.float(round(report.duration_s, 3)),
    }
    if report.first_timestamp and report.last_timestamp:
        metadata["temporis/first_observation"] = dg.MetadataValue.timestamp(report.first_timestamp)
        metadata["temporis/last_observation"] = dg.MetadataValue.timestamp(report.last_timestamp)
    if report.dry_run:
        metadata["temporis/dry_run"] = dg.MetadataValue.bool(True)
    return metadata


def add_partition_rows(context: dg.OutputContext, windows: PartitionWindows | None, observations: Observations) -> None:
    """Say how many observations each partition of the run has.

    The most frequent count is said once for all partitions, and only those that differ say their own: Dagster's price
    for metadata of one partition grows with the number of partitions of the run.
    """
    counts = partition_rows(context.asset_partition_keys, windows, observations)
    if not counts:
        return
    sizes, frequencies = np.unique(list(counts.values()), return_counts=True)
    usual = int(sizes[frequencies.argmax()])
    context.add_output_metadata({PARTITION_ROWS: usual})
    for key, count in counts.items():
        if count != usual:
            context.step_context.add_asset_metadata({PARTITION_ROWS: count}, context.asset_key, key)


def partition_rows(
    keys: Sequence[str], windows: PartitionWindows | None, observations: Observations
) -> Mapping[str, int]:
    """How many observations each partition has; empty where an observation does not say to which one it belongs."""
    if windows is None:
        return {keys[0]: len(observations)} if len(keys) == 1 else {}
    if not windows.one_key_each:
        return {}
    counts = windows.counts(observations.timestamps)[windows.numbers]
    return dict(zip(windows.keys, counts.tolist(), strict=True))


def stored_partitions(
    context: dg.OutputContext,
    source: DataSource,
    windows: PartitionWindows,
    observations: Observations,
    report: UpsertReport,
) -> Iterator[dg.AssetMaterialization]:
    """A materialization for every partition that an upsert stored before it failed, with the metadata of the body.

    Args:
        context: Dagster's, of the output.
        source: Where it is stored.
        windows: The partitions of the run.
        observations: All that was to be stored.
        report: What became of it.
    """
    done = windows.done(observations.timestamps, _not_stored(report))[windows.numbers]
    rows = partition_rows(windows.keys, windows, observations)
    for key, stored in zip(windows.keys, done.tolist(), strict=True):
        if stored:
            counted = {PARTITION_ROWS: rows[key]} if rows else {}
            metadata = {**context.output_metadata, **place(source), **counted}
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)


def _not_stored(report: UpsertReport) -> Int64s:
    """The timestamps of the observations that are not, or may not be, stored."""
    frames = (report.unsent_rows, report.unknown_rows, report.rejected_rows)
    stamps = [pd.DatetimeIndex(frame["timestamp"]).as_unit("s").asi8 for frame in frames]
    return np.concatenate(stamps)
