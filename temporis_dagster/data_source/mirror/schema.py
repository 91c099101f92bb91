"""Schema: the tables of a mirror, and the target that it is bound to.

Comes in: a connection inside a write transaction on a store, and who the target is. Goes out: the tables, bound to it.
Never: commits, keeps a token, or turns a store that holds embedded data sources into a mirror.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import chain

import sqlalchemy as sa

from temporis_dagster.data_source.options import LATE_WRITE_WINDOW_S
from temporis_dagster.data_source.store.errors import StoreUnusableError

ACCOUNT = "mirror"
"""The account under which a mirror keeps its data sources; ``default``, that of embedded ones, sees none of them."""

VERSION = 2

V1 = (
    """CREATE TABLE temporis_mirror (
        version INTEGER NOT NULL, url TEXT NOT NULL, salt BLOB NOT NULL, fingerprint BLOB NOT NULL)""",
    """CREATE TABLE temporis_mirror_source (
        data_source INTEGER PRIMARY KEY REFERENCES temporis_data_source (id),
        pending INTEGER NOT NULL DEFAULT 0, last_error TEXT, last_error_at REAL)""",
    # AUTOINCREMENT: an id is a sequence number and is never given twice.
    """CREATE TABLE temporis_mirror_batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT, data_source INTEGER NOT NULL REFERENCES temporis_data_source (id),
        live INTEGER NOT NULL, written_at REAL NOT NULL, not_before REAL NOT NULL,
        sender INTEGER, lease_until REAL, doubtful_until REAL)""",
    """CREATE INDEX temporis_mirror_live ON temporis_mirror_batch (data_source, written_at, id) WHERE live > 0""",
    """CREATE INDEX temporis_mirror_doubtful ON temporis_mirror_batch (data_source, doubtful_until)
        WHERE doubtful_until IS NOT NULL""",
    # What a batch carries has a table of its own: SQLite rewrites a whole row to change one number in it.
    """CREATE TABLE temporis_mirror_rows (batch INTEGER PRIMARY KEY, keys BLOB NOT NULL, vals BLOB NOT NULL)""",
    """CREATE TRIGGER temporis_mirror_gone AFTER DELETE ON temporis_mirror_batch
        BEGIN DELETE FROM temporis_mirror_rows WHERE batch = OLD.id; END""",
    """CREATE TABLE temporis_mirror_rejected (
        series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL, reason TEXT NOT NULL,
        rejected_at REAL NOT NULL, PRIMARY KEY (series, timestamp)) WITHOUT ROWID""",
    # The batch that carries an observation's present value.
    """ALTER TABLE temporis_observation ADD COLUMN batch INTEGER NOT NULL DEFAULT 0""",
)

V2 = (
    "ALTER TABLE temporis_mirror ADD COLUMN late_write_window_s REAL",
    # When, by the clock, the batch's moments were set: see batches.bound_moments.
    "ALTER TABLE temporis_mirror_batch ADD COLUMN stamped_at REAL",
    """CREATE INDEX temporis_mirror_stamped ON temporis_mirror_batch (stamped_at) WHERE stamped_at IS NOT NULL""",
    # The range of keys and of times of its rows: batches whose ranges do not meet share no key. By default everything.
    *(
        f"ALTER TABLE temporis_mirror_batch ADD COLUMN {name} INTEGER NOT NULL DEFAULT {default}"
        for name, default in (
            ("first_key", "-9223372036854775808"),
            ("last_key", "9223372036854775807"),
            ("first_time", "-9223372036854775808"),
            ("last_time", "9223372036854775807"),
        )
    ),
)

STEPS = (V1, V2)
"""Step i brings a mirror from version i to version i + 1."""


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
    made = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'temporis_mirror'"
    if connection.exec_driver_sql(made).first() is None:
        return None
    return bytes(connection.exec_driver_sql("SELECT salt FROM temporis_mirror").scalar_one())


def ensure_unused(connection: sa.Connection) -> None:
    """Check that a file that is not a mirror may become one.

    Raises:
        StoreUnusableError: It holds embedded data sources.
    """
    if connection.exec_driver_sql("SELECT 1 FROM temporis_account").first() is not None:
        raise StoreUnusableError(
            "it holds embedded data sources and is not a mirror", "Give the mirror a file of its own."
        )


def create(connection: sa.Connection, identity: Identity) -> None:
    """Make the mirror in a store that holds no data source yet.

    Raises:
        StoreUnusableError: It holds embedded data sources.
    """
    ensure_unused(connection)
    make_tables(connection)
    bind(connection, identity)


def make_tables(connection: sa.Connection) -> None:
    """Make the tables of a mirror that is not bound to a target yet."""
    _run(connection, *STEPS)
    connection.exec_driver_sql(
        "INSERT INTO temporis_mirror (version, url, salt, fingerprint) VALUES (?, '', x'', x'')", (VERSION,)
    )


def upgrade(connection: sa.Connection) -> None:
    """Upgrade a mirror of any older version to the current one."""
    version = installed_version(connection)
    if version < VERSION:
        _run(connection, *STEPS[version:])
        connection.exec_driver_sql("UPDATE temporis_mirror SET version = ?", (VERSION,))


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
    connection.exec_driver_sql(
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
    if fingerprint != identity.fingerprint(salt):
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
    connection.exec_driver_sql(
        "UPDATE temporis_mirror SET late_write_window_s = ? WHERE coalesce(late_write_window_s, -1) < ?",
        (seconds, seconds),
    )


def _run(connection: sa.Connection, *steps: Sequence[str]) -> None:
    for statement in chain.from_iterable(steps):
        connection.exec_driver_sql(statement)
