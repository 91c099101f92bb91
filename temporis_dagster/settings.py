"""Settings: URLs and tokens as arguments, environment variables and secret files hold them.

Comes in: a setting. Goes out: the same one, without what stands around it.
Never: changes anything inside it, or shows it.
"""

from __future__ import annotations

import os
import re
from typing import TypeVar

T = TypeVar("T")


PLAIN_URL = re.compile(r"https?://([\w.-]+|\[[\w.:]+\])(:\d+)?(/[\w./-]*)?", re.IGNORECASE)
"""A URL of an HTTP service in which there is no place for a password."""


class Hidden(str):
    """A secret that passes as the text that it is, and is not shown where a traceback shows local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"

    def strip(self, chars: str | None = None, /) -> Hidden:
        """The same without what stands around it, as hidden as before."""
        return Hidden(super().strip(chars))


def hidden_token(token: object) -> Hidden | None:
    """A token, hidden. What is not even text becomes a text that no token is: its fault is found as any other."""
    if token is None:
        return None
    return Hidden(token) if isinstance(token, str) else Hidden()


def hidden_url(url: T) -> T:
    """A URL of an HTTP service, hidden if it holds what it must not hold, such as a password."""
    is_suspect = isinstance(url, str) and re.match(r"\s*https?:", url, re.IGNORECASE) and not PLAIN_URL.fullmatch(url)
    return Hidden(url) if is_suspect else url  # type: ignore[return-value]  # a Hidden is a str


def trimmed(setting: T) -> T:
    r"""A setting without the white space around it: secret files end in a line break, which would name another file.

    >>> trimmed("sqlite:///temporis.db\n"), trimmed(None)
    ('sqlite:///temporis.db', None)
    """
    return setting.strip() if isinstance(setting, str) else setting  # type: ignore[return-value]  # a str is one


def from_environment(name: str) -> str | None:
    """An environment variable, trimmed; None where it is not set, or holds nothing but white space."""
    return trimmed(os.environ.get(name, "")) or None
