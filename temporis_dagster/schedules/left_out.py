"""The partitions that a schedule left out: the last tick that should have filled them did not.

Comes in: an instance, assets, the partitions since the schedule began, its rhythm. Goes out: the positions of those
left out.
Never: asks which runs there were. What counts is what is materialized, and as of when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice

import dagster as dg

from temporis_dagster.event_log import metadata_of, moment_in, records_of
from temporis_dagster.metadata_keys import FILLED_SINCE
from temporis_dagster.schedules.materialized import NOT_READ, Materialized, Moment, newest_as_of
from temporis_dagster.schedules.partition_row import PartitionRow, tick_before
from temporis_dagster.schedules.selection import PartitionedAssets

PAGE = 1_000
MOST_PAGES = 100


@dataclass(frozen=True)
class Rhythm:
    """When a schedule ticks, and how far back each tick fills.

    Attributes:
        cron_schedules: The cron schedules of the ticks.
        timezone: The time zone of the cron schedules.
        lookback: The number of partitions to fill per tick.
    """

    cron_schedules: tuple[str, ...]
    timezone: str
    lookback: int


def began(instance: dg.DagsterInstance, assets: PartitionedAssets, at: datetime) -> dict[dg.AssetKey, float]:
    """Return the first tick that was to fill each asset, in Unix seconds. For a new asset, record the current tick.

    It is recorded as an observation of the asset, which stays. Dagster keeps skipped ticks for a few days only and
    deletes runs after their retention, so the first ticks would be forgotten if they were skipped or failed.
    """
    return {asset: _began(instance, asset, at) for asset in sorted(assets.keys)}


def _began(instance: dg.DagsterInstance, asset: dg.AssetKey, at: datetime) -> float:
    records = records_of(instance.fetch_observations, asset, page=PAGE, ascending=True)
    moments = (moment_in(metadata_of(record), FILLED_SINCE) for record in islice(records, MOST_PAGES * PAGE))
    since = next((moment for moment in moments if moment is not None), None)
    if since is not None:
        return min(since, at.timestamp())
    event = dg.AssetObservation(
        asset,
        description="A trailing-window schedule fills this asset from this tick on.",
        metadata={FILLED_SINCE: dg.MetadataValue.timestamp(at)},
    )
    instance.report_runless_asset_event(event)
    return at.timestamp()


def left_out(
    instance: dg.DagsterInstance,
    assets: PartitionedAssets,
    row: PartitionRow,
    rhythm: Rhythm,
    since: dict[dg.AssetKey, float],
    materialized: Materialized,
    *,
    dry_runs_count: bool,
) -> list[int]:
    """Return the positions of the partitions before the lookback that were left out, the oldest first.

    The last tick that has a partition in its lookback should fill it for the last time. The partition was left out if
    one of the assets has no materialization of it, or only one that is older than that tick.

    Args:
        instance: The Dagster instance.
        assets: The assets.
        row: The partitions, up to the newest complete one.
        rhythm: The rhythm of the schedule.
        since: The first tick of each asset, in Unix seconds.
        materialized: What earlier ticks read.
        dry_runs_count: Whether the materialization of a dry run counts.
    """
    due = _due(row, rhythm)
    missing: set[int] = set()
    for asset in sorted(assets.keys):
        keys = row.keys[: len(due)]
        before = PartitionRow(row.partitions_def, keys)
        moments = materialized.moments(instance, asset, before, dry_runs_count=dry_runs_count)
        late = [
            position for position, tick in enumerate(due) if _is_late(tick, since[asset], moments.get(keys[position]))
        ]
        present = [keys[position] for position in late if moments.get(keys[position]) is not None]
        as_of = newest_as_of(instance, asset, present) if present else {}
        missing.update(position for position in late if as_of.get(keys[position], float("-inf")) < due[position])
    return sorted(missing)


def _is_late(tick: float, since: float, moment: Moment | None) -> bool:
    if tick < since:
        return False
    return moment is None or (moment is not NOT_READ and moment.as_of < tick)


def _due(row: PartitionRow, rhythm: Rhythm) -> Sequence[float]:
    """Return the last tick that should have filled each partition before the lookback; minus infinity if none."""
    ends = _Ends(row)
    offset = row.partitions_def.end_offset
    due = []
    for position in range(max(len(row) - rhythm.lookback, 0)):
        complete, over = ends[position - offset], ends[position + rhythm.lookback - offset]
        tick = tick_before(rhythm.cron_schedules, rhythm.timezone, over)
        due.append(tick if tick >= complete else float("-inf"))
    return due


class _Ends(dict[int, float]):
    """The ends of windows by position, in Unix seconds, also of windows before and after the row."""

    def __init__(self, row: PartitionRow) -> None:
        self._row = row

    def __missing__(self, position: int) -> float:
        if 0 <= position < len(self._row):
            end = self._row.window(self._row.keys[position]).end.timestamp()
        else:
            end = self._beyond(position)
        self[position] = end
        return end

    def _beyond(self, position: int) -> float:
        partitions = self._row.partitions_def
        if position >= 0:
            last = datetime.fromtimestamp(self[position - 1], tz=timezone.utc)
            window = partitions.get_next_partition_window(last, respect_bounds=False)
            return window.end.timestamp() if window else last.timestamp()
        following = datetime.fromtimestamp(self[position + 1], tz=timezone.utc)
        window = partitions.get_prev_partition_window(following, respect_bounds=False)
        return window.start.timestamp() if window else following.timestamp()
