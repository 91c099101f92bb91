"""What the checks of one step look at: one read of their data source.

Comes in: which checks of which assets. Goes out: observations, or the error that came instead.
Never: reads beyond the horizon, or observation times that are still to come.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from temporis_dagster.checks.expectations import GAPS, Expectations, Writer
from temporis_dagster.checks.finding import Facts
from temporis_dagster.checks.series_data import Observed, observed
from temporis_dagster.errors import TemporisError
from temporis_dagster.event_metadata import place
from temporis_dagster.resource import TemporisResource


@dataclass(frozen=True)
class Question:
    """One check of one asset.

    Attributes:
        check: The name of the check.
        writer: The asset.
    """

    check: str
    writer: Writer


@dataclass(frozen=True)
class Reading:
    """What a data source gave.

    Attributes:
        seen: Its observations within the horizon, or the error that came instead.
        facts: Where it is, as metadata.
        now: When it was read, in Unix seconds.
    """

    seen: Observed | TemporisError
    facts: Facts
    now: float


def read_for(
    questions: Iterable[Question],
    temporis: TemporisResource,
    data_source: str,
    expectations: Expectations,
    now: float,
) -> Reading:
    """Read the data source once, and no more series of it than need be.

    Args:
        questions: The checks that look at observations.
        temporis: The connection.
        data_source: Its name.
        expectations: What is expected.
        now: Unix seconds.
    """
    start, end = math.ceil(now - expectations.horizon.total_seconds()), math.floor(now) + 1
    facts: Facts = {}
    try:
        source = temporis.data_source(data_source)
        facts = place(source)
        return Reading(observed(source.read(start, end, _names(questions, expectations))), facts, now)
    except TemporisError as error:
        return Reading(error, facts, now)


def newest_of(temporis: TemporisResource, writer: Writer, expectations: Expectations, now: float) -> float | None:
    """The newest observation that a data source holds of some series, in Unix seconds, if there is one.

    Args:
        temporis: The connection.
        writer: Which data source, and which series.
        expectations: How far back it may be.
        now: Unix seconds.

    Raises:
        TemporisError: It cannot be read.
    """
    length = max(expectations.horizon, expectations.max_age or expectations.horizon)
    start, end = math.ceil(now - length.total_seconds()), math.floor(now) + 1
    names = writer.series.names
    found = temporis.data_source(writer.data_source).read(start, end, None if names is None else list(names))
    own = found[[name in writer.series for name in found["name"]]] if names is None and writer.series.prefix else found
    return None if own.empty else own["timestamp"].max().timestamp()


def _names(questions: Iterable[Question], expectations: Expectations) -> list[str] | None:
    """The series that matter to any of the questions; None for all."""
    wanted: set[str] = set()
    for question in questions:
        names = question.writer.series.names if question.check == GAPS else expectations.named
        if names is None:
            return None
        wanted.update(names)
    return sorted(wanted)
