"""What can go wrong in a store, in words: the one place where its errors are made.

Comes in: the driver's exceptions and the signals below. Goes out: one error of the tree, whose message ends with what
to do; for an upsert, it carries the report.
Never: lets an exception of the driver or of SQLAlchemy out, or holds back an exception of the caller or an interrupt.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.errors import (
    DataSourceArchivedError,
    DataSourceNotFoundError,
    StoreError,
    TemporisError,
    UnavailableError,
)
from temporis_dagster.wording import agreeing, counted

UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError)
"""What reading damaged content may raise besides the errors of the driver: text that is not UTF-8, or half a number."""


class SourceMissingError(Exception):
    """Signal: there is no such data source, or no store at all."""


class SourceArchivedError(Exception):
    """Signal: the data source is archived, so it takes no observations."""


class StoreUnusableError(Exception):
    """Signal: the store cannot be used.

    Args:
        what: What happened, to follow "The store ... failed:", without a full stop.
        advice: What to do, as a sentence.
        retryable: Whether waiting may help.
    """

    def __init__(self, what: str, advice: str, *, retryable: bool = False) -> None:
        super().__init__(what, advice)
        self.what, self.advice, self.retryable = what, advice, retryable


def ensure_known_version(version: int, known: int) -> int:
    """Return the version of a store's schema, after checking that it is not beyond the versions that are known.

    Raises:
        StoreUnusableError: A newer version of this library wrote the store.
    """
    if version > known:
        raise StoreUnusableError(
            f"it was written by a newer temporis_dagster (its schema has version {version}, this library knows"
            f" versions up to {known})",
            "Upgrade temporis_dagster here.",
        )
    return version


class StoreUnavailableError(StoreUnusableError):
    """Signal: the store could not be used for as long as it was waited for, but may be again.

    Args:
        what: What happened last, to follow "The store ... failed:", without a full stop.
        advice: What to do, as a sentence.
        attempts: The number of attempts.
    """

    def __init__(self, what: str, advice: str, *, attempts: int) -> None:
        super().__init__(what, advice, retryable=True)
        self.attempts = attempts


class NotCommittedError(Exception):
    """Signal: the database answered that it did not commit.

    Args:
        error: What the driver raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Explaining(Protocol):
    """What messages need to know of a database."""

    @property
    def url(self) -> str:
        """Where it is, fit to be shown."""
        ...

    @property
    def missing(self) -> str:
        """What a message about a data source that does not exist adds if there is no store at all."""
        ...

    def failure_of(self, error: Exception) -> StoreUnusableError | None:
        """Say what an exception of the driver means, its cause attached; None if it is not the database's."""
        ...


@contextmanager
def explained(
    database: Explaining, data_source: str = "", account: str = "", *, tally: Tally | None = None
) -> Iterator[None]:
    """Turn what the driver raises inside the block, and the signals, into errors of the tree.

    Args:
        database: The database.
        data_source: The data source in question; empty where the call is not about one.
        account: The account that the data source belongs to.
        tally: The tally of the upsert that is running; None outside an upsert.
    """
    try:
        yield
    except SourceMissingError:
        raise _not_found(database, data_source, account, tally) from None
    except SourceArchivedError:
        raise _archived(database.url, data_source, tally) from None
    except StoreUnusableError as failure:
        failure.__traceback__ = None  # its frames hold connections, whose texts name the user
        raise _failed(database.url, data_source, failure, tally) from failure.__cause__
    except TemporisError:
        raise
    except Exception as error:
        explained_failure = database.failure_of(error)
        if explained_failure is None:
            raise
        raise _failed(database.url, data_source, explained_failure, tally) from explained_failure.__cause__


def _not_found(database: Explaining, data_source: str, account: str, tally: Tally | None) -> TemporisError:
    report = tally.report("the data source does not exist") if tally else UpsertReport(data_source=data_source)
    whose = "" if account == "default" else f" --account {shlex.quote(account)}"
    url = database.url
    return DataSourceNotFoundError(
        f"There is no data source {data_source!r} of account {account!r} in {url}{database.missing}"
        f"{_stored_so_far(report)}."
        f" Create it in Python with create_data_source({data_source!r}) or create_missing=True, or in a shell with:"
        f" temporis sources create {data_source} --store {shlex.quote(url)}{whose}.",
        data_source=data_source,
        report=report,
    )


def _archived(url: str, data_source: str, tally: Tally | None) -> TemporisError:
    report = tally.report("the data source is archived") if tally else UpsertReport(data_source=data_source)
    return DataSourceArchivedError(
        f"Data source {data_source!r} at {url} is archived and takes no observations{_stored_so_far(report)}."
        " Unarchive it and upsert the same data again, or leave it archived.",
        data_source=data_source,
        report=report,
    )


def _failed(url: str, data_source: str, failure: StoreUnusableError, tally: Tally | None) -> TemporisError:
    report = tally.report(f"{failure.what}. {failure.advice}") if tally else None
    so_far = _stored_so_far(report) + ". Upserting all of it again is safe" if report else ""
    if isinstance(failure, StoreUnavailableError):
        return UnavailableError(
            f"The store {url} is not available, after {counted(failure.attempts, 'attempt')}: {failure.what}{so_far}."
            f" {failure.advice}",
            data_source=data_source,
            report=report or UpsertReport(data_source=data_source),
            attempts=failure.attempts,
            retry_after_s=None,
        )
    return StoreError(
        f"The store {url} failed: {failure.what}{so_far}. {failure.advice}",
        url=url,
        report=report,
        retryable=failure.retryable,
    )


def _stored_so_far(report: UpsertReport) -> str:
    acknowledged, unknown = report.stored + report.unchanged, report.unknown
    total = acknowledged + unknown + report.unsent
    if not total:
        return ""
    doubtful = f", {unknown:,} may be (the commit failed)" if unknown else ""
    are = agreeing(1 if total == 1 else acknowledged, "is", "are")
    are_not = agreeing(report.unsent, "is", "are")
    return (
        f": {acknowledged:,} of {counted(total, 'observation')} {are} stored, {report.unsent:,} {are_not} not{doubtful}"
    )
