"""The state of partitions: filled, missing or failed, being written, and how often the sensor tried to fill them.

Comes in: an instance, assets, partitions; what is being written and what was tried. Goes out: one state per partition.
Never: keeps anything that a restart could lose: everything is derived from the records of the instance.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg

from temporis_dagster.schedules.attempts import Attempt
from temporis_dagster.schedules.gap_plan import PartitionState, PartitionStatus
from temporis_dagster.schedules.materialized import MATERIALIZED, NOT_READ, Materialized
from temporis_dagster.schedules.partition_row import PartitionRow
from temporis_dagster.schedules.selection import PartitionedAssets

PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

Gaps = Mapping[int, float]
"""The positions of the partitions that an asset lacks, and when it last had them, in Unix seconds (0: never)."""


def gaps_among(
    instance: dg.DagsterInstance,
    assets: PartitionedAssets,
    row: PartitionRow,
    materialized: Materialized,
    *,
    dry_runs_count: bool,
) -> Gaps:
    """Return the partitions that an asset lacks: no run stored them, or the last run over them failed."""
    gaps: dict[int, float] = {}
    for asset in sorted(assets.keys):
        moments = materialized.moments(instance, asset, row, dry_runs_count=dry_runs_count)
        failed = _failed(instance, asset, assets, moments)
        for position, key in enumerate(row.keys):
            moment = moments.get(key)
            if moment is None or key in failed:
                since = 0.0 if moment is None or moment is NOT_READ else moment.recorded_at
                gaps[position] = min(gaps.get(position, since), since)
    return gaps


def _failed(
    instance: dg.DagsterInstance, asset: dg.AssetKey, assets: PartitionedAssets, present: Collection[str]
) -> Collection[str]:
    """Return the partitions whose last run failed. Only those planned again after they were stored can have."""
    written = instance.get_latest_storage_id_by_partition(asset, MATERIALIZED)
    planned = instance.get_latest_storage_id_by_partition(asset, PLANNED)
    doubtful = [key for key in present if planned.get(key, 0) > written.get(key, 0)]
    if not doubtful:
        return ()
    status = instance.get_status_by_partition(asset, doubtful, assets.partitions_def) or {}
    return {key for key in doubtful if status.get(key) is dg.AssetPartitionStatus.FAILED}


def partition_states(
    row: PartitionRow, gaps: Gaps, busy: Iterable[Collection[int]], attempts: Sequence[Attempt]
) -> list[PartitionState]:
    """Return the state of each partition, in order.

    Args:
        row: The partitions.
        gaps: Those that are missing or failed.
        busy: The positions that unfinished runs and backfills may write.
        attempts: The attempts of the sensor.
    """
    states = [PartitionState(key, PartitionStatus.FILLED) for key in row.keys]
    tried = _tried(gaps, attempts)
    for position in gaps:
        states[position] = _state(row.keys[position], tried.get(position, []))
    at_work = [*busy, *(attempt.positions for attempt in attempts if attempt.ended_at is None)]
    for positions in at_work:
        for position in positions:
            states[position] = PartitionState(row.keys[position], PartitionStatus.BUSY)
    return states


Tried = list[tuple[float, bool]]
"""When the attempts at a partition ended, and whether each was an outage."""


def _tried(gaps: Gaps, attempts: Sequence[Attempt]) -> dict[int, Tried]:
    """Return the attempts at each gap since its assets last had it, without the run that last stored it."""
    tried: dict[int, Tried] = {}
    for attempt in attempts:
        if attempt.ended_at is None:
            continue
        for position in attempt.positions:
            if attempt.began_at > gaps[position]:
                tried.setdefault(position, []).append((attempt.ended_at, attempt.outage))
    return tried


def _state(key: str, tried: Tried) -> PartitionState:
    in_order = sorted(tried)
    outages = 0
    while outages < len(in_order) and in_order[-1 - outages][1]:
        outages += 1
    attempts = sum(not outage for _, outage in in_order)
    return PartitionState(key, PartitionStatus.GAP, attempts, in_order[-1][0] if in_order else 0.0, outages)
