"""Mirrored: what a data source can do when its connection has a mirror.

Comes in: nothing but the target. Goes out: reports of flushes, what is pending, what was rejected.
Never: knows how a mirror keeps its rows.
"""

from __future__ import annotations

from typing import cast

import pandas as pd

from temporis_dagster.data_source.progress import shown
from temporis_dagster.data_source.report import Progress, UpsertReport
from temporis_dagster.data_source.target import MirroringTarget, PendingInfo, Target
from temporis_dagster.errors import NotSupportedError


class Mirrored:
    """A data source of a target that may have a mirror."""

    def __init__(self, name: str, target: Target, *, dry_run: bool = False) -> None:
        self.name = name
        self._target = target
        self._dry_run = dry_run

    def flush(self, *, wait: bool = True, progress: bool | Progress | None = None) -> UpsertReport:
        """Deliver what is pending in the mirror, oldest first. In a dry run, does nothing.

        Args:
            wait: Whether to wait for rows that may not be sent yet (another process sends them, or an older value of
                theirs may still arrive), until nothing is pending.
            progress: True shows a progress bar; or a function that is told how many observations were delivered.

        Returns:
            How many observations were stored and rejected, and how many are pending still.

        Raises:
            NotSupportedError: The connection has no mirror.
            DeliveryError: What ``upsert`` raises; what is left stays pending.
            MirrorError: It is another target's mirror.
            StoreError: The mirror's file failed.
        """
        mirror = _mirror_of(self._target)
        if self._dry_run:
            return UpsertReport(self.name, dry_run=True)
        with shown(progress, self.name, mirror.pending(self.name).rows) as settled:
            return mirror.flush(self.name, wait=wait, progress=settled)

    def pending(self) -> PendingInfo:
        """What the mirror keeps and the service does not surely have. Raises what ``flush`` raises of the mirror."""
        return _mirror_of(self._target).pending(self.name)

    def discard_pending(self) -> int:
        """Forget what is pending: it is never sent, and ``read`` shows it no longer; how many observations.

        For what is not wanted any more, such as the backlog of a data source that stays archived. What another process
        sends at this very moment is left alone, and pending until that is over. What was sent without an answer is
        forgotten, too, and may be stored all the same. The value that the service had before stays there, unread. In
        a dry run, does nothing.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: It is another target's mirror.
            StoreError: The mirror's file failed. What was discarded until then stays discarded.
        """
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_pending(self.name)

    def rejected_rows(self) -> pd.DataFrame:
        """The observations that the service refused and the mirror keeps.

        Returns:
            Columns ``timestamp`` (datetime64[s, UTC]), ``name`` (str), ``value`` (float64), ``reason`` (the service's
            words) and ``rejected_at`` (datetime64[s, UTC]).

        Raises:
            NotSupportedError: The connection has no mirror.
            StoreError: The mirror's file failed.
        """
        return _mirror_of(self._target).rejected_rows(self.name)

    def retry_rejected(self) -> int:
        """Let the rejected observations be pending again, for the next flush; how many. In a dry run, does nothing."""
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.retry_rejected(self.name)

    def discard_rejected(self) -> int:
        """Forget the rejected observations; how many. In a dry run, does nothing."""
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_rejected(self.name)


def _mirror_of(target: Target) -> MirroringTarget:
    if not hasattr(target, "flush"):
        raise NotSupportedError(f"{target.url} has no mirror. Connect with mirror='sqlite:///mirror.db' to have one.")
    return cast("MirroringTarget", target)
