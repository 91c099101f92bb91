"""Loading: what an input asks for becomes the object that the body of its asset gets.

Comes in: Dagster's context of an input, the data source, what the input asks for. Goes out: frames, and warnings about
series that are missing or not the asset's own.
Never: knows which rows belong to a partition (``read_back`` does), or how a frame is made (``input_form`` does).
"""

from collections.abc import Iterator

import dagster as dg

from temporis_dagster.data_source.reading import Rows
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.io_manager.input_request import InputRequest, series_of_others, without_observations
from temporis_dagster.io_manager.read_back import (
    read_apart,
    read_apart_in_batches,
    read_back,
    read_back_in_batches,
)


def loaded(context: dg.InputContext, source: DataSource, request: InputRequest) -> object:
    """Return what an input asks for: a frame, a reader of batches, or one of these for each partition.

    Args:
        context: Dagster's context of the input, whose log takes the warnings.
        source: The data source.
        request: What the input asks for.
    """
    form = request.form
    if form.kind == "reader":
        if form.apart:
            return {key: form.reader(batches) for key, batches in read_apart_in_batches(source, request).items()}
        return form.reader(_warning_after(context, read_back_in_batches(source, request), request))
    if form.apart:
        apart = read_apart(source, request)
        present = {name for rows in apart.values() for name in rows.present()}
        _warn(context, without_observations(present, request))
        return {key: form.frame(rows) for key, rows in apart.items()}
    found = read_back(source, request)
    _warn_of_series(context, found.present(), request)
    return form.frame(found)


def _warning_after(context: dg.InputContext, batches: Iterator[Rows], request: InputRequest) -> Iterator[Rows]:
    """Pass batches on, and warn after the last one, when it is known which series there are."""
    present = set[str]()
    for rows in batches:
        present |= rows.present()
        yield rows
    _warn_of_series(context, present, request)


def _warn_of_series(context: dg.InputContext, present: set[str], request: InputRequest) -> None:
    _warn(context, series_of_others(len(present), request))
    _warn(context, without_observations(present, request))


def _warn(context: dg.InputContext, warning: str | None) -> None:
    if warning is not None:
        context.log.warning("Input %s: %s", context.asset_key.to_user_string(), warning)
