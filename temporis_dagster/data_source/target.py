"""Target: what every kind of data source host can do, and so the seam between the one face and its backends.

Comes in: nothing. Goes out: protocols, the archive state, what is pending.
Never: holds code. ``store`` implements the protocols for SQL.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pandas as pd

from temporis_dagster.data_source.report import Progress, Tally, UpsertReport


class ArchiveState(enum.Enum):
    """Whether a data source takes observations."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    UNKNOWN = "unknown"
    """The target could not be made to say. Treated as writable."""


@dataclass(frozen=True)
class PendingInfo:
    """What a mirror keeps for a data source and the service does not surely have.

    Attributes:
        rows: How many observations.
        oldest: When the oldest of them was written into the mirror; None for none.
        last_error: Why the last attempt to deliver failed; None if none did since all was delivered.
        last_error_at: When that was.
        rejected: How many observations the service refused and the mirror keeps.
    """

    rows: int = 0
    oldest: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    rejected: int = 0


class Target(Protocol):
    """A host of data sources. Names of data sources have been checked against the contract."""

    @property
    def url(self) -> str:
        """Where it is: absolute, shown to people, without secrets."""
        ...

    def upsert(self, tally: Tally) -> None:
        """Deliver the tally's observations to its data source, settling them as their outcomes become known.

        Raises:
            DeliveryError: Not everything was stored; carries the tally's report.
            StoreError: The database failed; carries the tally's report.
        """
        ...

    def archive_state(self, data_source: str) -> ArchiveState:
        """Whether the data source takes observations. Never writes one."""
        ...

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        ...


class ReadableTarget(Target, Protocol):
    """A target that also reads."""

    def read(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> pd.DataFrame:
        """Columns timestamp (datetime64[s, UTC]), name (str), value (float64), sorted by (timestamp, name).

        Args:
            data_source: The name of the data source.
            start: First Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            names: Exact series names, or None for all.
        """
        ...

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """A text that is equal exactly when the content is equal, bit for bit."""
        ...


class ManageableTarget(ReadableTarget, Protocol):
    """A target that also does what the dashboard does for the cloud."""

    def create_data_source(self, data_source: str) -> None:
        """Create it; one that exists is left as it is."""
        ...

    def data_sources(self) -> list[str]:
        """The names of the account's data sources, sorted."""
        ...

    def set_archived(self, data_source: str, *, archived: bool) -> None:
        """Archive or unarchive; no observation lands after archiving returned."""
        ...


class MirroringTarget(ReadableTarget, Protocol):
    """A target that keeps what it could not deliver yet."""

    @property
    def mirror_url(self) -> str:
        """Where it keeps it."""
        ...

    def flush(self, data_source: str, *, wait: bool, progress: Progress | None) -> UpsertReport:
        """Deliver what is pending, oldest first; with ``wait``, until nothing is."""
        ...

    def pending(self, data_source: str) -> PendingInfo:
        """What the service does not surely have."""
        ...

    def discard_pending(self, data_source: str) -> int:
        """Forget what is pending and not being sent right now; how many."""
        ...

    def rejected_rows(self, data_source: str) -> pd.DataFrame:
        """The rows that the service refused: timestamp, name, value, reason, rejected_at."""
        ...

    def retry_rejected(self, data_source: str) -> int:
        """Let the refused rows be pending again; how many."""
        ...

    def discard_rejected(self, data_source: str) -> int:
        """Forget the refused rows; how many."""
        ...
