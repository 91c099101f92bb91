"""Gaps, missing series and bounds: what was expected of an asset's observations, and what they are.

Comes in: observations, or the reason why there are none to be had; expectations. Goes out: findings.
Never: reads.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import dagster as dg

from temporis_dagster.asset_options import OwnSeries
from temporis_dagster.checks.expectations import BOUNDS, GAPS, PRESENCE, Expectations, in_words, listed
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.checks.observed import Observed
from temporis_dagster.checks.readings import Reading
from temporis_dagster.errors import ReadNotSupportedError, TemporisError
from temporis_dagster.failures import SHOWN_ROWS, offending_rows

NO_READ_BACK = (
    "Not checked: the data source has no read-back, so nobody can look at what is stored. The check passes, because "
    "one that always fails tells nothing. The age of the newest observation can be checked all the same: max_age."
)


def find_in(reading: Reading, check: str, series: OwnSeries, expectations: Expectations) -> Finding:
    """What one check finds.

    Args:
        reading: What the data source gave, or the error it gave instead.
        check: Which check.
        series: The asset's own series.
        expectations: What is expected.
    """
    seen, facts = reading.seen, reading.facts
    expected = expectations.descriptions[check].rstrip(".")
    if isinstance(seen, ReadNotSupportedError):
        return Finding(passed=True, expected=expected, found="Nothing can be read", warning=NO_READ_BACK, facts=facts)
    if isinstance(seen, TemporisError):
        return could_not_ask(seen, expected, facts)
    own = seen.of(series)
    looked_at = {
        "temporis/observations": dg.MetadataValue.int(len(own)),
        "temporis/horizon": dg.MetadataValue.text(in_words(expectations.horizon)),
    }
    return FINDERS[check](own, expectations, expected, {**facts, **looked_at})


def _gaps(seen: Observed, expectations: Expectations, expected: str, facts: Facts) -> Finding:
    gaps = seen.gaps((expectations.expected_interval or timedelta.max).total_seconds())
    return Finding(
        passed=gaps.empty,
        expected=expected,
        found=f"{len(gaps):,} gaps in {len(seen):,} observations of {len(seen.names):,} series{_within(expectations)}",
        what_to_do="" if gaps.empty else "Backfill the partitions of these times, or look upstream for the missing.",
        warning=_nothing_seen(seen, expectations),
        facts={**facts, **offending_rows("gap", gaps)},
    )


def _missing(seen: Observed, expectations: Expectations, expected: str, facts: Facts) -> Finding:
    missing = _unseen(expectations.expected_series, seen)
    return Finding(
        passed=not missing,
        expected=expected,
        found=(f"No observations of {listed(missing)}" if missing else "All of them are there") + _within(expectations),
        what_to_do="Look upstream for them; if they ended, expect them no longer." if missing else "",
        facts={
            **facts,
            **({"temporis/missing_series": dg.MetadataValue.json(missing[:SHOWN_ROWS])} if missing else {}),
        },
    )


def _outside(seen: Observed, expectations: Expectations, expected: str, facts: Facts) -> Finding:
    outside = seen.outside(expectations.bounds)
    unseen = _unseen(expectations.bounds, seen)
    return Finding(
        passed=outside.empty,
        expected=expected,
        found=f"{len(outside):,} values out of bounds{_within(expectations)}",
        what_to_do="" if outside.empty else "Correct them upstream and materialize again, or widen the bounds.",
        warning=f"Nothing was seen of {listed(unseen)}{_within(expectations)}." if unseen else "",
        facts={**facts, **offending_rows("out_of_bounds", outside)},
    )


def _unseen(names: Iterable[str], seen: Observed) -> list[str]:
    present = set(seen.names)
    return [name for name in names if name not in present]


def _within(expectations: Expectations) -> str:
    return f" within the last {in_words(expectations.horizon)}"


def _nothing_seen(seen: Observed, expectations: Expectations) -> str:
    return "" if len(seen) else f"There are no observations{_within(expectations)}, so there are no gaps between any."


FINDERS: Mapping[str, Callable[[Observed, Expectations, str, Facts], Finding]] = {
    GAPS: _gaps,
    PRESENCE: _missing,
    BOUNDS: _outside,
}
"""The checks that look at observations."""
