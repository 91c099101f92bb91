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


OUTERMOST = (
    "(SELECT {end}((SELECT {end}(o.timestamp) FROM temporis_observation o WHERE o.series = s.id))"
    " FROM temporis_series s WHERE s.data_source = {{source}})"
)

FIRST_OF, LAST_OF = OUTERMOST.format(end="min"), OUTERMOST.format(end="max")
"""Expressions for the first and the last timestamp of a data source: two look-ups by the table's key per series."""

WIDEN = """
UPDATE temporis_data_source SET last_write = ?,
    first_timestamp = CASE WHEN first_timestamp < ? THEN first_timestamp ELSE ? END,
    last_timestamp = CASE WHEN last_timestamp > ? THEN last_timestamp ELSE ? END
WHERE id = ? AND first_timestamp IS NOT NULL
"""

MOST_SERIES = 100_000
"""A writer looks up the first and the last timestamp of a data source with up to this number of series. That takes up
to a second, once; of those with more, each overview looks them up."""

COUNT_SERIES = "SELECT count(*) FROM (SELECT 1 FROM temporis_series WHERE data_source = ? LIMIT ?) s"

NOTE = "UPDATE temporis_data_source SET last_write = ? WHERE id = ?"

NOTE_AND_FIND = """
UPDATE temporis_data_source SET last_write = ?, first_timestamp = {}, last_timestamp = {} WHERE id = ?
""".format(*(outermost.format(source="temporis_data_source.id") for outermost in (FIRST_OF, LAST_OF)))


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


def note_write(connection: sa.Connection, source: Source, first: int, last: int) -> None:
    """Note that the transaction at hand has written to a data source, and what is now its first and last timestamp.

    Args:
        connection: A connection inside a transaction that writes, in a store that keeps this.
        source: The data source.
        first: The first timestamp of what was written.
        last: The last one.
    """
    now = int(time.time())
    widened = run(connection, WIDEN, (now, first, first, last, last, source.id))
    if widened.rowcount:
        return
    # The data source is new, or of an older store, or something was deleted from it.
    (series,) = run(connection, COUNT_SERIES, (source.id, MOST_SERIES + 1)).one()
    run(connection, NOTE_AND_FIND if series <= MOST_SERIES else NOTE, (now, source.id))


def forget_bounds(connection: sa.Connection, source: Source) -> None:
    """Note that the first and the last timestamp of a data source are no longer known: something is deleted from it."""
    run(
        connection,
        "UPDATE temporis_data_source SET first_timestamp = NULL, last_timestamp = NULL WHERE id = ?",
        (source.id,),
    )


def touch(connection: sa.Connection) -> None:
    """Write to no data source, with the right that every upsert needs. What may not be written refuses this, too."""
    run(connection, "UPDATE temporis_data_source SET archived = archived WHERE id < ?", (0,))


def set_archived(connection: sa.Connection, source: Source, archived: bool) -> None:
    """Set the flag that every chunk of an upsert checks."""
    run(connection, "UPDATE temporis_data_source SET archived = ? WHERE id = ?", (archived, source.id))
