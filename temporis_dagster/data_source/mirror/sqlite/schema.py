"""The tables of a mirror in a SQLite file, besides those of a store, and the steps that make or migrate them.

Comes in: a connection inside a write transaction on a store. Goes out: the tables at the current version.
Never: commits, or decides to whom a mirror belongs.
"""

from __future__ import annotations

from itertools import chain

import sqlalchemy as sa

V1 = (
    """CREATE TABLE temporis_mirror (
        version INTEGER NOT NULL, url TEXT NOT NULL, salt BLOB NOT NULL, fingerprint BLOB NOT NULL)""",
    """CREATE TABLE temporis_mirror_source (
        data_source INTEGER PRIMARY KEY REFERENCES temporis_data_source (id),
        pending INTEGER NOT NULL DEFAULT 0, last_error TEXT, last_error_at REAL)""",
    # AUTOINCREMENT: an id is a sequence number and is never given twice.
    """CREATE TABLE temporis_mirror_batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT, data_source INTEGER NOT NULL REFERENCES temporis_data_source (id),
        live INTEGER NOT NULL, written_at REAL NOT NULL, not_before REAL NOT NULL,
        sender INTEGER, lease_until REAL, doubtful_until REAL)""",
    """CREATE INDEX temporis_mirror_live ON temporis_mirror_batch (data_source, written_at, id) WHERE live > 0""",
    """CREATE INDEX temporis_mirror_doubtful ON temporis_mirror_batch (data_source, doubtful_until)
        WHERE doubtful_until IS NOT NULL""",
    # What a batch carries has a table of its own: SQLite rewrites a whole row to change one number in it.
    """CREATE TABLE temporis_mirror_rows (batch INTEGER PRIMARY KEY, keys BLOB NOT NULL, vals BLOB NOT NULL)""",
    """CREATE TRIGGER temporis_mirror_gone AFTER DELETE ON temporis_mirror_batch
        BEGIN DELETE FROM temporis_mirror_rows WHERE batch = OLD.id; END""",
    """CREATE TABLE temporis_mirror_rejected (
        series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL, reason TEXT NOT NULL,
        rejected_at REAL NOT NULL, PRIMARY KEY (series, timestamp)) WITHOUT ROWID""",
    # The batch that carries an observation's present value.
    """ALTER TABLE temporis_observation ADD COLUMN batch INTEGER NOT NULL DEFAULT 0""",
)

V2 = (
    "ALTER TABLE temporis_mirror ADD COLUMN late_write_window_s REAL",
    # When, by the clock, the batch's moments were set: see batches.bound_moments.
    "ALTER TABLE temporis_mirror_batch ADD COLUMN stamped_at REAL",
    """CREATE INDEX temporis_mirror_stamped ON temporis_mirror_batch (stamped_at) WHERE stamped_at IS NOT NULL""",
    # The range of keys and of times of its rows: batches whose ranges do not meet share no key. By default everything.
    *(
        f"ALTER TABLE temporis_mirror_batch ADD COLUMN {name} INTEGER NOT NULL DEFAULT {default}"
        for name, default in (
            ("first_key", "-9223372036854775808"),
            ("last_key", "9223372036854775807"),
            ("first_time", "-9223372036854775808"),
            ("last_time", "9223372036854775807"),
        )
    ),
)

STEPS = (V1, V2)
"""Step i brings a mirror from version i to version i + 1. Once released, a version is never edited."""


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring the tables from a version, 0 for none, to the current one."""
    for statement in chain.from_iterable(STEPS[version:]):
        connection.exec_driver_sql(statement)
