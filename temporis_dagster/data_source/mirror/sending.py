"""Sending: a claimed group of batches on its way to the service, and what is known of every row of it at any moment.

Comes in: attempts and answers, from any thread. Goes out: which batches are under way, and a verdict on each.
Never: touches the database, but for the lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.delivery import Workers
from temporis_dagster.data_source.http.encoding import Body
from temporis_dagster.data_source.mirror.batches import Batch
from temporis_dagster.data_source.mirror.lease import Lease
from temporis_dagster.data_source.mirror.settlement import Verdict
from temporis_dagster.data_source.report import Outcome, Tally


class Watch:
    """Looks at the lease before every attempt, and notes what came of it. A ``Watcher``.

    It goes on when the delivery was interrupted, so that what comes of the requests that are under way is not lost.

    Args:
        lease: The lease of the rows.
        rows: How many rows are being sent.

    Attributes:
        acknowledged: Which rows are stored.
        unanswered: Which rows were in an attempt without an answer, or with one that leaves open what was done.
        under_way: Which rows are in an attempt that is not over.
    """

    def __init__(self, lease: Lease, rows: int) -> None:
        self._lease = lease
        self.acknowledged, self.unanswered, self.under_way = (np.zeros(rows, dtype=np.bool_) for _ in range(3))

    def before_attempt(self, body: Body) -> None:
        """See that the lease lasts for the whole attempt, and note that it is under way, before the lease can end."""
        with self._lease.ensured(len(body.content)):
            self.under_way[body.rows] = True

    def after_attempt(self, body: Body, answer: Answer) -> None:
        """Note what came of an attempt, and only then that it is over."""
        if answer.meaning is Meaning.STORED:
            self.acknowledged[body.rows] = True
        elif answer.maybe_applied:
            self.unanswered[body.rows] = True
        self.under_way[body.rows] = False
        if answer.meaning is not Meaning.STORED:
            # A wait may follow, and whoever loses the lease in it has to begin anew.
            with self._lease.ensured(len(body.content)):
                pass


@dataclass(eq=False)
class Sending:
    """A group on its way to the service.

    Attributes:
        group: Its batches.
        tally: Their rows, one after the other.
        watch: What is known of every attempt.
        workers: The threads that make the attempts.
    """

    group: list[Batch]
    tally: Tally
    watch: Watch
    workers: Workers = field(default_factory=Workers)

    def busy(self) -> set[int]:
        """The batches with a row that is under way."""
        if self.workers.wait(0):
            return set()
        under_way = self.watch.under_way.copy()
        return {batch.id for batch, rows in self._parts() if under_way[rows].any()}

    def verdicts(self) -> dict[int, Verdict]:
        """What came of each batch so far."""
        unknown = self.tally.settled_as(Outcome.UNKNOWN)
        acknowledged = self.watch.acknowledged | self.tally.settled_as(Outcome.ACKNOWLEDGED)
        # A row that is unknown, and has no answer, was under way when a thread of the delivery was interrupted.
        unanswered = self.watch.unanswered | (unknown & self.watch.under_way)
        return {
            batch.id: Verdict(acknowledged[rows], unanswered[rows], self._refusals(rows))
            for batch, rows in self._parts()
        }

    def _refusals(self, rows: slice) -> dict[int, str]:
        return {
            place - rows.start: words
            for place, words in self.tally.rejections.items()
            if rows.start <= place < rows.stop
        }

    def _parts(self) -> Iterator[tuple[Batch, slice]]:
        start = 0
        for batch in self.group:
            yield batch, slice(start, start + len(batch.rows))
            start += len(batch.rows)


def nothing(batch: Batch) -> Verdict:
    """The verdict on a batch of which nothing was sent."""
    none = np.zeros(len(batch.rows), dtype=np.bool_)
    return Verdict(none, none)
