"""The databases in which a mirror can be, with what the tests do to a mirror behind its back.

Comes in: a folder, or a PostgreSQL database. Goes out: the URL of a mirror that does not exist yet, and what is in it.
Never: uses the code of the mirror: what a test looks up here is looked up by hand.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from temporis_dagster.data_source.store.errors import NotCommittedError
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from tests.support.postgres_server import Postgres

ON_SQLITE = pytest.mark.parametrize("mirror_db", ["sqlite"], indirect=True)
"""Marks a test that is about a file, or about SQLite; its sibling for PostgreSQL is in test_mirror_postgres.py."""


class SqliteMirror:
    """A mirror in a file, in a folder in which there is nothing else.

    Args:
        folder: The folder, which exists.
    """

    share = 1.0
    """Which share of the rounds of a random test is few enough for the short form of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "mirror.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def is_empty(self) -> bool:
        """Whether nothing was made: no mirror, and no file."""
        return list(self.folder.iterdir()) == []

    def shows(self, secret: str) -> bool:
        """Whether the secret is anywhere in it."""
        return any(secret.encode() in path.read_bytes() for path in self.folder.iterdir())

    def remove(self) -> None:
        """Take the mirror away from under whoever uses it."""
        for path in self.folder.glob(f"{self.path.name}*"):
            path.unlink()

    def remake(self) -> None:
        """Begin again with no mirror, as if nobody had ever used one here."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def commit_failure(self) -> Exception:
        """What a commit raises where the disk fails."""
        return sqlite3.OperationalError("disk I/O error")

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def before_each_statement(self, action: Callable[[], object]) -> None:
        """Do something before each statement of this process, on every connection from now on, to the end of it."""
        usual = sqlite_file._connect

        def connect(*arguments: Any) -> sqlite3.Connection:
            connection = usual(*arguments)
            connection.set_trace_callback(lambda _statement: action())
            return connection

        sqlite_file._connect = connect


class PostgresMirror:
    """A mirror in a database in which there is nothing else.

    Args:
        server: The server.
        url: The URL of the database.
    """

    share = 0.2
    """Which share of the rounds of a random test is few enough for the short form of the tests."""

    def __init__(self, server: Postgres, url: str) -> None:
        self.server, self.url = server, url
        self.database = str(sa.make_url(url).database)
        self._connection: psycopg.Connection | None = None

    @property
    def connection(self) -> psycopg.Connection:
        """A connection of the administrator, whose every statement is committed at once."""
        if self._connection is None or self._connection.closed:
            self._connection = self.server.connect(self.database)
        return self._connection

    def close(self) -> None:
        """Close that connection."""
        if self._connection is not None:
            self._connection.close()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(statement).fetchall()

    def is_empty(self) -> bool:
        """Whether nothing was made: no table, and nothing else that has a name."""
        return self.rows("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []

    def shows(self, secret: str) -> bool:
        """Whether the secret is anywhere in it."""
        tables = self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = [self.rows(f"SELECT t::text FROM {table} t") for (table,) in tables]
        hidden = secret.encode().hex()  # bytes are shown in hexadecimal
        return any(secret in text or hidden in text for rows in found for (text,) in rows)

    def remove(self) -> None:
        """Take the mirror away from under whoever uses it."""
        self.connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def remake(self) -> None:
        """Begin again with no mirror, as if nobody had ever used one here; end what a test left connected."""
        self.terminate()
        self.remove()

    def terminate(self) -> None:
        """Terminate every session in this database but the administrator's."""
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    @contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Another program holds a transaction open, with the locks of this statement."""
        with self.server.connect(self.database) as other, other.transaction():
            other.execute(statement)
            yield

    def waiting(self) -> int:
        """How many sessions wait for a lock."""
        ((count,),) = self.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return count

    def commit_failure(self) -> Exception:
        """What a commit raises where the disk is full."""
        return NotCommittedError(psycopg.errors.DiskFull("No space left on device"))

    def before_each_statement(self, action: Callable[[], object]) -> None:
        """Do something before each statement of this process, on every connection from now on, to the end of it."""
        for name in ("execute", "copy"):
            usual = getattr(psycopg.Cursor, name)

            def asked(cursor: psycopg.Cursor, *given: Any, usual: Any = usual, **named: Any) -> Any:
                action()
                return usual(cursor, *given, **named)

            setattr(psycopg.Cursor, name, asked)


MirrorDatabase = SqliteMirror | PostgresMirror
