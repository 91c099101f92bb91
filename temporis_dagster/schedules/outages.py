"""Which runs failed because a data source could not be reached, and not because of what they were to write.

Comes in: a run that failed. Goes out: whether an outage ended it, according to its events.
Never: reads the events of more than ``MOST_READ`` runs in one tick (on SQLite storage each takes about 50 ms), or reads
those of one run twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from temporis_dagster.errors import UnavailableError
from temporis_dagster.metadata_keys import ERROR

MOST_READ = 20
MOST_REMEMBERED = 20_000
OUTAGE = UnavailableError.__name__
TELLING = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}


@dataclass
class Outages:
    """Which failed runs were ended by an outage. Remembered between ticks in one process, as it never changes."""

    _of_run: dict[str, bool] = field(default_factory=dict)
    _left: int = MOST_READ

    def next_tick(self) -> None:
        """Start a tick: ``MOST_READ`` more runs may be read."""
        self._left = MOST_READ
        if len(self._of_run) > MOST_REMEMBERED:
            self._of_run.clear()

    def ended(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
        """Whether every failed step of a run failed because of an outage; False if no tick has read the run yet."""
        if run.status is not dg.DagsterRunStatus.FAILURE:
            return False
        if run.run_id not in self._of_run and self._left > 0:
            self._left -= 1
            self._of_run[run.run_id] = _is_outage(instance, run.run_id)
        return self._of_run.get(run.run_id, False)


def _is_outage(instance: dg.DagsterInstance, run_id: str) -> bool:
    events = [
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(run_id, of_type=TELLING).records
        if record.event_log_entry.dagster_event is not None
    ]
    failed_checks = [event.asset_check_evaluation_data for event in events if _is_red(event)]
    failures = [event.step_failure_data for event in events if event.is_step_failure]
    by_checks = bool(failed_checks) and all(_names_outage(check.metadata) for check in failed_checks)
    return bool(failures) and all(_is_by_outage(failure, by_checks=by_checks) for failure in failures)


def _is_red(event: dg.DagsterEvent) -> bool:
    if event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return False
    evaluation = event.asset_check_evaluation_data
    return bool(evaluation.blocking) and not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR


def _is_by_outage(failure: Any, *, by_checks: bool) -> bool:
    user = failure.user_failure_data
    if user is not None and _names_outage(user.metadata):
        return True
    names = list(_error_names(failure.error))
    return OUTAGE in names or (by_checks and "DagsterAssetCheckFailedError" in names)


def _names_outage(metadata: Any) -> bool:
    error = metadata.get(ERROR)
    return error is not None and error.value == OUTAGE


def _error_names(error: Any) -> Iterable[str]:
    """Yield the class names of an error and of its causes."""
    while error is not None:
        yield error.cls_name
        error = error.cause
