"""Access tokens: which account a request speaks for.

Comes in: a label, or a token that a client presents. Goes out: a new token, once; then only what is known about it.
Never: keeps, logs or shows a token. The table has its SHA-256, which is enough: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.errors import SourceMissingError, explained
from temporis_dagster.data_source.store.sources import ensure_account, run
from temporis_dagster.errors import ConfigurationError

PREFIX = "ts_"
RANDOM_BYTES = 32
LABEL_LENGTH = 64
SELECTOR_LENGTH = 8
"""The number of hex digits of the hash that find the candidates through the index; the rest is compared in constant
time."""


class Token(NamedTuple):
    """What is known about a token after it was shown."""

    label: str
    created_at: datetime


class Tokens:
    """The access tokens of one account. Made by ``SqlStore.tokens``.

    Args:
        database: The database.
        account: The account that the tokens belong to.
    """

    def __init__(self, database: Database, account: str) -> None:
        self._database, self._account = database, account

    def __repr__(self) -> str:
        return f"Tokens({self._database.url!r}, account={self._account!r})"

    def create(self, label: str) -> str:
        """Create a token, and the account and the store if necessary.

        Args:
            label: What lists and messages call the token: 1 to 64 printable characters, different for each token of
                the account.

        Returns:
            The token. It cannot be shown again.

        Raises:
            ConfigurationError: The label is taken or invalid.
            StoreError: The database failed.
        """
        _check_label(label)
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)

        def insert() -> bool:
            with self._database.writing(create=True) as connection:
                inserted = _insert(connection, self._account, label, _hash(token))
                self._database.commit(connection)
                return inserted

        with self._explained():
            inserted = self._database.patiently(insert)
        if not inserted:
            raise ConfigurationError(
                f"Account {self._account!r} already has a token labelled {label!r}. Choose another label, or delete"
                " that token first."
            )
        return token

    def all(self) -> list[Token]:
        """Return the tokens, the oldest first; an empty list if there is no store."""

        def listed() -> list[Token]:
            with self._database.reading() as connection:
                return _tokens(connection, self._account)

        with self._explained():
            try:
                return self._database.patiently(listed)
            except SourceMissingError:
                return []

    def delete(self, label: str) -> bool:
        """Delete the token, with effect from the next request. Return whether there was one."""
        if label.startswith(PREFIX):
            return False  # A token, pasted in place of its label: it must not even reach the log of statements.

        deleted: list[bool] = []  # by each attempt: the commit of one may have had no answer

        def delete() -> bool:
            with self._database.writing() as connection:
                deleted.append(_delete(connection, self._account, label))
                self._database.commit(connection)
                return any(deleted)

        with self._explained():
            try:
                return self._database.patiently(delete)
            except SourceMissingError:
                return False

    def owner(self, token: str) -> str | None:
        """Return the account, this one or another, that a token belongs to; None if this store has no such token."""
        presented = _hash(token)

        def look_up() -> list[tuple[str, str]]:
            with self._database.reading() as connection:
                return _candidates(connection, presented[:SELECTOR_LENGTH])

        with self._explained():
            try:
                candidates = self._database.patiently(look_up)
            except SourceMissingError:
                return None
        return next((account for kept, account in candidates if hmac.compare_digest(kept, presented)), None)

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self._database, account=self._account)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _check_label(label: str) -> None:
    """Refuse a label that cannot be shown. The error does not quote it: it may be a token in the wrong place."""
    if not (0 < len(label) <= LABEL_LENGTH and label.isprintable()) or label.startswith(PREFIX):
        raise ConfigurationError(
            f"The label of a token must be 1 to {LABEL_LENGTH} printable characters and must not start with {PREFIX!r},"
            " as tokens do."
        )


def _insert(connection: sa.Connection, account: str, label: str, hashed: str) -> bool:
    """Insert a token. Return whether it is there now: it may be from an attempt whose commit had no answer."""
    ensure_account(connection, account)
    run(
        connection,
        "INSERT INTO temporis_token (account, label, hash, created_at)"
        " SELECT id, ?, ?, ? FROM temporis_account WHERE name = ? ON CONFLICT (account, label) DO NOTHING",
        (label, hashed, int(time.time()), account),
    )
    return run(connection, "SELECT 1 FROM temporis_token WHERE hash = ?", (hashed,)).first() is not None


def _tokens(connection: sa.Connection, account: str) -> list[Token]:
    found = run(
        connection,
        "SELECT t.label, t.created_at FROM temporis_token t JOIN temporis_account a ON a.id = t.account"
        " WHERE a.name = ? ORDER BY t.id",
        (account,),
    )
    return [Token(label, datetime.fromtimestamp(created_at, timezone.utc)) for label, created_at in found]


def _delete(connection: sa.Connection, account: str, label: str) -> bool:
    deleted = run(
        connection,
        "DELETE FROM temporis_token WHERE label = ? AND account = (SELECT id FROM temporis_account WHERE name = ?)",
        (label, account),
    )
    return bool(deleted.rowcount)


def _candidates(connection: sa.Connection, selector: str) -> list[tuple[str, str]]:
    found = run(
        connection,
        "SELECT t.hash, a.name FROM temporis_token t JOIN temporis_account a ON a.id = t.account"
        " WHERE t.hash BETWEEN ? AND ?",
        (selector, selector + "g"),
    )
    return [(kept, account) for kept, account in found]
