"""Upserting: the way of a frame or a stream into one data source, up to the report.

Comes in: frames or streams, how to read them, the contracts of series. Goes out: a report; or an error, or whatever
interrupted it, that carries the report of what was sent.
Never: knows how rows are checked (``observations`` and ``streams`` do) or delivered (the target does).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from temporis_dagster.data_source.observations import ObservationOptions, Observations, Series
from temporis_dagster.data_source.observations.conflicts import settle_conflicts
from temporis_dagster.data_source.progress import shown
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.data_source.streams import (
    Frame,
    FrameStream,
    JoinedReport,
    deliver_in_slices,
    is_stream,
    observed,
)
from temporis_dagster.data_source.target import Target, is_manageable
from temporis_dagster.errors import DataSourceNotFoundError, RejectedObservationsError, TemporisError
from temporis_dagster.wording import counted

if TYPE_CHECKING:
    from temporis_dagster.data_source.source.source import DataSource

LOGGER = logging.getLogger(__name__)


class Upserting:
    """Upserts and checks, for one data source.

    Args:
        source: The data source, which reports look up again where they are shown.
        target: What delivers.
        dry_run: Whether nothing is sent.
        slice_cells: How many observations of a stream are delivered at a time.
    """

    def __init__(self, source: DataSource, target: Target, *, dry_run: bool, slice_cells: int) -> None:
        self._source, self._name, self._target = source, source.name, target
        self._dry_run, self._slice_cells = dry_run, slice_cells

    def upsert(
        self,
        data: Frame | FrameStream,
        options: ObservationOptions,
        series: Sequence[Series],
        *,
        spool: bool,
        progress: bool | Progress | None,
    ) -> UpsertReport:
        """Check and deliver. The arguments and errors are those of ``DataSource.upsert``."""
        if is_stream(data) and not spool:
            return self._upsert_in_slices(data, options, series, progress)
        observations = self.observed(data, options, series)
        with shown(progress, self._name, len(observations)) as settled:
            tally = Tally(self._name, observations, dry_run=self._dry_run, source=self._source, progress=settled)
            report = self._deliver(tally)
        if report.rejected and options.on_invalid == "raise":
            raise rejection(report, observations, self._target.url, options)
        return report

    def check(
        self, data: Frame | FrameStream, options: ObservationOptions, series: Sequence[Series], *, spool: bool
    ) -> UpsertReport:
        """Check and send nothing. The arguments and errors are those of ``DataSource.check``."""
        if is_stream(data) and not spool:
            joined = JoinedReport(self._name, dry_run=True)
            self._in_slices(data, options, series, self._checked, joined)
            return joined.report()
        return self._checked(self.observed(data, options, series))

    def observed(
        self, data: Frame | FrameStream, options: ObservationOptions, series: Sequence[Series]
    ) -> Observations:
        """Return all observations of a frame or stream, after all checks."""
        if not isinstance(data, Observations):
            return observed(data, options, series=series, data_source=self._name, slice_cells=self._slice_cells)
        if options.on_conflict == "raise":
            settle_conflicts(data, options, data_source=self._name)
        return data

    def _checked(self, observations: Observations) -> UpsertReport:
        return Tally(self._name, observations, dry_run=True).report("A check sends nothing.")

    def _upsert_in_slices(
        self, stream: object, options: ObservationOptions, series: Sequence[Series], progress: bool | Progress | None
    ) -> UpsertReport:
        joined = JoinedReport(self._name, dry_run=self._dry_run)
        with shown(progress, self._name, None) as settled:

            def deliver(observations: Observations) -> UpsertReport:
                tally = Tally(self._name, observations, dry_run=self._dry_run, progress=settled)
                return self._deliver(tally, joined)

            self._in_slices(stream, options, series, deliver, joined)
        report = joined.report()
        if report.rejected and options.on_invalid == "raise" and joined.last is not None:
            raise rejection(report, joined.last, self._target.url, options)
        return report

    def _in_slices(
        self,
        stream: object,
        options: ObservationOptions,
        series: Sequence[Series],
        deliver: Callable[[Observations], UpsertReport],
        joined: JoinedReport,
    ) -> None:
        try:
            deliver_in_slices(
                stream,
                options,
                deliver,
                joined,
                series=series,
                data_source=self._name,
                slice_cells=self._slice_cells,
                now_s=time.time(),
                warn=LOGGER.warning,
            )
        except TemporisError:
            raise
        except BaseException as interruption:
            if getattr(interruption, "report", None) is None:  # it came between two slices
                _attach(interruption, joined.report())
            raise

    def _deliver(self, tally: Tally, joined: JoinedReport | None = None) -> UpsertReport:
        # All of it inside the try: an interruption anywhere in here carries a report.
        try:
            if self._dry_run:
                return tally.report("A dry run writes nothing.")
            if len(tally.observations):
                self._target.upsert(tally)
            else:
                self._create_where_missing()
            report = tally.report()
        except TemporisError:
            raise
        except BaseException as interruption:
            _hand_on(tally, interruption, joined)
            raise
        return report

    def _create_where_missing(self) -> None:
        """Create the data source if ``create_missing`` is set, as any write does: a reader then gets an empty frame."""
        target = self._target
        if not (is_manageable(target) and target.creates_missing):
            return
        try:
            target.archive_state(self._name)
        except DataSourceNotFoundError:
            target.create_data_source(self._name)


def rejection(
    report: UpsertReport, observations: Observations, url: str, options: ObservationOptions
) -> RejectedObservationsError:
    """Make the error for observations that the service rejected one by one, in the words of these options."""
    first, origin = report.rejected_rows.iloc[0], observations.origin
    label = first.label if origin.columns is None else first.label[0]
    place = f"row {first.position} ({origin.labels_called} {label!r}), series {first['name']!r}"
    return RejectedObservationsError(
        f"Data source {report.data_source!r} at {url} rejected {report.rejected:,} of"
        f" {counted(report.observations_in, 'observation')} and stored {report.stored:,}. The first is {place}:"
        f" {first.reason}. {options.LIST_OF_REJECTED} Correct them, or pass {options.spelled('on_invalid', 'drop')}.",
        data_source=report.data_source,
        report=report,
    )


def _hand_on(tally: Tally, interruption: BaseException, joined: JoinedReport | None) -> None:
    """Attach the report as of now; a second interruption while the report is made carries it instead."""
    try:
        report = tally.report("The upsert was interrupted. Run it again.")
        _attach(interruption, report if joined is None else joined.with_slice(report, tally.observations))
    except KeyboardInterrupt as again:
        _hand_on(tally, again, joined)
        raise


def _attach(interruption: BaseException, report: UpsertReport) -> None:
    """Attach the report to an exception that is not ours, such as KeyboardInterrupt."""
    interruption.report = report  # type: ignore[attr-defined]  # documented: the only way to pass it on
    if hasattr(interruption, "add_note"):
        interruption.add_note(f"{report}. What was stored stays stored; the exception's .report lists the rows.")
