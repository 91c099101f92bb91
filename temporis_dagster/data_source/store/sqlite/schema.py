"""The tables and views of a store in a SQLite file, and the steps that make or migrate them.

Comes in: a connection inside a write transaction. Goes out: the tables and views at the current version.
Never: begins or commits a transaction, touches a table without the ``temporis_`` prefix (the file may be the user's
own, with other tables in it), or replaces a view or table that is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from temporis_dagster.data_source.store.errors import ensure_known_version


class Untyped(UserDefinedType[Any]):
    """A column without a declared type: in a REAL column SQLite would turn -0.0 into 0.0."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return no type at all: SQLite then keeps every value as it was given."""
        return ""


NEGATIVE_ZERO = "-0.0"
"""The text that stands for the value -0.0. To SQLite -0.0 and 0.0 are equal, and none of the functions that it always
has tells them apart, so an upsert could not see that one replaces the other. SQL reads the text as the number -0.0."""

# Version 1. Once released, a version is never edited: a later shape is a further migration step.
V1 = sa.MetaData()

SCHEMA_VERSION = sa.Table("temporis_schema_version", V1, sa.Column("version", sa.Integer, nullable=False))

ACCOUNT = sa.Table(
    "temporis_account",
    V1,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

DATA_SOURCE = sa.Table(
    "temporis_data_source",
    V1,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNT.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("archived", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Integer, nullable=False, comment="Unix seconds"),
    sa.UniqueConstraint("account", "name"),
)

SERIES = sa.Table(
    "temporis_series",
    V1,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("data_source", sa.ForeignKey(DATA_SOURCE.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("data_source", "name"),
)

OBSERVATION = sa.Table(
    "temporis_observation",
    V1,
    sa.Column("series", sa.ForeignKey(SERIES.c.id), primary_key=True),
    sa.Column("timestamp", sa.Integer, primary_key=True, comment="Unix seconds"),
    sa.Column("value", Untyped, nullable=False),
    sqlite_with_rowid=False,
)
"""One row per observation, in the order of its key. A series belongs to one data source, so the data source is not part
of the key: it would lengthen every row and add nothing."""


# Version 2: access tokens, of which only the hash is kept.
V2 = sa.MetaData()

TOKEN = sa.Table(
    "temporis_token",
    V2,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNT.c.id), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True, comment="SHA-256, hexadecimal"),
    sa.Column("created_at", sa.Integer, nullable=False, comment="Unix seconds"),
    sa.UniqueConstraint("account", "label"),
)


# Version 3: a random id, which tells this file from a later one with the same inode number: the system reuses them.
V3 = sa.MetaData()

STORE = sa.Table("temporis_store", V3, sa.Column("id", sa.LargeBinary, nullable=False, comment="16 random bytes"))


# Version 4: what other programs read, and what a dashboard shows besides: which tokens are for it, when each token was
# last used, when each data source was last written to, and from when to when it has observations.
#
# Each text of ``at`` has the same length, so that texts sort as times do. CROSS JOIN makes SQLite come to the
# observations last, by their key: a window of time would otherwise be a scan. DuckDB, which parses views itself, knows
# no CROSS JOIN with ON. What has a subquery of its own is counted only by queries that ask for it.
V4 = (
    """CREATE VIEW temporis_v_observations AS
    SELECT a.name AS account, d.name AS data_source, s.name AS series, o.timestamp AS timestamp,
        strftime('%Y-%m-%dT%H:%M:%SZ', o.timestamp, 'unixepoch') AS at, CAST(o.value AS REAL) AS value
    FROM temporis_account a
    CROSS JOIN temporis_data_source d
    CROSS JOIN temporis_series s
    CROSS JOIN temporis_observation o
    WHERE d.account = a.id AND s.data_source = d.id AND o.series = s.id""",
    """CREATE VIEW temporis_v_series AS
    SELECT a.name AS account, d.name AS data_source, s.name AS series,
        (SELECT count(*) FROM temporis_observation o WHERE o.series = s.id) AS observations,
        (SELECT min(o.timestamp) FROM temporis_observation o WHERE o.series = s.id) AS first,
        (SELECT max(o.timestamp) FROM temporis_observation o WHERE o.series = s.id) AS last
    FROM temporis_account a
    CROSS JOIN temporis_data_source d
    CROSS JOIN temporis_series s
    WHERE d.account = a.id AND s.data_source = d.id""",
    """CREATE VIEW temporis_v_sources AS
    SELECT a.name AS account, d.name AS data_source, d.archived AS archived,
        (SELECT count(*) FROM temporis_series s WHERE s.data_source = d.id) AS series,
        (SELECT count(*) FROM temporis_series s CROSS JOIN temporis_observation o
            WHERE s.data_source = d.id AND o.series = s.id) AS observations,
        (SELECT min((SELECT min(o.timestamp) FROM temporis_observation o WHERE o.series = s.id))
            FROM temporis_series s WHERE s.data_source = d.id) AS first,
        (SELECT max((SELECT max(o.timestamp) FROM temporis_observation o WHERE o.series = s.id))
            FROM temporis_series s WHERE s.data_source = d.id) AS last
    FROM temporis_account a
    CROSS JOIN temporis_data_source d
    WHERE d.account = a.id""",
)


def _make_version_1(connection: sa.Connection) -> None:
    V1.create_all(connection, checkfirst=False)
    connection.execute(SCHEMA_VERSION.insert().values(version=0))


def _make_version_2(connection: sa.Connection) -> None:
    V2.create_all(connection, checkfirst=False)


def _make_version_3(connection: sa.Connection) -> None:
    V3.create_all(connection, checkfirst=False)
    connection.execute(STORE.insert().values(id=os.urandom(16)))


V4_COLUMNS = {
    ("temporis_token", "dashboard"): "BOOLEAN NOT NULL DEFAULT 0",
    ("temporis_token", "last_used_at"): "INTEGER",
    ("temporis_data_source", "last_write"): "INTEGER",
    ("temporis_data_source", "first_timestamp"): "INTEGER",
    ("temporis_data_source", "last_timestamp"): "INTEGER",
}
"""The columns of version 4, by table and name. Times are Unix seconds. The first and the last timestamp are those of
the observations of a data source, or NULL where they have to be looked up."""


def _make_version_4(connection: sa.Connection) -> None:
    _add_columns(connection)
    for view in V4:
        connection.exec_driver_sql(view)


def _add_columns(connection: sa.Connection) -> None:
    for table, name in _missing_columns(connection):
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {name} {V4_COLUMNS[table, name]}")


def _missing_columns(connection: sa.Connection) -> list[tuple[str, str]]:
    there = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
    return [column for column in V4_COLUMNS if connection.exec_driver_sql(there, column).first() is None]


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (
    _make_version_1,
    _make_version_2,
    _make_version_3,
    _make_version_4,
)
"""Step i brings a store from version i to version i + 1."""

TABLES_VERSION = 3
"""The version since which observations and data sources are kept as they are now. Later steps add only what other
programs and dashboards read, so a store of this version is used as it is where it cannot be migrated, such as on a disk
that is read-only."""

TIMES_VERSION = 4
"""The version since which there are tokens for the dashboard, and times of last use and of last write."""


def installed_version(connection: sa.Connection) -> int:
    """Return the version of the store in this file; 0 if there is no store in it.

    Raises:
        StoreUnusableError: A newer version of this library wrote it.
    """
    made = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'temporis_schema_version'"
    if connection.exec_driver_sql(made).first() is None:
        return 0
    return _ensure_known(connection)


def is_current(connection: sa.Connection, version: int) -> bool:
    """Return whether a store of this version needs no migration.

    While version 4 was being developed, some files got it without its columns.
    """
    return version == len(MIGRATIONS) and not (version >= TIMES_VERSION and _missing_columns(connection))


def version_and_id(connection: sa.Connection) -> tuple[int, bytes]:
    """Return the version of this store, and its id, empty before version 3: the first thing that a transaction reads.

    Raises:
        StoreUnusableError: A newer version of this library wrote it.
    """
    version = _ensure_known(connection)
    if version < 3:  # noqa: PLR2004  # the first version that has it
        return version, b""
    return version, bytes(connection.exec_driver_sql("SELECT id FROM temporis_store").scalar_one())


def _ensure_known(connection: sa.Connection) -> int:
    version = int(connection.exec_driver_sql("SELECT version FROM temporis_schema_version").scalar_one())
    return ensure_known_version(version, len(MIGRATIONS))


def migrate(connection: sa.Connection) -> None:
    """Bring the store to the current version, from any older version or from an empty file."""
    version = installed_version(connection)
    for step in MIGRATIONS[version:]:
        step(connection)
    if version >= TIMES_VERSION:
        _add_columns(connection)
    connection.execute(SCHEMA_VERSION.update().values(version=len(MIGRATIONS)))
