"""Data versions: what tells Dagster whether the content of a partition has changed, and not just been written again.

Dagster gives all the materializations of one step the same data version. In a run over a range of partitions, that is
the version of the whole range, which is another one as soon as the range moves on by a day. So such a run also reports
an observation for each partition, with the version of that partition alone. It has to come after the materialization,
because the latest event is the one that counts for ``AutomationCondition.data_version_changed()``.

The content of a partition is what the run sent and the data source holds, and the stored rows of the asset's own series
in its window that the run did not send. Where nothing can be read, it is what was sent.

Comes in: what a write stored, the windows of its run. Goes out: the version of the step, observations of partitions.
Never: overrides a version that the asset sets itself, or gives one to a dry run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Int64s, Seconds
from temporis_dagster.data_source.plan import Ghosts, Within
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, ReadNotSupportedError, TemporisError
from temporis_dagster.event_log import latest_ids, latest_of_asset, latest_of_partitions, records_by_id
from temporis_dagster.event_metadata import DATA_VERSION, in_a_run
from temporis_dagster.io_manager.row_digest import RowDigest
from temporis_dagster.partition_windows import OUTSIDE, PartitionWindows

MOST_TOLD_APART = 100
"""How many partitions of one run get versions of their own: each takes Dagster about as long as a materialization."""

OF_ITS_OWN = "The data version of this partition. Its materialization has that of all the partitions of the run."


@dataclass(frozen=True)
class Versions:
    """The data versions of what one run wrote.

    Attributes:
        whole: That of all its partitions together.
        by_partition: That of each partition; empty if time does not tell them apart.
    """

    whole: str
    by_partition: Mapping[str, str]


@dataclass(frozen=True)
class OwnVersions:
    """Versions that the partitions of a range are to get once Dagster has recorded their materializations.

    Attributes:
        instance: Where they are recorded.
        run_id: The run that wrote them.
        asset: The asset.
        versions: The versions.
    """

    instance: dg.DagsterInstance
    run_id: str
    asset: dg.AssetKey
    versions: Versions

    def report(self) -> None:
        """Report an observation for each partition whose latest materialization is still that of this run."""
        ids = latest_ids(self.instance, self.asset, list(self.versions.by_partition))
        records = records_by_id(self.instance, self.asset, list(ids.values()))
        for record in sorted(records, key=lambda record: record.storage_id):
            materialization, key = record.asset_materialization, record.partition_key
            if materialization is None or key is None or record.run_id != self.run_id:
                continue
            if (materialization.tags or {}).get(DATA_VERSION) == self.versions.whole:  # else the asset set its own
                observation = dg.AssetObservation(
                    self.asset,
                    partition=key,
                    description=OF_ITS_OWN,
                    tags={DATA_VERSION: self.versions.by_partition[key]},
                )
                self.instance.report_runless_asset_event(observation)


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


def _places(windows: PartitionWindows | None, seconds: Seconds) -> Int64s:
    """Return the number of the window of each row, fast where the rows are in the order of time."""
    if windows is None:
        return np.zeros(len(seconds), dtype=np.int64)
    if not bool((seconds[1:] >= seconds[:-1]).all()):
        return windows.of(seconds)
    places = np.full(len(seconds), OUTSIDE, dtype=np.int64)
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
        StoreError: The database or the mirror's file failed.
    """
    try:
        found = counted or source.ghosts(replace(observations, dropped_keys=None), within, stored=True)
        return found.rows(None)
    except (ReadNotSupportedError, DataSourceNotFoundError):
        return None


def set_data_version(
    context: dg.OutputContext,
    source: DataSource,
    windows: PartitionWindows | None,
    within: Within,
    observations: Observations,
    report: UpsertReport,
    counted: Ghosts | None = None,
) -> OwnVersions | None:
    """Set the data version of the step's materializations. If that fails, only warn in the log: the write stands.

    Args:
        context: The context of the output.
        source: The data source.
        windows: The windows of the run's partitions; None if they have no time.
        within: Which stored rows the run is about.
        observations: What was upserted.
        report: What became of it.
        counted: The stored rows that the run is about and did not send, if they have been counted already.

    Returns:
        The versions of the single partitions, to be reported when the run has recorded the materializations; None if
        the step's version says it all.
    """
    if report.dry_run or not context.has_asset_key or not in_a_run(context) or _has_own(context):
        return None
    asset = context.asset_key
    kept = held(observations, report)
    if kept is not observations or len(observations.dropped_rows):
        counted = None  # what is stored under the keys of rows that were left out is content, too
    try:
        versions = versions_of(windows, kept, other_rows(source, within, kept, counted))
    except TemporisError as error:
        context.log.warning("There is no data version, so what is stored counts as changed. %s", error)
        return None
    whole = versions.whole
    if windows is None and not report.stored and not report.pending:
        whole = _latest(context) or whole
    context.step_context.set_data_version(asset, dg.DataVersion(whole))
    if not 1 < len(versions.by_partition) <= MOST_TOLD_APART:
        return None
    return OwnVersions(context.step_context.instance, context.run_id, asset, versions)


def partition_versions(
    context: dg.OutputContext,
    source: DataSource,
    windows: PartitionWindows,
    within: Within,
    observations: Observations,
    report: UpsertReport,
) -> Mapping[str, str]:
    """Return the versions of the partitions of an upsert that failed partway, for those that are stored completely.

    Args:
        context: The context of the output.
        source: The data source.
        windows: The windows of the run's partitions.
        within: Which stored rows the run is about.
        observations: What was to be upserted: all of it, of each partition that is stored completely.
        report: What became of it.
    """
    if not in_a_run(context):
        return {}
    if _has_own(context):
        own = context.step_context.get_data_version(context.asset_key).value
        return dict.fromkeys(windows.keys, own)
    kept = held(observations, report)
    try:
        return versions_of(windows, kept, other_rows(source, within, kept)).by_partition
    except TemporisError:  # the store that has just failed: what is stored counts as changed
        return dict.fromkeys(windows.keys, context.run_id)


def _has_own(context: dg.OutputContext) -> bool:
    """Tell whether the asset has set a version itself."""
    return context.step_context.has_data_version(context.asset_key)


def _latest(context: dg.OutputContext) -> str | None:
    """Return the version that an asset or partition without a window has now."""
    instance, asset = context.step_context.instance, context.asset_key
    latest: Sequence[dg.AssetMaterialization | None]
    if not context.has_asset_partitions:
        latest = [latest_of_asset(instance, asset)]
    elif len(keys := context.asset_partition_keys) == 1:
        latest = list(latest_of_partitions(instance, asset, latest_ids(instance, asset, keys)).values())
    else:
        latest = []
    return next(((one.tags or {}).get(DATA_VERSION) for one in latest if one is not None), None)
