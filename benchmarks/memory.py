"""Memory above the frame on every path: the largest growth of a process of its own, as Linux counts it.

Each process has used the library for a small frame before, so that imports and what is set up once are not in it. A
server that takes 50 ms per request keeps as many requests waiting as a real distance does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks import frames, machine, servers
from benchmarks.harness import Given, Goal, Table, Turn, Way, in_turns
from temporis_dagster import connect

TOKEN = "ts_benchmark"
SMALL = 20_000
STEP, MOST_MB = "upsert", 96
FORMS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "ordered, `datetime64[ns, UTC]`": lambda frame: frame,
    "ordered, integer seconds": lambda frame: frames.with_timestamps(frame, "int64"),
    "shuffled, 1 % duplicates": frames.shuffled,
}
ORDERED = next(iter(FORMS))
DISTANCE_S = 0.05


def tables(given: Given) -> Iterator[Table]:
    """Every path with an ordered frame, and other frames over HTTP."""
    title = "Memory above the frame: {:,} rows of {} series"
    table = Table(
        "memory",
        title.format(given.many, frames.SERIES),
        columns={"peak_mb": "MB", "bytes_per_row": "bytes per row"},
    )
    with servers.postgres(given.postgres) if servers.has_postgres(given) else nullcontext() as admin:
        paths = ["SQLite", "HTTP, at once", "HTTP, 50 ms", "mirror in a file", "IO manager into SQLite"]
        if admin:
            paths.append("PostgreSQL")
        else:
            table.left_out["PostgreSQL"] = "there is none here (`--postgres`)"
        table.goals = [
            Goal(6, f"memory above ten times as many ordered rows, {path}", f"{path}, {ORDERED}", STEP,
                 at_most=MOST_MB, figure="peak_mb", unit="MB")
            for path in paths
        ]  # fmt: skip
        ways: dict[str, Way] = {f"{path}, {ORDERED}": partial(apart, path, ORDERED, admin, given) for path in paths}
        for form in list(FORMS)[1:]:
            ways[f"HTTP, 50 ms, {form}"] = partial(apart, "HTTP, 50 ms", form, admin, given)
        yield in_turns(table, ways, 1)


def apart(path: str, form: str, admin: str | None, given: Given, turn: Turn) -> None:
    """One path in a process of its own."""
    delay_s = 0.001 if given.smoke else DISTANCE_S
    turn.note(STEP, given.apart(measured, path=path, form=form, rows=given.many, admin=admin, delay_s=delay_s))


def measured(path: str, form: str, rows: int, admin: str | None, delay_s: float) -> dict[str, float]:
    """Upsert the frame, once the library has been used."""
    frame = FORMS[form](frames.long_frame(rows))
    with opened(path, admin, delay_s) as upsert:
        upsert(frame.iloc[:SMALL])
        with machine.peak_memory() as figures:
            upsert(frame)
    return {**figures, "bytes_per_row": figures["peak_mb"] * 1e6 / rows}


@contextmanager
def opened(path: str, admin: str | None, delay_s: float) -> Iterator[Callable[[pd.DataFrame], object]]:
    """What upserts on one of the paths."""
    with TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/temporis.db"
        if path.startswith("IO manager"):
            with _io_manager(store) as upsert:
                yield upsert
        elif path == "PostgreSQL":
            with servers.new_database(str(admin)) as url, connect(url, create_missing=True) as temporis:
                yield temporis.data_source("metrics").upsert
        elif path == "SQLite":
            with connect(store, create_missing=True) as temporis:
                yield temporis.data_source("metrics").upsert
        else:
            options = {"mirror": store} if path.startswith("mirror") else {}
            delay_s = delay_s if "50 ms" in path else 0
            with servers.null_server(delay_s) as server, connect(server, TOKEN, **options) as temporis:
                yield temporis.data_source("metrics").upsert


@contextmanager
def _io_manager(store: str) -> Iterator[Callable[[pd.DataFrame], object]]:
    import dagster as dg

    from temporis_dagster import TemporisIOManager, TemporisResource

    temporis = TemporisResource(url=store, create_missing=True)
    manager = TemporisIOManager(temporis=temporis, data_source="metrics")
    with dg.build_resources({"io": manager}) as resources:
        yield lambda frame: resources.io.handle_output(dg.build_output_context(asset_key="metrics"), frame)
