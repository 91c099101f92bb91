"""The tables of a mirror, and the target that it is bound to.

Comes in: a connection inside a write transaction on a store, and who the target is. Goes out: the tables, bound to it.
Never: commits, keeps a token, or turns a store that somebody uses as a data source into a mirror.
"""

from __future__ import annotations

import hashlib
import os

import sqlalchemy as sa

from temporis_dagster.data_source.store.failures import StoreUnusableError

ACCOUNT = "mirror"
"""The account under which a mirror keeps its data sources: that of embedded ones, ``default``, sees none of them."""

VERSION = 1

TABLES = (
    """CREATE TABLE temporis_mirror (
        version INTEGER NOT NULL, url TEXT NOT NULL, salt BLOB NOT NULL, fingerprint BLOB NOT NULL)""",
    """CREATE TABLE temporis_mirror_source (
        data_source INTEGER PRIMARY KEY REFERENCES temporis_data_source (id),
        pending INTEGER NOT NULL DEFAULT 0, last_error TEXT, last_error_at REAL)""",
    # AUTOINCREMENT: an id is a sequence number, and never given twice.
    """CREATE TABLE temporis_mirror_batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT, data_source INTEGER NOT NULL REFERENCES temporis_data_source (id),
        live INTEGER NOT NULL, written_at REAL NOT NULL, not_before REAL NOT NULL,
        sender INTEGER, lease_until REAL, doubtful_until REAL)""",
    """CREATE INDEX temporis_mirror_live ON temporis_mirror_batch (data_source, written_at, id) WHERE live > 0""",
    """CREATE INDEX temporis_mirror_doubtful ON temporis_mirror_batch (data_source, doubtful_until)
        WHERE doubtful_until IS NOT NULL""",
    # What a batch carries, apart: SQLite writes a whole row anew to change a number in it.
    """CREATE TABLE temporis_mirror_rows (batch INTEGER PRIMARY KEY, keys BLOB NOT NULL, vals BLOB NOT NULL)""",
    """CREATE TRIGGER temporis_mirror_gone AFTER DELETE ON temporis_mirror_batch
        BEGIN DELETE FROM temporis_mirror_rows WHERE batch = OLD.id; END""",
    """CREATE TABLE temporis_mirror_rejected (
        series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL, reason TEXT NOT NULL,
        rejected_at REAL NOT NULL, PRIMARY KEY (series, timestamp)) WITHOUT ROWID""",
    # The batch that carries an observation's present value.
    """ALTER TABLE temporis_observation ADD COLUMN batch INTEGER NOT NULL DEFAULT 0""",
)


class WrongTargetError(Exception):
    """Signal: the mirror is bound to another target.

    Args:
        what: What differs, as the end of a sentence.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Identity:
    """Who a target is: its URL, and a token that is compared and never kept.

    Args:
        url: Where it is, without secrets.
        token: The access token, or None for none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._token = token

    def fingerprint(self, salt: bytes) -> bytes:
        """What a mirror keeps instead of the token: slow to guess from."""
        return hashlib.pbkdf2_hmac("sha256", (self._token or "").encode(), salt, 50_000)

    def __repr__(self) -> str:
        return f"Identity({self.url!r})"


def is_mirror(connection: sa.Connection) -> bool:
    """Whether the file holds a mirror."""
    made = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'temporis_mirror'"
    return connection.exec_driver_sql(made).first() is not None


def create(connection: sa.Connection, identity: Identity) -> None:
    """Make the mirror in a store that nobody uses yet.

    Raises:
        StoreUnusableError: The file is an embedded data source.
    """
    if connection.exec_driver_sql("SELECT 1 FROM temporis_account").first() is not None:
        raise StoreUnusableError(
            "it holds embedded data sources and is no mirror", "Give the mirror a file of its own."
        )
    for statement in TABLES:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT INTO temporis_mirror VALUES (?, '', x'', x'')", (VERSION,))
    bind(connection, identity)


def bind(connection: sa.Connection, identity: Identity) -> None:
    """From now on it is the mirror of this target."""
    salt = os.urandom(16)
    connection.exec_driver_sql(
        "UPDATE temporis_mirror SET url = ?, salt = ?, fingerprint = ?",
        (identity.url, salt, identity.fingerprint(salt)),
    )


def check(connection: sa.Connection, identity: Identity) -> None:
    """Return if the mirror is that of this target.

    Raises:
        StoreUnusableError: A newer version of this library wrote it.
        WrongTargetError: It is another's.
    """
    version, url, salt, fingerprint = connection.exec_driver_sql("SELECT * FROM temporis_mirror").one()
    if version > VERSION:
        raise StoreUnusableError("a newer temporis_dagster wrote this mirror", "Upgrade temporis_dagster here.")
    if url != identity.url:
        raise WrongTargetError(f"it is the mirror of {url}, not of {identity.url}")
    if fingerprint != identity.fingerprint(salt):
        raise WrongTargetError(f"it is the mirror of {url} with another access token")
