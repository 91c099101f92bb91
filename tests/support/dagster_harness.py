"""Dagster for tests: instances, range runs, and a real asset backfill in this process.

Comes in: definitions, results, partition keys. Goes out: what was recorded, what the UI shows, finished backfills.
Never: leaves this file with Dagster's private modules; no other file may import them.
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon import asset_daemon, sensor
from dagster._daemon.asset_daemon import AssetDaemon
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._time import get_current_timestamp

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def key_range(first: str, last: str) -> dict[str, str]:
    """The tags of a run over a range of partitions."""
    return {RANGE_START: first, RANGE_END: last}


def materializations(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, dict[str, object]]:
    """The metadata of each partition's materialization, as plain values."""
    return {
        event.partition: {
            key: entry.value for key, entry in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    }


def failure_of(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    """The one event of the one step that failed."""
    (event,) = result.get_step_failure_events()
    return event


def attempts(result: dg.ExecuteInProcessResult) -> int:
    """How many times the steps of a run were started."""
    started = (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED)
    return sum(event.event_type in started for event in result.all_events)


def recorded(instance: dg.DagsterInstance, asset: str) -> dict[str | None, dict[str, object]]:
    """The metadata of every materialization that the instance knows: also those of a step that then failed."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1_000, ascending=True).records
    events = [record.asset_materialization for record in records]
    assert len(events) == len({event.partition for event in events}), "a partition was recorded twice"
    return {event.partition: {key: entry.value for key, entry in event.metadata.items()} for event in events}


def shown_in_the_ui(resource: dg.ConfigurableResource) -> dict[str, str]:
    """The configuration of a resource as the UI lists it, secrets masked as the UI masks them."""
    repository = dg.Definitions(resources={"resource": resource}).get_repository_def()
    (shown,) = (snap for snap in RepositorySnap.from_def(repository).resources if snap.name == "resource")
    secrets = {field.name for field in shown.config_field_snaps if field.is_secret}
    return {name: "********" if name in secrets else str(value) for name, value in shown.configured_values.items()}


def queued_from(job: str) -> RemoteJobOrigin:
    """The origin of the job of a queued run, which Dagster requires."""
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(executable_path=sys.executable, python_file=__file__))
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job)


def plan(instance: dg.DagsterInstance, run: dg.DagsterRun, asset: dg.AssetKey) -> None:
    """Let a run plan to write an asset, as Dagster does when it makes the run."""
    event = DagsterEvent.build_asset_materialization_planned_event(
        run.job_name, "step", AssetMaterializationPlannedData(asset)
    )
    instance.report_dagster_event(event, run.run_id)


def _asset_backfill(
    backfill_id: str,
    asset_graph: Any,
    assets: Sequence[dg.AssetKey],
    partitions: Sequence[str],
    instance: dg.DagsterInstance,
) -> PartitionBackfill:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=asset_graph,
            partition_names=list(partitions),
            asset_selection=list(assets),
            backfill_timestamp=get_current_timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )


def requested_backfill(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    assets: Sequence[dg.AssetKey],
    partitions: Sequence[str],
    backfill_id: str = "requested",
) -> str:
    """Request an asset backfill, as the UI does, which only a daemon executes; returns its id."""
    instance.add_backfill(_asset_backfill(backfill_id, repository.asset_graph, assets, partitions, instance))
    return backfill_id


def requested_job_backfill(instance: dg.DagsterInstance, job: str, partitions: Sequence[str]) -> str:
    """Request a backfill of a job in the same way; returns its id."""
    repository = queued_from(job).repository_origin
    backfill = PartitionBackfill(
        backfill_id="of_a_job",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=get_current_timestamp(),
        partition_set_origin=repository.get_partition_set_origin(f"{job}_partition_set"),
        partition_names=list(partitions),
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def end_backfill(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """Mark a backfill as finished."""
    instance.update_backfill(instance.get_backfill(backfill_id).with_status(BulkActionStatus.COMPLETED_SUCCESS))


@contextmanager
def backfill_environment(*python_files: Path) -> Iterator[tuple[dg.DagsterInstance, WorkspaceProcessContext]]:
    """An instance and code locations, all in this process, for ``run_backfill``."""
    targets = [LoadableTargetOrigin(executable_path=sys.executable, python_file=str(file)) for file in python_files]
    origins = [InProcessCodeLocationOrigin(target, location_name=str(place)) for place, target in enumerate(targets)]
    with (
        dg.instance_for_test(synchronous_run_launcher=True, synchronous_run_coordinator=True) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origins)) as workspace,
    ):
        yield instance, workspace


def run_backfill(
    instance: dg.DagsterInstance, workspace: WorkspaceProcessContext, asset: str, partitions: Sequence[str]
) -> str:
    """Run a real asset backfill until it is finished; returns its status, such as ``"COMPLETED_FAILED"``."""
    graph = workspace.create_request_context().asset_graph
    backfill = _asset_backfill("backfill", graph, [dg.AssetKey(asset)], partitions, instance)
    instance.add_backfill(backfill)
    for _ in range(50):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
        status = instance.get_backfill("backfill").status
        if status in BULK_ACTION_TERMINAL_STATUSES:
            return status.value
    raise AssertionError("the backfill does not end")


def graphql(workspace: WorkspaceProcessContext, query: str, **variables: object) -> dict[str, Any]:
    """What the UI gets: the answer of Dagster's GraphQL API, which comes with its webserver."""
    from dagster_graphql.schema import create_schema

    answer = create_schema().execute(query, context_value=workspace.create_request_context(), variables=variables)
    assert not answer.errors, answer.errors
    return answer.data


def run_schedules(workspace: WorkspaceProcessContext, until: datetime, crash_at: str | None = None) -> None:
    """One iteration of the scheduler daemon: every tick of every schedule up to that time. It may crash halfway."""
    repository = next(iter(workspace.create_request_context().code_locations)).get_repositories()["__repository__"]
    crashes = {crash_at: RuntimeError("killed here")} if crash_at else {}
    flags = {schedule.name: crashes for schedule in repository.get_schedules()}
    logger = logging.getLogger("scheduler")
    list(launch_scheduled_runs(workspace, logger, until, {}, max_tick_retries=1, debug_crash_flags=flags))


def run_sensors(workspace: WorkspaceProcessContext) -> None:
    """One iteration of the sensor daemon, with every sensor, whether or not it is due."""
    with patch.object(sensor, "is_under_min_interval", return_value=False):
        list(execute_sensor_iteration(workspace, logging.getLogger("sensors"), None, None))


def run_automation(workspace: WorkspaceProcessContext) -> None:
    """One evaluation of the automation conditions, due or not, and what it requests: runs, or a backfill."""
    daemon = AssetDaemon(settings={"use_threads": False}, pre_sensor_interval_seconds=0)
    with warnings.catch_warnings(), patch.object(asset_daemon, "is_under_min_interval", return_value=False):
        warnings.simplefilter("ignore")
        daemon._run_iteration_impl(workspace, None, {}, {})
        for _ in range(3):
            list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """Dagster's clock stands at a moment."""
    with freeze_time(moment):
        yield


STALE = """
query Stale($keys: [AssetKeyInput!], $partition: String) {
  assetNodes(assetKeys: $keys) { staleStatus(partition: $partition) staleCauses(partition: $partition) { reason } }
}
"""


def stale(workspace: WorkspaceProcessContext, asset: str, partition: str | None = None) -> tuple[str, list[str]]:
    """What the UI shows of an asset or of one of its partitions: its stale status, and the reasons."""
    from dagster_graphql.test.utils import execute_dagster_graphql  # not in every environment that runs these tests

    variables = {"keys": [{"path": [asset]}], "partition": partition}
    found = execute_dagster_graphql(workspace.create_request_context(), STALE, variables=variables).data
    (node,) = found["assetNodes"]
    return node["staleStatus"], [cause["reason"] for cause in node["staleCauses"] or ()]
