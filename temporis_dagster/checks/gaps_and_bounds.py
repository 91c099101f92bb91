"""Gaps, missing series and bounds: what was expected of an asset's observations, and what they are.

Comes in: observations, or the reason why there are none to be had; expectations. Goes out: findings.
Never: reads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import dagster as dg

from temporis_dagster.checks.expectations import BOUNDS, GAPS, LATE_S, PRESENCE, Expectations, Writer, listed
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.checks.readings import Reading
from temporis_dagster.checks.series_data import Observed
from temporis_dagster.checks.spacing import Spacing, in_words
from temporis_dagster.dagster_failures import SHOWN_ROWS, offending_rows
from temporis_dagster.errors import ReadNotSupportedError, TemporisError
from temporis_dagster.metadata_keys import HORIZON, MISSING_SERIES, OBSERVATIONS

NO_READ_BACK = (
    "Not checked: the data source has no read-back, so nobody can look at what is stored. The check passes, because "
    "one that always fails tells nothing. The age of the newest observation can be checked all the same: max_age."
)


def find_in(reading: Reading, check: str, writer: Writer, expectations: Expectations) -> Finding:
    """What one check finds.

    Args:
        reading: What the data source gave, or the error it gave instead.
        check: Which check.
        writer: The asset.
        expectations: What is expected.
    """
    seen, facts = reading.seen, reading.facts
    expected = expectations.descriptions_for(writer.zone)[check].rstrip(".")
    if isinstance(seen, ReadNotSupportedError):
        return Finding(passed=True, expected=expected, found="Nothing can be read", warning=NO_READ_BACK, facts=facts)
    if isinstance(seen, TemporisError):
        return could_not_ask(seen, expected, facts)
    own = seen.of(writer.series)
    looked_at = {
        OBSERVATIONS: dg.MetadataValue.int(len(own)),
        HORIZON: dg.MetadataValue.text(in_words(expectations.horizon)),
    }
    asked = Asked(own, expectations, expected, {**facts, **looked_at}, writer, reading.now)
    return _with_age(FINDERS[check](asked), asked)


@dataclass(frozen=True)
class Asked:
    """What a check is about.

    Attributes:
        seen: The asset's own observations within the horizon.
        expectations: What is expected.
        expected: The same in words.
        facts: What was looked at, as metadata.
        writer: The asset.
        now: Unix seconds.
    """

    seen: Observed
    expectations: Expectations
    expected: str
    facts: Facts
    writer: Writer
    now: float


def _gaps(asked: Asked) -> Finding:
    seen, expectations = asked.seen, asked.expectations
    due = asked.writer.due(asked.now)
    gaps = seen.gaps(expectations.spacing(asked.writer.zone) or Spacing(), due)
    overdue = not len(seen) and due is not None and due > asked.now - expectations.horizon.total_seconds()
    count = f"{len(gaps):,} gap{'' if len(gaps) == 1 else 's'}"
    return Finding(
        passed=gaps.empty and not overdue,
        expected=asked.expected,
        found=f"No observations{_within(expectations)}, although partitions were due"
        if overdue
        else f"{count} in {len(seen):,} observations of {len(seen.names):,} series{_within(expectations)}",
        what_to_do="Backfill the partitions of these times, or look upstream for the missing."
        if overdue or not gaps.empty
        else "",
        warning="" if overdue else _nothing_seen(seen, expectations),
        facts={**asked.facts, **offending_rows("gap", gaps)},
    )


def _missing(asked: Asked) -> Finding:
    seen, expectations = asked.seen, asked.expectations
    missing = _unseen(expectations.expected_series, seen)
    return Finding(
        passed=not missing,
        expected=asked.expected,
        found=(f"No observations of {listed(missing)}" if missing else "All of them are there") + _within(expectations),
        what_to_do="Look upstream for them; if they ended, expect them no longer." if missing else "",
        facts={
            **asked.facts,
            **({MISSING_SERIES: dg.MetadataValue.json(missing[:SHOWN_ROWS])} if missing else {}),
        },
    )


def _outside(asked: Asked) -> Finding:
    seen, expectations = asked.seen, asked.expectations
    outside = seen.outside(expectations.bounds)
    unseen = _unseen(expectations.bounds, seen)
    return Finding(
        passed=outside.empty,
        expected=asked.expected,
        found=f"{len(outside):,} value{'' if len(outside) == 1 else 's'} out of bounds{_within(expectations)}",
        what_to_do="" if outside.empty else "Correct them upstream and materialize again, or widen the bounds.",
        warning=f"Nothing was seen of {listed(unseen)}{_within(expectations)}." if unseen else "",
        facts={**asked.facts, **offending_rows("out_of_bounds", outside)},
    )


def _with_age(finding: Finding, asked: Asked) -> Finding:
    """Say that the newest observation is old, where no freshness check does: what is right may be long over."""
    if asked.expectations.max_age is not None or not len(asked.seen):
        return finding
    age = timedelta(seconds=int(asked.now - asked.seen.timestamps.max()))
    if age.total_seconds() <= LATE_S:
        return finding
    old = f"The newest of the observations is {in_words(age)} old; max_age makes a check of that."
    return replace(finding, warning=" ".join(filter(None, (finding.warning, old))))


def _unseen(names: Iterable[str], seen: Observed) -> list[str]:
    present = set(seen.names)
    return [name for name in names if name not in present]


def _within(expectations: Expectations) -> str:
    return f" within the last {in_words(expectations.horizon)}"


def _nothing_seen(seen: Observed, expectations: Expectations) -> str:
    return "" if len(seen) else f"There are no observations{_within(expectations)}, so there are no gaps between any."


FINDERS: Mapping[str, Callable[[Asked], Finding]] = {
    GAPS: _gaps,
    PRESENCE: _missing,
    BOUNDS: _outside,
}
"""The checks that look at observations."""
