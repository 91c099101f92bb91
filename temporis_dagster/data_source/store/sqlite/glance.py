"""A glance at a data source in a SQLite file: what can be known in milliseconds, for a notebook that shows it.

Comes in: a path, an account, the name of a data source. Goes out: a few facts, or None if they cannot be had at once.
Never: waits for a lock, makes or migrates a store, counts observations, or goes on for longer than ``WITHIN_S``.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from temporis_dagster.data_source.target import Glance

WITHIN_S = 0.2
"""After how many seconds to be content with what is known. Thousands of series take some milliseconds, unless the file
is on a slow disk."""

STEPS = 100
"""How many instructions SQLite executes, a few of which may read from disk, between two looks at the clock."""

FIND = """
SELECT d.id, d.archived FROM temporis_data_source d JOIN temporis_account a ON a.id = d.account
WHERE a.name = ? AND d.name = ?
"""

SPAN = """
SELECT count(*), min((SELECT min(o.timestamp) FROM temporis_observation o WHERE o.series = s.id)),
    max((SELECT max(o.timestamp) FROM temporis_observation o WHERE o.series = s.id))
FROM temporis_series s WHERE s.data_source = ?
"""


def glance_at(path: Path, account: str, data_source: str, *, within_s: float = WITHIN_S) -> Glance | None:
    """Return what is known of a data source at a glance; None if the file is missing, locked, or not a store."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
            connection.execute("BEGIN")
            found = connection.execute(FIND, (account, data_source)).fetchone()
            if found is None:
                return Glance(exists=False)
            number, archived = found
            try:
                until = time.monotonic() + within_s
                connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
                series, first, last = connection.execute(SPAN, (number,)).fetchone()
            except sqlite3.OperationalError:
                return Glance(archived=bool(archived))
            return Glance(archived=bool(archived), series=series, first=first, last=last)
    except sqlite3.Error:
        return None
