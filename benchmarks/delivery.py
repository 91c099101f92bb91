"""Delivery: from a frame to the last acknowledgement, next to other clients, on one frame and one server.

Run: ``python benchmarks/delivery.py [--rows 1000000] [--rounds 3] [--memory-rows 10000000]``; ``--rows 0`` for the
memory alone. The server is a process of its own that reads every body and answers 204. Peers are taken if they are
installed: ``requests`` (the documentation's own loop), ``influxdb-client``, ``questdb``. Rounds are interleaved,
figures are medians.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster import connect

SERVER = Path(__file__).with_name("null_server.py")
SERIES, FIRST = 100, 1_718_870_400
DOCS_BATCH = 2000
Way: TypeAlias = Callable[[pd.DataFrame, str], int]


def ordered_frame(rows: int) -> pd.DataFrame:
    """A hundred series, a minute a step, in order of time."""
    numbers = np.arange(rows)
    names = np.array([f"store_{i}__revenue" for i in range(SERIES)], dtype=object)
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime(FIRST + numbers // SERIES * 60, unit="s", utc=True),
            "name": names[numbers % SERIES],
            "value": np.random.default_rng(0).normal(1000, 100, rows),
        }
    )


def with_timestamps(dtype: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The same with timestamps of this dtype; int64 is Unix seconds."""
    seconds = frame["timestamp"].dt.as_unit("s")
    return frame.assign(timestamp=seconds.astype(dtype))


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    """The same in no order, one row in a hundred with the key of another."""
    rows = len(frame)
    order = np.random.default_rng(1).permutation(rows)
    order[: rows // 100] = order[-(rows // 100) :]
    return frame.iloc[order].reset_index(drop=True)


FRAMES_FOR_MEMORY: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "ordered, datetime64[ns, UTC]": partial(with_timestamps, "datetime64[ns, UTC]"),
    "ordered, datetime64[us, UTC]": partial(with_timestamps, "datetime64[us, UTC]"),
    "ordered, integer seconds": partial(with_timestamps, "int64"),
    "shuffled, 1 % duplicates": shuffled,
}


