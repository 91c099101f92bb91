"""Reading: what is read back: columns, frames of the caller's choice, batches of bounded size, and the plot of it."""

from temporis_dagster.data_source.reading.batches import Reading, in_batches, rows_per_batch
from temporis_dagster.data_source.reading.forms import (
    ArrowBatch,
    ArrowTable,
    Form,
    arrow_reader,
    ensure_available,
    formed,
    record_batches,
)
from temporis_dagster.data_source.reading.plot import draw, ensure_matplotlib, new_axes, remarks_on, thinned
from temporis_dagster.data_source.reading.rows import Rows

__all__ = [
    "ArrowBatch",
    "ArrowTable",
    "Form",
    "Reading",
    "Rows",
    "arrow_reader",
    "draw",
    "ensure_available",
    "ensure_matplotlib",
    "formed",
    "in_batches",
    "new_axes",
    "record_batches",
    "remarks_on",
    "rows_per_batch",
    "thinned",
]
