"""``build_trailing_window_schedule``: each tick fills the trailing partitions again, in one run.

Comes in: what to fill and how far back; at a tick, its scheduled time and what is materialized in the instance.
Goes out: a run over a range of partitions, and one for what earlier ticks left out; or the reason why not.
Never: asks which earlier runs there were, or launches a run over partitions that are being written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import FILLS, TICK
from temporis_dagster.resource import TemporisResource
from temporis_dagster.schedules.activity import RUN_KEY, Activity, Wanted, activities, range_tags
from temporis_dagster.schedules.archive_gate import archived_data_sources
from temporis_dagster.schedules.left_out import Rhythm, began, left_out
from temporis_dagster.schedules.materialized import Materialized
from temporis_dagster.schedules.partition_row import PartitionRow, keys_since, partition_count, trailing_start
from temporis_dagster.schedules.selection import (
    FillSelection,
    FillTarget,
    PartitionedAssets,
    named_data_sources,
    selection_of,
)
from temporis_dagster.schedules.tick_resource import temporis_at_tick
from temporis_dagster.wording import agreeing, counted

SCHEDULE_NAME = "dagster/schedule_name"

MOST_LOOKED_BACK = 10_000
"""How far back to look for partitions that were left out: more than a year of hours. It bounds the work of a tick."""


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
    cron_schedule: str | Sequence[str] | None = None,
    execution_timezone: str | None = None,
    data_sources: Sequence[str] | None = None,
    resource_key: str = "temporis",
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> dg.ScheduleDefinition:
    """Build a schedule that fills the trailing partitions again at every tick, in one run.

    So late data and corrections are picked up, and upserts make it safe to fill a partition again. A tick launches
    nothing, and gives the reason, while

    - no partition is complete yet,
    - a data source is archived (if its state is unknown, the run is launched),
    - another run or backfill may write one of the partitions, so that an older extraction never overwrites a newer one.

    A later tick makes up for that. A partition counts as left out if the last tick that should have filled it did not,
    in any of the assets: because that tick was skipped, its run failed, or there was no tick. Only ticks since the
    first one of the schedule count. Partitions left out just before the trailing ones join their run. Those further
    back get runs of their own, one per tick, the newest first.

    Args:
        target: The assets: a job, an ``AssetSelection``, one asset or several. They must have the same time window
            partitions, and the backfill policy ``BackfillPolicy.single_run()``, or ``multi_run(1)`` for one partition
            per run.
        lookback: The number of partitions to fill per tick, counted back from the newest complete one.
        name: The name of the schedule. Defaults to ``<job or asset>_schedule``.
        max_reach_back: The maximum number of partitions of a run that makes up for earlier ticks; later ticks fill the
            rest. Defaults to no maximum.
        partitions_def: The partitions of the assets. Needed only for the default of ``cron_schedule``, and only if
            ``target`` does not show them: for a selection, asset keys, or what ``define_asset_job`` returns.
        minute_of_hour: When to tick, if not as soon as a partition is complete; as in
            ``dagster.build_schedule_from_partitioned_job``.
        hour_of_day: The same, for daily, weekly and monthly partitions.
        day_of_week: The same, for weekly partitions; 0 is Sunday.
        day_of_month: The same, for monthly partitions.
        cron_schedule: Another cron schedule, or several. Defaults to that of the partitions.
        execution_timezone: The time zone of the cron schedule. Defaults to that of the partitions.
        data_sources: The data sources whose archive state is checked. Defaults to those that the assets name in their
            metadata, as ``@temporis_asset`` does.
        resource_key: The key of the ``TemporisResource``.
        description: The description that the UI shows.
        tags: Tags for every run.
        metadata: Metadata for the schedule.
        default_status: Whether the schedule runs before a user starts it in the UI.

    Raises:
        ConfigurationError: The assets cannot be filled in ranges, or an argument is invalid. What is known only once
            all assets are loaded fails the tick instead.

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
    what = selection_of(target)
    known = partitions_def or what.partitions_def()
    offsets = {
        "minute_of_hour": minute_of_hour,
        "hour_of_day": hour_of_day,
        "day_of_week": day_of_week,
        "day_of_month": day_of_month,
    }
    rhythm = Rhythm(
        cron_schedules=_crons(cron_schedule, known, offsets),
        timezone=execution_timezone or (known.timezone if known else "UTC"),
        lookback=partition_count("lookback", lookback),
    )
    window = _TrailingWindow(
        selection=what,
        name=name or what.default_name("schedule"),
        rhythm=rhythm,
        max_reach_back=_reach(max_reach_back, lookback),
        data_sources=named_data_sources(data_sources),
        resource_key=resource_key,
        tags=dict(tags or {}),
    )
    crons = rhythm.cron_schedules

    # Not the decorator: it makes the resources before it calls the function, and fails the tick if it cannot.
    return dg.ScheduleDefinition(
        name=window.name,
        target=cast("Any", what.launched),
        cron_schedule=crons[0] if len(crons) == 1 else list(crons),
        execution_timezone=rhythm.timezone,
        execution_fn=window.evaluate,
        required_resource_keys={resource_key},
        description=description or f"Fills the trailing {counted(lookback, 'partition')} at every tick, in one run.",
        metadata=metadata,
        default_status=default_status,
    )


