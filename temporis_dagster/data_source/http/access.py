"""Access: which base URL and which token a service can be reached with.

Comes in: a URL, a token and the options. Goes out: the URL as it is shown, or a ConfigurationError.
Never: opens anything, or shows a token or a password.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import httpx

from temporis_dagster.contract import INGEST_PATH, TOKEN
from temporis_dagster.data_source.local_service import LOOPBACK
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.errors import ConfigurationError

API_PATHS = (INGEST_PATH, *(parent.as_posix() for parent in PurePosixPath(INGEST_PATH).parents[:-1]))
"""What a base URL must not end with."""


def checked_url(url: str, options: HttpOptions) -> str:
    """Check a base URL, and return it without a trailing slash.

    Raises:
        ConfigurationError: It is not valid, has more than host, port and path, ends with the API's own path, or would
            send the token unencrypted.
    """
    parsed = _parsed(url)
    if parsed is None:
        raise ConfigurationError("The URL is not valid. Pass one such as 'https://api.temporis.co'.")
    has_more = bool(parsed.userinfo or parsed.query or parsed.fragment or "@" in parsed.path)
    bare = {"username": None, "password": None, "query": None, "fragment": None}
    parsed = parsed.copy_with(**bare) if "@" not in parsed.path else parsed.copy_with(path="/", **bare)
    shown = str(parsed).rstrip("/")
    if not parsed.host:
        raise ConfigurationError(f"{shown!r} has no host. Pass a URL such as 'https://api.temporis.co'.")
    if has_more:
        raise ConfigurationError(
            f"{shown!r} has more than a host, a port and a path. Leave out the rest; for an access token,"
            f" {options.ADVICE.token}."
        )
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise ConfigurationError(f"The port of {shown!r} must be between 1 and 65535. Correct it, or leave it out.")
    if parsed.path.rstrip("/").endswith(API_PATHS):
        raise ConfigurationError(
            f"{shown!r} includes the API's own path, which is added to each request. End the URL before '/v1'."
        )
    if parsed.scheme == "http" and parsed.host not in LOOPBACK and not options.allow_http:
        raise ConfigurationError(
            f"{shown!r} would send the access token unencrypted. Use https, or {options.ADVICE.allow_http}."
        )
    return shown


def _parsed(url: str) -> httpx.URL | None:
    """Parse a URL; None if it is not valid, because an error chained to httpx's would carry passwords in its frames."""
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # otherwise this fails when a connection is opened
    except (httpx.InvalidURL, TypeError, UnicodeError):
        return None
    # An escape such as that of a blank; in an IPv6 address, "%" begins the zone.
    has_escape = "%" in parsed.host and ":" not in parsed.host
    return None if has_escape else parsed


def check_token(token: object, url: str, options: HttpOptions) -> None:
    """Check the access token for a URL that ``checked_url`` returned.

    Raises:
        ConfigurationError: The URL requires a token and there is none, or the token is not valid.
    """
    if token is None and url.startswith("https:"):
        raise ConfigurationError(f"{url} requires an access token, but none was given: {options.ADVICE.token}.")
    if token is not None and not (isinstance(token, str) and TOKEN.fullmatch(token)):
        raise ConfigurationError(
            "The access token is not valid: it must start with 'ts_' and contain no spaces or line breaks. It was not"
            " sent. Copy it again, without quotes."
        )
