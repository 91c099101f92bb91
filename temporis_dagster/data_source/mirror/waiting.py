"""Waiting: says that an upsert or a flush waits, and for what.

Comes in: words. Goes out: a warning in the log, once the wait is long enough to be noticed, and then now and then.
Never: waits.
"""

from __future__ import annotations

import logging

from temporis_dagster.data_source.http.throttle import WARN_EVERY_S
from temporis_dagster.data_source.mirror.clock import MirrorClock

LOGGER = logging.getLogger(__name__)

FIRST_S = 1.0
"""Writers that share a mirror hold each other up for moments all the time: that is not worth a word."""


class Waiting:
    """One wait.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: MirrorClock) -> None:
        self._clock = clock
        self._due = clock.monotonic() + FIRST_S

    def say(self, words: str, *arguments: object) -> None:
        """Warn, where that is due."""
        if self._clock.monotonic() >= self._due:
            self._due = self._clock.monotonic() + WARN_EVERY_S
            LOGGER.warning(words, *arguments)
