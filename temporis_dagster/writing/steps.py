"""The steps of one write: the same for the IO manager, for an asset that calls ``materialize``, and for Dagster Pipes.

Comes in: a frame, the rules of the write, a data source. Goes out: one upsert, and metadata and events as plain values.
Never: imports Dagster, knows how a frame is checked or delivered (the core does), or writes rows outside a run's
partitions unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource, rejection
from temporis_dagster.data_source.streams import as_pandas, observed
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import DataSourceArchivedError, DeliveryError, StoreError
from temporis_dagster.frame_schema import refused_by
from temporis_dagster.metadata_keys import OUTSIDE_PARTITION, PLOT
from temporis_dagster.metadata_values import SHOWN_ROWS, Value, Values, integer, markdown, offending_values
from temporis_dagster.progress_log import ProgressLog
from temporis_dagster.refusal import RefusedError
from temporis_dagster.time_windows import OUTSIDE, PartitionWindows
from temporis_dagster.wording import agreeing, counted
from temporis_dagster.write_options import OutsidePartition
from temporis_dagster.writing.change_guard import ChangeGuard
from temporis_dagster.writing.data_version import partition_versions, set_data_version
from temporis_dagster.writing.event_metadata import (
    add_once,
    add_partition_rows,
    conflicting_rows,
    left_out_rows,
    outcome,
    partitions_of_run,
    row_count,
    stored_partitions,
    tick_of_run,
    written,
)
from temporis_dagster.writing.ghost_rows import RunGhosts, ensure_target_deletes
from temporis_dagster.writing.output import Output, PartitionGuard
from temporis_dagster.writing.own_series import ensure_own
from temporis_dagster.writing.plots import plot_of
from temporis_dagster.writing.written_series import series_by_part


def write(output: Output, source: DataSource, data: object, *, dry_run: bool) -> UpsertReport:
    """Check a frame, upsert it, and show what became of it.

    Args:
        output: Where to show it, and the rules of the write.
        source: The data source.
        data: What the asset returned or passed.
        dry_run: Whether the data source writes nothing.

    Returns:
        What happened to every observation.

    Raises:
        TemporisError: It could not be checked, sent or stored. What is stored of it has been recorded.
    """
    rules = output.rules
    options, windows = rules.options, rules.windows

    # Check everything before anything is sent.
    if options.schema is not None:
        data = as_pandas(data)
    refused = refused_by(options.schema, data)
    checked = observed(data, options.frame, series=rules.contracts, found=refused, warn=output.log.warning)
    ensure_own(checked, options, rules.series)
    observations = _inside(windows, checked, options.outside_partition).in_time_order()
    if windows is not None and len(windows.keys) > 1:
        observations = replace(observations, keeps_order=True)  # so that a failure leaves complete partitions
    guard = guard_of(output, source.name, observations)
    guard.before()
    if rules.changes.deletes:
        ensure_target_deletes(source)
    change_guard = ChangeGuard(output, source, observations, dry_run=dry_run)
    change_guard.before()
    columns = output.columns(observations.used_names)

    # Send.
    report = _upsert(output, source, observations, guard, columns)
    guard.after(report)
    output.log.info("%s", report)
    ghosts = RunGhosts(output, source, observations)
    if not report.dry_run:
        ghosts.delete(change_guard.ghosts) if rules.changes.deletes else ghosts.count(report)
    set_data_version(output, source, observations, report, ghosts.found)

    # Record what became of it: of each partition, of the run, and on the page of the data source.
    left_out = len(checked) - len(observations)
    if left_out:
        output.log.warning("%s", _left_out(left_out, len(checked)))
    further = {**change_guard.metadata(), **({OUTSIDE_PARTITION: integer(left_out)} if left_out else {})}
    show(output, source, observations, report, guard, {**further, **({} if report.dry_run else columns)})
    ghosts.record()
    add_once(output, {**change_guard.tables(), **(_plot(output, observations) if options.plot else {})})
    return report


def show(
    output: Output,
    source: DataSource,
    observations: Observations,
    report: UpsertReport,
    guard: PartitionGuard,
    further: Values,
) -> None:
    """Show what became of an upsert: of each partition, of the run, and on the page of the data source.

    Args:
        output: Where to show it.
        source: The data source.
        observations: What was upserted.
        report: What became of it.
        guard: What it has found out about other partitions.
        further: Further metadata.
    """
    rules = output.rules
    if not report.dry_run and rules.partitions is not None:
        add_partition_rows(output, observations, report)  # first: a partition's page opens with it
    guard.add_lists()
    output.add(
        {
            **outcome(source, observations, report),
            **guard.metadata(),
            **partitions_of_run(rules),
            **tick_of_run(rules),
            **further,
            **({} if report.dry_run else row_count(output, observations, report)),
        }
    )
    if report.pending:
        output.log.warning("%s", _waiting(report, source.pending().last_error))
    add_once(output, {**left_out_rows(report), **conflicting_rows(observations)})
    if report.dry_run:
        output.log.warning(
            "This was a dry run: Dagster shows a materialization, but nothing was stored in %s.", source.name
        )
    else:
        _observe_page(output, source, observations, report)


def guard_of(output: Output, data_source: str, observations: Observations) -> PartitionGuard:
    """Return what keeps partitions that neither time nor templates tell apart from overwriting each other's rows."""
    parts = output.rules.parts
    return PartitionGuard() if parts is None else output.guard(series_by_part(observations, parts), data_source)


