"""The tables of a mirror in PostgreSQL, besides those of a store, and the steps that make or migrate them.

Comes in: a connection inside a transaction that writes. Goes out: the tables at the current version.
Never: commits, or decides to whom a mirror belongs.
"""

from __future__ import annotations

from itertools import chain

import sqlalchemy as sa

CHURN = "fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500"
"""Rows that are changed a few times and then deleted: room for the changes on their page, and more vacuuming."""

V2 = (
    # The random id tells this mirror from a later one in the same store.
    """CREATE TABLE temporis_mirror (
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        version integer NOT NULL,
        url text NOT NULL,
        salt bytea NOT NULL,
        fingerprint bytea NOT NULL,
        late_write_window_s double precision
    )""",
    f"""CREATE TABLE temporis_mirror_source (
        data_source bigint PRIMARY KEY REFERENCES temporis_data_source,
        pending bigint NOT NULL DEFAULT 0,
        last_error text,
        last_error_at double precision
    ) WITH (fillfactor = 20, {CHURN.partition(", ")[2]})""",
    # An id is a sequence number: given under the lock of the data source, and never twice. Holders are random numbers
    # of 62 bits; moments are Unix seconds, of which ``real`` would keep steps of two minutes.
    f"""CREATE TABLE temporis_mirror_batch (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        data_source bigint NOT NULL REFERENCES temporis_data_source,
        live bigint NOT NULL,
        written_at double precision NOT NULL,
        not_before double precision NOT NULL,
        sender bigint,
        lease_until double precision,
        doubtful_until double precision,
        stamped_at double precision,
        first_key bigint NOT NULL,
        last_key bigint NOT NULL,
        first_time bigint NOT NULL,
        last_time bigint NOT NULL
    ) WITH ({CHURN})""",
    "CREATE INDEX temporis_mirror_live ON temporis_mirror_batch (data_source, written_at, id) WHERE live > 0",
    """CREATE INDEX temporis_mirror_doubtful ON temporis_mirror_batch (data_source, doubtful_until)
        WHERE doubtful_until IS NOT NULL""",
    """CREATE INDEX temporis_mirror_stamped ON temporis_mirror_batch (data_source, stamped_at)
        WHERE stamped_at IS NOT NULL""",
    # What a batch carries has a table of its own, so that it is written once. It is not compressed: the numbers are
    # nearly random, and the server would only lose time.
    """CREATE TABLE temporis_mirror_rows (
        batch bigint PRIMARY KEY REFERENCES temporis_mirror_batch ON DELETE CASCADE,
        keys bytea NOT NULL,
        vals bytea NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 5000)""",
    "ALTER TABLE temporis_mirror_rows ALTER keys SET STORAGE EXTERNAL, ALTER vals SET STORAGE EXTERNAL",
    """CREATE TABLE temporis_mirror_rejected (
        "timestamp" bigint NOT NULL,
        value double precision NOT NULL,
        rejected_at double precision NOT NULL,
        series integer NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (series, "timestamp")
    )""",
    # The batch that carries an observation's present value.
    "ALTER TABLE temporis_observation ADD COLUMN batch bigint NOT NULL DEFAULT 0",
)
"""Once released, a version is never edited."""

STEPS: tuple[tuple[str, ...], ...] = ((), V2)
"""Step i brings a mirror from version i to version i + 1. The first mirror in PostgreSQL had version 2."""


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring the tables from a version, 0 for none, to the current one."""
    for statement in chain.from_iterable(STEPS[version:]):
        connection.exec_driver_sql(statement)
