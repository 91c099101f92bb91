"""Lease: the right to send some batches, for a while, by the database's clock.

Comes in: batches that a transaction claims. Goes out: the right, kept while it is needed, or LeaseLostError.
Never: takes back a lease that has ended: another sender may have sent newer values since.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from temporis_dagster.data_source.http.deadline import longest_attempt_s
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import schema
from temporis_dagster.data_source.mirror.file import Ledger
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.store.sqlite import FileId, commit

ROOM = 1.25
"""A lease lasts so many times as long as the longest attempt: so it is renewed now and then, not before each one."""

MARGIN_S = 1.0
TYPICAL_ROW_BYTES = 80


class LeaseLostError(Exception):
    """Signal: another sender may have taken over; nothing more may be sent."""


@dataclass(frozen=True)
class KnownSource:
    """A data source in the file of a mirror."""

    name: str
    id: int
    file: FileId


def window_s(connection: sa.Connection, options: MirrorOptions) -> float:
    """For how long a late write may come: as the options say, or, where they do not, as the mirror keeps it."""
    said = options.late_write_window_s
    return schema.window_s(connection) if said is None else said


class Lease:
    """The lease of one sender.

    Args:
        ledger: The mirror's file.
        remote: Where its requests go.
        source: The data source.
        window_s: For how long after its end a request may still be applied.
    """

    def __init__(self, ledger: Ledger, remote: HttpTarget, source: KnownSource, *, window_s: float) -> None:
        self.sender = secrets.randbits(62)
        self._ledger, self._source, self._window_s = ledger, source, window_s
        options = remote.options
        self._timeout_s = options.timeout_s
        typical = min(options.batch_rows * TYPICAL_ROW_BYTES, options.max_body_bytes)
        self._length_s = ROOM * self._attempt_s(typical)
        self._ends, self._count, self._is_over = 0.0, 0, False
        self._lock = threading.Lock()

    def take(self, connection: sa.Connection, ids: list[int]) -> None:
        """Lease these batches, which nobody holds, in the caller's transaction."""
        self._ends, self._count = self._ledger.clock.monotonic() + self._length_s, len(ids)
        now = self._ledger.clock.now(connection)
        until = now + self._length_s
        for number in ids:
            connection.exec_driver_sql(
                "UPDATE temporis_mirror_batch SET sender = ?, lease_until = ?, doubtful_until = ?, stamped_at = ?"
                " WHERE id = ?",
                (self.sender, until, until + self._window_s, now, number),
            )

    @contextmanager
    def ensured(self, body_bytes: int) -> Iterator[None]:
        """See that the lease lasts for an attempt of this size; within, it is not ended by ``end``.

        Raises:
            LeaseLostError: It ended.
        """
        with self._lock:
            if self._is_over:
                raise LeaseLostError
            attempt_s = self._attempt_s(body_bytes)
            if self._ledger.clock.monotonic() + attempt_s > self._ends:
                self._renew(max(self._length_s, ROOM * attempt_s))
            yield

    def end(self) -> None:
        """From now on no attempt may start: whoever looks at what is under way after this sees all of it."""
        with self._lock:
            self._is_over = True

    def _renew(self, length_s: float) -> None:
        before = self._ledger.clock.monotonic()
        with self._ledger.writing(same_file=self._source.file) as connection:
            now = self._ledger.clock.now(connection)
            until = now + length_s
            renewed = connection.exec_driver_sql(
                "UPDATE temporis_mirror_batch SET lease_until = ?, doubtful_until = ?, stamped_at = ?"
                " WHERE data_source = ? AND doubtful_until > ? AND sender = ? AND lease_until > ?",
                (until, until + self._window_s, now, self._source.id, now, self.sender, now),
            ).rowcount
            if renewed != self._count:
                raise LeaseLostError
            commit(connection)
        self._ends = before + length_s

    def _attempt_s(self, body_bytes: int) -> float:
        return longest_attempt_s(body_bytes, self._timeout_s) + MARGIN_S
