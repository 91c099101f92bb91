"""Loads: which batches a delivery takes: an upsert's own ones, or the backlog.

Comes in: what became of batches. Goes out: the caller's tally, settled; or counts.
Never: touches the database.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from temporis_dagster.data_source.mirror.settlement import Settled
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.report import Outcome, Progress, Tally

ANY_NUMBER = 2**62

KEPT = "it is kept in the mirror and goes out with a later upsert or flush"


OVERTAKEN = "a later upsert wrote this timestamp and name into the mirror before it was delivered"


class Own:
    """The batches of one upsert.

    Args:
        tally: The caller's.
        batches: Which of its observations each batch carries.
    """

    def __init__(self, tally: Tally, batches: dict[int, Int64s]) -> None:
        self._tally, self.batches = tally, batches

    def ids(self) -> Iterable[int]:
        """Those that are not done with."""
        return list(self.batches)

    def room(self) -> int:
        """All of them."""
        return ANY_NUMBER

    def taken(self, rows: int) -> None:
        """Nothing is learned from that."""

    def settled(self, settled: list[Settled]) -> None:
        """Settle the caller's observations."""
        for one in settled:
            positions = self.batches.get(one.batch)
            if positions is None:
                continue
            if one.is_final:
                del self.batches[one.batch]
            self.batches |= {number: positions[places] for number, places in one.moved.items()}
            if one.overtaken is not None and one.overtaken.any():
                self._tally.settle(positions[one.overtaken], Outcome.SUPERSEDED, reason=OVERTAKEN)
            if one.stored.any():
                stored = positions if one.stored.all() else positions[one.stored]
                self._tally.settle(stored, Outcome.ACKNOWLEDGED)
            for place, words in one.refusals.items():
                self._tally.settle(positions[place : place + 1], Outcome.REJECTED, reason=words)

    def tell_nobody(self) -> None:
        """No progress is told any more."""
        self._tally.tell_nobody()


class Backlog:
    """The oldest batches, of whichever upsert.

    Args:
        at_most_rows: How many rows to take.
        progress: Told how many rows were delivered, each time some are.
    """

    def __init__(self, at_most_rows: int = ANY_NUMBER, progress: Progress | None = None) -> None:
        self._room, self._progress = at_most_rows, progress
        self.stored = self.rejected = 0

    def ids(self) -> None:
        """The oldest."""

    def room(self) -> int:
        """How many rows may still be taken."""
        return self._room

    def taken(self, rows: int) -> None:
        """So many are being sent."""
        self._room -= rows

    def settled(self, settled: list[Settled]) -> None:
        """Count."""
        for one in settled:
            stored = int(np.count_nonzero(one.stored))
            self.stored += stored
            if stored and self._progress is not None:
                self._progress(stored)
            self.rejected += len(one.refusals)

    def tell_nobody(self) -> None:
        """No progress is told any more."""
        self._progress = None
