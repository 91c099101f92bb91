"""What can go wrong in a SQLite file, in words.

Comes in: an exception of the driver. Goes out: what happened and what to do, as a signal.
Never: raises.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from temporis_dagster.data_source.store.errors import StoreUnusableError

LOCKED = "is locked"
"""Part of SQLite's message, in any version, when another connection holds the lock. (Python has its error codes only
from 3.11 on.)"""

TAKEN = "already exists"
"""Part of SQLite's message where a table or view that is to be made is there."""

DAMAGED_ADVICE = "The file is damaged: restore it from a backup."

ADVICE = {
    LOCKED: "Find out what holds a transaction open (a database browser?), close it and try again.",
    TAKEN: "Rename or drop it: this library did not make it, and leaves it alone.",
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


def is_locked(error: BaseException) -> bool:
    """Whether the error is only that another connection holds the lock."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, sqlite3.OperationalError) and LOCKED in str(cause)


def failure_of(error: Exception, path: Path) -> StoreUnusableError | None:
    """Say what an exception means for the store in this file; None if it is not the database's.

    The signal's cause is the driver's own error: SQLAlchemy's would put thousands of parameters into the traceback.
    """
    if not isinstance(error, SQLAlchemyError | sqlite3.Error | OSError):
        return None
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    failure = _failure(cause, path)
    failure.__cause__ = cause
    return failure


def _failure(cause: BaseException, path: Path) -> StoreUnusableError:
    if not os.path.isdir(path.parent):  # noqa: PTH112  # Path.is_dir raises for a name too long
        return StoreUnusableError(f"its directory {path.parent} does not exist", "Create the directory and try again.")
    advice = next((advice for words, advice in ADVICE.items() if words in str(cause)), "Check the file and try again.")
    return StoreUnusableError(str(cause).rstrip("."), advice, retryable=is_locked(cause))
