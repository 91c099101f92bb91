"""Reading: what is read back, as columns, in the library of the caller's choice, and in batches of bounded size."""

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
from temporis_dagster.data_source.reading.rows import Rows

__all__ = [
    "ArrowBatch",
    "ArrowTable",
    "Form",
    "Reading",
    "Rows",
    "arrow_reader",
    "ensure_available",
    "formed",
    "in_batches",
    "record_batches",
    "rows_per_batch",
]
