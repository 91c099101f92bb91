"""Local service: whether a URL is a service on this machine, and where to do what the API cannot.

Comes in: the URL of an HTTP service. Goes out: a yes or no, or the end of a sentence that says what to do.
Never: connects, or looks up a name.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from temporis_dagster.contract import CLOUD_URL

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
    own = f"with: temporis {command} --store URL-OF-ITS-STORE"
    return _of(url, own, "in the Temporis dashboard")


def to_read(url: str) -> str:
    """Say how to see what was stored."""
    own = "read its store, with connect() in Python, or in a shell with: temporis read --url URL-OF-ITS-STORE"
    return _of(url, own, "look in the Temporis dashboard")


def to_delete(url: str, data_source: str) -> str:
    """Say, in sentences, what to do about observations that should not be there.

    >>> to_delete("http://127.0.0.1:8008", "metrics").split(".")[0]
    'On this machine, run: temporis delete --data-source metrics --store URL-OF-ITS-STORE'
    """
    command = f"temporis delete --data-source {data_source} --store URL-OF-ITS-STORE"
    if is_local(url):
        return f"On this machine, run: {command}."
    ask = (
        "Ask the host of the service; or store what is right in a new data source, and archive this one"
        f" {to_manage(url, f'sources archive {data_source}')}."
    )
    is_cloud = urlsplit(url).hostname == urlsplit(CLOUD_URL).hostname
    return (
        ask if is_cloud else f"{ask} For a service of your own, on the machine that serves its store, run: {command}."
    )


def _of(url: str, own: str, cloud: str) -> str:
    """Return what holds for a local service, for the cloud, or both: a service elsewhere may be one of the user's own.

    >>> _of("https://temporis.example.com", "look here", "look there")
    'look there or, for a service of your own, look here'
    """
    if is_local(url):
        return own
    is_cloud = urlsplit(url).hostname == urlsplit(CLOUD_URL).hostname
    return cloud if is_cloud else f"{cloud} or, for a service of your own, {own}"
