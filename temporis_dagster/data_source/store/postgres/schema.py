"""The tables and views of a store in a PostgreSQL database, and the steps that make or migrate them.

Comes in: a connection inside a transaction that may write. Goes out: the tables and views at the current version.
Never: begins or commits a transaction, touches a table without the ``temporis_`` prefix (the database may be the user's
own, with other tables in it), or replaces a view or table that is there. All are in the first schema of the
``search_path``.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from temporis_dagster.data_source.store.errors import StoreUnusableError, ensure_known_version

V1 = (
    "CREATE TABLE temporis_schema_version (version integer NOT NULL)",
    "CREATE TABLE temporis_store (id uuid NOT NULL)",
    """CREATE TABLE temporis_account (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE
    )""",
    """CREATE TABLE temporis_data_source (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account bigint NOT NULL REFERENCES temporis_account,
        name text COLLATE "C" NOT NULL,
        archived boolean NOT NULL,
        created_at bigint NOT NULL,
        UNIQUE (account, name)
    ) WITH (fillfactor = 50)""",
    """CREATE TABLE temporis_series (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        data_source bigint NOT NULL REFERENCES temporis_data_source,
        name text COLLATE "C" NOT NULL,
        UNIQUE (data_source, name)
    )""",
    # The 8-byte columns come first: 52 bytes per row instead of 60. There is no foreign key to the series, because COPY
    # would be five times as slow.
    """CREATE TABLE temporis_observation (
        "timestamp" bigint NOT NULL,
        value double precision NOT NULL,
        series integer NOT NULL,
        PRIMARY KEY (series, "timestamp")
    ) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)""",
    """CREATE TABLE temporis_token (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account bigint NOT NULL REFERENCES temporis_account,
        label text COLLATE "C" NOT NULL,
        hash text COLLATE "C" NOT NULL UNIQUE,
        created_at bigint NOT NULL,
        UNIQUE (account, label)
    )""",
    """COMMENT ON COLUMN temporis_observation."timestamp" IS 'Unix seconds'""",
    "COMMENT ON COLUMN temporis_token.hash IS 'SHA-256, hexadecimal'",
)
"""Version 1. Once released, a version is never edited: a later shape is a further migration step."""

TABLES = tuple(
    f"temporis_{name}"
    for name in ("schema_version", "store", "account", "data_source", "series", "observation", "token")
)
"""The tables of a store."""

V2_COLUMNS = (
    "ALTER TABLE temporis_token ADD COLUMN IF NOT EXISTS dashboard boolean NOT NULL DEFAULT false",
    "ALTER TABLE temporis_token ADD COLUMN IF NOT EXISTS last_used_at bigint",
    "ALTER TABLE temporis_data_source ADD COLUMN IF NOT EXISTS last_write bigint",
    "ALTER TABLE temporis_data_source ADD COLUMN IF NOT EXISTS first_timestamp bigint",
    "ALTER TABLE temporis_data_source ADD COLUMN IF NOT EXISTS last_timestamp bigint",
)
"""What a dashboard shows: which tokens are for it, when each token was last used, when an upsert last changed each data
source, and the first and the last timestamp of its observations, or NULL where they have to be looked up. While version
2 was being developed, some databases got it without some of these columns."""

# What other programs read. A view has the rights of its owner, so a role that reads only the views needs no right on
# the tables. Numbers in a subquery of their own are counted only by queries that ask for them, and series by series:
# the planner would otherwise scan the whole table for each data source.
V2 = (
    *V2_COLUMNS,
    """CREATE VIEW temporis_v_observations AS
    SELECT a.name AS account, d.name AS data_source, s.name AS series, o."timestamp" AS "timestamp",
        to_timestamp(o."timestamp") AS "at", o.value AS value
    FROM temporis_observation o
    JOIN temporis_series s ON s.id = o.series
    JOIN temporis_data_source d ON d.id = s.data_source
    JOIN temporis_account a ON a.id = d.account""",
    """CREATE VIEW temporis_v_series AS
    SELECT a.name AS account, d.name AS data_source, s.name AS series,
        (SELECT count(*) FROM temporis_observation o WHERE o.series = s.id) AS observations,
        (SELECT min(o."timestamp") FROM temporis_observation o WHERE o.series = s.id) AS "first",
        (SELECT max(o."timestamp") FROM temporis_observation o WHERE o.series = s.id) AS "last"
    FROM temporis_series s
    JOIN temporis_data_source d ON d.id = s.data_source
    JOIN temporis_account a ON a.id = d.account""",
    """CREATE VIEW temporis_v_sources AS
    SELECT a.name AS account, d.name AS data_source, d.archived AS archived,
        (SELECT count(*) FROM temporis_series s WHERE s.data_source = d.id) AS series,
        (SELECT coalesce(sum((SELECT count(*) FROM temporis_observation o WHERE o.series = s.id)), 0)::bigint
            FROM temporis_series s WHERE s.data_source = d.id) AS observations,
        (SELECT min((SELECT min(o."timestamp") FROM temporis_observation o WHERE o.series = s.id))
            FROM temporis_series s WHERE s.data_source = d.id) AS "first",
        (SELECT max((SELECT max(o."timestamp") FROM temporis_observation o WHERE o.series = s.id))
            FROM temporis_series s WHERE s.data_source = d.id) AS "last"
    FROM temporis_data_source d
    JOIN temporis_account a ON a.id = d.account""",
)
"""Version 2."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (V1, V2)
"""Step i brings a store from version i to version i + 1."""

