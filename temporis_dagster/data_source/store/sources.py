"""Data sources and their series, by name.

Comes in: a connection inside a transaction. Goes out: ids.
Never: commits. An id that was made here is valid only once the caller has committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.store.errors import SourceMissingError
from temporis_dagster.data_source.store.sqlite import PARAMETERS

NAMES_PER_STATEMENT = PARAMETERS // 2
"""Each new name takes two parameters, its data source and itself."""


class Source(NamedTuple):
    """A data source as the current transaction sees it."""

    id: int
    archived: bool


def find(connection: sa.Connection, account: str, name: str) -> Source:
    """Return the account's data source with this name.

    Raises:
        SourceMissingError: There is no such data source.
    """
    found = connection.exec_driver_sql(
        "SELECT s.id, s.archived FROM temporis_data_source s JOIN temporis_account a ON a.id = s.account"
        " WHERE a.name = ? AND s.name = ?",
        (account, name),
    ).first()
    if found is None:
        raise SourceMissingError
    return Source(int(found[0]), bool(found[1]))


def create(connection: sa.Connection, account: str, name: str) -> None:
    """Create the data source, and the account if necessary; leave existing ones unchanged."""
    connection.exec_driver_sql("INSERT INTO temporis_account (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
    connection.exec_driver_sql(
        "INSERT INTO temporis_data_source (account, name, archived, created_at)"
        " SELECT id, ?, 0, ? FROM temporis_account WHERE name = ? ON CONFLICT DO NOTHING",
        (name, int(time.time()), account),
    )


def names(connection: sa.Connection, account: str) -> list[str]:
    """Return the names of the account's data sources, sorted."""
    found = connection.exec_driver_sql(
        "SELECT s.name FROM temporis_data_source s JOIN temporis_account a ON a.id = s.account WHERE a.name = ?",
        (account,),
    )
    return sorted(found.scalars())


def set_archived(connection: sa.Connection, source: Source, archived: bool) -> None:
    """Set the flag that every chunk of an upsert checks."""
    connection.exec_driver_sql("UPDATE temporis_data_source SET archived = ? WHERE id = ?", (int(archived), source.id))


def all_series(connection: sa.Connection, source: Source) -> dict[str, int]:
    """Return the id of every series of the data source, by name."""
    found = connection.exec_driver_sql("SELECT name, id FROM temporis_series WHERE data_source = ?", (source.id,))
    return {name: int(number) for name, number in found}


def some_series(connection: sa.Connection, source: Source, wanted: Sequence[str]) -> dict[str, int]:
    """Return the ids of those of these series that exist, by name."""
    ids: dict[str, int] = {}
    for block in _blocks(wanted):
        named = ",".join("?" * len(block))
        sql = f"SELECT name, id FROM temporis_series WHERE data_source = ? AND name IN ({named})"  # noqa: S608 no data in it
        ids.update(tuple(row) for row in connection.exec_driver_sql(sql, (source.id, *block)))
    return ids


def ensured_series(connection: sa.Connection, source: Source, wanted: Sequence[str]) -> dict[str, int]:
    """Return the id of each of these series, by name; create new ones, with ascending ids in the order given."""
    ids = some_series(connection, source, wanted)
    new = [name for name in wanted if name not in ids]
    for block in _blocks(new):
        rows = ",".join(["(?,?)"] * len(block))
        sql = f"INSERT INTO temporis_series (data_source, name) VALUES {rows}"  # noqa: S608 no data in it
        connection.exec_driver_sql(sql, tuple(part for name in block for part in (source.id, name)))
    return ids | some_series(connection, source, new)


def _blocks(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(wanted), NAMES_PER_STATEMENT):
        yield wanted[start : start + NAMES_PER_STATEMENT]
