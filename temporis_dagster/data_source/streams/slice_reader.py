"""SliceReader: slices of a stream, checked row by row.

Comes in: slices in order, and the options. Goes out: what each was read as.
Never: compares rows of one slice with those of another, or decides by the first slice what only the whole stream shows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from temporis_dagster.data_source.observations.calendar_numbers import numbers_in
from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.distinguishing_column import column_that_tells_apart
from temporis_dagster.data_source.observations.dtypes import plain
from temporis_dagster.data_source.observations.faults import Found
from temporis_dagster.data_source.observations.layout import table_of
from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.observations.observe import Reading, read
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.streams.slices import Slice


class SliceReader:
    """Reads the slices of one stream.

    Args:
        options: How to read them.
        contracts: What their values must be.
        now_s: The current time, in Unix seconds: the same for all slices.
    """

    def __init__(self, options: ObservationOptions, contracts: Contracts, now_s: float) -> None:
        self._options, self._contracts, self._now_s = options, contracts, now_s
        self._are_seconds = False

    def options_for(self, part: Slice) -> ObservationOptions:
        """Return the options, in the words that fit a slice."""
        if not part.in_arrow:
            return self._options
        from temporis_dagster.data_source.streams.arrow_columns import in_arrow_words

        return in_arrow_words(self._options)

    def read(self, part: Slice, found: Sequence[Found] = ()) -> Reading:
        """Check the rows of a slice.

        Numbers are refused as calendar dates if all of them read as dates. One slice of which that is not true is
        enough for the whole stream: in the slices after it, they are seconds.
        """
        options = self.options_for(part)
        reading = self._read(part, options, found)
        if self._are_seconds and reading.invalid is not None and reading.invalid.call_at_fault:
            in_seconds = self._read(part, replace(options, unit="s"), found)
            if in_seconds.invalid is None or not in_seconds.invalid.call_at_fault:
                return in_seconds
        self._are_seconds |= reading.invalid is None and options.unit is None and _holds_several_numbers(part, options)
        return reading

    def _read(self, part: Slice, options: ObservationOptions, found: Sequence[Found]) -> Reading:
        reading = read(part.frame, options, self._contracts, found=found, now_s=self._now_s, first_row=part.first_row)
        if part.whole is None:
            return reading
        return replace(reading, told_apart_by=lambda kept: _told_apart(part, options, kept))


def _holds_several_numbers(part: Slice, options: ObservationOptions) -> bool:
    """Return whether different numbers are among the timestamps. Moments of other types say nothing about numbers."""
    numbers, _ = numbers_in(plain(table_of(part.frame, options).timestamps))
    return bool(len(numbers) and numbers.min() != numbers.max())


def _told_apart(part: Slice, options: ObservationOptions, kept: Observations) -> Hashable | None:
    """Look for the column among those that were left out because they are not read."""
    whole = part.frame if part.whole is None else part.whole()
    return column_that_tells_apart(whole, table_of(whole, options), kept)
