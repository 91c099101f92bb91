"""Monotone: series of which no value may be lower than the one before it in time, such as a meter's readings.

Comes in: the observations of a frame, and contracts. Goes out: nothing, or the error that names the rows.
Never: leaves rows out, not even with ``on_invalid="drop"``: which of two neighbours is wrong is not known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts, first_return
from temporis_dagster.data_source.observations.faults import NOTHING_SENT, faults_in_words, objects
from temporis_dagster.data_source.observations.model import (
    CACHED_ROWS,
    Codes,
    Floats,
    Int64s,
    Mask,
    Observations,
    Positions,
    Seconds,
)
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.repeated_keys import KeyOrder
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted

FALLS = "the value is lower than {!r}, which is the value before it, at {}; but {!r} is monotone"

NO_ROWS: Int64s = np.empty(0, dtype=np.int64)


def ensure_monotone(
    observations: Observations,
    order: KeyOrder,
    contracts: Contracts,
    options: ObservationOptions,
    *,
    data_source: str | None = None,
    unsent: str = NOTHING_SENT,
) -> None:
    """Refuse observations of monotone series that are lower than the one before in time.

    Args:
        observations: The observations, also several for one (timestamp, name): the last of them counts.
        order: Their order.
        contracts: Which series are monotone.
        options: How the frame was read.
        data_source: The data source that the observations are for, named in the message.
        unsent: What was not sent, as a clause, if they are refused.

    Raises:
        InvalidObservationsError: Some values are lower than the one before.
    """
    monotone = contracts.monotone(observations.names)
    if not monotone.any():
        return
    fallen, before = _falls(observations, order, monotone)
    if not len(fallen):
        return
    lower, higher = observations.take(fallen), observations.take(before)
    rows = fallen_rows(lower, higher.values, higher.timestamps, options)
    raise fallen_error(rows, observations, options, data_source=data_source, unsent=unsent)


def fallen_error(
    rows: pd.DataFrame,
    observations: Observations,
    options: ObservationOptions,
    *,
    data_source: str | None,
    unsent: str = NOTHING_SENT,
) -> InvalidObservationsError:
    """Make the error for observations that are lower than the one before.

    Args:
        rows: What ``fallen_rows`` returned.
        observations: The observations among which they are.
        options: How the frame was read.
        data_source: The data source that the observations are for, named in the message.
        unsent: What was not sent because of it, as a clause.
    """
    whose = "" if data_source is None else f" for {data_source!r}"
    words = faults_in_words(rows, observations.origin.labels_called)
    return InvalidObservationsError(
        f"{len(rows):,} of {counted(observations.observations_in, 'observation')}{whose}"
        f" {agreeing(len(rows), 'is', 'are')} lower than the one before, in a series that is monotone, so"
        f" {unsent}. {words[:1].upper()}{words[1:]}. {options.LIST_OF_INVALID} Correct them, or leave monotone=True"
        " out of the contract.",
        rows=rows,
        invalid=len(rows),
        observations_in=observations.observations_in,
    )


def _falls(observations: Observations, order: KeyOrder, monotone: Mask) -> tuple[Int64s, Int64s]:
    """Return which observations are lower than the one before in their series, if it is monotone, and those."""
    codes, rows, distance = observations.codes, order.by_series, 1
    round_of = _rows_of_a_round(codes) if order.in_time else 0
    if round_of:
        distance = round_of
    elif order.in_time:
        rows = np.argsort(codes, kind="stable")
    if rows is not None and not monotone.all():
        rows = rows[monotone[codes[rows]]]
    before = _before_a_fall(observations.values, rows, distance)
    after = before + distance
    if rows is not None:
        before, after = rows[before].astype(np.int64), rows[after].astype(np.int64)
    real = monotone[codes[after]] & (codes[after] == codes[before])
    return after[real], before[real]


def _rows_of_a_round(codes: Codes) -> int:
    """Return after how many rows the series begin again, each in its place, to the end; 0 if they do not."""
    rows, count = first_return(codes), len(codes)
    if not rows or len(np.unique(codes[:rows])) < rows:
        return 0
    blocks = (slice(start, start + CACHED_ROWS) for start in range(0, count - rows, CACHED_ROWS))
    return rows if all(np.array_equal(codes[rows:][block], codes[:-rows][block]) for block in blocks) else 0


def _before_a_fall(values: Floats, rows: Positions | None, distance: int) -> Int64s:
    """Return the places whose value is higher than the one that comes this distance later.

    Args:
        values: The values.
        rows: The row in each place; None if the rows themselves are the places.
        distance: How much later.
    """
    found, count = [NO_ROWS], len(values) if rows is None else len(rows)
    for start in range(0, count - distance, CACHED_ROWS):
        places = slice(start, start + CACHED_ROWS + distance)
        block = values[places] if rows is None else values.take(rows[places])
        falls = block[distance:] < block[:-distance]
        if falls.any():
            found.append(start + np.flatnonzero(falls))
    return np.concatenate(found)


def fallen_rows(
    fallen: Observations, values_before: Floats, times_before: Seconds, options: ObservationOptions
) -> pd.DataFrame:
    """Return the rows of an error, by position.

    Args:
        fallen: The observations that are too low.
        values_before: The value before each.
        times_before: The time of that value, in Unix seconds.
        options: How the frame was read.
    """
    cells, origin = fallen.frame(), fallen.origin
    moments = np.datetime_as_string(times_before.astype("datetime64[s]"), timezone="UTC").tolist()
    columns = [options.value] * len(cells) if origin.columns is None else cells["name"].tolist()
    frame = pd.DataFrame(
        {
            "position": cells["position"],
            "label": objects(origin.labels_at(cells["position"].to_numpy())),
            "column": objects(columns),
            "value": objects(cells["value"].tolist()),
            "reason": objects(list(map(FALLS.format, values_before.tolist(), moments, cells["name"]))),
        }
    )
    return frame.sort_values("position", kind="stable", ignore_index=True)
