"""What is materialized: for each asset and partition the latest materialization that stored something, and as of when.

Comes in: an instance, an asset, partition keys. Goes out: moments, from the event log.
Never: takes a dry run for a materialization, depends on runs that a retention deletes, or reads more records in one
tick than it may: what was read is remembered, and the rest is for the next ticks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import dagster as dg

from temporis_dagster.event_log import is_dry_run, metadata_of, moment_in, records_by_id
from temporis_dagster.metadata_keys import TICK
from temporis_dagster.schedules.partition_row import PartitionRow

MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION
MOST_READ = 5_000
"""How many records of an asset a tick reads: at some 0.3 ms each."""

CHUNK = 500
MOST_OLDER = 2_000


@dataclass(frozen=True)
class Moment:
    """The latest materialization of a partition.

    Attributes:
        recorded_at: When it was recorded, in Unix seconds.
        as_of: What it stored is what the upstream had at this moment at the earliest, in Unix seconds: the scheduled
            time of the tick that launched its run, else the start of that run, else when it was recorded.
    """

    recorded_at: float
    as_of: float


NOT_READ = Moment(float("inf"), float("inf"))
"""Of a partition that is materialized, by a record that no tick has read yet."""


@dataclass
class _Known:
    """What was read of an asset: by partition, the number of its latest record and what that says."""

    moments: dict[str, tuple[int, Moment | None]] = field(default_factory=dict)
    dry_runs_count: bool = False
    proof: tuple[int, str, float] | None = None  # one of the records as it was: another instance has others


@dataclass
class Materialized:
    """The materializations of assets, remembered between ticks of one schedule or sensor in one process.

    A memory only: a restart costs reading, never correctness.
    """

    _assets: dict[dg.AssetKey, _Known] = field(default_factory=dict)

    def moments(
        self, instance: dg.DagsterInstance, asset: dg.AssetKey, row: PartitionRow, *, dry_runs_count: bool
    ) -> Mapping[str, Moment | None]:
        """The latest materialization of each partition; None where only dry runs had it. Others are not there.

        Args:
            instance: Whose event log.
            asset: The asset.
            row: Its partitions; the newest are read first.
            dry_runs_count: Whether a dry run materializes, too: where everything is one.
        """
        newest = instance.get_latest_materialization_event(asset)
        if newest is None:
            return {}
        latest = instance.get_latest_storage_id_by_partition(asset, MATERIALIZED)
        known = self._known(instance, asset, dry_runs_count=dry_runs_count)
        there = [key for key in row.keys if key in latest]
        unread = (key for key in reversed(there) if known.moments.get(key, (None,))[0] != latest[key])
        self._read(instance, asset, {latest[key]: key for key in islice(unread, MOST_READ)}, known)
        read: dict[str, Moment | None] = {
            key: known.moments[key][1] if known.moments.get(key, (None,))[0] == latest[key] else NOT_READ
            for key in there
        }
        return {**read, **_without_records(instance, asset, row, read, newest)}

    def _known(self, instance: dg.DagsterInstance, asset: dg.AssetKey, *, dry_runs_count: bool) -> _Known:
        known = self._assets.get(asset)
        if known is not None and known.dry_runs_count is dry_runs_count and known.proof is not None:
            record = next(records_by_id(instance, asset, [known.proof[0]]), None)
            if record is not None and _proof(record) == known.proof:
                return known
        self._assets[asset] = _Known(dry_runs_count=dry_runs_count)
        return self._assets[asset]

    def _read(self, instance: dg.DagsterInstance, asset: dg.AssetKey, unread: Mapping[int, str], known: _Known) -> None:
        records = list(records_by_id(instance, asset, list(unread)))
        as_of = _as_of(instance, records)
        only_dry = {}
        for record in records:
            key = unread[record.storage_id]
            known.proof = _proof(record)
            known.moments[key] = (record.storage_id, Moment(record.timestamp, as_of[record.storage_id]))
            if is_dry_run(metadata_of(record)) and not known.dry_runs_count:
                only_dry[key] = record.storage_id
        older = last_before_dry_runs(instance, asset, list(only_dry)) if only_dry else {}
        for key, storage_id in only_dry.items():
            known.moments[key] = (storage_id, older.get(key))


def _without_records(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    row: PartitionRow,
    read: Mapping[str, Moment | None],
    newest: dg.EventLogEntry,
) -> dict[str, Moment]:
    """The partitions that are materialized although their records are gone, with the runs that a retention deleted.

    Dagster remembers those that it was asked about while the records were there, so it is asked in any case. None of
    them is newer than the newest materialization of the asset, which it keeps apart.
    """
    gone = [key for key in row.keys if key not in read]
    status = instance.get_status_by_partition(asset, gone or row.keys[-1:], row.partitions_def)
    there = [key for key in gone if (status or {}).get(key) is dg.AssetPartitionStatus.MATERIALIZED]
    if not there:
        return {}
    of_newest = newest.asset_materialization
    tick = moment_in(of_newest.metadata, TICK) if of_newest else None
    known = [moment.as_of for moment in read.values() if moment is not None and moment is not NOT_READ]
    as_of = max([*known, newest.timestamp if tick is None else tick])
    return dict.fromkeys(there, Moment(newest.timestamp, as_of))


def last_before_dry_runs(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> dict[str, Moment]:
    """The latest materialization of each of these partitions that was no dry run."""
    found: dict[str, Moment] = {}
    for key, records in older_records(instance, asset, keys).items():
        real = [record for record in records if not is_dry_run(metadata_of(record))]
        if real:
            found[key] = Moment(real[0].timestamp, _as_of(instance, real[:1])[real[0].storage_id])
    return found


def newest_as_of(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> dict[str, float]:
    """As of when each of these partitions was stored at the latest, by all records of it: an old run may be retried."""
    by_key = older_records(instance, asset, keys)
    as_of = _as_of(instance, [record for records in by_key.values() for record in records])
    return {
        key: max(
            (as_of[record.storage_id] for record in records if not is_dry_run(metadata_of(record))),
            default=float("-inf"),
        )
        for key, records in by_key.items()
    }


def older_records(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]
) -> dict[str, list[dg.EventLogRecord]]:
    """All records of these partitions, newest first; of many partitions those of the newest, a bounded number."""
    by_key: dict[str, list[dg.EventLogRecord]] = {}
    for start in range(0, min(len(keys), MOST_OLDER), CHUNK):
        wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=list(keys[start : start + CHUNK]))
        for record in instance.fetch_materializations(wanted, limit=MOST_OLDER).records:
            by_key.setdefault(str(record.partition_key), []).append(record)
    return by_key


def _as_of(instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord]) -> dict[int, float]:
    """As of when each record is, by its number."""
    said = {record.storage_id: moment_in(metadata_of(record), TICK) for record in records}
    open_ones = [record for record in records if said[record.storage_id] is None]
    of_run = _starts(instance, sorted({record.run_id for record in open_ones if record.run_id}))
    as_of = {}
    for record in records:
        tick = said[record.storage_id]
        as_of[record.storage_id] = of_run.get(record.run_id, record.timestamp) if tick is None else tick
    return as_of


def _starts(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> dict[str, float]:
    """As of when runs extracted: the ticks that launched them, or when they started."""
    starts: dict[str, float] = {}
    for start in range(0, len(run_ids), CHUNK):
        for record in instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids[start : start + CHUNK]))):
            moment = _tick_of(record.dagster_run.tags.get(TICK))
            moment = record.start_time if moment is None else moment
            if moment is not None:
                starts[record.dagster_run.run_id] = moment
    return starts


def _tick_of(said: str | None) -> float | None:
    try:
        tick = datetime.fromisoformat(said or "")
    except ValueError:
        return None
    return tick.timestamp() if tick.tzinfo else None


def _proof(record: dg.EventLogRecord) -> tuple[int, str, float]:
    return record.storage_id, record.run_id, record.timestamp
