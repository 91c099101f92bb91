"""build_gap_fill_sensor: finds partitions that are missing or failed, and fills them a bounded number of times.

Comes in: what to fill and how far back; at a tick, what the instance knows. Goes out: runs over ranges of neighbouring
gaps, or the reason why there are none.
Never: keeps a cursor, or launches into partitions that a run or backfill is at work on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

import dagster as dg

from temporis_dagster.schedules.activity import activities, range_tags
from temporis_dagster.schedules.archive_gate import archived_data_sources
from temporis_dagster.schedules.gap_plan import GapLimits, GapPlan, GapRun, plan_gaps
from temporis_dagster.schedules.gap_state import Attempt, Gaps, attempts_of, gaps_among, partition_states
from temporis_dagster.schedules.target import FillTarget, PartitionedAssets, Target, named_data_sources, target_of
from temporis_dagster.schedules.windows import partition_count, trailing_keys

ATTEMPT = "temporis/attempt"
SHOWN_KEYS = 5


def build_gap_fill_sensor(  # noqa: PLR0913  the arguments of Dagster's own factories, and the limits one by one
    *,
    target: FillTarget,
    horizon: int,
    name: str | None = None,
    exclude_latest: int = 1,
    max_partitions_per_run: int = 100,
    max_runs_per_tick: int = 4,
    max_attempts: int = 3,
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
    (if its state is not known, runs are launched).

    A partition that fails again is tried ``max_attempts`` times, each time after twice the delay and in a shorter
    range; the last attempt has the partition for itself, so one that always fails takes no neighbour with it. Then the
    sensor says that it gave up. Attempts are counted from the runs it launched since the partition was last there:
    materialize it by hand, and it starts anew.

    Args:
        target: The assets: a job, an ``AssetSelection``, an asset or several. Their partitions are the same time
            windows, their backfill policy is ``BackfillPolicy.single_run()``. A partition that one of them lacks is
            filled in all of them.
        horizon: How many partitions to look at, counted back from the newest that is complete. A number, as it bounds
            the work of a tick, and means the same on the days when the clock changes.
        name: By default ``<job or asset>_gap_fill_sensor``.
        exclude_latest: How many of the newest are no gaps yet, because a schedule is about to fill them.
        max_partitions_per_run: The longest range of a first attempt.
        max_runs_per_tick: How many runs a tick launches.
        max_attempts: How many attempts a partition has.
        retry_delay_s: How long to wait after a failed attempt before the second, in seconds; twice as long before
            each further one.
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
    what = target_of(target)
    what.partitions_def()  # refuses, where the assets are known already
    sensor = _GapFill(
        target=what,
        name=name or what.default_name("gap_fill_sensor"),
        horizon=partition_count("horizon", horizon, at_least=1),
        exclude_latest=partition_count("exclude_latest", exclude_latest, at_least=0),
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
        required_resource_keys={resource_key},
        description=description or f"Fills what is missing or failed among the trailing {horizon:,} partitions.",
        tags=tags,
        metadata=metadata,
        default_status=default_status,
    )
    def gap_fill(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return sensor.tick(context)

    return gap_fill


@dataclass(frozen=True)
class _GapFill:
    target: Target
    name: str
    horizon: int
    exclude_latest: int
    limits: GapLimits
    data_sources: tuple[str, ...] | None
    resource_key: str
    run_tags: Mapping[str, str]
    clock: Callable[[], float]

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = self.clock()
        assets = self.target.resolved(cast("dg.RepositoryDefinition", context.repository_def))
        keys = self._horizon(assets, now)
        gaps = gaps_among(context.instance, assets, keys) if keys else {}
        if not gaps:
            return dg.SkipReason(f"No gaps: {_span(keys)}.")
        sources = assets.data_sources if self.data_sources is None else self.data_sources
        archived = archived_data_sources(context, self.resource_key, sources)
        if archived:
            return dg.SkipReason(
                f"Archived: {', '.join(archived)}. {len(gaps):,} gaps among {_span(keys)} wait until it is unarchived."
            )
        return self._fill(context, assets, keys, gaps, now)

    def _horizon(self, assets: PartitionedAssets, now: float) -> list[str]:
        at = datetime.fromtimestamp(now, tz=timezone.utc)
        keys = trailing_keys(assets.partitions_def, at, self.horizon)
        return keys[: len(keys) - self.exclude_latest] if self.exclude_latest < len(keys) else []

    def _fill(
        self,
        context: dg.SensorEvaluationContext,
        assets: PartitionedAssets,
        keys: Sequence[str],
        gaps: Gaps,
        now: float,
    ) -> dg.SensorResult | dg.SkipReason:
        attempts = attempts_of(context, self.name, assets, keys)
        states = partition_states(context.instance, keys, gaps, activities(context, assets), attempts)
        plan = plan_gaps(states, self.limits, now)
        said = _left_alone(plan, self.limits)
        if not plan.runs:
            return dg.SkipReason(f"{len(gaps):,} gaps among {_span(keys)}. {said}")
        if said:
            context.log.warning(said)
        return dg.SensorResult(run_requests=[self._request(run, attempts) for run in plan.runs])

    def _request(self, run: GapRun, attempts: Sequence[Attempt]) -> dg.RunRequest:
        """A run key serves once for ever, so it counts every run there was over this range, whatever became of it."""
        first, last = run.keys[0], run.keys[-1]
        before = sum(not one.partitions.isdisjoint(run.keys) for one in attempts)
        tags = {**self.run_tags, ATTEMPT: str(run.attempt), **range_tags(first, last)}
        return dg.RunRequest(run_key=f"{first}...{last}:{before + 1}", tags=tags)


def _left_alone(plan: GapPlan, limits: GapLimits) -> str:
    """What is not launched now, and why."""
    said = []
    if plan.busy:
        said.append(f"Somebody is at work on {_named(plan.busy)}.")
    if plan.waiting and plan.due_at is not None:
        due = datetime.fromtimestamp(plan.due_at, tz=timezone.utc).isoformat(timespec="seconds")
        said.append(f"Waiting for the next attempt, the first at {due}: {_named(plan.waiting)}.")
    if plan.given_up:
        said.append(
            f"Given up after {limits.max_attempts} attempts: {_named(plan.given_up)}. "
            "Look at their runs, mend the cause, then materialize them by hand."
        )
    if plan.later:
        said.append(f"{len(plan.later):,} more are for the next ticks.")
    return " ".join(said)


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS:,} more" if len(keys) > SHOWN_KEYS else ""
    return f"{', '.join(keys[:SHOWN_KEYS])}{more}"


def _span(keys: Sequence[str]) -> str:
    return f"{len(keys):,} partitions ({keys[0]} to {keys[-1]})" if keys else "no partition is complete yet"
