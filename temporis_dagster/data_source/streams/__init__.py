"""Streams: frames of other libraries than pandas, and data that comes in pieces.

Comes in: whatever a caller passed as data. Goes out: observations, or slices of them.
Never: imports a library of frames that the caller does not use.

The rooms
---------
``kinds``          what a thing is: a frame in memory, a stream, or neither
``arrow_columns``  a table of Arrow becomes a pandas frame
``pieces``         a stream, opened and read piece by piece
``observed``       the way in for surfaces over the core
"""

from temporis_dagster.data_source.streams.observed import as_pandas, observed

__all__ = ["as_pandas", "observed"]
