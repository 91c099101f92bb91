"""Where and with what a run was measured, and how much memory a process takes.

Comes in: nothing. Goes out: what stands above the tables; figures of this process, as Linux counts them.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.harness import ROOT

PACKAGES = (
    "pandas", "numpy", "dagster", "sqlalchemy", "httpx", "orjson", "pyarrow", "polars", "duckdb", "psycopg", "requests",
    "questdb", "influxdb-client", "fastapi", "pydantic", "starlette", "uvicorn",
)  # fmt: skip


def described() -> dict[str, str]:
    """The machine and the versions, by what they are called."""
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "processor": f"{os.cpu_count()} cores of {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": load,
        "Python": sys.version.split()[0],
        "SQLite": sqlite3.sqlite_version,
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _commit() -> str:
    """What was measured. The results, which a run writes, do not count as a change."""
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results.json", ":!docs/benchmarks.md")
    return (_git("describe", "--always") or "unknown") + (", changed" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def memory_mb(field: str) -> float:
    """Memory of this process in MB: ``VmRSS`` now, ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(field)


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """How far this process rises while the block runs: ``peak_mb``, above what it took before.

    Whatever has to be imported and set up once must have been used before. Best in a process of its own, see
    ``Given.apart``.
    """
    figures: dict[str, float] = {}
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what building the frame left to the process would hide a rise
    Path("/proc/self/clear_refs").write_text("5")  # a new peak begins here
    before = memory_mb("VmRSS")
    yield figures
    figures["peak_mb"] = memory_mb("VmHWM") - before
