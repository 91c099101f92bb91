"""Target: what a backend of data sources can do, and so the seam between the one face and its backends.

Comes in: nothing. Goes out: the protocols, what a target answers about a data source, and which protocol a target has.
Never: does what the protocols describe. ``HttpTarget`` is a ``Target``, ``SqlStore`` a ``ManageableTarget`` and
``Mirror`` a ``MirroringTarget``: the type checkers compare them where ``connection`` makes them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeGuard

import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan import Ghosts, Plan, Within
from temporis_dagster.data_source.reading import Reading, Rows
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport


class ArchiveState(enum.Enum):
    """Whether a data source takes observations."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    UNKNOWN = "unknown"
    """The service did not tell. Treated as writable."""


@dataclass(frozen=True)
class PendingInfo:
    """What a mirror keeps of a data source because the service is not known to have it.

    Attributes:
        rows: The number of observations that are pending.
        oldest: When the oldest of them was written into the mirror, UTC; None if nothing is pending.
        last_error: Why the last attempt to deliver failed; None if none has failed since everything was delivered.
        last_error_at: When that was, UTC.
        rejected: The number of observations that the service rejected and the mirror keeps.
    """

    rows: int = 0
    oldest: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    rejected: int = 0


@dataclass(frozen=True)
class Glance:
    """What a store knows of a data source without counting or reading its observations.

    Attributes:
        exists: Whether the data source exists.
        archived: Whether it is archived.
        series: How many series it has; None if that would take too long to find out.
        first: The Unix second of its first observation; None if there is none, or if ``series`` is None.
        last: The Unix second of its last observation; None likewise.
    """

    exists: bool = True
    archived: bool = False
    series: int | None = None
    first: int | None = None
    last: int | None = None


class Target(Protocol):
    """A backend of data sources. Callers have checked the names of data sources against the contract."""

    @property
    def url(self) -> str:
        """Where it is: absolute, and fit to be shown, because it holds no secrets."""
        ...

    def upsert(self, tally: Tally) -> None:
        """Deliver the tally's observations to its data source and settle them as their outcomes become known.

        Raises:
            DeliveryError: Not everything was stored. The error carries the tally's report.
            StoreError: The database failed. The error carries the tally's report.
        """
        ...

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask whether the data source takes observations, without writing one."""
        ...

    def close(self) -> None:
        """Release connections. It is safe to call this twice."""
        ...


class ReadableTarget(Target, Protocol):
    """A target from which observations can be read back."""

    def rows(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> Rows:
        """Read the observations of one moment, sorted by (timestamp, name).

        Args:
            data_source: The name of the data source.
            start: The first Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            names: Exact names of series, or None for all.
        """
        ...

    def begin_reading(
        self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None, rows: int
    ) -> Reading:
        """Find out what ``rows`` would read, for a reading in pieces: up to the last second that has a row now.

        Args:
            data_source: The name of the data source.
            start: The first Unix second, or None for no bound.
            end: The Unix second after the last, or None for no bound.
            names: Exact names of series, or None for all.
            rows: The maximum number of observations per batch.
        """
        ...

    def read_on(self, data_source: str, reading: Reading) -> Rows:
        """Read the next piece of a reading, of one moment, and note in it how far it came.

        Raises:
            StoreError: Another store has taken the place of the one in which the reading began.
        """
        ...

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """Make a text that is equal exactly when the content is equal, bit for bit."""
        ...

    def plan(self, data_source: str, observations: Observations, within: Within) -> Plan:
        """Compare observations with what is stored, as of one moment. Write nothing, not even a new series."""
        ...

    def ghosts(self, data_source: str, observations: Observations, within: Within, *, stored: bool) -> Ghosts:
        """Count the stored rows within that the observations do not have, and offer to read them.

        Args:
            data_source: The name of the data source.
            observations: What the frame became.
            within: Which stored rows it is about.
            stored: Whether all observations are known to be stored, so that none need be looked up.
        """
        ...

    def latest(self, data_source: str, names: Sequence[str] | None) -> pd.DataFrame:
        """Read the last observation of each of these series: name, timestamp (datetime64[s, UTC]), value; by name."""
        ...


class ManageableTarget(ReadableTarget, Protocol):
    """A target that can also do what the dashboard does for the cloud."""

    @property
    def creates_missing(self) -> bool:
        """Whether an upsert creates its data source if that does not exist."""
        ...

    def glance(self, data_source: str) -> Glance | None:
        """Return what can be known in milliseconds, without the network and without waiting; None if nothing can."""
        ...

    def create_data_source(self, data_source: str) -> None:
        """Create a data source, unless it exists."""
        ...

    def data_sources(self) -> list[str]:
        """List the names of the account's data sources, sorted."""
        ...

    def set_archived(self, data_source: str, *, archived: bool) -> None:
        """Archive or unarchive a data source. No observation is stored after archiving has returned."""
        ...

    def delete(
        self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None, *, dry_run: bool
    ) -> int:
        """Delete the observations of these names in [start, end), or in a dry run only count them. Return how many."""
        ...

    def delete_ghosts(self, data_source: str, observations: Observations, within: Within, *, dry_run: bool) -> int:
        """Delete the stored rows within that the observations do not have, or only count them. Return how many."""
        ...


class MirroringTarget(ReadableTarget, Protocol):
    """A target that keeps what it could not deliver yet."""

    @property
    def mirror_url(self) -> str:
        """Where the mirror is: absolute, and fit to be shown, because it holds no secrets."""
        ...

    def flush(self, data_source: str, *, wait: bool, progress: Progress | None) -> UpsertReport:
        """Deliver what is pending, oldest first; with ``wait``, until nothing is pending."""
        ...

    def pending(self, data_source: str) -> PendingInfo:
        """Look up what the service is not known to have."""
        ...

    def discard_pending(self, data_source: str) -> int:
        """Forget what is pending and not being sent right now. Returns the number of observations."""
        ...

    def rejected_rows(self, data_source: str) -> pd.DataFrame:
        """Read the observations that the service rejected: timestamp, name, value, reason, rejected_at."""
        ...

    def retry_rejected(self, data_source: str) -> int:
        """Make the rejected observations pending again. Returns the number of observations."""
        ...

    def discard_rejected(self, data_source: str) -> int:
        """Forget the rejected observations. Returns the number of observations."""
        ...


# One method stands for the whole protocol, with which the type checkers have compared each backend. ``isinstance`` will
# not do: from Python 3.12 on, it does not see the methods of a target that passes calls on to another (``noting``).


def is_readable(target: Target) -> TypeGuard[ReadableTarget]:
    """Tell whether observations can be read back from a target."""
    return hasattr(target, "rows")


def is_manageable(target: Target) -> TypeGuard[ManageableTarget]:
    """Tell whether a target can create, list and archive data sources."""
    return hasattr(target, "set_archived")


def is_mirroring(target: Target) -> TypeGuard[MirroringTarget]:
    """Tell whether a target keeps what it could not deliver."""
    return hasattr(target, "flush")
