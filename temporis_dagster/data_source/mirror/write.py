"""Write: an upsert's observations into the mirror, one transaction and one batch for each chunk.

Comes in: a tally. Goes out: what each transaction wrote, and which batch carries which observations.
Never: sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror import batches, rejected
from temporis_dagster.data_source.mirror.batches import Batch, Transaction
from temporis_dagster.data_source.mirror.database import statements_of
from temporis_dagster.data_source.mirror.rows import SERIES_LIMIT, Rows, packed, same_bits
from temporis_dagster.data_source.observations.model import Codes, Int64s, Mask, Positions
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.chunks import numbered, unnumbered
from temporis_dagster.data_source.store.errors import StoreUnusableError


@dataclass(eq=False)
class Writing:
    """One upsert on its way into the mirror.

    Attributes:
        tally: The caller's tally.
        source: The data source.
        skip_unchanged: Whether to leave out what the service is known to have.
        own: The batches that exist and are not settled, and which of the tally's observations each carries.
    """

    tally: Tally
    source: sources.Source
    skip_unchanged: bool
    own: dict[int, Positions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids = unnumbered(self.tally.observations.names)

    def chunk(self, tx: Transaction, positions: Positions) -> Chunk:
        """Write some observations, in a transaction that the caller commits before it calls ``committed``."""
        observations = self.tally.observations
        codes = observations.codes[positions]
        ids = self._numbered(tx.connection, codes)
        keys = packed(ids[codes], observations.timestamps[positions])
        rows = Rows(keys, observations.values[positions])
        changed = self._make_room(tx, rows)
        kept = rows if changed is None else rows.take(changed)
        if not len(kept):
            return Chunk(ids, None, positions[:0], positions)
        rejected.outdated(tx, kept.keys)
        batch = batches.insert(tx, kept)
        store_rows(tx.connection, batch)
        if changed is None:
            return Chunk(ids, batch, positions, positions[:0])
        return Chunk(ids, batch, positions[changed], positions[~changed])

    def batches_with(self, chunk: Chunk) -> list[int]:
        """Return the batches so far and that of a chunk that is not committed yet."""
        return [*self.own, *([] if chunk.batch is None else [chunk.batch.id])]

    def names(self, chunk: Chunk) -> dict[int, str]:
        """Return the names of the series so far, by id, including those of a chunk that is not committed yet."""
        return dict(zip(chunk.ids.tolist(), self.tally.observations.names, strict=True))

    def keys(self, positions: Positions) -> Int64s:
        """Return the keys of these observations, which have been written."""
        observations = self.tally.observations
        return packed(self._ids[observations.codes[positions]], observations.timestamps[positions])

    def committed(self, chunk: Chunk) -> None:
        """Note that the chunk's transaction is durable."""
        self._ids = chunk.ids
        if chunk.batch is not None:
            self.own[chunk.batch.id] = chunk.written

    def _make_room(self, tx: Transaction, rows: Rows) -> Mask | None:
        """Take the keys of these rows from the batches that carry them; return which rows change, None for all."""
        others = batches.has_others(tx, set(self.own))
        if not others and not self.skip_unchanged:
            return None
        known = statements_of(tx.connection).present(tx.connection, rows.keys)
        changed = np.ones(len(rows), dtype=np.bool_)
        if self.skip_unchanged:
            waiting = batches.open_ones(tx.connection, np.unique(known.batches).tolist())
            safe = ~np.isin(known.batches, waiting) & (batches.risk(tx, rows)[known.found] == 0)
            changed[known.found] = ~(same_bits(rows.values[known.found], known.values) & safe)
        if others:
            batches.overwrite(tx, known.batches[changed[known.found]])
        return changed

    def _numbered(self, connection: sa.Connection, codes: Codes) -> Int64s:
        """Return the ids with those of these series filled in; keep them only if the transaction commits."""
        ensured = partial(statements_of(connection).ensured_series, connection, self.source)
        ids = numbered(ensured, self.tally.observations.names, self._ids, codes)
        if ids is not self._ids and ids[codes].max() >= SERIES_LIMIT:
            raise StoreUnusableError(f"it holds {SERIES_LIMIT:,} series already", "Use a second mirror.")
        return ids


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a transaction did.

    Attributes:
        ids: The ids of the series, by their place among the names.
        batch: The batch that it made; None if it made none.
        written: The positions of the observations that the batch carries.
        unchanged: The positions of those that the service is known to have.
    """

    ids: Int64s
    batch: Batch | None
    written: Positions
    unchanged: Positions


def store_rows(connection: sa.Connection, batch: Batch) -> None:
    """Make the rows of a new batch the current ones of their keys, carried by that batch."""
    rows = batch.rows
    order = np.argsort(rows.keys, kind="stable")
    statements_of(connection).upsert_rows(connection, Rows(rows.keys[order], rows.values[order]), batch.id)
