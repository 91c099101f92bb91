"""Clock: what time it is for a mirror.

Comes in: a connection. Goes out: seconds.
Never: asks a clock that another process does not share, where it is about leases and windows.
"""

from __future__ import annotations

import time

import sqlalchemy as sa


class MirrorClock:
    """Time, as far as a mirror needs it."""

    def now(self, connection: sa.Connection) -> float:
        """Unix seconds by the database's clock, which all processes share."""
        return float(connection.exec_driver_sql("SELECT (julianday('now') - 2440587.5) * 86400.0").scalar_one())

    def monotonic(self) -> float:
        """Seconds on a clock of this process that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
