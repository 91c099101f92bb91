"""The attempts of a gap sensor: the runs that it launched, each with its automatic retries and re-executions.

Comes in: a tick's context, the sensor's name, the assets, the partitions. Goes out: attempts at those partitions.
Never: counts a run that filled other assets or partitions of another format, or reads more than ``MOST_RUNS`` runs.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from temporis_dagster.metadata_keys import FILLS
from temporis_dagster.schedules.activity import (
    RUN_KEY,
    UNFINISHED,
    Wanted,
    location_name,
    positions_of_run,
    run_location_name,
)
from temporis_dagster.schedules.outages import Outages
from temporis_dagster.schedules.partition_row import PartitionRow
from temporis_dagster.schedules.selection import PartitionedAssets
from temporis_dagster.schedules.tick_resource import TickContext

SENSOR_NAME = "dagster/sensor_name"
ROOT_RUN = "dagster/root_run_id"
WILL_RETRY = "dagster/will_retry"
RETRIED_BY = "dagster/auto_retry_run_id"

MOST_RUNS = 5_000
"""How many runs to read in one tick, the newest first: each takes about 0.3 ms."""

RETRY_WITHIN_S = 600.0
"""How long to wait for Dagster to launch the automatic retry of a run. After that, the retry is not expected."""


@dataclass(frozen=True)
class Attempt:
    """One run that the sensor launched, with its retries and re-executions, which do not count as further attempts.

    Attributes:
        positions: The positions of the partitions that it was to fill, among those that are gaps.
        ended_at: When the last of these runs ended, in Unix seconds; None while one is unfinished or will be retried.
        began_at: When the last of these runs began, in Unix seconds. The attempt itself may have materialized what was
            recorded later.
        outage: Whether it failed because a data source could not be reached.
    """

    positions: Collection[int]
    ended_at: float | None
    began_at: float = 0.0
    outage: bool = False


@dataclass(frozen=True)
class Attempts:
    """What a tick knows about the runs of its sensor.

    Attributes:
        found: The attempts at the gaps.
        run_keys: All run keys of these runs: Dagster never launches a run key twice.
    """

    found: Sequence[Attempt]
    run_keys: Collection[str]


def attempts_of(
    context: TickContext, sensor_name: str, assets: PartitionedAssets, wanted: Wanted, now: float, outages: Outages
) -> Attempts:
    """Return the attempts at these partitions. Those of a sensor of the same name elsewhere are not among them.

    Args:
        context: The context of the tick.
        sensor_name: The name of the sensor.
        assets: The assets that it fills.
        wanted: The gaps.
        now: The time, in Unix seconds.
        outages: Decides which runs failed because a data source could not be reached.
    """
    families: OrderedDict[str, list[dg.RunRecord]] = OrderedDict()
    run_keys = set()
    for record in _records(context, sensor_name, wanted.row):
        run = record.dagster_run
        run_keys.add(run.tags.get(RUN_KEY, ""))
        if run.tags.get(FILLS) == assets.fingerprint:
            families.setdefault(run.tags.get(ROOT_RUN, run.run_id), []).append(record)
    found = (_attempt(context.instance, family, wanted, now, outages) for family in families.values())
    return Attempts([attempt for attempt in found if attempt is not None], run_keys)


def _records(context: TickContext, sensor_name: str, row: PartitionRow) -> Iterator[dg.RunRecord]:
    """Yield the runs of the sensor, the newest first."""
    launched = dg.RunsFilter(tags={SENSOR_NAME: sensor_name}, created_after=_not_before(row))
    here = location_name(context)
    for record in context.instance.get_run_records(filters=launched, limit=MOST_RUNS):
        there = run_location_name(record.dagster_run)
        if here is None or there is None or here == there:
            yield record


def _not_before(row: PartitionRow) -> datetime:
    """Return a time before every run over these partitions: their start, less their span for partitions run early."""
    start, end = row.window(row.keys[0]).start.timestamp(), row.window(row.keys[-1]).end.timestamp()
    return datetime.fromtimestamp(start - (end - start), tz=timezone.utc)


def _attempt(
    instance: dg.DagsterInstance, family: Sequence[dg.RunRecord], wanted: Wanted, now: float, outages: Outages
) -> Attempt | None:
    """Return the attempt that these runs are, given the newest first; None if it does not concern any of the gaps."""
    latest = family[0].dagster_run
    span = positions_of_run(latest, wanted.row)
    positions = wanted.among(span) if span is not None else ()
    if not positions:
        return None
    if any(record.dagster_run.status in UNFINISHED for record in family) or _is_to_be_retried(family[0], now):
        return Attempt(positions, None)
    began_at, ended_at = max(map(_began_at, family)), max(map(_ended_at, family))
    return Attempt(positions, ended_at, began_at, outages.ended(instance, latest))


def _began_at(record: dg.RunRecord) -> float:
    """Return when a run began. One that was canceled in the queue never began, and materialized nothing."""
    return record.start_time or _ended_at(record)


def _ended_at(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _is_to_be_retried(record: dg.RunRecord, now: float) -> bool:
    tags = record.dagster_run.tags
    awaited = tags.get(WILL_RETRY) == "true" and RETRIED_BY not in tags
    return awaited and now - _ended_at(record) < RETRY_WITHIN_S
