"""The pending check: how long observations have been waiting in the mirror.

Comes in: a resource, an expectation, the time. Goes out: a finding.
Never: asks the service, or fails because rows wait for a moment.
"""

from datetime import timedelta

import dagster as dg

from temporis_dagster.checks.expectations import PENDING, Expectations
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.checks.spacing import in_words
from temporis_dagster.data_source.target import PendingInfo
from temporis_dagster.data_source_page import place
from temporis_dagster.errors import NotSupportedError, TemporisError
from temporis_dagster.metadata_keys import LAST_ERROR, MAX_PENDING_AGE_S, OLDEST_PENDING, count_key
from temporis_dagster.metadata_values import printable
from temporis_dagster.resource import TemporisResource
from temporis_dagster.wording import agreeing, counted

NO_MIRROR = "Not checked: the resource has no mirror, so what was not delivered is unknown."
REJECTED = (
    "The mirror keeps {} that the service rejected; DataSource.rejected_rows() lists them with the reasons. Correct "
    "them and write them again. Use DataSource.discard_rejected() only for rows that are not needed."
)
REMEDY = (
    "Fix the cause that temporis/last_error names, then flush with build_mirror_flush_schedule or DataSource.flush(). "
    "Use DataSource.discard_pending() only for rows that must never be delivered."
)


def find_pending(temporis: TemporisResource, data_source: str, expectations: Expectations, now: float) -> Finding:
    """Compare how long the oldest pending observation has been waiting with ``max_pending_age``.

    Args:
        temporis: The resource.
        data_source: The name of the data source.
        expectations: What is expected; ``max_pending_age`` is set.
        now: The time, in Unix seconds.
    """
    expected = expectations.descriptions[PENDING].rstrip(".")
    facts: Facts = {}
    try:
        source = temporis.data_source(data_source)
        facts = place(source)
        info = source.pending()
    except NotSupportedError:
        return Finding(passed=True, expected=expected, found="There is no mirror", warning=NO_MIRROR, facts=facts)
    except TemporisError as error:
        return could_not_ask(error, expected, facts)
    max_age_s = (expectations.max_pending_age or timedelta.max).total_seconds()
    age_s = max(now - info.oldest.timestamp(), 0.0) if info.oldest else 0.0
    passed = age_s <= max_age_s
    waiting = f"{counted(info.rows, 'observation')} {agreeing(info.rows, 'waits', 'wait')} in the mirror"
    return Finding(
        passed=passed,
        expected=expected,
        found=f"{waiting}, the oldest for {in_words(timedelta(seconds=int(age_s)))}" if info.oldest else waiting,
        what_to_do="" if passed else REMEDY,
        warning=REJECTED.format(counted(info.rejected, "observation")) if info.rejected else "",
        facts={**facts, **_figures(info), MAX_PENDING_AGE_S: dg.MetadataValue.float(max_age_s)},
    )


def _figures(info: PendingInfo) -> Facts:
    return {
        count_key("pending"): dg.MetadataValue.int(info.rows),
        count_key("rejected"): dg.MetadataValue.int(info.rejected),
        **({OLDEST_PENDING: dg.MetadataValue.timestamp(info.oldest)} if info.oldest else {}),
        **({LAST_ERROR: dg.MetadataValue.text(printable(info.last_error))} if info.last_error else {}),
    }
