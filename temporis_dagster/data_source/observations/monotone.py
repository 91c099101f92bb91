"""Monotone: series of which no value may be lower than the one before it in time, such as a meter's readings.

Comes in: the observations of a frame, and contracts. Goes out: nothing, or the error that names the rows.
Never: leaves rows out, not even with ``on_invalid="drop"``: which of two neighbours is wrong is not known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.faults import NOTHING_SENT, faults_in_words, objects
from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s, Observations, Seconds
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.repeated_keys import ascend
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted

FALLS = "the value is lower than {!r}, which is the value before it, at {}; but {!r} is monotone"

NO_ROWS: Int64s = np.empty(0, dtype=np.int64)

LARGEST_GRID = 4
"""Values are laid out on a grid only if it has at most this many places per observation."""

SAMPLE = 10_000
"""How far timestamps are apart is learned from at most this many of them, and then compared with all."""


def ensure_monotone(
    observations: Observations,
    contracts: Contracts,
    options: ObservationOptions,
    *,
    in_time: bool,
    data_source: str | None = None,
    unsent: str = NOTHING_SENT,
) -> None:
    """Refuse observations of monotone series that are lower than the one before in time.

    Args:
        observations: At most one for each (timestamp, name).
        contracts: Which series are monotone.
        options: How the frame was read.
        in_time: Whether their timestamps are known to ascend.
        data_source: The data source that the observations are for, named in the message.
        unsent: What was not sent, as a clause, if they are refused.

    Raises:
        InvalidObservationsError: Some values are lower than the one before.
    """
    monotone = contracts.monotone(observations.names)
    if not monotone.any():
        return
    rising = observations if monotone.all() else observations.take(np.flatnonzero(monotone[observations.codes]))
    fallen, before = _falls(rising, in_time=in_time)
    if not len(fallen):
        return
    lower, higher = rising.take(fallen), rising.take(before)
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


def _falls(observations: Observations, *, in_time: bool) -> tuple[Int64s, Int64s]:
    """Return which observations are lower than the one before in their series, and those."""
    codes, values = observations.codes, observations.values
    if in_time and (rows := _rows_of_a_round(codes)):
        falls = np.flatnonzero(values[rows:] < values[:-rows])
        return falls + rows, falls
    if ascend(codes, observations.timestamps):
        falls = np.flatnonzero((values[1:] < values[:-1]) & (codes[1:] == codes[:-1]))
        return falls + 1, falls
    if _rise_on_a_grid(observations):
        return NO_ROWS, NO_ROWS
    order = np.lexsort((observations.timestamps, codes))
    codes, values = codes[order], values[order]
    falls = np.flatnonzero((values[1:] < values[:-1]) & (codes[1:] == codes[:-1]))
    return order[falls + 1], order[falls]


def _rows_of_a_round(codes: Codes) -> int | None:
    """Return after how many rows the series begin again, each in its place, to the end; None if they do not."""
    again = codes[1:] == codes[:1]
    rows = 1 + int(np.argmax(again)) if len(again) else 0
    complete = rows and len(np.unique(codes[:rows])) == rows and np.array_equal(codes[rows:], codes[:-rows])
    return rows if complete else None


def _rise_on_a_grid(observations: Observations) -> bool:
    """Return whether it is seen that no series falls: sorting takes more than ten times as long.

    The values are laid out by moment and series, which takes timestamps that are a regular distance apart.
    """
    seconds = observations.timestamps.astype(np.int64)
    seconds -= seconds.min()
    distance = max(int(np.gcd.reduce(seconds[:SAMPLE])), 1)
    places, series = seconds // distance, len(observations.names)
    height = int(places.max()) + 1
    if height * series > LARGEST_GRID * len(places) or (places * distance != seconds).any():
        return False
    places *= series
    places += observations.codes
    grid = np.full(height * series, -np.inf)
    grid[places] = observations.values
    by_moment = grid.reshape(height, series)
    if grid.min() > -np.inf:  # every series has a value at every moment
        return not (by_moment[1:] < by_moment[:-1]).any()
    return not ((np.maximum.accumulate(by_moment) > by_moment) & (by_moment > -np.inf)).any()


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
