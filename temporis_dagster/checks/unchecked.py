"""Series checks that did not run because an archive check failed: they are reported as not checked, not as failed.

Comes in: a run whose archive check failed. Goes out: an evaluation for each series check that the run had planned.
Never: touches the checks of assets that write to other data sources, or a check that is still running.
"""

from typing import Any

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.expectations import BOUNDS, COUNT, FRESHNESS, GAPS, GHOSTS, PENDING, PRESENCE
from temporis_dagster.checks.finding import Finding

SERIES_CHECKS = (FRESHNESS, GAPS, PRESENCE, BOUNDS, PENDING, COUNT, GHOSTS)
NOT_CHECKED = (
    "Not checked: the archive check of data source {!r} failed, so the asset was not written in this run. Earlier "
    "results still stand."
)


def report_unchecked(context: dg.AssetCheckExecutionContext, data_source: str) -> None:
    """Report the planned series checks of the data source's writers as passed, with a warning that nothing was checked.

    Otherwise Dagster shows a planned check as failed when its step was skipped because of a failure upstream.

    Args:
        context: The context of the archive check that failed.
        data_source: The data source that it checked.
    """
    for key in _planned(context):
        if key.name in SERIES_CHECKS and _writes_to(context, key.asset_key, data_source):
            finding = Finding(
                passed=True, expected="", found="Nothing was checked", warning=NOT_CHECKED.format(data_source)
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
