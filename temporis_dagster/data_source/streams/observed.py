"""Observed: data of any kind becomes observations, for the surfaces over the core.

Comes in: a frame of any library or a stream, and how to read it. Goes out: observations, as ``observe`` returns them.
Never: sends anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from temporis_dagster.data_source.observations import Found, ObservationOptions, Observations, Series, observe
from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.observe import compared
from temporis_dagster.data_source.streams.kinds import in_memory, is_pandas, refuse_what_is_no_frame
from temporis_dagster.data_source.streams.slice_reader import SliceReader
from temporis_dagster.data_source.streams.slices import SLICE_CELLS, slice_of_table
from temporis_dagster.data_source.streams.spool import spooled
from temporis_dagster.errors import InvalidObservationsError, StreamError

LOGGER = logging.getLogger(__name__)


def observed(
    data: object,
    options: ObservationOptions | None = None,
    *,
    series: Sequence[Series] = (),
    found: Sequence[Found] = (),
    data_source: str | None = None,
    clock: Callable[[], float] = time.time,
    warn: Callable[..., object] = LOGGER.warning,
    slice_cells: int = SLICE_CELLS,
) -> Observations:
    """Check data of any kind and return its observations: ``observe`` for more than pandas' frames.

    A stream is read completely, into temporary files, before this returns. They have no names, and are gone with the
    last reference to the observations.

    Args:
        data: A pandas DataFrame or Series, a frame of another library, or a stream of frames.
        options: As in ``observe``.
        series: As in ``observe``.
        found: As in ``observe``. Not for streams.
        data_source: As in ``observe``.
        clock: As in ``observe``.
        warn: As in ``observe``.
        slice_cells: How many observations of a stream to read at a time.

    Raises:
        InvalidObservationsError: As ``observe`` does.
        ConfigurationError: As ``observe`` does, or a library that is needed is not installed.
        StreamError: The source of the stream raised an error, or the temporary files cannot be written.
    """
    if isinstance(data, pd.DataFrame | pd.Series):
        return observe(data, options, series=series, found=found, data_source=data_source, clock=clock, warn=warn)
    refuse_what_is_no_frame(data)
    options, contracts, now_s = options or ObservationOptions(), Contracts(series), clock()
    table = in_memory(data)
    if table is None:
        try:
            return spooled(
                data,
                options,
                contracts,
                slice_cells=slice_cells,
                data_source=data_source,
                now_s=now_s,
                warn=warn,
            )
        except StreamError as error:
            error.args = (f"{error} Nothing was sent. Make the stream again.",)
            raise
    try:
        part = slice_of_table(table, options)
    except InvalidObservationsError as error:
        error.args = (f"{error} Nothing was sent.",)
        raise
    reader = SliceReader(options, contracts, now_s)
    options, reading = reader.options_for(part), reader.read(part, found)
    if reading.invalid is not None:
        raise reading.invalid.error(options, data_source)
    return compared(
        reading.observations,
        options,
        contracts,
        told_apart_by=reading.told_apart_by,
        rising=reading.rising,
        data_source=data_source,
        warn=warn,
    )


def as_pandas(data: object, options: ObservationOptions | None = None) -> Any:
    """Return a frame that is in memory as a pandas DataFrame; anything else, also a stream, unchanged.

    Args:
        data: What a caller passed.
        options: How it will be read: columns that are not read are left out. None takes all columns.

    Raises:
        InvalidObservationsError: It is neither a frame nor a stream, or a column cannot be read.
        ConfigurationError: pyarrow is needed and not installed.
    """
    if is_pandas(data):
        return data
    refuse_what_is_no_frame(data)
    table = in_memory(data)
    if table is None:
        return data
    from temporis_dagster.data_source.streams.arrow_columns import frame_of_table, roles_of

    roles = roles_of(table.schema, options) if options is not None and len(table) else None
    return frame_of_table(table, roles)
