"""Schema: whether a store is a mirror, its version, and the target that it is bound to.

Comes in: a connection inside a write transaction on a store, and who the target is. Goes out: the tables, bound to it.
Never: commits, keeps a token, or turns a store that holds data sources of its own into a mirror.
"""

from __future__ import annotations

import hashlib
import os

import sqlalchemy as sa

from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.options import LATE_WRITE_WINDOW_S
from temporis_dagster.data_source.store.errors import StoreUnusableError
from temporis_dagster.data_source.store.sources import run

VERSION = 2
"""The version of the tables of a mirror, on each database."""

ACCOUNT = "mirror"
"""The account under which a mirror keeps its data sources; ``default``, that of a store, sees none of them."""


class WrongTargetError(Exception):
    """Signal: the mirror is bound to another target.

    Args:
        what: What differs, as a clause.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Identity:
    """The identity of a target: its URL, and a token that is compared and never kept.

    Args:
        url: Where it is, without secrets.
        token: The access token, or None for none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._token = token

    @property
    def has_token(self) -> bool:
        """Whether there is a token, which identifies the account."""
        return self._token is not None

    def fingerprint(self, salt: bytes) -> bytes:
        """Return what a mirror keeps instead of the token: a hash, from which guessing the token would be slow."""
        return hashlib.pbkdf2_hmac("sha256", (self._token or "").encode(), salt, 50_000)

    def __repr__(self) -> str:
        return f"Identity({self.url!r})"


def salt(connection: sa.Connection) -> bytes | None:
    """Return random bytes that are new for every mirror and every time that it is bound; None if it is not a mirror."""
    if not statements_of(connection).is_mirror(connection):
        return None
    return bytes(connection.exec_driver_sql("SELECT salt FROM temporis_mirror").scalar_one())


def ensure_unused(connection: sa.Connection) -> None:
    """Check that a store that is not a mirror may become one.

    Raises:
        StoreUnusableError: It holds data sources of its own.
    """
    statements = statements_of(connection)
    if not statements.is_unused(connection):
        raise StoreUnusableError(
            "it holds data sources of a store and is not a mirror", f"Give the mirror {statements.own_place}."
        )


def create(connection: sa.Connection, identity: Identity) -> None:
    """Make the mirror in a store that holds no data source yet.

    Raises:
        StoreUnusableError: It holds data sources of its own.
    """
    ensure_unused(connection)
    make_tables(connection)
    bind(connection, identity)


def make_tables(connection: sa.Connection) -> None:
    """Make the tables of a mirror that is not bound to a target yet."""
    statements_of(connection).migrate(connection, 0)
    made = "INSERT INTO temporis_mirror (version, url, salt, fingerprint) VALUES (?, '', ?, ?)"
    run(connection, made, (VERSION, b"", b""))


def upgrade(connection: sa.Connection) -> None:
    """Upgrade a mirror of any older version to the current one."""
    version = installed_version(connection)
    if version < VERSION:
        statements_of(connection).migrate(connection, version)
        run(connection, "UPDATE temporis_mirror SET version = ?", (VERSION,))


def installed_version(connection: sa.Connection) -> int:
    """Return the version of the mirror.

    Raises:
        StoreUnusableError: A newer version of this library wrote it.
    """
    version = int(connection.exec_driver_sql("SELECT version FROM temporis_mirror").scalar_one())
    if version > VERSION:
        raise StoreUnusableError("a newer temporis_dagster wrote this mirror", "Upgrade temporis_dagster here.")
    return version


def bind(connection: sa.Connection, identity: Identity) -> None:
    """Bind the mirror to this target."""
    salt = os.urandom(16)
    run(
        connection,
        "UPDATE temporis_mirror SET url = ?, salt = ?, fingerprint = ?, late_write_window_s = NULL",
        (identity.url, salt, identity.fingerprint(salt)),
    )


def check(connection: sa.Connection, identity: Identity) -> None:
    """Check that it is the mirror of this target.

    Raises:
        StoreUnusableError: A newer version of this library wrote it.
        WrongTargetError: It is the mirror of another target.
    """
    installed_version(connection)
    url, salt, fingerprint = connection.exec_driver_sql("SELECT url, salt, fingerprint FROM temporis_mirror").one()
    if url != identity.url:
        raise WrongTargetError(f"it is the mirror of {url}, not of {identity.url}")
    if bytes(fingerprint) != identity.fingerprint(bytes(salt)):
        token = "another access token" if identity.has_token else "an access token, and there is none here"
        raise WrongTargetError(f"it is the mirror of {url} with {token}")


def window_s(connection: sa.Connection, chosen: float | None) -> float:
    """Return how long a late write may take to arrive, in seconds.

    Args:
        connection: A connection inside a transaction.
        chosen: What the options say; None for the longest window that the mirror was ever used with.
    """
    if chosen is not None:
        return chosen
    if installed_version(connection) < 2:  # noqa: PLR2004  # the version that keeps it
        return LATE_WRITE_WINDOW_S
    kept = connection.exec_driver_sql("SELECT late_write_window_s FROM temporis_mirror").scalar()
    return LATE_WRITE_WINDOW_S if kept is None else float(kept)


def keep_window_s(connection: sa.Connection, seconds: float) -> None:
    """Let a caller that does not choose a window, such as ``temporis mirror flush``, use at least this one."""
    run(
        connection,
        "UPDATE temporis_mirror SET late_write_window_s = ? WHERE coalesce(late_write_window_s, -1) < ?",
        (seconds, seconds),
    )
