"""The mirror: what it costs next to a direct upsert into the same kind of store, and what it saves.

The server that it delivers to swallows everything. Also: small upserts while many rows are pending, and workers, each
a process, that share one mirror in a file or in PostgreSQL.
"""

from __future__ import annotations

import itertools
import multiprocessing.dummy
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks import frames, servers
from benchmarks.harness import Given, Goal, Table, Turn, Way, in_turns, warm_up
from temporis_dagster import DataSource, connect

TOKEN, NOWHERE = "ts_benchmark", "http://127.0.0.1:9"
FRESH, AGAIN, CHANGED, SENT_AGAIN = "fresh", "unchanged", "1 % changed", "all sent again"
DIRECT, MIRROR, IN_POSTGRES = "direct, into a SQLite store", "mirror in a file", "mirror in PostgreSQL"
SMALL, SMALL_UPSERTS = 100, 50
BACKLOG = 5
"""Pending rows, in times of the rows of a run."""
CHUNK, SECONDS, PATIENCE_S = 10_000, 5.0, 300.0
"""Rows of each upsert of a worker, how long it works, and how long the others wait for it."""


def tables(given: Given) -> Iterator[Table]:
    """Whole frames, small ones with a backlog, and workers."""
    with servers.null_server() as url:
        few = frames.long_frame(SMALL)
        warm_up({DIRECT: partial(direct, few), MIRROR: partial(mirrored_in_a_file, few, url)})
        yield of_frames(url, given)
        yield of_a_backlog(url, given)
        yield of_workers(url, given)


def of_frames(url: str, given: Given) -> Table:
    """A frame that is new, the same again, and with some changes."""
    frame = frames.long_frame(given.rows)
    table = Table(
        "mirror",
        f"A mirror in front of a server that answers at once: {given.rows:,} rows of {frames.SERIES} series",
        base=DIRECT,
        columns={
            "rate": "thousand rows/s",
            "ratio": "by the clock",
            "processor_ratio": "by processor time",
            "requests": "requests",
            "sent_mb": "MB sent",
        },
        goals=[Goal(1, "mirror, fresh: speed of a direct store", MIRROR, FRESH, at_least=0.7, over=DIRECT)],
    )
    ways: dict[str, Way] = {
        DIRECT: partial(direct, frame),
        "no mirror, over HTTP": partial(without, frame, url),
        MIRROR: partial(mirrored_in_a_file, frame, url),
    }
    with servers.postgres(given.postgres) if servers.has_postgres(given) else nullcontext() as admin:
        if admin:
            ways[IN_POSTGRES] = partial(mirrored_in_postgres, frame, url, admin)
        else:
            table.left_out[IN_POSTGRES] = "there is no PostgreSQL here (`--postgres`)"
        return in_turns(table, ways, given.rounds)


def direct(frame: pd.DataFrame, turn: Turn) -> None:
    """Into a store, without a service."""
    with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/direct.db") as temporis:
        source = temporis.create_data_source("metrics")
        for step, given in {FRESH: frame, AGAIN: frame, CHANGED: frames.partly_changed(frame)}.items():
            upserted(source, given, step, turn)


def without(frame: pd.DataFrame, url: str, turn: Turn) -> None:
    """Straight to the service."""
    with connect(url, TOKEN) as temporis:
        upserted(temporis.data_source("metrics"), frame, FRESH, turn)


def mirrored_in_a_file(frame: pd.DataFrame, url: str, turn: Turn) -> None:
    """A mirror in SQLite."""
    with TemporaryDirectory() as folder:
        mirrored(frame, url, f"sqlite:///{folder}/mirror.db", turn)


def mirrored_in_postgres(frame: pd.DataFrame, url: str, admin: str, turn: Turn) -> None:
    """A mirror in a new database."""
    with servers.new_database(admin) as mirror:
        mirrored(frame, url, mirror, turn)


def mirrored(frame: pd.DataFrame, url: str, mirror: str, turn: Turn) -> None:
    """With ``skip_unchanged``, and once without."""
    changed = frames.partly_changed(frame)
    with connect(url, TOKEN, mirror=mirror, skip_unchanged=True) as temporis:
        source = temporis.data_source("metrics")
        for step, given in {FRESH: frame, AGAIN: frame, CHANGED: changed}.items():
            upserted(source, given, step, turn)
    with connect(url, TOKEN, mirror=mirror) as temporis:
        upserted(temporis.data_source("metrics"), changed, SENT_AGAIN, turn)


def upserted(source: DataSource, frame: pd.DataFrame, step: str, turn: Turn) -> None:
    """One upsert, and what it sent."""
    with turn.measure(step, rows=len(frame)) as figures:
        report = source.upsert(frame)
    figures |= {"requests": report.requests, "sent_mb": report.bytes_sent / 1e6}
    assert report.stored + report.unchanged == len(frame)


def of_a_backlog(url: str, given: Given) -> Table:
    """Small upserts while rows of the same series are pending, and after these were delivered."""
    rows = BACKLOG * given.rows
    table = Table(
        "mirror-backlog",
        f"A mirror with a backlog: upserts of {SMALL} rows, and the flush",
        columns={"median_ms": "ms per upsert, median", "rate": "thousand rows/s"},
    )
    return in_turns(
        table, {f"{rows:,} rows pending": partial(with_a_backlog, rows, 2 if given.smoke else SMALL_UPSERTS, url)}, 1
    )


