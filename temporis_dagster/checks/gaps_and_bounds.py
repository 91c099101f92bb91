"""The checks that look at stored observations: gaps, missing series and bounds.

Comes in: the observations of a data source, or the error that the read raised; expectations. Goes out: findings.
Never: reads a data source.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import dagster as dg

from temporis_dagster.checks.expectations import BOUNDS, GAPS, LATE_S, PRESENCE, Expectations, Writer
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.checks.series_data import Reading, SeriesData
from temporis_dagster.checks.spacing import in_words
from temporis_dagster.dagster_failures import offending_rows
from temporis_dagster.errors import ReadNotSupportedError, TemporisError
from temporis_dagster.metadata_keys import HORIZON, MISSING_SERIES, OBSERVATIONS
from temporis_dagster.metadata_values import SHOWN_ROWS
from temporis_dagster.wording import counted, listed

NO_READ_BACK = (
    "Not checked: the data source has no read-back, so what it stores cannot be examined. The check passes, because "
    "one that always fails is of no use. The age of the newest observation can still be checked: use max_age."
)


def find_in(reading: Reading, check: str, writer: Writer, expectations: Expectations) -> Finding:
    """Return the finding of one check.

    Args:
        reading: The observations of the data source, or the error that the read raised.
        check: The name of the check.
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
    given = CheckInput(own, expectations, expected, {**facts, **looked_at}, writer, reading.now)
    return _with_age(FINDERS[check](given), given)


@dataclass(frozen=True)
class CheckInput:
    """What one check is given.

    Attributes:
        seen: The observations of the asset's own series within the horizon.
        expectations: What is expected.
        expected: What this check expects, in words.
        facts: What was looked at, as metadata.
        writer: The asset.
        now: The time, in Unix seconds.
    """

    seen: SeriesData
    expectations: Expectations
    expected: str
    facts: Facts
    writer: Writer
    now: float


def _gaps(given: CheckInput) -> Finding:
    seen, expectations = given.seen, given.expectations
    due = given.writer.due(given.now)
    gaps = seen.gaps(expectations.spacings(seen.names, given.writer.zone), due)
    overdue = not len(seen) and due is not None and due > given.now - expectations.horizon.total_seconds()
    in_all = f"{counted(len(seen), 'observation')} of {counted(len(seen.names), 'series')}"
    return Finding(
        passed=gaps.empty and not overdue,
        expected=given.expected,
        found=f"No observations{_within(expectations)}, although partitions were due"
        if overdue
        else f"{counted(len(gaps), 'gap')} in {in_all}{_within(expectations)}",
        what_to_do="Backfill the partitions of these times, or find out upstream why the observations are missing."
        if overdue or not gaps.empty
        else "",
        warning="" if overdue else _nothing_seen(seen, expectations),
        facts={**given.facts, **offending_rows("gap", gaps)},
    )


def _missing(given: CheckInput) -> Finding:
    seen, expectations = given.seen, given.expectations
    missing = _unseen(expectations.must_exist, seen)
    return Finding(
        passed=not missing,
        expected=given.expected,
        found=(f"No observations of {listed(missing)}" if missing else "All expected series have observations")
        + _within(expectations),
        what_to_do="Find out upstream why they are missing. If a series has ended, no longer expect it."
        if missing
        else "",
        facts={
            **given.facts,
            **({MISSING_SERIES: dg.MetadataValue.json(missing[:SHOWN_ROWS])} if missing else {}),
        },
    )


def _outside(given: CheckInput) -> Finding:
    seen, expectations = given.seen, given.expectations
    outside = seen.outside({name: expectations.bounds_of(name) for name in seen.names})
    unseen = _unseen(expectations.bounded, seen)
    return Finding(
        passed=outside.empty,
        expected=given.expected,
        found=f"{counted(len(outside), 'value')} out of bounds{_within(expectations)}",
        what_to_do="" if outside.empty else "Correct the values upstream and materialize again, or widen the bounds.",
        warning=f"There are no observations of {listed(unseen)}{_within(expectations)}." if unseen else "",
        facts={**given.facts, **offending_rows("out_of_bounds", outside)},
    )


def _with_age(finding: Finding, given: CheckInput) -> Finding:
    """Warn that the newest observation is old, unless a freshness check does: the data may have ended long ago."""
    if given.expectations.max_age is not None or not len(given.seen):
        return finding
    age = timedelta(seconds=int(given.now - given.seen.timestamps.max()))
    if age.total_seconds() <= LATE_S:
        return finding
    old = f"The newest observation is {in_words(age)} old; use max_age to check that."
    return replace(finding, warning=" ".join(filter(None, (finding.warning, old))))


def _unseen(names: Iterable[str], seen: SeriesData) -> list[str]:
    present = set(seen.names)
    return [name for name in names if name not in present]


def _within(expectations: Expectations) -> str:
    return f" within the last {in_words(expectations.horizon)}"


def _nothing_seen(seen: SeriesData, expectations: Expectations) -> str:
    return "" if len(seen) else f"There are no observations{_within(expectations)}, so there can be no gaps."


FINDERS: Mapping[str, Callable[[CheckInput], Finding]] = {
    GAPS: _gaps,
    PRESENCE: _missing,
    BOUNDS: _outside,
}
"""The checks that look at stored observations, by name."""
