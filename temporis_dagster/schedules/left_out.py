"""What the ticks of a schedule left out: partitions that the last tick which was to fill them did not get filled.

Comes in: an instance, assets, the partitions since the schedule began, its rhythm. Goes out: their positions.
Never: asks which runs there were: what counts is what is materialized, and as of when.
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
MOST_PAGES = 5


@dataclass(frozen=True)
class Rhythm:
    """When a schedule ticks, and how far back each tick fills.

    Attributes:
        cron_schedules: Its ticks.
        timezone: Their time zone.
        lookback: How many partitions a tick fills.
    """

    cron_schedules: tuple[str, ...]
    timezone: str
    lookback: int


def began(instance: dg.DagsterInstance, assets: PartitionedAssets, at: datetime) -> dict[dg.AssetKey, float]:
    """The first tick that each asset was to be filled by, in Unix seconds. A new asset's is this one, and is recorded.

    Dagster keeps ticks that were skipped for a few days, and runs as long as its retention says. An observation of the
    asset stays, so that not even the first ticks are forgotten where they were skipped or failed.
    """
    return {asset: _began(instance, asset, at) for asset in sorted(assets.keys)}


def _began(instance: dg.DagsterInstance, asset: dg.AssetKey, at: datetime) -> float:
    records = records_of(instance.fetch_observations, asset, page=PAGE, ascending=True)
    said = (moment_in(metadata_of(record), FILLED_SINCE) for record in islice(records, MOST_PAGES * PAGE))
    since = next((moment for moment in said if moment is not None), None)
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
    """The positions of the partitions before the lookback that were left out, oldest first.

    A partition was to be filled last by the last tick that had it in its lookback. It was left out of an asset whose
    materialization is older than that tick, or is not there.

    Args:
        instance: Whose event log.
        assets: The assets.
        row: The partitions, to the newest that is complete.
        rhythm: Of the schedule.
        since: The first tick of each asset.
        materialized: What was read before.
        dry_runs_count: Whether a dry run materializes, too.
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
        there = [keys[position] for position in late if moments.get(keys[position]) is not None]
        as_of = newest_as_of(instance, asset, there) if there else {}
        missing.update(position for position in late if as_of.get(keys[position], float("-inf")) < due[position])
    return sorted(missing)


def _is_late(tick: float, since: float, moment: Moment | None) -> bool:
    if tick < since:
        return False
    return moment is None or (moment is not NOT_READ and moment.as_of < tick)


def _due(row: PartitionRow, rhythm: Rhythm) -> Sequence[float]:
    """The last tick that was to fill each partition before the lookback; minus infinity where none ever was."""
    ends = _Ends(row)
    offset = row.partitions_def.end_offset
    due = []
    for position in range(max(len(row) - rhythm.lookback, 0)):
        complete, over = ends[position - offset], ends[position + rhythm.lookback - offset]
        tick = tick_before(rhythm.cron_schedules, rhythm.timezone, over)
        due.append(tick if tick >= complete else float("-inf"))
    return due


class _Ends(dict[int, float]):
    """The last moments of windows by position, also of those before and after the row."""

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