@contextmanager
def null_server(delay_s: float = 0.0) -> Iterator[str]:
    """A server that swallows everything: its URL."""
    process = subprocess.Popen([sys.executable, str(SERVER), str(delay_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ours(max_in_flight: int, **options: int) -> Way:
    def way(frame: pd.DataFrame, url: str) -> int:
        with connect(url, "ts_benchmark", max_in_flight=max_in_flight, **options) as temporis:
            return temporis.data_source("store_metrics").upsert(frame).stored

    return way


def docs_loop(frame: pd.DataFrame, url: str) -> int:
    """What the documentation shows: itertuples, 2,000 records per request, requests.post(json=...)."""
    import requests

    headers, records, sent = {"Authorization": "Bearer ts_benchmark"}, [], 0
    for row in frame.itertuples(index=False):
        records.append({"timestamp": int(row.timestamp.timestamp()), "name": row.name, "value": row.value})
        if len(records) == DOCS_BATCH or sent + len(records) == len(frame):
            body = {"data_source": "store_metrics", "records": records}
            requests.post(f"{url}/v1/data_sources/ingest", json=body, headers=headers, timeout=30).raise_for_status()
            sent, records = sent + len(records), []
    return sent


def influx(frame: pd.DataFrame, url: str) -> int:
    """Its batching writer, 5,000 rows per request."""
    from influxdb_client import InfluxDBClient, WriteOptions

    batching = WriteOptions(batch_size=5000)
    with InfluxDBClient(url=url, token="benchmark", org="o") as client, client.write_api(batching) as writer:
        writer.write(
            bucket="b",
            record=frame,
            data_frame_measurement_name="m",
            data_frame_tag_columns=["name"],
            data_frame_timestamp_column="timestamp",
        )
    return len(frame)


def questdb(frame: pd.DataFrame, url: str) -> int:
    """Its compiled sender over HTTP: binary doubles, 75,000 rows per request, one at a time."""
    from questdb import Sender

    with Sender.from_conf(f"http::addr={url.removeprefix('http://')};protocol_version=2;") as sender:
        sender.dataframe(frame, table_name="m", symbols=["name"], at="timestamp")
    return len(frame)


def peers() -> dict[str, Way]:
    """The other clients that are here; a note for each that is not."""
    wanted: dict[str, tuple[str, Way]] = {
        "the docs' loop": ("requests", docs_loop),
        "influxdb-client, batching": ("influxdb_client", influx),
        "questdb Sender.dataframe": ("questdb", questdb),
    }
    missing = [name for name, (module, _) in wanted.items() if find_spec(module) is None]
    for name in missing:
        print(f"(skipped: {name} is not installed)")
    return {name: way for name, (_, way) in wanted.items() if name not in missing}


def rates(ways: dict[str, Way], frame: pd.DataFrame, *, delay_s: float, rounds: int) -> dict[str, float]:
    """Rows per second of each, as the median of interleaved rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with null_server(delay_s) as url:
        for way in ways.values():
            way(frame.iloc[:1000], url)
        for _ in range(rounds):
            for name, way in ways.items():
                gc.collect()
                begun = time.perf_counter()
                assert way(frame, url) == len(frame), name
                seconds[name].append(time.perf_counter() - begun)
    return {name: len(frame) / median(times) for name, times in seconds.items()}


def print_rates(title: str, found: dict[str, float]) -> None:
    base = found.get("the docs' loop", min(found.values()))
    print(f"\n### {title}\n\n| client | million rows/s | times the docs' loop |\n| --- | ---: | ---: |")
    for name, rate in found.items():
        print(f"| {name} | {rate / 1e6:.2f} | {rate / base:.1f} |")


def peak_above_frame(kind: str, rows: int) -> str:
    """Measure in a new process how much memory an upsert needs above the frame; the server takes 50 ms."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure-memory", kind, "--rows", str(rows)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def measure_memory(kind: str, rows: int) -> None:
    frame = FRAMES_FOR_MEMORY[kind](ordered_frame(rows))
    with null_server(0.05) as url, connect(url, "ts_benchmark") as temporis:
        source = temporis.data_source("store_metrics")
        source.upsert(frame.iloc[:20_000])
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what building the frame left to the process would hide a rise
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        report = source.upsert(frame)
        above = status("VmHWM") - before
    assert report.stored + report.superseded == rows
    print(f"| {rows / 1e6:.0f}M rows, {kind} | {above / 1e6:.0f} MB | {above / rows:.1f} |")


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def measure_rates(rows: int, rounds: int) -> None:
    frame = ordered_frame(rows)
    mine: dict[str, Way] = {"temporis, 1 in flight": ours(1), "temporis, 4 in flight (default)": ours(4)}
    ways = mine | peers()
    print_rates(f"{rows:,} rows, null server", rates(ways, frame, delay_s=0.0, rounds=rounds))
    slow = ways | {"temporis, 16 in flight": ours(16)}
    print_rates(f"{rows:,} rows, 50 ms per request", rates(slow, frame, delay_s=0.05, rounds=rounds))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--memory-rows", type=int, default=10_000_000)
    arguments.add_argument("--measure-memory", choices=FRAMES_FOR_MEMORY)
    given = arguments.parse_args()
    if given.measure_memory:
        measure_memory(given.measure_memory, given.rows)
        return
    if given.rows:
        measure_rates(given.rows, given.rounds)
    if given.memory_rows:
        print("\n### Memory above the frame, 50 ms per request\n\n| frame | peak | bytes per row |")
        print("| --- | ---: | ---: |")
        for kind in FRAMES_FOR_MEMORY:
            print(peak_above_frame(kind, given.memory_rows), flush=True)


if __name__ == "__main__":
    main()
