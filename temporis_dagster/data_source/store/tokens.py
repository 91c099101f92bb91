"""Access tokens: which account a request speaks for.

Comes in: a label, or a token that a client presents. Goes out: a new token, once; then only what is known about it.
Never: keeps, logs or shows a token. The table has its SHA-256, which is enough: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.errors import SourceMissingError, StoreUnusableError, explained
from temporis_dagster.data_source.store.sources import ensure_account, run
from temporis_dagster.data_source.store.token_uses import TokenUses
from temporis_dagster.errors import ConfigurationError

PREFIX = "ts_"
A_TOKEN = re.compile(PREFIX + r"[\w-]{30,}", re.ASCII)
"""What is as long as a token, anywhere in a text."""

RANDOM_BYTES = 32
SESSIONS = b"temporis dashboard session"
LABEL_LENGTH = 64
SELECTOR_LENGTH = 8
"""The number of hex digits of the hash that find the candidates through the index; the rest is compared in constant
time."""


class Token(NamedTuple):
    """What is known about a token after it was shown.

    Attributes:
        label: What it is called.
        created_at: When it was created.
        dashboard: Whether it opens the dashboard. If not, it is for ingests.
        last_used_at: When it was last used, to the minute; None if it never was, as far as that was noted.
    """

    label: str
    created_at: datetime
    dashboard: bool = False
    last_used_at: datetime | None = None


class FoundToken(NamedTuple):
    """A token that a client presented.

    Attributes:
        account: The account that it belongs to.
        label: What it is called.
    """

    account: str
    label: str


class Tokens:
    """The access tokens of one account. Made by ``SqlStore.tokens``.

    Args:
        database: The database.
        account: The account that the tokens belong to.
        uses: Notes when they are used.
    """

    def __init__(self, database: Database, account: str, uses: TokenUses) -> None:
        self._database, self._account, self._uses = database, account, uses

    def __repr__(self) -> str:
        return f"Tokens({self._database.url!r}, account={self._account!r})"

    def create(self, label: str, *, dashboard: bool = False) -> str:
        """Create a token, and the account and the store if necessary.

        Args:
            label: What lists and messages call the token: 1 to 64 printable characters, different for each token of
                the account.
            dashboard: Make a token that opens the dashboard, and that the API refuses. The others are for the API, and
                the dashboard refuses them.

        Returns:
            The token. It cannot be shown again.

        Raises:
            ConfigurationError: The label is taken or invalid.
            StoreError: The database failed, or its tables are those of an older version, which has no tokens for the
                dashboard.
        """
        _check_label(label)
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)

        def insert() -> bool:
            with self._database.writing(create=True) as connection:
                if dashboard and not self._database.keeps_times(connection):
                    raise StoreUnusableError(
                        "its tables are those of an older version, which has no tokens for the dashboard",
                        "Open the store once as a user who may change its tables, for example with: temporis tokens"
                        " list. The log says what is in the way.",
                    )
                inserted = _insert(connection, self._account, label, _hash(token), dashboard=dashboard)
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
                return _tokens(connection, self._account, times=self._database.keeps_times(connection))

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

    def find(self, token: str, *, dashboard: bool = False) -> FoundToken | None:
        """Look up a token that a client presents, and note that it is used.

        Args:
            token: The token, of this account or another.
            dashboard: Whether it is to open the dashboard. Otherwise it is to ingest.

        Returns:
            Whose token it is; None if this store has no such token, or if it is of the other kind.

        Raises:
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """
        presented = _hash(token)

        def look_up() -> list[_Kept]:
            with self._database.reading() as connection:
                times = self._database.keeps_times(connection)
                return _candidates(connection, presented[:SELECTOR_LENGTH], times=times)

        with self._explained():
            try:
                candidates = self._database.patiently(look_up)
            except SourceMissingError:
                return None
        kept = next((one for one in candidates if hmac.compare_digest(one.hash, presented)), None)
        if kept is None or kept.dashboard != dashboard:
            return None
        if kept.has_times:
            self._uses.note(self._database, kept.hash, kept.last_used_at)
        return FoundToken(kept.account, kept.label)

    def session_key(self, label: str) -> bytes | None:
        """Return the key with which logins to the dashboard are signed. It ends with its token.

        Args:
            label: What the token for the dashboard is called.

        Returns:
            The key, from which neither the token nor its stored hash follows; None if the account has no such token.

        Raises:
            StoreError: The database failed.
            UnavailableError: PostgreSQL could not be reached for too long.
        """

        def look_up() -> str | None:
            with self._database.reading() as connection:
                known = self._database.keeps_times(connection)
                return _hash_of_dashboard(connection, self._account, label) if known else None

        with self._explained():
            try:
                kept = self._database.patiently(look_up)
            except SourceMissingError:
                return None
        return None if kept is None else hmac.digest(kept.encode(), SESSIONS, hashlib.sha256)

    def owner(self, token: str) -> str | None:
        """Return the account, this one or another, that a token for ingests belongs to; None if there is none."""
        found = self.find(token)
        return None if found is None else found.account

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self._database, account=self._account)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _check_label(label: str) -> None:
    """Refuse a label that cannot be shown. The error does not quote it: it may be a token in the wrong place."""
    is_shown = 0 < len(label) <= LABEL_LENGTH and label.isprintable()
    if not is_shown or label.startswith(PREFIX) or A_TOKEN.search(label):
        raise ConfigurationError(
            f"The label of a token must be 1 to {LABEL_LENGTH} printable characters and must not start with {PREFIX!r},"
            " as tokens do, or have a token in it."
        )


def _hash_of_dashboard(connection: sa.Connection, account: str, label: str) -> str | None:
    return run(
        connection,
        "SELECT t.hash FROM temporis_token t JOIN temporis_account a ON a.id = t.account"
        " WHERE a.name = ? AND t.label = ? AND t.dashboard",
        (account, label),
    ).scalar()


def _insert(connection: sa.Connection, account: str, label: str, hashed: str, *, dashboard: bool) -> bool:
    """Insert a token. Return whether it is there now: it may be from an attempt whose commit had no answer."""
    ensure_account(connection, account)
    column, values = "", [label, hashed, int(time.time())]
    if dashboard:  # A store of an older version does not have the column.
        column, values = ", dashboard", [*values, True]
    run(
        connection,
        f"INSERT INTO temporis_token (account, label, hash, created_at{column})"  # noqa: S608 no data in it
        f" SELECT id, {', '.join('?' * len(values))} FROM temporis_account WHERE name = ?"
        " ON CONFLICT (account, label) DO NOTHING",
        (*values, account),
    )
    return run(connection, "SELECT 1 FROM temporis_token WHERE hash = ?", (hashed,)).first() is not None


def _tokens(connection: sa.Connection, account: str, *, times: bool) -> list[Token]:
    found = run(
        connection,
        f"SELECT t.label, t.created_at, {_times(times)} FROM temporis_token t JOIN temporis_account a"  # noqa: S608 no data in it
        " ON a.id = t.account WHERE a.name = ? ORDER BY t.id",
        (account,),
    )
    return [
        Token(label, _moment(created_at), bool(dashboard), None if used_at is None else _moment(used_at))
        for label, created_at, dashboard, used_at in found
    ]


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _times(there: bool) -> str:
    """Return the columns of kind and last use, or what stands for them in a store of an older version."""
    return "t.dashboard, t.last_used_at" if there else "1 = 0, NULL"


def _delete(connection: sa.Connection, account: str, label: str) -> bool:
    deleted = run(
        connection,
        "DELETE FROM temporis_token WHERE label = ? AND account = (SELECT id FROM temporis_account WHERE name = ?)",
        (label, account),
    )
    return bool(deleted.rowcount)


class _Kept(NamedTuple):
    hash: str
    account: str
    label: str
    has_times: bool
    dashboard: bool
    last_used_at: int | None


def _candidates(connection: sa.Connection, selector: str, *, times: bool) -> list[_Kept]:
    found = run(
        connection,
        f"SELECT t.hash, a.name, t.label, {_times(times)} FROM temporis_token t JOIN temporis_account a"  # noqa: S608 no data in it
        " ON a.id = t.account WHERE t.hash BETWEEN ? AND ?",
        (selector, selector + "g"),
    )
    return [
        _Kept(hashed, account, label, times, bool(dashboard), used_at)
        for hashed, account, label, dashboard, used_at in found
    ]
