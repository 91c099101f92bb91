"""One SQLite file: connections, transactions, locks, forks.

Comes in: a path. Goes out: connections inside a transaction.
Never: knows data sources or observations, or opens the file other than through SQLite (closing such a handle would
drop the process's locks on it).

Durability: write-ahead log with ``synchronous=FULL``. What was committed survives the death of the process and a
loss of power, as far as the disk keeps what it confirmed; the ephemeral disk of a pod survives neither.

Which file a transaction is in: ``file_of`` knows it from the transaction's own connection, which stays open, and in
which the store's id was read. The ``SqliteFile`` is not asked, because another thread, or a fork, may close it at any
moment. An inode number alone is not enough: once no process has a deleted file open, the next file may get its number.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar, cast

import sqlalchemy as sa

from temporis_dagster.data_source.store import views
from temporis_dagster.data_source.store.errors import UNREADABLE, SourceMissingError, StoreUnusableError
from temporis_dagster.data_source.store.idle import ABANDONED, IdlePool, forget_in_children
from temporis_dagster.data_source.store.sqlite.failures import DAMAGED_ADVICE, TAKEN, failure_of, is_locked
from temporis_dagster.data_source.store.sqlite.schema import (
    TABLES_VERSION,
    installed_version,
    is_current,
    migrate,
    version_and_id,
)

BUSY_TIMEOUT_S = 60.0
"""How many seconds to wait for a lock that another connection holds."""

PARAMETERS = 999
"""The number of parameters that one statement may have in every version of SQLite. (From 3.32 on it is 32,766.)"""

POLL_S = 0.01
"""How long SQLite itself waits for a lock before it returns to Python, so that an interrupt is noticed and a waiting
connection finds the short gap between two chunks of a writer (SQLite's own waits soon grow to 100 ms)."""

FILE = "temporis_file"
"""The key of a connection's ``info`` under which it keeps the file of its transaction."""

VERSION = "temporis_version"
"""The key under which it keeps the version of the tables, as its transaction sees them."""

CACHED_STATEMENTS = 32
"""Prepared statements that a connection keeps: one of many rows takes some 400 kB."""

T = TypeVar("T")

Place: TypeAlias = "tuple[int, int]"
"""Which file is at a path: its device and its inode."""


class FileId(NamedTuple):
    """Which file a transaction is in.

    The inode tells a file from a copy of it at the same path. The store's own random id tells it from a later file with
    the same inode number: the system reuses the number once the first file is deleted and no process has it open.
    """

    place: Place
    store: bytes


class SqliteFile:
    """A SQLite file that holds a store, opened when first needed and again after ``close``.

    Args:
        path: The file, absolute.

    Attributes:
        busy_timeout_s: How many seconds to wait for a lock that another connection holds; None for ``BUSY_TIMEOUT_S``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.busy_timeout_s: float | None = None
        self._engine: sa.Engine | None = None
        self._opened: Place | None = None
        self._at_collection: weakref.finalize[..., SqliteFile] | None = None
        self._lock = threading.Lock()
        forget_in_children(self)

    @property
    def url(self) -> str:
        """The URL of the file, with an absolute path."""
        return _url(self.path)

    @property
    def exists(self) -> bool:
        """Whether the file exists yet: the first data source or token creates it."""
        return self.path.exists()

    @property
    def missing(self) -> str:
        """What a message about a data source that does not exist adds if there is no file."""
        return "" if self.exists else " (the file does not exist)"

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one unchanging state of the file.

        Raises:
            SourceMissingError: There is no store. None is made.
        """
        with self._transaction("BEGIN", create=False, wait_s=None) as connection:
            yield connection

    @contextmanager
    def writing(self, *, create: bool = False, wait_s: float | None = None) -> Iterator[sa.Connection]:
        """Yield a connection that holds the write lock. What is not committed with ``commit`` is rolled back.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for the lock; None for ``busy_timeout_s``.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        with self._transaction("BEGIN IMMEDIATE", create=create, wait_s=wait_s) as connection:
            yield connection

    def failure_of(self, error: Exception) -> StoreUnusableError | None:
        """Say what an exception of the driver means, its cause attached; None if it is not the database's."""
        return failure_of(error, self.path)

    def wait_for_locks(self, at_most_s: float) -> None:
        """Give up on a lock that another process holds after this time, in seconds, instead of after a minute."""
        self.busy_timeout_s = at_most_s

    def close(self) -> None:
        """Close the idle connections; those in use close when they are given back."""
        with self._lock:
            self._dispose()

    @contextmanager
    def _transaction(self, begin: str, *, create: bool, wait_s: float | None) -> Iterator[sa.Connection]:
        try:
            patience_s = self.busy_timeout_s if wait_s is None else wait_s
            connection = raw = None
            try:
                connection = _patiently(lambda: _begun(*self._open(create), begin), patience_s)
                raw = driver(connection)
                yield connection
                _close(connection)
            except BaseException:
                _abandon(connection, raw)
                raise
        except UNREADABLE as error:
            raise StoreUnusableError(
                f"what it holds cannot be read ({type(error).__name__}: {error})", DAMAGED_ADVICE
            ) from error

    def _open(self, create: bool) -> tuple[sa.Engine, Place]:
        with self._lock:
            present = self._place()
            if self._engine is None or self._opened is None or present != self._opened:
                self._dispose()
                if present is None and not create:
                    raise SourceMissingError
                self._engine = _prepared(self.path, create)
                self._at_collection = weakref.finalize(self, self._engine.dispose)
                self._opened = self._place()
                if self._opened is None:
                    raise SourceMissingError
            return self._engine, self._opened

    def _place(self) -> Place | None:
        """Which file is at the path now. A file that was deleted or replaced must no longer be written to."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino

    def _dispose(self) -> None:
        self._engine, self._opened = None, None
        if self._at_collection is not None:
            self._at_collection()

    def forget(self) -> None:
        """In a forked child, drop what belongs to the parent without closing it or having it collected.

        A thread of the parent, which does not exist in the child, may hold the lock, so the lock is replaced as well.
        """
        if self._engine is not None:
            ABANDONED.append(self._engine)
        if self._at_collection is not None:
            self._at_collection.detach()
        self._engine, self._opened, self._lock = None, None, threading.Lock()


def _abandon(connection: sa.Connection | None, raw: sqlite3.Connection | None) -> None:
    """End a transaction in which something went wrong, so that it holds no lock, whatever went wrong."""
    if connection is not None:
        with suppress(Exception):  # the original exception is raised; SQLAlchemy may fail to close after an interrupt
            connection.close()
    if raw is not None:
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            if raw.in_transaction:
                raw.close()


def _close(connection: sa.Connection) -> None:
    try:
        connection.close()
    except AssertionError as error:
        # Interrupted while it closes, SQLAlchemy finds in a ``finally`` that it is not done, and hides the interrupt.
        if error.__context__ is None or isinstance(error.__context__, Exception):
            raise
        raise error.__context__ from None


def commit(connection: sa.Connection, then: Callable[[], None] = lambda: None) -> None:
    """Make the transaction durable.

    Args:
        connection: A connection inside a transaction.
        then: Called once the transaction is durable, even if the call is interrupted: Python handles a signal that
            arrives during the commit only after it. Must do no more than take note.
    """
    # The driver's own connection: SQLAlchemy would close it when interrupted, and then it could not be asked.
    raw = driver(connection)
    try:
        _patiently(lambda: raw.execute("COMMIT"))
    except Exception:
        raise
    except BaseException:
        if not raw.in_transaction:
            then()
        raise
    then()


def file_of(connection: sa.Connection) -> FileId:
    """Return which file the transaction of this connection is in.

    The connection keeps it, because another thread may close the ``SqliteFile``, or fork the process, while the
    transaction goes on.
    """
    return cast("FileId", connection.info[FILE])


def driver(connection: sa.Connection) -> sqlite3.Connection:
    """Return the driver's own connection, for statements where SQLAlchemy's share of the time matters."""
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _url(path: Path) -> str:
    return sa.URL.create("sqlite", database=path.as_posix()).render_as_string()


def _prepared(path: Path, create: bool) -> sa.Engine:
    engine = sa.create_engine("sqlite://", creator=lambda: _connect(path, create), poolclass=IdlePool)
    try:
        _prepare(engine, path, create)
    except BaseException:
        engine.dispose()
        raise
    return engine


class _Driver(sqlite3.Connection):
    """A connection whose transaction ends when it is closed.

    SQLite keeps a closed connection, with its locks, until its last statement is reset. If an interrupt closed it in
    the middle of one, that would be when the traceback is collected.
    """

    def close(self) -> None:
        """Roll back and close."""
        with suppress(sqlite3.Error):  # it is closed already, or the file is damaged
            if self.in_transaction:
                self.rollback()
        super().close()


def _connect(path: Path, create: bool) -> sqlite3.Connection:
    mode: Literal["rw", "rwc"] = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=POLL_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=_Driver,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _begun(engine: sa.Engine, place: Place, begin: str) -> sa.Connection:
    connection = engine.connect()
    try:
        connection.exec_driver_sql(begin)
        connection.info[VERSION], store = version_and_id(connection)
        connection.info[FILE] = FileId(place, store)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(engine: sa.Engine, path: Path, create: bool) -> None:
    with engine.connect() as connection:
        version = installed_version(connection)
        if is_current(connection, version):
            return
        if version == 0 and not create:
            raise SourceMissingError
        if version < TABLES_VERSION:
            _migrate(connection)
            return
        try:
            _patiently(lambda: _migrate(connection), views.WAIT_S)
        except sa.exc.DBAPIError as error:
            driver(connection).rollback()
            failure = failure_of(error, path)
            if failure is not None:
                views.not_made(_url(path), failure, taken=TAKEN in failure.what)


def _migrate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA journal_mode = WAL").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    migrate(connection)
    connection.exec_driver_sql("COMMIT")


def _patiently(attempt: Callable[[], T], timeout_s: float | None = None) -> T:
    """Try until no lock is in the way. SQLite's own waiting does not cover the switch to the write-ahead log."""
    deadline = time.monotonic() + (BUSY_TIMEOUT_S if timeout_s is None else timeout_s)
    while True:
        try:
            return attempt()
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S / 10)
