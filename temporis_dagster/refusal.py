"""RefusedError, for a write that its own rules stopped, and what a failure states about any error.

Comes in: a message and metadata, or an error of the tree. Goes out: an error, or metadata, which each surface shows in
its own way.
Never: is raised by the core, or is worth a retry.
"""

from __future__ import annotations

from collections.abc import Mapping

from temporis_dagster.data_source.report import COUNTS, UpsertReport
from temporis_dagster.errors import InvalidObservationsError, TemporisError
from temporis_dagster.metadata_keys import ERROR, count_key
from temporis_dagster.metadata_values import Value, integer, offending_values, text


class RefusedError(TemporisError):
    """A write was stopped by the rules of its asset.

    Attributes:
        metadata: What a failure shows next to the message: tables of rows, the plan.
    """

    def __init__(self, message: str, *, metadata: Mapping[str, Value] | None = None) -> None:
        super().__init__(message)
        self.metadata = dict(metadata or {})


def facts_of(error: TemporisError) -> dict[str, Value]:
    """Return what a failure states about an error: its class, the counts and the first of the rows in question."""
    facts = {ERROR: text(type(error).__name__)}
    if isinstance(error, InvalidObservationsError):
        facts |= offending_values("invalid", error.rows)
    report: UpsertReport | None = getattr(error, "report", None)
    if report is not None:
        facts |= {count_key(name): integer(getattr(report, name)) for name in COUNTS}
        facts |= offending_values("rejected", report.rejected_rows)
    return facts
