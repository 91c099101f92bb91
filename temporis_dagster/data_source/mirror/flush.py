"""Flush: deliver the backlog of a data source, all of it if need be.

Comes in: a data source. Goes out: a report; the refusal that stopped it, if one did.
Never: gives up while waiting for leases and windows: they end by themselves.
"""

from __future__ import annotations

from temporis_dagster.data_source.attempts import Reply
from temporis_dagster.data_source.mirror import backlog
from temporis_dagster.data_source.mirror.courier import Courier
from temporis_dagster.data_source.mirror.lease import KnownSource
from temporis_dagster.data_source.mirror.ledger import Ledger
from temporis_dagster.data_source.mirror.loads import Backlog
from temporis_dagster.data_source.options import MirrorOptions
from temporis_dagster.data_source.remote import Remote
from temporis_dagster.data_source.report import Progress, UpsertReport
from temporis_dagster.data_source.store.sqlite import file_of

LONGEST_WAIT_S = 1.0
"""How long to wait before looking again: another sender may be done early."""

SHORTEST_WAIT_S = 0.01


class Flush:
    """One flush.

    Args:
        ledger: The mirror's file.
        remote: Where to.
        data_source: Of which data source.
        options: How.
        progress: Told how many rows were delivered, each time some are.
    """

    def __init__(
        self, ledger: Ledger, remote: Remote, data_source: str, options: MirrorOptions, progress: Progress | None
    ) -> None:
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
        while True:
            refusal = self._deliver(source)
            with self._ledger.reading() as connection:
                self._pending = backlog.pending(connection, source.id)
                wait_s = backlog.seconds_until_due(connection, source.id, self._ledger.clock.now(connection))
            if refusal is not None or not wait or wait_s is None:
                return refusal
            self._ledger.clock.sleep(min(max(wait_s, SHORTEST_WAIT_S), LONGEST_WAIT_S))

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
            return None if source is None else KnownSource(self._data_source, source.id, file_of(connection))

    def _deliver(self, source: KnownSource) -> Reply | None:
        window_s = self._options.late_write_window_s
        made = Courier(self._ledger, self._remote, source, self._load, window_s=window_s).deliver()
        self._requests += made.requests
        self._retries += made.retries
        self._bytes_sent += made.bytes_sent
        return made.refusal
