"""What the instance knows of partitions: there, missing or failed, and how often the sensor tried to fill them.

Comes in: an instance, assets, partition keys. Goes out: one state for each partition, from run and event records.
Never: keeps anything of its own: what is derived from the records survives every restart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from temporis_dagster.schedules.activity import Activity, partitions_of_run
from temporis_dagster.schedules.gap_plan import PartitionState, PartitionStatus
from temporis_dagster.schedules.target import PartitionedAssets

SENSOR_NAME = "dagster/sensor_name"
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
PAGE = 1_000
KEYS_A_QUERY = 500


@dataclass(frozen=True)
class Attempt:
    """One run that the sensor launched.

    Attributes:
        partitions: What it was to fill.
        failed_at: When it failed or was canceled, in Unix seconds; None for any other outcome, or none yet.
    """

    partitions: frozenset[str]
    failed_at: float | None


Gaps = Mapping[str, frozenset[dg.AssetKey]]
"""For each partition that is missing or failed, the assets in which it is."""


def gaps_among(instance: dg.DagsterInstance, assets: PartitionedAssets, keys: Sequence[str]) -> Gaps:
    """The partitions that some asset lacks: never materialized, or the last run over them failed first."""
    lacking: dict[str, set[dg.AssetKey]] = {}
    for asset in sorted(assets.keys):
        status = instance.get_status_by_partition(asset, keys, assets.partitions_def) or {}
        for key in keys:
            if status.get(key) in (None, dg.AssetPartitionStatus.FAILED):
                lacking.setdefault(key, set()).add(asset)
    return {key: frozenset(lacking[key]) for key in keys if key in lacking}


def attempts_of(
    context: dg.SensorEvaluationContext, sensor_name: str, assets: PartitionedAssets, keys: Sequence[str]
) -> list[Attempt]:
    """Every run of the sensor that touches one of these partitions; none of its namesake in another code location."""
    launched = dg.RunsFilter(tags={SENSOR_NAME: sensor_name}, created_after=_not_before(assets, keys))
    attempts = []
    here = context.code_location_origin.location_name if context.code_location_origin else None
    for record in context.instance.get_run_records(filters=launched):
        run = record.dagster_run
        if here and run.remote_job_origin and run.remote_job_origin.location_name != here:
            continue
        covered = partitions_of_run(run, assets)
        touched = frozenset(key for key in keys if key in covered)
        if touched:
            ended = record.end_time or record.update_timestamp.timestamp()
            attempts.append(Attempt(touched, ended if run.status in FAILED else None))
    return attempts


def partition_states(
    instance: dg.DagsterInstance,
    keys: Sequence[str],
    gaps: Gaps,
    at_work: Sequence[Activity],
    attempts: Sequence[Attempt],
) -> list[PartitionState]:
    """The state of each partition, in their order."""
    tried = {key for attempt in attempts if attempt.failed_at is not None for key in attempt.partitions if key in gaps}
    filled_at = _last_materialized(instance, {key: gaps[key] for key in keys if key in tried})
    return [_state(key, gaps, at_work, attempts, filled_at) for key in keys]


def _state(
    key: str,
    gaps: Gaps,
    at_work: Sequence[Activity],
    attempts: Sequence[Attempt],
    filled_at: Mapping[tuple[str, dg.AssetKey], float],
) -> PartitionState:
    if any(key in one.partitions for one in at_work):
        return PartitionState(key, PartitionStatus.BUSY)
    if key not in gaps:
        return PartitionState(key, PartitionStatus.FILLED)
    since = min(filled_at.get((key, asset), 0.0) for asset in gaps[key])
    failed = [one.failed_at for one in attempts if one.failed_at is not None and key in one.partitions]
    counted = [moment for moment in failed if moment > since]
    return PartitionState(key, PartitionStatus.GAP, len(counted), max(counted, default=0.0))


def _not_before(assets: PartitionedAssets, keys: Sequence[str]) -> datetime:
    """No run over these partitions is older: twice their span back, as partitions may be run ahead of their time."""
    first, last = (assets.partitions_def.time_window_for_partition_key(key) for key in (keys[0], keys[-1]))
    start, end = first.start.timestamp(), last.end.timestamp()
    return datetime.fromtimestamp(start - (end - start), tz=timezone.utc)


def _last_materialized(instance: dg.DagsterInstance, gaps: Gaps) -> dict[tuple[str, dg.AssetKey], float]:
    """When each of these partitions was last materialized in the assets that lack it now."""
    moments: dict[tuple[str, dg.AssetKey], float] = {}
    for asset in sorted({asset for lacking in gaps.values() for asset in lacking}):
        keys = [key for key, lacking in gaps.items() if asset in lacking]
        for start in range(0, len(keys), KEYS_A_QUERY):
            wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=keys[start : start + KEYS_A_QUERY])
            for key, moment in _newest_first(instance, wanted):
                moments.setdefault((key, asset), moment)
    return moments


def _newest_first(instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter) -> Iterator[tuple[str, float]]:
    cursor: str | None = None
    while True:
        found = instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor)
        yield from ((record.partition_key, record.timestamp) for record in found.records if record.partition_key)
        if not found.has_more:
            return
        cursor = found.cursor
