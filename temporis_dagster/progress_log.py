"""The progress of a long write in Dagster's log: a line every 30 seconds at most, and none for a short write.

Comes in: numbers of settled observations, from any thread. Goes out: log lines.
Never: logs more often because there are more requests.
"""

import time
from collections.abc import Callable
from threading import Lock

LOG_EVERY_S = 30.0


class ProgressLog:
    """A function for ``DataSource.upsert(progress=)`` that logs.

    Args:
        log: A function that takes a format and its arguments, such as ``context.log.info``.
        data_source: The name of the data source.
        total: The number of observations of the write.
        now: A monotonic clock, in seconds.

    Examples:
        >>> clock = iter([0, 10, 30, 31]).__next__
        >>> progress = ProgressLog(lambda text, *parts: print(text % parts), "store_metrics", 4_000, now=clock)
        >>> for _ in range(3):
        ...     progress(1_000)
        store_metrics: 2,000 of 4,000 observations (50 %) after 30 s
    """

    def __init__(
        self, log: Callable[..., None], data_source: str, total: int, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._data_source, self._total, self._now = log, data_source, total, now
        self._lock = Lock()
        self._settled, self._started = 0, now()
        self._next = self._started + LOG_EVERY_S

    def __call__(self, settled: int) -> None:
        """Count further settled observations, and log a line if the last one is old enough."""
        with self._lock:
            self._settled += settled
            done, moment = self._settled, self._now()
            if moment < self._next:
                return
            self._next = moment + LOG_EVERY_S
        self._log(
            "%s: %s of %s observations (%d %%) after %.0f s",
            self._data_source,
            f"{done:,}",
            f"{self._total:,}",
            100 * done // self._total,
            moment - self._started,
        )
