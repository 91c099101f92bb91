"""The freshness check: how old the newest observation is that an asset wrote, according to its materializations.

Comes in: Dagster's event log, the time, and the mirror if rows of the asset wait in one. Goes out: a finding.
Never: asks the service, or counts as stored what only waits in a mirror. A backfill of old data changes nothing.
"""

from datetime import datetime, timedelta, timezone

import dagster as dg

from temporis_dagster.checks.expectations import FRESHNESS, Expectations, Writer
from temporis_dagster.checks.finding import Finding, could_not_ask
from temporis_dagster.checks.series_data import newest_of
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
from temporis_dagster.wording import agreeing, counted

PAGE = 200
NEWEST_FIRST = "Materialize the newest partitions. If they are already materialized, look for the cause upstream."
LOOK_UPSTREAM = "Look for the cause in what writes to this data source."
WAITING = "{} in the mirror. Flush it with build_mirror_flush_schedule or DataSource.flush()."
REJECTED = "The mirror keeps {} that the service rejected; DataSource.rejected_rows() lists them with the reasons."
NOTHING_KNOWN = (
    "Not checked: the data source has no read-back, and no asset of this Dagster instance reports what it writes "
    "there. The check passes, because one that always fails is of no use."
)


def find_age(
    instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, temporis: TemporisResource, now: float
) -> Finding:
    """Compare the age of the newest observation with ``max_age``.

    Args:
        instance: The Dagster instance that records materializations.
        writer: The asset that writes, or the external asset of the data source.
        expectations: What is expected; ``max_age`` is set.
        temporis: The resource. Only its mirror is asked, or, for an external asset, the data source.
        now: The time, in Unix seconds.
    """
    fresh_from = now - (expectations.max_age or timedelta.max).total_seconds()
    if writer.external:
        return _age_of_source(instance, writer, expectations, temporis, now)
    newest = newest_observation(instance, writer.key, fresh_from)
    if newest is not None and newest >= fresh_from:
        return _finding(newest, expectations, now)
    # Observations that waited in the mirror when they were materialized may be delivered by now. Only the mirror knows.
    waiting = newest_observation(instance, writer.key, fresh_from, pending=True)
    info = _pending(temporis, writer.data_source) if waiting is not None else None
    if waiting is not None and info is not None and not (info.rows or info.rejected):
        newest = max(waiting, newest or waiting)
    if newest is None:
        return Finding(
            passed=False,
            expected=expectations.descriptions[FRESHNESS].rstrip("."),
            found="No materialization states which observations it stored",
            what_to_do=_what_to_do(
                info, "Materialize the asset, and have it return its frame through TemporisIOManager."
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
        found=f"The newest observation ({moment.isoformat(timespec='seconds')}) is {in_words(age)} old",
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
    except TemporisError:  # the mirror is gone or cannot be opened, so nothing is known to be delivered
        return None


def _what_to_do(info: PendingInfo | None, otherwise: str) -> str:
    if info is None:
        return otherwise
    waiting = f"{counted(info.rows, 'observation')} {agreeing(info.rows, 'waits', 'wait')}"
    rejected = counted(info.rejected, "observation")
    parts = [WAITING.format(waiting) if info.rows else "", REJECTED.format(rejected) if info.rejected else ""]
    return " ".join(filter(None, parts)) or otherwise


def _age_of_source(
    instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, temporis: TemporisResource, now: float
) -> Finding:
    """Check the data source itself: what it stores or, if it cannot be read, what its writers report on its page."""
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
        return Finding(passed=False, expected=expected, found=found, what_to_do=LOOK_UPSTREAM)
    return _finding(newest, expectations, now, LOOK_UPSTREAM)


def newest_observation(
    instance: dg.DagsterInstance, key: dg.AssetKey, fresh_from: float, *, pending: bool = False
) -> float | None:
    """Return the newest observation time that the asset's materializations report as stored, in Unix seconds.

    An observation time later than its materialization counts as the time of the materialization: one row of the year
    2099 must not make the asset look fresh forever. So no materialization stored anything newer than itself, and the
    search ends at the first one that is older than the newest observation found, or as soon as that is fresh enough.

    Args:
        instance: The Dagster instance that records materializations.
        key: The asset.
        fresh_from: From this Unix second on, an observation is recent enough to end the search.
        pending: Whether to look for observations that waited in a mirror instead. The search then ends at the first
            materialization before ``fresh_from``.

    Returns:
        The observation time, or None if no materialization reports one.
    """
    newest: float | None = None
    for record in records_of(instance.fetch_materializations, key, page=PAGE):
        if newest is not None and (newest >= fresh_from or newest >= record.timestamp):
            break
        if pending and record.timestamp < fresh_from:
            break
        reported = _moment(record, LAST_PENDING_OBSERVATION if pending else LAST_OBSERVATION)
        if reported is not None:
            stored = min(reported, record.timestamp)
            newest = stored if newest is None else max(newest, stored)
    return newest


def _moment(record: dg.EventLogRecord, key: str) -> float | None:
    """Return the time that an event states under a key; None if it was a dry run, which stored nothing."""
    metadata = metadata_of(record)
    return None if is_dry_run(metadata) else moment_in(metadata, key)
