"""Rate: how far apart requests start, so that a service with a limit refuses few of them.

Comes in: which requests started, were acknowledged or were refused. Goes out: the time between two starts.
Never: waits, looks at a clock, or gives up.

It works as TCP does to find the speed of a line: nothing is held back until the service refuses a request. Then the
rate falls, and each acknowledgement raises it: quickly up to the rate at which the last refusal left it (or up to the
next refusal, if there was none), and slowly from then on. An answer changes the rate only if its request started after
the last change: requests that were already under way do not show anything about the new rate.
"""

from __future__ import annotations

from collections import deque

FALL, FALL_AGAIN = 0.7, 0.5
"""The share of the rate that is left after a refusal, and after another one without an acknowledgement in between."""

RISE, CAREFUL_RISE = 1.15, 1.015
"""The factor of an acknowledgement, far below the limit and near it, where about 1 request in 24 is refused."""

SHORTEST_S, LONGEST_S = 0.002, 30.0
"""Requests are not held back below the first of these intervals, and never more than by the second."""

REMEMBERED_STARTS = 8


class Rate:
    """The time between two starts.

    Attributes:
        interval_s: The shortest time between two starts, in seconds; 0 while nothing is held back.
        count: The number of requests that have started.
    """

    def __init__(self) -> None:
        self.interval_s = 0.0
        self._starts: deque[float] = deque(maxlen=REMEMBERED_STARTS)
        self.count = self._fell_at = self._rose_at = 0
        self._careful_from_s = 0.0
        self._acknowledged_since = self._is_holding_back = False

    def started(self, now: float) -> int:
        """Note that a request starts now, and return its number."""
        # An idle connection must not raise the rate, or the next load would begin far beyond the limit.
        self._is_holding_back = bool(self._starts) and now - self._starts[-1] <= 2 * self.interval_s
        self._starts.append(now)
        self.count += 1
        return self.count

    def acknowledged(self, number: int) -> None:
        """Note that the service acknowledged the request with this number."""
        self._acknowledged_since |= number > self._fell_at
        if self.interval_s and self._is_holding_back and number > max(self._rose_at, self._fell_at):
            self._rose_at = self.count
            self.interval_s /= CAREFUL_RISE if self.interval_s <= self._careful_from_s else RISE
            if self.interval_s < SHORTEST_S:
                self.interval_s = self._careful_from_s = 0.0

    def refused(self, number: int, *, at_least_s: float = 0.0, at_most_s: float = LONGEST_S) -> bool:
        """Note that the service refused a request because there were too many.

        Args:
            number: The number of the request.
            at_least_s: How far apart requests must start after the first refusal, in seconds.
            at_most_s: How far apart they may start at most, in seconds.

        Returns:
            Whether the interval changed.
        """
        if number <= self._fell_at:
            return False
        if not self.interval_s:
            slower = max(self._usual_s() / FALL_AGAIN, at_least_s)
        elif self._acknowledged_since:
            slower = self._careful_from_s = self.interval_s / FALL
        else:  # the service may refuse everything until a time window of its own is over, whatever the rate
            slower = self.interval_s / FALL_AGAIN
        self.interval_s = max(self.interval_s, min(slower, at_most_s))
        self._fell_at, self._acknowledged_since = self.count, False
        return True

    def next_start(self) -> float:
        """Return when the next request may start, on the clock of ``started``."""
        return self._starts[-1] + self.interval_s if self._starts else 0.0

    def _usual_s(self) -> float:
        """Return how far apart the last requests started."""
        return (self._starts[-1] - self._starts[0]) / max(len(self._starts) - 1, 1) if self._starts else 0.0
