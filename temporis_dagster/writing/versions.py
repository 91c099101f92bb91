"""Data versions: what tells Dagster whether the content of a partition has changed, and not just been written again.

The content of a partition is what the run sent and the data source holds, and the stored rows of the asset's own series
in its window that the run did not send. Where nothing can be read, it is what was sent.

Comes in: what a write stored, the windows of its run. Goes out: the version of all partitions together, and of each.
Never: imports Dagster, or sets a version (``data_version`` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Integers, Seconds, width_for
from temporis_dagster.data_source.plan import Ghosts, Within
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, ReadNotSupportedError
from temporis_dagster.time_windows import OUTSIDE, PartitionWindows
from temporis_dagster.writing.row_digest import RowDigest


@dataclass(frozen=True)
class Versions:
    """The data versions of what one run wrote.

    Attributes:
        whole: That of all its partitions together.
        by_partition: That of each partition; empty if time does not tell them apart.
    """

    whole: str
    by_partition: Mapping[str, str]


def versions_of(
    windows: PartitionWindows | None, observations: Observations, others: pd.DataFrame | None = None
) -> Versions:
    """Return the versions of what the partitions hold.

    Args:
        windows: The windows of the run's partitions; None if they have no time.
        observations: The rows that the run has stored. Those outside the windows do not count.
        others: The other rows that are stored there: series, timestamp, value.
    """
    digest = RowDigest(1 if windows is None else len(windows.starts))
    seconds = observations.timestamps
    digest.add(_places(windows, seconds), seconds, observations.codes, observations.names, observations.values)
    if others is not None and len(others):
        seconds = pd.DatetimeIndex(others["timestamp"]).as_unit("s").asi8
        codes, names = pd.factorize(others["series"])
        digest.add(_places(windows, seconds), seconds, codes, names.tolist(), others["value"].to_numpy())
    if windows is None or not windows.one_key_each:
        return Versions(digest.of_all(), {})
    each = digest.of_each()
    return Versions(digest.of_all(), {key: each[n] for key, n in zip(windows.keys, windows.numbers, strict=True)})


def _places(windows: PartitionWindows | None, seconds: Seconds) -> Integers:
    """Return the number of the window of each row, fast where the rows are in the order of time."""
    if windows is None:
        return np.broadcast_to(np.int16(0), len(seconds))
    if not bool((seconds[1:] >= seconds[:-1]).all()):
        return windows.of(seconds)
    places = np.full(len(seconds), OUTSIDE, dtype=width_for(OUTSIDE, len(windows.starts)))
    firsts, lasts = np.searchsorted(seconds, windows.starts), np.searchsorted(seconds, windows.ends)
    for number, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        places[first:last] = number
    return places


def held(observations: Observations, report: UpsertReport) -> Observations:
    """Return the observations that the data source holds, or will once the mirror has delivered them.

    Left out are those that the service rejected, and those that another upsert overwrote in the mirror meanwhile.
    """
    overwritten = report.superseded - observations.superseded
    if not report.rejected and not overwritten:
        return observations
    lost = [report.rejected_rows] if report.rejected else []
    if overwritten:
        lost.append(report.superseded_rows.iloc[observations.superseded :])
    keys = [pd.MultiIndex.from_frame(rows[["timestamp", "name"]]) for rows in (observations.frame(), pd.concat(lost))]
    return observations.take(~keys[0].isin(keys[1]))


def other_rows(
    source: DataSource, within: Within, observations: Observations, counted: Ghosts | None = None
) -> pd.DataFrame | None:
    """Read the stored rows of a run's windows and series that are none of these; None if nothing can be read.

    Args:
        source: The data source.
        within: The windows and series.
        observations: What the data source holds of what the run sent.
        counted: These rows, if they have been counted already.

    Raises:
        StoreError: The database of the store or mirror failed.
    """
    try:
        found = counted or source.ghosts(replace(observations, dropped_keys=None), within, stored=True)
        return found.rows(None)
    except (ReadNotSupportedError, DataSourceNotFoundError):
        return None
