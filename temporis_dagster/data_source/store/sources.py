"""Data sources, by name.

Comes in: a connection inside a transaction. Goes out: ids.
Never: commits. An id that was made here is valid only once the caller has committed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.store.errors import SourceMissingError

if TYPE_CHECKING:
    from typing_extensions import Unpack

FIND = (
    "SELECT s.id, s.archived FROM temporis_data_source s JOIN temporis_account a ON a.id = s.account"
    " WHERE a.name = ? AND s.name = ?"
)


class Source(NamedTuple):
    """A data source as the current transaction sees it."""

    id: int
    archived: bool


def run(
    connection: sa.Connection, statement: str, parameters: Sequence[object]
) -> sa.CursorResult[Unpack[tuple[Any, ...]]]:
    """Run a statement whose parameters stand as ``?`` on any of the databases."""
    if connection.dialect.paramstyle != "qmark":
        statement = statement.replace("?", "%s")
    return connection.exec_driver_sql(statement, tuple(parameters))


def find(connection: sa.Connection, account: str, name: str, *, then: str = "") -> Source:
    """Return the account's data source with this name.

    Args:
        connection: A connection inside a transaction.
        account: The account.
        name: The name of the data source.
        then: SQL to end the query with, such as a lock on the row of the data source, ``s``.

    Raises:
        SourceMissingError: There is no such data source.
    """
    found = run(connection, FIND + then, (account, name)).first()
    if found is None:
        raise SourceMissingError
    number, archived = found
    return Source(int(number), bool(archived))


def create(connection: sa.Connection, account: str, name: str) -> None:
    """Create the data source, and the account if necessary; leave existing ones unchanged."""
    ensure_account(connection, account)
    run(
        connection,
        "INSERT INTO temporis_data_source (account, name, archived, created_at)"
        " SELECT id, ?, ?, ? FROM temporis_account WHERE name = ? ON CONFLICT (account, name) DO NOTHING",
        (name, False, int(time.time()), account),
    )


def ensure_account(connection: sa.Connection, account: str) -> None:
    """Create the account unless it exists."""
    run(connection, "INSERT INTO temporis_account (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (account,))


def names(connection: sa.Connection, account: str) -> list[str]:
    """Return the names of the account's data sources, sorted."""
    found = run(
        connection,
        "SELECT s.name FROM temporis_data_source s JOIN temporis_account a ON a.id = s.account WHERE a.name = ?",
        (account,),
    )
    return sorted(found.scalars())


def note_write(connection: sa.Connection, source: Source) -> None:
    """Note that the transaction at hand changes what the data source holds."""
    run(connection, "UPDATE temporis_data_source SET last_write = ? WHERE id = ?", (int(time.time()), source.id))


def set_archived(connection: sa.Connection, source: Source, archived: bool) -> None:
    """Set the flag that every chunk of an upsert checks."""
    run(connection, "UPDATE temporis_data_source SET archived = ? WHERE id = ?", (archived, source.id))
