"""Database: what the store asks of the database under it.

Comes in: nothing. Goes out: the protocol that ``SqliteFile`` and ``PostgresServer`` implement.
Never: does what the protocol describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import sqlalchemy as sa

from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.store.chunks import Chunk
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.read import SeriesRows, Window
from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.stored import StoredRows
from temporis_dagster.data_source.target import Glance

T = TypeVar("T")


class Database(Protocol):
    """A database that holds a store. Threads may share it; a forked child opens it anew."""

    @property
    def url(self) -> str:
        """Where it is: absolute, and fit to be shown, because it has neither user nor password."""
        ...

    @property
    def chunk_rows(self) -> int:
        """How many observations to write in one transaction."""
        ...

    @property
    def writes_by_key(self) -> bool:
        """Whether rows are written fastest in the order of the table's key, whatever order they come in."""
        ...

    @property
    def has_one_writer(self) -> bool:
        """Whether only one transaction can write at a time, to whatever data source."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there may be a store yet, as far as that is known without opening one."""
        ...

    @property
    def missing(self) -> str:
        """What a message about a data source that does not exist adds if there is no store at all."""
        ...

    def glance(self, account: str, name: str) -> Glance | None:
        """Return what can be known of a data source in milliseconds, without network or waiting; None if nothing."""
        ...

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Yield a connection that sees one unchanging state.

        Raises:
            SourceMissingError: There is no store. None is made.
        """
        ...

    def writing(self, *, create: bool = False, wait_s: float | None = None) -> AbstractContextManager[sa.Connection]:
        """Yield a connection in a transaction that may write. What is not committed with ``commit`` is rolled back.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for a lock at most; None for the usual time.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        ...

    def commit(self, connection: sa.Connection) -> None:
        """Make the transaction durable."""
        ...

    def patiently(self, work: Callable[[], T]) -> T:
        """Do some work, again and again while what prevents it will pass, for as long as this database is waited for.

        Args:
            work: One transaction. It is safe to do it twice.
        """
        ...

    def identity(self, connection: sa.Connection) -> object:
        """Return what tells this store from another one that takes its place."""
        ...

    def keeps_times(self, connection: sa.Connection) -> bool:
        """Return whether the store has tokens for the dashboard, and the times of the last use and of the last write.

        A store of an older version that cannot be migrated, such as by a role that does not own its tables, has not.
        """
        ...

    def take_turn(self, connection: sa.Connection, account: str, name: str) -> None:
        """Wait until no other upsert is in a transaction that writes to this data source, if ``find`` would not do.

        ``archive()`` does not queue up here, so it waits for a chunk or two, and not for all upserts before it.
        """
        ...

    def find(self, connection: sa.Connection, account: str, name: str) -> Source:
        """Return a data source. In a transaction that writes, no other transaction writes to it until the end of this.

        Raises:
            SourceMissingError: There is no such data source.
        """
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

    def rows(self, connection: sa.Connection) -> StoredRows:
        """Return the stored rows as the transaction sees them."""
        ...

    def size(self, connection: sa.Connection) -> int:
        """Return how many bytes the store takes."""
        ...

    def mark(self, connection: sa.Connection) -> object:
        """Return what tells this transaction, which writes, from others; None if its outcome is never in doubt."""
        ...

    def took_place(self, connection: sa.Connection, mark: object) -> bool:
        """Return whether the transaction with this mark was committed: for one whose commit had no answer."""
        ...

    def upsert_chunk(self, connection: sa.Connection, ids: Int64s, chunk: Chunk) -> int:
        """Insert the rows of a chunk, or replace the present values of their keys.

        Args:
            connection: A connection in a transaction that writes.
            ids: The ids of the series, by their code.
            chunk: The rows.

        Returns:
            How many of them differed from what was there, bit for bit.
        """
        ...

    def failure_of(self, error: Exception) -> StoreUnusableError | None:
        """Say what an exception of the driver means, its cause attached; None if it is not the database's."""
        ...

    def wait_for_locks(self, at_most_s: float) -> None:
        """Give up on what another process holds up after this time, in seconds, instead of the usual time."""
        ...

    def close(self) -> None:
        """Close the idle connections; those in use close when they are given back."""
        ...
