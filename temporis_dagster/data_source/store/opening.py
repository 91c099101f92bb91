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

GIVE_UP_AFTER_S = 300.0
"""How long, in seconds, a PostgreSQL server that cannot be reached is waited for, unless the caller says otherwise."""

POSTGRES = ("postgresql+psycopg", "postgresql", "postgres")
"""What the URL of a PostgreSQL store starts with: the first is what messages advise, the others are common, too."""

_NAMES = {"store": "temporis", "mirror": "mirror"}
"""What the file is called in examples."""

EXAMPLES = "such as sqlite:///{}.db, or postgresql+psycopg://user@host/database"


def database_at(url: str, give_up_after_s: float = GIVE_UP_AFTER_S) -> Database:
    """Return the database that the URL of a store names.

    Args:
        url: The URL.
        give_up_after_s: PostgreSQL: how many seconds to go on while the server cannot be reached.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file or a PostgreSQL database, or PostgreSQL's driver is not
            installed.
    """
    path = path_at(url, "store")
    if path is not None:
        return SqliteDatabase(path)
    from temporis_dagster.data_source.store.postgres.database import PostgresDatabase

    return PostgresDatabase(url, give_up_after_s)


def path_at(url: str, what: str) -> Path | None:
    """Return the SQLite file that a URL names, as an absolute path; None if it names a PostgreSQL database.

    Args:
        url: The URL.
        what: What is kept there, for messages: ``store`` or ``mirror``.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file or a PostgreSQL database, or PostgreSQL's driver is not
            installed.
    """
    driver = _driver(url, what)
    if driver in POSTGRES:
        _ensure_driver(what)
        return None
    examples = EXAMPLES.format(_NAMES[what])
    if driver.lower().startswith("postgres"):
        raise ConfigurationError(
            f"A {what} on PostgreSQL is used with the driver psycopg 3, not at a {driver!r} URL. Pass a URL {examples}."
        )
    if driver not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(
            f"A {what} at a {driver!r} URL is not supported: SQLite and PostgreSQL are. Pass a URL {examples}."
        )
    return _path(make_url(url), what)


def _driver(url: str, what: str) -> str:
    try:
        return make_url(url).drivername
    except (sa.exc.ArgumentError, ValueError):
        examples = EXAMPLES.format(_NAMES[what])
        raise ConfigurationError(
            f"The {what}'s URL is not valid. Pass one {examples}. In a user or a password, percent-encode special"
            " characters: @ is %40."
        ) from None


def _ensure_driver(what: str) -> None:
    try:
        import temporis_dagster.data_source.store.postgres.database  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"A {what} on PostgreSQL needs the driver psycopg 3, which cannot be imported ({error}). Install it with:"
            " pip install 'temporis-dagster[postgres]'"
        ) from None


def _path(url: sa.URL, what: str) -> Path:
    """Return the absolute path of the file that a SQLite URL names."""
    if url.host or url.query or url.username or url.password:
        raise ConfigurationError(
            f"The URL of a SQLite {what} must not have a host, user or options: it is sqlite:/// and then the path, as"
            " in sqlite:///relative.db or sqlite:////absolute.db."
        )
    if url.database in (None, "", ":memory:") or "\0" in str(url.database):
        raise ConfigurationError(
            f"A {what} needs a file, because threads and processes cannot share one in memory."
            f" Pass a URL with a path, such as sqlite:///{_NAMES[what]}.db."
        )
    return Path(str(url.database)).absolute()
