"""Rate: how far apart requests start, so that a service with a limit refuses few of them.

Comes in: which requests started, were acknowledged or were refused. Goes out: the time between two starts.
Never: waits, looks at a clock, or gives up.

As TCP finds the speed of a line: nothing is held back until the service refuses a request. Then the rate falls, and
each acknowledgement raises it: quickly up to the rate that the last refusal left, or to the next refusal where there
was none, and slowly from then on. An answer changes it only if its request started after the last change: what was
under way already says nothing about the new rate.
"""

from __future__ import annotations

from collections import deque

FALL, FALL_AGAIN = 0.7, 0.5
"""What is left of the rate after a refusal, and after one without an acknowledgement since the last."""

RISE, CAREFUL_RISE = 1.15, 1.015
"""What an acknowledgement makes of the rate, far below the limit and near it: there, about 1 in 24 is refused."""

SHORTEST_S, LONGEST_S = 0.002, 30.0
"""Below the one, requests are not held back; the other is the slowest pace."""

REMEMBERED_STARTS = 8


class Rate:
    """The time between two starts.

    Attributes:
        interval_s: How long it is at least; 0 where nothing is held back.
        count: How many requests have started.
    """

    def __init__(self) -> None:
        self.interval_s = 0.0
        self._starts: deque[float] = deque(maxlen=REMEMBERED_STARTS)
        self.count = self._fell_at = self._rose_at = 0
        self._careful_from_s = 0.0
        self._acknowledged_since = self._is_holding_back = False

    def started(self, now: float) -> int:
        """A request starts; its number."""
        # A rate that is not used up rises to no purpose, and the next load would begin far beyond the limit.
        self._is_holding_back = bool(self._starts) and now - self._starts[-1] <= 2 * self.interval_s
        self._starts.append(now)
        self.count += 1
        return self.count

    def acknowledged(self, number: int) -> None:
        """A request was taken: which one."""
        self._acknowledged_since |= number > self._fell_at
        if self.interval_s and self._is_holding_back and number > max(self._rose_at, self._fell_at):
            self._rose_at = self.count
            self.interval_s /= CAREFUL_RISE if self.interval_s <= self._careful_from_s else RISE
            if self.interval_s < SHORTEST_S:
                self.interval_s = self._careful_from_s = 0.0

    def refused(self, number: int, *, at_least_s: float = 0.0, at_most_s: float = LONGEST_S) -> bool:
        """A request was refused because there were too many.

        Args:
            number: Which one.
            at_least_s: How far apart requests are to start at first.
            at_most_s: How far apart at most.

        Returns:
            Whether that was news.
        """
        if number <= self._fell_at:
            return False
        if not self.interval_s:
            slower = max(self._usual_s() / FALL_AGAIN, at_least_s)
        elif self._acknowledged_since:
            slower = self._careful_from_s = self.interval_s / FALL
        else:  # perhaps until some window of its own is over: that says nothing about the rate
            slower = self.interval_s / FALL_AGAIN
        self.interval_s = max(self.interval_s, min(slower, at_most_s))
        self._fell_at, self._acknowledged_since = self.count, False
        return True

    def next_start(self) -> float:
        """When the next request may start, on the clock of ``started``."""
        return self._starts[-1] + self.interval_s if self._starts else 0.0

    def _usual_s(self) -> float:
        """How far apart the last requests started."""
        return (self._starts[-1] - self._starts[0]) / max(len(self._starts) - 1, 1) if self._starts else 0.0
