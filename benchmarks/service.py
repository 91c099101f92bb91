"""How many rows per second the local service stores, for clients that send 10,000 records per request.

Run: ``python benchmarks/service.py``. The service is a process of its own, the bodies are made beforehand, and the
clients are threads that each keep one connection. *fresh*: every key is new; *again*: the same bodies once more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from statistics import median
from urllib.parse import urlsplit

import orjson

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore

ROWS, BODIES, SERIES, START = 10_000, 40, 10, 1_718_870_400
CONNECTIONS, RUNS = (1, 4), 3


def bodies() -> list[bytes]:
    """Minutes of ten series, in the order of time."""
    return [
        orjson.dumps({"data_source": "store_metrics", "records": [record(row) for row in range(first, first + ROWS)]})
        for first in range(0, BODIES * ROWS, ROWS)
    ]


def record(row: int) -> dict[str, object]:
    return {"timestamp": START + 60 * (row // SERIES), "name": f"store_{row % SERIES}__revenue", "value": row * 1.1}


@contextmanager
def service() -> Iterator[tuple[str, str]]:
    """A new store and a service over it: its URL and a token."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStore(f"sqlite:///{folder}/temporis.db")
        store.create_data_source("store_metrics")
        token = store.tokens.create("benchmark")
        command = [sys.executable, "-m", "temporis_dagster.cli", "serve", "--store", store.url, "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), token
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
            store.close()


def post_all(url: str, token: str, mine: list[bytes]) -> None:
    """Post these bodies over one connection; each must be stored."""
    connection = HTTPConnection(urlsplit(url).netloc)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for body in mine:
        connection.request("POST", INGEST_PATH, body, headers)
        answer = connection.getresponse()
        assert not answer.read() and answer.status == HTTPStatus.NO_CONTENT  # noqa: PT018  # one answer
    connection.close()


def rows_per_second(url: str, token: str, made: list[bytes], connections: int) -> float:
    """Each connection posts its share, one request after the other."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda part: post_all(url, token, made[part::connections]), range(connections)))
    return len(made) * ROWS / (time.perf_counter() - begun)


def main() -> None:
    """Print the table: medians of some runs, each over a new store."""
    made = bodies()
    print(f"{os.cpu_count()} cores; {BODIES} bodies of {ROWS:,} records, {len(made[0]):,} bytes each; rows/s")
    print(f"{'connections':>12}{'fresh':>12}{'again':>12}")
    for connections in CONNECTIONS:
        found = []
        for _ in range(RUNS):
            with service() as (url, token):
                found.append([rows_per_second(url, token, made, connections) for _ in ("fresh", "again")])
        fresh, again = (median(figures) for figures in zip(*found, strict=True))
        print(f"{connections:>12}{fresh:>12,.0f}{again:>12,.0f}")


if __name__ == "__main__":
    main()
