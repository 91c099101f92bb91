"""Connecting: a URL becomes parameters of libpq, and a URL that may be shown.

Comes in: the URL of a PostgreSQL database. Goes out: a connection of the driver; the URL without secrets.
Never: shows a user, a password or any other option of the URL. What the URL leaves out comes from where libpq looks for
it: environment variables such as ``PGHOST`` and ``PGPASSFILE``, the password file, service files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url

from temporis_dagster.data_source.store.postgres.arrays import register
from temporis_dagster.errors import ConfigurationError

SHOWN_OPTIONS = ("host", "port", "service")
"""Options in the query of a URL that say where the database is and hold no secret."""

DEFAULTS: Mapping[str, tuple[str, object]] = {
    "application_name": ("PGAPPNAME", "temporis_dagster"),
    "connect_timeout": ("PGCONNECT_TIMEOUT", 10),
    # A server or a network that is gone without a word is noticed within a minute, also while a query is waited for.
    "keepalives_idle": ("", 30),
    "keepalives_interval": ("", 10),
    "keepalives_count": ("", 3),
    "tcp_user_timeout": ("", 60_000),
}
"""Parameters of libpq that are set unless the URL, or the environment variable named first, sets them. Seconds, but for
the last, which is in milliseconds."""


class Parameters:
    """How to connect. Its repr shows nothing.

    Args:
        url: The URL of the database; as a string, which can be hidden from tracebacks that show variables.

    Raises:
        ConfigurationError: Part of the URL cannot be given to libpq.
    """

    def __init__(self, url: str) -> None:
        if _has_a_second_at(url):
            raise ConfigurationError(
                "The URL of the PostgreSQL store has more than one '@', so part of the password may be taken for the"
                " host. Percent-encode an '@' in the user or the password as %40."
            )
        self._given = _given(url) or {}  # not in a variable of this frame, which a traceback may show
        if not (self._given and _is_known(self._given)):
            raise ConfigurationError(
                "The URL of the PostgreSQL store has an option that libpq does not know, or a value that it cannot"
                " take. Check what follows the question mark."
            )

    def __repr__(self) -> str:
        return "Parameters(<hidden>)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The parts that no message may quote: a message of the server names the user."""
        given = (self._given.get(name) for name in ("user", "password", "passfile", "sslpassword"))
        found = (os.environ.get(name) for name in ("PGUSER", "PGPASSWORD", "PGPASSFILE"))
        return tuple(str(part) for part in (*given, *found) if part)

    def connect_within(self, at_most_s: float) -> None:
        """Give up on a server that says nothing after this time, in seconds. For libpq, two seconds are the least."""
        given = int(float(self._given.get("connect_timeout") or 0)) or math.inf  # 0 stands for no limit
        self._given["connect_timeout"] = min(given, max(2, math.ceil(at_most_s)))

    def connect(self) -> psycopg.Connection[Any]:
        """Connect, without a transaction."""
        connection = psycopg.connect(**self._given, autocommit=True, prepare_threshold=None)
        register(connection)
        return connection


def shown(url: str) -> str:
    """Return a URL that says where the database is, and nothing else."""
    parsed = make_url(url)
    options = {name: value for name, value in parsed.query.items() if name in SHOWN_OPTIONS}
    return sa.URL.create(
        "postgresql+psycopg", host=parsed.host, port=parsed.port, database=parsed.database, query=options
    ).render_as_string()


def _has_a_second_at(url: str) -> bool:
    """Return whether the password may go on behind what is taken for its end, in the host or the database.

    The options may have an '@' in their values.
    """
    if make_url(url).username is None:
        return False
    place, _, options = url.partition("@")[2].partition("?")
    return "@" in place or any("@" in option.partition("=")[0] for option in options.split("&"))


def _given(url: str) -> dict[str, Any] | None:
    """Return the parameters, or None if a number in the URL is none. Exceptions are dropped, as in ``_is_known``."""
    try:
        _, given = PGDialect_psycopg().create_connect_args(make_url(url))  # type: ignore[no-untyped-call]  # SQLAlchemy's
        int(float(given.get("connect_timeout") or 0))
    except (sa.exc.ArgumentError, ValueError, OverflowError):
        return None
    defaults = {name: value for name, (variable, value) in DEFAULTS.items() if variable not in os.environ}
    return defaults | {name: value for name, value in given.items() if name != "context"} | {"client_encoding": "UTF8"}


def _is_known(given: Mapping[str, Any]) -> bool:
    """Return whether libpq takes these parameters. Its exception is dropped: the frames in it hold the password."""
    try:
        psycopg.conninfo.make_conninfo("", **given)
    except psycopg.Error:
        return False
    return True
