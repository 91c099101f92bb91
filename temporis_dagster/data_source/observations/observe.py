"""observe: the one way from a frame to observations.

Comes in: a DataFrame or Series and how to read it. Goes out: observations, at most one for each (timestamp, name).
Never: sends anything, modifies the frame, stops at the first fault (all are found at once), or silently drops all rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.cells import Cells, cells_of, with_found
from temporis_dagster.data_source.observations.conflicts import settle_conflicts
from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.distinguishing_column import column_that_tells_apart
from temporis_dagster.data_source.observations.faults import Found, fault_frame, faults_in_words, objects
from temporis_dagster.data_source.observations.layout import Table, table_of
from temporis_dagster.data_source.observations.model import Int64s, Observations, Origin, Superseded
from temporis_dagster.data_source.observations.monotone import ensure_monotone
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.repeated_keys import ascend, repeats
from temporis_dagster.data_source.observations.series import Series
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted

LOGGER = logging.getLogger(__name__)


def observe(
    data: pd.DataFrame | pd.Series[Any],
    options: ObservationOptions | None = None,
    *,
    series: Sequence[Series] = (),
    found: Sequence[Found] = (),
    data_source: str | None = None,
    clock: Callable[[], float] = time.time,
    warn: Callable[..., object] = LOGGER.warning,
) -> Observations:
    """Check a frame and return its observations.

    Args:
        data: A long or wide DataFrame, or a Series with a DatetimeIndex. Never modified.
        options: How to read it; None for the defaults.
        series: The contracts of series. Rows that break one are invalid; series without a contract may be anything.
        found: What the caller has found to be invalid, to be reported with the rest.
        data_source: The data source that they are for, named in messages.
        clock: Returns the current Unix time in seconds. Timestamps far ahead of it need ``allow_future``.
        warn: Receives warnings, about conflicts and about frames without a valid row: a logger's method.

    Returns:
        The valid observations in row order, the last of each (timestamp, name), and what was left out.

    Raises:
        InvalidObservationsError: The frame's shape or some of its rows are invalid. With ``on_invalid="drop"``, only
            for its shape, or if the call is wrong: timestamps without a zone and no ``timezone``, numbers that read as
            calendar dates, timestamps further ahead than ``allow_future``, or if a monotone series falls. With
            ``on_conflict="raise"``, also for rows of one key with different values.
        ConfigurationError: ``series`` holds something other than contracts, or two for one name.

    Examples:
        >>> import pandas as pd
        >>> twice = pd.DataFrame({"timestamp": [0, 0], "name": ["orders", "orders"], "value": [41, 42]})
        >>> observations = observe(twice)
        >>> observations.values.tolist(), observations.superseded
        ([42.0], 1)
    """
    options, contracts = options or ObservationOptions(), Contracts(series)
    table = table_of(data, options)
    cells = cells_of(table, options, contracts, now_s=clock())
    cells = with_found(cells, table, data, found) if found else cells
    bad = np.flatnonzero(cells.bad) if cells.faults else np.empty(0, dtype=np.int64)
    if len(bad) and (options.on_invalid == "raise" or cells.call_at_fault):
        raise _invalid(cells, len(bad), _origin(table), options, data_source)
    dropped = _dropped_rows(table, cells, bad) if len(bad) else pd.DataFrame()
    keys = cells.keys_of(bad, _origin(table)) if len(bad) else None
    observations = replace(_good_ones(table, cells), dropped_rows=dropped, dropped_keys=keys)
    in_time = ascend(observations.timestamps, observations.codes)
    observations = observations if in_time else _last_ones(observations)
    if len(dropped) and not len(observations):
        one = len(dropped) == 1
        warn(
            "%s%s %s invalid and %s dropped, so there is nothing to store. %s: %s. Correct %s.",
            *("The only observation" if one else f"All {len(dropped):,} observations", _for(data_source)),
            *(("is", "was") if one else ("are", "were")),
            *("The reason" if one else "The first reason", dropped["reason"].iloc[0], "it" if one else "them"),
        )
    if observations.superseded_rows is not None and observations.conflicts:
        apart = column_that_tells_apart(data, table, observations)
        told = replace(observations.superseded_rows, told_apart_by=apart)
        observations = replace(observations, superseded_rows=told)
        settle_conflicts(observations, options, data_source=data_source, warn=warn)
    if contracts:
        ensure_monotone(observations, contracts, options, in_time=in_time, data_source=data_source)
    return observations


def _for(data_source: str | None) -> str:
    return "" if data_source is None else f" for {data_source!r}"


def _origin(table: Table) -> Origin:
    return Origin(table.labels, tuple(table.value_labels) if table.names is None else None)


def _good_ones(table: Table, cells: Cells) -> Observations:
    origin = _origin(table)
    everything = Observations(cells.seconds, cells.codes, cells.names, cells.floats, origin)
    if not cells.faults and (table.names is not None or cells.present.all()):
        return everything
    return everything.take(cells.present & ~cells.bad)


def _last_ones(observations: Observations) -> Observations:
    repeated = repeats(observations.timestamps, observations.codes, len(observations.names))
    if repeated is None:
        return observations
    lost, won = observations.take(repeated.lost), observations.take(repeated.winners)
    superseded = Superseded(replace(lost, dropped_rows=pd.DataFrame(), dropped_keys=None), won.own_cells(), won.values)
    return replace(observations.take(repeated.last), superseded_rows=superseded)


def _invalid(
    cells: Cells, bad: int, origin: Origin, options: ObservationOptions, data_source: str | None
) -> InvalidObservationsError:
    rows, total = fault_frame(cells.faults, origin.labels), int(cells.present.sum())
    # on_invalid="drop" would not drop faults of the call, and rows whose time is unclear should not be dropped.
    way_out = "" if not cells.droppable else f", or pass {options.spelled('on_invalid', 'drop')} to send the rest"
    words, are = faults_in_words(rows, origin.labels_called), agreeing(bad, "is", "are")
    return InvalidObservationsError(
        f"{bad:,} of {counted(total, 'observation')}{_for(data_source)} {are} invalid, so nothing was sent."
        f" {words[:1].upper()}{words[1:]}. {options.LIST_OF_INVALID} Correct {agreeing(bad, 'it', 'them')}{way_out}.",
        rows=rows,
        invalid=bad,
        observations_in=total,
    )


def _dropped_rows(table: Table, cells: Cells, bad: Int64s) -> pd.DataFrame:
    origin = _origin(table)
    positions, columns = origin.positions(bad), (bad % origin.width).tolist()
    if table.names is None:
        names: list[object] = [table.value_labels[column] for column in columns]
    else:
        names = table.names.iloc[positions].tolist()
    return pd.DataFrame(
        {
            "position": positions,
            "label": objects(origin.labels_of(bad)),
            "timestamp": objects(table.timestamps.iloc[positions].tolist()),
            "name": objects(names),
            "value": objects([table.values[c].iloc[row] for c, row in zip(columns, positions, strict=True)]),
            "reason": objects(["; ".join(reasons) for reasons in cells.reasons(bad, origin.width)]),
        }
    )