def with_a_backlog(rows: int, count: int, url: str, turn: Turn) -> None:
    """Queue the rows while the service is away, and deliver them to one that is there."""
    with TemporaryDirectory() as folder:
        mirror = f"sqlite:///{folder}/mirror.db"
        with connect(
            NOWHERE, TOKEN, mirror=mirror, on_unavailable="queue", give_up_after_s=0.001, timeout_s=0.5
        ) as temporis:
            for first in range(0, rows, 1_000_000):
                frame = frames.long_frame(min(1_000_000, rows - first), first=first)
                temporis.data_source("metrics").upsert(frame)
        rebind(mirror, url)
        with connect(url, TOKEN, mirror=mirror) as temporis:
            source = temporis.data_source("metrics")
            turn.note("small upserts, while they are pending", small_upserts(source, count, first=10**8))
            with turn.measure("the flush") as figures:
                figures["rows"] = source.flush().stored
            turn.note("small upserts, after the flush", small_upserts(source, count, first=2 * 10**8))


def small_upserts(source: DataSource, count: int, *, first: int) -> dict[str, float]:
    """The median time of one."""
    source.upsert(frames.long_frame(SMALL, first=first))
    taken = []
    for number in range(1, count + 1):
        frame = frames.long_frame(SMALL, first=first + number * SMALL)
        started = time.perf_counter()
        source.upsert(frame)
        taken.append(time.perf_counter() - started)
    return {"median_ms": median(taken) * 1_000}


def rebind(mirror: str, url: str) -> None:
    """The service that was down is up at another port."""
    from temporis_dagster.data_source.http.target import HttpTarget
    from temporis_dagster.data_source.mirror import Mirror

    moved = Mirror(mirror, HttpTarget(url, TOKEN), TOKEN)
    moved.rebind()
    moved.close()


def of_workers(url: str, given: Given) -> Table:
    """Processes that share a mirror, each with one upsert after the other."""
    table = Table(
        "mirror-workers",
        f"Workers that share a mirror: upserts of {CHUNK:,} rows for {SECONDS:.0f} s",
        columns={"thousand_rows_per_s": "thousand rows/s of all together"},
    )
    ways: dict[str, Way] = {MIRROR: partial(workers_on_a_file, url, given.smoke)}
    with servers.postgres(given.postgres) if servers.has_postgres(given) else nullcontext() as admin:
        if admin:
            ways[IN_POSTGRES] = partial(workers_on_postgres, url, admin, given.smoke)
        else:
            table.left_out[IN_POSTGRES] = "there is no PostgreSQL here (`--postgres`)"
        return in_turns(table, ways, 1)


def workers_on_a_file(url: str, smoke: bool, turn: Turn) -> None:
    """Each number of workers on a new file."""
    for count, sources in counts(smoke=smoke):
        with TemporaryDirectory() as folder:
            note_workers(count, sources, url, f"sqlite:///{folder}/mirror.db", turn, smoke=smoke)


def workers_on_postgres(url: str, admin: str, smoke: bool, turn: Turn) -> None:
    """Each number of workers on a new database."""
    for count, sources in counts(smoke=smoke):
        with servers.new_database(admin) as mirror:
            note_workers(count, sources, url, mirror, turn, smoke=smoke)


def counts(*, smoke: bool) -> list[tuple[int, int]]:
    """How many workers, on how many data sources."""
    return [(2, 1)] if smoke else [(1, 1), (8, 1), (8, 4)]


def note_workers(count: int, sources: int, url: str, mirror: str, turn: Turn, *, smoke: bool) -> None:
    """Start the workers, and add up what they have stored per second. The smoke test takes threads instead."""
    context: Any = multiprocessing.dummy if smoke else multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    given = (sources, url, mirror, 0.0 if smoke else SECONDS, ready, results)
    started = [context.Process(target=work, args=(number, *given)) for number in range(count)]
    for one in started:
        one.start()
    rows = sum(results.get(timeout=PATIENCE_S) for _ in started)  # one that has failed never answers
    for one in started:
        one.join()
    step = f"{count} worker{'s' * (count > 1)}, {sources} data source{'s' * (sources > 1)}"
    turn.note(step, {"thousand_rows_per_s": rows / 1_000})


def work(number: int, sources: int, url: str, mirror: str, seconds: float, ready: Any, results: Any) -> None:
    """A worker: upserts of series that all workers write, one after the other."""
    done = 0
    with connect(url, TOKEN, mirror=mirror) as temporis:
        source = temporis.data_source(f"metrics_{number % sources}")
        source.upsert(frames.long_frame(frames.SERIES))
        ready.wait(PATIENCE_S)
        began = time.monotonic()
        for turn in itertools.count():
            done += source.upsert(frames.long_frame(CHUNK, first=(1 + number + turn * 8) * CHUNK)).stored
            if time.monotonic() > began + seconds:
                break
        results.put(done / (time.monotonic() - began))
