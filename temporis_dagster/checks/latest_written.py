"""The latest materialization of each partition of an asset, as far as a check looks back.

Comes in: an asset that writes, how far back to look. Goes out: materializations by partition.
Never: looks at more than ``MOST_PARTITIONS`` partitions, or at dry runs.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.checks.expectations import Writer
from temporis_dagster.event_log import latest_ids, latest_of_asset, latest_of_partitions

MOST_PARTITIONS = 2_000
"""How many partitions to look at, the ones that were written last."""


def latest_written(instance: dg.DagsterInstance, writer: Writer, since: float) -> Mapping[str, dg.AssetMaterialization]:
    """Return the latest materialization of each partition, under an empty key if the asset has no partitions.

    Args:
        instance: The Dagster instance that records materializations.
        writer: The asset that writes.
        since: Leave out time partitions that end before this Unix second.

    Returns:
        The materializations, in the order in which they were recorded.
    """
    ids = latest_ids(instance, writer.key)
    if not ids:
        latest = latest_of_asset(instance, writer.key)
        return {"": latest} if latest is not None else {}
    newest = dict(sorted(ids.items(), key=lambda one: one[1])[-MOST_PARTITIONS:])
    windows = writer.partitions_def
    if windows is not None:
        newest = {
            key: number
            for key, number in newest.items()
            if windows.has_partition_key(key) and windows.time_window_for_partition_key(key).end.timestamp() > since
        }
    found = latest_of_partitions(instance, writer.key, newest, most_searched=MOST_PARTITIONS)
    return {key: found[key] for key in newest if key in found}
