"""Fate: what became of an upsert's rows that others dealt with: sent, overwrote, rejected, discarded.

Comes in: a connection inside a transaction, an upsert's batches. Goes out: the same batches, followed to those that
carry their rows now; and the upsert's tally, settled for the rest.
Never: writes.
"""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, lookup, rejected
from temporis_dagster.data_source.mirror.loads import OVERTAKEN, Own
from temporis_dagster.data_source.mirror.rows import same_bits
from temporis_dagster.data_source.mirror.write import Writing
from temporis_dagster.data_source.observations.model import Int64s
from temporis_dagster.data_source.report import Outcome, Tally


class Fate:
    """What became of the batches of one upsert.

    Args:
        connection: A connection inside a transaction.
        writing: What the upsert wrote.
        load: Its batches.
        tally: Its outcomes.
    """

    def __init__(self, connection: sa.Connection, writing: Writing, load: Own, tally: Tally) -> None:
        self._connection, self._writing, self._load, self._tally = connection, writing, load, tally

    def learn(self, now: float) -> None:
        """Look at the batches that are done with, though not by this upsert."""
        still_open = set(batches.open_ones(self._connection, list(self._load.batches)))
        for number in [number for number in self._load.batches if number not in still_open]:
            self._learn_of(self._load.batches.pop(number), now)

    def _learn_of(self, positions: Int64s, now: float) -> None:
        known = lookup.present(self._connection, self._writing.keys(positions))
        missing = np.ones(len(positions), dtype=np.bool_)
        missing[known.found] = False
        here, values = positions[known.found], self._tally.observations.values[positions[known.found]]
        same = same_bits(values, known.values)
        self._tally.settle(here[~same], Outcome.SUPERSEDED, reason=OVERTAKEN)
        waiting = np.isin(known.batches, batches.open_ones(self._connection, np.unique(known.batches).tolist()))
        self._tally.settle(here[same & ~waiting], Outcome.ACKNOWLEDGED)
        for other in np.unique(known.batches[same & waiting]).tolist():
            self._follow(other, here[same & (known.batches == other)], now)
        self._learn_missing(positions[missing])

    def _follow(self, number: int, positions: Int64s, now: float) -> None:
        """Rows that another batch carries now: of this upsert still, or of one that wrote the same values again."""
        keys, order = self._writing.keys(positions), np.argsort(self._writing.keys(positions))
        carried = batches.get(self._connection, number, now).rows.keys
        at = np.searchsorted(keys[order], carried)
        at[at == len(keys)] = 0
        if (keys[order][at] == carried).all():
            self._load.batches[number] = positions[order][at]
        else:
            self._tally.settle(positions, Outcome.SUPERSEDED, reason=OVERTAKEN)

    def _learn_missing(self, positions: Int64s) -> None:
        """Rows whose keys the mirror has no value for: they, or what overwrote them, were rejected or discarded."""
        if not len(positions):
            return
        kept = rejected.reasons(self._connection, self._writing.keys(positions))
        for position, (value, reason) in zip(positions.tolist(), kept, strict=True):
            at = np.array([position])
            if reason is None:
                words = "it was discarded from the mirror meanwhile, and may have been sent before"
                self._tally.settle(at, Outcome.UNKNOWN, reason=words)
            elif same_bits(np.array([value]), self._tally.observations.values[at]).all():
                self._tally.settle(at, Outcome.REJECTED, reason=reason)
            else:
                self._tally.settle(at, Outcome.SUPERSEDED, reason=OVERTAKEN)
