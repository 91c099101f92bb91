"""What was materialized: the latest materialization of each partition, out of Dagster's event log.

Comes in: an instance, an asset, partition keys. Goes out: materializations by partition.
Never: reads every materialization of a partition to find its latest (a refilled hour has thousands), or puts more
partitions into one query than a database has variables for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import dagster as dg

from temporis_dagster.metadata_keys import DRY_RUN

PAGE = 500
"""How many records, and how many partitions, one query asks for."""

Accept = Callable[[dg.AssetMaterialization], bool]


def stored(materialization: dg.AssetMaterialization) -> bool:
    """Whether the run that it is of could store anything: a dry run stores nothing."""
    return DRY_RUN not in materialization.metadata


def latest_ids(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str] | None = None
) -> Mapping[str, int]:
    """The number of each partition's latest materialization, in one query; higher is later.

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
    """The latest materialization of each partition that is acceptable; partitions that have none are left out.

    Args:
        instance: Where materializations are recorded.
        asset: The asset.
        ids: What ``latest_ids`` gave for these partitions.
        accept: Which materializations count; by default all but those of dry runs.
        most_searched: How many materializations to look at where the latest are not acceptable; None for all.
    """
    latest = {
        key: materialization
        for key, materialization in _numbered(instance, asset, list(ids.values()))
        if key in ids and accept(materialization)
    }
    left = [key for key in ids if key not in latest]
    for start in range(0, len(left), PAGE):
        latest |= _searched(instance, asset, left[start : start + PAGE], accept, most_searched)
    return latest


def latest_of_asset(
    instance: dg.DagsterInstance, asset: dg.AssetKey, accept: Accept = stored
) -> dg.AssetMaterialization | None:
    """The latest acceptable materialization of an asset without partitions."""
    wanted = dg.AssetRecordsFilter(asset_key=asset)
    return next((found for _, found in _newest_first(instance, wanted, page=10) if accept(found)), None)


def _numbered(
    instance: dg.DagsterInstance, asset: dg.AssetKey, ids: Sequence[int]
) -> Iterator[tuple[str, dg.AssetMaterialization]]:
    for start in range(0, len(ids), PAGE):
        wanted = dg.AssetRecordsFilter(asset_key=asset, storage_ids=ids[start : start + PAGE])
        for key, materialization in _newest_first(instance, wanted, page=PAGE + 1):
            if key is not None:
                yield key, materialization


def _searched(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], accept: Accept, most: int | None
) -> dict[str, dg.AssetMaterialization]:
    """Further back than the latest of each: only where that one is not acceptable, such as that of a dry run."""
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=list(map(str, keys)))
    latest: dict[str, dg.AssetMaterialization] = {}
    for key, materialization in islice(_newest_first(instance, wanted, page=PAGE), most):
        if key is not None and key not in latest and accept(materialization):
            latest[key] = materialization
        if len(latest) == len(keys):
            break
    return latest


def _newest_first(
    instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter, page: int
) -> Iterator[tuple[str | None, dg.AssetMaterialization]]:
    cursor: str | None = None
    while True:
        found = instance.fetch_materializations(wanted, limit=page, cursor=cursor)
        for record in found.records:
            if record.asset_materialization is not None:
                yield record.partition_key, record.asset_materialization
        if not found.has_more:
            return
        cursor = found.cursor
