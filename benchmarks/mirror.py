"""The mirror, compared with an upsert straight into the same kind of store, and with a backlog of pending rows.

    python benchmarks/mirror.py [--rows 1000000] [--rounds 3] [--backlog 5000000] [--postgres URL] [--seconds 5]

The server is a process of its own that reads every body and answers 204, so that the client is what is measured. Every
round runs every way once, on new files; figures are medians. The machine is part of the result: read ratios.

With a URL of PostgreSQL, of a role that may create databases, the mirror in PostgreSQL is measured as well; and
workers, each a process, that share a mirror in a file or in PostgreSQL: one, eight, and eight on four data sources.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster import DataSource, UpsertReport, connect

SERVER = Path(__file__).with_name("null_server.py")
SERIES, SMALL, SMALL_UPSERTS = 50, 100, 50
TOKEN = "ts_benchmark"
CHUNK = 10_000
"""Rows of each upsert of a worker."""


def sample(rows: int, *, first: int = 0) -> pd.DataFrame:
    """Observations of 50 series in the order of time."""
    numbers = np.arange(first, first + rows)
    names = np.array([f"store_{number}__revenue" for number in range(SERIES)], dtype=object)
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime(1_500_000_000 + numbers // SERIES * 60, unit="s", utc=True),
            "name": names[numbers % SERIES],
            "value": np.random.default_rng(first).standard_normal(rows),
        }
    )


def partly_changed(frame: pd.DataFrame) -> pd.DataFrame:
    """One row in a hundred has another value."""
    return frame.assign(value=frame["value"] + (np.arange(len(frame)) % 100 == 0))


@contextmanager
def null_server() -> Iterator[str]:
    """A server that swallows everything: its URL."""
    process = subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


class Figures:
    """Seconds, requests and bytes of each way, over all rounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.reports: dict[str, UpsertReport] = {}

    def time(self, way: str, work: Callable[[], UpsertReport]) -> None:
        """Do the work and note what it took."""
        started = time.perf_counter()
        self.reports[way] = work()
        self.seconds[way].append(time.perf_counter() - started)

    def show(self, rows: int) -> None:
        """A Markdown table."""
        print(f"| {rows:,} rows | s | thousand rows/s | requests | MB sent | stored | unchanged |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for way, taken in self.seconds.items():
            report, seconds = self.reports[way], statistics.median(taken)
            print(
                f"| {way} | {seconds:.2f} | {rows / seconds / 1_000:,.0f} | {report.requests} |"
                f" {report.bytes_sent / 1e6:.1f} | {report.stored:,} | {report.unchanged:,} |"
            )


@contextmanager
def database_of(postgres: str) -> Iterator[str]:
    """The URL of a new database on a server of PostgreSQL."""
    import psycopg
    from sqlalchemy import make_url

    name, admin = f"temporis_benchmark_{secrets.token_hex(4)}", make_url(postgres)
    plain = admin.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            made = admin.set(drivername="postgresql+psycopg", database=name)
            yield made.render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def in_postgres(frame: pd.DataFrame, url: str, mirror: str, figures: Figures) -> None:
    """Every way of a mirror in PostgreSQL once."""
    changed = partly_changed(frame)
    with connect(url, TOKEN, mirror=mirror, skip_unchanged=True) as temporis:
        mirrored = temporis.data_source("metrics")
        figures.time("mirror in PostgreSQL, fresh", lambda: mirrored.upsert(frame))
        figures.time("mirror in PostgreSQL, all unchanged", lambda: mirrored.upsert(frame))
        figures.time("mirror in PostgreSQL, 1 % changed", lambda: mirrored.upsert(changed))
    with connect(url, TOKEN, mirror=mirror) as temporis:
        mirrored = temporis.data_source("metrics")
        figures.time("mirror in PostgreSQL, all sent again", lambda: mirrored.upsert(changed))


def work(number: int, sources: int, url: str, mirror: str, seconds: float, ready: Any, results: Any) -> None:
    """A worker: upserts of 10,000 rows, of series that all workers write, one after the other."""
    done = 0
    with connect(url, TOKEN, mirror=mirror) as temporis:
        source = temporis.data_source(f"metrics_{number % sources}")
        source.upsert(sample(SERIES))
        ready.wait()
        began = time.monotonic()
        for turn in itertools.count():
            if time.monotonic() > began + seconds:
                break
            done += source.upsert(sample(CHUNK, first=(number + turn * 8) * CHUNK)).stored
        results.put(done / (time.monotonic() - began))


def workers(count: int, sources: int, url: str, mirror: str, seconds: float) -> float:
    """How many rows some workers together store per second."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    given = (sources, url, mirror, seconds, ready, results)
    started = [context.Process(target=work, args=(number, *given)) for number in range(count)]
    for one in started:
        one.start()
    rows = sum(results.get() for _ in started)
    for one in started:
        one.join()
    return rows


def show_workers(url: str, postgres: str, seconds: float) -> None:
    """A Markdown table."""
    print("| workers | data sources | in a file, rows/s | in PostgreSQL, rows/s |")
    print("| ---: | ---: | ---: | ---: |")
    for count, sources in ((1, 1), (8, 1), (8, 4)):
        with tempfile.TemporaryDirectory() as directory, database_of(postgres) as database:
            in_a_file = workers(count, sources, url, f"sqlite:///{directory}/mirror.db", seconds)
            shared = workers(count, sources, url, database, seconds)
        print(f"| {count} | {sources} | {in_a_file:,.0f} | {shared:,.0f} |")


def one_round(frame: pd.DataFrame, url: str, directory: str, figures: Figures) -> None:
    """Every way once."""
    changed = partly_changed(frame)
    with connect(f"sqlite:///{directory}/direct.db") as temporis:
        direct = temporis.create_data_source("metrics")
        figures.time("direct into a SQLite store, fresh", lambda: direct.upsert(frame))
        figures.time("direct into a SQLite store, 1 % changed", lambda: direct.upsert(changed))
    with connect(url, TOKEN) as temporis:
        plain = temporis.data_source("metrics")
        figures.time("plain, over HTTP", lambda: plain.upsert(frame))
    with connect(url, TOKEN, mirror=f"sqlite:///{directory}/mirror.db", skip_unchanged=True) as temporis:
        mirrored = temporis.data_source("metrics")
        figures.time("mirror, fresh", lambda: mirrored.upsert(frame))
        figures.time("mirror, skip_unchanged, all unchanged", lambda: mirrored.upsert(frame))
        figures.time("mirror, skip_unchanged, 1 % changed", lambda: mirrored.upsert(changed))
    with connect(url, TOKEN, mirror=f"sqlite:///{directory}/mirror.db") as temporis:
        mirrored = temporis.data_source("metrics")
        figures.time("mirror, all sent again", lambda: mirrored.upsert(changed))


def with_a_backlog(rows: int, url: str) -> None:
    """Time small upserts while ``rows`` rows of the same series are pending, and after these were delivered."""
    with tempfile.TemporaryDirectory() as directory:
        mirror = f"sqlite:///{directory}/mirror.db"
        with connect(
            "http://127.0.0.1:9", TOKEN, mirror=mirror, on_unavailable="queue", give_up_after_s=0.001, timeout_s=0.5
        ) as temporis:
            for first in range(0, rows, 1_000_000):
                temporis.data_source("metrics").upsert(sample(min(1_000_000, rows - first), first=first))
        rebind(mirror, url)
        with connect(url, TOKEN, mirror=mirror) as temporis:
            source = temporis.data_source("metrics")
            show_small_upserts(source, first=10**8)
            started = time.perf_counter()
            flushed = source.flush()
            print(f"flush of {flushed.stored:,} rows: {time.perf_counter() - started:.1f} s")
            show_small_upserts(source, first=2 * 10**8)


def show_small_upserts(source: DataSource, *, first: int) -> None:
    """The median time of one."""
    source.upsert(sample(SMALL, first=first))
    pending, taken = source.pending().rows, []
    for number in range(SMALL_UPSERTS):
        frame = sample(SMALL, first=first + number * SMALL)
        started = time.perf_counter()
        source.upsert(frame)
        taken.append(time.perf_counter() - started)
    print(f"upsert of {SMALL} rows with {pending:,} pending: {statistics.median(taken) * 1_000:.1f} ms")


def rebind(mirror: str, url: str) -> None:
    """The service that was down is up at another port."""
    from temporis_dagster.data_source.http.target import HttpTarget
    from temporis_dagster.data_source.mirror import Mirror

    moved = Mirror(mirror, HttpTarget(url, TOKEN), TOKEN)
    moved.rebind()
    moved.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the mirror costs, and what it saves.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backlog", type=int, default=5_000_000)
    parser.add_argument("--postgres", help="a server, as a role that may create databases")
    parser.add_argument("--seconds", type=float, default=5, help="how long the workers work")
    options = parser.parse_args()
    frame, figures = sample(options.rows), Figures()
    with null_server() as url:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as directory:
                one_round(frame, url, directory, figures)
            if options.postgres:
                with database_of(options.postgres) as database:
                    in_postgres(frame, url, database, figures)
        if options.rounds:
            figures.show(options.rows)
        if options.postgres and options.seconds:
            show_workers(url, options.postgres, options.seconds)
        if options.backlog:
            with_a_backlog(options.backlog, url)


if __name__ == "__main__":
    main()
