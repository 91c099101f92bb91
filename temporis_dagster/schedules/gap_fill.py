"""build_gap_fill_sensor: finds partitions that are missing or failed, and fills them a bounded number of times.

Comes in: what to fill and how far back; at a tick, what the instance knows. Goes out: runs over ranges of neighbouring
gaps, or the reason why there are none.
Never: keeps a cursor, or launches into partitions that a run or backfill is at work on.
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

SHOWN_KEYS = 5


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
    """A sensor that fills the partitions of the recent past that are missing, or whose last run failed.

    Neighbouring gaps are joined into ranges, each filled by one run, the oldest first. Left alone are partitions that a
    queued or running run, or a backfill that is not through, may write; and everything while a data source is archived
    (if its state is not known, runs are launched). What only dry runs materialized is a gap, except in a dry run.

    A partition has ``max_attempts`` attempts, each after twice the delay of the one before and in a shorter range; the
    last attempt has the partition for itself, so one that always fails takes no neighbour with it. Then the sensor says
    that it gave up. An attempt is a run that the sensor launched since the partition was last there, with its retries
    and re-executions, whatever became of it; a run that failed only because a data source could not be reached is
    none. Materialize the partition by hand, and it starts anew.

    The work of a tick is bounded: what it does not get to read is read by the next ticks.

    Args:
        target: The assets: a job, an ``AssetSelection``, an asset or several. Their partitions are the same time
            windows, their backfill policy is ``BackfillPolicy.single_run()``, or ``multi_run(1)``: then a run has one
            partition. A partition that one of them lacks is
            filled in all of them.
        horizon: How many partitions to look at, counted back from the newest that is complete; more than
            ``exclude_latest``. A number, as it means the same on the days when the clock changes.
        name: By default ``<job or asset>_gap_fill_sensor``.
        exclude_latest: How many of the newest are no gaps yet, because a schedule is about to fill them.
        max_partitions_per_run: The longest range of a first attempt.
        max_runs_per_tick: How many runs a tick launches.
        max_attempts: How many attempts a partition has.
        retry_delay_s: How long to wait after the first attempt before the second, in seconds; twice as long before
            each further one. By default the attempts are at 0, 5, 15, 35, 75 and 155 minutes.
        data_sources: The data sources that may be archived. By default those that the assets name in their metadata,
            as ``@temporis_asset`` does.
        resource_key: The key of the ``TemporisResource``.
        minimum_interval_seconds: The time between two ticks.
        description: For the UI.
        run_tags: Of every run, beside ``temporis/attempt``.
        tags: Of the sensor.
        metadata: Of the sensor.
        default_status: Whether it runs as soon as it is deployed.
        clock: What time it is, in Unix seconds. For tests.

    Raises:
        ConfigurationError: The assets cannot be filled in ranges, or an argument cannot be used. What shows only when
            all assets are loaded, fails the tick.

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
    what.partitions_def()  # refuses, where the assets are known already
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
        description=description or f"Fills what is missing or failed among the trailing {horizon:,} partitions.",
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
            f"horizon={horizon!r} must be more than exclude_latest={exclude_latest!r}, or no partition is ever looked "
            f"at. Pass horizon={exclude_latest + 1} or more, or exclude_latest=0."
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
                f"{'waits' if len(gaps) == 1 else 'wait'} until it is unarchived."
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
        said = _left_alone(plan, self.limits)
        if not plan.runs:
            return dg.SkipReason(f"{counted(len(gaps), 'gap')} among {_span(row.keys)}. {said}")
        if said:
            context.log.warning(said)
        return dg.SensorResult(run_requests=[self._request(run, row, assets, attempts) for run in plan.runs])

    def _limits(self, assets: PartitionedAssets) -> GapLimits:
        """One run of one partition at a time, where a partition may need the one before."""
        return replace(self.limits, max_partitions_per_run=1, max_runs_per_tick=1) if assets.one_by_one else self.limits

    def _request(self, run: GapRun, row: PartitionRow, assets: PartitionedAssets, attempts: Attempts) -> dg.RunRequest:
        """A run key serves once for ever, so it is one that no run has: that of a run which was deleted may be."""
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
    """The gaps that somebody is at work on; each is found once, so the work ends when all are."""
    for activity in activities(context, assets, wanted):
        wanted.close(activity.positions)
        yield activity.positions


def _left_alone(plan: GapPlan, limits: GapLimits) -> str:
    """What is not launched now, and why."""
    said = []
    if plan.busy:
        said.append(f"Another run or backfill is at work on {_named(plan.busy)}.")
    if plan.waiting and plan.due_at is not None:
        due = datetime.fromtimestamp(plan.due_at, tz=timezone.utc).isoformat(timespec="seconds")
        said.append(f"Waiting for the next attempt, the first at {due}: {_named(plan.waiting)}.")
    if plan.given_up:
        said.append(
            f"Given up after {counted(limits.max_attempts, 'attempt')}: {_named(plan.given_up)}. "
            "Look at their runs, fix the cause, then materialize them by hand, or let the sensor try again by raising "
            "max_attempts."
        )
    if plan.later:
        said.append(f"{len(plan.later):,} more are for the next ticks.")
    return " ".join(said)


def counted(count: int, what: str) -> str:
    """A number of things, in the singular or plural."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS:,} more" if len(keys) > SHOWN_KEYS else ""
    return f"{', '.join(keys[:SHOWN_KEYS])}{more}"


def _span(keys: Sequence[str]) -> str:
    if not keys:
        return "no partition is complete yet"
    return f"{counted(len(keys), 'partition')} ({keys[0]} to {keys[-1]})"
