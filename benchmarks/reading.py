"""Reading back: frames of each library against ``pandas.read_sql``, and any number of rows in bounded memory.

Run it with ``python benchmarks/reading.py``. Each way runs in a process of its own, so that its peak memory is its own,
and all ways take turns. The store is a SQLite file with 100 series; with ``--wide``, also one with 50,000.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from temporis_dagster import DataSource, connect

QUERY = (
    "SELECT o.timestamp, s.name, o.value FROM temporis_observation o JOIN temporis_series s ON s.id = o.series"
    " ORDER BY o.timestamp, s.name"
)
WAYS: dict[str, Callable[[str], int]] = {}


def way(name: str) -> Callable[[Callable[[str], int]], Callable[[str], int]]:
    """A way to read everything in a store: it returns the number of rows."""

    def named(read: Callable[[str], int]) -> Callable[[str], int]:
        WAYS[name] = read
        return read

    return named


def reading(url: str, read: Callable[[DataSource], int]) -> int:
    with connect(url) as temporis:
        return read(temporis.data_source("bench"))


@way("nothing")
def nothing(url: str) -> int:
    """What the libraries take before anything is read."""
    return reading(url, lambda source: sum(len(source.read(0, 0, as_=form)) for form in ("pandas", "arrow", "polars")))


@way("read")
def as_pandas(url: str) -> int:
    return reading(url, lambda source: len(source.read()))


@way('read, as_="arrow"')
def as_arrow(url: str) -> int:
    return reading(url, lambda source: len(source.read(as_="arrow")))


@way('read, as_="polars"')
def as_polars(url: str) -> int:
    return reading(url, lambda source: len(source.read(as_="polars")))


@way("read_batches")
def batches(url: str) -> int:
    return reading(url, lambda source: sum(map(len, source.read_batches())))


@way('read_batches, as_="arrow"')
def batches_of_arrow(url: str) -> int:
    return reading(url, lambda source: sum(map(len, source.read_batches(as_="arrow"))))


@way("read_batches, rows=1_000_000")
def large_batches(url: str) -> int:
    return reading(url, lambda source: sum(map(len, source.read_batches(rows=1_000_000))))


@way("pandas.read_sql")
def read_sql(url: str) -> int:
    """The frame that ``read`` returns, by pandas: seconds become timestamps with a zone."""
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    frame = pd.read_sql(QUERY, engine, parse_dates={"timestamp": {"unit": "s", "utc": True}})
    engine.dispose()
    return len(frame)


@way("pandas.read_sql, chunksize=100_000")
def read_sql_in_chunks(url: str) -> int:
    """What pandas has for bounded memory. SQLAlchemy streams only on request."""
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    with engine.connect().execution_options(stream_results=True) as connection:
        parsed = {"timestamp": {"unit": "s", "utc": True}}
        rows = sum(map(len, pd.read_sql(QUERY, connection, parse_dates=parsed, chunksize=100_000)))
    engine.dispose()
    return rows


def filled(folder: Path, rows: int, series: int) -> str:
    """The URL of a store with rows in the order of time."""
    url = f"sqlite:///{folder}/{series}.db"
    moments, names = rows // series, pd.Index([f"series_{number:05d}" for number in range(series)])
    values = np.random.default_rng(1)
    with connect(url) as temporis:
        source = temporis.create_data_source("bench")
        for first in range(0, moments, most := max(1, 1_000_000 // series)):
            some = np.arange(first, min(first + most, moments))
            codes = np.tile(np.arange(series), len(some))
            columns = {
                "timestamp": np.repeat(some * 60 + 1_700_000_000, series),
                "value": values.normal(size=len(codes)),
            }
            source.upsert(pd.DataFrame({**columns, "name": pd.Categorical.from_codes(codes, names)}))
    return url


def measured(name: str, url: str) -> dict[str, float]:
    """Seconds by the clock, seconds of the processor, and the peak memory, of one way in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--url", url]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def one(name: str, url: str) -> None:
    """Measure one way, once the libraries have been imported."""
    nothing(url)
    started, used = time.perf_counter(), time.process_time()
    rows = WAYS[name](url)
    taken = {"clock": time.perf_counter() - started, "processor": time.process_time() - used, "rows": rows}
    print(json.dumps({**taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def rounds_of(names: list[str], url: str, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The medians of each way."""
    found = {name: list[dict[str, float]]() for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(measured(name, url))
    for name, runs in found.items():
        yield name, {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def show(title: str, medians: dict[str, dict[str, float]]) -> None:
    """A Markdown table; times are compared with ``read_sql``, memory with a process that reads nothing."""
    base, floor = medians["pandas.read_sql"], medians["nothing"]
    print(f"\n| {title} | processor s | times read_sql | clock s | times read_sql | MB above the libraries |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, found in medians.items():
        if name != "nothing":
            cells = [
                cell
                for unit in ("processor", "clock")
                for cell in (f"{found[unit]:.2f}", f"{base[unit] / found[unit]:.1f}x")
            ]
            print(f"| {name} | {' | '.join(cells)} | {found['peak'] - floor['peak']:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Reading back, whole and in batches.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--many", type=int, default=10_000_000, help="rows of the second table; 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wide", action="store_true", help="a third table: as many rows of 50,000 series")
    parser.add_argument("--only", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        one(options.only, options.url)
        return
    tables = [(options.rows, 100, options.rounds)]
    tables += [(options.many, 100, 1)] if options.many else []
    tables += [(options.many, 50_000, 1)] if options.many and options.wide else []
    with tempfile.TemporaryDirectory() as folder:
        for number, (rows, series, rounds) in enumerate(tables):
            (place := Path(folder) / str(number)).mkdir()
            url = filled(place, rows, series)
            show(f"{rows:,} rows of {series:,} series", dict(rounds_of(list(WAYS), url, rounds)))


if __name__ == "__main__":
    main()
