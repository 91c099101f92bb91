"""Dagster for tests: instances, range runs, and a real asset backfill in this process.

Comes in: definitions, results, partition keys. Goes out: what was recorded, what the UI shows, finished backfills.
Never: leaves this file with Dagster's private modules; no other file may import them.
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
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


@contextmanager
def backfill_environment(python_file: Path) -> Iterator[tuple[dg.DagsterInstance, WorkspaceProcessContext]]:
    """An instance and a code location, both in this process, for ``run_backfill``."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, python_file=str(python_file))
    )
    with (
        dg.instance_for_test(synchronous_run_launcher=True, synchronous_run_coordinator=True) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget([origin])) as workspace,
    ):
        yield instance, workspace


def run_backfill(
    instance: dg.DagsterInstance, workspace: WorkspaceProcessContext, asset: str, partitions: Sequence[str]
) -> str:
    """Run a real asset backfill to its end; its status, such as ``"COMPLETED_FAILED"``."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="backfill",
        asset_graph=workspace.create_request_context().asset_graph,
        partition_names=list(partitions),
        asset_selection=[dg.AssetKey(asset)],
        backfill_timestamp=get_current_timestamp(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    for _ in range(50):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
        status = instance.get_backfill("backfill").status
        if status in BULK_ACTION_TERMINAL_STATUSES:
            return status.value
    raise AssertionError("the backfill does not end")
