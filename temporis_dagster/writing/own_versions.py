"""Data versions of the single partitions of a range, reported once their materializations are recorded.

Dagster gives all the materializations of one step the same data version. In a run over a range of partitions, that is
the version of the whole range, which is another one as soon as the range moves on by a day. So such a run also reports
an observation for each partition, with the version of that partition alone. It has to come after the materialization,
because the latest event is the one that counts for ``AutomationCondition.data_version_changed()``.

Comes in: versions. Goes out: observations of partitions; the version that an asset has now.
Never: makes a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from temporis_dagster.dagster_keys import DATA_VERSION
from temporis_dagster.event_log import latest_ids, latest_of_asset, latest_of_partitions, records_by_id
from temporis_dagster.writing.versions import Versions

MOST_TOLD_APART = 100
"""How many partitions of one run get versions of their own: each takes Dagster about as long as a materialization."""

OF_ITS_OWN = "The data version of this partition. Its materialization has that of all the partitions of the run."


@dataclass(frozen=True)
class OwnVersions:
    """Versions that the partitions of a range are to get once Dagster has recorded their materializations.

    Attributes:
        instance: Where they are recorded.
        run_id: The run that wrote them.
        asset: The asset.
        versions: The versions.
    """

    instance: dg.DagsterInstance
    run_id: str
    asset: dg.AssetKey
    versions: Versions

    def report(self) -> None:
        """Report an observation for each partition whose latest materialization is still that of this run."""
        ids = latest_ids(self.instance, self.asset, list(self.versions.by_partition))
        records = records_by_id(self.instance, self.asset, list(ids.values()))
        for record in sorted(records, key=lambda record: record.storage_id):
            materialization, key = record.asset_materialization, record.partition_key
            if materialization is None or key is None or record.run_id != self.run_id:
                continue
            if (materialization.tags or {}).get(DATA_VERSION) == self.versions.whole:  # else the asset set its own
                observation = dg.AssetObservation(
                    self.asset,
                    partition=key,
                    description=OF_ITS_OWN,
                    tags={DATA_VERSION: self.versions.by_partition[key]},
                )
                self.instance.report_runless_asset_event(observation)


def latest_version(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str] | None) -> str | None:
    """Return the version that an asset without windows has now.

    Args:
        instance: Where materializations are recorded.
        asset: The asset.
        keys: Its partitions; None if it has none. Several have no version in common.
    """
    latest: Sequence[dg.AssetMaterialization | None] = []
    if keys is None:
        latest = [latest_of_asset(instance, asset)]
    elif len(keys) == 1:
        latest = list(latest_of_partitions(instance, asset, latest_ids(instance, asset, keys)).values())
    return next(((one.tags or {}).get(DATA_VERSION) for one in latest if one is not None), None)
