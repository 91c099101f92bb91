"""Monotone: series of which no value may be lower than the one before it in time, such as a meter's readings.

Comes in: the observations of a frame, and contracts. Goes out: nothing, or the error that names the rows.
Never: leaves rows out, not even with ``on_invalid="drop"``: which of two neighbours is wrong is not known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.faults import faults_in_words, objects
from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted

FALLS = "the value is lower than {!r}, which is the value before it, at {}; but {!r} is monotone"


def ensure_monotone(
    observations: Observations, contracts: Contracts, options: ObservationOptions, *, data_source: str | None = None
) -> None:
    """Refuse observations of monotone series that are lower than the one before in time.

    Args:
        observations: At most one for each (timestamp, name).
        contracts: Which series are monotone.
        options: How the frame was read.
        data_source: The data source that the observations are for, named in the message.

    Raises:
        InvalidObservationsError: Some values are lower than the one before.
    """
    monotone = contracts.monotone(observations.names)
    if not monotone.any():
        return
    rising = observations if monotone.all() else observations.take(np.flatnonzero(monotone[observations.codes]))
    fallen, before = _falls(rising)
    if not len(fallen):
        return
    rows = _rows(rising.take(fallen), rising.take(before), options)
    whose = "" if data_source is None else f" for {data_source!r}"
    words = faults_in_words(rows, observations.origin.labels_called)
    raise InvalidObservationsError(
        f"{len(rows):,} of {counted(observations.observations_in, 'observation')}{whose}"
        f" {agreeing(len(rows), 'is', 'are')} lower than the one before, in a series that is monotone, so nothing was"
        f" sent. {words[:1].upper()}{words[1:]}. {options.LIST_OF_INVALID} Correct them, or leave monotone=True out of"
        " the contract.",
        rows=rows,
        invalid=len(rows),
        observations_in=observations.observations_in,
    )


def _falls(observations: Observations) -> tuple[Int64s, Int64s]:
    """Return which observations are lower than the one before in their series, and those."""
    codes, values = observations.codes, observations.values
    lag = _lag(observations)
    if lag is not None:
        falls = np.flatnonzero(values[lag:] < values[:-lag])
        falls = falls[codes[falls + lag] == codes[falls]]
        return falls + lag, falls
    order = np.lexsort((observations.timestamps, codes))
    codes, values = codes[order], values[order]
    falls = np.flatnonzero((values[1:] < values[:-1]) & (codes[1:] == codes[:-1]))
    return order[falls + 1], order[falls]


def _lag(observations: Observations) -> int | None:
    """Return how many rows lie between neighbours of a series, if it is the same everywhere: sorting takes longer."""
    codes, timestamps = observations.codes, observations.timestamps
    if len(codes) <= 1:
        return 1
    later = timestamps[1:] >= timestamps[:-1]
    lag = 1 + int(np.argmax(codes[1:] == codes[0]))  # 1 if the first series has only one observation
    if later.all() and len(np.unique(codes[:lag])) == lag and np.array_equal(codes[lag:], codes[:-lag]):
        return lag
    by_series = ((codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & later)).all()
    return 1 if by_series else None


def _rows(fallen: Observations, before: Observations, options: ObservationOptions) -> pd.DataFrame:
    """Return the rows of an error, by position."""
    cells, origin = fallen.frame(), fallen.origin
    moments = np.datetime_as_string(before.timestamps.astype("datetime64[s]"), timezone="UTC").tolist()
    columns = [options.value] * len(cells) if origin.columns is None else cells["name"].tolist()
    frame = pd.DataFrame(
        {
            "position": cells["position"],
            "label": objects(origin.labels.take(cells["position"].to_numpy()).tolist()),
            "column": objects(columns),
            "value": objects(cells["value"].tolist()),
            "reason": objects(list(map(FALLS.format, before.values.tolist(), moments, cells["name"]))),
        }
    )
    return frame.sort_values("position", kind="stable", ignore_index=True)
