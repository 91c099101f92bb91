"""One PostgreSQL database: connections, transactions, patience, forks.

Comes in: a URL. Goes out: connections inside a transaction.
Never: knows data sources or observations.

Durability: what was committed survives as far as the server keeps what it confirmed. Where ``synchronous_commit`` is
off, it is on for the transactions of this library: otherwise a crash of the server would lose what it confirmed last.

The states of a transaction::

    begun ──> committed                   the server said so
      │  └──> not committed               it refused, or the connection was lost before COMMIT was sent: do it again
      └─────> without an answer           the connection was lost after COMMIT was sent: do it again, too, because
                                          doing a transaction of this library twice leaves what doing it once does
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from temporis_dagster.data_source.store import views
from temporis_dagster.data_source.store.errors import (
    NotCommittedError,
    SourceMissingError,
    StoreUnavailableError,
)
from temporis_dagster.data_source.store.idle import ABANDONED, IdlePool, forget_in_children
from temporis_dagster.data_source.store.postgres import schema
from temporis_dagster.data_source.store.postgres.connecting import Parameters, shown
from temporis_dagster.data_source.store.postgres.failures import (
    PostgresUnusableError,
    connecting_failure,
    failure_of,
)

LOGGER = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 60.0
"""How many seconds a statement waits for a lock that another transaction holds, before it is tried again."""

STATEMENT_TIMEOUT_S = 300.0
"""How many seconds a statement may take that writes, unless the server or the user has a limit already."""

IDLE_TIMEOUT_S = 60.0
"""After how many seconds of silence in a transaction the server ends it: a client that is gone without a word must not
keep its lock."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
"""How long to wait before the server is tried again, in seconds: twice as long each time, up to the second number."""

STORE = "temporis_store"
"""The key of a connection's ``info`` under which it keeps what tells the store of its transaction from others."""

VERSION = "temporis_version"
"""The key under which it keeps the version of the tables, as its transaction sees them."""

WRITES = "temporis_writes"
"""The key of a connection's ``info`` under which it keeps whether its transaction may write."""

PLANS = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
"""Settings that are off in these transactions. All queries look up keys or ranges of keys, for which the index is best;
a table that has grown since it was last analyzed would lead the planner to scan it."""

T = TypeVar("T")


def _settings(*names_and_values: tuple[str, str]) -> str:
    """Return expressions that set these for the transaction. Values are SQL."""
    return ", ".join(f"set_config('{name}', {value}, true)" for name, value in names_and_values)


def _unless_set(name: str, seconds: float) -> tuple[str, str]:
    """Return a timeout, unless one has been set by the server, the user or the URL."""
    current = f"current_setting('{name}')"
    return name, f"CASE WHEN {current} = '0' THEN '{int(seconds * 1000)}' ELSE {current} END"


ASYNCHRONOUS = "current_setting('synchronous_commit')"

# A dump that was restored has the id of the store from which it was made, but its tables are others.
LOOK = """SELECT (SELECT version FROM temporis_schema_version),
    (SELECT id || ' ' || 'temporis_observation'::regclass::oid FROM temporis_store)"""

PLANNING = _settings(*((plan, "'off'") for plan in PLANS))

LIMITS = _settings(
    _unless_set("statement_timeout", STATEMENT_TIMEOUT_S),
    _unless_set("idle_in_transaction_session_timeout", IDLE_TIMEOUT_S),
    ("synchronous_commit", f"CASE {ASYNCHRONOUS} WHEN 'off' THEN 'on' ELSE {ASYNCHRONOUS} END"),
)

WAITING = _settings(("lock_timeout", "'{lock_timeout_ms}'"))

PREPARING = f"SELECT {WAITING}, {_settings(_unless_set('idle_in_transaction_session_timeout', IDLE_TIMEOUT_S))}"

BEGIN_READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT {WAITING}, {PLANNING}; {LOOK}"

BEGIN_WRITING = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {WAITING}, {LIMITS}, {PLANNING}; {LOOK}"