def _inside(
    windows: PartitionWindows | None, observations: Observations, outside_partition: OutsidePartition
) -> Observations:
    """Return the observations inside the run's partitions; all of them if partitions have no time or 'allow' is set."""
    if windows is None or outside_partition == "allow":
        return observations
    outside = windows.of(observations.timestamps) == OUTSIDE
    if not outside.any():
        return observations
    if outside_partition == "raise":
        raise _outside(windows, observations, np.flatnonzero(outside))
    return observations.take(~outside)


def _outside(windows: PartitionWindows, observations: Observations, outside: np.ndarray[Any, Any]) -> RefusedError:
    keys = windows.keys[0] if len(windows.keys) == 1 else f"{windows.keys[0]} to {windows.keys[-1]}"
    first = observations.take(outside[:SHOWN_ROWS]).frame()
    return RefusedError(
        f"{_lie_outside(len(outside), len(observations))} ({keys}), the first at "
        f"{first['timestamp'].iloc[0].isoformat()}. Nothing was sent. Return only rows inside the partitions' time "
        "windows (compared in UTC, the end excluded), or set outside_partition to 'drop' or 'allow'.",
        metadata=offending_values("outside", first, count=len(outside)),
    )


def _lie_outside(outside: int, total: int) -> str:
    lie = agreeing(outside, "lies", "lie")
    return f"{outside:,} of {counted(total, 'observation')} {lie} outside the run's partitions"


def _left_out(outside: int, total: int) -> str:
    were = agreeing(outside, "was", "were")
    return f"{_lie_outside(outside, total)} and {were} left out (outside_partition='drop')."


def _waiting(report: UpsertReport, last_error: str | None) -> str:
    wait = agreeing(report.pending, "waits", "wait")
    stored = report.stored + report.unchanged
    return (
        f"{counted(report.pending, 'observation')} {wait} in the mirror for a later write or flush; {stored:,} "
        f"{agreeing(stored, 'is', 'are')} stored. The reason: {last_error or 'they have not been delivered yet.'}"
    )


def _upsert(
    output: Output,
    source: DataSource,
    observations: Observations,
    guard: PartitionGuard,
    columns: Values,
) -> UpsertReport:
    """Upsert; if it fails partway, record the partitions that are stored before raising."""
    progress = ProgressLog(output.log.info, source.name, len(observations))
    options = output.rules.options.frame
    try:
        report = source.upsert(observations, on_invalid="drop", progress=progress)
        if report.rejected and options.on_invalid == "raise":
            raise rejection(report, observations, source.url, options)  # advice in terms of an asset's options
    except (DeliveryError, StoreError) as error:
        if error.report is not None:
            show_failure(output, source, observations, error, {**guard.metadata(), **columns})
        raise
    return report


def show_failure(
    output: Output,
    source: DataSource,
    observations: Observations,
    error: DeliveryError | StoreError,
    further: Mapping[str, Value],
) -> None:
    """Record the partitions that a failed upsert has stored completely, and what it found on the data source's page.

    Args:
        output: What the step makes.
        source: The data source.
        observations: What was to be upserted.
        error: What ended the upsert, with its report.
        further: Further metadata of each partition.
    """
    report, windows = error.report, output.rules.windows
    if report is None:
        return
    if windows is not None and output.rules.partitions is not None:
        versions = partition_versions(output, source, windows, observations, report)
        for key, values in stored_partitions(output, source, windows, observations, report, further):
            output.record(key, values, versions.get(key))
    archived = isinstance(error, DataSourceArchivedError)
    _observe_page(output, source, observations, report, ArchiveState.ARCHIVED if archived else None)


def _observe_page(
    output: Output,
    source: DataSource,
    observations: Observations,
    report: UpsertReport,
    state: ArchiveState | None = None,
) -> None:
    """Record on the data source's page what was written, and the archive state that the write found, if any."""
    state = ArchiveState.ACTIVE if state is None and report.stored else state
    if state is None and not report.unchanged and not report.pending:
        return
    output.observe(source, state, {**partitions_of_run(output.rules), **written(observations, report)})


def _plot(output: Output, observations: Observations) -> dict[str, Value]:
    """Plot what was written. If that fails, only warn in the log: the write stands."""
    try:
        return {PLOT: markdown(plot_of(observations))}
    except Exception:  # a drawing library may raise anything
        output.log.warning("The plot could not be drawn. The observations are stored all the same.", exc_info=True)
        return {}
