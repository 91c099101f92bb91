"""Environment: which proxy a URL is reached through, and which certificates are trusted.

Comes in: a URL, the ``verify`` of the caller, and environment variables. Goes out: the URL of a proxy; a TLS context.
Never: connects, looks up a name, or fails because of an entry of NO_PROXY that it cannot read.

httpx has its own rules for both, and they refuse some values that curl and requests accept: an IPv6 address or a range
in NO_PROXY stopped every connection.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from typing import TypeAlias
from urllib.request import getproxies

import httpx

from temporis_dagster.settings import from_environment

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that name a file of certificates; the first one that is set counts."""

DIRECTORY = "SSL_CERT_DIR"
SEPARATORS = re.compile(r"[\s,]+")
IN_BRACKETS = re.compile(r"\[([^\]]*)(\]?(?:/\d{1,3})?\]?)(?::(\d{1,5}))?")
"""An IPv6 address or range in brackets, with the length of its prefix inside or outside of them, and a port."""

PORT = re.compile(r"[0-9]{1,5}")

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(url: str) -> str | None:
    """Return the proxy for a URL: HTTP_PROXY or HTTPS_PROXY, else ALL_PROXY, in either case; none for loopback."""
    parsed, proxies = httpx.URL(url), getproxies()
    proxy = proxies.get(parsed.scheme) or proxies.get("all")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    if not proxy or _is_loopback(parsed.host):
        return None
    if any(bypasses(entry, parsed.host, port) for entry in SEPARATORS.split(proxies.get("no", ""))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def bypasses(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry of NO_PROXY covers this host.

    Args:
        entry: A name, which includes its subdomains; an address; a range; each with or without a port; or ``*``.
        host: A name or an address, without brackets.
        port: The port of the host.

    Examples:
        >>> bypasses(".temporis.co", "api.temporis.co", 443), bypasses("10.0.0.0/8", "10.1.2.3", 443)
        (True, True)
        >>> bypasses("[::1]:8008", "::1", 8008), bypasses("temporis.co:80", "api.temporis.co", 443)
        (True, False)
    """
    host = host.lower().rstrip(".")
    name, only_port = _read(entry.strip().lower())
    if name == "*" or only_port not in (None, port):
        return name == "*"
    address = _address(host)
    if address is not None:
        return _is_in(address, name)
    name = name.lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _read(entry: str) -> tuple[str, int | None]:
    """Split an entry into its name, address or range, and its port."""
    entry = entry.rpartition("://")[2].rstrip("/")
    if in_brackets := IN_BRACKETS.fullmatch(entry):
        address, bits, port = in_brackets.groups()
        return address.partition("%")[0] + bits.strip("]"), None if port is None else int(port)
    name, colon, port = entry.rpartition(":")
    if colon and ":" not in name and (not port or PORT.fullmatch(port)):
        return name, int(port) if port else None
    return entry.partition("%")[0], None


def trusted(verify: bool | str) -> ssl.SSLContext | bool:
    """Return what httpx verifies certificates with.

    Args:
        verify: False for nothing; the path of a CA bundle; or True for what the environment names, or else certifi's.

    Raises:
        OSError: A file does not exist or contains no certificate.
    """
    if isinstance(verify, str):
        return _context(verify)
    if not verify:
        return False
    bundle, directory = next(filter(None, map(from_environment, BUNDLES)), None), from_environment(DIRECTORY)
    return _context(bundle, directory) if bundle or directory else True


def _context(bundle: str | None, directory: str | None = None) -> ssl.SSLContext:
    if bundle is not None and Path(bundle).is_dir():
        bundle, directory = None, bundle
    return ssl.create_default_context(cafile=bundle, capath=directory)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: Address, entry: str) -> bool:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return address in network
