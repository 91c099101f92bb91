"""What a run left in Dagster's event log, so that ways to write can be compared with each other.

Comes in: an instance, an asset. Goes out: its materializations and observations, and those of its data source.
Never: keeps what differs from run to run: durations, places, ids.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

DIFFERENT_EVERY_TIME = {"temporis/duration_s", "dagster/uri"}
VERSION = "dagster/data_version"

Recorded = list[tuple[str | None, dict[str, object], str | None]]


def recorded_events(
    instance: dg.DagsterInstance, asset: str, data_source: str = "store_metrics"
) -> Mapping[str, Recorded]:
    """Return partition, metadata and data version of each event, oldest first.

    Materializations of one run come in any order: Dagster takes the order from the run.
    """
    own, page = dg.AssetKey(asset), dg.AssetKey(["temporis", data_source])
    materialized = instance.fetch_materializations(own, limit=1_000, ascending=True).records
    observed = instance.fetch_observations(own, limit=1_000, ascending=True).records
    seen = instance.fetch_observations(page, limit=1_000, ascending=True).records
    return {
        "materializations": [_plain(record.asset_materialization) for record in materialized],
        "observations": [_plain(record.asset_observation) for record in observed],
        "page": [_plain(record.asset_observation) for record in seen],
    }


def _plain(event: Any) -> tuple[str | None, dict[str, object], str | None]:
    kept = {key: (type(entry).__name__, entry.value) for key, entry in event.metadata.items()}
    metadata = {key: value for key, value in kept.items() if key not in DIFFERENT_EVERY_TIME}
    assert set(kept) - set(metadata) in ({*DIFFERENT_EVERY_TIME}, {"dagster/uri"}, {"temporis/duration_s"}, set())
    return event.partition, metadata, (event.tags or {}).get(VERSION)
