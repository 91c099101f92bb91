"""Processes that upsert through a mirror until they are killed, for test_mirror_kills.py. Talks JSON lines.

Each line on stdin, ``{"number": ..., "value": ..., "seed": ..., "connect": {...}}``, starts a worker: it upserts random
rows of few keys, all with one value, which it counts up; it tells of each upsert before it begins and after it
returned.
"""

from __future__ import annotations

import importlib
import os
import random
from typing import Any

import pandas as pd

from temporis_dagster import DataSource, UnavailableError, connect
from tests.support.forked_workers import fork_for_each_line, tell

SOURCE = "store_metrics"
KEYS, SERIES, ROWS = 3_000, 3, 400
FIRST = 1_700_000_000
"""The moment of key 0; small numbers would be refused as years."""


def work(asked: dict[str, Any]) -> None:
    number, value, chance = asked["number"], asked["value"], random.Random(asked["seed"])  # a repeatable test
    with connect(**asked["connect"]) as temporis:
        source = temporis.data_source(SOURCE)
        tell(number=number, alive=os.getpid())
        while True:
            first = chance.randrange(KEYS - ROWS)
            value += 1
            tell(number=number, begins=[first, value])
            frame = pd.DataFrame(
                {
                    "timestamp": range(FIRST + first, FIRST + first + ROWS),
                    "name": [f"series {key % SERIES}" for key in range(first, first + ROWS)],
                    "value": float(value),
                }
            )
            while not upserted(source, frame):
                pass
            tell(number=number, ended=value)


def upserted(source: DataSource, frame: pd.DataFrame) -> bool:
    """Whether it returned. If the others held the mirror for too long, nothing is stored, and it may be repeated."""
    try:
        source.upsert(frame)
    except UnavailableError as error:
        if error.report.unsent != len(frame):
            raise
        return False
    return True


if __name__ == "__main__":
    importlib.import_module("temporis_dagster.data_source.store.postgres.database")  # once, not in every child
    importlib.import_module("temporis_dagster.data_source.mirror")
    fork_for_each_line(work)
