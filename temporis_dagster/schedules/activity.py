"""What is being written at the moment: by runs that are queued or running, and by backfills that are not finished.

Comes in: a tick's instance and repository, the assets in question, the partitions that matter. Goes out: the runs and
backfills that may write them. One that does not state its partitions counts for all of them.
Never: waits, cancels or launches, or looks up more than a few runs individually.
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
"""How many runs to look up individually in one tick, to see what they planned to write: on SQLite storage each takes
about 50 ms. Any further run counts as writing all assets of its job."""


@dataclass(frozen=True)
class Activity:
    """A run or backfill that is not finished.

    Attributes:
        who: Its description, such as ``run 1f0c2a9b (STARTED)``.
        positions: The positions of the partitions that it may write, among those that matter.
    """

    who: str
    positions: Collection[int]


@dataclass
class Wanted:
    """The partitions that matter, by their positions in a row.

    Attributes:
        row: All partitions that were looked at.
        open: One byte per position: 1 if the partition matters, else 0.
    """

    row: PartitionRow
    open: bytearray

    def among(self, positions: Collection[int] | None) -> Collection[int]:
        """Return the positions that matter; None stands for all positions of the row."""
        if isinstance(positions, range | None):
            span = range(len(self.row)) if positions is None else positions
            found = self.open[span.start : span.stop]
            return [span.start + offset for offset, one in enumerate(found) if one] if 1 in found else ()
        return [position for position in positions if self.open[position]]

    def close(self, positions: Collection[int]) -> None:
        """Mark positions as no longer of interest."""
        for position in positions:
            self.open[position] = 0


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make Dagster fill a range of partitions in one run."""
    return {RANGE_START: first, RANGE_END: last}


def positions_of_run(run: dg.DagsterRun, row: PartitionRow) -> range | None:
    """Return the positions of the partitions that a run may write, by its tags; None if the tags do not state them."""
    one = run.tags.get(PARTITION)
    first, last = run.tags.get(RANGE_START, one), run.tags.get(RANGE_END, one)
    return None if first is None or last is None else row.span(first, last)


def activities(
    context: TickContext,
    assets: PartitionedAssets,
    wanted: Wanted,
    own: Callable[[dg.DagsterRun], bool] = lambda _: False,
) -> Iterator[Activity]:
    """Yield the runs and backfills that may write these assets and partitions.

    Args:
        context: The context of the tick.
        assets: The assets in question.
        wanted: The partitions that matter. The caller may close some while it iterates, to save work.
        own: Returns True for a run of this very tick. If the daemon is killed after it created a run and before it
            launched it, Dagster evaluates the tick again, and that run must not block it.
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
    """Decides which runs write the assets in question: by cheap criteria first, then by what a run planned to write.

    A job of another code location may have the same name. The code location of a run tells them apart or, if it is not
    known, what the run planned to write.

    Attributes:
        context: The context of the tick.
        repository: The repository of the tick.
        assets: The assets in question.
        looked_up: How many runs were looked up so far.
    """

    context: TickContext
    repository: dg.RepositoryDefinition
    assets: PartitionedAssets
    looked_up: int = 0
    _of_job: dict[str, frozenset[dg.AssetKey]] = field(default_factory=dict)
    _planned: dict[str, dg.AssetKey | None] = field(default_factory=dict)

    def include(self, run: dg.DagsterRun) -> bool:
        """Whether a run writes any of the assets: by its own asset selection, otherwise by the assets of its job."""
        if run.asset_selection:
            return not self.assets.keys.isdisjoint(run.asset_selection)
        if run.asset_check_selection:  # a run of checks only, which write no observations
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
        """Return the first asset that a run planned to write; None if unknown. Runs of one job snapshot share it."""
        like = run.job_snapshot_id or run.run_id
        if like not in self._planned and self.looked_up < MOST_LOOKED_UP:
            self.looked_up += 1
            records = self.context.instance.get_records_for_run(run.run_id, of_type=PLANNED, limit=1).records
            self._planned[like] = records[0].asset_key if records else None
        return self._planned.get(like)


def location_name(context: TickContext) -> str | None:
    """Return the code location of a tick; None if Dagster does not state it, as in schedules."""
    origin = getattr(context, "code_location_origin", None)
    return origin.location_name if origin is not None else None


def run_location_name(run: dg.DagsterRun) -> str | None:
    """Return the code location that a run was launched from; None if it is not known."""
    return run.remote_job_origin.location_name if run.remote_job_origin is not None else None


def _backfills(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, assets: PartitionedAssets, wanted: Wanted
) -> Iterator[Activity]:
    """Yield backfills that may launch more runs. One that is being canceled has only the runs it already launched."""
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
    """Return the partitions of a backfill; None, meaning all, if an asset has changed or is in another location."""
    try:
        # It takes a workspace, of which it reads only the asset graph; a repository has one as well.
        subset = backfill.get_target_partitions_subset(repository, key)
    except KeyError:
        return None
    return None if subset is None else list(subset.get_partition_keys())
