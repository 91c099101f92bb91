"""What is materialized: the latest materialization of each partition that stored something, and as of when.

Comes in: an instance, an asset, partition keys. Goes out: moments, from the event log.
Never: counts a dry run as a materialization (unless everything is a dry run), depends on runs that a retention deletes,
or reads more than ``MOST_READ`` records in one tick: it remembers what it read, and the next ticks read the rest.
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
"""How many records of an asset to read in one tick: each takes about 0.3 ms."""

CHUNK = 500
MOST_OLDER = 2_000


@dataclass(frozen=True)
class Moment:
    """The latest materialization of a partition.

    Attributes:
        recorded_at: When it was recorded, in Unix seconds.
        as_of: The time, in Unix seconds, that the stored data is at least as recent as: the scheduled time of the tick
            that launched the run, else the start of the run, else the time of recording.
    """

    recorded_at: float
    as_of: float


NOT_READ = Moment(float("inf"), float("inf"))
"""The moment of a partition that is materialized, but whose record no tick has read yet."""


@dataclass
class _Known:
    """What was read about an asset: by partition, the number of its latest record and the moment in that record."""

    moments: dict[str, tuple[int, Moment | None]] = field(default_factory=dict)
    dry_runs_count: bool = False
    proof: tuple[int, str, float] | None = None  # one of the records, to recognise another instance


@dataclass
class Materialized:
    """The materializations of assets, remembered between the ticks of one schedule or sensor in one process.

    This is only a cache: after a restart, the records are read again.
    """

    _assets: dict[dg.AssetKey, _Known] = field(default_factory=dict)

    def moments(
        self, instance: dg.DagsterInstance, asset: dg.AssetKey, row: PartitionRow, *, dry_runs_count: bool
    ) -> Mapping[str, Moment | None]:
        """Return the latest materialization of each partition.

        Args:
            instance: The Dagster instance.
            asset: The asset.
            row: Its partitions; the newest are read first.
            dry_runs_count: Whether a dry run counts: it does where everything is a dry run.

        Returns:
            By partition key, the moment of the latest materialization, or None if there were only dry runs. Partitions
            that were never materialized are left out.
        """
        newest = instance.get_latest_materialization_event(asset)
        if newest is None:
            return {}
        latest = instance.get_latest_storage_id_by_partition(asset, MATERIALIZED)
        known = self._known(instance, asset, dry_runs_count=dry_runs_count)
        present = [key for key in row.keys if key in latest]
        unread = (key for key in reversed(present) if known.moments.get(key, (None,))[0] != latest[key])
        self._read(instance, asset, {latest[key]: key for key in islice(unread, MOST_READ)}, known)
        read: dict[str, Moment | None] = {
            key: known.moments[key][1] if known.moments.get(key, (None,))[0] == latest[key] else NOT_READ
            for key in present
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
    """Return the partitions that are materialized although their records are gone: a retention deleted their runs.

    Dagster remembers the status of partitions that it was asked for while the records existed, so ask in any case. None
    of them is newer than the newest materialization of the asset, which Dagster keeps separately.
    """
    gone = [key for key in row.keys if key not in read]
    status = instance.get_status_by_partition(asset, gone or row.keys[-1:], row.partitions_def)
    present = [key for key in gone if (status or {}).get(key) is dg.AssetPartitionStatus.MATERIALIZED]
    if not present:
        return {}
    of_newest = newest.asset_materialization
    tick = moment_in(of_newest.metadata, TICK) if of_newest else None
    known = [moment.as_of for moment in read.values() if moment is not None and moment is not NOT_READ]
    as_of = max([*known, newest.timestamp if tick is None else tick])
    return dict.fromkeys(present, Moment(newest.timestamp, as_of))


def last_before_dry_runs(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> dict[str, Moment]:
    """Return the latest materialization of each of these partitions that was not a dry run."""
    found: dict[str, Moment] = {}
    for key, records in older_records(instance, asset, keys).items():
        real = [record for record in records if not is_dry_run(metadata_of(record))]
        if real:
            found[key] = Moment(real[0].timestamp, _as_of(instance, real[:1])[real[0].storage_id])
    return found


def newest_as_of(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> dict[str, float]:
    """Return the latest ``as_of`` of each of these partitions, over all its records: an old run may be retried late."""
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
    """Return the records of these partitions, the newest first; a bounded number of partitions and of records."""
    by_key: dict[str, list[dg.EventLogRecord]] = {}
    for start in range(0, min(len(keys), MOST_OLDER), CHUNK):
        wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=list(keys[start : start + CHUNK]))
        for record in instance.fetch_materializations(wanted, limit=MOST_OLDER).records:
            by_key.setdefault(str(record.partition_key), []).append(record)
    return by_key


def _as_of(instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord]) -> dict[int, float]:
    """Return as of when each record is, by its number: see ``Moment.as_of``."""
    ticks = {record.storage_id: moment_in(metadata_of(record), TICK) for record in records}
    open_ones = [record for record in records if ticks[record.storage_id] is None]
    of_run = _starts(instance, sorted({record.run_id for record in open_ones if record.run_id}))
    as_of = {}
    for record in records:
        tick = ticks[record.storage_id]
        as_of[record.storage_id] = of_run.get(record.run_id, record.timestamp) if tick is None else tick
    return as_of


def _starts(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> dict[str, float]:
    """Return as of when runs read their upstream: the tick that launched each, otherwise when it started."""
    starts: dict[str, float] = {}
    for start in range(0, len(run_ids), CHUNK):
        for record in instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids[start : start + CHUNK]))):
            moment = _tick_of(record.dagster_run.tags.get(TICK))
            moment = record.start_time if moment is None else moment
            if moment is not None:
                starts[record.dagster_run.run_id] = moment
    return starts


def _tick_of(tag: str | None) -> float | None:
    try:
        tick = datetime.fromisoformat(tag or "")
    except ValueError:
        return None
    return tick.timestamp() if tick.tzinfo else None


def _proof(record: dg.EventLogRecord) -> tuple[int, str, float]:
    return record.storage_id, record.run_id, record.timestamp
