"""The store in SQLite against its peers: one frame upserted fresh, upserted again unchanged, and read back.

Every turn is on a new file. The raw loop and *from checked observations* start at the same place, with arrays; *from a
frame* is the full path. pandas' own ways are slow, so they get a tenth of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks import frames
from benchmarks.baselines import duckdb_io_manager, pandas_sql, sqlite_loop
from benchmarks.harness import Given, Goal, Table, Turn, Way, elsewhere, in_turns, warm_up
from temporis_dagster import connect
from temporis_dagster.data_source.observations import Observations, observe
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore

FRESH, AGAIN, READ = "fresh", "unchanged", "read"
OURS, RAW = "temporis, from a frame", "raw loop"
APPENDING, UPSERTING = "pandas `to_sql`, appending", "pandas `to_sql`, upserting"
DUCKDB = "dagster-duckdb-pandas"
WARM = 1_000
"""Rows with which each way works once before it is measured."""


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    table = Table(
        "store",
        f"SQLite, {given.rows:,} rows of {frames.SERIES} series in the order of time",
        base=RAW,
        goals=[
            Goal(1, "SQLite, fresh: speed of the raw loop", OURS, FRESH, at_least=0.85, over=RAW),
            Goal(1, "SQLite, unchanged: speed of the raw loop", OURS, AGAIN, at_least=0.9, over=RAW),
        ],
    )
    warm_up(ways_of(table, frames.long_frame(WARM), given))
    yield in_turns(table, ways_of(table, frames.long_frame(given.rows), given), given.rounds)


def ways_of(table: Table, frame: pd.DataFrame, given: Given) -> dict[str, Way]:
    """Every way that can be measured here."""
    few = frame.iloc[: len(frame) // 10]
    observations = observe(frame)
    ways: dict[str, Way] = {
        OURS: partial(from_a_frame, frame),
        "temporis, from checked observations": partial(from_observations, observations),
    }
    if table.peer(RAW, "sqlite_loop"):
        ways[RAW] = partial(raw_loop, frame)
    for name, way in {APPENDING: appending, UPSERTING: upserting}.items():
        if table.peer(name, "pandas_sql"):
            ways[name] = partial(way, few)
    if given.duckdb_python:
        ways[DUCKDB] = partial(duckdb, given.duckdb_python, len(frame))
        table.peers[DUCKDB] = f"`benchmarks/baselines/duckdb_io_manager.py`: {duckdb_io_manager.SETTINGS}"
    else:
        table.left_out[DUCKDB] = "it needs an interpreter of its own (`--duckdb-python`)"
    return ways


def from_a_frame(frame: pd.DataFrame, turn: Turn) -> None:
    """What users call."""
    with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
        source = temporis.create_data_source("metrics")
        with turn.measure(FRESH, rows=len(frame)):
            report = source.upsert(frame)
        assert report.stored == len(frame)
        with turn.measure(AGAIN, rows=len(frame)):
            report = source.upsert(frame)
        assert report.unchanged == len(frame)
        with turn.measure(READ, rows=len(frame)):
            found = source.read()
        assert len(found) == len(frame)


def from_observations(observations: Observations, turn: Turn) -> None:
    """What the store does, without the checks of the frame."""
    with TemporaryDirectory() as folder:
        store = SqlStore(f"sqlite:///{folder}/temporis.db", create_missing=True)
        for step in (FRESH, AGAIN):
            tally = Tally("metrics", observations)
            with turn.measure(step, rows=len(observations)):
                store.upsert(tally)
        store.close()


def raw_loop(frame: pd.DataFrame, turn: Turn) -> None:
    """The driver alone."""
    codes, timestamps, values, names = sqlite_loop.arrays(frame)
    with TemporaryDirectory() as folder:
        connection = sqlite_loop.opened(Path(folder) / "raw.db")
        for step in (FRESH, AGAIN):
            with turn.measure(step, rows=len(frame)):
                sqlite_loop.upsert(connection, codes, timestamps, values)
        with turn.measure(READ, rows=len(frame)):
            found = sqlite_loop.read(connection, names)
        assert len(found) == len(frame)
        connection.close()


def appending(frame: pd.DataFrame, turn: Turn) -> None:
    """``to_sql`` as it is, and ``read_sql``."""
    with TemporaryDirectory() as folder:
        engine = pandas_sql.opened(f"sqlite:///{folder}/pandas.db")
        with turn.measure(FRESH, rows=len(frame)):
            pandas_sql.append(engine, frame)
        with turn.measure(READ, rows=len(frame)):
            found = pandas_sql.read(engine)
        assert len(found) == len(frame)
        engine.dispose()


def upserting(frame: pd.DataFrame, turn: Turn) -> None:
    """``to_sql`` with an upsert as its method."""
    with TemporaryDirectory() as folder:
        engine = pandas_sql.opened(f"sqlite:///{folder}/pandas.db")
        for step in (FRESH, AGAIN):
            with turn.measure(step, rows=len(frame)):
                pandas_sql.upsert(engine, frame)
        engine.dispose()


def duckdb(python: str, rows: int, turn: Turn) -> None:
    """The IO manager of DuckDB, in its own interpreter."""
    taken = elsewhere(python, duckdb_io_manager.seconds, rows=rows)
    for step in (FRESH, AGAIN, READ):
        turn.note(step, {"rows": rows, "wall_s": taken[step], "processor_s": taken[f"{step}_cpu"]})
