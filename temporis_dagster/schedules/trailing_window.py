"""build_trailing_window_schedule: each tick fills the trailing partitions again, in one run.

Comes in: what to fill and how far back; at a tick, its scheduled time and what the instance knows is materialized.
Goes out: a run over a range of partitions, and one for what was left out before; or the reason why not.
Never: asks which earlier runs there were, or launches into partitions being written.
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

SCHEDULE_NAME = "dagster/schedule_name"

MOST_LOOKED_BACK = 10_000
"""How many partitions a tick looks back for what was left out: a year of hours. It bounds the work of a tick."""


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
    """A schedule that fills the trailing partitions at every tick, in one run: late data and corrections are picked up.

    An upsert makes it safe to fill a partition again. A tick is skipped, and says why, while

    - there is no complete partition yet,
    - a data source is archived (if its state is not known, the run is launched),
    - a run or a backfill is at work on one of the partitions, so that an older extraction never overwrites a newer one.

    A later tick makes up for it. Left out is a partition that the last tick which was to fill it did not get filled,
    in any of the assets, since the first tick of the schedule: whether that tick was skipped, its run failed, or never
    was. What is left out just before the trailing partitions joins their run; what lies further back gets a run of its
    own, one per tick, the newest first.

    Args:
        target: The assets: a job, an ``AssetSelection``, an asset or several. Their partitions are the same time
            windows, their backfill policy is ``BackfillPolicy.single_run()``, or ``multi_run(1)``: then a run has one
            partition.
        lookback: How many partitions a tick fills, counted back from the newest that is complete.
        name: By default ``<job or asset>_schedule``.
        max_reach_back: The most partitions of a run that makes up for earlier ticks; later ticks fill the rest. By
            default as many as it takes.
        partitions_def: The partitions of the assets. Needed only for the default of ``cron_schedule``, and only where
            ``target`` does not show them: for a selection, asset keys, or what ``define_asset_job`` returns.
        minute_of_hour: When to tick, where that is not at once when a partition is complete: as in
            ``dagster.build_schedule_from_partitioned_job``.
        hour_of_day: For daily, weekly and monthly partitions.
        day_of_week: For weekly partitions; 0 is Sunday.
        day_of_month: For monthly partitions.
        cron_schedule: Any other rhythm, or several of them. By default that of the partitions.
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

    # Not the decorator: it makes the resources before it calls the function, and fails the tick where it cannot.
    return dg.ScheduleDefinition(
        name=window.name,
        target=cast("Any", what.launched),
        cron_schedule=crons[0] if len(crons) == 1 else list(crons),
        execution_timezone=rhythm.timezone,
        execution_fn=window.evaluate,
        required_resource_keys={resource_key},
        description=description or f"Fills the trailing {lookback:,} partitions at every tick, in one run.",
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
            return [dg.SkipReason("No partition is complete yet. The first tick after the end of its window fills it.")]
        sources = assets.data_sources if self.data_sources is None else self.data_sources
        archived = archived_data_sources(context, temporis, sources)
        if archived:
            reason = (
                f"Archived: {', '.join(archived)}. Nothing was launched. Once unarchived, the next tick also fills "
            )
            return [dg.SkipReason(reason + "what was left out.")]
        dry_run = temporis is not None and temporis.dry_run
        missed = left_out(context.instance, assets, row, self.rhythm, since, self.materialized, dry_runs_count=dry_run)
        return self._launched(context, assets, row, missed, at)

    def _row(self, assets: PartitionedAssets, at: datetime, since: float) -> PartitionRow:
        """The partitions that the ticks since the first one were about."""
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
        f"{at_work.who} is at work on {row.keys[next(iter(at_work.positions))]}, and its older extraction must not "
        f"overwrite a newer one. Nothing was launched for {row.keys[trailing[0]]} to {row.keys[trailing[-1]]}; a later "
        "tick makes up for it. If that work is stuck, terminate it."
    )


def _earlier(at: datetime) -> str:
    """The run key of what a tick fills beside the trailing partitions."""
    return f"{at.isoformat()} left out before"


def _ranges(count: int, lookback: int, missed: Sequence[int], most: int | None) -> tuple[range, range]:
    """The trailing partitions with what was left out just before them, and the newest of what lies further back.

    Args:
        count: How many partitions there are.
        lookback: How many of them each tick fills.
        missed: The positions of those that were left out, ascending.
        most: The longest range of one run; None for any length.

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
    """A range, and the positions just before it that are left; they are taken away."""
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
            raise ConfigurationError(f"cron_schedule= already says when; leave {', '.join(given)} out.")
        crons = (cron_schedule,) if isinstance(cron_schedule, str) else tuple(cron_schedule)
        if not crons:
            raise ConfigurationError("cron_schedule=[] has no tick. Pass a cron schedule, such as '0 * * * *'.")
        return crons
    if partitions_def is None:
        raise ConfigurationError(
            "The target does not show its partitions until everything is loaded, so there is no rhythm to take from "
            "them. Pass partitions_def= of the assets, or cron_schedule=."
        )
    try:
        return (partitions_def.get_cron_schedule(**given),)
    except Exception as error:  # Dagster's check errors derive from nothing but Exception
        raise ConfigurationError(f"{', '.join(given)} cannot move these partitions: {error}") from error


def _reach(max_reach_back: int | None, lookback: int) -> int | None:
    if max_reach_back is not None and partition_count("max_reach_back", max_reach_back) < lookback:
        raise ConfigurationError(
            f"max_reach_back={max_reach_back} is less than lookback={lookback}. Pass at least as many partitions."
        )
    return max_reach_back
