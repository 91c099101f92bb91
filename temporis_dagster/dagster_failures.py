"""Translates errors for Dagster: what is never retried, what is retried later, and what the retry policy decides.

| error | becomes |
| --- | --- |
| one that a retry meets again: invalid or rejected rows, 401, 404, 409, a wrong option | ``Failure`` without a retry |
| a refusal: rows outside the partitions, a change beyond the limits, another partition's rows | the same |
| unavailable, and a mirror keeps the rows | ``Failure`` with the counts; the asset's retry policy decides |
| unavailable, and the service asks for a longer wait than ``give_up_after_s`` | ``RetryRequested`` after that wait |
| unavailable otherwise, or a locked database | unchanged; the asset's retry policy decides |
| a stream whose source raised ``Failure`` or ``RetryRequested`` | that, as in the body of the asset |
| a stream whose source failed otherwise | unchanged; the asset's retry policy decides |

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

from temporis_dagster.dagster_metadata import for_dagster
from temporis_dagster.errors import StreamError, TemporisError, UnavailableError
from temporis_dagster.metadata_values import offending_values, printable
from temporis_dagster.refusal import RefusedError, facts_of

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

    Either is raised, too, if the source of a stream has raised it.
    """
    try:
        yield
    except UnavailableError as error:
        if error.report.pending:
            raise dg.Failure(printable(str(error)), metadata=for_dagster(facts_of(error))) from error
        if (error.retry_after_s or 0.0) <= give_up_after_s:
            raise
        raise dg.RetryRequested(LATER_RETRIES, seconds_to_wait=error.retry_after_s) from error
    except RefusedError as refused:
        raise dg.Failure(str(refused), metadata=for_dagster(refused.metadata), allow_retries=False) from None
    except TemporisError as error:
        asked = error.__cause__
        if isinstance(error, StreamError) and isinstance(asked, dg.Failure | dg.RetryRequested):
            error.__cause__ = None  # else each would be the cause of the other
            raise asked from None
        if error.retryable:
            raise
        raise dg.Failure(printable(str(error)), metadata=for_dagster(facts_of(error)), allow_retries=False) from error


def offending_rows(kind: str, rows: pd.DataFrame, count: int | None = None) -> dict[str, dg.MetadataValue]:
    """Return the number of rows and a table of the first of them, as metadata; nothing if there are no rows.

    Args:
        kind: What is wrong with the rows, in one word, which becomes part of the metadata keys.
        rows: All of the rows, or the first of them.
        count: The number of rows, if ``rows`` does not have all of them.
    """
    return for_dagster(offending_values(kind, rows, count))
