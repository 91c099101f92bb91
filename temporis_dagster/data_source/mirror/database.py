"""Database: what the mirror asks of the database under it, and which one a URL names.

Comes in: the URL of a mirror, or a connection inside a transaction. Goes out: the database, not opened yet; the
statements that are written in its dialect.
Never: decides anything about a batch. Statements that run on both databases stand where they are used, with ``?`` for
parameters (``run``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import sqlalchemy as sa

from temporis_dagster.data_source.mirror.rows import Present, Rows
from temporis_dagster.data_source.mirror.sqlite.database import SqliteMirrorDatabase
from temporis_dagster.data_source.mirror.sqlite.statements import SqliteStatements
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.opening import GIVE_UP_AFTER_S, path_at
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.stored import StoredRows

T = TypeVar("T")


class MirrorDatabase(Protocol):
    """A database that holds a mirror. Threads may share it; a forked child opens it anew."""

    @property
    def url(self) -> str:
        """Where it is: absolute, and fit to be shown, because it has neither user nor password."""
        ...

    @property
    def missing(self) -> str:
        """What a message about a data source that does not exist adds if there is no store at all."""
        ...

    @property
    def kind(self) -> str:
        """What messages call it: ``file`` or ``database``."""
        ...

    @property
    def writes_by_key(self) -> bool:
        """Whether rows are written fastest in the order of the table's key, whatever order they come in."""
        ...

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Yield a connection that sees one unchanging state.

        Raises:
            SourceMissingError: There is no store. None is made.
        """
        ...

    def writing(
        self, *, create: bool = False, wait_s: float | None = None, alone: bool = False, turn: int = 0
    ) -> AbstractContextManager[sa.Connection]:
        """Yield a connection in a transaction that may write. What is not committed with ``commit`` is rolled back.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for locks; None for the usual time.
            alone: Whether to wait until no other transaction writes into this mirror, whatever its data source. That is
                so in any case where there is no mirror yet.
            turn: A random number of this piece of work: its attempts wait for each other.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        ...

    def commit(self, connection: sa.Connection, then: Callable[[], None]) -> None:
        """Make the transaction durable.

        Args:
            connection: A connection inside a transaction.
            then: Called once the transaction is durable, even if the call is interrupted. Must do no more than take
                note.

        Raises:
            NotCommittedError: The database answered that it did not commit.
        """
        ...

    def patiently(self, work: Callable[[], T], *, at_most_s: float | None = None) -> T:
        """Do some work, again and again while what prevents it will pass, for as long as this database is waited for.

        Args:
            work: One transaction. It is safe to do it twice.
            at_most_s: How many seconds to go on at most, if that is shorter.
        """
        ...

    def identity(self, connection: sa.Connection) -> object:
        """Return what tells this mirror from another one that takes its place."""
        ...

    def mark(self, connection: sa.Connection) -> object:
        """Return what tells this transaction, which writes, from others; None if its outcome is never in doubt."""
        ...

    def took_place(self, connection: sa.Connection, mark: object) -> bool:
        """Return whether the transaction with this mark, which has ended, was committed."""
        ...

    def failure_of(self, error: Exception) -> StoreUnusableError | None:
        """Say what an exception of the driver means, its cause attached; None if it is not the database's."""
        ...

    def close(self) -> None:
        """Close the idle connections; those in use close when they are given back."""
        ...


class Statements(Protocol):
    """The statements that every database has in words of its own. They run inside the caller's transaction."""

    def now(self, connection: sa.Connection) -> float:
        """Return Unix seconds by the database's clock, as it is now and not when the transaction began."""
        ...

    def is_mirror(self, connection: sa.Connection) -> bool:
        """Return whether the store is a mirror."""
        ...

    @property
    def own_place(self) -> str:
        """What a mirror can have for its own, for messages."""
        ...

    def is_unused(self, connection: sa.Connection) -> bool:
        """Return whether there is no account yet. In a transaction that writes, none is made until its end."""
        ...

    def migrate(self, connection: sa.Connection, version: int) -> None:
        """Bring the tables of a mirror from a version, 0 for none, to the current one."""
        ...

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source; in a transaction that writes, locked until the end of it.

        Raises:
            SourceMissingError: There is no such data source.
        """
        ...

    def lock(self, connection: sa.Connection, source: int) -> None:
        """Wait until no other transaction writes about this data source. What is read from then on is the newest."""
        ...

    def series(self, connection: sa.Connection, source: Source, names: Sequence[str] | None) -> Mapping[str, int]:
        """Return the ids of those of these series that exist, by name; of all series for None."""
        ...

    def ensured_series(self, connection: sa.Connection, source: Source, names: Sequence[str]) -> Mapping[str, int]:
        """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
        ...

    def series_rows(self, connection: sa.Connection, ids: Mapping[str, int], window: Window) -> Iterator[SeriesRows]:
        """Yield the series that have observations in the window, in the order of ``ids``."""
        ...

    def stored_rows(self, connection: sa.Connection) -> StoredRows:
        """Return the observations as the transaction sees them."""
        ...

    def new_id(self, connection: sa.Connection, statement: str, parameters: Sequence[object]) -> int:
        """Insert a row, and return the id that it was given: a larger one than any before it of its data source."""
        ...

    def present(self, connection: sa.Connection, keys: Int64s) -> Present:
        """Return what the mirror has for these keys."""
        ...

    def upsert_rows(self, connection: sa.Connection, rows: Rows, batch: int) -> None:
        """Make rows, sorted by their keys, the current ones of their keys, carried by a batch."""
        ...

    def carry(self, connection: sa.Connection, keys: Int64s, batch: int) -> None:
        """Let a batch carry the observations of these keys."""
        ...

    def forget(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the observations of these keys."""
        ...

    def keep_rejected(self, connection: sa.Connection, rows: Rows, reasons: Sequence[str], at: float) -> None:
        """Keep rows that the service rejected, in the place of those of the same keys."""
        ...

    def forget_rejected(self, connection: sa.Connection, keys: Int64s) -> None:
        """Delete the rejected rows of these keys."""
        ...

    def rejected(self, connection: sa.Connection, keys: Int64s) -> list[tuple[float, str | None]]:
        """Return the rejected value of each of these keys, and the reason; None for the reason where there is none."""
        ...


SQLITE = SqliteStatements()


def statements_of(connection: sa.Connection) -> Statements:
    """Return the statements for the database of this connection: an empty mirror is always one of SQLite."""
    if connection.dialect.name == "sqlite":
        return SQLITE
    from temporis_dagster.data_source.mirror.postgres.statements import POSTGRES

    return POSTGRES


def mirror_database_at(url: str, give_up_after_s: float = GIVE_UP_AFTER_S) -> MirrorDatabase:
    """Return the database that the URL of a mirror names.

    Args:
        url: The URL.
        give_up_after_s: PostgreSQL: how many seconds to go on while the server cannot be reached.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file or a PostgreSQL database, or PostgreSQL's driver is not
            installed.
    """
    path = path_at(url, "mirror")
    if path is not None:
        return SqliteMirrorDatabase(path)
    from temporis_dagster.data_source.mirror.postgres.database import PostgresMirrorDatabase

    return PostgresMirrorDatabase(url, give_up_after_s)
