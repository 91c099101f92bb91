"""Attempts: how often a login may be tried, from one address and in all.

Comes in: an address and the time. Goes out: how long to wait before the next attempt.
Never: remembers an attempt for longer than its window, or counts one that it refused, so its memory is bounded.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable

OF_ONE_ADDRESS, ADDRESS_WINDOW_S = 10, 300
OF_ALL, ALL_WINDOW_S = 60, 60
"""The limit for all addresses also bounds how often a password is hashed, which is slow on purpose."""

V6_NETWORK = 64
"""The leading bits of an IPv6 address that count as one address: a customer usually has all of the others."""


class LoginAttempts:
    """The attempts of the last minutes, in this process.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._all = deque[float]()
        self._by_address = defaultdict[str, deque[float]](deque)

    def wait_s(self, address: str) -> int:
        """Count an attempt that may be made now and return 0, or return how many seconds it has to wait."""
        with self._lock:
            now, of_address = self._clock(), self._by_address[_network(address)]
            self._forget(now)
            wait = max(
                _wait_s(self._all, OF_ALL, ALL_WINDOW_S, now),
                _wait_s(of_address, OF_ONE_ADDRESS, ADDRESS_WINDOW_S, now),
            )
            if not wait:
                self._all.append(now)
                of_address.append(now)
                self._by_address[_network(address)] = of_address
            return wait

    def succeeded(self, address: str) -> None:
        """Forget the attempts of an address, because one of them was a login."""
        with self._lock:
            self._by_address.pop(_network(address), None)

    def _forget(self, now: float) -> None:
        while self._all and self._all[0] <= now - ALL_WINDOW_S:
            self._all.popleft()
        for address, attempts in list(self._by_address.items()):
            while attempts and attempts[0] <= now - ADDRESS_WINDOW_S:
                attempts.popleft()
            if not attempts:
                del self._by_address[address]


def _wait_s(attempts: deque[float], most: int, window_s: float, now: float) -> int:
    return math.ceil(attempts[-most] + window_s - now) if len(attempts) >= most else 0


def _network(address: str) -> str:
    """Return what counts as one address.

    >>> _network("192.0.2.7"), _network("::ffff:192.0.2.7"), _network("2001:db8:1:2:3::4")
    ('192.0.2.7', '192.0.2.7', '2001:db8:1:2::/64')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    parsed = parsed if parsed.version == 4 else parsed.ipv4_mapped or parsed  # noqa: PLR2004  # a proxy for both
    if parsed.version == 4:  # noqa: PLR2004  # IPv4
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed), V6_NETWORK), strict=False))
