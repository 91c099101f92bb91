"""Newest: the last observations of a range of time, of many series together.

Comes in: ids of series, a window of time, the stored rows. Goes out: some observations, the newest first.
Never: reads a series that has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.store.read import Window
from temporis_dagster.data_source.store.stored import Ranges, StoredRows


class Observation(NamedTuple):
    """One observation. The timestamp is in Unix seconds."""

    timestamp: int
    name: str
    value: float


def newest_of(rows: StoredRows, ids: Mapping[str, int], window: Window, most: int) -> list[Observation]:
    """Return the newest observations; those of the same second in the order of their names.

    Args:
        rows: The stored rows.
        ids: The ids of the series, by name, in the order of their names.
        window: The window of time.
        most: The maximum number of observations.
    """
    names, series = list(ids), np.fromiter(ids.values(), dtype=np.int64, count=len(ids))
    if most < 1:
        return []
    lasts = rows.newest(Ranges(series, np.full(len(series), window.start), np.full(len(series), window.end)), 1)
    # As many series as observations are wanted, those with the newest ones. Whatever another series has is older than
    # the last observation of each of them.
    order = np.lexsort((lasts.places, -lasts.timestamps))[:most]
    candidates = np.sort(lasts.places[order])
    oldest = int(lasts.timestamps[order[-1]]) if len(order) == most else window.start
    found = rows.newest(
        Ranges(series[candidates], np.full(len(candidates), oldest), np.full(len(candidates), window.end)), most
    )
    owners = candidates[found.places]
    chosen = np.lexsort((owners, -found.timestamps))[:most]
    columns = owners[chosen].tolist(), found.timestamps[chosen].tolist(), found.values[chosen].tolist()
    return [Observation(timestamp, names[owner], value) for owner, timestamp, value in zip(*columns, strict=True)]
