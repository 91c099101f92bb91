"""Window: how many requests may be under way, so that neither the line is idle nor the service has a queue.

Comes in: which requests were acknowledged, after how long, and which failed. Goes out: a number of requests.
Never: waits, looks at a clock, or decides when a request starts (``throttle`` and ``rate`` do).

It works as TCP does with its window. The number rises while all of it is used and answers take no longer than before:
by one with each acknowledgement at first, by one with each round of them from the first fall on. It falls at once, once
for all requests that were under way together:

- to half after a refusal (429, 503) or another failure that may pass. A refusal also says where the limit may be: from
  then on the number stays below as many as were under way, until hundreds of acknowledgements have passed. The refusal
  of a request that was alone under way is not about their number;
- to 0.7 when an answer takes more than twice as long as the best one to a body of about this size: requests queue.

The best time is that of a request that was alone under way, even if it is longer than an earlier best one: then it is
the service or the distance that has changed, not a queue of ours.
"""

from __future__ import annotations

FIRST_IN_FLIGHT, MOST_IN_FLIGHT = 4, 16
"""How many requests are under way at first, and at most, unless the caller sets a number."""

AFTER_FAILURE, AFTER_DELAY = 0.5, 0.7
"""The share of the number that is left after a failure, and after an answer that took too long."""

QUEUED, HARDLY_QUEUED = 2.0, 1.5
"""From how many best times on an answer shows a queue; up to how many the number may rise."""

NOISE_S = 0.05
"""Differences below this come from the scheduler of this machine as well as from the service."""

ACKNOWLEDGEMENTS = 200
"""How many must pass before the size of the last refusal is tried again; doubled with each refusal."""


class Window:
    """The number of requests that may be under way.

    Args:
        fixed: The number that the caller set; None adapts it.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._least, self._most = (1, MOST_IN_FLIGHT) if fixed is None else (fixed, fixed)
        self._size = float(fixed or FIRST_IN_FLIGHT)
        self._below = float(self._most)
        self._patience, self._acknowledged = ACKNOWLEDGEMENTS, 0
        self._fell_at, self._is_careful = 0, False
        self._best_s: dict[int, float] = {}

    @property
    def limit(self) -> int:
        """How many requests may be under way."""
        return int(self._size)

    def acknowledged(
        self, number: int, count: int, *, seconds: float, body_bytes: int, under_way: int, is_full: bool
    ) -> None:
        """Note that the service stored the records of a request.

        Args:
            number: The number of the request.
            count: How many requests have started by now.
            seconds: How long the answer took.
            body_bytes: The size of the body.
            under_way: How many requests were under way, with this one, when it started.
            is_full: Whether as many requests as may be were under way until now.
        """
        self._acknowledged += is_full
        if self._acknowledged >= self._patience:
            self._below, self._acknowledged = min(self._below + 1, self._most), 0
        kind = body_bytes.bit_length()
        best_s = self._best_s[kind] = seconds if under_way == 1 else min(seconds, self._best_s.get(kind, seconds))
        if seconds > QUEUED * best_s + NOISE_S:
            self._fall(number, count, AFTER_DELAY)
        elif is_full and seconds <= HARDLY_QUEUED * best_s + NOISE_S:
            self._size = min(self._size + (1 / self._size if self._is_careful else 1), max(self._below, self._least))

    def failed(self, number: int, count: int, *, under_way: int, is_refusal: bool) -> None:
        """Note that a request failed in a way that may pass.

        Args:
            number: The number of the request.
            count: How many requests have started by now.
            under_way: How many requests were under way, with this one, when it started.
            is_refusal: Whether the service said that there were too many.
        """
        if is_refusal and under_way == 1:
            return
        if is_refusal and number > self._fell_at:
            self._below = max(under_way - 1, self._least)
            self._patience, self._acknowledged = 2 * self._patience, 0
        self._fall(number, count, AFTER_FAILURE)

    def _fall(self, number: int, count: int, share: float) -> None:
        """Fall, unless the request was under way already when the number last fell."""
        if number > self._fell_at:
            self._size = max(self._size * share, self._least)
            self._fell_at, self._is_careful = count, True
