"""Observed: data of any kind becomes observations, for the surfaces over the core.

Comes in: a frame of any library or a stream, and how to read it. Goes out: observations, as ``observe`` returns them.
Never: sends anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pandas as pd

from temporis_dagster.data_source.observations import Found, ObservationOptions, Observations, Series, observe
from temporis_dagster.data_source.streams.kinds import in_memory, is_pandas, is_stream, refuse_what_is_no_frame
from temporis_dagster.data_source.streams.pieces import pieces_of

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
) -> Observations:
    """Check data of any kind and return its observations: ``observe`` for more than pandas' frames.

    Args:
        data: A pandas DataFrame or Series, a frame of another library, or a stream of frames, which is read completely.
        options: As in ``observe``.
        series: As in ``observe``.
        found: As in ``observe``.
        data_source: As in ``observe``.
        clock: As in ``observe``.
        warn: As in ``observe``.

    Raises:
        InvalidObservationsError: As ``observe`` does.
        ConfigurationError: As ``observe`` does, or a library that is needed is not installed.
    """
    options = options or ObservationOptions()
    frame = as_pandas(data, options)
    if is_stream(data) and not is_pandas(data) and frame is data:
        frame = _whole(data, options)
    if frame is not data:
        from temporis_dagster.data_source.streams.arrow_columns import in_arrow_words

        options = in_arrow_words(options)
    return observe(
        cast("pd.DataFrame", frame),
        options,
        series=series,
        found=found,
        data_source=data_source,
        clock=clock,
        warn=warn,
    )


def as_pandas(data: object, options: ObservationOptions | None = None) -> Any:
    """Return a frame that is in memory as a pandas DataFrame; anything else, also a stream, as it is.

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


def _whole(stream: object, options: ObservationOptions) -> pd.DataFrame:
    from temporis_dagster.data_source.streams.arrow_columns import frame_of_table, roles_of

    frames, rows = [], 0
    for piece in pieces_of(stream):
        if isinstance(piece, pd.DataFrame):
            frames.append(piece)
        else:
            roles = roles_of(piece.schema, options) if len(piece) else None
            frames.append(frame_of_table(piece, roles, rows))
        rows += len(piece)
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full) if full else pd.DataFrame()
