"""The metadata of a materialization: where the observations are, how many there are, and what became of them.

Comes in: reports, windows, timestamps. Goes out: plain metadata, under Dagster's own keys if there is one, else under
``temporis/...``; and which partitions an upsert that failed has stored completely.
Never: sends or reads observations, or imports Dagster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from temporis_dagster.dagster_keys import PARTITION_ROWS, ROW_COUNT, STORAGE, STORAGE_KIND, TABLE_NAME, URI, table_name
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Codes, Int64s, Seconds
from temporis_dagster.data_source.report import COUNTS, UpsertReport
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
from temporis_dagster.metadata_values import (
    SHOWN_ROWS,
    YES,
    Value,
    integer,
    json_value,
    moment,
    number,
    offending_values,
    text,
)
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.time_windows import OUTSIDE, PartitionWindows
from temporis_dagster.writing.output import Output, Place
from temporis_dagster.writing.rules import WriteRules

ALWAYS_SHOWN = ("stored", "unchanged")


MOST_COUNTED_APART = 2_000
"""The time that Dagster takes to add metadata to a single partition grows with the number of partitions that have some:
0.3 s for 2,000, 7 s for 8,600 (benchmarks/partitions.py). If more partitions differ, one partition lists all counts."""


def place_values(source: Place) -> dict[str, Value]:
    """Return the metadata that state where the observations are."""
    return {URI: text(source.url), TABLE_NAME: text(table_name(source.name))}


def row_count(output: Output, observations: Observations, report: UpsertReport) -> dict[str, Value]:
    """Return the number of observations of an asset without partitions, as ``partition_rows`` counts them."""
    if output.rules.partitions is not None or not output.rules.is_asset or output.states(ROW_COUNT):
        return {}
    return {ROW_COUNT: integer(len(observations) - report.rejected)}


def _written_to(source: Place) -> dict[str, Value]:
    """Return the place, and the name of the data source, by which a later load finds it."""
    return {**place_values(source), STORAGE_KIND: text(STORAGE), DATA_SOURCE: text(source.name)}


def outcome(source: Place, observations: Observations, report: UpsertReport) -> dict[str, Value]:
    """Return what became of the observations of one upsert; for a range of partitions, of all of them together.

    The metadata of a dry run name no place, because nothing was stored.
    """
    return {
        **({DRY_RUN: YES} if report.dry_run else _written_to(source)),
        **written(observations, report),
        **_effort(report),
    }


def bare_outcome(report: UpsertReport, *, one_partition: bool, is_whole: bool) -> dict[str, Value]:
    """Return what became of an upsert, from its report alone.

    Args:
        report: What an upsert returned that does not remember its observations.
        one_partition: Whether all of them are of one partition.
        is_whole: Whether the asset has no partitions.
    """
    kept = report.observations_in - report.superseded - report.dropped - report.rejected
    rows = {PARTITION_ROWS: integer(kept)} if one_partition else {ROW_COUNT: integer(kept)} if is_whole else {}
    where = {TABLE_NAME: text(table_name(report.data_source)), STORAGE_KIND: text(STORAGE)}
    all_stored = report.stored + report.unchanged == kept
    ends = {FIRST_OBSERVATION: report.first_timestamp, LAST_OBSERVATION: report.last_timestamp}
    span = {key: moment(end.timestamp()) for key, end in ends.items() if end is not None and all_stored}
    return {
        **({DRY_RUN: YES} if report.dry_run else {**where, DATA_SOURCE: text(report.data_source), **rows}),
        **_counts(report),
        **span,
        **_effort(report),
    }


def written(observations: Observations, report: UpsertReport) -> dict[str, Value]:
    """Return the number of observations per outcome, the number of series, and the first and last observation."""
    return {**_counts(report), **_span(observations, report)}


def _counts(report: UpsertReport) -> dict[str, Value]:
    shown = [name for name in COUNTS if name in ALWAYS_SHOWN or getattr(report, name)]
    return {
        **{count_key(name): integer(getattr(report, name)) for name in shown},
        **({CONFLICTS: integer(report.conflicts)} if report.conflicts else {}),
        SERIES_COUNT: integer(report.series),
    }


def _effort(report: UpsertReport) -> dict[str, Value]:
    return {
        REQUESTS: integer(report.requests),
        RETRIES: integer(report.retries),
        DURATION_S: number(round(report.duration_s, 3)),
    }


def _span(observations: Observations, report: UpsertReport) -> dict[str, Value]:
    """Return the first and the last stored observation, and the last one that waits in a mirror."""
    stored, pending = _stored(observations, report), np.sort(_timestamps(report.pending_rows))
    ends = {FIRST_OBSERVATION: stored[:1], LAST_OBSERVATION: stored[-1:], LAST_PENDING_OBSERVATION: pending[-1:]}
    return {key: moment(float(found[0])) for key, found in ends.items() if len(found)}


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


def partitions_of_run(rules: WriteRules) -> dict[str, Value]:
    """Return the partitions that the counts cover, if there are several: the event itself names only one."""
    keys = rules.partitions or ()
    if len(keys) < 2:  # noqa: PLR2004  the event names a single one
        return {}
    return {PARTITIONS: text(f"{keys[0]}...{keys[-1]} ({len(keys):,})")}


def tick_of_run(rules: WriteRules) -> dict[str, Value]:
    """Return the tick of the trailing-window schedule that launched the run, if one did."""
    tick = rules.tags.get(TICK) if rules.partitions is not None else None
    return {TICK: moment(datetime.fromisoformat(tick).timestamp())} if tick else {}


def left_out_rows(report: UpsertReport) -> dict[str, Value]:
    """Return tables of the first rows that were dropped or rejected; nothing if there are none."""
    return {**offending_values("dropped", report.dropped_rows), **offending_values("rejected", report.rejected_rows)}


def conflicting_rows(observations: Observations) -> dict[str, Value]:
    """Return a table of the first rows that a later row with another value superseded; nothing if there are none."""
    if observations.superseded_rows is None or not observations.conflicts:
        return {}
    first = observations.superseded_rows.conflicts().take(slice(SHOWN_ROWS)).frame()
    return offending_values("conflict", first, count=observations.conflicts)


def add_once(output: Output, metadata: Mapping[str, Value]) -> None:
    """Add large metadata, such as tables, to a single event: for a range of partitions, that of the last one.

    Dagster never deletes events, and one run may have thousands.
    """
    if not metadata:
        return
    keys = output.rules.partitions or ()
    if len(keys) > 1 and output.in_a_run:
        output.add_to(keys[-1], metadata)
    else:
        output.add(metadata)


def add_partition_rows(output: Output, observations: Observations, report: UpsertReport) -> None:
    """Add the number of observations of each partition of the run to the metadata.

    The most frequent count is added once for all partitions, and partitions that differ get their own. If too many
    differ, no partition gets a count, and the last one lists all of them as ``temporis/partition_row_counts``.
    """
    rules = output.rules
    counts = partition_rows(rules.partitions or (), rules.windows, observations, report, rules.series)
    if not counts or not output.in_a_run:
        return
    sizes, frequencies = np.unique(list(counts.values()), return_counts=True)
    usual = int(sizes[frequencies.argmax()])
    apart = {key: count for key, count in counts.items() if count != usual}
    if len(apart) > MOST_COUNTED_APART:
        add_once(output, {ALL_PARTITION_ROWS: json_value(counts)})
        return
    output.add({PARTITION_ROWS: integer(usual)})
    for key, count in apart.items():
        output.add_to(key, {PARTITION_ROWS: integer(count)})


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
    output: Output,
    source: Place,
    windows: PartitionWindows,
    observations: Observations,
    report: UpsertReport,
    further: Mapping[str, Value],
) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield the metadata of every partition that an upsert stored completely before it failed.

    Args:
        output: What the step makes.
        source: The data source.
        windows: The partitions of the run.
        observations: All observations of the upsert.
        report: What became of them.
        further: Further metadata for each of these partitions.
    """
    placed = windows.of(observations.timestamps)
    counts = windows.counts(placed)
    done = windows.done(counts, windows.counts(windows.of(_not_stored(report))))[windows.numbers]
    rows = _rows_by_key(windows, counts, report)
    newest = windows.newest(observations.timestamps, placed)
    where = {**_written_to(source), **tick_of_run(output.rules)}
    for key, number_of, stored in zip(windows.keys, windows.numbers.tolist(), done.tolist(), strict=True):
        if stored:
            counted = {PARTITION_ROWS: integer(rows[key])} if rows else {}
            last = newest[number_of]
            yield key, {**counted, **where, **({} if last is None else {LAST_OBSERVATION: moment(last)}), **further}


def _not_stored(report: UpsertReport) -> Int64s:
    """Return the timestamps of the observations that are not stored, or may not be."""
    frames = (report.unsent_rows, report.unknown_rows, report.rejected_rows, report.pending_rows)
    return np.concatenate([_timestamps(frame) for frame in frames])


def _timestamps(rows: pd.DataFrame) -> Int64s:
    return pd.DatetimeIndex(rows["timestamp"]).as_unit("s").asi8
