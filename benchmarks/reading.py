"""Reading back: frames of each library against ``pandas.read_sql``, and any number of rows in bounded memory.

Each way runs in a process of its own, so that its peak memory is its own; it has used the libraries once before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import frames, machine
from benchmarks.baselines import pandas_read_sql
from benchmarks.harness import Given, Goal, Table, Turn, in_turns
from temporis_dagster import DataSource, connect

STEP = "read"
READ, BATCHES, READ_SQL, IN_CHUNKS = "`read`", "`read_batches`", "`pandas.read_sql`", "`pandas.read_sql` in chunks"
AT_ONCE = 1_000_000
"""Rows that are stored by one upsert, before anything is measured."""


def of_source(read: Callable[[DataSource], int], url: str) -> int:
    """Open the store, and read."""
    with connect(url) as temporis:
        return read(temporis.data_source("metrics"))


WAYS: dict[str, Callable[[str], int]] = {
    READ: partial(of_source, lambda source: len(source.read())),
    "`read`, as Arrow": partial(of_source, lambda source: len(source.read(as_="arrow"))),
    "`read`, as polars": partial(of_source, lambda source: len(source.read(as_="polars"))),
    BATCHES: partial(of_source, lambda source: sum(map(len, source.read_batches()))),
    "`read_batches`, as Arrow": partial(of_source, lambda source: sum(map(len, source.read_batches(as_="arrow")))),
    READ_SQL: pandas_read_sql.whole,
    IN_CHUNKS: pandas_read_sql.in_chunks,
}
OF_MANY = [READ, "`read`, as Arrow", BATCHES, IN_CHUNKS]
COLUMNS = {
    "rate": "thousand rows/s",
    "ratio": "by the clock",
    "processor_ratio": "by processor time",
    "peak_mb": "MB above the libraries",
}


def tables(given: Given) -> Iterator[Table]:
    """An ordinary store, and one with ten times as many rows."""
    title = "Reading a SQLite file of {:,} rows of {} series, sorted by time and name"
    few = Table(
        "reading",
        title.format(given.rows, frames.SERIES),
        base=READ_SQL,
        columns=COLUMNS,
        goals=[Goal(4, "read as a frame: speed of `pandas.read_sql`", READ, STEP, at_least=5, over=READ_SQL)],
    )
    many = Table(
        "reading-many",
        title.format(given.many, frames.SERIES),
        base=IN_CHUNKS,
        columns=COLUMNS,
        goals=[
            Goal(4, "ten times as many rows in batches: memory", BATCHES, STEP, at_most=96, figure="peak_mb", unit="MB")
        ],
    )
    yield measured(few, list(WAYS), given.rows, given.rounds, given)
    yield measured(many, OF_MANY, given.many, 1, given)


def measured(table: Table, names: list[str], rows: int, rounds: int, given: Given) -> Table:
    """Fill a store, and read it in each of these ways."""
    for name in (READ_SQL, IN_CHUNKS):
        if name in names:
            table.peer(name, "pandas_read_sql")
    with TemporaryDirectory() as folder:
        url = filled(Path(folder), rows)
        return in_turns(table, {name: partial(apart, name, url, rows, given) for name in names}, rounds)


def apart(name: str, url: str, rows: int, given: Given, turn: Turn) -> None:
    """One way, in a process of its own."""
    turn.note(STEP, given.apart(one, name=name, url=url, rows=rows))


def one(name: str, url: str, rows: int) -> dict[str, float]:
    """Measure one way, once the libraries have been imported and used."""
    for form in ("pandas", "arrow", "polars"):
        of_source(lambda source, form=form: len(source.read(0, 0, as_=form)), url)
    with machine.peak_memory() as memory:
        wall, processor = time.perf_counter(), time.process_time()
        found = WAYS[name](url)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    assert found == rows
    return {"rows": rows, "wall_s": wall, "processor_s": processor, **memory}


def filled(folder: Path, rows: int) -> str:
    """The URL of a store with rows in the order of time."""
    url = f"sqlite:///{folder}/temporis.db"
    with connect(url) as temporis:
        source = temporis.create_data_source("metrics")
        for first in range(0, rows, AT_ONCE):
            source.upsert(frames.long_frame(min(AT_ONCE, rows - first), first=first))
    return url
