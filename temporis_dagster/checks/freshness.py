"""How old is the newest observation that an asset wrote: asked of its materializations, whatever the target.

Comes in: Dagster's event log, the time, and a mirror where rows of the asset wait in one. Goes out: a finding.
Never: asks the service, takes what only waits for stored, or a backfill of old data for the newest.
"""

from datetime import datetime, timedelta, timezone

import dagster as dg

from temporis_dagster.checks.expectations import FRESHNESS, Expectations, Writer
from temporis_dagster.checks.finding import Finding, could_not_ask
from temporis_dagster.checks.readings import newest_of
from temporis_dagster.checks.spacing import in_words
from temporis_dagster.data_source.target import PendingInfo
from temporis_dagster.errors import ReadNotSupportedError, TemporisError
from temporis_dagster.event_log import is_dry_run, metadata_of, moment_in, records_of
from temporis_dagster.metadata_keys import (
    AGE_S,
    LAST_OBSERVATION,
    LAST_PENDING_OBSERVATION,
    MAX_AGE,
    NEWEST_OBSERVATION,
)
from temporis_dagster.resource import TemporisResource

PAGE = 200
NEWEST_FIRST = "Materialize the newest partitions; if that is done, look upstream."
WAITING = "{} in the mirror: flush it (build_mirror_flush_schedule, DataSource.flush())."
REJECTED = "The mirror keeps {:,} that the service refused: DataSource.rejected_rows() has its words."
NOTHING_KNOWN = (
    "Not checked: the data source has no read-back, and no asset of this instance reports what it writes there. The "
    "check passes, because one that always fails tells nothing."
)


def find_age(
    instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, temporis: TemporisResource, now: float
) -> Finding:
    """Compare the age of the newest observation with the age that it may have.

    Args:
        instance: Where materializations are recorded.
        writer: The asset that writes, or the data source itself.
        expectations: What is expected; ``max_age`` is.
        temporis: The connection; asked only for what waits in its mirror, and for what a data source holds.
        now: Unix seconds.
    """
    fresh_from = now - (expectations.max_age or timedelta.max).total_seconds()
    if writer.external:
        return _age_of_source(instance, writer, expectations, temporis, now)
    newest = newest_observation(instance, writer.key, fresh_from)
    if newest is not None and newest >= fresh_from:
        return _finding(newest, expectations, now)
    # What waited when it was materialized may be delivered by now: only the mirror knows.
    waiting = newest_observation(instance, writer.key, fresh_from, pending=True)
    info = _pending(temporis, writer.data_source) if waiting is not None else None
    if waiting is not None and info is not None and not (info.rows or info.rejected):
        newest = max(waiting, newest or waiting)
    if newest is None:
        return Finding(
            passed=False,
            expected=expectations.descriptions[FRESHNESS].rstrip("."),
            found="No materialization says which observations it stored",
            what_to_do=_what_to_do(
                info, "Materialize the asset, and let it return its frame through TemporisIOManager."
            ),
            facts={MAX_AGE: dg.MetadataValue.text(in_words(expectations.max_age or timedelta.max))},
        )
    return _finding(newest, expectations, now, _what_to_do(info, NEWEST_FIRST))


def _finding(newest: float, expectations: Expectations, now: float, what_to_do: str = NEWEST_FIRST) -> Finding:
    max_age = expectations.max_age or timedelta.max
    age, passed = timedelta(seconds=max(int(now - newest), 0)), newest >= now - max_age.total_seconds()
    moment = datetime.fromtimestamp(newest, timezone.utc)
    return Finding(
        passed=passed,
        expected=expectations.descriptions[FRESHNESS].rstrip("."),
        found=f"The newest observation, of {moment.isoformat(timespec='seconds')}, is {in_words(age)} old",
        what_to_do="" if passed else what_to_do,
        facts={
            MAX_AGE: dg.MetadataValue.text(in_words(max_age)),
            NEWEST_OBSERVATION: dg.MetadataValue.timestamp(moment),
            AGE_S: dg.MetadataValue.float(round(now - newest, 3)),
        },
    )


def _pending(temporis: TemporisResource, data_source: str) -> PendingInfo | None:
    try:
        return temporis.data_source(data_source).pending()
    except TemporisError:  # no mirror any more, or one that cannot be opened: nothing is known to be delivered
        return None


def _what_to_do(info: PendingInfo | None, otherwise: str) -> str:
    if info is None:
        return otherwise
    waiting = "1 observation waits" if info.rows == 1 else f"{info.rows:,} observations wait"
    said = [WAITING.format(waiting) if info.rows else "", REJECTED.format(info.rejected) if info.rejected else ""]
    return " ".join(filter(None, said)) or otherwise


def _age_of_source(
    instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, temporis: TemporisResource, now: float
) -> Finding:
    """Of a data source itself: what it holds, or, where it cannot be read, what its writers report on its page."""
    expected = expectations.descriptions[FRESHNESS].rstrip(".")
    try:
        newest = newest_of(temporis, writer, expectations, now)
    except ReadNotSupportedError:
        reported = (
            _moment(record, LAST_OBSERVATION)
            for record in records_of(instance.fetch_observations, writer.key, page=PAGE)
        )
        newest = next((moment for moment in reported if moment is not None), None)
        if newest is None:
            found = "Nothing can be read"
            return Finding(passed=True, expected=expected, found=found, warning=NOTHING_KNOWN)
    except TemporisError as error:
        return could_not_ask(error, expected)
    if newest is None:
        length = in_words(max(expectations.horizon, expectations.max_age or expectations.horizon))
        found = f"There are no observations within the last {length}"
        return Finding(passed=False, expected=expected, found=found, what_to_do="Look upstream for what writes there.")
    return _finding(newest, expectations, now, "Look upstream for what writes there.")


def newest_observation(
    instance: dg.DagsterInstance, key: dg.AssetKey, fresh_from: float, *, pending: bool = False
) -> float | None:
    """The newest observation time (Unix seconds) that the asset's materializations say they stored, if any says so.

    A time ahead of its own materialization counts as that of the materialization: one row of the year 2099 must not
    make everything look fresh for ever. So no materialization can have stored anything newer than itself, and the
    search ends at the first one that is older than the newest observation found, or with one that is fresh enough.

    Args:
        instance: Where materializations are recorded.
        key: The asset.
        fresh_from: An observation of this Unix second is new enough to stop looking for a newer one.
        pending: Whether to look for what waited in a mirror instead; only as far back as that could be fresh.
    """
    newest: float | None = None
    for record in records_of(instance.fetch_materializations, key, page=PAGE):
        if newest is not None and (newest >= fresh_from or newest >= record.timestamp):
            break
        if pending and record.timestamp < fresh_from:
            break
        said = _moment(record, LAST_PENDING_OBSERVATION if pending else LAST_OBSERVATION)
        if said is not None:
            stored = min(said, record.timestamp)
            newest = stored if newest is None else max(newest, stored)
    return newest


def _moment(record: dg.EventLogRecord, key: str) -> float | None:
    """The moment that an event states under a key; None where its run stored nothing."""
    metadata = metadata_of(record)
    return None if is_dry_run(metadata) else moment_in(metadata, key)
