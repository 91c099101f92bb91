"""Hosts: which of them are this machine, and where to do there what the API cannot.

Comes in: the URL of an HTTP service. Goes out: the end of a sentence that says what to do.
Never: connects, or looks a name up.
"""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine: what is sent to them stays here."""


def is_local(url: str) -> bool:
    """Whether that is a service on this machine.

    >>> is_local("http://[::1]:8008"), is_local("https://api.temporis.co")
    (True, False)
    """
    return urlsplit(url).hostname in LOOPBACK


def to_manage(url: str, command: str) -> str:
    """Where data sources and tokens are made, archived and so on.

    >>> to_manage("https://api.temporis.co", "sources create NAME")
    'in the Temporis dashboard'
    """
    return f"with: temporis {command} --store URL-OF-ITS-STORE" if is_local(url) else "in the Temporis dashboard"


def to_read(url: str) -> str:
    """How to see what was stored."""
    if is_local(url):
        return "read its store: connect('sqlite:///temporis.db'), or temporis read --url sqlite:///temporis.db"
    return "look at them in the Temporis dashboard"
