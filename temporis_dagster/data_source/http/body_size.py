"""BodySize: how large the next body may be, learned from how fast the service answers, and from what it refuses.

Comes in: how long a body took, its number of rows, and which sizes were refused. Goes out: bounds in rows and bytes.
Never: makes a body, or looks at a clock.

A larger body costs less processor time per byte, and on a long line more of it is under way. But a service that works
on each for long gets no faster by larger ones, and a failed one costs more to repeat. So the rows double while answers
are quick, and halve when they are slow. What the service refuses as too large (413) is kept in mind, in bytes.
"""

from __future__ import annotations

FIRST_ROWS, MOST_ROWS, LEAST_ROWS = 10_000, 25_000, 1_000
"""How many rows there are per body at first, at most and at least, if the caller sets no number.
Posting 1M rows took 134, 89 and 57 ms of processor time with 10,000, 25,000 and 50,000 of them; the last take twice the
memory."""

QUICK_S, SLOW_S = 0.5, 2.0
"""Up to which time an answer lets bodies grow, and from which on they shrink. Twice the one is below the other."""


class BodySize:
    """The bounds of bodies, shared by the upserts of a connection.

    Args:
        batch_rows: The maximum number of rows that the caller set; None adapts it.
        max_body_bytes: The maximum number of bytes; a single row is never cut.

    Attributes:
        rows: The maximum number of rows of the next body.
        max_bytes: The maximum number of bytes of the next body.
    """

    def __init__(self, batch_rows: int | None, max_body_bytes: int) -> None:
        self.rows, self.max_bytes = batch_rows or FIRST_ROWS, max_body_bytes
        self._adapts = batch_rows is None

    def answered(self, rows: int, seconds: float, *, is_stored: bool) -> None:
        """Note how long a body of this many rows took. Bodies that were made before the last change show nothing."""
        if not self._adapts:
            return
        if is_stored and rows == self.rows and seconds <= QUICK_S:
            self.rows = min(2 * rows, MOST_ROWS)
        elif rows <= self.rows and seconds > SLOW_S:
            self.rows = max(rows // 2, LEAST_ROWS)

    def shrink_to(self, max_bytes: int) -> None:
        """Make later bodies no larger than this: the service refused a larger one.

        By bytes, not rows: one huge row that is refused again and again does not make all later bodies tiny.
        """
        self.max_bytes = max(min(self.max_bytes, max_bytes), 1)