@dataclass(frozen=True)
class _TrailingWindow:
    selection: FillSelection
    name: str
    rhythm: Rhythm
    max_reach_back: int | None
    data_sources: tuple[str, ...] | None
    resource_key: str
    tags: Mapping[str, str]
    materialized: Materialized = field(default_factory=Materialized, compare=False)

    def evaluate(self, context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """One tick."""
        try:
            with temporis_at_tick(context, self.resource_key) as temporis:
                yield from self._tick(context, temporis)
        except ConfigurationError as error:
            raise dg.DagsterInvalidDefinitionError(str(error)) from error

    def _tick(
        self, context: dg.ScheduleEvaluationContext, temporis: TemporisResource | None
    ) -> Sequence[dg.RunRequest | dg.SkipReason]:
        at = context.scheduled_execution_time.astimezone(timezone.utc)
        assets = self.selection.resolved(context.repository_def)
        since = began(context.instance, assets, at)
        row = self._row(assets, at, min(since.values()))
        if not row.keys:
            return [
                dg.SkipReason("No partition is complete yet. The first tick after the first one is complete fills it.")
            ]
        sources = assets.data_sources if self.data_sources is None else self.data_sources
        archived = archived_data_sources(context, temporis, sources)
        if archived:
            they_are = agreeing(len(archived), "it is", "they are")
            return [
                dg.SkipReason(
                    f"Archived: {', '.join(archived)}. Nothing was launched. Once {they_are} unarchived, the next tick "
                    "also fills what was left out."
                )
            ]
        dry_run = temporis is not None and temporis.dry_run
        missed = left_out(context.instance, assets, row, self.rhythm, since, self.materialized, dry_runs_count=dry_run)
        return self._launched(context, assets, row, missed, at)

    def _row(self, assets: PartitionedAssets, at: datetime, since: float) -> PartitionRow:
        """Return the partitions that the ticks since the first one should have filled."""
        first = datetime.fromtimestamp(since, tz=timezone.utc)
        starts = (trailing_start(assets.partitions_def, tick, self.rhythm.lookback) for tick in (first, at))
        begun = [start for start in starts if start is not None]
        keys = keys_since(assets.partitions_def, at, min(begun)) if begun else []
        return PartitionRow(assets.partitions_def, keys[-max(MOST_LOOKED_BACK, self.rhythm.lookback) :])

    def _launched(
        self,
        context: dg.ScheduleEvaluationContext,
        assets: PartitionedAssets,
        row: PartitionRow,
        missed: Sequence[int],
        at: datetime,
    ) -> Sequence[dg.RunRequest | dg.SkipReason]:
        trailing, earlier = _ranges(len(row), self.rhythm.lookback, missed, self.max_reach_back)
        at_work = self._at_work(context, assets, row, trailing, at)
        if at_work is not None:
            return [_because_at_work(at_work, row, trailing)]
        requests: list[dg.RunRequest] = []
        if earlier and assets.one_by_one and self._at_work(context, assets, row, earlier, at) is None:
            requests += self._requests(assets, row, earlier, _earlier(at), at)  # each partition may need the one before
        requests += self._requests(assets, row, trailing, at.isoformat(), at)
        if earlier and not assets.one_by_one and self._at_work(context, assets, row, earlier, at) is None:
            requests += self._requests(assets, row, earlier, _earlier(at), at)
        return requests

    def _requests(
        self, assets: PartitionedAssets, row: PartitionRow, positions: range, run_key: str, at: datetime
    ) -> Iterator[dg.RunRequest]:
        if not assets.one_by_one:
            yield self._request(assets, row, positions, run_key, at)
            return
        for place in positions:
            yield self._request(assets, row, range(place, place + 1), f"{run_key} {row.keys[place]}", at)

    def _request(
        self, assets: PartitionedAssets, row: PartitionRow, positions: range, run_key: str, at: datetime
    ) -> dg.RunRequest:
        whole = range_tags(row.keys[positions[0]], row.keys[positions[-1]])
        own = {FILLS: assets.fingerprint, TICK: at.isoformat()}
        return dg.RunRequest(run_key=run_key, tags={**self.tags, **own, **whole})

    def _at_work(
        self,
        context: dg.ScheduleEvaluationContext,
        assets: PartitionedAssets,
        row: PartitionRow,
        positions: range,
        at: datetime,
    ) -> Activity | None:
        wanted = Wanted(row, bytearray(len(row)))
        wanted.open[positions.start : positions.stop] = b"\1" * len(positions)

        def own(run: dg.DagsterRun) -> bool:
            return run.tags.get(SCHEDULE_NAME) == self.name and run.tags.get(RUN_KEY, "").startswith(at.isoformat())

        return next(activities(context, assets, wanted, own), None)


def _because_at_work(at_work: Activity, row: PartitionRow, trailing: range) -> dg.SkipReason:
    return dg.SkipReason(
        f"{at_work.who[:1].upper()}{at_work.who[1:]} is at work on {row.keys[next(iter(at_work.positions))]}, and its "
        f"older extraction must not overwrite a newer one. Nothing was launched for {row.keys[trailing[0]]} to "
        f"{row.keys[trailing[-1]]}; a later tick makes up for it. If the run or backfill is stuck, terminate it."
    )


def _earlier(at: datetime) -> str:
    """Return the run key of a run that makes up for earlier ticks."""
    return f"{at.isoformat()} left out before"


def _ranges(count: int, lookback: int, missed: Sequence[int], most: int | None) -> tuple[range, range]:
    """Return the trailing partitions with those left out just before them, and the newest range further back.

    Args:
        count: The number of partitions.
        lookback: The number of partitions to fill per tick.
        missed: The positions of the partitions that were left out, ascending.
        most: The maximum number of partitions of a run that makes up for earlier ticks; None for no maximum.

    Examples:
        >>> _ranges(10, 2, [3, 4, 6, 7], None)
        (range(6, 10), range(3, 5))
        >>> _ranges(10, 2, [3, 4, 6, 7], 3)
        (range(7, 10), range(6, 7))
    """
    left = list(missed)
    trailing = _backwards(max(count - lookback, 0), count, left, most)
    if not left:
        return trailing, range(0)
    newest = left.pop()
    return trailing, _backwards(newest, newest + 1, left, most)


def _backwards(start: int, stop: int, left: list[int], most: int | None) -> range:
    """Extend a range by the positions just before it, which are removed from ``left``."""
    while left and left[-1] == start - 1 and (most is None or stop - start < most):
        start = left.pop()
    return range(start, stop)


def _crons(
    cron_schedule: str | Sequence[str] | None,
    partitions_def: dg.TimeWindowPartitionsDefinition | None,
    offsets: Mapping[str, int | None],
) -> tuple[str, ...]:
    given = {option: value for option, value in offsets.items() if value is not None}
    if cron_schedule is not None:
        if given:
            raise ConfigurationError(f"cron_schedule= already decides when to tick. Remove {', '.join(given)}.")
        crons = (cron_schedule,) if isinstance(cron_schedule, str) else tuple(cron_schedule)
        if not crons:
            raise ConfigurationError("cron_schedule must have at least one cron schedule, such as '0 * * * *', got [].")
        return crons
    if partitions_def is None:
        raise ConfigurationError(
            "The partitions of the target are not known until everything is loaded, so the cron schedule cannot be "
            "taken from them. Pass the partitions_def= of the assets, or cron_schedule=."
        )
    try:
        return (partitions_def.get_cron_schedule(**given),)
    except Exception as error:  # Dagster's check errors derive from Exception only
        raise ConfigurationError(f"{', '.join(given)} cannot be used with these partitions: {error}") from error


def _reach(max_reach_back: int | None, lookback: int) -> int | None:
    if max_reach_back is not None and partition_count("max_reach_back", max_reach_back) < lookback:
        raise ConfigurationError(f"max_reach_back must be at least lookback={lookback}, got {max_reach_back}.")
    return max_reach_back
