"""Errors as Dagster understands them: what is never retried, what is retried later, and what the retry policy decides.

| error | becomes |
| --- | --- |
| a retry meets it again: bad or rejected rows, 401, 404, 409, a wrong option | ``Failure``, no retry |
| unavailable, and a mirror keeps the rows | ``Failure`` with the counts: the asset's retry policy decides |
| unavailable, and the service asks for a longer wait than ``give_up_after_s`` | ``RetryRequested`` after that wait |
| unavailable, a locked database | itself: the asset's retry policy decides |

Dagster has no other way than to run a step again to turn it green. Where a mirror keeps the rows, a flush delivers them
without that: nothing is started again on our own account, and nothing that the asset's author asked for is refused.

Comes in: the error tree. Goes out: Dagster's failures, with the rows and counts to act on.
Never: decides what may pass (the error knows), or waits.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pandas as pd

from temporis_dagster.data_source.report import COUNTS, UpsertReport
from temporis_dagster.errors import InvalidObservationsError, TemporisError, UnavailableError
from temporis_dagster.metadata_keys import ERROR, count_key, row_count_key, rows_key

SHOWN_ROWS = 20

LATER_RETRIES = 3
"""How often a step is started again because the service asked for a long wait."""


@contextmanager
def failures_for_dagster(give_up_after_s: float = math.inf) -> Iterator[None]:
    """Raise what Dagster acts on, for the errors of the tree; see the table above.

    Args:
        give_up_after_s: The longest wait that the client itself had the patience for; infinite where nothing is sent.

    Raises:
        Failure: From an error that the same call would meet again, with its words; and, retried where the asset's
            policy says so, from an outage while a mirror keeps the rows.
        RetryRequested: From an error of a service that asks to wait for longer.
    """
    try:
        yield
    except UnavailableError as error:
        if error.report.pending:
            raise dg.Failure(printable(str(error)), metadata=_facts(error)) from error
        if (error.retry_after_s or 0.0) <= give_up_after_s:
            raise
        raise dg.RetryRequested(LATER_RETRIES, seconds_to_wait=error.retry_after_s) from error
    except TemporisError as error:
        if error.retryable:
            raise
        raise dg.Failure(printable(str(error)), metadata=_facts(error), allow_retries=False) from error


def _facts(error: TemporisError) -> dict[str, dg.MetadataValue]:
    facts: dict[str, dg.MetadataValue] = {ERROR: dg.MetadataValue.text(type(error).__name__)}
    if isinstance(error, InvalidObservationsError):
        facts |= offending_rows("invalid", error.rows)
    report: UpsertReport | None = getattr(error, "report", None)
    if report is not None:
        facts |= {count_key(name): dg.MetadataValue.int(getattr(report, name)) for name in COUNTS}
        facts |= offending_rows("rejected", report.rejected_rows)
    return facts


def offending_rows(kind: str, rows: pd.DataFrame, count: int | None = None) -> dict[str, dg.MetadataValue]:
    """How many rows and the first of them as a table; nothing for no rows.

    Args:
        kind: What is wrong with them, in one word.
        rows: They, or the first of them.
        count: How many there are, where ``rows`` are not all.
    """
    if rows.empty:
        return {}
    first = rows.head(SHOWN_ROWS)
    cells = {str(column): [_cell(value) for value in first[column]] for column in first}
    records = [dg.TableRecord(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]
    return {
        row_count_key(kind): dg.MetadataValue.int(len(rows) if count is None else count),
        rows_key(kind): dg.MetadataValue.table(records),
    }


def _cell(value: object) -> str | int:
    """Text, except plain integers: NaN and the infinities are not JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return printable(value.isoformat() if isinstance(value, pd.Timestamp) else str(value))


def printable(text: str, limit: int = 2_000) -> str:
    """The text as Unicode that any database takes: no lone surrogates, no NUL, not endless."""
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return clean if len(clean) <= limit else f"{clean[:limit]}..."
