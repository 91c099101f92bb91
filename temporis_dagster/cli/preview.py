"""Preview: what of a file would be stored, and what about it looks odd.

Comes in: observations. Goes out: lines for a reader.
Never: refuses anything, or looks at the file again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan.within import own_spans
from temporis_dagster.wording import agreeing, counted

YEAR_S = 366 * 86_400
NO_DATE_BEFORE_S = -2_208_902_400
"""1900-01-02: programs write the first days of 1900, or of year 1, where there is no date."""

MANY_REPEATED, MANY_SERIES = 0.1, 100
SHOWN_SERIES, SHOWN_ROWS = 20, 5


def preview(observations: Observations) -> str:
    """Return the series, with the number, first and last of their observations, and the first rows."""
    timestamps, codes, names = observations.timestamps, observations.codes, observations.names
    if not len(timestamps):
        return "No observation would be stored."
    counts, (first, ends) = observations.counts, own_spans(observations)
    there = np.flatnonzero(counts).tolist()
    series = [["series", "observations", "first", "last"]]
    series += [[names[i], f"{counts[i]:,}", _moment(first[i]), _moment(ends[i] - 1)] for i in there[:SHOWN_SERIES]]
    lines = list(_columns(series))
    if len(there) > SHOWN_SERIES:
        lines.append(f"... and {len(there) - SHOWN_SERIES:,} more series")
    rows = [["timestamp", "series", "value"]]
    rows += [
        [_moment(timestamps[i]), names[codes[i]], repr(float(observations.values[i]))]
        for i in range(min(len(timestamps), SHOWN_ROWS))
    ]
    return "\n".join([*lines, "", *_columns(rows)])


def oddities(observations: Observations, now_s: float, *, numeric: bool) -> Iterator[str]:
    """Yield what about the observations is suspicious, with the option that may be missing.

    Rows that replace another value are none of it: the checks warn of those.

    Args:
        observations: What would be stored, or was.
        now_s: The current time, in Unix seconds.
        numeric: Whether the timestamps of the file are numbers, whose unit may be another one.
    """
    timestamps, total = observations.timestamps, observations.observations_in
    if not len(timestamps):
        return
    first, last = int(timestamps.min()), int(timestamps.max())
    if numeric and first > -YEAR_S and last < YEAR_S:
        yield (
            f"All timestamps lie close to 1970, from {_moment(first)} to {_moment(last)}. If they are not counted in"
            " seconds since 1970, pass --unit, or --timestamp-format."
        )
    zero = int((timestamps == 0).sum())
    if zero and last > YEAR_S:
        near = (np.abs(timestamps) < YEAR_S).sum()
        if near == zero:
            yield (
                f"{counted(zero, 'timestamp')} {agreeing(zero, 'is', 'are')} 1970-01-01T00:00:00Z, which may stand for"
                " no date."
            )
    if first < NO_DATE_BEFORE_S and last > 0:
        yield f"The first timestamp is {_moment(first)}. Such a date may stand for no date."
    if last > now_s + YEAR_S:
        yield f"The last timestamp, {_moment(last)}, is more than a year ahead."
    repeated = observations.superseded - observations.conflicts
    if repeated > MANY_REPEATED * total:
        yield (
            f"{repeated:,} of {counted(total, 'observation')} {agreeing(repeated, 'has', 'have')} the timestamp, series"
            " and value of a later row. If a column tells them apart, make it part of the names with --name"
            " '{COLUMN}__{column}', or pass it as another --timestamp if it is a part of the time."
        )
    series = len(np.unique(observations.codes))
    moments = len(np.unique(timestamps))
    if min(series, moments) >= MANY_SERIES and series > len(timestamps) // 2:
        yield (
            f"There are {series:,} series for {counted(len(timestamps), 'observation')} at {moments:,} moments."
            " Check that the column of --name holds names."
        )


def _moment(second: int | np.int64) -> str:
    return f"{np.datetime64(int(second), 's')}Z"


def _columns(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
