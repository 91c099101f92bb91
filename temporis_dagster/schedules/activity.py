"""What is being written at the moment: runs that are queued or running, and backfills that are not through.

Comes in: a tick's instance and repository, and the assets in question. Goes out: who is at work on which partitions.
Never: waits, cancels, or launches; when it is not said which partitions, it is all of them.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import dagster as dg

from temporis_dagster.schedules.target import PartitionedAssets, assets_of_job

TickContext: TypeAlias = dg.ScheduleEvaluationContext | dg.SensorEvaluationContext

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
RUN_KEY = "dagster/run_key"
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]


@dataclass(frozen=True)
class Activity:
    """One run or backfill at work.

    Attributes:
        who: Such as ``run 1f0c2a9b (STARTED)``.
        partitions: The keys it may write.
    """

    who: str
    partitions: Container[str]


class _All(Container[str]):
    """Every partition."""

    def __contains__(self, key: object) -> bool:
        return True


@dataclass(frozen=True)
class PartitionSpan(Container[str]):
    """The partitions whose windows start in a span of time: a range whose keys need not be listed.

    Attributes:
        assets: Whose partitions.
        start: The first Unix second.
        end: The second after the last.
    """

    assets: PartitionedAssets
    start: float
    end: float

    def __contains__(self, key: object) -> bool:
        return self.start <= self.assets.start_of(str(key)) < self.end


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make Dagster fill a range of partitions in one run."""
    return {RANGE_START: first, RANGE_END: last}


def partitions_of_run(run: dg.DagsterRun, assets: PartitionedAssets) -> Container[str]:
    """The partitions that a run may write, by its tags."""
    one = run.tags.get(PARTITION)
    first, last = run.tags.get(RANGE_START, one), run.tags.get(RANGE_END, one)
    if first is None or last is None:
        return _All()
    try:
        start, end = (assets.partitions_def.time_window_for_partition_key(key) for key in (first, last))
    except (ValueError, dg.DagsterError):  # keys of other partitions than ours
        return _All()
    return PartitionSpan(assets, start.start.timestamp(), end.end.timestamp())


def activities(
    context: TickContext, assets: PartitionedAssets, *, own_tags: Mapping[str, str] | None = None
) -> list[Activity]:
    """Who is at work on these assets.

    Args:
        context: Of the tick.
        assets: The assets in question.
        own_tags: The tags of the run of this very tick: when the daemon was killed between making the run and
            launching it, the tick is evaluated again, and its own run must not stand in its way.
    """
    repository = cast("dg.RepositoryDefinition", context.repository_def)
    return [
        *_runs(context.instance, repository, assets, own_tags),
        *_backfills(context.instance, repository, assets),
    ]


def first_overlap(at_work: Iterable[Activity], keys: Iterable[str]) -> tuple[Activity, str] | None:
    """The first of those at work that may write one of these partitions, and that partition."""
    wanted = list(keys)
    return next(((one, key) for one in at_work for key in wanted if key in one.partitions), None)


def writes(
    run: dg.DagsterRun, instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, assets: PartitionedAssets
) -> bool:
    """Whether a run writes any of these assets: of those it was asked for, or else of those of its job.

    Jobs and schedules of other code locations may have the same names: what a run planned tells them apart.
    """
    if run.asset_selection:
        return not assets.keys.isdisjoint(run.asset_selection)
    of_job = assets_of_job(repository, run.job_name)
    if assets.keys.isdisjoint(of_job):
        return False
    planned = instance.get_records_for_run(run.run_id, of_type=PLANNED, limit=1).records
    return not planned or planned[0].asset_key in of_job


def _runs(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    assets: PartitionedAssets,
    own_tags: Mapping[str, str] | None,
) -> Iterator[Activity]:
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if own_tags and own_tags.items() <= run.tags.items():
            continue
        if writes(run, instance, repository, assets):
            who = f"run {run.run_id[:8]} ({run.status.value})"
            yield Activity(who, partitions_of_run(run, assets))


def _backfills(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, assets: PartitionedAssets
) -> Iterator[Activity]:
    """Backfills that may launch more runs; one that is being canceled has at most runs, which show by themselves."""
    latest = next(iter(instance.get_backfills(limit=1)), None)
    if latest is None:
        return
    requested = type(latest.status).REQUESTED  # Dagster does not export the enum
    for backfill in instance.get_backfills(status=requested):
        who = f"backfill {backfill.backfill_id} ({backfill.status.value})"
        if backfill.job_name is not None:
            if not assets.keys.isdisjoint(assets_of_job(repository, backfill.job_name)):
                yield Activity(who, set(backfill.partition_names or ()))
            continue
        for key in assets.keys.intersection(backfill.asset_selection or assets.keys):
            yield Activity(who, _partitions_of_backfill(backfill, repository, key))


def _partitions_of_backfill(backfill: Any, repository: dg.RepositoryDefinition, key: dg.AssetKey) -> Container[str]:
    """What a backfill was asked for; everything where its assets have changed since, or lie elsewhere as well."""
    try:
        subset = backfill.get_target_partitions_subset(repository, key)  # of a workspace it reads the asset graph
    except KeyError:
        subset = None
    return _All() if subset is None else cast("Container[str]", subset)
