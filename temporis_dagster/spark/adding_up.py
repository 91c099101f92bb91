"""Adding up: the rows that all tasks returned become one report, and at most one error.

Comes in: the outcomes of the tasks. Goes out: a report whose counts add up, or the error of the tree that says most.
Never: counts a task twice (Spark returns each partition once), or hides that other tasks failed as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pandas as pd

from temporis_dagster import errors
from temporis_dagster.data_source.observations.faults import fault_frame
from temporis_dagster.data_source.report import DroppedRows, UpsertReport
from temporis_dagster.errors import InvalidObservationsError, RejectedObservationsError, TemporisError
from temporis_dagster.spark.outcome import ADDED_UP, SHOWN_ROWS, Failure, Outcome
from temporis_dagster.spark.words import SparkOptions
from temporis_dagster.wording import agreeing, counted

MOST_TELLING = (
    "ConfigurationError",
    "AuthenticationError",
    "DataSourceNotFoundError",
    "DataSourceArchivedError",
    "MirrorError",
    "InvalidObservationsError",
    "NotSupportedError",
    "DeliveryError",
    "StreamError",
    "StoreError",
    "UnavailableError",
)
"""If tasks failed for different reasons, the first of these is raised: what a repetition cannot heal comes first."""


def report_of(
    outcomes: Sequence[Outcome], series: int, *, data_source: str, duration_s: float, dry_run: bool
) -> UpsertReport:
    """Make one report of what became of the observations of all tasks.

    Args:
        outcomes: One for each partition that had rows.
        series: How many different series their observations belong to.
        data_source: The name of the data source.
        duration_s: How long the whole call took.
        dry_run: Whether nothing was written.
    """
    firsts = [outcome.first for outcome in outcomes if outcome.first is not None]
    lasts = [outcome.last for outcome in outcomes if outcome.last is not None]
    rows: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        for kind, some in outcome.rows.items():
            rows.setdefault(kind, []).extend(_with_place(outcome, some))
    counts = {name: sum(outcome.counts[name] for outcome in outcomes) for name in ADDED_UP}
    return UpsertReport(
        data_source=data_source,
        series=series,
        first_timestamp=_utc(min(firsts)) if firsts else None,
        last_timestamp=_utc(max(lasts)) if lasts else None,
        duration_s=duration_s,
        dry_run=dry_run,
        _rows={kind: DroppedRows(_frame(some, kind)) for kind, some in rows.items()},
        _upserted=None,
        **counts,
    )


def raise_failures(outcomes: Sequence[Outcome], report: UpsertReport, url: str, options: SparkOptions) -> None:
    """Raise what ended some of the tasks, or what the service rejected, with the report of all.

    Args:
        outcomes: One for each partition that had rows.
        report: What became of all observations.
        url: Where the data source is.
        options: How the frame was read.

    Raises:
        TemporisError: Of the same type as the error in the task.
    """
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if failed:
        raise _error(failed, len(outcomes), report)
    if report.rejected and options.on_invalid == "raise":
        first = report.rejected_rows.iloc[0]
        raise RejectedObservationsError(
            f"Data source {report.data_source!r} at {url} rejected {report.rejected:,} of"
            f" {counted(report.observations_in, 'observation')} and stored {report.stored:,}. The first is series"
            f" {first['name']!r} at {first['timestamp']}: {first['reason']}. {options.LIST_OF_REJECTED} Correct them,"
            f" or pass {options.spelled('on_invalid', 'drop')}.",
            data_source=report.data_source,
            report=report,
        )


def _error(failed: Sequence[Outcome], tasks: int, report: UpsertReport) -> TemporisError:
    def rank(outcome: Outcome) -> int:
        kind = _failure(outcome).kind
        return MOST_TELLING.index(kind) if kind in MOST_TELLING else len(MOST_TELLING)

    first = min(failed, key=rank)
    failure = _failure(first)
    message = (
        f"Partition {first.partition}: {failure.message}{_more(failure)} {len(failed):,} of {counted(tasks, 'task')}"
        f" ended early; {report.stored + report.unchanged:,} of {counted(report.observations_in, 'observation')} that"
        f" the tasks had read {agreeing(report.stored + report.unchanged, 'is', 'are')} stored (.report)."
    )
    return _made(failure, message, [outcome for outcome in failed if _failure(outcome).kind == failure.kind], report)


def _made(failure: Failure, message: str, alike: Sequence[Outcome], report: UpsertReport) -> TemporisError:
    kind: Any = getattr(errors, failure.kind, errors.DeliveryError)
    facts = failure.facts
    if issubclass(kind, InvalidObservationsError):
        rows = [row for outcome in alike for row in _with_place(outcome, _failure(outcome).rows)][:SHOWN_ROWS]
        sums = {
            name: sum(_failure(outcome).facts[name] for outcome in alike)
            for name in ("invalid", "observations_in", "conflicts")
        }
        frame = pd.DataFrame(rows) if rows else fault_frame([], pd.Index([]))
        error: TemporisError = kind(message, rows=frame, **sums)
    elif issubclass(kind, errors.UnavailableError):
        error = kind(
            message,
            data_source=report.data_source,
            report=report,
            attempts=facts["attempts"],
            retry_after_s=facts["retry_after_s"],
        )
    elif issubclass(kind, errors.DeliveryError):
        error = kind(message, data_source=report.data_source, report=report)
    elif issubclass(kind, errors.StoreError):
        error = kind(message, url=facts["url"], report=report, retryable=facts["retryable"])
    elif issubclass(kind, errors.MirrorError):
        error = kind(message, url=facts["url"], report=report)
    else:
        error = kind(message)
    error.report = report  # type: ignore[attr-defined]  # of all tasks, also for errors that have none by themselves
    return error


def _more(failure: Failure) -> str:
    if failure.kind not in ("ConfigurationError", "AuthenticationError"):
        return ""
    return " Tasks have the environment of the executors, where spark.executorEnv.TEMPORIS_TOKEN sets TEMPORIS_TOKEN."


def _failure(outcome: Outcome) -> Failure:
    if outcome.failure is None:
        raise ValueError(outcome)
    return outcome.failure


def _with_place(outcome: Outcome, rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    place = {"partition": outcome.partition, "attempt": outcome.attempt}
    return ({**place, **row} for row in rows)


def _frame(rows: list[dict[str, Any]], kind: str) -> pd.DataFrame:
    made = pd.DataFrame(rows[:SHOWN_ROWS])
    if kind != "dropped":  # a dropped row may hold anything in place of a timestamp
        made["timestamp"] = pd.to_datetime(made["timestamp"], utc=True, format="ISO8601").dt.as_unit("s")
    return made


def _utc(second: float) -> datetime:
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(seconds=second)
