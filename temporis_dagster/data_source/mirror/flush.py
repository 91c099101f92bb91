"""Flush: deliver the backlog of a data source.

Comes in: a data source. Goes out: a report; the refusal that stopped it, if one did.
Never: gives up while it waits for leases and windows, which end by themselves.
"""

from __future__ import annotations

import logging

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.http.throttle import WARN_EVERY_S
from temporis_dagster.data_source.mirror import pending, schema
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.file import KnownSource, MirrorClock, MirrorFile
from temporis_dagster.data_source.mirror.relay import Interrupted, Relay
from temporis_dagster.data_source.mirror.settlement import Settled
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.wording import counted

LOGGER = logging.getLogger(__name__)

LONGEST_WAIT_S = 1.0
"""The longest wait before another look: another holder may be done early."""

SHORTEST_WAIT_S = 0.01
"""The shortest wait; twice as long after each look that found nothing to send, up to the longest."""

FIRST_WARNING_S = 1.0
"""Writers that share a mirror hold each other up for moments all the time, which is not worth a warning."""

ANY_NUMBER = 2**62


class Backlog:
    """The oldest batches of all upserts, as a ``Load``.

    Args:
        at_most_rows: How many rows to take.
        progress: Told how many rows were delivered, each time some are.

    Attributes:
        stored: How many rows the service has stored.
        rejected: How many rows it has refused.
        requests: How many requests were made.
        retries: How many of those repeated an earlier one.
        bytes_sent: Total size of the request bodies.
    """

    def __init__(self, at_most_rows: int = ANY_NUMBER, progress: Progress | None = None) -> None:
        self._room, self._progress = at_most_rows, progress
        self.stored = self.rejected = self.requests = self.retries = self.bytes_sent = 0

    def ids(self) -> None:
        """Return None, which stands for the oldest batches."""

    def room(self) -> int:
        """Return how many rows may still be taken."""
        return self._room

    def sent(self, tally: Tally) -> None:
        """Subtract the rows from the remaining room, and count the requests."""
        self._room -= len(tally.observations)
        self.requests += tally.requests
        self.retries += tally.retries
        self.bytes_sent += tally.bytes_sent

    def settled(self, settled: list[Settled]) -> None:
        """Count the rows."""
        for one in settled:
            stored = int(np.count_nonzero(one.stored))
            self.stored += stored
            if stored and self._progress is not None:
                self._progress(stored)
            self.rejected += len(one.refusals)

    def stop_progress(self) -> None:
        """Stop reporting progress."""
        self._progress = None


class Waiting:
    """Warns that an upsert or a flush is waiting: once the wait is noticeable, and then from time to time.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: MirrorClock) -> None:
        self._clock = clock
        self._due = clock.monotonic() + FIRST_WARNING_S

    def warn(self, words: str, *arguments: object) -> None:
        """Log a warning if one is due."""
        if self._clock.monotonic() >= self._due:
            self._due = self._clock.monotonic() + WARN_EVERY_S
            LOGGER.warning(words, *arguments)


class Flush:
    """One flush.

    Args:
        file: The mirror's file or database.
        service: Where to.
        data_source: Which data source.
        options: How the mirror behaves.
        interrupted: What interrupted relays left behind.
        progress: Told how many rows were delivered, each time some are.
    """

    def __init__(  # its parts
        self,
        file: MirrorFile,
        service: HttpTarget,
        data_source: str,
        options: MirrorOptions,
        interrupted: Interrupted,
        progress: Progress | None,
    ) -> None:
        self._file, self._service, self._options = file, service, options
        self._interrupted, self._window_s = interrupted, 0.0
        self._data_source = data_source
        self._load = Backlog(progress=progress)
        self._pending = 0
        self._started = file.clock.monotonic()

    def run(self, *, wait: bool) -> Reply | None:
        """Deliver what may be sent; with ``wait``, until nothing is pending. Return why it stopped early, if it did."""
        source = self._known()
        if source is None:
            return None
        waiting, pause_s = Waiting(self._file.clock), SHORTEST_WAIT_S
        while True:
            self._interrupted.settle(self._data_source)
            before = self._load.requests
            refusal = self._deliver(source)
            pause_s = min(2 * pause_s, LONGEST_WAIT_S) if self._load.requests == before else SHORTEST_WAIT_S
            self._pending, wait_s = self._file.read_of(source, _left)
            if refusal is not None or not wait or wait_s is None:
                return refusal
            waiting.warn(
                "The flush of %s waits for %s that may not be sent yet: another request carries their keys, or older"
                " values for them may still arrive. The first may be sent in %.0f s.",
                self._data_source,
                counted(self._pending, "row"),
                wait_s,
            )
            self._file.clock.sleep(min(max(wait_s, pause_s), LONGEST_WAIT_S))

    def report(self) -> UpsertReport:
        """Return what became of the backlog."""
        load = self._load
        return UpsertReport(
            data_source=self._data_source,
            observations_in=load.stored + load.rejected + self._pending,
            stored=load.stored,
            rejected=load.rejected,
            pending=self._pending,
            requests=load.requests,
            retries=load.retries,
            bytes_sent=load.bytes_sent,
            duration_s=self._file.clock.monotonic() - self._started,
        )

    def _known(self) -> KnownSource | None:
        def look(connection: sa.Connection) -> tuple[KnownSource | None, float]:
            source = self._file.known(connection, self._data_source)
            known = source and KnownSource(self._data_source, source.id, self._file.identity(connection))
            return known, schema.window_s(connection, self._options.late_write_window_s)

        known, self._window_s = self._file.read(look)
        return known

    def _deliver(self, source: KnownSource) -> Reply | None:
        relay = Relay(self._file, self._service, source, self._load, self._interrupted, window_s=self._window_s)
        return relay.deliver()


def _left(tx: Transaction) -> tuple[int, float | None]:
    """Return how many rows are pending, and how long until any of them may be sent; None if none are pending."""
    return pending.count(tx.connection, tx.source), pending.seconds_until_due(tx)
