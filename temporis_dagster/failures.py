"""What a retry cannot mend becomes a ``dagster.Failure`` that is not retried, with the rows and counts to act on.

Comes in: the error tree. Goes out: Dagster failures for permanent errors; transient ones pass as they are, for the
asset's retry policy. Never: decides what is transient (the error knows).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pandas as pd

from temporis_dagster.data_source.report import COUNTS, UpsertReport
from temporis_dagster.errors import InvalidObservationsError, TemporisError

SHOWN_ROWS = 20


@contextmanager
def permanent_failures() -> Iterator[None]:
    """Raise ``Failure(allow_retries=False)`` for every error that the same call would meet again.

    Raises:
        Failure: From the error, whose words it has.
    """
    try:
        yield
    except TemporisError as error:
        if error.retryable:
            raise
        raise dg.Failure(printable(str(error)), metadata=_facts(error), allow_retries=False) from error


def _facts(error: TemporisError) -> dict[str, dg.MetadataValue]:
    facts: dict[str, dg.MetadataValue] = {}
    if isinstance(error, InvalidObservationsError):
        facts |= offending_rows("invalid", error.rows)
    report: UpsertReport | None = getattr(error, "report", None)
    if report is not None:
        facts |= {f"temporis/{name}": dg.MetadataValue.int(getattr(report, name)) for name in COUNTS}
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
        f"temporis/{kind}_count": dg.MetadataValue.int(len(rows) if count is None else count),
        f"temporis/{kind}_rows": dg.MetadataValue.table(records),
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
