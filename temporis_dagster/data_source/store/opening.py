"""Opening: which database a URL names.

Comes in: the URL of a store. Goes out: the database, not opened yet.
Never: quotes a URL in a message, because it may hold a password.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import hidden_url, trimmed

GIVE_UP_AFTER_S = 300.0
"""How long, in seconds, a PostgreSQL server that cannot be reached is waited for, unless the caller says otherwise."""

POSTGRES = ("postgresql+psycopg", "postgresql", "postgres")
"""What the URL of a PostgreSQL store starts with: the first is what messages advise, the others are common, too."""

EXAMPLES = "such as sqlite:///temporis.db, or postgresql+psycopg://user@host/database"


def database_at(url: str, give_up_after_s: float = GIVE_UP_AFTER_S) -> Database:
    """Return the database that a URL names.

    Args:
        url: The URL.
        give_up_after_s: PostgreSQL: how many seconds to go on while the server cannot be reached.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file or a PostgreSQL database, or PostgreSQL's driver is not
            installed.
    """
    driver = _driver(url)
    if driver in POSTGRES:
        return _on_a_server(url, give_up_after_s)
    if driver.lower().startswith("postgres"):
        raise ConfigurationError(
            f"A store on PostgreSQL is used with the driver psycopg 3, not at a {driver!r} URL. Pass a URL {EXAMPLES}."
        )
    if driver not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(
            f"A store at a {driver!r} URL is not supported: SQLite and PostgreSQL are. Pass a URL {EXAMPLES}."
        )
    return SqliteDatabase(_path(make_url(url)))


def _driver(url: str) -> str:
    try:
        return make_url(url).drivername
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"The store's URL is not valid. Pass one {EXAMPLES}. In a user or a password, percent-encode special"
            " characters: @ is %40."
        ) from None


def sqlite_database_at(url: str, what: str) -> SqliteDatabase:
    """Return the SQLite file that a URL names.

    Args:
        url: The URL.
        what: What is to be in the file, for the message.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file.
    """
    database = database_at(hidden_url(trimmed(url)))
    if not isinstance(database, SqliteDatabase):
        raise ConfigurationError(f"A {what} must be a SQLite file. Pass a URL such as sqlite:///{what}.db.")
    return database


def _on_a_server(url: str, give_up_after_s: float) -> Database:
    try:
        from temporis_dagster.data_source.store.postgres.database import PostgresDatabase
    except ImportError as error:
        raise ConfigurationError(
            f"A store on PostgreSQL needs the driver psycopg 3, which cannot be imported ({error}). Install it with:"
            " pip install 'temporis-dagster[postgres]'"
        ) from None
    return PostgresDatabase(url, give_up_after_s)


def _path(url: sa.URL) -> Path:
    """Return the absolute path of the file that a SQLite URL names."""
    if url.host or url.query or url.username or url.password:
        raise ConfigurationError(
            "The URL of a SQLite store must not have a host, user or options: it is sqlite:/// and then the path, as in"
            " sqlite:///relative.db or sqlite:////absolute.db."
        )
    if url.database in (None, "", ":memory:") or "\0" in str(url.database):
        raise ConfigurationError(
            "A store needs a file, because threads and processes cannot share one in memory."
            " Pass a URL with a path, such as sqlite:///temporis.db."
        )
    return Path(str(url.database)).absolute()
