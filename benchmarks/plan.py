"""A plan, a count of ghosts and a delete next to an unchanged upsert of the same checked observations.

One round does all steps in this order, so each step is compared with the upsert of its round. In PostgreSQL, the
processor time is that of this process only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import frames, servers
from benchmarks.harness import Given, Table, Turn, Way, in_turns
from temporis_dagster import connect
from temporis_dagster.data_source.observations import observe
from temporis_dagster.data_source.plan import Within

UPSERT = "upsert, unchanged"
FEW, MANY = 50, 2_000
WHOLE = Within(spans=((0, 2**33),))


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    table = Table("plan", f"Plans, ghosts and deletes: {given.rows:,} rows", base_step=UPSERT)
    with servers.postgres(given.postgres) if servers.has_postgres(given) else nullcontext() as admin:
        ways: dict[str, Way] = {
            f"SQLite, {series:,} series": partial(in_a_file, given.rows, series) for series in (FEW, MANY)
        }
        if admin:
            ways[f"PostgreSQL, {FEW} series"] = partial(in_postgres, given.rows, FEW, admin)
        else:
            table.left_out["PostgreSQL"] = "there is none here (`--postgres`)"
        yield in_turns(table, ways, given.rounds)


def in_a_file(rows: int, series: int, turn: Turn) -> None:
    """Every step in a new file."""
    with TemporaryDirectory() as folder:
        measured(f"sqlite:///{folder}/temporis.db", rows, series, turn)


def in_postgres(rows: int, series: int, admin: str, turn: Turn) -> None:
    """Every step in a new database."""
    with servers.new_database(admin) as url:
        measured(url, rows, series, turn)


def measured(url: str, rows: int, series: int, turn: Turn) -> None:
    """Store a frame, and measure what is done with it afterwards."""
    frame = frames.long_frame(rows, series=series)
    observations = observe(frame)
    changed = observe(frame.assign(value=frame["value"] * 1000))
    few = observations.take(np.arange(rows) % 100 != 0)
    with connect(url) as temporis:
        source = temporis.create_data_source("metrics")
        source.upsert(observations)
        for step, work in {
            UPSERT: lambda: source.upsert(observations),
            "plan, unchanged": lambda: source.plan(observations),
            "plan, every value changed": lambda: source.plan(changed),
            "plan, 1 % of the stored rows missing": lambda: source.plan(few),
            "ghosts counted, after an upsert": lambda: source.ghosts(observations, WHOLE, stored=True),
            "ghosts counted, without an upsert before": lambda: source.ghosts(observations, WHOLE),
            "1 % ghosts read": lambda: source.ghosts(few, WHOLE, stored=True).rows(None),
            "latest observation of each series": source.latest,
            "delete everything": lambda: source.delete(everything=True),
        }.items():
            with turn.measure(step, rows=rows):
                work()
