"""observe: the one way from a frame to observations.

Comes in: a DataFrame or Series and how to read it. Goes out: observations, at most one for each (timestamp, name).
Never: sends anything, modifies the frame, or stops at the first fault: all are found in one pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.cells import Cells, cells_of
from temporis_dagster.data_source.observations.faults import fault_frame, objects
from temporis_dagster.data_source.observations.layout import Table, table_of
from temporis_dagster.data_source.observations.model import Int64s, Observations, Origin
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.superseded import last_of_each_key
from temporis_dagster.errors import InvalidObservationsError

SHOWN_FAULTS = 3


def observe(
    data: pd.DataFrame | pd.Series[Any], options: ObservationOptions | None = None, *, data_source: str | None = None
) -> Observations:
    """Check a frame and take its observations.

    Args:
        data: A long or wide DataFrame, or a Series with a DatetimeIndex. Never modified.
        options: How to read it; None takes every default.
        data_source: Whose observations they are to be, for the error's text.

    Returns:
        The valid observations in row order, the last of each (timestamp, name), and what was left out.

    Raises:
        InvalidObservationsError: The frame's shape or some of its rows cannot be observations. With
            ``on_invalid="drop"``, only for its shape.

    Examples:
        >>> import pandas as pd
        >>> twice = pd.DataFrame({"timestamp": [0, 0], "name": ["orders", "orders"], "value": [41, 42]})
        >>> observations = observe(twice)
        >>> observations.values.tolist(), observations.superseded
        ([42.0], 1)
    """
    options = options or ObservationOptions()
    table = table_of(data, options)
    cells = cells_of(table, options)
    bad = np.flatnonzero(cells.bad) if cells.faults else np.empty(0, dtype=np.int64)
    if len(bad) and options.on_invalid == "raise":
        raise _invalid(cells, len(bad), table.labels, data_source)
    dropped = _dropped_rows(table, cells, bad) if len(bad) else pd.DataFrame()
    return _last_ones(replace(_good_ones(table, cells), dropped_rows=dropped))


def _origin(table: Table) -> Origin:
    return Origin(table.labels, tuple(table.value_labels) if table.names is None else None)


def _good_ones(table: Table, cells: Cells) -> Observations:
    origin = _origin(table)
    everything = Observations(cells.seconds, cells.codes, cells.names, cells.floats, origin)
    if not cells.faults and cells.present.all():
        return everything
    return everything.take(np.flatnonzero(cells.present & ~cells.bad))


def _last_ones(observations: Observations) -> Observations:
    last = last_of_each_key(observations.timestamps, observations.codes, len(observations.names))
    if last is None:
        return observations
    kept = observations.take(np.flatnonzero(last))
    return replace(kept, superseded=len(observations) - len(kept))


def _invalid(cells: Cells, bad: int, labels: pd.Index, data_source: str | None) -> InvalidObservationsError:
    rows = fault_frame(cells.faults, labels)
    first = [
        f"row {row.position} (label {row.label!r:.60}), column {row.column!r:.60}, {row.value!r:.60}: {row.reason}"
        for row in rows.head(SHOWN_FAULTS).itertuples()
    ]
    more = f"; and {len(rows) - len(first):,} more" if len(rows) > len(first) else ""
    return InvalidObservationsError(
        f"{bad:,} of {int(cells.present.sum()):,} observations {'' if data_source is None else f'for {data_source!r} '}"
        f"are invalid, so none was sent. {'; '.join(first)}{more}."
        " The error's .rows lists them all. Correct them, or pass on_invalid='drop' to send the rest.",
        rows=rows,
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
