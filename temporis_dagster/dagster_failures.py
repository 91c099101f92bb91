"""Translates errors for Dagster: what is never retried, what is retried later, and what the retry policy decides.

| error | becomes |
| --- | --- |
| one that a retry meets again: invalid or rejected rows, 401, 404, 409, a wrong option | ``Failure`` without a retry |
| unavailable, and a mirror keeps the rows | ``Failure`` with the counts; the asset's retry policy decides |
| unavailable, and the service asks for a longer wait than ``give_up_after_s`` | ``RetryRequested`` after that wait |
| unavailable otherwise, or a locked database | unchanged; the asset's retry policy decides |

Dagster turns a failed step green only by re-running it. If a mirror keeps the rows, a flush delivers them without
re-running the step. So this module requests no retry then, but a retry policy of the asset still applies.

Comes in: the error tree. Goes out: Dagster's failures, with the rows and counts to act on.
Never: decides which errors can be retried (the error knows), or waits.
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
"""The maximum number of re-runs of a step because the service asked for a long wait."""


@contextmanager
def failures_for_dagster(give_up_after_s: float = math.inf) -> Iterator[None]:
    """Turn errors of the tree into failures that Dagster acts on; see the table at the top.

    Args:
        give_up_after_s: The longest wait, in seconds, for which the client itself retries; infinite if nothing is sent.

    Raises:
        Failure: The same call would raise the same error again (never retried), or there is an outage while a mirror
            keeps the rows (retried if the asset's retry policy says so). The message is that of the error.
        RetryRequested: The service asks for a longer wait than ``give_up_after_s``.
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
    """Return the number of rows and a table of the first of them, as metadata; nothing if there are no rows.

    Args:
        kind: What is wrong with the rows, in one word, which becomes part of the metadata keys.
        rows: All of the rows, or the first of them.
        count: The number of rows, if ``rows`` does not have all of them.
    """
    if rows.empty:
        return {}
    return {
        row_count_key(kind): dg.MetadataValue.int(len(rows) if count is None else count),
        rows_key(kind): table_of(rows),
    }


def table_of(rows: pd.DataFrame, most: int = SHOWN_ROWS) -> dg.TableMetadataValue:
    """Return the first rows of a frame as a table; a frame without rows has no table.

    Args:
        rows: At least one row.
        most: The maximum number of rows to show.
    """
    first = rows.head(most)
    cells = {str(column): [_cell(value) for value in first[column]] for column in first}
    records = [dg.TableRecord(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]
    return dg.MetadataValue.table(records)


def _cell(value: object) -> str | int:
    """Return a cell as an integer or as text, because NaN and infinity are not valid JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return printable(value.isoformat() if isinstance(value, pd.Timestamp) else str(value))


def printable(text: str, limit: int = 2_000) -> str:
    """Return the text in a form that every database accepts: no lone surrogates, no NUL, and at most ``limit`` long."""
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return clean if len(clean) <= limit else f"{clean[:limit]}..."
