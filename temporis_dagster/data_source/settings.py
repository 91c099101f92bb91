"""Settings: URLs and tokens as arguments, environment variables and secret files hold them.

Comes in: a setting. Goes out: the same one, without what stands around it.
Never: changes anything inside it, or shows it.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")


def trimmed(setting: T) -> T:
    r"""A setting without the white space around it: secret files end in a line break, which would name another file.

    >>> trimmed("sqlite:///temporis.db\n"), trimmed(None)
    ('sqlite:///temporis.db', None)
    """
    return setting.strip() if isinstance(setting, str) else setting  # type: ignore[return-value]  # a str is one


def from_environment(name: str) -> str | None:
    """An environment variable, trimmed; None where it is not set, or holds nothing but white space."""
    return trimmed(os.environ.get(name, "")) or None
