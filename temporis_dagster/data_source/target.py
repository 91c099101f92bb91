"""Target: what every kind of data source host can do, and so the seam between the one face and its backends.

Comes in: nothing. Goes out: two protocols and the archive state.
Never: holds code. ``store`` implements the protocols for SQL.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from temporis_dagster.data_source.report import Tally


class ArchiveState(enum.Enum):
    """Whether a data source takes observations."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    UNKNOWN = "unknown"
    """The target could not be made to say. Treated as writable."""


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
    """A target that also reads, and does what the dashboard does for the cloud."""

    def create_data_source(self, data_source: str) -> None:
        """Create it; one that exists is left as it is."""
        ...

    def data_sources(self) -> list[str]:
        """The names of the account's data sources, sorted."""
        ...

    def set_archived(self, data_source: str, *, archived: bool) -> None:
        """Archive or unarchive; no observation lands after archiving returned."""
        ...

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
