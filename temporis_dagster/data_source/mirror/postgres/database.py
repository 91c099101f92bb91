"""PostgresMirrorDatabase: a PostgreSQL server with what the mirror asks of a database.

Comes in: a URL. Goes out: the ``MirrorDatabase`` protocol.
Never: keeps a lock, or anything else, in a session when a transaction is over.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus

from temporis_dagster.data_source.store.errors import UNREADABLE, StoreUnusableError
from temporis_dagster.data_source.store.postgres.database import PostgresDatabase
from temporis_dagster.data_source.store.postgres.server import driver, store_of

ID, MARK = "temporis_mirror", "temporis_transaction"
"""The keys of a connection's ``info`` under which it keeps the id of the mirror, and the number, of its transaction."""

# A statement that reads a table sees tables that were made since the transaction began.
LOOK = "SELECT to_regclass('temporis_mirror') IS NOT NULL FROM temporis_store"

MIRRORS_LOCK = "hashtext('temporis_mirror'), 'temporis_store'::regclass::oid::integer"
"""The key of the lock of all mirrors of this schema: there is at most one."""

LOCK = "SELECT {lock}({key}), pg_advisory_xact_lock({turn}), pg_current_xact_id()::text"

READ_ID = "SELECT id FROM temporis_mirror"


class PostgresMirrorDatabase(PostgresDatabase):
    """A PostgreSQL database that holds a mirror. Implements ``MirrorDatabase``."""

    kind, writes_by_key = "database", False

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one unchanging state of the database.

        Raises:
            SourceMissingError: There is no store. None is made.
        """
        with _readable(), super().reading() as connection:
            connection.info[ID] = _id(driver(connection))
            yield connection

    @contextmanager
    def writing(
        self, *, create: bool = False, wait_s: float | None = None, alone: bool = False, turn: int = 0
    ) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that has the lock of the mirror, shared or alone, and its turn.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for locks; None for the usual time.
            alone: Whether to have the lock of the mirror alone, as is so in any case where there is no mirror yet.
            turn: A random number of this piece of work, whose attempts wait for each other; 0 for none.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        with _readable(), super().writing(create=create, wait_s=wait_s) as connection:
            raw = driver(connection)
            # Asked without the lock: what shares it cannot have it alone later, or two would wait for each other.
            alone = alone or not _value(raw, LOOK)
            lock = "pg_advisory_xact_lock" + ("" if alone else "_shared")
            turn = turn or secrets.randbits(62)
            row = raw.execute(LOCK.format(lock=lock, key=MIRRORS_LOCK, turn=turn)).fetchone()
            connection.info[MARK] = row[-1] if row else None
            connection.info[ID] = _id(raw)
            yield connection

    def commit(self, connection: sa.Connection, then: Callable[[], None] = lambda: None) -> None:
        """Make the transaction durable, and then take note.

        Args:
            connection: A connection inside a transaction.
            then: Called once the transaction is durable, also if the call is interrupted and the server can still be
                asked.

        Raises:
            NotCommittedError: The server answered that it did not commit.
            psycopg.Error: The connection was lost: it is not known whether the server committed.
        """
        try:
            super().commit(connection)
        except Exception:
            raise
        except BaseException:
            if self._has_committed(connection):
                then()
            raise
        then()

    def identity(self, connection: sa.Connection) -> object:
        """Return the id of the store, that of its table, and that of the mirror: None if there is none any more."""
        if connection.info[ID] is None:  # it may have been made since the transaction began
            connection.info[ID] = _id(driver(connection))
        return store_of(connection), connection.info[ID]

    def mark(self, connection: sa.Connection) -> object:
        """Return the number of this transaction."""
        return connection.info[MARK]

    def _has_committed(self, connection: sa.Connection) -> bool:
        """Return whether the interrupted transaction of this connection is known to be committed."""
        with suppress(psycopg.Error):
            raw = driver(connection)
            if raw.info.transaction_status is TransactionStatus.IDLE:
                return self.took_place(connection, self.mark(connection))
        return False


@contextmanager
def _readable() -> Iterator[None]:
    """Say that the mirror is damaged if what it holds cannot be read in the block."""
    try:
        yield
    except UNREADABLE as error:
        raise StoreUnusableError(
            f"what it holds cannot be read ({type(error).__name__}: {error})",
            "The tables of the mirror are damaged: restore them from a backup.",
        ) from error


def _id(connection: psycopg.Connection[Any]) -> object:
    """Return the id of the mirror; None if there is none."""
    return _value(connection, READ_ID) if _value(connection, LOOK) else None


def _value(connection: psycopg.Connection[Any], statement: str) -> Any:
    """Return the one value that a statement asks for; None if it finds no row."""
    row = connection.execute(statement).fetchone()
    return row[0] if row else None
