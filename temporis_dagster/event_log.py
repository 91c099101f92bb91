"""Dagster's event log, read: the events of an asset page by page, and the latest materialization of each partition.

Comes in: an instance, an asset, partition keys. Goes out: records, materializations by partition, what they state.
Never: reads every materialization of a partition to find its latest (a refilled hour has thousands), or puts more
partitions into one query than a database has variables for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import dagster as dg

from temporis_dagster.metadata_keys import DRY_RUN

PAGE = 500
"""How many records, and how many partitions, one query asks for."""

Accept = Callable[[dg.AssetMaterialization], bool]
Fetch = Callable[..., dg.EventRecordsResult]
Metadata = Mapping[str, dg.MetadataValue]


def records_of(
    fetch: Fetch, wanted: dg.AssetKey | dg.AssetRecordsFilter, *, page: int = PAGE, ascending: bool = False
) -> Iterator[dg.EventLogRecord]:
    """Yield the records of an asset, and ask for another page only when the caller wants more.

    Args:
        fetch: ``fetch_materializations`` or ``fetch_observations`` of an instance.
        wanted: The asset, or which of its records.
        page: How many records one query asks for.
        ascending: Whether the oldest come first instead of the newest.
    """
    cursor: str | None = None
    while True:
        found = fetch(wanted, limit=page, cursor=cursor, ascending=ascending)
        yield from found.records
        if not found.has_more:
            return
        cursor = found.cursor


def records_by_id(instance: dg.DagsterInstance, asset: dg.AssetKey, ids: Sequence[int]) -> Iterator[dg.EventLogRecord]:
    """Yield the materializations of an asset with these storage ids, ``PAGE`` per query."""
    for start in range(0, len(ids), PAGE):
        wanted = dg.AssetRecordsFilter(asset_key=asset, storage_ids=list(ids[start : start + PAGE]))
        yield from records_of(instance.fetch_materializations, wanted, page=PAGE + 1)


def metadata_of(record: dg.EventLogRecord) -> Metadata:
    """Return the metadata of a materialization or observation."""
    event = record.asset_materialization or record.asset_observation
    return event.metadata if event else {}


def moment_in(metadata: Metadata, key: str) -> float | None:
    """Return the Unix second under a key, or None if there is no timestamp under it."""
    value = metadata.get(key)
    return value.value if isinstance(value, dg.TimestampMetadataValue) else None


def is_dry_run(metadata: Metadata) -> bool:
    """Tell whether the event is that of a dry run, which stored nothing."""
    dry_run = metadata.get(DRY_RUN)
    return dry_run is not None and bool(dry_run.value)


def stored(materialization: dg.AssetMaterialization) -> bool:
    """Tell whether the run of a materialization could store anything, which a dry run cannot."""
    return not is_dry_run(materialization.metadata)


def latest_ids(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str] | None = None
) -> Mapping[str, int]:
    """Return the storage id of each partition's latest materialization, in one query; higher is later.

    Args:
        instance: Where materializations are recorded.
        asset: The asset.
        keys: Which partitions; None for all that were ever materialized.
    """
    if keys is not None and not keys:
        return {}
    few = set(map(str, keys)) if keys and len(keys) <= PAGE else None
    found = instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION, few)
    return found if keys is None else {str(key): found[key] for key in keys if key in found}


def latest_of_partitions(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    ids: Mapping[str, int],
    accept: Accept = stored,
    most_searched: int | None = None,
) -> dict[str, dg.AssetMaterialization]:
    """Return the latest acceptable materialization of each partition; partitions that have none are left out.

    Args:
        instance: Where materializations are recorded.
        asset: The asset.
        ids: What ``latest_ids`` gave for these partitions.
        accept: Which materializations count; by default all but those of dry runs.
        most_searched: How many materializations to look at where the latest are not acceptable; None for all.
    """
    latest = {
        key: materialization
        for key, materialization in _by_partition(records_by_id(instance, asset, list(ids.values())))
        if key in ids and accept(materialization)
    }
    left = [key for key in ids if key not in latest]
    for start in range(0, len(left), PAGE):
        latest |= _searched(instance, asset, left[start : start + PAGE], accept, most_searched)
    return latest


def latest_of_asset(
    instance: dg.DagsterInstance, asset: dg.AssetKey, accept: Accept = stored
) -> dg.AssetMaterialization | None:
    """Return the latest acceptable materialization of an asset without partitions, or None."""
    found = (record.asset_materialization for record in records_of(instance.fetch_materializations, asset, page=10))
    return next((one for one in found if one is not None and accept(one)), None)


def _searched(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], accept: Accept, most: int | None
) -> dict[str, dg.AssetMaterialization]:
    """Look further back than the latest of each, for where that one is not acceptable, such as that of a dry run."""
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=list(map(str, keys)))
    latest: dict[str, dg.AssetMaterialization] = {}
    for key, materialization in islice(_by_partition(records_of(instance.fetch_materializations, wanted)), most):
        if key not in latest and accept(materialization):
            latest[key] = materialization
        if len(latest) == len(keys):
            break
    return latest


def _by_partition(records: Iterable[dg.EventLogRecord]) -> Iterator[tuple[str, dg.AssetMaterialization]]:
    for record in records:
        if record.partition_key is not None and record.asset_materialization is not None:
            yield record.partition_key, record.asset_materialization