TABLES_VERSION = 1
"""The version since which observations and data sources are kept as they are now. Later steps add only what other
programs and dashboards read, so a store of this version is used as it is where it cannot be migrated, such as by a role
that does not own the tables."""

TIMES_VERSION = 2
"""The version since which there are tokens for the dashboard, and times of last use and of last write."""

OLDEST_SERVER = 130_000
"""PostgreSQL 13, in the form of ``server_version_num``."""


def installed_version(connection: sa.Connection) -> int:
    """Return the version of the store in this database; 0 if there is no store in it.

    Raises:
        StoreUnusableError: A newer version of this library wrote it, or the server cannot hold a store.
    """
    # Only a statement that reads a table sees tables that were made since the transaction began. Otherwise to_regclass
    # would not find a store that another process made while this one waited for the lock of ``migrate``.
    encoding, server, table = connection.exec_driver_sql(
        "SELECT current_setting('server_encoding'), current_setting('server_version_num')::integer,"
        " to_regclass('temporis_schema_version') FROM pg_catalog.pg_database WHERE datname = current_database()"
    ).one()
    if encoding != "UTF8":
        raise StoreUnusableError(
            f"its encoding is {encoding}, which cannot hold every name",
            "Create a database with ENCODING 'UTF8' and use that.",
        )
    if server < OLDEST_SERVER:
        raise StoreUnusableError(
            f"its server is PostgreSQL {server // 10_000}", "Use a server of version 13 or a newer one."
        )
    if table is None:
        return 0
    return ensure_known(connection.exec_driver_sql("SELECT version FROM temporis_schema_version").scalar())


def is_current(connection: sa.Connection, version: int) -> bool:
    """Return whether a store of this version needs no migration, and lacks no column of version 2."""
    if version != len(MIGRATIONS) or version < TIMES_VERSION:
        return version == len(MIGRATIONS)
    (found,) = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = 'temporis_token'::regclass"
        " AND attname IN ('dashboard', 'last_used_at') OR attrelid = 'temporis_data_source'::regclass"
        " AND attname IN ('last_write', 'first_timestamp', 'last_timestamp')"
    ).one()
    return bool(found == len(V2_COLUMNS))


def ensure_known(version: int | None) -> int:
    """Return a version of the schema if this library knows it.

    Raises:
        StoreUnusableError: A newer version of this library wrote the store, or the version is missing.
    """
    if version is None:
        raise damaged("temporis_schema_version")
    return ensure_known_version(version, len(MIGRATIONS))


def damaged(table: str) -> StoreUnusableError:
    """Say that a table that always has one row has none."""
    return StoreUnusableError(f"its table {table} is empty", "Restore the tables of the store from a backup.")


def migrate(connection: sa.Connection) -> None:
    """Bring the store to the current version, from any older version or from nothing. One process does it at a time."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('temporis_store'))")
    version = installed_version(connection)
    steps = MIGRATIONS[version:] if version < TIMES_VERSION else (V2_COLUMNS, *MIGRATIONS[version:])
    for step in steps:
        for statement in step:
            connection.exec_driver_sql(statement)
    if version == 0:
        connection.exec_driver_sql("INSERT INTO temporis_schema_version VALUES (0)")
        connection.exec_driver_sql("INSERT INTO temporis_store VALUES (%s)", (uuid.uuid4(),))
    if version < len(MIGRATIONS):
        connection.exec_driver_sql("UPDATE temporis_schema_version SET version = %s", (len(MIGRATIONS),))
