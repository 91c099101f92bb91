"""observe: the one way from a frame to observations.

Comes in: a DataFrame or Series and how to read it. Goes out: observations, at most one for each (timestamp, name).
Never: sends anything, modifies the frame, stops at the first fault (all are found at once), or silently drops all rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.cells import Cells, cells_of, with_found
from temporis_dagster.data_source.observations.conflicts import settle_conflicts
from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.distinguishing_column import column_that_tells_apart
from temporis_dagster.data_source.observations.faults import NOTHING_SENT, Found, fault_frame, faults_in_words, objects
from temporis_dagster.data_source.observations.layout import Table, table_of
from temporis_dagster.data_source.observations.model import Int64s, Observations, Origin, Superseded
from temporis_dagster.data_source.observations.monotone import ensure_monotone
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.repeated_keys import Repeats, key_order
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
    reading = read(data, options, contracts, found=found, now_s=clock())
    if reading.invalid is not None:
        raise reading.invalid.error(options, data_source)
    return compared(
        reading.observations,
        options,
        contracts,
        told_apart_by=reading.told_apart_by,
        rising=reading.rising,
        data_source=data_source,
        warn=warn,
    )


def dropping(options: ObservationOptions) -> str:
    """Return how to send the valid rows of a frame without the others, as a clause."""
    return f", or pass {options.spelled('on_invalid', 'drop')} to send the rest"


@dataclass(frozen=True, eq=False)
class Invalid:
    """The invalid rows of a frame that is refused because of them.

    Attributes:
        rows: One row per invalid cell, as in the error.
        count: The number of invalid observations.
        observations_in: The number of observations in the frame.
        labels_called: What messages call the labels.
        droppable: Whether the message may advise leaving them out, if others are left.
        call_at_fault: Whether the call is wrong rather than the rows.
    """

    rows: pd.DataFrame
    count: int
    observations_in: int
    labels_called: str
    droppable: bool
    call_at_fault: bool

    def error(
        self, options: ObservationOptions, data_source: str | None, unsent: str = NOTHING_SENT
    ) -> InvalidObservationsError:
        """Make the error.

        Args:
            options: How the frame was read.
            data_source: The data source that the frame is for, named in the message.
            unsent: What was not sent because of it, as a clause.
        """
        count, total = self.count, counted(self.observations_in, "observation")
        # on_invalid="drop" would not drop faults of the call, and rows whose time is unclear should not be dropped.
        rest = self.droppable and count < self.observations_in
        way_out = dropping(options) if rest else ""
        words, are = faults_in_words(self.rows, self.labels_called), agreeing(count, "is", "are")
        return InvalidObservationsError(
            f"{count:,} of {total}{_for(data_source)} {are} invalid, so {unsent}."
            f" {words[:1].upper()}{words[1:]}. {options.LIST_OF_INVALID} Correct {agreeing(count, 'it', 'them')}"
            f"{way_out}.",
            rows=self.rows,
            invalid=count,
            observations_in=self.observations_in,
        )


@dataclass(frozen=True, eq=False)
class Reading:
    """A frame after the checks that look at one row at a time.

    Attributes:
        observations: The valid observations in row order, also several for one (timestamp, name), and the rows that
            were left out.
        told_apart_by: Returns the unused column that tells the conflicts among the observations apart.
        invalid: The invalid rows, if the frame is refused because of them; else None.
        rising: Whether it was seen that no value is lower than that of its series in the round before, where the
            series follow each other in complete rounds.
    """

    observations: Observations
    told_apart_by: Callable[[Observations], Hashable | None]
    invalid: Invalid | None = None
    rising: bool = False


def read(
    data: pd.DataFrame | pd.Series[Any],
    options: ObservationOptions,
    contracts: Contracts,
    *,
    found: Sequence[Found] = (),
    now_s: float,
    first_row: int = 0,
) -> Reading:
    """Check a frame, or a slice of a stream, row by row.

    Args:
        data: The frame.
        options: How to read it.
        contracts: What its values must be.
        found: What the caller has found to be invalid, to be reported with the rest.
        now_s: The current time, in Unix seconds.
        first_row: The position of its first row in the stream.
    """
    table = table_of(data, options)
    cells = cells_of(table, options, contracts, now_s=now_s)
    cells = with_found(cells, table, data, found) if found else cells
    bad, origin = np.flatnonzero(cells.bad) if cells.faults else np.empty(0, dtype=np.int64), _origin(table, first_row)
    invalid = None
    if len(bad) and (options.on_invalid == "raise" or cells.call_at_fault):
        rows, present = fault_frame(cells.faults, origin.labels, first_row), int(cells.present.sum())
        invalid = Invalid(
            rows, len(bad), present, origin.labels_called, droppable=cells.droppable, call_at_fault=cells.call_at_fault
        )
    dropped = _dropped_rows(table, cells, bad, origin) if len(bad) and invalid is None else pd.DataFrame()
    keys = cells.keys_of(bad, origin) if len(bad) and invalid is None else None
    good = replace(_good_ones(cells, origin), dropped_rows=dropped, dropped_keys=keys)
    rising = cells.rising and len(good) == len(cells.floats)
    return Reading(good, lambda kept: column_that_tells_apart(data, table, kept), invalid, rising)


def compared(
    read_ones: Observations,
    options: ObservationOptions,
    contracts: Contracts,
    *,
    told_apart_by: Callable[[Observations], Hashable | None],
    rising: bool = False,
    data_source: str | None = None,
    warn: Callable[..., object] = LOGGER.warning,
    unsent: str = NOTHING_SENT,
) -> Observations:
    """Make the checks that compare rows with each other, and keep the last row of each (timestamp, name).

    Args:
        read_ones: What the rows were read as.
        options: How they were read.
        contracts: Which series are monotone.
        told_apart_by: Returns the unused column that tells the conflicts apart.
        rising: Whether no value is lower than that of its series in the round before.
        data_source: The data source that they are for, named in messages.
        warn: Receives warnings: a logger's method.
        unsent: What was not sent, as a clause, if they are refused.

    Raises:
        InvalidObservationsError: There are conflicts that the options refuse, or a monotone series falls.
    """
    order, dropped = key_order(read_ones.timestamps, read_ones.codes), read_ones.dropped_rows
    observations = read_ones if order.repeats is None else _last_ones(read_ones, order.repeats)
    if len(dropped) and not len(observations):
        one = len(dropped) == 1
        warn(
            "%s%s %s invalid and %s dropped, so there is nothing to store. %s: %s. Correct %s.",
            *("The only observation" if one else f"All {len(dropped):,} observations", _for(data_source)),
            *(("is", "was") if one else ("are", "were")),
            *("The reason" if one else "The first reason", dropped["reason"].iloc[0], "it" if one else "them"),
        )
    if observations.superseded_rows is not None and observations.conflicts:
        told = replace(observations.superseded_rows, told_apart_by=told_apart_by(observations))
        observations = replace(observations, superseded_rows=told)
        settle_conflicts(observations, options, data_source=data_source, warn=warn, unsent=unsent)
    if contracts and not (rising and order.in_time):
        ensure_monotone(read_ones, order, contracts, options, data_source=data_source, unsent=unsent)
    return observations


def _for(data_source: str | None) -> str:
    return "" if data_source is None else f" for {data_source!r}"


def _origin(table: Table, first_row: int) -> Origin:
    return Origin(table.labels, tuple(table.value_labels) if table.names is None else None, first_row)


def _good_ones(cells: Cells, origin: Origin) -> Observations:
    everything = Observations(cells.seconds, cells.codes, cells.names, cells.floats, origin)
    if not cells.faults and (origin.columns is None or cells.present.all()):
        return everything
    return everything.take(cells.present & ~cells.bad)


def _last_ones(observations: Observations, repeated: Repeats) -> Observations:
    lost, won = observations.take(repeated.lost), observations.take(repeated.winners)
    superseded = Superseded(replace(lost, dropped_rows=pd.DataFrame(), dropped_keys=None), won.own_cells(), won.values)
    return replace(observations.take(repeated.last), superseded_rows=superseded)


def _dropped_rows(table: Table, cells: Cells, bad: Int64s, origin: Origin) -> pd.DataFrame:
    rows, columns = origin.rows(bad), (bad % origin.width).tolist()
    if table.names is None:
        names: list[object] = [table.value_labels[column] for column in columns]
    else:
        names = table.names.iloc[rows].tolist()
    return pd.DataFrame(
        {
            "position": origin.positions(bad),
            "label": objects(origin.labels_of(bad)),
            "timestamp": objects(table.timestamps.iloc[rows].tolist()),
            "name": objects(names),
            "value": objects([table.values[c].iloc[row] for c, row in zip(columns, rows, strict=True)]),
            "reason": objects(["; ".join(reasons) for reasons in cells.reasons(bad, origin.width)]),
        }
    )
