"""The series of a data source in a SQLite file, by name.

Comes in: a connection inside a transaction. Goes out: ids.
Never: commits. An id that was made here is valid only once the caller has committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from temporis_dagster.data_source.store.sources import Source
from temporis_dagster.data_source.store.sqlite.file import PARAMETERS

NAMES_PER_STATEMENT = PARAMETERS // 2
"""Each new name takes two parameters, its data source and itself."""


def series_of(connection: sa.Connection, source: Source, names: Sequence[str] | None) -> dict[str, int]:
    """Return the ids of those of these series that exist, by name; of all series for None."""
    return all_series(connection, source) if names is None else some_series(connection, source, names)


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
