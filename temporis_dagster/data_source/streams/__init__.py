"""Streams: frames of other libraries than pandas, and data that comes in pieces.

Comes in: whatever a caller passed as data. Goes out: observations, or slices of them.
Never: imports a library of frames that the caller does not use.

The rooms
---------
``frame_types``      what ``upsert`` takes, as types
``kinds``            what a thing is: a frame in memory, a stream, or neither
``pieces``           a stream, opened and read piece by piece
``slices``           the pieces, joined and cut to frames of equal length
  ``arrow_columns``    a table of Arrow becomes a pandas frame
``slice_reader``     slices, checked row by row
``observed``         the way in for what needs all observations at once: frames, and streams that are spooled
  ``spool``            a stream, checked completely, in temporary files
``sliced``           the way in for streams: checked and delivered slice by slice
  ``carried``          the last observation of each series, to compare the next slice with
  ``joined_report``    one report of all slices
"""

from temporis_dagster.data_source.streams.frame_types import ArrowFrame, ArrowStream, Frame, FrameStream, LazyFrame
from temporis_dagster.data_source.streams.joined_report import JoinedReport
from temporis_dagster.data_source.streams.kinds import is_stream
from temporis_dagster.data_source.streams.observed import as_pandas, observed
from temporis_dagster.data_source.streams.sliced import deliver_in_slices
from temporis_dagster.data_source.streams.slices import SLICE_CELLS

__all__ = [
    "SLICE_CELLS",
    "ArrowFrame",
    "ArrowStream",
    "Frame",
    "FrameStream",
    "JoinedReport",
    "LazyFrame",
    "as_pandas",
    "deliver_in_slices",
    "is_stream",
    "observed",
]
