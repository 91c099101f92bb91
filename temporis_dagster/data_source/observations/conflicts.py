"""Conflicts: rows with the same (timestamp, name) but different values, of which only the last one is kept.

Comes in: observations, and the rows that they superseded. Goes out: a warning, or the error that names the rows.
Never: keeps silent about a value that will not be stored, or complains about rows that are repeated unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.faults import NOTHING_SENT, objects
from temporis_dagster.data_source.observations.layout import INDEX
from temporis_dagster.data_source.observations.model import Observations, Superseded
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted, shown

LOGGER = logging.getLogger(__name__)


def settle_conflicts(
    observations: Observations,
    options: ObservationOptions,
    *,
    data_source: str | None = None,
    warn: Callable[..., object] = LOGGER.warning,
    unsent: str = NOTHING_SENT,
) -> None:
    """Warn of conflicts or refuse them, according to the options. Do nothing if there are none.

    Args:
        observations: The observations, with those that were superseded.
        options: How the frame was read.
        data_source: The data source that they are for, named in the message.
        warn: Receives the warning: a logger's method.
        unsent: What was not sent, as a clause, if they are refused.

    Raises:
        InvalidObservationsError: There are conflicts, and ``on_conflict="raise"``; or the rows seem to belong to
            different series that would become one, and the options require an explicit choice then (``MAY_MERGE``).
    """
    superseded, count = observations.superseded_rows, observations.conflicts
    if superseded is None or not count:
        return
    if options.on_conflict == "last" and (options.MAY_MERGE or superseded.told_apart_by is None):
        warn(
            "%s, so only the last row of each key was kept. The first is %s.%s %s Pass %s to refuse such rows.",
            *(_shares(observations, data_source), _first_in_words(superseded), _told_apart(superseded, options)),
            *(options.LIST_OF_SUPERSEDED, options.spelled("on_conflict", "raise")),
        )
        return
    first, apart = _first_in_words(superseded), _told_apart(superseded, options)
    raise InvalidObservationsError(
        f"{_shares(observations, data_source)}, so {unsent}. The first is {first}.{apart or ' Correct them.'}"
        f" {options.LIST_OF_INVALID} Pass {options.spelled('on_conflict', 'last')} only if you want to"
        " keep just the last row of each key.",
        rows=conflict_rows(superseded.conflicts(), options.value),
        invalid=count,
        conflicts=count,
        observations_in=observations.observations_in,
    )


def _shares(observations: Observations, data_source: str | None) -> str:
    count, whose = observations.conflicts, "" if data_source is None else f" for {data_source!r}"
    given = counted(observations.observations_in, "observation")
    return (
        f"{count:,} of {given}{whose} {agreeing(count, 'has', 'have')} the timestamp and name of a later row but"
        " another value"
    )


def _told_apart(superseded: Superseded, options: ObservationOptions) -> str:
    """Return the advice about the unused column that tells the rows apart, or that there may be one, if any."""
    column = superseded.told_apart_by
    if column is None:
        return f" {untold}" if (untold := options.untold()) else ""
    called = "The index" if column == INDEX else f"The column {column!r}"
    return f" {called}, which is not used, tells them apart: {options.told_apart(column)}."


def _first_in_words(superseded: Superseded) -> str:
    """Describe the first conflict, with both values."""
    first, origin = superseded.take(np.flatnonzero(superseded.differ)[:1]).frame().iloc[0], superseded.rows.origin
    first_label = origin.labels_at(np.array([first.position]))[0]
    place = f"row {first.position} ({origin.labels_called} {shown(first_label)})"
    moment = first.timestamp.isoformat()
    return f"{place}, series {first['name']!r:.60} at {moment}, {float(first.value)!r}: {first.reason}"


def conflict_rows(conflicts: Superseded, value_label: Hashable = None) -> pd.DataFrame:
    """Return the conflicts as the rows of an error: position, label, column, value, reason."""
    origin, cells = conflicts.rows.origin, conflicts.rows.frame()
    rows = cells["position"].to_numpy()
    columns = cells["name"].tolist() if origin.columns is not None else [value_label] * len(cells)
    return pd.DataFrame(
        {
            "position": rows,
            "label": objects(origin.labels_at(rows)),
            "column": objects(columns),
            "value": objects(cells["value"].tolist()),
            "reason": objects(conflicts.reasons()),
        }
    )
