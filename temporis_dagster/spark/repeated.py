"""Repeated keys in a task: which of several rows with one key wins, or why none does.

Comes in: the observations of a table whose rows of one key are next to each other, in the order of ``order_by``.
Goes out: which of the superseded rows had another value, and nothing that says which of the two is right.
Never: lets the order in which Spark happened to deliver rows decide what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Mask, Superseded

if TYPE_CHECKING:
    import pyarrow as pa


def undecided(observations: Observations, table: pa.Table, order_by: Sequence[str]) -> Superseded | None:
    """Return the superseded rows whose value differs from the winner's without an order between the two.

    Args:
        observations: What the table became; the last row of each key was kept.
        table: The table, with the columns of ``order_by``.
        order_by: The columns that order rows of one key; empty if nothing orders them.

    Returns:
        None if there are no such rows.
    """
    superseded = observations.superseded_rows
    if superseded is None:
        return None
    open_ones = superseded.differ
    if order_by and open_ones.any():
        open_ones = open_ones & _equal_orders(superseded, table, order_by)
    return superseded.take(np.flatnonzero(open_ones)) if open_ones.any() else None


def _equal_orders(superseded: Superseded, table: pa.Table, order_by: Sequence[str]) -> Mask:
    import pyarrow as pa
    import pyarrow.compute as pc

    origin = superseded.rows.origin
    lost = pa.array(origin.positions(superseded.rows.own_cells()).astype(np.int64))
    won = pa.array(origin.positions(superseded.winners).astype(np.int64))
    equal = np.ones(len(lost), dtype=np.bool_)
    for name in order_by:
        one, other = table[name].take(lost), table[name].take(won)
        same = pc.fill_null(pc.equal(one, other), fill_value=False)
        both_missing = pc.and_(pc.is_null(one, nan_is_null=True), pc.is_null(other, nan_is_null=True))
        equal &= pc.or_(same, both_missing).to_numpy(zero_copy_only=False)
    return equal
