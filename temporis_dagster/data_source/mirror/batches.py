"""Batches: what was written in one transaction and is to be delivered, as SQL.

Comes in: a connection inside a transaction. Goes out: batches, and what is known of them.
Never: commits, sends, or changes what a batch carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from temporis_dagster.data_source.mirror.lookup import blocks, parameters, places, present
from temporis_dagster.data_source.mirror.rows import Risk, Rows
from temporis_dagster.data_source.observations.model import Floats, Int64s, Mask
from temporis_dagster.data_source.store.errors import DAMAGED_ADVICE, StoreUnusableError
from temporis_dagster.data_source.store.sqlite import PARAMETERS

KEYS_PER_STATEMENT = PARAMETERS // 2
"""Each key takes two parameters, its series and its timestamp."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch as it was when it was claimed.

    Attributes:
        id: The sequence number of its writes.
        rows: What it carries.
        written_at: When its rows came into the mirror.
        read_at: What time it was then.
        doubtful_until: Until when earlier attempts may still be applied; None for no doubt.
        at_risk_until: Until when a different value might still arrive for each row, or 0; None for none.
    """

    id: int
    rows: Rows
    written_at: float
    read_at: float
    doubtful_until: float | None = None
    at_risk_until: Floats | None = None

    def as_of(self, now: float, moment: float) -> float:
        """A moment that was known when the batch was read, on a clock that may have been set back since."""
        return min(moment, now + max(moment - self.read_at, 0.0))

    def doubt_as_of(self, now: float) -> float | None:
        """Until when earlier attempts may still be applied, as of now."""
        return None if self.doubtful_until is None else self.as_of(now, self.doubtful_until)


def insert(  # a batch has that many properties
    connection: sa.Connection,
    source: int,
    rows: Rows,
    *,
    live: int,
    written_at: float,
    not_before: float = 0.0,
    doubtful_until: float | None = None,
    stamped_at: float | None = None,
) -> int:
    """Keep a new batch; its id.

    Args:
        connection: A connection.
        source: The data source.
        rows: What it carries.
        live: How many of its rows are to be delivered.
        written_at: When its rows came into the mirror.
        not_before: When it may be sent.
        doubtful_until: Until when its rows may still be applied.
        stamped_at: What time it is, where one of these moments is given.
    """
    number = connection.exec_driver_sql(
        "INSERT INTO temporis_mirror_batch (data_source, live, written_at, not_before, doubtful_until, stamped_at,"
        " first_key, last_key, first_time, last_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (source, live, written_at, not_before, doubtful_until, stamped_at, *rows.extent()),
    ).lastrowid
    connection.exec_driver_sql("INSERT INTO temporis_mirror_rows VALUES (?, ?, ?)", (number, *rows.to_bytes()))
    count_pending(connection, source, live)
    return int(number)


def count_pending(connection: sa.Connection, source: int, more: int) -> None:
    """So many more rows, or fewer, are pending."""
    if more:
        connection.exec_driver_sql(
            "INSERT INTO temporis_mirror_source (data_source, pending) VALUES (?, ?)"
            " ON CONFLICT (data_source) DO UPDATE SET pending = pending + excluded.pending",
            (source, more),
        )


def carry(connection: sa.Connection, keys: Int64s, batch: int) -> None:
    """Let the observations of these keys, which are as they are in the batch, be carried by it."""
    for block in blocks(keys):
        connection.exec_driver_sql(
            f"WITH k (series, timestamp) AS (VALUES {places(block)}) UPDATE temporis_observation"  # noqa: S608 no data
            f" SET batch = {batch} WHERE (series, timestamp) IN k",
            parameters(block),
        )


def forget(connection: sa.Connection, keys: Int64s) -> None:
    """Delete the observations of these keys."""
    for block in blocks(keys):
        connection.exec_driver_sql(
            f"WITH k (series, timestamp) AS (VALUES {places(block)}) DELETE FROM temporis_observation"  # noqa: S608
            " WHERE (series, timestamp) IN k",
            parameters(block),
        )


def live_rows(connection: sa.Connection, batch: Batch, live: int) -> Mask:
    """Which rows of a batch are its own still: no newer write has taken their key.

    Args:
        connection: A connection.
        batch: The batch.
        live: How many there are.
    """
    if live == len(batch.rows):
        return np.ones(len(batch.rows), dtype=np.bool_)
    mask = np.zeros(len(batch.rows), dtype=np.bool_)
    if live:
        known = present(connection, batch.rows.keys)
        mask[known.found[known.batches == batch.id]] = True
    return mask


def open_ones(connection: sa.Connection, ids: Sequence[int]) -> list[int]:
    """Those of these batches that still have rows to deliver."""
    found: list[int] = []
    for start in range(0, len(ids), KEYS_PER_STATEMENT):
        block = tuple(ids[start : start + KEYS_PER_STATEMENT])
        sql = f"SELECT id FROM temporis_mirror_batch WHERE live > 0 AND id IN ({','.join('?' * len(block))})"  # noqa: S608
        found += connection.exec_driver_sql(sql, block).scalars()
    return found


def has_others(connection: sa.Connection, source: int, own: set[int]) -> bool:
    """Whether any batch but these waits or is in flight."""
    sql = "SELECT id FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 LIMIT ?"
    return bool(set(connection.exec_driver_sql(sql, (source, len(own) + 1)).scalars()) - own)


def overwritten(connection: sa.Connection, source: int, batches: Int64s) -> None:
    """Newer writes took keys of these batches, one for each time that a batch is named."""
    ids, counts = np.unique(batches, return_counts=True)
    taken = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    for number in open_ones(connection, list(taken)):
        connection.exec_driver_sql(
            "UPDATE temporis_mirror_batch SET live = live - ? WHERE id = ?", (taken[number], number)
        )
        # A batch that was never sent and has no row left is of no more use.
        connection.exec_driver_sql(
            "DELETE FROM temporis_mirror_batch WHERE id = ? AND live = 0 AND doubtful_until IS NULL", (number,)
        )
        count_pending(connection, source, -taken[number])


def risk(connection: sa.Connection, source: int, rows: Rows, now: float) -> Floats:
    """Until when a different value may still arrive for each row; 0 where none can.

    Only batches whose keys and times meet those of the rows are looked at, once for all rows: what a claim costs does
    not grow with a doubtful backlog that is elsewhere.

    Args:
        connection: A connection.
        source: The data source.
        rows: The rows.
        now: What time it is.
    """
    first_key, last_key, first_time, last_time = rows.extent()
    found = connection.exec_driver_sql(
        "SELECT doubtful_until, keys, vals FROM temporis_mirror_batch JOIN temporis_mirror_rows ON batch = id"
        " WHERE data_source = ? AND doubtful_until > ?"
        " AND last_key >= ? AND first_key <= ? AND last_time >= ? AND first_time <= ?",
        (source, now, first_key, last_key, first_time, last_time),
    )
    at_risk: Risk | None = None
    for until, keys, values in found if len(rows) else ():
        at_risk = at_risk or Risk(rows)
        at_risk.add(Rows.from_bytes(keys, values), until)
    return np.zeros(len(rows)) if at_risk is None else at_risk.until


def with_risks(connection: sa.Connection, source: int, group: Sequence[Batch], now: float) -> list[Batch]:
    """These batches, no two of which share a key, with what is at risk in each.

    Asked when they are claimed, not when they are settled: a doubt may end, and the value arrive, while they are under
    way.
    """
    if not group:
        return []
    keys, values = ([getattr(batch.rows, name) for batch in group] for name in ("keys", "values"))
    until = risk(connection, source, Rows(np.concatenate(keys), np.concatenate(values)), now)
    stops = np.cumsum([len(batch.rows) for batch in group])
    parts = np.split(until, stops[:-1])
    return [
        replace(batch, at_risk_until=part if part.any() else None) for batch, part in zip(group, parts, strict=True)
    ]


def waiting(
    connection: sa.Connection, source: int, wanted: Iterable[int] | None, now: float, *, limit: int
) -> list[tuple[int, int]]:
    """The oldest batches that may be sent now: their ids and how many live rows they have.

    Args:
        connection: A connection.
        source: The data source.
        wanted: Which batches; None for all.
        now: What time it is.
        limit: How many at most.
    """
    ids: tuple[int, ...] = ()
    among = ""
    if wanted is not None:
        ids = tuple(sorted(wanted)[:limit])
        among = f" AND id IN ({','.join('?' * len(ids))})"
    found = connection.exec_driver_sql(
        "SELECT id, live FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 AND not_before <= ?"  # noqa: S608
        f" AND (sender IS NULL OR lease_until <= ?){among} ORDER BY written_at, id LIMIT ?",
        (source, now, now, *ids, limit),
    )
    return [(int(number), int(live)) for number, live in found]


def get(connection: sa.Connection, number: int, now: float) -> Batch:
    """A batch with what it carries."""
    written_at, until, keys, values = connection.exec_driver_sql(
        "SELECT written_at, doubtful_until, keys, vals FROM temporis_mirror_batch"
        " JOIN temporis_mirror_rows ON batch = id WHERE id = ?",
        (number,),
    ).one()
    return Batch(number, Rows.from_bytes(keys, values), written_at, now, until)


def names_of(connection: sa.Connection, ids: Sequence[int]) -> dict[int, str]:
    """The names of series, by id.

    Raises:
        StoreUnusableError: The file is damaged: one of them is not there.
    """
    names: dict[int, str] = {}
    for start in range(0, len(ids), KEYS_PER_STATEMENT):
        block = tuple(ids[start : start + KEYS_PER_STATEMENT])
        sql = f"SELECT id, name FROM temporis_series WHERE id IN ({','.join('?' * len(block))})"  # noqa: S608
        names.update(tuple(row) for row in connection.exec_driver_sql(sql, block))
    if len(names) != len(ids):
        raise StoreUnusableError("rows of it belong to series that it does not hold", DAMAGED_ADVICE)
    return names


def in_flight(connection: sa.Connection, source: int, now: float) -> Int64s:
    """The keys of what is being sent right now, by anybody, ascending."""
    found = connection.exec_driver_sql(
        "SELECT keys, vals FROM temporis_mirror_batch JOIN temporis_mirror_rows ON batch = id"
        " WHERE data_source = ? AND doubtful_until > ? AND sender IS NOT NULL AND lease_until > ?",
        (source, now, now),
    )
    keys = [Rows.from_bytes(keys, values).keys for keys, values in found]
    return np.sort(np.concatenate(keys)) if keys else np.empty(0, dtype=np.int64)


def close(connection: sa.Connection, source: int, batch: Batch, live: int, now: float) -> None:
    """Nothing of this batch is to be delivered any more; it stays while it is doubtful."""
    count_pending(connection, source, -live)
    until = batch.doubt_as_of(now)
    if until is not None and until > now:
        connection.exec_driver_sql(
            "UPDATE temporis_mirror_batch SET live = 0, sender = NULL, lease_until = NULL, doubtful_until = ?"
            " WHERE id = ?",
            (until, batch.id),
        )
    else:
        connection.exec_driver_sql("DELETE FROM temporis_mirror_batch WHERE id = ?", (batch.id,))


def purge(connection: sa.Connection, source: int, now: float) -> None:
    """Drop the closed batches that are doubtful no more."""
    connection.exec_driver_sql(
        "DELETE FROM temporis_mirror_batch WHERE data_source = ? AND doubtful_until <= ? AND live = 0", (source, now)
    )


def bound_moments(connection: sa.Connection, now: float) -> None:
    """Undo the damage of a clock that was ahead and is right again, so that nothing waits for that future.

    A moment that was set at ``stamped_at`` lies at most as far behind it as a lease and the window take. Where
    ``stamped_at`` is in the future, the clock was set back since, by at least the difference: all moments of the batch
    come forward by it. None becomes shorter than it was meant to be, because time went on since.
    """
    connection.exec_driver_sql(
        "UPDATE temporis_mirror_batch SET lease_until = lease_until - (stamped_at - :now),"
        " doubtful_until = doubtful_until - (stamped_at - :now),"
        " not_before = CASE WHEN not_before > 0 THEN not_before - (stamped_at - :now) ELSE 0 END,"
        " written_at = min(written_at, :now), stamped_at = :now WHERE stamped_at > :now",
        {"now": now},
    )
