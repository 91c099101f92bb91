"""The local service next to the same endpoint in FastAPI and pydantic: rows per second, and how long requests wait.

The services are processes of their own, the bodies are made beforehand, and the clients are threads of this process
that each keep one connection. Processor time is that of the services. FastAPI is slow, so it gets fewer bodies.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import orjson

from benchmarks import frames
from benchmarks.harness import ROOT, Given, Goal, Table, Turn, Way, in_turns
from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore

OURS, FASTAPI = "temporis serve", "FastAPI and pydantic"
FRESH, AGAIN, LOADED = "fresh", "unchanged", "under load"
RECORDS, BODIES, FEWER = 10_000, 40, 8
"""Records per body, bodies, and how many times fewer FastAPI gets."""
SMALL, REQUESTS, CONNECTIONS = 1_000, 800, 8
"""Under load: records per body, requests, and connections."""
PATIENCE_S = 60.0
"""How long a client waits for an answer."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Served(NamedTuple):
    """Services over one new store."""

    urls: list[str]
    token: str
    processes: list[int]


def tables(given: Given) -> Iterator[Table]:
    """Throughput over one connection, and many clients at once."""
    records, count = min(RECORDS, given.rows // 20), min(BODIES, max(FEWER, given.rows // 25_000))
    table = Table(
        "service",
        f"The local service: {count} bodies of {records:,} records over one connection",
        base=FASTAPI,
        goals=[
            Goal(5, f"service, {step}: speed of FastAPI and pydantic", OURS, step, at_least=10, over=FASTAPI)
            for step in (FRESH, AGAIN)
        ],
    )
    made = bodies(records, count)
    ways: dict[str, Way] = {OURS: partial(throughput, OURS, made, records)}
    if table.peer(FASTAPI, "fastapi_endpoint", "fastapi", "uvicorn"):
        ways[FASTAPI] = partial(throughput, FASTAPI, made[: count // FEWER], records)
    yield in_turns(table, ways, given.rounds)
    small, requests = min(SMALL, given.rows // 100), min(REQUESTS, max(CONNECTIONS, given.rows // 1_000))
    loaded = Table(
        "service-load",
        f"The local service under load: {requests} requests of {small:,} records from {CONNECTIONS} clients",
        columns={
            "rate": "thousand rows/s",
            "p50_ms": "median, ms",
            "p99_ms": "p99, ms",
            "p99_over_p50": "p99, times the median",
        },
        goals=[
            Goal(5, "service under load: p99, times the median", one_process := f"{OURS}, 1 process", LOADED,
                 at_most=3, figure="p99_over_p50"),
        ],
    )  # fmt: skip
    made = bodies(small, requests)
    ways = {one_process: partial(under_load, OURS, 1, made, small)}
    if not given.smoke:
        ways[f"{OURS}, 2 processes on one store"] = partial(under_load, OURS, 2, made, small)
    if loaded.peer(of_fastapi := f"{FASTAPI}, 1 process", "fastapi_endpoint", "fastapi", "uvicorn"):
        ways[of_fastapi] = partial(under_load, FASTAPI, 1, made[: max(CONNECTIONS, requests // FEWER)], small)
    yield in_turns(loaded, ways, given.rounds)


def bodies(records: int, count: int) -> list[bytes]:
    """Requests with minutes of a hundred series, in the order of time."""
    frame = frames.long_frame(records * count)
    seconds = frames.with_timestamps(frame, "int64")["timestamp"].tolist()
    rows = [
        {"timestamp": at, "name": name, "value": value}
        for at, name, value in zip(seconds, frame["name"], frame["value"].tolist(), strict=True)
    ]
    return [
        orjson.dumps({"data_source": "metrics", "records": rows[first : first + records]})
        for first in range(0, len(rows), records)
    ]


def throughput(kind: str, made: list[bytes], records: int, turn: Turn) -> None:
    """One request after the other: all new, and all once more."""
    with served(kind, 1) as services:
        post(services.urls[0], services.token, bodies(1, 1), [])
        for step in (FRESH, AGAIN):
            measured(step, services, made, records, 1, turn)


def under_load(kind: str, processes: int, made: list[bytes], records: int, turn: Turn) -> None:
    """All clients at once, each with one request after the other."""
    with served(kind, processes) as services:
        for url in services.urls:
            post(url, services.token, bodies(1, 1), [])
        measured(LOADED, services, made, records, CONNECTIONS, turn)


def measured(step: str, services: Served, made: list[bytes], records: int, connections: int, turn: Turn) -> None:
    """Post all bodies, shared out over connections; how long each took, and what the services used."""
    used, taken = processor_s(services.processes), list[float]()
    clients = [
        threading.Thread(
            target=post,
            args=(services.urls[number % len(services.urls)], services.token, made[number::connections], taken),
        )
        for number in range(connections)
    ]
    begun = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    wall = time.perf_counter() - begun
    assert len(taken) == len(made), "each request was answered with 204"
    p50, p99 = np.quantile(taken, [0.5, 0.99]) * 1_000
    figures = {"rows": records * len(made), "wall_s": wall, "p50_ms": p50, "p99_ms": p99, "p99_over_p50": p99 / p50}
    turn.note(step, {**figures, "processor_s": processor_s(services.processes) - used + 1 / TICKS_PER_S})


def post(url: str, token: str, mine: list[bytes], taken: list[float]) -> None:
    """Post these bodies over one connection; note how long each took. Ends early if one is not stored."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for body in mine:
        begun = time.perf_counter()
        connection.request("POST", INGEST_PATH, body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != HTTPStatus.NO_CONTENT:
            return
        taken.append(time.perf_counter() - begun)
    connection.close()


@contextmanager
def served(kind: str, count: int) -> Iterator[Served]:
    """A new store, and services over it."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(TemporaryDirectory())) / "temporis.db"
        store = SqlStore(f"sqlite:///{path}")
        stack.callback(store.close)
        store.create_data_source("metrics")
        token = store.tokens.create("benchmark")
        start = ours if kind == OURS else fastapi
        started = [stack.enter_context(start(path)) for _ in range(count)]
        yield Served([url for url, _ in started], token, [process for _, process in started])


@contextmanager
def ours(path: Path) -> Iterator[tuple[str, int]]:
    """``temporis serve``: its URL and its process."""
    command = [sys.executable, "-m", "temporis_dagster.cli", "serve", "--store", f"sqlite:///{path}", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def fastapi(path: Path) -> Iterator[tuple[str, int]]:
    """The same endpoint in FastAPI under uvicorn, on a socket that listens already."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        command = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.baselines.fastapi_endpoint:create_app"]
        command += ["--fd", str(listener.fileno()), "--no-access-log", "--log-level", "warning"]
        environment = {**os.environ, "BENCHMARK_STORE": str(path)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[listener.fileno()])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", process.pid
        finally:
            process.terminate()
            process.wait()


def processor_s(processes: list[int]) -> float:
    """What these processes have used so far, in seconds."""
    used = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in processes]
    return sum(int(ticks) for both in used for ticks in both) / TICKS_PER_S
