"""Pending: what a mirror has pending and rejected, if the service was given one to look at.

Comes in: a mirror. Goes out: for each of its data sources, what the service of the mirror is not known to have.
Never: delivers anything, or creates a mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from temporis_dagster.data_source.mirror import Mirror
from temporis_dagster.data_source.target import PendingInfo
from temporis_dagster.errors import TemporisError


class Pending(NamedTuple):
    """What a mirror has pending.

    Attributes:
        mirror: Where the mirror is, without secrets.
        by_source: What is pending, by data source.
        fault: Why that cannot be read; None if it was.
    """

    mirror: str
    by_source: dict[str, PendingInfo]
    fault: str | None = None


PendingOf = Callable[[], Pending]


@dataclass(frozen=True)
class MirrorPending:
    """Looks into a mirror.

    Attributes:
        mirror: The mirror.
    """

    mirror: Mirror

    def __call__(self) -> Pending:
        """Return what is pending now."""
        where = self.mirror.mirror_url
        try:
            if not self.mirror.exists:
                return Pending(where, {}, "There is no mirror at this place yet.")
            return Pending(where, {name: self.mirror.pending(name) for name in self.mirror.data_sources()})
        except TemporisError as error:
            return Pending(where, {}, str(error))
