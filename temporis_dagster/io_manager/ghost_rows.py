"""Ghost rows: stored rows of a run's windows and series that are not in its frame, because they vanished upstream.

Comes in: an output and what it has written. Goes out: how many there are, in metadata and in the log; on request, they
are deleted.
Never: deletes before the frame is stored, in a window for which the frame has no row, or what was stored while the run
was writing.

The frame is stored first. A run that is killed before it has deleted leaves the new rows and the ghost rows, and its
partitions are not materialized; running it again deletes the rest. The other way round, readers could find neither.
"""

from collections.abc import Mapping
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster.asset_options import OwnSeries
from temporis_dagster.dagster_failures import SHOWN_ROWS, offending_rows, table_of
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Mask
from temporis_dagster.data_source.plan import Ghosts, Within
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, NotSupportedError, ReadNotSupportedError, TemporisError
from temporis_dagster.event_metadata import MOST_COUNTED_APART, add_once
from temporis_dagster.metadata_keys import GHOST_ROWS, GHOSTS
from temporis_dagster.partition_windows import PartitionWindows
from temporis_dagster.series_templates import SeriesOfParts
from temporis_dagster.wording import agreeing, counted

MOST_READ = 100_000
"""If there are more ghost rows than this, they are not read to tell which partitions have them."""

HOW_TO_DELETE = "Delete them with ghost_rows='delete' on the asset, or with `temporis delete`."
NO_DELETE = "The Temporis API has no delete: overwrite their values, or start a new series."


