"""What the checks cost: their share of an upsert, what contracts add to them, and memory at 10 million rows.

Run it with ``python benchmarks/checks.py``; figures are medians of rounds that take turns in one process,
those of contracts the fastest of more of them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from temporis_dagster import Series, connect
from temporis_dagster.data_source.observations import observe

SERIES = 100


def ordered_frame(rows: int) -> pd.DataFrame:
    """A long frame in time order, with object names, as a database query gives it."""
    hours = pd.date_range("2000-01-01", periods=rows // SERIES, freq="min", tz="UTC")
    names = np.array([f"series_{i:03d}" for i in range(SERIES)], dtype=object)
    values = np.random.default_rng(1).normal(100, 10, rows)
    columns = {"timestamp": np.repeat(hours, SERIES), "name": np.tile(names, rows // SERIES), "value": values}
    return pd.DataFrame(columns)


def conflicting(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the keys of its last hundredth at its start as well, under other values."""
    count = len(frame) // 100
    again = frame.iloc[-count:].assign(value=lambda rows: rows["value"] + 1)
    return pd.concat([again, frame.iloc[count:]], ignore_index=True)


def seconds(work: Callable[[pd.DataFrame], object], frame: pd.DataFrame) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work(frame)
    return time.perf_counter() - started


def upsert_into_a_new_store(frame: pd.DataFrame) -> None:
    """A fresh upsert."""
    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
        temporis.create_data_source("bench").upsert(frame)


def measure_shares(rows: int, rounds: int) -> None:
    """Print the checks' time and share, ordered and shuffled."""
    ordered = ordered_frame(rows)
    shuffled = ordered.sample(frac=1, random_state=1)
    frames = {"ordered": ordered, "shuffled": shuffled, "shuffled, 1 % with a later value": conflicting(shuffled)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in frames}
    for _ in range(rounds):
        for name, frame in frames.items():
            times[name].append((seconds(observe, frame), seconds(upsert_into_a_new_store, frame)))
    print("| frame | checks | upsert, fresh | share |\n| --- | --- | --- | --- |")
    for name, pairs in times.items():
        checks, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name}, {rows:,} rows | {checks * 1000:.0f} ms | {whole:.2f} s | {checks / whole:.0%} |")


def contracts_of(scale: int) -> list[Series]:
    """A contract of its own for every series; with a scale, some bounds lie inside the values of other series."""
    bounds = [2000 * (1 + scale * i) for i in range(SERIES)]
    return [
        Series(f"series_{i:03d}", unit="MW", every="1min", minimum=-bound, maximum=bound, integer=True)
        for i, bound in enumerate(bounds)
    ]


def measure_contracts(rows: int, rounds: int) -> None:
    """Print what contracts add to the checks, in processor time: bounds, whole numbers and monotone series."""
    ordered = ordered_frame(rows)
    alike = ordered.assign(value=ordered["value"].round())
    apart = alike.assign(value=alike["value"] * (1 + np.tile(np.arange(SERIES), rows // SERIES)) * 8)
    rising = alike.assign(value=np.repeat(np.arange(rows // SERIES, dtype=float), SERIES))
    cases = {
        "values of one scale": (alike, contracts_of(0)),
        "values of different scales": (apart, contracts_of(1)),
        "all series monotone": (rising, [Series(prefix="series_", minimum=0, integer=True, monotone=True)]),
    }
    frames = {f"long, {case}": pair for case, pair in cases.items()}
    frames |= {f"wide, {case}": (wide_frame(frame), contracts) for case, (frame, contracts) in cases.items()}
    gaps = apart.drop(index=np.arange(0, rows, 1009))
    frames["long with gaps, values of different scales"] = (gaps, cases["values of different scales"][1])
    shuffled = rising.sample(frac=1, random_state=1)
    frames["long and shuffled, all series monotone"] = (shuffled, cases["all series monotone"][1])
    print("\n| frame | checks | with contracts | more |\n| --- | --- | --- | --- |")
    for name, (frame, contracts) in frames.items():
        times = [(cpu_seconds(frame, []), cpu_seconds(frame, contracts)) for _ in range(rounds)]
        without, with_them = map(min, zip(*times, strict=True))
        more = with_them / without - 1
        print(f"| {name} | {without * 1000:.0f} ms | {with_them * 1000:.0f} ms | {more:.0%} |")


def wide_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The long frame with a column per series."""
    columns = frame["name"].iloc[:SERIES].tolist()
    return pd.DataFrame(frame["value"].to_numpy().reshape(-1, SERIES), frame["timestamp"].iloc[::SERIES], columns)


def cpu_seconds(frame: pd.DataFrame, contracts: list[Series]) -> float:
    """Processor time of one ``observe``, which runs in one thread."""
    started = time.process_time()
    observe(frame, series=contracts)
    return time.process_time() - started


def resident_bytes(field: str) -> int:
    """Memory of this process, of Linux: ``VmRSS`` now, ``VmHWM`` the most since ``forget_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def forget_peak() -> None:
    """Begin a new peak here."""
    Path("/proc/self/clear_refs").write_text("5")


def measure_memory(rows: int) -> None:
    """Print how far one upsert of an ordered frame rises above the frame itself. Its own process."""
    frame = ordered_frame(rows)
    upsert_into_a_new_store(frame.iloc[:20_000])  # imports and one-time set-up are not part of it
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what building the frame left to the process would hide a rise
    before = resident_bytes("VmRSS")
    forget_peak()
    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
        report = temporis.create_data_source("bench").upsert(frame)
    above = resident_bytes("VmHWM") - before
    print(f"\n{report}\nmemory above the frame: {above / 1e6:,.0f} MB, {above / rows:.0f} bytes per row")


def main() -> None:
    """Measure all, or with ``--memory`` only the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="ROWS", help="only the memory of one upsert")
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory(arguments.memory)
        return
    measure_shares(arguments.rows, arguments.rounds)
    measure_contracts(arguments.rows, 4 * arguments.rounds)
    subprocess.run([sys.executable, __file__, "--memory", str(10 * arguments.rows)], check=True)


if __name__ == "__main__":
    main()
