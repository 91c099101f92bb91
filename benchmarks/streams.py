"""Streams: a Parquet file upserted as a stream, and as one frame of pandas; the memory and the time of both.

Every way runs in a process of its own, which first imports everything. The time includes reading the file, except where
it was read before. A reader of row groups asks for one after the other; *of the whole file* lets pyarrow go through all
of it, and then pyarrow keeps what it has read, except with ``pre_buffer=False``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks import frames, machine, servers
from benchmarks.harness import Given, Table, Turn, Way, in_turns
from temporis_dagster import connect

BATCH = 100_000
FRAME, READER, SPOOL = (
    "`pandas.read_parquet` and one frame",
    "a reader of row groups",
    "a reader of row groups, `spool=True`",
)
READ_BEFORE, WHOLE = "one frame that was read before", "`iter_batches()` of the whole file"
UNBUFFERED, TABLE = "the same, with `pre_buffer=False`", "a reader of one Arrow table that was read before"
WAYS = (
    FRAME,
    READ_BEFORE,
    READER,
    SPOOL,
    WHOLE,
    UNBUFFERED,
    TABLE,
    "a LazyFrame of polars",
    "a relation of DuckDB",
)
COLUMNS = {
    "rate": "thousand rows/s",
    "ratio": "by the clock",
    "processor_ratio": "by processor time",
    "peak_mb": "MB above the libraries",
}
FRESH, AGAIN = "fresh", "unchanged"


def tables(given: Given) -> Iterator[Table]:
    """Many rows over HTTP, and an ordinary number into stores."""
    title = "A Parquet file of {:,} rows, {}"
    with TemporaryDirectory() as folder:
        many = Table("streams", title.format(given.many, "over HTTP"), base=FRAME, columns=COLUMNS)
        path = write_parquet(Path(folder) / "many.parquet", given.many)
        with servers.null_server() as url:
            ways = {name: partial(apart, name, path, url, [FRESH], given) for name in WAYS}
            yield in_turns(many, ways, 1)
        stores = Table("streams-stores", title.format(given.rows, "into stores"), base=FRAME, columns=COLUMNS)
        path = write_parquet(Path(folder) / "few.parquet", given.rows)
        with servers.postgres(given.postgres) if servers.has_postgres(given) else nullcontext() as admin:
            kinds: dict[str, Callable[[], object]] = {"SQLite": TemporaryDirectory}
            if admin:
                kinds["PostgreSQL"] = partial(servers.new_database, admin)
            else:
                stores.left_out["PostgreSQL"] = "there is none here (`--postgres`)"
            into: dict[str, Way] = {name: partial(into_stores, name, path, kinds, given) for name in (FRAME, READER)}
            yield in_turns(stores, into, given.rounds)


def into_stores(name: str, path: str, kinds: dict[str, Callable[[], object]], given: Given, turn: Turn) -> None:
    """One way into a new store of each kind."""
    for kind, new in kinds.items():
        with new() as made:
            url = f"sqlite:///{made}/temporis.db" if kind == "SQLite" else made
            apart(name, path, url, [f"{kind}, {FRESH}", f"{kind}, {AGAIN}"], given, turn)


def apart(name: str, path: str, url: str, steps: list[str], given: Given, turn: Turn) -> None:
    """One way in a process of its own: the file once for each step."""
    found = given.apart(upserted, name=name, path=path, url=url, times=len(steps))
    for number, step in enumerate(steps):
        turn.note(step, {key.partition(":")[2]: value for key, value in found.items() if key[0] == str(number)})


def upserted(name: str, path: str, url: str, times: int) -> dict[str, float]:
    """Upsert the file a number of times: figures by ``0:wall_s`` and so on."""
    import pyarrow.parquet  # noqa: F401  before the memory is looked at

    over_http = url.startswith("http")
    figures: dict[str, float] = {}
    with connect(url, "ts_benchmark" if over_http else None, **({} if over_http else {"create_missing": True})) as made:
        source = made.data_source("metrics")
        source.upsert(frames.long_frame(frames.SERIES))
        for number in range(times):
            data = opened(name, path) if name in (READ_BEFORE, TABLE) else None
            with machine.peak_memory() as memory:
                wall, processor = time.perf_counter(), time.process_time()
                report = source.upsert(opened(name, path) if data is None else data, spool=name == SPOOL)
                wall, processor = time.perf_counter() - wall, time.process_time() - processor
            found = {"rows": report.observations_in, "wall_s": wall, "processor_s": processor, **memory}
            figures |= {f"{number}:{key}": value for key, value in found.items()}
    return figures


def opened(name: str, path: str) -> object:
    """The file, as one of the ways gives it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name in (FRAME, READ_BEFORE):
        return pd.read_parquet(path)
    if "polars" in name:
        import polars as pl

        return pl.scan_parquet(path)
    if "DuckDB" in name:
        import duckdb

        return duckdb.connect().sql(f"SELECT timestamp, name, value FROM '{path}'")
    if name == TABLE:
        return pq.read_table(path).to_reader()
    file = pq.ParquetFile(path, pre_buffer=name != UNBUFFERED)
    groups = range(file.num_row_groups)
    by_group = (batch for group in groups for batch in file.iter_batches(BATCH, row_groups=[group]))
    batches = file.iter_batches(BATCH) if name in (WHOLE, UNBUFFERED) else by_group
    return pa.RecordBatchReader.from_batches(file.schema_arrow, batches)


def write_parquet(path: Path, rows: int) -> str:
    """A hundred series in the order of time, in row groups of 100,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array(frames.names(frames.SERIES))
    kinds = pa.schema({"timestamp": pa.timestamp("us", "UTC"), "name": pa.string(), "value": pa.float64()})
    with pq.ParquetWriter(path, kinds) as writer:
        for start in range(0, rows, BATCH):
            numbers = np.arange(start, min(start + BATCH, rows))
            stamps = (frames.FIRST + numbers // frames.SERIES * frames.STEP_S).astype("datetime64[s]")
            columns = {
                "timestamp": pa.array(stamps.astype("datetime64[us]"), pa.timestamp("us", "UTC")),
                "name": names.take(pa.array(numbers % frames.SERIES)),
                "value": pa.array(np.random.default_rng(start).normal(1000, 100, len(numbers))),
            }
            writer.write_table(pa.table(columns))
    return str(path)
