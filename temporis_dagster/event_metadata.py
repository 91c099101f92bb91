"""What a materialization says: where the observations are, how many, what became of them.

Comes in: reports, windows, timestamps. Goes out: metadata of plain Python types, under Dagster's own keys where it has
one, and ``temporis/...``.
Never: sends or reads observations.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.dagster_failures import SHOWN_ROWS, offending_rows
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.report import COUNTS, UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.metadata_keys import (
    ALL_PARTITION_ROWS,
    CONFLICTS,
    DATA_SOURCE,
    DRY_RUN,
    DURATION_S,
    FIRST_OBSERVATION,
    LAST_OBSERVATION,
    LAST_PENDING_OBSERVATION,
    PARTITIONS,
    REQUESTS,
    RETRIES,
    SERIES_COUNT,
    TICK,
    count_key,
)
from temporis_dagster.partition_windows import PartitionWindows, in_own_order

PARTITION_ROWS = "dagster/partition_row_count"
ALWAYS_SHOWN = ("stored", "unchanged")


MOST_COUNTED_APART = 2_000
"""Dagster's price for metadata of one partition grows with the partitions that have some: 2,000 are 0.3 s, 8,600 are
7 s (benchmarks/partitions.py). Where more partitions differ, their counts stand together, in one place."""


def place(source: DataSource) -> dict[str, dg.MetadataValue]:
    """Where the observations are."""
    return {
        "dagster/uri": dg.MetadataValue.text(source.url),
        "dagster/table_name": dg.MetadataValue.text(source.name),
    }


def _written_to(source: DataSource) -> dict[str, dg.MetadataValue]:
    """The place, and the name by which a later load finds it."""
    return {**place(source), DATA_SOURCE: dg.MetadataValue.text(source.name)}


def outcome(source: DataSource, observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """What became of the observations of one upsert; for a range of partitions, of them all together.

    A dry run names no place: nothing is there.
    """
    return {
        **({DRY_RUN: dg.MetadataValue.bool(True)} if report.dry_run else _written_to(source)),
        **written(observations, report),
        REQUESTS: dg.MetadataValue.int(report.requests),
        RETRIES: dg.MetadataValue.int(report.retries),
        DURATION_S: dg.MetadataValue.float(round(report.duration_s, 3)),
    }


def written(observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """How many observations had which outcome, of how many series, and the first and last that are stored."""
    shown = [name for name in COUNTS if name in ALWAYS_SHOWN or getattr(report, name)]
    return {
        **{count_key(name): dg.MetadataValue.int(getattr(report, name)) for name in shown},
        **({CONFLICTS: dg.MetadataValue.int(report.conflicts)} if report.conflicts else {}),
        SERIES_COUNT: dg.MetadataValue.int(report.series),
        **_span(observations, report),
    }


def _span(observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """The first and the last observation that is stored, and the last that waits in a mirror."""
    stored, pending = _stored(observations, report), np.sort(_timestamps(report.pending_rows))
    moments = {FIRST_OBSERVATION: stored[:1], LAST_OBSERVATION: stored[-1:], LAST_PENDING_OBSERVATION: pending[-1:]}
    return {key: dg.MetadataValue.timestamp(float(found[0])) for key, found in moments.items() if len(found)}


def _stored(observations: Observations, report: UpsertReport) -> Int64s:
    """The moments at which something is stored, ascending; where all is, only the first and the last of them."""
    settled = report.stored + report.unchanged
    if not settled:
        return np.array([], dtype=np.int64)
    if settled == len(observations):
        return np.array([observations.timestamps.min(), observations.timestamps.max()])
    moments, rows = np.unique(observations.timestamps, return_counts=True)
    np.subtract.at(rows, np.searchsorted(moments, _not_stored(report)), 1)
    return moments[rows > 0].astype(np.int64)


def partitions_of_run(context: dg.OutputContext) -> dict[str, dg.MetadataValue]:
    """The partitions that the counts are about, where they are several: the event they stand in names only one."""
    keys = _keys_of(context)
    if len(keys) < 2:  # noqa: PLR2004  the event names a single one
        return {}
    return {PARTITIONS: dg.MetadataValue.text(f"{keys[0]}...{keys[-1]} ({len(keys):,})")}


def tick_of_run(context: dg.OutputContext) -> dict[str, dg.MetadataValue]:
    """The tick of the schedule that launched the run, where one did."""
    said = context.step_context.run_tags.get(TICK) if context.has_asset_partitions else None
    return {TICK: dg.MetadataValue.timestamp(datetime.fromisoformat(said))} if said else {}


def _keys_of(context: dg.OutputContext) -> list[str]:
    """The partitions of the run, in their own order."""
    if not context.has_asset_partitions:
        return []
    keys = context.asset_partition_keys
    several = len(keys) > 1  # which Dagster's contexts for unit tests never have
    return in_own_order(context.asset_partitions_def, keys, context.step_context.instance if several else None)


def left_out_rows(report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """The first of the rows that were dropped or rejected, as tables; nothing where all were stored."""
    return {**offending_rows("dropped", report.dropped_rows), **offending_rows("rejected", report.rejected_rows)}


def conflicting_rows(observations: Observations) -> dict[str, dg.MetadataValue]:
    """The first of the rows that a later row of another value won over, as a table; nothing where there are none."""
    if observations.superseded_rows is None or not observations.conflicts:
        return {}
    first = observations.superseded_rows.conflicts().take(slice(SHOWN_ROWS)).frame()
    return offending_rows("conflict", first, count=observations.conflicts)


def add_once(context: dg.OutputContext, metadata: Mapping[str, Any]) -> None:
    """Add what takes room, such as tables, to one event: of a range of partitions, the one of the last.

    Dagster keeps events for good, and one run may have thousands.
    """
    if not metadata:
        return
    keys = _keys_of(context)
    if len(keys) > 1:
        context.step_context.add_asset_metadata(metadata, context.asset_key, keys[-1])
    else:
        context.add_output_metadata(metadata)


def add_partition_rows(
    context: dg.OutputContext, windows: PartitionWindows | None, observations: Observations, report: UpsertReport
) -> None:
    """Say how many observations each partition of the run has.

    The most frequent count is said once for all partitions, and only those that differ say their own. Where too many
    differ, no partition says it, and the last one has them all, as ``temporis/partition_row_counts``.
    """
    counts = partition_rows(context.asset_partition_keys, windows, observations, report)
    if not counts:
        return
    sizes, frequencies = np.unique(list(counts.values()), return_counts=True)
    usual = int(sizes[frequencies.argmax()])
    apart = {key: count for key, count in counts.items() if count != usual}
    if len(apart) > MOST_COUNTED_APART:
        add_once(context, {ALL_PARTITION_ROWS: dg.MetadataValue.json(dict(counts))})
        return
    context.add_output_metadata({PARTITION_ROWS: usual})
    for key, count in apart.items():
        context.step_context.add_asset_metadata({PARTITION_ROWS: count}, context.asset_key, key)


def partition_rows(
    keys: Sequence[str], windows: PartitionWindows | None, observations: Observations, report: UpsertReport
) -> Mapping[str, int]:
    """How many observations each partition has; empty where an observation does not say to which one it belongs.

    Those that the service rejected are not there.
    """
    if windows is None:
        return {keys[0]: len(observations) - report.rejected} if len(keys) == 1 else {}
    if not windows.one_key_each:
        return {}
    counts = windows.counts(observations.timestamps) - windows.counts(_timestamps(report.rejected_rows))
    return dict(zip(windows.keys, counts[windows.numbers].tolist(), strict=True))


def stored_partitions(
    context: dg.OutputContext,
    source: DataSource,
    windows: PartitionWindows,
    observations: Observations,
    report: UpsertReport,
    said: Mapping[str, dg.MetadataValue],
) -> Iterator[dg.AssetMaterialization]:
    """A materialization for every partition that an upsert stored before it failed, with the metadata of the body.

    Args:
        context: Dagster's, of the output.
        source: Where it is stored.
        windows: The partitions of the run.
        observations: All that was to be stored.
        report: What became of it.
        said: What else each of them says.
    """
    done = windows.done(observations.timestamps, _not_stored(report))[windows.numbers]
    rows = partition_rows(windows.keys, windows, observations, report)
    newest = windows.newest(observations.timestamps)
    for key, number, stored in zip(windows.keys, windows.numbers.tolist(), done.tolist(), strict=True):
        if stored:
            counted = {PARTITION_ROWS: rows[key]} if rows else {}
            last = newest[number]
            moment = {} if last is None else {LAST_OBSERVATION: dg.MetadataValue.timestamp(float(last))}
            where = {**_written_to(source), **tick_of_run(context)}
            metadata = {**context.output_metadata, **counted, **where, **moment, **said}
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)


def _not_stored(report: UpsertReport) -> Int64s:
    """The timestamps of the observations that are not, or may not be, stored."""
    frames = (report.unsent_rows, report.unknown_rows, report.rejected_rows, report.pending_rows)
    return np.concatenate([_timestamps(frame) for frame in frames])


def _timestamps(rows: pd.DataFrame) -> Int64s:
    return pd.DatetimeIndex(rows["timestamp"]).as_unit("s").asi8
