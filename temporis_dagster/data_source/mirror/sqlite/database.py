"""SqliteMirrorDatabase: a SQLite file with what the mirror asks of a database.

Comes in: a path. Goes out: the ``MirrorDatabase`` protocol.
Never: tries a transaction again: each waits for its lock itself, and the outcome of a commit is never in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa

from temporis_dagster.data_source.store.sqlite.file import FileId, SqliteFile, commit, file_of

T = TypeVar("T")


class SqliteMirrorDatabase(SqliteFile):
    """A SQLite file that holds a mirror. Implements ``MirrorDatabase``."""

    kind, writes_by_key = "file", True

    @contextmanager
    def writing(
        self,
        *,
        create: bool = False,
        wait_s: float | None = None,
        alone: bool = False,  # noqa: ARG002  # it always is
        turn: int = 0,  # noqa: ARG002  # the lock of the file is enough
    ) -> Iterator[sa.Connection]:
        """Yield a connection that holds the write lock. What is not committed with ``commit`` is rolled back.

        Args:
            create: Make the store if there is none.
            wait_s: How many seconds to wait for the lock; None for the usual time.
            alone: Nothing: there is one transaction that writes at a time.
            turn: Nothing.

        Raises:
            SourceMissingError: There is no store, and ``create`` is false.
        """
        with super().writing(create=create, wait_s=wait_s) as connection:
            yield connection

    def commit(self, connection: sa.Connection, then: Callable[[], None]) -> None:
        """Make the transaction durable, and then take note."""
        commit(connection, then)

    def patiently(self, work: Callable[[], T], *, at_most_s: float | None = None) -> T:  # noqa: ARG002  # protocol
        """Do some work, once: each transaction waits for its lock itself."""
        return work()

    def identity(self, connection: sa.Connection) -> FileId:
        """Return which file the transaction is in."""
        return file_of(connection)

    def mark(self, connection: sa.Connection) -> None:
        """Return nothing: a transaction whose commit failed is not tried again."""

    def took_place(self, connection: sa.Connection, mark: object) -> bool:  # noqa: ARG002  # as in the protocol
        """Return no: a transaction whose commit failed is not tried again."""
        return False
