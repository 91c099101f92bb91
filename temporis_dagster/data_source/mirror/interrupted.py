"""Interrupted: the deliveries that were interrupted while requests of theirs were under way.

Comes in: deliveries that could not be settled whole. Goes out: the same, settled, once their last request is over.
Never: waits, or settles a request that is still under way.
"""

from __future__ import annotations

import os
from collections import deque
from typing import NamedTuple, Protocol

LIMIT = 1_000
"""Only a program that is interrupted all the time meets it. What is forgotten ends with its lease."""


class Left(Protocol):
    """A delivery that was interrupted."""

    def settle_rest(self) -> bool:
        """Settle what it left, if its requests are over; whether that is done."""
        ...


class _Entry(NamedTuple):
    process: int
    data_source: str
    left: Left


class Interrupted:
    """What the interrupted deliveries of one mirror left behind in this process."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=LIMIT)

    def add(self, data_source: str, left: Left) -> None:
        """Remember a delivery."""
        self._entries.append(_Entry(os.getpid(), data_source, left))

    def settle(self, data_source: str) -> None:
        """Settle what is over by now of this data source."""
        for _ in range(len(self._entries)):
            try:
                entry = self._entries.popleft()
            except IndexError:  # another thread was faster
                return
            # In a forked child the parent's threads are not there, and its leases are not the child's to end.
            done = entry.process != os.getpid()
            try:
                done = done or (entry.data_source == data_source and entry.left.settle_rest())
            finally:
                if not done:
                    self._entries.append(entry)
