"""A process that uses a store, for test_store_processes.py. Run as a script; talks JSON lines on its pipes.

``open URL...``: for each URL, wait for a line on stdin, then open the store as the first, with all others.
``write URL NUMBER STOP_FILE``: upsert again and again until the file exists, and tell what became of each upsert.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.errors import DataSourceArchivedError

SHARED, OWN = 40, 40
"""Observations an attempt: of keys that every writer writes, and of keys that no other attempt ever has."""


def tell(**record: object) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def open_first(urls: list[str]) -> None:
    for url in urls:
        tell(ready=True)
        sys.stdin.readline()
        store = SqlStore(url)
        store.create_data_source("metrics")
        tally = Tally("metrics", attempt(0, 0))
        store.upsert(tally)
        tell(url=url, sources=store.data_sources(), acknowledged=int(tally.settled_as(Outcome.ACKNOWLEDGED).sum()))
        store.close()


def write(url: str, number: int, stop: Path) -> None:
    SqliteDatabase.chunk_rows = 16
    store = SqlStore(url)
    counter = 0
    while not stop.exists():
        counter += 1
        tell(**outcome(store, Tally("metrics", attempt(number, counter))))


def outcome(store: SqlStore, tally: Tally) -> dict[str, object]:
    """What became of an upsert: the counts of its report, and the rows that were acknowledged."""
    try:
        store.upsert(tally)
        report, archived = tally.report(), False
    except DataSourceArchivedError as error:
        report, archived = error.report, True
    counts = {name: getattr(report, name) for name in ("observations_in", "stored", "unchanged", "unsent", "unknown")}
    data, mask = tally.observations, tally.settled_as(Outcome.ACKNOWLEDGED)
    names = [data.names[code] for code in data.codes[mask]]
    rows = list(zip(data.timestamps[mask].tolist(), names, data.values[mask].tolist(), strict=True))
    return {"archived": archived, "rows": rows, **counts}


def attempt(number: int, counter: int) -> Observations:
    """Shared and own keys in turns, so that every chunk has some of both; the value tells who wrote it, and when."""
    timestamps = np.arange(SHARED + OWN)
    own = timestamps % 2 == 1
    timestamps = np.where(own, counter * (SHARED + OWN) + timestamps, timestamps)
    return Observations(
        timestamps=timestamps.astype(np.int64),
        codes=own.astype(np.int32),
        names=("shared", f"own {number}"),
        values=np.full(SHARED + OWN, counter + number / 10),
        origin=Origin(pd.RangeIndex(SHARED + OWN)),
    )


if __name__ == "__main__":
    if sys.argv[1] == "open":
        open_first(sys.argv[2:])
    else:
        write(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
