"""Shows an upsert of which only the report is left, because something else than the steps made it.

Comes in: a report, or the error that ended an upsert. Goes out: metadata and events as plain values.
Never: sends or reads observations that the report does not know, or makes up what it does not tell.
"""

from __future__ import annotations

from temporis_dagster.data_source.report import UpsertReport, upserted_of
from temporis_dagster.errors import ConfigurationError, DeliveryError, StoreError, TemporisError
from temporis_dagster.time_windows import OUTSIDE
from temporis_dagster.wording import agreeing, counted
from temporis_dagster.writing.data_version import set_data_version
from temporis_dagster.writing.event_metadata import bare_outcome, partitions_of_run, place_values, tick_of_run
from temporis_dagster.writing.ghost_rows import RunGhosts
from temporis_dagster.writing.output import Output, Place
from temporis_dagster.writing.steps import guard_of, show, show_failure


def show_report(output: Output, report: UpsertReport, place: Place | None = None) -> None:
    """Show what became of an upsert, as far as its report tells.

    Args:
        output: Where to show it.
        report: What an upsert returned.
        place: The data source, if the caller knows where it is.
    """
    known = upserted_of(report)
    if known is None:
        _show_counts(output, report, place)
        return
    source, observations, windows = known.source, known.observations, output.rules.windows
    guard = guard_of(output, source.name, observations)
    columns = output.columns(observations.used_names)
    if windows is not None and (outside := int((windows.of(observations.timestamps) == OUTSIDE).sum())):
        are = agreeing(outside, "lies", "lie")
        output.log.warning("%s %s outside the run's partitions.", counted(outside, "observation"), are)
    output.log.info("%s", report)
    ghosts = RunGhosts(output, source, observations)
    if not report.dry_run:
        ghosts.count(report)
    set_data_version(output, source, observations, report, ghosts.found)
    show(output, source, observations, report, guard, {} if report.dry_run else columns)
    ghosts.record()


def show_error(output: Output, error: TemporisError) -> None:
    """Record what an upsert has stored before it failed, as far as its report tells.

    Args:
        output: Where to show it.
        error: What ended the upsert.
    """
    if not isinstance(error, DeliveryError | StoreError) or error.report is None:
        return
    known = upserted_of(error.report)
    if known is None:
        return
    guard_of(output, known.source.name, known.observations)
    columns = output.columns(known.observations.used_names)
    show_failure(output, known.source, known.observations, error, columns)


def ensure_report_of(report: UpsertReport, data_source: str) -> None:
    """Refuse a report of another data source than that of the asset.

    Raises:
        ConfigurationError: It is of another.
    """
    if report.data_source != data_source:
        raise ConfigurationError(
            f"The report is of the data source {report.data_source!r}, but the asset writes to {data_source!r}. Name "
            "the same data source in both."
        )


def _show_counts(output: Output, report: UpsertReport, place: Place | None) -> None:
    """Show the counts of a report that does not know its observations."""
    partitions = output.rules.partitions or ()
    if len(partitions) > 1:
        output.log.warning("The report does not tell partitions apart, so their row counts are not shown.")
    output.log.info("%s", report)
    output.add(
        {
            **({} if place is None or report.dry_run else place_values(place)),
            **bare_outcome(report, one_partition=len(partitions) == 1, is_whole=output.rules.partitions is None),
            **partitions_of_run(output.rules),
            **tick_of_run(output.rules),
        }
    )
