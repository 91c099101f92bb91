"""Sliced: a stream, checked and delivered slice by slice, with one report of all.

Comes in: a stream, how to read it, and a function that delivers observations. Goes out: a report of all slices; or an
error that carries the report of what was sent before.
Never: reads a slice before the one before it was delivered, so that of one key the later value is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.dtypes import kind_of
from temporis_dagster.data_source.observations.faults import NOTHING_SENT
from temporis_dagster.data_source.observations.layout import columns_by_role
from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.observations.observe import compared
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.series import Series
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.streams.carried import Carried
from temporis_dagster.data_source.streams.joined_report import JoinedReport
from temporis_dagster.data_source.streams.slice_reader import SliceReader
from temporis_dagster.data_source.streams.slices import Slice, slices_of
from temporis_dagster.errors import ConfigurationError, InvalidObservationsError, StreamError, TemporisError

INFER = (
    "{} infers the time from the rows around it, which a slice of a stream may not have. Pass spool=True, which then"
    " reads the whole stream into memory; or make the timestamps aware where the stream is made."
)
BEFORE = "Before that, the stream had {}."
AGAIN = " Make the stream again and upsert all of it: storing the same rows again is safe."


class Deliver(Protocol):
    """Delivers observations."""

    def __call__(self, observations: Observations, /) -> UpsertReport:
        """Deliver them, and say what happened to each; or raise an error with the report."""
        ...


def deliver_in_slices(
    stream: object,
    options: ObservationOptions,
    deliver: Deliver,
    joined: JoinedReport,
    *,
    series: Sequence[Series],
    data_source: str,
    slice_cells: int,
    now_s: float,
    warn: Callable[..., object],
) -> None:
    """Check and deliver a stream slice by slice.

    Args:
        stream: The stream.
        options: How to read it.
        deliver: Delivers the observations of a slice.
        joined: Where the reports of the slices are added up.
        series: The contracts of series.
        data_source: The data source that they are for, named in messages.
        slice_cells: How many observations a slice may hold.
        now_s: The current time, in Unix seconds.
        warn: Receives warnings: a logger's method.

    Raises:
        InvalidObservationsError: Some rows of a slice cannot be observations, or the columns change.
        ConfigurationError: The stream cannot be read slice by slice with these options, or a library is missing.
        StreamError: The source of the stream raised an error.
        TemporisError: A slice could not be delivered.
    """
    contracts = Contracts(series)
    reader, carried = SliceReader(options, contracts, now_s), Carried(options, contracts, data_source)
    warnings = Warnings(warn)

    def deliver_one(part: Slice) -> None:  # a function, so that nothing of a slice is kept while the next is read
        if options.ambiguous == "infer" and _has_local_time(part.frame, options):
            raise ConfigurationError(INFER.format(options.spelled("ambiguous", "infer")))
        unsent = NOTHING_SENT if not joined.slices else f"{part.rows_in_words} and what follows were not sent"
        worded, reading = reader.options_for(part), reader.read(part)
        if reading.invalid is not None:
            raise reading.invalid.error(worded, data_source, unsent)
        observations = compared(
            reading.observations,
            worded,
            contracts,
            told_apart_by=reading.told_apart_by,
            rising=reading.rising,
            data_source=data_source,
            warn=warnings.of(part),
            unsent=unsent,
        )
        carried.check(observations, unsent)
        _deliver(deliver, observations, part, joined)

    try:
        with closing(slices_of(stream, options, slice_cells)) as slices:
            while (part := next(slices, None)) is not None:
                deliver_one(part)
                del part
        if not joined.slices:
            _deliver(deliver, reader.read(Slice(pd.DataFrame())).observations, Slice(pd.DataFrame()), joined)
    except (InvalidObservationsError, StreamError) as error:
        error.report = joined.report()
        sent = f" {BEFORE.format(joined.in_words())}" if joined.slices else ""
        if not joined.slices and NOTHING_SENT not in str(error):
            sent = " Nothing was sent."
        error.args = (f"{error}{sent}{AGAIN if isinstance(error, StreamError) else ''}",)
        raise


def _deliver(deliver: Deliver, observations: Observations, part: Slice, joined: JoinedReport) -> None:
    try:
        report = deliver(observations)
    except TemporisError as error:
        if joined.slices and hasattr(error, "report"):
            before = BEFORE.format(joined.in_words())
            error.report = joined.with_slice(error.report, observations) if error.report else joined.report()
            error.args = (f"{error} This was in {part.rows_in_words} of a stream. {before}{AGAIN}",)
        raise
    joined.add(report, observations)


@dataclass
class Warnings:
    """Warnings of slices: only the first of each kind is shown, for a stream may have thousands."""

    warn: Callable[..., object]
    _shown: set[str] = field(default_factory=set)

    def of(self, part: Slice) -> Callable[..., object]:
        """Return what receives the warnings of a slice."""

        def warn(message: str, *values: Any) -> None:
            if message in self._shown:
                return
            self._shown.add(message)
            if part.is_whole:
                self.warn(message, *values)
            else:
                self.warn(f"In %s of the stream (the report counts all): {message}", part.rows_in_words, *values)

        return warn


def _has_local_time(frame: pd.DataFrame, options: ObservationOptions) -> bool:
    """Return whether the timestamps are, or may be, without a zone."""
    table = columns_by_role(frame, options)
    kind = kind_of(table.timestamps)
    naive = kind == "datetime" and not isinstance(table.timestamps.dtype, pd.DatetimeTZDtype)
    return naive or kind == "object"