class RunGhosts:
    """The ghost rows of one run.

    Args:
        context: Dagster's context of the output.
        source: The data source.
        windows: The time windows of the run's partitions, if they have any.
        observations: The observations that were written.
        within: Which stored rows they are about.
        series: The asset's own series.
        own: The series of each of the run's partitions; None if all of them have the same.
    """

    def __init__(
        self,
        context: dg.OutputContext,
        source: DataSource,
        windows: PartitionWindows | None,
        observations: Observations,
        within: Within,
        series: OwnSeries,
        own: SeriesOfParts | None,
    ) -> None:
        self._context, self._source, self._windows = context, source, windows
        self._observations, self._within = observations, within
        self._series, self._own = series, own
        self.found: Ghosts | None = None
        self._deleted: Mapping[str, dg.MetadataValue] = {}

    def count(self, report: UpsertReport) -> None:
        """Count the ghost rows, where they can be read. If that fails, only warn in the log: the write stands.

        Args:
            report: What became of the observations: if all are stored, their keys need not be looked up.
        """
        stored = report.stored + report.unchanged + report.pending == len(self._observations)
        try:
            self.found = self._source.ghosts(self._observations, self._within, stored=stored)
        except (ReadNotSupportedError, DataSourceNotFoundError):
            return
        except TemporisError as error:
            self._context.log.warning("The ghost rows could not be counted; the observations are stored. %s", error)

    def delete(self, expected: int) -> None:
        """Delete the ghost rows in the windows for which the frame has rows, and count those that are left.

        Args:
            expected: How many there were before the frame was stored, when ``max_ghosts`` was asked. If there are more
                by now, another writer is at work in these windows, and nothing is deleted.

        Raises:
            TemporisError: They could not be counted or deleted. The observations are stored.
        """
        found = self._source.ghosts(self._observations, self._within)
        filled = self._filled()
        if found.count > expected:
            self._context.log.warning(
                "No ghost rows were deleted: there were %s before the run stored its frame, and now there are %s. "
                "Another writer is storing rows of this asset's series. Run it again when the other one is done.",
                f"{expected:,}",
                f"{found.count:,}",
            )
        elif found.count and filled:
            first = found.rows(SHOWN_ROWS)
            deleted = sum(self._source.delete_ghosts(self._observations, each) for each in filled)
            self._deleted = offending_rows("deleted", first, count=deleted) if deleted else {}
            self._context.log.info("Deleted %s from %s.", counted(deleted, "ghost row"), self._source.name)
            found = self._source.ghosts(self._observations, self._within)
        self.found = found

    def record(self) -> None:
        """Add the number of ghost rows to the metadata, the first of them as a table, and a warning to the log."""
        add_once(self._context, self._deleted)
        if self.found is None:
            return
        self._add_counts(self.found)
        if not self.found.count:
            return
        first = self.found.rows(SHOWN_ROWS)
        add_once(self._context, {GHOSTS: table_of(first)})
        row = first.iloc[0]
        self._context.log.warning(
            "%s %s not in the frame, such as %r at %s: %s. An upsert deletes nothing, so %s stored. %s",
            counted(self.found.count, "stored row"),
            agreeing(self.found.count, "is", "are"),
            row["series"],
            row["timestamp"].isoformat(),
            "ghost rows",
            agreeing(self.found.count, "it stays", "they stay"),
            HOW_TO_DELETE if self._source.can_delete else NO_DELETE,
        )

    def _filled(self) -> list[Within]:
        """Return where to delete: an empty frame, or an empty partition in a range, is not taken for the truth."""
        windows, observations = self._windows, self._observations
        if windows is None:
            return []
        placed = windows.of(observations.timestamps)
        if self._own is None:
            return self._in_windows(self._within, windows.counts(placed) > 0)
        part_of = np.array([self._own.part_of(name) for name in observations.names], dtype=object)
        keys, asked = dict[str, str](), dict[str, Mask]()
        for key, number in zip(windows.keys, windows.numbers.tolist(), strict=True):
            part = self._own.parts.of(key)
            keys.setdefault(part, key)
            asked.setdefault(part, np.zeros(len(windows.starts), dtype=np.bool_))[number] = True
        filled = []
        for part, key in keys.items():
            mine = (part_of == part)[observations.codes]
            series = self._series.for_partitions(self._context.asset_partitions_def, [key])
            within = Within(None, series.names, series.prefixes)
            filled += self._in_windows(within, asked[part] & (windows.counts(placed[mine]) > 0))
        return filled

    def _in_windows(self, within: Within, chosen: Mask) -> list[Within]:
        windows = self._windows
        if windows is None or not chosen.any():
            return []
        pairs = zip(windows.starts[chosen].tolist(), windows.ends[chosen].tolist(), strict=True)
        return [replace(within, spans=tuple(pairs))]

    def _add_counts(self, found: Ghosts) -> None:
        """Add the count of each partition; that of all of them together if the ghost rows do not tell them apart."""
        apart = self._by_partition(found)
        total = found.count if apart is None else 0
        self._context.add_output_metadata({GHOST_ROWS: dg.MetadataValue.int(total)})
        for key, count in (apart or {}).items():
            metadata = {GHOST_ROWS: dg.MetadataValue.int(count)}
            self._context.step_context.add_asset_metadata(metadata, self._context.asset_key, key)

    def _by_partition(self, found: Ghosts) -> Mapping[str, int] | None:
        windows = self._windows
        if windows is None or not windows.one_key_each or found.count > MOST_READ or windows.keys[1:] == ():
            return None
        stamps = pd.DatetimeIndex(found.rows(found.count)["timestamp"]).as_unit("s").asi8
        counts = windows.counts(windows.of(stamps))[windows.numbers]
        apart = {key: int(count) for key, count in zip(windows.keys, counts.tolist(), strict=True) if count}
        return apart if len(apart) <= MOST_COUNTED_APART else None


def ensure_target_deletes(source: DataSource) -> None:
    """Refuse ``ghost_rows="delete"`` before anything is sent, where the data source cannot delete.

    Raises:
        NotSupportedError: It is reached over HTTP.
    """
    if not source.can_delete:
        raise NotSupportedError(
            f"ghost_rows='delete' cannot be used with {source.name!r} at {source.url}: the Temporis API has no delete. "
            "Nothing was sent. Leave ghost_rows out: with a mirror, ghost rows are then counted. To be rid of one, "
            "overwrite its value, or start a new series."
        )
