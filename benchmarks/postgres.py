"""The store on PostgreSQL next to a raw loop and copy-and-merge scripts: upserts, reading, small upserts, many writers.

Without ``--postgres`` a server with stock settings is started from a wheel. A server that is given must run on this
machine and have nothing else to do. Processor time is that of this process and of the server's processes that serve
it; every step begins with a checkpoint, so that each page is logged in full once more, as on any server in use.
"""

from __future__ import annotations

import itertools
import multiprocessing.dummy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import servers
from benchmarks.baselines import copy_and_merge, pandas_read_sql, psycopg_loop
from benchmarks.harness import Given, Table, Turn, Way, in_turns, installed
from benchmarks.postgres_parts import samples
from temporis_dagster import connect
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.wording import counted

SERIES, SOURCES = 100, 5
FRESH, AGAIN, CHANGED, READ = "new", "unchanged", "1 % changed", "read"
FRAME, CHECKED = "temporis, from a frame", "temporis, from checked observations"
RAW, MERGE, MERGE_FRAME = "raw loop", "copy and merge", "copy and merge, from a frame"
READ_SQL, ADBC = "`pandas.read_sql`, then `to_datetime`", "the same over ADBC"
COLUMNS = {
    "rate": "thousand rows/s",
    "ratio": "by the clock",
    "processor_ratio": "by processor time",
    "server_us": "server, µs per row",
    "client_us": "client, µs per row",
    "wal_bytes": "bytes of WAL per row",
}
FEWER, TIMES_BEFORE = 5, 10
"""How many times fewer rows than elsewhere, because five ways take turns; how many times as many a table may have."""
SMALL_UPSERTS = 50
WRITER_SERIES, WRITER_STEPS, WRITER_ROWS, WRITER_SECONDS = 50, 20_000, 5_000, 4.0
PATIENCE_S = 300.0
"""How long writers wait for each other, and the measurement for them."""


class Ours:
    """The library: from a frame, everything included; or what the store does, from checked observations.

    Args:
        url: The database.
        source: Which data source.
        from_frame: Whether the frame is read and checked as well.
    """

    def __init__(self, url: str, source: int, *, from_frame: bool) -> None:
        self._name, self._from_frame = name_of(source), from_frame
        self._temporis = connect(ours(url))
        self._store = SqlStore(ours(url), create_missing=True)
        self._temporis.create_data_source(self._name)

    def upsert(self, load: samples.Load) -> int:
        """Return how many rows differed from what was there."""
        if self._from_frame:
            return self._temporis.data_source(self._name).upsert(load.frame).stored
        tally = Tally(self._name, load.observations)
        self._store.upsert(tally)
        return tally.report().stored

    def read(self) -> pd.DataFrame:
        """Everything, sorted by time and name."""
        return self._temporis.data_source(self._name).read()

    def close(self) -> None:
        """Close the connections."""
        self._temporis.close()
        self._store.close()


