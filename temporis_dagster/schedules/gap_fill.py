"""``build_gap_fill_sensor``: fills partitions that are missing or failed, with a bounded number of attempts each.

Comes in: what to fill and how far back; at a tick, what the instance knows. Goes out: runs over ranges of neighbouring
gaps, or the reason why there are none.
Never: keeps a cursor, or launches a run over partitions that another run or backfill is writing.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, cast

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import ATTEMPT, FILLS
from temporis_dagster.resource import TemporisResource
from temporis_dagster.schedules.activity import Wanted, activities, range_tags
from temporis_dagster.schedules.archive_gate import archived_data_sources
from temporis_dagster.schedules.attempts import Attempts, attempts_of
from temporis_dagster.schedules.gap_plan import GapLimits, GapPlan, GapRun, plan_gaps
from temporis_dagster.schedules.gap_state import Gaps, gaps_among, partition_states
from temporis_dagster.schedules.materialized import Materialized
from temporis_dagster.schedules.outages import Outages
from temporis_dagster.schedules.partition_row import PartitionRow, partition_count, trailing_keys
from temporis_dagster.schedules.selection import (
    FillSelection,
    FillTarget,
    PartitionedAssets,
    named_data_sources,
    selection_of,
)
from temporis_dagster.schedules.tick_resource import temporis_at_tick
from temporis_dagster.wording import agreeing, counted, shortened


def build_gap_fill_sensor(  # noqa: PLR0913  the arguments of Dagster's own factories, and the limits one by one
    *,
    target: FillTarget,
    horizon: int,
    name: str | None = None,
    exclude_latest: int = 1,
    max_partitions_per_run: int = 100,
    max_runs_per_tick: int = 4,
    max_attempts: int = 6,
    retry_delay_s: float = 300.0,
    data_sources: Sequence[str] | None = None,
    resource_key: str = "temporis",
    minimum_interval_seconds: int | None = 60,
    description: str | None = None,
    run_tags: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    clock: Callable[[], float] = time.time,
) -> dg.SensorDefinition:
    """Build a sensor that fills recent partitions that are missing, or whose last run failed.

    Neighbouring gaps are joined into ranges, and each range is filled by one run, the oldest first. The sensor leaves
    alone all partitions that an unfinished run or backfill may write. While a data source is archived, it launches
    nothing (if its state is unknown, runs are launched). A partition that only dry runs materialized is a gap, unless
    the resource itself has ``dry_run=True``.

    A partition gets up to ``max_attempts`` attempts, each after twice the delay of the one before and in a shorter
    range. The last attempt is a run of the partition alone, so that a partition that always fails does not make its
    neighbours fail. Then the sensor reports that it gave up. An attempt is a run that the sensor launched since the
    partition was last filled, together with its retries and re-executions, however it ended. A run that failed only
    because a data source could not be reached does not count. Materializing the partition by hand resets the count.

    The work of a tick is bounded: records that one tick does not get to are read by the next ticks.

    Args:
        target: The assets: a job, an ``AssetSelection``, one asset or several. They must have the same time window
            partitions, and the backfill policy ``BackfillPolicy.single_run()``, or ``multi_run(1)`` for one partition
            per run. A partition that one of the assets lacks is filled in all of them.
        horizon: How many partitions to look at, counted back from the newest complete one; more than
            ``exclude_latest``. It is a count because that means the same on days when the clocks change.
        name: The name of the sensor. Defaults to ``<job or asset>_gap_fill_sensor``.
        exclude_latest: How many of the newest partitions do not count as gaps yet, because a schedule will fill them.
        max_partitions_per_run: The maximum number of partitions of a run that is a first attempt.
        max_runs_per_tick: The maximum number of runs per tick.
        max_attempts: The maximum number of attempts per partition.
        retry_delay_s: How many seconds to wait between the first and the second attempt; twice as long before each
            further one. With the defaults, the attempts are at 0, 5, 15, 35, 75 and 155 minutes.
        data_sources: The data sources whose archive state is checked. Defaults to those that the assets name in their
            metadata, as ``@temporis_asset`` does.
        resource_key: The key of the ``TemporisResource``.
        minimum_interval_seconds: The minimum number of seconds between ticks.
        description: The description that the UI shows.
        run_tags: Tags for every run, in addition to ``temporis/attempt``.
        tags: Tags for the sensor.
        metadata: Metadata for the sensor.
        default_status: Whether the sensor runs before a user starts it in the UI.
        clock: Returns the current time in Unix seconds; for tests.

    Raises:
        ConfigurationError: The assets cannot be filled in ranges, or an argument is invalid. What is known only once
            all assets are loaded fails the tick instead.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import build_gap_fill_sensor, temporis_asset


            hours = dg.HourlyPartitionsDefinition("2024-06-01-00:00")


            @temporis_asset(data_source="store_metrics", partitions_def=hours)
            def orders() -> pd.DataFrame: ...


            a_week_without_gaps = build_gap_fill_sensor(target=orders, horizon=7 * 24)
    """
    what = selection_of(target)
    what.partitions_def()  # raises if the assets are known already and cannot be filled in ranges
    sensor = _GapFill(
        selection=what,
        name=name or what.default_name("gap_fill_sensor"),
        horizon=partition_count("horizon", horizon, at_least=1),
        exclude_latest=_excluded(exclude_latest, horizon),
        limits=GapLimits(max_partitions_per_run, max_runs_per_tick, max_attempts, retry_delay_s),
        data_sources=named_data_sources(data_sources),
        resource_key=resource_key,
        run_tags=dict(run_tags or {}),
        clock=clock,
    )

    @dg.sensor(
        name=sensor.name,
        target=cast("Any", what.launched),
        minimum_interval_seconds=minimum_interval_seconds,
        description=description
        or f"Fills missing and failed partitions among the trailing {counted(horizon, 'partition')}.",
        tags=tags,
        metadata=metadata,
        default_status=default_status,
    )
    def gap_fill(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with temporis_at_tick(context, resource_key) as temporis:
            return sensor.tick(context, temporis)

    return gap_fill


def _excluded(exclude_latest: int, horizon: int) -> int:
    if partition_count("exclude_latest", exclude_latest, at_least=0) >= horizon:
        raise ConfigurationError(
            f"horizon must be greater than exclude_latest={exclude_latest!r}, got {horizon!r}: no partition would be "
            f"looked at. Pass horizon={exclude_latest + 1} or more, or exclude_latest=0."
        )
    return exclude_latest


@dataclass(frozen=True)
class _GapFill:
    selection: FillSelection
    name: str
    horizon: int
    exclude_latest: int
    limits: GapLimits
    data_sources: tuple[str, ...] | None
    resource_key: str
    run_tags: Mapping[str, str]
    clock: Callable[[], float]
    materialized: Materialized = field(default_factory=Materialized, compare=False)
    outages: Outages = field(default_factory=Outages, compare=False)

    def tick(
        self, context: dg.SensorEvaluationContext, temporis: TemporisResource | None
    ) -> dg.SensorResult | dg.SkipReason:
        now = self.clock()
        assets = self.selection.resolved(cast("dg.RepositoryDefinition", context.repository_def))
        row = PartitionRow(assets.partitions_def, self._horizon(assets, now))
        dry_run = temporis is not None and temporis.dry_run
        gaps = gaps_among(context.instance, assets, row, self.materialized, dry_runs_count=dry_run) if row.keys else {}
        if not gaps:
            return dg.SkipReason(f"No gaps: {_span(row.keys)}.")
        sources = assets.data_sources if self.data_sources is None else self.data_sources
        archived = archived_data_sources(context, temporis, sources)
        if archived:
            return dg.SkipReason(
                f"Archived: {', '.join(archived)}. {counted(len(gaps), 'gap')} among {_span(row.keys)} "
                f"{agreeing(len(gaps), 'waits', 'wait')} until {agreeing(len(archived), 'it is', 'they are')} "
                "unarchived."
            )
        return self._fill(context, assets, row, gaps, now)

    def _horizon(self, assets: PartitionedAssets, now: float) -> list[str]:
        at = datetime.fromtimestamp(now, tz=timezone.utc)
        keys = trailing_keys(assets.partitions_def, at, self.horizon)
        return keys[: len(keys) - self.exclude_latest] if self.exclude_latest < len(keys) else []

    def _fill(
        self,
        context: dg.SensorEvaluationContext,
        assets: PartitionedAssets,
        row: PartitionRow,
        gaps: Gaps,
        now: float,
    ) -> dg.SensorResult | dg.SkipReason:
        self.outages.next_tick()
        attempts = attempts_of(context, self.name, assets, _wanted(row, gaps), now, self.outages)
        states = partition_states(row, gaps, _busy(context, assets, _wanted(row, gaps)), attempts.found)
        plan = plan_gaps(states, self._limits(assets), now)
        remarks = _left_alone(plan, self.limits)
        if not plan.runs:
            return dg.SkipReason(f"{counted(len(gaps), 'gap')} among {_span(row.keys)}. {remarks}")
        if remarks:
            context.log.warning(remarks)
        return dg.SensorResult(run_requests=[self._request(run, row, assets, attempts) for run in plan.runs])

    def _limits(self, assets: PartitionedAssets) -> GapLimits:
        """Return the limits, reduced to one run of one partition at a time if a partition may need the one before."""
        return replace(self.limits, max_partitions_per_run=1, max_runs_per_tick=1) if assets.one_by_one else self.limits

    def _request(self, run: GapRun, row: PartitionRow, assets: PartitionedAssets, attempts: Attempts) -> dg.RunRequest:
        """Request one run, under a run key that no run has, because Dagster never launches a run key twice.

        The attempts found do not decide it alone, because a run may have been deleted since.
        """
        first, last = run.keys[0], run.keys[-1]
        begin = row.position[first]
        positions = range(begin, begin + len(run.keys))
        number = 1 + sum(any(one in positions for one in attempt.positions) for attempt in attempts.found)
        while f"{first}...{last}:{number}" in attempts.run_keys:
            number += 1
        tags = {**self.run_tags, ATTEMPT: str(run.attempt), FILLS: assets.fingerprint, **range_tags(first, last)}
        return dg.RunRequest(run_key=f"{first}...{last}:{number}", tags=tags)


def _wanted(row: PartitionRow, gaps: Gaps) -> Wanted:
    wanted = Wanted(row, bytearray(len(row)))
    for position in gaps:
        wanted.open[position] = 1
    return wanted


def _busy(context: dg.SensorEvaluationContext, assets: PartitionedAssets, wanted: Wanted) -> Iterator[Collection[int]]:
    """Yield the gaps that runs and backfills are writing, each once; the search ends when all gaps are found."""
    for activity in activities(context, assets, wanted):
        wanted.close(activity.positions)
        yield activity.positions


def _left_alone(plan: GapPlan, limits: GapLimits) -> str:
    """Describe what is not launched now, and why."""
    said = []
    if plan.busy:
        said.append(f"Another run or backfill is at work on {shortened(plan.busy)}.")
    if plan.waiting and plan.due_at is not None:
        due = datetime.fromtimestamp(plan.due_at, tz=timezone.utc).isoformat(timespec="seconds")
        said.append(f"Waiting for the next attempt (the first is due at {due}): {shortened(plan.waiting)}.")
    if plan.given_up:
        said.append(
            f"Given up after {counted(limits.max_attempts, 'attempt')}: {shortened(plan.given_up)}. "
            "Look at the failed runs and fix the cause, then materialize the partitions by hand, or raise max_attempts "
            "to let the sensor try again."
        )
    if plan.later:
        more = len(plan.later)
        said.append(f"{counted(more, 'more partition')} {agreeing(more, 'is', 'are')} left to the next ticks.")
    return " ".join(said)


def _span(keys: Sequence[str]) -> str:
    if not keys:
        return "no partition is complete yet"
    return f"{counted(len(keys), 'partition')} ({keys[0]} to {keys[-1]})"
