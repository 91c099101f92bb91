"""Sets the data versions of a write: for Dagster's automation, and for its mark "stale".

Comes in: what became of an upsert. Goes out: the version of the step, or those of partitions that are stored although
the upsert failed.
Never: overrides a version that the asset sets itself, or gives one to a dry run.
"""

from __future__ import annotations

from collections.abc import Mapping

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan import Ghosts
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import TemporisError
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.writing.output import Output
from temporis_dagster.writing.versions import held, other_rows, versions_of


def set_data_version(
    output: Output, source: DataSource, observations: Observations, report: UpsertReport, counted: Ghosts | None = None
) -> None:
    """Set the data version of the step's materializations. If that fails, only warn in the log: the write stands.

    Args:
        output: What the step makes.
        source: The data source.
        observations: What was upserted.
        report: What became of it.
        counted: The stored rows that the run is about and did not send, if they have been counted already.
    """
    rules = output.rules
    if report.dry_run or not rules.is_asset or not output.in_a_run or output.own_version is not None:
        return
    kept = held(observations, report)
    if kept is not observations or len(observations.dropped_rows):
        counted = None  # what is stored under the keys of rows that were left out is content, too
    try:
        versions = versions_of(rules.windows, kept, other_rows(source, rules.within, kept, counted))
    except TemporisError as error:
        output.log.warning("There is no data version, so what is stored counts as changed. %s", error)
        return
    output.set_versions(versions, may_stay=rules.windows is None and not report.stored and not report.pending)


def partition_versions(
    output: Output, source: DataSource, windows: PartitionWindows, observations: Observations, report: UpsertReport
) -> Mapping[str, str]:
    """Return the versions of the partitions of an upsert that failed partway, for those that are stored completely.

    Args:
        output: What the step makes.
        source: The data source.
        windows: The windows of the run's partitions.
        observations: What was to be upserted: all of it, of each partition that is stored completely.
        report: What became of it.
    """
    if not output.in_a_run:
        return {}
    if output.own_version is not None:
        return dict.fromkeys(windows.keys, output.own_version)
    kept = held(observations, report)
    try:
        return versions_of(windows, kept, other_rows(source, output.rules.within, kept)).by_partition
    except TemporisError:  # the store that has just failed: what is stored counts as changed
        return dict.fromkeys(windows.keys, output.run_id)