class PostgresServer:
    """A PostgreSQL database that holds a store, connected to when first needed and again after ``close``.

    Args:
        url: The URL of the database.
        give_up_after_s: How many seconds to go on while the server cannot be reached, or others are in the way.
    """

    def __init__(self, url: str, give_up_after_s: float) -> None:
        self._shown = shown(url)
        self._parameters = Parameters(url)
        self._patience_s = give_up_after_s
        self._engine: sa.Engine | None = None
        self._at_collection: weakref.finalize[..., PostgresServer] | None = None
        self._lock = threading.Lock()
        self._wait: Callable[[float], None] = time.sleep
        forget_in_children(self)

    @property
    def url(self) -> str:
        """The URL of the database, without user, password and options."""
        return self._shown

    @property
    def exists(self) -> bool:
        """Whether there is a store in the database yet."""

        def look() -> bool:
            with self.reading():
                return True

        try:
            return self.patiently(look)
        except SourceMissingError:
            return False

    @property
    def missing(self) -> str:
        """What a message about a data source that does not exist adds if there is no store."""
        return "" if self._engine is not None else " (there is no store in this database yet)"

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one unchanging state of the database.

        Raises:
            SourceMissingError: There is no store. None is made.
        """
        with self._transaction(self._waiting(BEGIN_READING), create=False) as connection:
            connection.info[WRITES] = False
            yield connection

    @contextmanager
    def writing(self, *, create: bool = False, wait_s: float | None = None) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that may write. What is not committed with ``commit`` is rolled back.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for a lock at most; None for the usual time.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        with self._transaction(self._waiting(BEGIN_WRITING, wait_s), create=create) as connection:
            connection.info[WRITES] = True
            yield connection

    def commit(self, connection: sa.Connection) -> None:
        """Make the transaction durable.

        Args:
            connection: A connection inside a transaction.

        Raises:
            NotCommittedError: The server answered that it did not commit.
            psycopg.Error: The connection was lost: it is not known whether the server committed.
        """
        raw = driver(connection)
        try:
            raw.execute("COMMIT")
        except psycopg.Error as error:
            if raw.broken or raw.closed:
                raise
            raise NotCommittedError(error) from None

    def patiently(self, work: Callable[[], T], *, at_most_s: float | None = None) -> T:
        """Do some work, again and again while what prevents it passes, but no longer than ``give_up_after_s``.

        Args:
            work: One transaction. It is safe to do it twice.
            at_most_s: How many seconds to go on at most, if that is shorter.

        Raises:
            StoreUnavailableError: It was prevented for too long.
        """
        patience_s = self._patience_s if at_most_s is None else min(at_most_s, self._patience_s)
        began: float | None = None
        attempts = 0
        while True:
            attempts += 1
            started = time.monotonic()
            try:
                return work()
            except Exception as error:
                failure = self.failure_of(error)
                if failure is None or not failure.passes:
                    raise
            now = time.monotonic()
            if began is None:
                # What a lock took is part of the wait. The time of work that was cut, such as a long read, is not.
                began = started if failure.waited else now
            left_s = began + patience_s - now
            # After the first failure there is always a second attempt: an idle connection may have been lost long ago.
            if left_s <= 0 and (attempts > 1 or failure.waited):
                unavailable = StoreUnavailableError(failure.what, failure.advice, attempts=attempts)
                raise unavailable from failure.__cause__
            self.close()  # what is idle may be of a server that is gone
            if attempts == 1:
                continue
            if attempts == 2:  # noqa: PLR2004  # once for each outage
                LOGGER.warning(
                    "The store %s cannot be used now: %s. It is tried again for up to %.0f s.",
                    self.url,
                    failure.what,
                    left_s,
                )
            longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempts - 2, 10))
            self._wait(min(left_s, random.uniform(longest_s / 2, longest_s)))  # noqa: S311  # not for secrets

    def failure_of(self, error: Exception) -> PostgresUnusableError | None:
        """Say what an exception of the driver means, its cause attached; None if it is not the database's."""
        return failure_of(error, self._parameters.secrets)

    def wait_for_locks(self, at_most_s: float) -> None:
        """Give up on others, and on a server that cannot be reached or says nothing, after this time, in seconds."""
        self._patience_s = at_most_s
        self._parameters.connect_within(at_most_s)

    def close(self) -> None:
        """Close the idle connections; those in use close when they are given back."""
        with self._lock:
            self._engine = None
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
        self._engine, self._lock = None, threading.Lock()

    def _waiting(self, begin: str, at_most_s: float | None = None) -> str:
        """Return statements that limit how long each later statement waits for a lock."""
        limit_s = max(0.001, min(LOCK_TIMEOUT_S, self._patience_s, math.inf if at_most_s is None else at_most_s))
        return begin.format(lock_timeout_ms=int(limit_s * 1000))

    @contextmanager
    def _transaction(self, begin: str, *, create: bool) -> Iterator[sa.Connection]:
        with _connected(self._open(create)) as (connection, raw):
            self._begin(connection, raw, begin)
            yield connection

    def _begin(self, connection: sa.Connection, raw: psycopg.Connection[Any], begin: str) -> None:
        """Begin the transaction, and look at which store this is, in one round trip."""
        try:
            cursor = raw.execute(begin)
        except psycopg.errors.UndefinedTable:
            # The tables have been removed since they were seen. Is there no store any more, or only part of one?
            self.close()
            self._open(create=False)
            raise
        while cursor.nextset():
            pass
        version, store = cast("tuple[int | None, object]", cursor.fetchone())
        connection.info[VERSION] = schema.ensure_known(version)
        if store is None:
            raise schema.damaged("temporis_store")
        connection.info[STORE] = store

    def _open(self, create: bool) -> sa.Engine:
        with self._lock:
            if self._engine is None:
                engine = sa.create_engine(
                    "postgresql+psycopg://",
                    creator=_connector(self._parameters),
                    poolclass=IdlePool,
                    use_native_hstore=False,
                    isolation_level="AUTOCOMMIT",
                )
                try:
                    _prepare(engine, self, create, self._waiting(PREPARING), self._waiting(PREPARING, views.WAIT_S))
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
                self._at_collection = weakref.finalize(self, engine.dispose)
            return self._engine


def driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    """Return the driver's own connection: for COPY, binary arrays, and statements where SQLAlchemy's share matters."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def store_of(connection: sa.Connection) -> object:
    """Return what tells the store that the transaction of this connection is in from others."""
    return connection.info[STORE]


def _connector(parameters: Parameters) -> Callable[[], psycopg.Connection[Any]]:
    def connect() -> psycopg.Connection[Any]:
        try:
            return parameters.connect()
        except (psycopg.Error, OSError) as error:
            failure = connecting_failure(str(error), parameters.secrets)
        # Raised here, it has no context: the frames of the driver's exception hold the password.
        raise failure

    return connect


def _prepare(engine: sa.Engine, server: PostgresServer, create: bool, limit: str, limit_of_upgrades: str) -> None:
    with _connected(engine) as (connection, raw):
        # A process that waits while another one makes the store must see afterwards what that one made.
        raw.isolation_level = IsolationLevel.READ_COMMITTED
        with raw.transaction():
            raw.execute(limit)
            version = schema.installed_version(connection)
            current = schema.is_current(connection, version)
        if current:
            return
        if version == 0 and not create:
            raise SourceMissingError
        try:
            with raw.transaction():
                # A migration that waits to add a column to a table holds up every transaction that comes later.
                raw.execute(limit if version < schema.TABLES_VERSION else limit_of_upgrades)
                schema.migrate(connection)
        except Exception as error:
            failure = server.failure_of(error)
            if version < schema.TABLES_VERSION or failure is None:
                raise
            if failure.passes and not isinstance(failure.__cause__, psycopg.errors.LockNotAvailable):
                raise
            taken = isinstance(failure.__cause__, psycopg.errors.DuplicateTable)
            views.not_made(server.url, failure, taken=taken)


@contextmanager
def _connected(engine: sa.Engine) -> Iterator[tuple[sa.Connection, psycopg.Connection[Any]]]:
    """Yield a connection, as SQLAlchemy's and as the driver's. What is not committed in the end is rolled back."""
    connection = raw = None
    try:
        connection = engine.connect()
        raw = driver(connection)
        yield connection, raw
        if raw.info.transaction_status is not TransactionStatus.IDLE:
            raw.execute("ROLLBACK")
        connection.close()
    except BaseException:
        _abandon(connection, raw)
        raise


def _abandon(connection: sa.Connection | None, raw: psycopg.Connection[Any] | None) -> None:
    """End a transaction in which something went wrong, so that it holds no lock, whatever went wrong."""
    reusable = False
    if raw is not None:
        with suppress(Exception):
            if raw.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                raw.execute("ROLLBACK")
            reusable = raw.info.transaction_status is TransactionStatus.IDLE
        if not reusable:
            raw.close()
    if connection is not None:
        with suppress(Exception):  # the original exception is raised
            if not reusable:
                connection.invalidate()
            connection.close()
