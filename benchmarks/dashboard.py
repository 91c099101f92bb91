"""The page of a data source on the dashboard: what one page asks a store of many rows and series, and the page itself.

*Warm* is one process that has shown the same page before. *Cold* is a process of its own that shows its first page, of
other series in each round, after the system's cache of the database's files was emptied: SQLite reads from the disk,
and so does PostgreSQL, except for what its own cache of 128 MB holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pandas as pd

from benchmarks import frames, servers
from benchmarks.harness import Given, Goal, Table, Turn, Way, in_turns
from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore

SERIES, SOURCE, ACCOUNT = 5_000, "metrics", "default"
OVERVIEW, SERIES_PAGE, PLOT, TABLE, TOGETHER = (
    "overview",
    "50 series",
    "plot of 2 series",
    "newest 200 rows",
    "together",
)
LISTED = 50
FEW_AT_ONCE = 1_000_000
"""Rows that are stored by one upsert, before anything is measured."""
AT_MOST_MS = 300.0
WIDE = "plot of every row"
PAGES = {
    "the page": "/sources/metrics",
    "the page, two series chosen": "/sources/metrics?series={0}&series={1}",
    "the page, a search": "/sources/metrics?search=STORE_0001",
    "its JSON": "/sources/metrics.json",
}
FIRST_PAGE = "the first page of a process"


def tables(given: Given) -> Iterator[Table]:
    """A page of a store with ten times as many rows as an ordinary table has."""
    series = max(1, min(SERIES, given.many // 20))
    table = Table(
        "dashboard",
        f"What a page of the dashboard asks a store of {given.many:,} rows of {series:,} series",
        columns={"wall_ms": "ms"},
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        admin = stack.enter_context(servers.postgres(given.postgres)) if servers.has_postgres(given) else None
        stores = new_stores(stack, folder / "many.db", admin)
        if admin is None:
            table.left_out["PostgreSQL"] = "there is no PostgreSQL here (`--postgres`)"
        ways: dict[str, Way] = {}
        for name, url in stores.items():
            filled(url, given.many, series)
            store = stack.enter_context(closing(SqlStore(url)))
            ways[f"{name}, warm"] = partial(warm, store)
            ways[f"{name}, cold"] = partial(cold, url, series, given)
            table.goals += [
                Goal(
                    9, f"a page of the dashboard, {way}", way, TOGETHER, at_most=AT_MOST_MS, figure="wall_ms", unit="ms"
                )
                for way in (f"{name}, warm", f"{name}, cold")
            ]
        yield in_turns(table, ways, given.rounds)
        yield of_pages(stores, given)
        yield of_one_series(stack, new_stores(stack, folder / "few.db", admin), given)


def new_stores(stack: ExitStack, path: Path, admin: str | None) -> dict[str, str]:
    """The URLs of new stores, by the names of their databases."""
    stores = {"SQLite": f"sqlite:///{path}"}
    if admin is not None:
        stores["PostgreSQL"] = stack.enter_context(servers.new_database(admin))
    return stores


def of_pages(stores: dict[str, str], given: Given) -> Table:
    """Whole pages, as a browser asks `temporis serve` for them, without the style sheet and the script."""
    table = Table("dashboard-pages", "The same, over HTTP: whole pages", columns={"wall_ms": "ms"})
    table.goals += [
        Goal(
            9, f"a page of the dashboard over HTTP, {name}", name, step, at_most=AT_MOST_MS, figure="wall_ms", unit="ms"
        )
        for name in stores
        for step in (*PAGES, FIRST_PAGE)
    ]
    return in_turns(table, {name: partial(asked, url) for name, url in stores.items()}, given.rounds)


def asked(url: str, turn: Turn) -> None:
    """The first page of a service whose store is not in memory, and then each page for the second time."""
    forget_files(url)
    names = frames.names(2)
    with served(url) as service, httpx.Client(base_url=service) as client:
        turn.note(FIRST_PAGE, {"wall_ms": page_ms(client, PAGES["the page"])})
        while "being counted" in client.get(PAGES["the page"]).text:  # in the background, which is not part of a page
            time.sleep(0.1)
        for step, path in PAGES.items():
            page_ms(client, path.format(*names))
            turn.note(step, {"wall_ms": page_ms(client, path.format(*names))})


def page_ms(client: httpx.Client, path: str) -> float:
    """Get a page: milliseconds."""
    begun = time.perf_counter()
    client.get(path).raise_for_status()
    return 1_000 * (time.perf_counter() - begun)


@contextmanager
def served(url: str) -> Iterator[str]:
    """A service over a store, with the dashboard open: its URL."""
    command = [sys.executable, "-m", "temporis_dagster.cli", "serve", "--store", url, "--port", "0", "--open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def of_one_series(stack: ExitStack, stores: dict[str, str], given: Given) -> Table:
    """As many rows as are looked at for an exact line, of a series whose rows lie between those of nine others."""
    table = Table(
        "dashboard-plot", f"An exact plot of {given.rows:,} rows of one of ten series", columns={"wall_ms": "ms"}
    )
    ways: dict[str, Way] = {}
    for name, url in stores.items():
        filled(url, given.many, 10)
        ways[name] = partial(plotted, stack.enter_context(closing(SqlStore(url))))
    return in_turns(table, ways, given.rounds)


def plotted(store: SqlStore, turn: Turn) -> None:
    """Everything that the first series has."""
    begun = time.perf_counter()
    (line,) = store.plot(SOURCE, [str(frames.names(1)[0])])
    turn.note(WIDE, {"wall_ms": 1_000 * (time.perf_counter() - begun)})
    assert not line.is_sample


def filled(url: str, rows: int, series: int) -> None:
    """Store rows in the order of time, a minute a step."""
    names = tuple(frames.names(series).tolist())
    with closing(SqlStore(url, create_missing=True)) as store:
        for first in range(0, rows, FEW_AT_ONCE):
            numbers = np.arange(first, min(first + FEW_AT_ONCE, rows))
            observations = Observations(
                timestamps=frames.FIRST + numbers // series * frames.STEP_S,
                codes=(numbers % series).astype(np.int32),
                names=names,
                values=np.random.default_rng(first).normal(1000, 100, len(numbers)),
                origin=Origin(pd.RangeIndex(len(numbers))),
            )
            store.upsert(Tally(SOURCE, observations))


def page(store: SqlStore, offset: int) -> dict[str, float]:
    """Ask what one page shows: a source, some of its series, a plot of two of them and their newest rows."""
    taken, begun = dict[str, float](), time.perf_counter()

    def step(name: str) -> None:
        nonlocal begun
        now = time.perf_counter()
        taken[name], begun = 1_000 * (now - begun), now

    store.overview_of(SOURCE)
    store.size()
    store.observations(SOURCE)
    step(OVERVIEW)
    found = store.series_page(SOURCE, "STORE", offset, LISTED)
    step(SERIES_PAGE)
    names = [series.name for series in found.series[:2]]
    lines = store.plot(SOURCE, names)
    step(PLOT)
    rows = store.table(SOURCE, names)
    step(TABLE)
    assert rows
    assert all(len(line.timestamps) for line in lines)
    return {**taken, TOGETHER: sum(taken.values())}


def warm(store: SqlStore, turn: Turn) -> None:
    """The same page for the second time. Its observations have been counted."""
    wait_for_the_count(store)
    page(store, 0)
    note(turn, page(store, 0))


def wait_for_the_count(store: SqlStore) -> None:
    """Wait until the observations have been counted, which is not part of a page."""
    while store.observations(SOURCE) is None:
        time.sleep(0.01)


def cold(url: str, series: int, given: Given, turn: Turn) -> None:
    """The first page of a process, of other series in each round."""
    offset = int(np.random.default_rng().integers(max(series - LISTED, 1)))
    note(turn, given.apart(first_page, url=url, offset=offset))


def first_page(url: str, offset: int) -> dict[str, float]:
    """Empty the cache, and show a page. The count goes on in the background, as in a service that was started."""
    forget_files(url)
    with closing(SqlStore(url)) as store:
        return page(store, offset)


def note(turn: Turn, taken: dict[str, float]) -> None:
    """Each part of the page as a step of its own."""
    for name, wall_ms in taken.items():
        turn.note(name, {"wall_ms": wall_ms})


def forget_files(url: str) -> None:
    """Ask the system to drop what it has in memory of the database's files, as far as this process may read them."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        files = [Path(path), Path(f"{path}-wal")]
    else:
        import psycopg

        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        files = list(Path(folder, "base").rglob("*")) if os.access(folder, os.R_OK | os.X_OK) else []
    for file in files:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
