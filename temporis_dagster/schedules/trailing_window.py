"""build_trailing_window_schedule: each tick fills the trailing partitions again, in one run.

Comes in: what to fill and how far back; at a tick, its scheduled time and what the instance knows of earlier runs.
Goes out: one run over a range of partitions, or the reason why not.
Never: keeps state of its own (what succeeded stands in the run records), or launches into partitions being written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.schedules.activity import RUN_KEY, activities, first_overlap, range_tags, writes
from temporis_dagster.schedules.archive_gate import archived_data_sources
from temporis_dagster.schedules.target import FillTarget, PartitionedAssets, Target, named_data_sources, target_of
from temporis_dagster.schedules.windows import keys_since, partition_count, tick_after, trailing_start

SCHEDULE_NAME = "dagster/schedule_name"
LATEST_RUNS = 20
"""How many successful runs are looked at: a retried old run may have been created after a newer one."""

MOST_PAGES = 25
"""A schedule of another code location may have the same name, and its runs come first."""


def build_trailing_window_schedule(  # noqa: PLR0913  the arguments of Dagster's own factory, and those of a window
    *,
    target: FillTarget,
    lookback: int,
    name: str | None = None,
    max_reach_back: int | None = None,
    partitions_def: dg.TimeWindowPartitionsDefinition | None = None,
    minute_of_hour: int | None = None,
    hour_of_day: int | None = None,
    day_of_week: int | None = None,
    day_of_month: int | None = None,
    cron_schedule: str | None = None,
    execution_timezone: str | None = None,
    data_sources: Sequence[str] | None = None,
    resource_key: str = "temporis",
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> dg.ScheduleDefinition:
    """A schedule that fills the trailing partitions at every tick, in one run: late data and corrections are picked up.

    An upsert makes it safe to fill a partition again. A tick is skipped, and says why, while

    - there is no complete partition yet,
    - a data source is archived (if its state is not known, the run is launched),
    - a run or a backfill is at work on one of the partitions, so that an older extraction never overwrites a newer one.

    The tick after that makes up for it: it starts at the first partition that the ticks since the last successful run
    of this schedule would have filled, not only ``lookback`` partitions back.

    Args:
        target: The assets: a job, an ``AssetSelection``, an asset or several. Their partitions are the same time
            windows, their backfill policy is ``BackfillPolicy.single_run()``.
        lookback: How many partitions a tick fills, counted back from the newest that is complete.
        name: By default ``<job or asset>_schedule``.
        max_reach_back: The most partitions that a tick fills when it makes up for others. By default as many as it
            takes.
        partitions_def: The partitions of the assets. Needed only for the default of ``cron_schedule``, and only where
            ``target`` does not show them: for a selection, asset keys, or what ``define_asset_job`` returns.
        minute_of_hour: When to tick, where that is not at once when a partition is complete: as in
            ``dagster.build_schedule_from_partitioned_job``.
        hour_of_day: For daily, weekly and monthly partitions.
        day_of_week: For weekly partitions; 0 is Sunday.
        day_of_month: For monthly partitions.
        cron_schedule: Any other rhythm. By default that of the partitions.
        execution_timezone: The time zone of the rhythm. By default that of the partitions.
        data_sources: The data sources that may be archived. By default those that the assets name in their metadata,
            as ``@temporis_asset`` does.
        resource_key: The key of the ``TemporisResource``.
        description: For the UI.
        tags: Of every run.
        metadata: Of the schedule.
        default_status: Whether it runs as soon as it is deployed.

    Raises:
        ConfigurationError: The assets cannot be filled in ranges, or an argument cannot be used. What shows only when
            all assets are loaded, fails the tick.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import build_trailing_window_schedule, temporis_asset


            @temporis_asset(data_source="store_metrics", partitions_def=dg.DailyPartitionsDefinition("2024-06-01"))
            def orders() -> pd.DataFrame: ...


            last_three_days_at_half_past_two = build_trailing_window_schedule(
                target=orders, lookback=3, hour_of_day=2, minute_of_hour=30
            )
    """
    what = target_of(target)
    known = partitions_def or what.partitions_def()
    offsets = {
        "minute_of_hour": minute_of_hour,
        "hour_of_day": hour_of_day,
        "day_of_week": day_of_week,
        "day_of_month": day_of_month,
    }
    window = _TrailingWindow(
        target=what,
        name=name or what.default_name("schedule"),
        lookback=partition_count("lookback", lookback),
        max_reach_back=_reach(max_reach_back, lookback),
        cron_schedule=_cron(cron_schedule, known, offsets),
        timezone=execution_timezone or (known.timezone if known else "UTC"),
        data_sources=named_data_sources(data_sources),
        resource_key=resource_key,
        tags=dict(tags or {}),
    )

    @dg.schedule(
        name=window.name,
        target=cast("Any", what.launched),
        cron_schedule=window.cron_schedule,
        execution_timezone=window.timezone,
        required_resource_keys={resource_key},
        description=description or f"Fills the trailing {lookback:,} partitions at every tick, in one run.",
        metadata=metadata,
        default_status=default_status,
    )
    def trailing_window(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return window.tick(context)

    return trailing_window


@dataclass(frozen=True)
class _TrailingWindow:
    target: Target
    name: str
    lookback: int
    max_reach_back: int | None
    cron_schedule: str
    timezone: str
    data_sources: tuple[str, ...] | None
    resource_key: str
    tags: Mapping[str, str]

    def tick(self, context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        at = context.scheduled_execution_time.astimezone(timezone.utc)
        assets = self.target.resolved(context.repository_def)
        keys = self._keys(context, assets, at)
        if not keys:
            return dg.SkipReason("No partition is complete yet. The first tick after the end of its window fills it.")
        sources = assets.data_sources if self.data_sources is None else self.data_sources
        return (
            self._because_archived(context, sources)
            or self._because_at_work(context, assets, keys, at)
            or dg.RunRequest(run_key=at.isoformat(), tags={**self.tags, **range_tags(keys[0], keys[-1])})
        )

    def _keys(self, context: dg.ScheduleEvaluationContext, assets: PartitionedAssets, at: datetime) -> list[str]:
        """The partitions that this tick, and those since the last successful run, are about; oldest first."""
        missed_from = self._first_tick_not_done(context, assets, at)
        starts = (trailing_start(assets.partitions_def, tick, self.lookback) for tick in (missed_from, at))
        begun = [start for start in starts if start is not None]
        keys = keys_since(assets.partitions_def, at, min(begun)) if begun else []
        return keys[-self.max_reach_back :] if self.max_reach_back else keys

    def _first_tick_not_done(
        self, context: dg.ScheduleEvaluationContext, assets: PartitionedAssets, at: datetime
    ) -> datetime:
        """The tick after the last one whose run succeeded; this one if none was missed, or none ever succeeded."""
        done = self._ticks_done(context, assets, at)
        return min(tick_after(self.cron_schedule, self.timezone, max(done)), at) if done else at

    def _ticks_done(
        self, context: dg.ScheduleEvaluationContext, assets: PartitionedAssets, at: datetime
    ) -> list[datetime]:
        """The earlier ticks of the latest runs that succeeded."""
        succeeded = dg.RunsFilter(tags={SCHEDULE_NAME: self.name}, statuses=[dg.DagsterRunStatus.SUCCESS])
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            runs = context.instance.get_runs(filters=succeeded, limit=LATEST_RUNS, cursor=cursor)
            ours = (run for run in runs if writes(run, context.instance, context.repository_def, assets))
            ticks = [tick for run in ours if (tick := _tick_of(run)) is not None and tick < at]
            if ticks or len(runs) < LATEST_RUNS:
                return ticks
            cursor = runs[-1].run_id
        return []

    def _because_archived(self, context: dg.ScheduleEvaluationContext, sources: Sequence[str]) -> dg.SkipReason | None:
        archived = archived_data_sources(context, self.resource_key, sources)
        if not archived:
            return None
        return dg.SkipReason(
            f"Archived: {', '.join(archived)}. Nothing was launched. Once unarchived, the next tick also fills what "
            "was left out since the last run that succeeded."
        )

    def _because_at_work(
        self, context: dg.ScheduleEvaluationContext, assets: PartitionedAssets, keys: Sequence[str], at: datetime
    ) -> dg.SkipReason | None:
        own = {SCHEDULE_NAME: self.name, RUN_KEY: at.isoformat()}
        overlap = first_overlap(activities(context, assets, own_tags=own), keys)
        if overlap is None:
            return None
        at_work, key = overlap
        return dg.SkipReason(
            f"{at_work.who} is at work on {key}, and its older extraction must not overwrite a newer one. Nothing was "
            f"launched for {keys[0]} to {keys[-1]}; a later tick makes up for it. If that work is stuck, terminate it."
        )


def _tick_of(run: dg.DagsterRun) -> datetime | None:
    """The scheduled time of the tick that launched a run."""
    try:
        tick = datetime.fromisoformat(run.tags.get(RUN_KEY, ""))
    except ValueError:  # launched by a schedule of the same name, before it was ours
        return None
    return tick if tick.tzinfo else None


def _cron(
    cron_schedule: str | None,
    partitions_def: dg.TimeWindowPartitionsDefinition | None,
    offsets: Mapping[str, int | None],
) -> str:
    given = {option: value for option, value in offsets.items() if value is not None}
    if cron_schedule is not None:
        if given:
            raise ConfigurationError(f"cron_schedule= already says when; leave {', '.join(given)} out.")
        return cron_schedule
    if partitions_def is None:
        raise ConfigurationError(
            "The target does not show its partitions until everything is loaded, so there is no rhythm to take from "
            "them. Pass partitions_def= of the assets, or cron_schedule=."
        )
    try:
        return partitions_def.get_cron_schedule(**given)
    except Exception as error:  # Dagster's check errors derive from nothing but Exception
        raise ConfigurationError(f"{', '.join(given)} cannot move these partitions: {error}") from error


def _reach(max_reach_back: int | None, lookback: int) -> int | None:
    if max_reach_back is not None and partition_count("max_reach_back", max_reach_back) < lookback:
        raise ConfigurationError(
            f"max_reach_back={max_reach_back} is less than lookback={lookback}. Pass at least as many partitions."
        )
    return max_reach_back
