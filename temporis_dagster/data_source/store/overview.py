"""Overview: what is known of data sources without reading their observations.

Comes in: a connection inside a transaction, an account. Goes out: one line for each data source.
Never: counts observations. The first and the last one are kept by those who write, or found by the table's key.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from temporis_dagster.data_source.store.sources import FIRST_OF, LAST_OF, run

OVERVIEW = """
SELECT d.name, d.archived, (SELECT count(*) FROM temporis_series s WHERE s.data_source = d.id), {first}, {last}, {write}
FROM temporis_data_source d JOIN temporis_account a ON a.id = d.account
WHERE a.name = ?
"""

FIRST, LAST = FIRST_OF.format(source="d.id"), LAST_OF.format(source="d.id")

OF_OLDER_STORES = OVERVIEW.format(first=FIRST, last=LAST, write="NULL")

KEPT = OVERVIEW.format(
    first=f"coalesce(d.first_timestamp, {FIRST})", last=f"coalesce(d.last_timestamp, {LAST})", write="d.last_write"
)


class SourceOverview(NamedTuple):
    """A data source at a glance. All times are Unix seconds.

    Attributes:
        name: Its name.
        archived: Whether it is archived.
        series: How many series it has, also those of which every observation was deleted.
        first: The time of its first observation; None if it has none.
        last: The time of its last observation; None if it has none.
        last_write: When an upsert last changed what it holds; None if that is not known, because it was before the
            store kept it.
    """

    name: str
    archived: bool
    series: int
    first: int | None
    last: int | None
    last_write: int | None


def overview(
    connection: sa.Connection, account: str, *, times: bool, data_source: str | None = None
) -> list[SourceOverview]:
    """Return the account's data sources, by name.

    Args:
        connection: A connection inside a transaction.
        account: The account.
        times: Whether the store keeps times with a data source.
        data_source: Only this one.
    """
    statement = KEPT if times else OF_OLDER_STORES
    if data_source is None:
        found = run(connection, statement, (account,))
    else:
        found = run(connection, f"{statement} AND d.name = ?", (account, data_source))
    return sorted(SourceOverview(name, bool(archived), *numbers) for name, archived, *numbers in found)
