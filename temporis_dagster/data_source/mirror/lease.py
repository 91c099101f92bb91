"""Lease: the right to send some batches, for a while, by the database's clock.

Comes in: batches that a transaction claims. Goes out: the right, kept while it is needed, or LeaseLostError.
Never: takes back a lease that has ended: another holder may have sent newer values since.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from temporis_dagster.data_source.http.body_size import FIRST_ROWS
from temporis_dagster.data_source.http.deadline import longest_attempt_s
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import batches
from temporis_dagster.data_source.mirror.batches import Batch, Transaction
from temporis_dagster.data_source.mirror.file import KnownSource, MirrorFile

ROOM = 1.25
"""The length of a lease in longest attempts: above 1, so that it is not renewed before each of them."""

MARGIN_S = 1.0

RENEW_S = 20.0
"""How long a renewal waits, for locks or for a server that is out of reach, before the delivery ends. Meanwhile an
interruption waits for it, too."""

TYPICAL_ROW_BYTES = 80


class LeaseLostError(Exception):
    """Signal: another holder may have taken over. Nothing more may be sent."""


class Lease:
    """The lease of one holder.

    Args:
        file: The mirror's file or database.
        service: Where its requests go.
        source: The data source.
        window_s: For how long after the end of the lease a request may still be applied, in seconds.

    Attributes:
        holder: Who holds it: a random number, in the column ``sender``.
    """

    def __init__(self, file: MirrorFile, service: HttpTarget, source: KnownSource, *, window_s: float) -> None:
        self.holder = secrets.randbits(62)
        self._file, self._source, self._window_s = file, source, window_s
        options = service.options
        self._timeout_s = options.timeout_s
        typical = min((options.batch_rows or FIRST_ROWS) * TYPICAL_ROW_BYTES, options.max_body_bytes)
        self._length_s = ROOM * self._attempt_s(typical)
        self._ends, self._count, self._is_over = 0.0, 0, False
        self._lock = threading.Lock()

    def take(self, tx: Transaction, group: Sequence[Batch]) -> None:
        """Lease these batches, none of which is in flight, in the caller's transaction."""
        # This process's clock is read first, so that it sees the end no later than the database does.
        self._ends, self._count = self._file.clock.monotonic() + self._length_s, len(group)
        now = self._file.clock.now(tx.connection)
        until, ids = now + self._length_s, [batch.id for batch in group]
        batches.lease(tx, ids, holder=self.holder, until=until, doubtful_until=until + self._window_s, now=now)

    @contextmanager
    def ensured(self, body_bytes: int) -> Iterator[None]:
        """Ensure that the lease lasts for an attempt of this size. In the block, ``end`` cannot end it.

        Raises:
            LeaseLostError: It has ended.
        """
        with self._lock:
            if self._is_over:
                raise LeaseLostError
            attempt_s = self._attempt_s(body_bytes)
            if self._file.clock.monotonic() + attempt_s > self._ends:
                self._renew(max(self._length_s, ROOM * attempt_s))
            yield

    def end(self) -> None:
        """Let no further attempt start, so that a later look at what is under way sees all of it."""
        with self._lock:
            self._is_over = True

    def _renew(self, length_s: float) -> None:
        # This process's clock is read first, and once for all attempts.
        before = self._file.clock.monotonic()

        def renew(tx: Transaction) -> None:
            until = tx.now + length_s
            renewed = batches.renew(tx, holder=self.holder, until=until, doubtful_until=until + self._window_s)
            if renewed != self._count:
                raise LeaseLostError

        self._file.write_of(self._source, renew, wait_s=RENEW_S)
        self._ends = before + length_s

    def _attempt_s(self, body_bytes: int) -> float:
        return longest_attempt_s(body_bytes, self._timeout_s) + MARGIN_S