def tables(given: Given) -> Iterator[Table]:
    """Upserts into an empty table and after many rows, wide frames, reading, small upserts, writers."""
    given = replace(given, rows=given.rows // FEWER)
    title = f"PostgreSQL, {given.rows:,} rows of {SERIES} series in the order of time, into {{}}"
    empty = Table("postgres", title.format("an empty table"), base=RAW, columns=COLUMNS)
    if not servers.has_postgres(given):
        empty.left_out["everything"] = "there is no PostgreSQL here (`--postgres`)"
        yield empty
        return
    before = TIMES_BEFORE * given.rows
    after = Table("postgres-after", title.format(f"a table of {before:,} rows"), base=RAW, columns=COLUMNS)
    wide = given.rows // 4
    few = Table("postgres-wide", f"PostgreSQL, {wide:,} series with one row each", base=RAW, columns=COLUMNS)
    with servers.postgres(given.postgres) as admin:
        yield of_upserts(empty, admin, given, before=0)
        yield of_upserts(after, admin, given, before=before)
        yield of_wide_frames(few, admin, wide, given)
        yield of_reading(admin, given)
        yield of_small_upserts(admin, given)
        yield of_writers(admin, given)


def ways_into(table: Table, url: str, *, all_of_them: bool = True) -> dict[str, Any]:
    """Each way, with a data source of its own."""
    table.peer(RAW, "psycopg_loop")
    table.peer(MERGE, "copy_and_merge")
    made: dict[str, Any] = {FRAME: Ours(url, 3, from_frame=True), CHECKED: Ours(url, 4, from_frame=False)}
    made |= {RAW: psycopg_loop.Raw(plain(url), 0), MERGE: copy_and_merge.Merge(plain(url), 1)}
    if all_of_them:
        table.peers[MERGE_FRAME] = f"`benchmarks/baselines/copy_and_merge.py`: {copy_and_merge.SETTINGS_OF_FRAME}"
        made[MERGE_FRAME] = copy_and_merge.MergeFrame(plain(url), 2)
    return made


def of_upserts(table: Table, admin: str, given: Given, *, before: int) -> Table:
    """New rows, the same again, and 1 % of them changed; each round continues after the rows of the last one."""
    from benchmarks.postgres_parts.meter import Meter

    with servers.new_database(admin) as url:
        make_stores(url, samples.names(SERIES))
        ways = ways_into(table, url)
        if before:
            earlier = samples.load(before, SERIES)
            for way in ways.values():
                way.upsert(earlier)
        meter = Meter(plain(url))
        meter.settle()
        loads = [
            samples.load(given.rows, SERIES, start=samples.START + (before + number * given.rows) * samples.STEP_S)
            for number in range(given.rounds)
        ]
        turns = {
            name: partial(upserted, way, url if not before else None, meter, iter(loads)) for name, way in ways.items()
        }
        in_turns(table, turns, given.rounds)
        meter.close()
        for way in ways.values():
            way.close()
    return table


def upserted(way: Any, emptied: str | None, meter: Any, loads: Iterator[samples.Load], turn: Turn) -> None:
    """One round of one way."""
    load = next(loads)
    if emptied:
        truncate(emptied)
    for step, given, differing in (
        (FRESH, load, len(load)),
        (AGAIN, load, 0),
        (CHANGED, load.partly_changed(), -(-len(load) // 100)),
    ):
        cost, changed = meter.cost(partial(way.upsert, given))
        assert changed == differing, f"{changed} rows changed, not {differing}"
        turn.note(step, figures_of(cost, len(load)))


def figures_of(cost: Any, rows: int) -> dict[str, float]:
    """A cost as figures of a table."""
    return {
        "rows": rows,
        "wall_s": cost.wall_s,
        "processor_s": cost.processor_s,
        "server_us": cost.backend_s / rows * 1e6,
        "client_us": cost.client_s / rows * 1e6,
        "wal_bytes": cost.wal_bytes / rows,
    }


def of_wide_frames(table: Table, admin: str, series: int, given: Given) -> Table:
    """One row for each of many series, which is hard on the design."""
    from benchmarks.postgres_parts.meter import Meter

    with servers.new_database(admin) as url:
        make_stores(url, samples.names(series))
        ways = ways_into(table, url, all_of_them=False)
        meter = Meter(plain(url))
        loads = [samples.load(series, series, start=samples.START + 3_600 * n) for n in range(given.rounds)]
        turns = {name: partial(upserted, way, None, meter, iter(loads)) for name, way in ways.items()}
        in_turns(table, turns, given.rounds)
        meter.close()
        for way in ways.values():
            way.close()
    return table


def of_reading(admin: str, given: Given) -> Table:
    """All rows of a data source, sorted by time and name, as a frame with the same dtypes."""
    from benchmarks.postgres_parts.meter import Meter

    title = f"PostgreSQL, reading {given.rows:,} rows, sorted by time and name"
    columns = {name: heading for name, heading in COLUMNS.items() if name != "wal_bytes"}
    table = Table("postgres-read", title, base=READ_SQL, columns=columns)
    with servers.new_database(admin) as url, connect(url) as temporis:
        source = temporis.create_data_source(name_of(0))
        source.upsert(samples.load(given.rows, SERIES).frame)
        meter = Meter(plain(url))
        meter.settle()
        readers = {"temporis, `read`": source.read, READ_SQL: partial(pandas_read_sql.seconds_of, url)}
        if installed("adbc_driver_postgresql"):
            readers[ADBC] = partial(pandas_read_sql.over_adbc, plain(url))
        else:
            table.left_out[ADBC] = "adbc_driver_postgresql is not installed"
        ways: dict[str, Way] = {name: partial(read_back, read, meter, given.rows) for name, read in readers.items()}
        in_turns(table, ways, given.rounds)
        meter.close()
    return table


def read_back(read: Any, meter: Any, rows: int, turn: Turn) -> None:
    """One frame."""
    cost, frame = meter.cost(read)
    assert len(frame) == rows
    turn.note(READ, figures_of(cost, rows))


def of_small_upserts(admin: str, given: Given) -> Table:
    """How long one takes, and how many round trips to the server."""
    from benchmarks.postgres_parts.proxy import CountingProxy

    table = Table(
        "postgres-small",
        "PostgreSQL, small upserts",
        columns={"median_ms": "median, ms", "p99_ms": "p99, ms", "round_trips": "round trips"},
    )
    count = 2 if given.smoke else SMALL_UPSERTS
    with servers.new_database(admin) as url, CountingProxy(plain(url)) as proxy:
        make_stores(url, samples.names(SERIES))
        through = ours(proxy.url)
        makers = {
            FRAME: lambda: Ours(through, 3, from_frame=True),
            RAW: lambda: psycopg_loop.Raw(proxy.url, 0),
            MERGE: lambda: copy_and_merge.Merge(proxy.url, 1),
        }
        return in_turns(table, {name: partial(small, make, proxy, count) for name, make in makers.items()}, 1)


def small(make: Any, proxy: Any, count: int, turn: Turn) -> None:
    """Upserts of one row, of a day of hours, and of a thousand rows: new, and unchanged."""
    way = make()
    for rows in (1, 24, 1_000):
        way.upsert(samples.load(rows, min(rows, 24), start=0))
        loads = [samples.load(rows, min(rows, 24), start=samples.START + n * 86_400 + rows) for n in range(count)]
        for step in (FRESH, AGAIN):
            taken, before = [], proxy.round_trips
            for load in loads:
                started = time.perf_counter()
                way.upsert(load)
                taken.append((time.perf_counter() - started) * 1_000)
            median, p99 = np.quantile(taken, [0.5, 0.99])
            trips = (proxy.round_trips - before) / count
            turn.note(f"{counted(rows, 'row')}, {step}", {"median_ms": median, "p99_ms": p99, "round_trips": trips})
    way.close()


def of_writers(admin: str, given: Given) -> Table:
    """Processes that upsert overlapping keys into one data source; two thirds of the values change."""
    table = Table(
        "postgres-writers",
        f"PostgreSQL, writers of overlapping keys: upserts of {WRITER_ROWS:,} rows for {WRITER_SECONDS:.0f} s",
        columns={"thousand_rows_per_s": "thousand rows/s of all together", "p50_ms": "median, ms", "p99_ms": "p99, ms"},
    )
    counts = [2] if given.smoke else [1, 2, 8]
    with servers.new_database(admin) as url:
        ways = {name: partial(written, url, name, counts, given.smoke) for name in (FRAME, RAW, MERGE)}
        return in_turns(table, ways, 1)


def written(url: str, name: str, counts: Sequence[int], smoke: bool, turn: Turn) -> None:
    """Start the writers. The smoke test takes threads instead."""
    context: Any = multiprocessing.dummy if smoke else multiprocessing.get_context("spawn")
    for count in counts:
        make_stores(url, samples.names(WRITER_SERIES))
        truncate(url)
        started, results = context.Barrier(count), context.Queue()
        seconds = 0.01 if smoke else WRITER_SECONDS
        processes = [
            context.Process(target=write, args=(number, url, name, seconds, started, results))
            for number in range(count)
        ]
        for process in processes:
            process.start()
        found = [results.get(timeout=PATIENCE_S) for _ in processes]  # one that has failed never answers
        for process in processes:
            process.join()
        rows, taken = sum(one[0] for one in found), np.concatenate([one[1] for one in found])
        p50, p99 = np.quantile(taken, [0.5, 0.99]) * 1_000
        step = f"{count} writer{'s' * (count > 1)}"
        turn.note(step, {"thousand_rows_per_s": rows / seconds / 1_000, "p50_ms": p50, "p99_ms": p99})


def write(number: int, url: str, name: str, seconds: float, started: Any, results: Any) -> None:
    """One of the writers; an error of its way, such as a deadlock, ends the run."""
    random = np.random.default_rng(number)
    loads = [overlapping(random) for _ in range(20)]
    makers = {
        FRAME: lambda: Ours(url, 0, from_frame=True),
        RAW: lambda: psycopg_loop.Raw(plain(url), 0),
        MERGE: lambda: copy_and_merge.Merge(plain(url), 0),
    }
    way, rows, taken = makers[name](), 0, []
    started.wait(PATIENCE_S)
    end = time.perf_counter() + seconds
    for load in itertools.cycle(loads):
        begun = time.perf_counter()
        way.upsert(load)
        taken.append(time.perf_counter() - begun)
        rows += len(load)
        if time.perf_counter() > end:
            break
    results.put((rows, np.array(taken)))
    way.close()


def overlapping(random: np.random.Generator) -> samples.Load:
    """Some series, and a stretch of time that is the same for them."""
    series = int(random.integers(1, 20))
    steps = WRITER_ROWS // series
    chosen = np.sort(random.choice(WRITER_SERIES, series, replace=False)).astype(np.int32)
    first = int(random.integers(0, WRITER_STEPS - steps))
    times = samples.START + (first + np.arange(steps, dtype=np.int64)) * samples.STEP_S
    return samples.Load(
        codes=np.tile(chosen, steps),
        timestamps=np.repeat(times, series),
        values=random.integers(0, 3, steps * series).astype(float),
        names=samples.names(WRITER_SERIES),
    ).prepared()


def make_stores(url: str, names: Sequence[str]) -> None:
    """The tables of the raw ways, with the same series as the store gets."""
    with psycopg_loop.connect(plain(url)) as connection:
        psycopg_loop.make_tables(connection, SOURCES, names)
    load = samples.load(len(names), len(names), start=0)
    for source in range(SOURCES):
        way = Ours(url, source, from_frame=False)
        way.upsert(load)
        way.close()


def truncate(url: str) -> None:
    """Start over with empty tables."""
    import psycopg

    with psycopg.connect(plain(url)) as connection:
        connection.execute("TRUNCATE plain_observation, temporis_observation")


def ours(url: str) -> str:
    """The URL as the library takes it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def plain(url: str) -> str:
    """The URL as psycopg takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def name_of(source: int) -> str:
    """The name of a data source of this benchmark."""
    return f"benchmark_{source}"
