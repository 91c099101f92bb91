"""Processes that upsert known rows into a store, for the tests of a PostgreSQL that breaks. Talks JSON lines.

Run as a script, it is the parent of the writers, and each line on stdin, ``{"number": ..., "url": ..., "first": ...,
...}``, starts one.

What writer ``number`` upserts as its ``counter``-th upsert depends on these two numbers alone (``upsert_of``), so the
test can replay it.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from temporis_dagster import connect
from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.report import Outcome, Tally
from temporis_dagster.data_source.store.postgres.database import PostgresDatabase
from temporis_dagster.errors import DataSourceArchivedError, DeliveryError, StoreError
from tests.support.forked_workers import fork_for_each_line, tell

SOURCE = "store_metrics"
VALUES = np.array([0.0, -0.0, 1.5])
"""The values that a key can get: so some rows are unchanged, and some values come back."""


class Plan(NamedTuple):
    """What a writer upserts.

    Attributes:
        rows: Observations per upsert; the first of them has a key that no other upsert has.
        own: How many keys the writer shares with no other writer.
        shared: How many keys all writers share.
        chunk_rows: Observations per transaction.
    """

    rows: int = 60
    own: int = 90
    shared: int = 0
    chunk_rows: int = 16


class Keys(NamedTuple):
    """All keys of a writer but those that no other upsert has: its own, then the shared ones."""

    timestamps: np.ndarray
    codes: np.ndarray
    names: tuple[str, ...]


@cache
def keys_of(number: int, plan: Plan) -> Keys:
    """The keys that a writer writes, in some order; its mark's name is the last of the names."""
    names = (*(f"own {number} {place}" for place in range(3)), *(f"shared {place}" for place in range(7)))
    own, shared = np.arange(plan.own), np.arange(plan.shared)
    return Keys(np.concatenate([own, shared]), np.concatenate([own % 3, 3 + shared % 7]), (*names, f"mark {number}"))


def upsert_of(number: int, counter: int, plan: Plan) -> Observations:
    """The rows of an upsert: one that marks it, and a random choice among the writer's keys with random values."""
    chance, keys = np.random.default_rng([number, counter]), keys_of(number, plan)
    picked = chance.choice(len(keys.codes), plan.rows - 1, replace=False)
    return Observations(
        timestamps=np.concatenate([[counter], keys.timestamps[picked]]).astype(np.int64),
        codes=np.concatenate([[len(keys.names) - 1], keys.codes[picked]]).astype(np.int32),
        names=keys.names,
        values=chance.choice(VALUES, plan.rows),
        origin=Origin(pd.RangeIndex(plan.rows)),
    )


def rows_of(observations: Observations) -> list[tuple[tuple[int, str], float]]:
    """The rows of some observations as pairs of a key and a value."""
    names = [observations.names[code] for code in observations.codes.tolist()]
    keys = zip(observations.timestamps.tolist(), names, strict=True)
    return list(zip(keys, observations.values.tolist(), strict=True))


def outcome(target: object, observations: Observations) -> dict[str, object]:
    """What became of an upsert: the counts of its report, the outcomes in the order of the rows, and the error."""
    tally, error = Tally(SOURCE, observations), None
    try:
        target.upsert(tally)
        report = tally.report()
    except (StoreError, DeliveryError) as raised:
        report, error = raised.report, raised
    except KeyboardInterrupt:
        report, error = tally.report(), KeyboardInterrupt()
    counts = {name: getattr(report, name) for name in ("stored", "unchanged", "unsent", "unknown", "retries")}
    letters = {Outcome.UNSENT: ".", Outcome.ACKNOWLEDGED: "A", Outcome.UNKNOWN: "?"}
    outcomes = {letter: tally.settled_as(code) for code, letter in letters.items()}
    told = np.select(list(outcomes.values()), list(outcomes), "!")
    return {
        **counts,
        "outcomes": [(letter, len(list(same))) for letter, same in groupby(told.tolist())],
        "error": type(error).__name__ if error else None,
        "text": str(error) if error else "",
        "archived": isinstance(error, DataSourceArchivedError),
    }


def write(number: int, url: str, first: int, plan: Plan, *, stop: Path | None, options: dict[str, object]) -> None:
    """Upsert again and again, telling before each upsert and after it, until the file ``stop`` exists."""
    PostgresDatabase.chunk_rows = plan.chunk_rows
    counter = first
    with connect(url, create_missing=True, **options) as temporis:
        tell(number=number, alive=os.getpid())
        while stop is None or not stop.exists():
            tell(number=number, begins=counter)
            tell(number=number, ended=counter, **outcome(temporis._target, upsert_of(number, counter, plan)))
            counter += 1


def work(asked: dict[str, Any]) -> None:
    stop, plan = asked["stop"], Plan(**asked["plan"])
    stop = Path(stop) if stop else None
    write(asked["number"], asked["url"], asked["first"], plan, stop=stop, options=asked["options"])


if __name__ == "__main__":
    importlib.import_module("temporis_dagster.data_source.store.postgres.database")  # once, not in every child
    fork_for_each_line(work)
