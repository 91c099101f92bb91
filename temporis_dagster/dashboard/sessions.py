"""Sessions: who is logged in, in a signed cookie.

Comes in: a visitor and the key of what they logged in with, or a cookie. Goes out: a cookie, or the session it proves.
Never: keeps anything, so that several services over one store agree; puts a token or a password into the cookie.

The key comes from the stored hash of the token; for a password, it is a random one of the process. So a session ends at
the next request after its token was deleted, or when the service that knows the password ends, and otherwise after
``SESSION_S``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

SESSION_S = 12 * 3600
"""How many seconds a login lasts."""

NONCE_BYTES = 16
LONGEST_COOKIE = 4_096


class Visitor(NamedTuple):
    """A person who uses the dashboard.

    Attributes:
        account: The account whose data sources they see.
        label: The label of the token that they logged in with; None for the password, and where no login is needed.
    """

    account: str
    label: str | None


@dataclass(frozen=True)
class Session:
    """A visitor who is logged in.

    Attributes:
        visitor: Who it is.
        csrf: What each form of this session has to send.
        logs_out: Whether there is a login that could be ended.
    """

    visitor: Visitor
    csrf: str = field(repr=False)
    logs_out: bool = True


KeyOf = Callable[[Visitor], bytes | None]
"""Returns the key of what a visitor logged in with; None if that is no longer valid."""


def cookie_of(visitor: Visitor, key: bytes, now: float) -> str:
    """Return the cookie of a new session.

    Args:
        visitor: The person who has logged in.
        key: The key of what they logged in with.
        now: Unix seconds.
    """
    nonce = base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
    content = json.dumps([*visitor, int(now) + SESSION_S, nonce]).encode()
    return f"{_text(content)}.{_text(_mac(key, 'session', content))}"


def session_of(cookie: str, key_of: KeyOf, now: float) -> Session | None:
    """Return the session that a cookie proves; None if it proves none, or one that has ended.

    Args:
        cookie: The value of the cookie; any text.
        key_of: Finds the key of what the visitor logged in with.
        now: Unix seconds.
    """
    content, mac = _parts(cookie)
    found = _content(content)
    if found is None:
        return None
    visitor, expires_at = found
    key = key_of(visitor)
    if key is None or not hmac.compare_digest(_mac(key, "session", content), mac):
        return None
    if not now < expires_at <= now + SESSION_S:
        return None
    return Session(visitor, csrf_of(key, content))


def csrf_of(key: bytes, content: bytes) -> str:
    """Return what the forms of a session have to send: it cannot be made without the key."""
    return _text(_mac(key, "csrf", content))


def _mac(key: bytes, purpose: str, content: bytes) -> bytes:
    return hmac.digest(key, purpose.encode() + b"\0" + content, hashlib.sha256)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


def _parts(cookie: str) -> tuple[bytes, bytes]:
    if len(cookie) > LONGEST_COOKIE or not cookie.isascii():
        return b"", b""
    content, _, mac = cookie.partition(".")
    try:
        return base64.urlsafe_b64decode(content), base64.urlsafe_b64decode(mac)
    except (binascii.Error, ValueError):
        return b"", b""


def _content(content: bytes) -> tuple[Visitor, int] | None:
    """Read what a cookie says, before it is known whether we have said it."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match found:
        case [str(account), str() | None as label, int(expires_at), str()]:
            # Accounts and labels are printable; other texts may not even be looked up in some databases.
            return (Visitor(account, label), expires_at) if f"{account}{label}".isprintable() else None
    return None
