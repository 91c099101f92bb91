"""Login: who may come in, and as which account.

Comes in: what a person typed, or a visitor of an earlier login. Goes out: a visitor and a key, or a refusal.
Never: keeps, logs or shows what was typed; lets in with a token that is for ingests.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from temporis_dagster.contract import TOKEN
from temporis_dagster.dashboard.attempts import LoginAttempts
from temporis_dagster.dashboard.sessions import Session, Visitor, cookie_of, csrf_of, session_of
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.service.answers import Refusal, refused

PASSWORD_LENGTH = 1_024
"""How many characters of a password are looked at: none that a person uses is longer."""

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
"""How costly it is to try a password: 16 MB and some 50 ms."""


@dataclass(frozen=True)
class LoginOptions:
    """How people get in besides with a token that is for the dashboard.

    Attributes:
        account: The account of those who get in without a token.
        password: A password; None for none.
        is_open: Whether no login is needed at all. Only for a service that listens on this machine alone.

    Raises:
        ConfigurationError: The password is longer than what is looked at.
    """

    account: str = "default"
    password: str | None = field(default=None, repr=False)
    is_open: bool = False

    def __post_init__(self) -> None:
        if self.password is not None and len(self.password) > PASSWORD_LENGTH:
            raise ConfigurationError(
                f"The password of the dashboard must have at most {PASSWORD_LENGTH:,} characters, got"
                f" {len(self.password):,}. Choose a shorter one."
            )


class Login:
    """The logins of one service.

    Args:
        store: The store, with the tokens of all accounts.
        options: How people get in besides with a token.
        clock: Returns the time in Unix seconds.
    """

    def __init__(self, store: SqlStore, options: LoginOptions, clock: Callable[[], float]) -> None:
        self._store, self._account, self._clock = store, options.account, clock
        self._password_key = None if options.password is None else _key_of_password(options.password, options.account)
        # Not made of the password: an attacker who signs a cookie for each guess would try passwords past every limit.
        self._session_key = secrets.token_bytes(32)
        self._attempts = LoginAttempts(clock)
        self.is_open = options.is_open
        self._open_session = Session(
            Visitor(options.account, None), csrf_of(secrets.token_bytes(32), b"open"), logs_out=False
        )

    @property
    def has_password(self) -> bool:
        """Whether there is a password."""
        return self._password_key is not None

    def session(self, cookie: str | None) -> Session | None:
        """Return the session of a request; None if its visitor has to log in."""
        if self.is_open:
            return self._open_session
        return None if cookie is None else session_of(cookie, self._key_of, self._clock())

    def enter(self, secret: str, address: str) -> str:
        """Log in.

        Args:
            secret: What was typed: a token for the dashboard, or the password.
            address: Where the request comes from.

        Returns:
            The cookie of the new session.

        Raises:
            Refusal: 401 if it is not valid, 429 if it was tried too often.
        """
        visitor = self._of_token(secret.strip()) or self._of_password(secret.strip(), address)
        key = visitor and self._key_of(visitor)
        if visitor is None or key is None:
            raise Refusal(401, self._why_not(secret.strip()))
        return cookie_of(visitor, key, self._clock())

    def _of_token(self, secret: str) -> Visitor | None:
        """Return who has this token. Attempts are not limited: a token cannot be guessed, nor its owner shut out."""
        if not TOKEN.fullmatch(secret):
            return None
        with refused():
            found = self._store.tokens.find(secret, dashboard=True)
        return None if found is None else Visitor(found.account, found.label)

    def _of_password(self, secret: str, address: str) -> Visitor | None:
        """Return who has this password, if it is one. What is not, counts as an attempt, whatever it is."""
        if wait_s := self._attempts.wait_s(address):
            raise Refusal(
                429, f"There were too many attempts to log in. Try again in {wait_s} s.", {"Retry-After": str(wait_s)}
            )
        if self._password_key is None or not secret:
            return None
        presented = _key_of_password(secret[:PASSWORD_LENGTH], self._account)
        if not hmac.compare_digest(presented, self._password_key):
            return None
        self._attempts.succeeded(address)
        return Visitor(self._account, None)

    def _why_not(self, secret: str) -> str:
        """Say why a person is not let in. That a token is for ingests is said only to a person who has it."""
        with refused():
            is_for_ingests = (
                TOKEN.fullmatch(secret) is not None and self._store.tokens.find(secret, dashboard=False) is not None
            )
        if is_for_ingests:
            return "This token is for ingests. The dashboard takes a token that was created with --dashboard."
        known = "dashboard token or password" if self.has_password else "dashboard token"
        return f"This {known} is not valid."

    def _key_of(self, visitor: Visitor) -> bytes | None:
        if visitor.label is None:
            return self._session_key if self.has_password and visitor.account == self._account else None
        with refused():
            return self._store.of_account(visitor.account).tokens.session_key(visitor.label)


def _key_of_password(password: str, account: str) -> bytes:
    """Return what a password is compared by: it takes time to compute, so that guessing does."""
    salt = b"temporis dashboard\0" + account.encode(errors="surrogatepass")
    text = password.encode(errors="surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
