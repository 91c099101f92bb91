"""What can go wrong in a store, in words: the one place where its errors are made.

Comes in: the driver's exceptions and the signals below. Goes out: one error of the tree, whose message ends with what
to do; for an upsert, it carries the report.
Never: lets an exception of the driver or of SQLAlchemy out, or holds back an exception of the caller or an interrupt.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.errors import DataSourceArchivedError, DataSourceNotFoundError, StoreError, TemporisError
from temporis_dagster.wording import agreeing, counted


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


LOCKED = "is locked"
"""Part of SQLite's message, in any version, when another connection holds the lock. (Python has its error codes only
from 3.11 on.)"""

DAMAGED_ADVICE = "The file is damaged: restore it from a backup."

ADVICE = {
    LOCKED: "Find out what holds a transaction open (a database browser?), close it and try again.",
    "disk is full": "Free some space and try again.",
    "readonly database": "Make the file and its directory writable for this user, and try again.",
    "Permission denied": "Check that this user may enter the directory, and try again.",
    "unable to open": "Check that it is a file this user may read and write, in a directory that is writable too.",
    "not a database": "Check the path: this file is not a SQLite database, or it is encrypted.",
    "malformed": DAMAGED_ADVICE,
    "no such table": "Tables of the store were removed from the file: restore it from a backup.",
    "disk I/O error": "Check the disk and the file system, and try again.",
}
"""Parts of SQLite's messages, and what to do about them."""


@contextmanager
def explained(
    url: str, data_source: str = "", account: str = "", *, path: Path, tally: Tally | None = None
) -> Iterator[None]:
    """Turn what the driver raises inside the block, and the signals, into errors of the tree.

    Args:
        url: The store's URL, for the message.
        data_source: The data source in question; empty where the call is not about one.
        account: The account that the data source belongs to.
        path: The store's file.
        tally: The tally of the upsert that is running; None outside an upsert.
    """
    try:
        yield
    except SourceMissingError:
        raise _not_found(url, data_source, account, path, tally) from None
    except SourceArchivedError:
        raise _archived(url, data_source, tally) from None
    except StoreUnusableError as failure:
        raise _failed(url, failure, tally) from failure.__cause__
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        # Chain the driver's own error: SQLAlchemy's would put thousands of parameters into the traceback.
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        raise _failed(url, _failure(cause, path), tally) from cause


def is_locked(error: BaseException) -> bool:
    """Whether the error is only that another connection holds the lock."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, sqlite3.OperationalError) and LOCKED in str(cause)


def _not_found(url: str, data_source: str, account: str, path: Path, tally: Tally | None) -> TemporisError:
    report = tally.report("the data source does not exist") if tally else UpsertReport(data_source=data_source)
    missing = "" if path.exists() else " (the file does not exist)"
    whose = "" if account == "default" else f" --account {shlex.quote(account)}"
    return DataSourceNotFoundError(
        f"There is no data source {data_source!r} of account {account!r} in {url}{missing}{_stored_so_far(report)}."
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


def _failed(url: str, failure: StoreUnusableError, tally: Tally | None) -> TemporisError:
    report = tally.report(f"{failure.what}. {failure.advice}") if tally else None
    so_far = _stored_so_far(report) + ". Upserting all of it again is safe" if report else ""
    return StoreError(
        f"The store {url} failed: {failure.what}{so_far}. {failure.advice}",
        url=url,
        report=report,
        retryable=failure.retryable,
    )


def _failure(cause: BaseException, path: Path) -> StoreUnusableError:
    if not os.path.isdir(path.parent):  # noqa: PTH112  # Path.is_dir raises for a name too long
        return StoreUnusableError(f"its directory {path.parent} does not exist", "Create the directory and try again.")
    advice = next((advice for words, advice in ADVICE.items() if words in str(cause)), "Check the file and try again.")
    return StoreUnusableError(str(cause).rstrip("."), advice, retryable=is_locked(cause))


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
