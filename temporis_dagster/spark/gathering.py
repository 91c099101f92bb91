"""Gathering: the batches that Spark hands to a task become larger tables, each of which is upserted at once.

Comes in: batches of 10,000 rows, as Spark makes them. Goes out: tables.
Never: holds more than one table and one batch, or cuts between rows of one key (which then are all in one table).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def gathered(batches: Iterable[pa.RecordBatch], rows: int, key: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Gather batches to tables.

    Args:
        batches: Batches of one schema.
        rows: How many rows to gather for a table, besides those of its first key.
        key: The columns that make a key, whose rows lie next to each other; empty to cut anywhere.

    Yields:
        Tables with at least one row.
    """
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    count, enough = 0, rows
    for batch in batches:
        rest = batch
        while rest.num_rows:
            part = rest.slice(0, enough - count)
            rest = rest.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count < enough:
                continue
            table = pa.Table.from_batches(held)
            carried = _rows_of_the_last_key(table, key)
            if carried < count:
                yield table.slice(0, count - carried)
                held, count = table.slice(count - carried).to_batches(), carried
            enough = carried + rows  # what was carried over does not count, or a long run of one key would stop it
    if count:
        yield pa.Table.from_batches(held)


def _rows_of_the_last_key(table: pa.Table, key: Sequence[str]) -> int:
    """Count the rows at the end with the key of the last row; 0 if a part of the key is missing, so that it is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    same = None
    for name in key:
        column = table[name]
        equal = pc.fill_null(pc.equal(column, column[-1]), fill_value=False)
        same = equal if same is None else pc.and_(same, equal)
    if same is None:
        return 0
    differs = pc.invert(same)
    if isinstance(differs, pa.ChunkedArray):
        differs = differs.combine_chunks()
    last_other: int | None = pc.max(pc.indices_nonzero(differs)).as_py()
    return int(table.num_rows) - (0 if last_other is None else last_other + 1)
