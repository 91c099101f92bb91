"""Sending: a claimed group of batches on its way to the service, and what is known of each of its rows at any moment.

Comes in: attempts and answers, from any thread. Goes out: which batches are under way, and a verdict on each.
Never: touches the database, except for the lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.delivery import Workers
from temporis_dagster.data_source.http.encoding import Body
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.mirror.lease import Lease
from temporis_dagster.data_source.mirror.settlement import Verdict
from temporis_dagster.data_source.report import Outcome, Tally


class Sending:
    """A group on its way to the service. It is the ``Watcher`` of the delivery that sends it.

    It keeps watching after the delivery is interrupted, so that the results of requests under way are not lost.

    Args:
        group: Its batches.
        tally: Their rows, one batch after the other.
        lease: The lease on them.

    Attributes:
        workers: The threads that send it.
    """

    def __init__(self, group: Sequence[Batch], tally: Tally, lease: Lease) -> None:
        self._group, self._tally, self._lease = group, tally, lease
        self.workers = Workers()
        # Which rows the service stored; which were in an attempt without an answer, or with one that leaves open what
        # was done; and which are in an attempt that is not over.
        rows = len(tally.observations)
        self._acknowledged, self._unanswered, self._under_way = (np.zeros(rows, dtype=np.bool_) for _ in range(3))

    def before_attempt(self, body: Body) -> None:
        """Ensure that the lease lasts for the whole attempt, and note that it is under way before the lease can end."""
        with self._lease.ensured(len(body.content)):
            self._under_way[body.rows] = True

    def after_attempt(self, body: Body, answer: Answer) -> None:
        """Note the result of an attempt, and only then that it is over."""
        is_stored = answer.meaning is Meaning.STORED
        if is_stored:
            self._acknowledged[body.rows] = True
        elif answer.maybe_applied:
            self._unanswered[body.rows] = True
        self._under_way[body.rows] = False
        if not is_stored:
            # A wait may follow, and a holder that loses the lease during it has to claim the batch again.
            with self._lease.ensured(len(body.content)):
                pass

    def busy(self) -> set[int]:
        """Return the batches with a row that is under way."""
        if self.workers.wait(0):
            return set()
        under_way = self._under_way.copy()
        return {batch.id for batch, rows in self._parts() if under_way[rows].any()}

    def verdicts(self) -> dict[int, Verdict]:
        """Return what has become of each batch so far."""
        unknown = self._tally.settled_as(Outcome.UNKNOWN)
        acknowledged = self._acknowledged | self._tally.settled_as(Outcome.ACKNOWLEDGED)
        # A row that is unknown, and has no answer, was under way when a thread of the delivery was interrupted.
        unanswered = self._unanswered | (unknown & self._under_way)
        return {
            batch.id: Verdict(acknowledged[rows], unanswered[rows], self._refusals(rows))
            for batch, rows in self._parts()
        }

    def _refusals(self, rows: slice) -> dict[int, str]:
        return {
            place - rows.start: words
            for place, words in self._tally.rejections.items()
            if rows.start <= place < rows.stop
        }

    def _parts(self) -> Iterator[tuple[Batch, slice]]:
        start = 0
        for batch in self._group:
            stop = start + len(batch.rows)
            yield batch, slice(start, stop)
            start = stop
