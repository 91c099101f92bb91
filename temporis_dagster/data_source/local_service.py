"""Local service: whether a URL is a service on this machine, and where to do there what the API cannot.

Comes in: the URL of an HTTP service. Goes out: a yes or no, or the end of a sentence that says what to do.
Never: connects, or looks up a name.
"""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts that are this machine, which nothing sent to them leaves."""


def is_local(url: str) -> bool:
    """Tell whether a URL is that of a service on this machine.

    >>> is_local("http://[::1]:8008"), is_local("https://api.temporis.co")
    (True, False)
    """
    return urlsplit(url).hostname in LOOPBACK


def to_manage(url: str, command: str) -> str:
    """Say where data sources and tokens are created, archived and so on.

    >>> to_manage("https://api.temporis.co", "sources create NAME")
    'in the Temporis dashboard'
    """
    return f"with: temporis {command} --store URL-OF-ITS-STORE" if is_local(url) else "in the Temporis dashboard"


def to_read(url: str) -> str:
    """Say how to see what was stored."""
    if is_local(url):
        return "read its store: connect('sqlite:///temporis.db'), or temporis read --url sqlite:///temporis.db"
    return "look in the Temporis dashboard"
