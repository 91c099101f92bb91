"""Settings: URLs and tokens, as arguments, environment variables and secret files hold them.

Comes in: a setting. Goes out: the same setting without the white space around it, and hidden if it is a secret.
Never: changes anything inside a setting, or shows a secret.
"""

from __future__ import annotations

import os
import re
from typing import TypeVar

T = TypeVar("T")


PLAIN_URL = re.compile(
    r"\s*([a-z][a-z0-9+.-]*://([\w.-]+|\[[\w.:]+\])?(:\d+)?(/[\w./-]*)?|sqlite:///.*)\s*", re.IGNORECASE
)
"""A URL of a service or a database that has no room for a password: no user and no options. The rest of a SQLite URL is
a path, which may have any character."""


class Hidden(str):
    """A secret that can be used as the text it is, but does not appear when a traceback shows local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"

    def strip(self, chars: str | None = None, /) -> Hidden:
        """Strip it, and keep it hidden."""
        return Hidden(super().strip(chars))


def hidden_token(token: object) -> Hidden | None:
    """Hide a token. A value of another type becomes the empty string, which is refused later like any invalid token."""
    if token is None:
        return None
    return Hidden(token) if isinstance(token, str) else Hidden()


def hidden_url(url: T) -> T:
    """Hide a URL that may contain a password, in its user part or in its options; return any other URL unchanged.

    >>> hidden_url("postgresql+psycopg://db.example.com/metrics"), hidden_url("postgresql+psycopg://me:pw@db/metrics")
    ('postgresql+psycopg://db.example.com/metrics', <hidden>)
    """
    is_suspect = isinstance(url, str) and not PLAIN_URL.fullmatch(url)
    return Hidden(url) if is_suspect else url  # type: ignore[return-value]  # a Hidden is a str


def trimmed(setting: T) -> T:
    r"""Strip the white space around a setting: secret files end in a line break, which would name another file.

    >>> trimmed("sqlite:///temporis.db\n"), trimmed(None)
    ('sqlite:///temporis.db', None)
    """
    return setting.strip() if isinstance(setting, str) else setting  # type: ignore[return-value]  # a str is one


def from_environment(name: str) -> str | None:
    """Read an environment variable, trimmed; None if it is not set or contains only white space."""
    return trimmed(os.environ.get(name, "")) or None
