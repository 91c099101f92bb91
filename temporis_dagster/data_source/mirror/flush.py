"""Flush: deliver the backlog of a data source, all of it if need be.

Comes in: a data source. Goes out: a report; the refusal that stopped it, if one did.
Never: gives up while waiting for leases and windows: they end by themselves.
"""

from __future__ import annotations

from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import pending
from temporis_dagster.data_source.mirror.file import Ledger
from temporis_dagster.data_source.mirror.interrupted import Interrupted
from temporis_dagster.data_source.mirror.lease import KnownSource, window_s
from temporis_dagster.data_source.mirror.loads import Backlog
from temporis_dagster.data_source.mirror.relay import Courier
from temporis_dagster.data_source.mirror.waiting import Waiting
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.report import Progress, UpsertReport
from temporis_dagster.data_source.store.sqlite import file_of

LONGEST_WAIT_S = 1.0
"""How long to wait before looking again: another sender may be done early."""

SHORTEST_WAIT_S = 0.01
"""How long at least; twice as long after each look that found nothing to send, up to the longest."""


class Flush:
    """One flush.

    Args:
        ledger: The mirror's file.
        remote: Where to.
        data_source: Of which data source.
        options: How.
        interrupted: What interrupted deliveries left.
        progress: Told how many rows were delivered, each time some are.
    """

    def __init__(  # its parts
        self,
        ledger: Ledger,
        remote: HttpTarget,
        data_source: str,
        options: MirrorOptions,
        interrupted: Interrupted,
        progress: Progress | None,
    ) -> None:
        self._interrupted, self._window_s = interrupted, 0.0
        self._ledger, self._remote, self._options = ledger, remote, options
        self._data_source = data_source
        self._load = Backlog(progress=progress)
        self._pending = self._requests = self._retries = self._bytes_sent = 0
        self._started = ledger.clock.monotonic()

    def run(self, *, wait: bool) -> Reply | None:
        """Deliver what may be sent; with ``wait``, until nothing is pending. Why it stopped early, if it did."""
        source = self._known()
        if source is None:
            return None
        waiting, pause_s = Waiting(self._ledger.clock), SHORTEST_WAIT_S
        while True:
            self._interrupted.settle(self._data_source)
            before = self._requests
            refusal = self._deliver(source)
            pause_s = min(2 * pause_s, LONGEST_WAIT_S) if self._requests == before else SHORTEST_WAIT_S
            with self._ledger.reading() as connection:
                self._pending = pending.pending(connection, source.id)
                wait_s = pending.seconds_until_due(connection, source.id, self._ledger.clock.now(connection))
            if refusal is not None or not wait or wait_s is None:
                return refusal
            waiting.say(
                "The flush of %s waits for %d rows that may not be sent yet: another request carries their keys, or an"
                " older value of theirs may still arrive. The first may be sent in %.0f s.",
                self._data_source,
                self._pending,
                wait_s,
            )
            self._ledger.clock.sleep(min(max(wait_s, pause_s), LONGEST_WAIT_S))

    def report(self) -> UpsertReport:
        """What became of the backlog."""
        return UpsertReport(
            data_source=self._data_source,
            observations_in=self._load.stored + self._load.rejected + self._pending,
            stored=self._load.stored,
            rejected=self._load.rejected,
            pending=self._pending,
            requests=self._requests,
            retries=self._retries,
            bytes_sent=self._bytes_sent,
            duration_s=self._ledger.clock.monotonic() - self._started,
        )

    def _known(self) -> KnownSource | None:
        with self._ledger.reading() as connection:
            source = self._ledger.known(connection, self._data_source)
            self._window_s = window_s(connection, self._options)
            return None if source is None else KnownSource(self._data_source, source.id, file_of(connection))

    def _deliver(self, source: KnownSource) -> Reply | None:
        courier = Courier(self._ledger, self._remote, source, self._load, self._interrupted, window_s=self._window_s)
        made = courier.deliver()
        self._requests += made.requests
        self._retries += made.retries
        self._bytes_sent += made.bytes_sent
        return made.refusal
