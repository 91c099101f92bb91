"""How old is the newest observation that an asset wrote: asked of its materializations, whatever the target.

Comes in: Dagster's event log, and the time. Goes out: a finding.
Never: asks the data source (the API has no read-back), or mistakes a backfill of old data for the newest.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg

from temporis_dagster.checks.expectations import FRESHNESS, Expectations, in_words
from temporis_dagster.checks.finding import Finding
from temporis_dagster.materialization import DRY_RUN, LAST_OBSERVATION

PAGE = 200


def find_age(instance: dg.DagsterInstance, key: dg.AssetKey, expectations: Expectations, now: float) -> Finding:
    """Compare the age of the newest observation with the age that it may have.

    Args:
        instance: Where materializations are recorded.
        key: The asset that writes.
        expectations: What is expected; ``max_age`` is.
        now: Unix seconds.
    """
    max_age = expectations.max_age or timedelta.max
    newest = newest_observation(instance, key, fresh_from=now - max_age.total_seconds())
    expected = expectations.descriptions[FRESHNESS].rstrip(".")
    facts = {"temporis/max_age": dg.MetadataValue.text(in_words(max_age))}
    if newest is None:
        return Finding(
            passed=False,
            expected=expected,
            found="No materialization says which observations it stored",
            what_to_do="Materialize the asset, and let it return its frame through TemporisIOManager.",
            facts=facts,
        )
    age, passed = timedelta(seconds=max(int(now - newest), 0)), newest >= now - max_age.total_seconds()
    moment = datetime.fromtimestamp(newest, timezone.utc)
    return Finding(
        passed=passed,
        expected=expected,
        found=f"The newest observation, of {moment.isoformat(timespec='seconds')}, is {in_words(age)} old",
        what_to_do="" if passed else "Materialize the newest partitions; if that is done, look upstream.",
        facts={
            **facts,
            "temporis/newest_observation": dg.MetadataValue.timestamp(moment),
            "temporis/age_s": dg.MetadataValue.float(round(now - newest, 3)),
        },
    )


def newest_observation(instance: dg.DagsterInstance, key: dg.AssetKey, fresh_from: float) -> float | None:
    """The newest observation time (Unix seconds) that the asset's materializations say they stored, if any says so.

    A time ahead of its own materialization counts as that of the materialization: one row of the year 2099 must not
    make everything look fresh for ever. So no materialization can have stored anything newer than itself, and the
    search ends at the first one that is older than the newest observation found, or with one that is fresh enough.

    Args:
        instance: Where materializations are recorded.
        key: The asset.
        fresh_from: An observation of this Unix second is new enough to stop looking for a newer one.
    """
    newest: float | None = None
    for record in _newest_first(instance, key):
        if newest is not None and (newest >= fresh_from or newest >= record.timestamp):
            break
        said = _last_observation(record)
        if said is not None:
            stored = min(said, record.timestamp)
            newest = stored if newest is None else max(newest, stored)
    return newest


def _newest_first(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    cursor: str | None = None
    while True:
        found = instance.fetch_materializations(key, limit=PAGE, cursor=cursor)
        yield from found.records
        if not found.has_more:
            return
        cursor = found.cursor


def _last_observation(record: dg.EventLogRecord) -> float | None:
    """What a materialization says; nothing where it stored nothing."""
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    dry_run, last = metadata.get(DRY_RUN), metadata.get(LAST_OBSERVATION)
    if not isinstance(last, dg.TimestampMetadataValue) or (dry_run is not None and dry_run.value):
        return None
    return last.value
