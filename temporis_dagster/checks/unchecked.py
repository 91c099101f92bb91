"""Series checks that a failed archive check keeps from being evaluated: they say so, instead of looking failed.

Comes in: a run whose archive check failed. Goes out: an evaluation for each series check that the run had planned.
Never: touches a check of another data source's writers, or one that still runs.
"""

from typing import Any

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.expectations import BOUNDS, FRESHNESS, GAPS, PENDING, PRESENCE
from temporis_dagster.checks.finding import Finding

SERIES_CHECKS = (FRESHNESS, GAPS, PRESENCE, BOUNDS, PENDING)
NOT_CHECKED = (
    "Not checked: the archive check of data source {!r} failed, so the asset was not written in this run. What was "
    "found before still stands."
)


def report_unchecked(context: dg.AssetCheckExecutionContext, data_source: str) -> None:
    """Evaluate the planned series checks of the data source's writers: nothing was found, with a warning.

    Dagster shows a check that was planned, and whose step a failure skipped, as failed itself.

    Args:
        context: Of the archive check, which failed.
        data_source: What it checked.
    """
    for key in _planned(context):
        if key.name in SERIES_CHECKS and _writes_to(context, key.asset_key, data_source):
            finding = Finding(
                passed=True, expected="", found="Nothing was looked at", warning=NOT_CHECKED.format(data_source)
            )
            evaluation = dg.AssetCheckEvaluation(
                key.asset_key,
                key.name,
                finding.passed,
                metadata=finding.metadata,
                severity=dg.AssetCheckSeverity.WARN,
                description=finding.description,
            )
            context.instance.report_runless_asset_event(evaluation)


def _planned(context: dg.AssetCheckExecutionContext) -> list[dg.AssetCheckKey]:
    planned = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    records = context.instance.get_records_for_run(context.run.run_id, of_type=planned).records
    events: list[Any] = [record.event_log_entry.dagster_event for record in records]
    return [event.event_specific_data.asset_check_key for event in events]


def _writes_to(context: dg.AssetCheckExecutionContext, key: dg.AssetKey, data_source: str) -> bool:
    graph = context.job_def.asset_layer.asset_graph
    if key == data_source_key(data_source) or not graph.has(key):
        return False
    return options_said(graph.get(key).metadata).get("data_source") == data_source
