"""The mirror, compared with an upsert straight into the same kind of store, and with a backlog of pending rows.

    python benchmarks/mirror.py [--rows 1000000] [--rounds 3] [--backlog 5000000]

The server is a process of its own that reads every body and answers 204, so that the client is what is measured. Every
round runs every way once, on new files; figures are medians. The machine is part of the result: read ratios.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from temporis_dagster import DataSource, UpsertReport, connect

SERVER = Path(__file__).with_name("null_server.py")
SERIES, SMALL, SMALL_UPSERTS = 50, 100, 50
TOKEN = "ts_benchmark"


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
    options = parser.parse_args()
    frame, figures = sample(options.rows), Figures()
    with null_server() as url:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as directory:
                one_round(frame, url, directory, figures)
        if options.rounds:
            figures.show(options.rows)
        if options.backlog:
            with_a_backlog(options.backlog, url)


if __name__ == "__main__":
    main()
