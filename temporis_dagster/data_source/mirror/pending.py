"""Backlog: what is pending of a data source, and why; as SQL.

Comes in: a connection inside a transaction. Goes out: counts, moments, flags.
Never: commits, or sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.mirror import rejected
from temporis_dagster.data_source.target import PendingInfo


class Oldest(NamedTuple):
    """The backlog at a glance.

    Attributes:
        pending: How many rows it has.
        first: How many of them the oldest batch that may be sent has.
    """

    pending: int
    first: int


def pending_of_all(connection: sa.Connection) -> int:
    """How many rows are pending, of all data sources."""
    return int(connection.exec_driver_sql("SELECT coalesce(sum(pending), 0) FROM temporis_mirror_source").scalar_one())


def pending(connection: sa.Connection, source: int) -> int:
    """How many rows are pending."""
    sql = "SELECT pending FROM temporis_mirror_source WHERE data_source = ?"
    return int(connection.exec_driver_sql(sql, (source,)).scalar() or 0)


def info(connection: sa.Connection, source: int) -> PendingInfo:
    """Everything about it that people want to know."""
    error, error_at = connection.exec_driver_sql(
        "SELECT last_error, last_error_at FROM temporis_mirror_source WHERE data_source = ?", (source,)
    ).first() or (None, None)
    oldest = connection.exec_driver_sql(
        "SELECT min(written_at) FROM temporis_mirror_batch WHERE data_source = ? AND live > 0", (source,)
    ).scalar()
    return PendingInfo(
        pending(connection, source), _moment(oldest), error, _moment(error_at), rejected.count(connection, source)
    )


def oldest(connection: sa.Connection, source: int, now: float) -> Oldest:
    """How much there is, and how much of it comes first."""
    first = connection.exec_driver_sql(
        "SELECT live FROM temporis_mirror_batch WHERE data_source = ? AND live > 0 AND not_before <= ?"
        " AND (sender IS NULL OR lease_until <= ?) ORDER BY written_at, id LIMIT 1",
        (source, now, now),
    ).scalar()
    return Oldest(pending(connection, source), int(first or 0))


def are_due(connection: sa.Connection, ids: Iterable[int], now: float) -> bool:
    """Whether any of these batches could be sent now, if nobody else were sending its keys."""
    due = "SELECT 1 FROM temporis_mirror_batch WHERE id = ? AND live > 0 AND not_before <= ?"
    return any(connection.exec_driver_sql(due, (number, now)).first() is not None for number in ids)


def seconds_until_due(connection: sa.Connection, source: int, now: float) -> float | None:
    """How long until anything more may be sent, as far as is known; None if nothing is pending."""
    moment = connection.exec_driver_sql(
        "SELECT min(max(not_before, CASE WHEN sender IS NULL THEN 0 ELSE lease_until END)) FROM temporis_mirror_batch"
        " WHERE data_source = ? AND live > 0",
        (source,),
    ).scalar()
    return None if moment is None else max(float(moment) - now, 0.0)


def failed(connection: sa.Connection, source: int, words: str, now: float, *, archived: bool) -> None:
    """Remember why a delivery stopped."""
    connection.exec_driver_sql(
        "UPDATE temporis_mirror_source SET last_error = ?, last_error_at = ? WHERE data_source = ?",
        (words, now, source),
    )
    if archived:
        set_archived(connection, source, archived=True)


def delivered(connection: sa.Connection, source: int) -> None:
    """Something was stored: the last error is over, and the data source takes observations."""
    forget_error(connection, source)
    set_archived(connection, source, archived=False)


def forget_error(connection: sa.Connection, source: int) -> None:
    """The last error is over."""
    connection.exec_driver_sql(
        "UPDATE temporis_mirror_source SET last_error = NULL, last_error_at = NULL"
        " WHERE data_source = ? AND last_error IS NOT NULL",
        (source,),
    )


def set_archived(connection: sa.Connection, source: int, *, archived: bool) -> None:
    """Remember whether the service said that it takes no observations."""
    connection.exec_driver_sql(
        "UPDATE temporis_data_source SET archived = ? WHERE id = ? AND archived <> ?",
        (int(archived), source, int(archived)),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
