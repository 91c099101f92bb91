"""Delivery over HTTP: from a frame to the last acknowledgement, next to other clients, on one frame and one server.

The server is a process of its own that reads every body and answers 204: at once, or after 50 ms, which stands for a
real distance. The loops of Python and InfluxDB's client are slow, so they get fewer rows and are compared by speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import pandas as pd

from benchmarks import frames
from benchmarks.baselines import docs_loop, docs_loop_itertuples, influxdb_writer, questdb_sender
from benchmarks.harness import Given, Goal, Table, Turn, Way, in_turns, warm_up
from benchmarks.servers import null_server
from temporis_dagster import connect

OURS, DOCS, QUESTDB = "temporis", "the docs' loop", "questdb `Sender.dataframe`"
DELAY_S = 0.05
WARM = 1_000
"""Rows that each way sends before anything is measured, so that imports are done."""
MANY_SERIES = 10_000
OBJECTS, CATEGORIES, MANY = "object names", "category names", f"{MANY_SERIES:,} series per timestamp"
Send: TypeAlias = Callable[[pd.DataFrame, str], None]
PEERS: dict[str, tuple[str, str, Send, int]] = {
    DOCS: ("docs_loop", "requests", docs_loop.send, 50),
    "the docs' loop with `itertuples`": ("docs_loop_itertuples", "requests", docs_loop_itertuples.send, 20),
    "influxdb-client": ("influxdb_writer", "influxdb_client", influxdb_writer.send, 20),
    QUESTDB: ("questdb_sender", "questdb", questdb_sender.send, 1),
}
"""File, module, function, and how many times fewer rows a peer gets."""


def tables(given: Given) -> Iterator[Table]:
    """A server that answers at once, the same with other frames, and one at a distance."""
    frame = frames.long_frame(given.rows)
    rows = f"{given.rows:,} rows of {frames.SERIES} series"
    yield at_once(frame, Table(
        "delivery",
        f"HTTP to a server that answers at once: {rows}",
        base=DOCS,
        goals=[
            Goal(2, "HTTP: speed of the docs' loop", OURS, OBJECTS, at_least=20, over=DOCS),
            Goal(2, "HTTP: speed of QuestDB's client", OURS, OBJECTS, at_least=0.75, over=QUESTDB),
        ],
    ), given)  # fmt: skip
    yield of_other_frames(frame, given)
    yield at_a_distance(frame, Table(
        "delivery-distance",
        f"HTTP to a server that takes {1000 * DELAY_S:.0f} ms per request: {rows}",
        base=DOCS,
        goals=[
            Goal(3, "HTTP, 50 ms: speed of QuestDB's client", OURS, OBJECTS, at_least=1, over=QUESTDB)
        ],
    ), given)  # fmt: skip


def peers(table: Table, frame: pd.DataFrame, url: str) -> dict[str, Way]:
    """The other clients that are here."""
    ways: dict[str, Way] = {}
    for name, (baseline, needs, send, fewer) in PEERS.items():
        if table.peer(name, baseline, needs):
            ways[name] = partial(sent, send, {OBJECTS: frame.iloc[: len(frame) // fewer]}, url)
    return ways


def at_once(frame: pd.DataFrame, table: Table, given: Given) -> Table:
    """With the default settings, and with one request at a time."""
    with null_server() as url:

        def ways(frame: pd.DataFrame) -> dict[str, Way]:
            return {
                OURS: partial(ours, {OBJECTS: frame}, url, {}),
                "temporis, `max_in_flight=1`": partial(ours, {OBJECTS: frame}, url, {"max_in_flight": 1}),
            } | peers(table, frame, url)

        warm_up(ways(frame.iloc[:WARM]))
        return in_turns(table, ways(frame), given.rounds)


def at_a_distance(frame: pd.DataFrame, table: Table, given: Given) -> Table:
    """With the default settings, and with others."""
    with null_server(DELAY_S if not given.smoke else 0.001) as url:
        ways: dict[str, Way] = {OURS: partial(ours, {OBJECTS: frame}, url, {})} | {
            f"temporis, `max_in_flight={most}`": partial(ours, {OBJECTS: frame}, url, {"max_in_flight": most})
            for most in (1, 16)
        }
        return in_turns(table, ways | peers(table, frame, url), given.rounds)


def of_other_frames(frame: pd.DataFrame, given: Given) -> Table:
    """Names as a category, and as many series per timestamp as a fleet of sensors has, next to the fastest client."""
    many = frames.long_frame(given.rows, series=min(MANY_SERIES, given.rows))
    others = {
        CATEGORIES: frame.assign(name=frame["name"].astype("category")),
        MANY: many,
        f"{MANY}, category names": many.assign(name=many["name"].astype("category")),
        "integer seconds": frames.with_timestamps(frame, "int64"),
        "shuffled, 1 % duplicates": frames.shuffled(frame),
    }
    of_questdb = {step: other for step, other in others.items() if step != "integer seconds"}
    table = Table(
        "delivery-frames",
        f"HTTP to a server that answers at once: {given.rows:,} rows in other forms",
        base=QUESTDB,
        goals=[
            Goal(2, f"HTTP, {step}: speed of QuestDB's client", OURS, step, at_least=0.9, over=QUESTDB)
            for step in (CATEGORIES, MANY)
        ],
    )
    with null_server() as url:
        ways: dict[str, Way] = {OURS: partial(ours, others, url, {})}
        if table.peer(QUESTDB, "questdb_sender", "questdb"):
            ways[QUESTDB] = partial(sent, questdb_sender.send, of_questdb, url)
        return in_turns(table, ways, given.rounds)


def ours(given: dict[str, pd.DataFrame], url: str, options: dict[str, int], turn: Turn) -> None:
    """What users call: connect, upsert, close."""
    for step, frame in given.items():
        with turn.measure(step, rows=len(frame)) as figures, connect(url, "ts_benchmark", **options) as temporis:
            report = temporis.data_source("metrics").upsert(frame)
        figures |= {"requests": report.requests, "bytes_per_row": report.bytes_sent / max(1, report.stored)}
        assert report.stored + report.superseded == len(frame)


def sent(send: Send, given: dict[str, pd.DataFrame], url: str, turn: Turn) -> None:
    """The same by another client."""
    for step, frame in given.items():
        with turn.measure(step, rows=len(frame)):
            send(frame, url)
