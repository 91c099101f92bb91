"""RowCounts: how many observations data sources hold, counted in the background.

Comes in: a function that counts. Goes out: the last number that was counted, and when.
Never: lets its caller wait, counts in more than one thread of the process, or counts for a store that was closed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from temporis_dagster.errors import TemporisError

LOGGER = logging.getLogger(__name__)

FRESH_S, TIMES_AS_LONG = 30.0, 30
"""A number counts as fresh for at least the first number of seconds, and for as many times as long as it took to count
as the second number is: at most a few percent of one core are spent on it, however many pages ask."""

THREAD_NAME = "temporis-row-counts"


class RowCount(NamedTuple):
    """A number of observations.

    Attributes:
        rows: How many there were.
        counted_at: When, in Unix seconds.
    """

    rows: int
    counted_at: float


class RowCounts:
    """The last number counted of each data source of a store. Threads may share it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, RowCount] = {}
        self._fresh_until: dict[Hashable, float] = {}

    def get(self, key: Hashable, count: Callable[[], int]) -> RowCount | None:
        """Return what was counted last; None if nothing was. Have it counted again unless that is fresh.

        Args:
            key: What tells this data source from others of the store.
            count: Counts. It is called in a thread of its own, and what it raises is logged.
        """
        if time.monotonic() >= self._fresh_until.get(key, 0.0):
            _BACKGROUND.add(self, key, lambda: self._count(key, count))
        return self._known.get(key)

    def close(self) -> None:
        """Count nothing more of what still waits for its turn."""
        _BACKGROUND.drop(self)

    def _count(self, key: Hashable, count: Callable[[], int]) -> None:
        begun = time.monotonic()
        try:
            self._known[key] = RowCount(count(), time.time())
        except TemporisError as error:
            LOGGER.warning("The observations of a data source were not counted: %s", error)
        ended = time.monotonic()
        self._fresh_until[key] = ended + max(FRESH_S, TIMES_AS_LONG * (ended - begun))


class _Background:
    """Work for one thread, which ends once there is none left."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):
            # The thread of the parent does not exist in the child, and may have held the lock.
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, Hashable], tuple[RowCounts, Callable[[], None]]] = {}
        self._running = False

    def add(self, owner: RowCounts, key: Hashable, work: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.setdefault((id(owner), key), (owner, work))
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name=THREAD_NAME, daemon=True).start()

    def drop(self, owner: RowCounts) -> None:
        with self._lock:
            for place in [place for place, (waiting, _) in self._waiting.items() if waiting is owner]:
                del self._waiting[place]

    def _run(self) -> None:
        while True:
            with self._lock:
                place = next(iter(self._waiting), None)
                if place is None:
                    self._running = False
                    return
                _, work = self._waiting[place]
            try:
                work()
            except Exception:
                LOGGER.exception("The observations of a data source were not counted.")
            finally:
                with self._lock:
                    self._waiting.pop(place, None)


_BACKGROUND = _Background()
