"""What is being written at the moment: runs that are queued or running, and backfills that are not through.

Comes in: a tick's instance and repository, the assets in question, the partitions that matter. Goes out: who is at work
on which of them.
Never: waits, cancels, or launches; looks at more than a few runs one by one; when it is not said which partitions, it
is all of them.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg

from temporis_dagster.metadata_keys import FILLS
from temporis_dagster.schedules.partition_row import PartitionRow
from temporis_dagster.schedules.selection import PartitionedAssets, assets_of_job
from temporis_dagster.schedules.tick_resource import TickContext

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
RUN_KEY = "dagster/run_key"
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]

MOST_LOOKED_UP = 20
"""How many runs a tick looks up one by one, to see what they planned: on SQLite storage each costs some 50 ms. Those
beyond count as at work on what their job writes."""


@dataclass(frozen=True)
class Activity:
    """One run or backfill at work.

    Attributes:
        who: Such as ``run 1f0c2a9b (STARTED)``.
        positions: Of the partitions it may write, among those that were asked about.
    """

    who: str
    positions: Collection[int]


@dataclass
class Wanted:
    """The partitions that matter, by their positions in a row. Who is at work on them is found once for each.

    Attributes:
        row: All partitions that were looked at.
        open: For each position, 1 where it matters.
    """

    row: PartitionRow
    open: bytearray

    def among(self, positions: Collection[int] | None) -> Collection[int]:
        """Those of the positions that matter; None means all of the row."""
        if isinstance(positions, range | None):
            span = range(len(self.row)) if positions is None else positions
            found = self.open[span.start : span.stop]
            return [span.start + offset for offset, one in enumerate(found) if one] if 1 in found else ()
        return [position for position in positions if self.open[position]]

    def close(self, positions: Collection[int]) -> None:
        """From now on they no longer matter."""
        for position in positions:
            self.open[position] = 0


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make Dagster fill a range of partitions in one run."""
    return {RANGE_START: first, RANGE_END: last}


def positions_of_run(run: dg.DagsterRun, row: PartitionRow) -> range | None:
    """The positions of the partitions that a run may write, by its tags; None where they do not say."""
    one = run.tags.get(PARTITION)
    first, last = run.tags.get(RANGE_START, one), run.tags.get(RANGE_END, one)
    return None if first is None or last is None else row.span(first, last)


def activities(
    context: TickContext,
    assets: PartitionedAssets,
    wanted: Wanted,
    own: Callable[[dg.DagsterRun], bool] = lambda _: False,
) -> Iterator[Activity]:
    """Who is at work on these assets and partitions, found one after another.

    Args:
        context: Of the tick.
        assets: The assets in question.
        wanted: The partitions that matter; close those that no longer do, to save the work of finding out.
        own: Tells the runs of this very tick: when the daemon was killed between making a run and launching it, the
            tick is evaluated again, and its own run must not stand in its way.
    """
    repository = cast("dg.RepositoryDefinition", context.repository_def)
    writers = Writers(context, repository, assets)
    for run in context.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        positions = wanted.among(positions_of_run(run, wanted.row))
        if positions and not own(run) and writers.include(run):
            yield Activity(f"run {run.run_id[:8]} ({run.status.value})", positions)
    yield from _backfills(context.instance, repository, assets, wanted)


@dataclass
class Writers:
    """Which runs write the assets in question: asked cheaply first, and of a few runs what they planned.

    Jobs of other code locations may have the same names: the code location that a run is of tells them apart, or what
    it planned where that is not known.

    Attributes:
        context: Of the tick.
        repository: Of the tick.
        assets: The assets in question.
        looked_up: How many runs were looked up.
    """

    context: TickContext
    repository: dg.RepositoryDefinition
    assets: PartitionedAssets
    looked_up: int = 0
    _of_job: dict[str, frozenset[dg.AssetKey]] = field(default_factory=dict)
    _planned: dict[str, dg.AssetKey | None] = field(default_factory=dict)

    def include(self, run: dg.DagsterRun) -> bool:
        """Whether a run writes any of the assets: of those it was asked for, or else of those of its job."""
        if run.asset_selection:
            return not self.assets.keys.isdisjoint(run.asset_selection)
        if run.asset_check_selection:  # only checks, which write nothing
            return False
        of_job = self._assets_of(run.job_name)
        if self.assets.keys.isdisjoint(of_job):
            return False
        if run.tags.get(FILLS) == self.assets.fingerprint:
            return True
        here, there = location_name(self.context), run_location_name(run)
        if here is not None and there is not None:
            return here == there
        planned = self._planned_by(run)
        return planned is None or planned in of_job

    def _assets_of(self, job_name: str) -> frozenset[dg.AssetKey]:
        if job_name not in self._of_job:
            self._of_job[job_name] = assets_of_job(self.repository, job_name)
        return self._of_job[job_name]

    def _planned_by(self, run: dg.DagsterRun) -> dg.AssetKey | None:
        """The first asset that a run planned to write; None where it is not known. One job snapshot has one answer."""
        like = run.job_snapshot_id or run.run_id
        if like not in self._planned and self.looked_up < MOST_LOOKED_UP:
            self.looked_up += 1
            records = self.context.instance.get_records_for_run(run.run_id, of_type=PLANNED, limit=1).records
            self._planned[like] = records[0].asset_key if records else None
        return self._planned.get(like)


def location_name(context: TickContext) -> str | None:
    """The code location of a tick, where Dagster says it: for sensors."""
    origin = getattr(context, "code_location_origin", None)
    return origin.location_name if origin is not None else None


def run_location_name(run: dg.DagsterRun) -> str | None:
    """The code location that a run was launched from."""
    return run.remote_job_origin.location_name if run.remote_job_origin is not None else None


def _backfills(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, assets: PartitionedAssets, wanted: Wanted
) -> Iterator[Activity]:
    """Backfills that may launch more runs; one that is being canceled has at most runs, which show by themselves."""
    latest = next(iter(instance.get_backfills(limit=1)), None)
    if latest is None:
        return
    requested = type(latest.status).REQUESTED  # Dagster does not export the enum
    for backfill in instance.get_backfills(status=requested):
        who = f"backfill {backfill.backfill_id} ({backfill.status.value})"
        if backfill.job_name is not None:
            if assets.keys.isdisjoint(assets_of_job(repository, backfill.job_name)):
                continue
            keys: Collection[str] | None = backfill.partition_names or ()
            yield from _activity(who, keys, wanted)
            continue
        for key in assets.keys.intersection(backfill.asset_selection or assets.keys):
            yield from _activity(who, _partitions_of_backfill(backfill, repository, key), wanted)


def _activity(who: str, keys: Collection[str] | None, wanted: Wanted) -> Iterator[Activity]:
    known = wanted.row.position
    positions = wanted.among(None if keys is None else [known[key] for key in keys if key in known])
    if positions:
        yield Activity(who, positions)


def _partitions_of_backfill(
    backfill: Any, repository: dg.RepositoryDefinition, key: dg.AssetKey
) -> Collection[str] | None:
    """What a backfill was asked for; None, everything, where its assets have changed since or lie elsewhere as well."""
    try:
        subset = backfill.get_target_partitions_subset(repository, key)  # of a workspace it reads the asset graph
    except KeyError:
        return None
    return None if subset is None else list(subset.get_partition_keys())
