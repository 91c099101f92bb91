"""The metadata of a materialization: where the observations are, how many there are, and what became of them.

Comes in: reports, windows, timestamps. Goes out: metadata, under Dagster's own keys if there is one, else under
``temporis/...``.
Never: sends or reads observations.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.asset_options import AssetOptions
from temporis_dagster.catalog import (
    COLUMN_LINEAGE,
    COLUMN_SCHEMA,
    ROW_COUNT,
    STORAGE,
    STORAGE_KIND,
    TABLE_NAME,
    URI,
    defined_schema,
    plain,
    storage_address,
    table_name,
    written_schema,
)
from temporis_dagster.dagster_failures import SHOWN_ROWS, offending_rows
from temporis_dagster.data_source.observations import Observations, Series
from temporis_dagster.data_source.observations.model import Codes, Int64s, Seconds
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
    SERIES,
    SERIES_COUNT,
    TICK,
    count_key,
)
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows, in_own_order
from temporis_dagster.series_templates import SeriesOfParts

PARTITION_ROWS = "dagster/partition_row_count"
DATA_VERSION = "dagster/data_version"
"""The tag under which Dagster keeps the data version of a materialization or observation."""

ALWAYS_SHOWN = ("stored", "unchanged")


MOST_COUNTED_APART = 2_000
"""The time that Dagster takes to add metadata to a single partition grows with the number of partitions that have some:
0.3 s for 2,000, 7 s for 8,600 (benchmarks/partitions.py). If more partitions differ, one partition lists all counts."""


def place(source: DataSource) -> dict[str, dg.MetadataValue]:
    """Return the metadata that state where the observations are."""
    return {URI: dg.MetadataValue.text(source.url), TABLE_NAME: dg.MetadataValue.text(table_name(source.name))}


def table(
    context: dg.OutputContext, observations: Observations, options: AssetOptions, contracts: Sequence[Series]
) -> dict[str, dg.MetadataValue]:
    """Return the columns of what was written, and where they come from, as Dagster's catalog and its checks read them.

    What the run or the definition states about them overrides what we would say.

    Args:
        context: Dagster's context of the output.
        observations: What was written.
        options: Those of the asset.
        contracts: What is stated about the series of the run's partitions.
    """
    definition = context.definition_metadata
    series = plain(definition.get(SERIES))
    schema, lineage = plain(definition.get(COLUMN_SCHEMA)), plain(definition.get(COLUMN_LINEAGE))
    if schema in (None, defined_schema(series, options.contracts)):
        names = (observations.names[code] for code in np.flatnonzero(np.bincount(observations.codes)))
        partitions = len(context.asset_partition_keys) if context.has_asset_partitions else 1
        schema = written_schema(names, series, contracts, partitions=partitions)
    said: dict[str, dg.MetadataValue] = {COLUMN_SCHEMA: dg.MetadataValue.table_schema(schema)}
    if lineage is not None:
        said[COLUMN_LINEAGE] = dg.MetadataValue.column_lineage(lineage)
    ours = storage_address(str(plain(definition.get(DATA_SOURCE))))
    for key in (TABLE_NAME, STORAGE_KIND):
        if (stated := plain(definition.get(key, ours[key]))) != ours[key]:
            said[key] = dg.MetadataValue.text(str(stated))
    return {key: value for key, value in said.items() if key not in context.output_metadata}


def row_count(
    context: dg.OutputContext, observations: Observations, report: UpsertReport
) -> dict[str, dg.MetadataValue]:
    """Return the number of observations of an asset without partitions, as ``partition_rows`` counts them."""
    if context.has_asset_partitions or not context.has_asset_key or ROW_COUNT in context.output_metadata:
        return {}
    return {ROW_COUNT: dg.MetadataValue.int(len(observations) - report.rejected)}


def _written_to(source: DataSource) -> dict[str, dg.MetadataValue]:
    """Return the place, and the name of the data source, by which a later load finds it."""
    own = {STORAGE_KIND: dg.MetadataValue.text(STORAGE), DATA_SOURCE: dg.MetadataValue.text(source.name)}
    return {**place(source), **own}


def outcome(source: DataSource, observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """Return what became of the observations of one upsert; for a range of partitions, of all of them together.

    The metadata of a dry run name no place, because nothing was stored.
    """
    return {
        **({DRY_RUN: dg.MetadataValue.bool(True)} if report.dry_run else _written_to(source)),
        **written(observations, report),
        REQUESTS: dg.MetadataValue.int(report.requests),
        RETRIES: dg.MetadataValue.int(report.retries),
        DURATION_S: dg.MetadataValue.float(round(report.duration_s, 3)),
    }


def written(observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """Return the number of observations per outcome, the number of series, and the first and last observation."""
    shown = [name for name in COUNTS if name in ALWAYS_SHOWN or getattr(report, name)]
    return {
        **{count_key(name): dg.MetadataValue.int(getattr(report, name)) for name in shown},
        **({CONFLICTS: dg.MetadataValue.int(report.conflicts)} if report.conflicts else {}),
        SERIES_COUNT: dg.MetadataValue.int(report.series),
        **_span(observations, report),
    }


def _span(observations: Observations, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """Return the first and the last stored observation, and the last one that waits in a mirror."""
    stored, pending = _stored(observations, report), np.sort(_timestamps(report.pending_rows))
    moments = {FIRST_OBSERVATION: stored[:1], LAST_OBSERVATION: stored[-1:], LAST_PENDING_OBSERVATION: pending[-1:]}
    return {key: dg.MetadataValue.timestamp(float(found[0])) for key, found in moments.items() if len(found)}


def _stored(observations: Observations, report: UpsertReport) -> Int64s:
    """Return the times of stored observations, ascending; only the first and the last of them if all are stored."""
    settled = report.stored + report.unchanged
    if not settled:
        return np.array([], dtype=np.int64)
    if settled == len(observations):
        return np.array([observations.timestamps.min(), observations.timestamps.max()])
    moments, rows = np.unique(observations.timestamps, return_counts=True)
    np.subtract.at(rows, np.searchsorted(moments, _not_stored(report)), 1)
    return moments[rows > 0].astype(np.int64)


def partitions_of_run(context: dg.OutputContext) -> dict[str, dg.MetadataValue]:
    """Return the partitions that the counts cover, if there are several: the event itself names only one."""
    keys = _keys_of(context)
    if len(keys) < 2:  # noqa: PLR2004  the event names a single one
        return {}
    return {PARTITIONS: dg.MetadataValue.text(f"{keys[0]}...{keys[-1]} ({len(keys):,})")}


def tick_of_run(context: dg.OutputContext) -> dict[str, dg.MetadataValue]:
    """Return the tick of the trailing-window schedule that launched the run, if one did."""
    tick = context.step_context.run_tags.get(TICK) if context.has_asset_partitions and in_a_run(context) else None
    return {TICK: dg.MetadataValue.timestamp(datetime.fromisoformat(tick))} if tick else {}


def _keys_of(context: dg.OutputContext) -> list[str]:
    """Return the partitions of the run, in the order of their definition."""
    if not context.has_asset_partitions:
        return []
    keys = context.asset_partition_keys
    if not in_a_run(context):
        return list(map(str, keys))
    return in_own_order(context.asset_partitions_def, keys, context.step_context.instance)


def partitions_of(context: dg.OutputContext) -> tuple[dg.PartitionsDefinition | None, Sequence[str]]:
    """Return what partitions the asset has, and those of the output; None and nothing if it has none.

    ``dg.migrate_io_storage`` names a single partition without saying what partitions there are: then it is None, too.
    """
    if not context.has_asset_partitions:
        return None, ()
    try:
        return context.asset_partitions_def, context.asset_partition_keys
    except dg.DagsterInvariantViolationError:
        return None, ()


def in_a_run(context: dg.OutputContext) -> bool:
    """Tell whether there are events to add to; ``dg.migrate_io_storage`` and unit tests write without a run."""
    try:
        return context.step_context is not None
    except dg.DagsterInvariantViolationError:
        return False


def left_out_rows(report: UpsertReport) -> dict[str, dg.MetadataValue]:
    """Return tables of the first rows that were dropped or rejected; nothing if there are none."""
    return {**offending_rows("dropped", report.dropped_rows), **offending_rows("rejected", report.rejected_rows)}


def conflicting_rows(observations: Observations) -> dict[str, dg.MetadataValue]:
    """Return a table of the first rows that a later row with another value superseded; nothing if there are none."""
    if observations.superseded_rows is None or not observations.conflicts:
        return {}
    first = observations.superseded_rows.conflicts().take(slice(SHOWN_ROWS)).frame()
    return offending_rows("conflict", first, count=observations.conflicts)


def add_once(context: dg.OutputContext, metadata: Mapping[str, Any]) -> None:
    """Add large metadata, such as tables, to a single event: for a range of partitions, that of the last one.

    Dagster never deletes events, and one run may have thousands.
    """
    if not metadata:
        return
    keys = _keys_of(context)
    if len(keys) > 1 and in_a_run(context):
        context.step_context.add_asset_metadata(metadata, context.asset_key, keys[-1])
    else:
        context.add_output_metadata(metadata)


def add_partition_rows(
    context: dg.OutputContext,
    windows: PartitionWindows | None,
    observations: Observations,
    report: UpsertReport,
    series: SeriesOfParts | None = None,
) -> None:
    """Add the number of observations of each partition of the run to the metadata.

    The most frequent count is added once for all partitions, and partitions that differ get their own. If too many
    differ, no partition gets a count, and the last one lists all of them as ``temporis/partition_row_counts``.
    """
    counts = partition_rows(context.asset_partition_keys, windows, observations, report, series)
    if not counts or not in_a_run(context):
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
    keys: Sequence[str],
    windows: PartitionWindows | None,
    observations: Observations,
    report: UpsertReport,
    series: SeriesOfParts | None = None,
) -> Mapping[str, int]:
    """Return the number of observations per partition; empty if neither time nor templates tell partitions apart.

    Observations that the service rejected are not counted.
    """
    rejected = report.rejected_rows
    codes, names = pd.factorize(rejected["name"])
    written = by_partition(keys, windows, series, observations.timestamps, observations.codes, observations.names)
    left_out = by_partition(keys, windows, series, _timestamps(rejected), codes, tuple(names))
    return {key: count - left_out[key] for key, count in written.items()}


def by_partition(
    keys: Sequence[str],
    windows: PartitionWindows | None,
    series: SeriesOfParts | None,
    timestamps: Seconds,
    codes: Codes,
    names: tuple[str, ...],
) -> Mapping[str, int]:
    """Count rows per partition; empty if neither time nor templates tell the partitions apart.

    Args:
        keys: The partitions.
        windows: Their time windows; None if they have no time.
        series: The series of each, if templates give them.
        timestamps: The Unix second of each row.
        codes: The series of each row, as an index into ``names``.
        names: The names of series.
    """
    if series is not None:
        counts = _rows_by_part(windows, series, timestamps, codes, names)
        numbers = {} if windows is None else dict(zip(windows.keys, windows.numbers.tolist(), strict=True))
        parts = {part: place for place, part in enumerate(series.some)}
        return {key: int(counts[numbers.get(key, 0), parts[series.parts.of(key)]]) for key in map(str, keys)}
    if windows is None:
        return {str(keys[0]): len(timestamps)} if len(keys) == 1 else {}
    if not windows.one_key_each:
        return {}
    of_windows = windows.counts(windows.of(timestamps))
    return dict(zip(map(str, windows.keys), of_windows[windows.numbers].tolist(), strict=True))


def _rows_by_part(
    windows: PartitionWindows | None, series: SeriesOfParts, timestamps: Seconds, codes: Codes, names: tuple[str, ...]
) -> Int64s:
    """Count observations by window and part; a window and a part more than there are count what is in none of them."""
    parts = {part: place for place, part in enumerate(series.some)}
    none = len(parts)
    of_names = np.array([parts.get(series.part_of(name) or "", none) for name in names], dtype=np.int64)
    windowed = np.zeros(len(timestamps), dtype=np.int64) if windows is None else windows.of(timestamps)
    last = 1 if windows is None else len(windows.starts)
    cells = np.where(windowed == OUTSIDE, last, windowed) * (none + 1) + of_names[codes]
    return np.bincount(cells, minlength=(last + 1) * (none + 1)).reshape(last + 1, none + 1)


def _rows_by_key(windows: PartitionWindows, counts: Int64s, report: UpsertReport) -> Mapping[str, int]:
    if not windows.one_key_each:
        return {}
    stored = counts - windows.counts(windows.of(_timestamps(report.rejected_rows)))
    return dict(zip(windows.keys, stored[windows.numbers].tolist(), strict=True))


def stored_partitions(
    context: dg.OutputContext,
    source: DataSource,
    windows: PartitionWindows,
    observations: Observations,
    report: UpsertReport,
    further: Mapping[str, dg.MetadataValue],
    versions: Mapping[str, str],
) -> Iterator[dg.AssetMaterialization]:
    """Yield a materialization for every partition that an upsert stored completely before it failed.

    Args:
        context: The context of the output, whose metadata each materialization gets as well.
        source: The data source.
        windows: The partitions of the run.
        observations: All observations of the upsert.
        report: What became of them.
        further: Further metadata for each materialization.
        versions: The data version of each partition that has one.
    """
    placed = windows.of(observations.timestamps)
    counts = windows.counts(placed)
    done = windows.done(counts, windows.counts(windows.of(_not_stored(report))))[windows.numbers]
    rows = _rows_by_key(windows, counts, report)
    newest = windows.newest(observations.timestamps, placed)
    for key, number, stored in zip(windows.keys, windows.numbers.tolist(), done.tolist(), strict=True):
        if stored:
            counted = {PARTITION_ROWS: rows[key]} if rows else {}
            last = newest[number]
            moment = {} if last is None else {LAST_OBSERVATION: dg.MetadataValue.timestamp(float(last))}
            where = {**_written_to(source), **tick_of_run(context)}
            metadata = {**context.output_metadata, **counted, **where, **moment, **further}
            tags = {DATA_VERSION: versions[key]} if key in versions else None
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata, tags=tags)


def _not_stored(report: UpsertReport) -> Int64s:
    """Return the timestamps of the observations that are not stored, or may not be."""
    frames = (report.unsent_rows, report.unknown_rows, report.rejected_rows, report.pending_rows)
    return np.concatenate([_timestamps(frame) for frame in frames])


def _timestamps(rows: pd.DataFrame) -> Int64s:
    return pd.DatetimeIndex(rows["timestamp"]).as_unit("s").asi8
