"""The IO manager next to a plain upsert of the same frame: what metadata, data versions and ghosts cost in Dagster.

``handle_output`` is called as a step calls it; what Dagster itself does around it is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

import dagster as dg
import pandas as pd

from benchmarks import frames
from benchmarks.harness import Given, Goal, Table, Turn, in_turns, warm_up
from temporis_dagster import TemporisIOManager, TemporisResource, connect

OURS, PLAIN = "IO manager", "plain `upsert`"
FRESH, AGAIN = "fresh", "unchanged"
WARM = 1_000


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    frame = frames.long_frame(given.rows)
    table = Table(
        "io-manager",
        f"The IO manager: {given.rows:,} rows of {frames.SERIES} series into SQLite",
        base=PLAIN,
        goals=[
            Goal(7, f"IO manager, {step}: within 5 % of a plain upsert", OURS, step, at_least=1 / 1.05, over=PLAIN)
            for step in (FRESH, AGAIN)
        ],
    )
    warm_up({OURS: partial(through_dagster, few := frame.iloc[:WARM]), PLAIN: partial(plain, few)})
    yield in_turns(table, {OURS: partial(through_dagster, frame), PLAIN: partial(plain, frame)}, given.rounds)


def through_dagster(frame: pd.DataFrame, turn: Turn) -> None:
    """The output of an asset, twice."""
    with TemporaryDirectory() as folder:
        temporis = TemporisResource(url=f"sqlite:///{folder}/temporis.db", create_missing=True)
        with dg.build_resources({"io": TemporisIOManager(temporis=temporis, data_source="metrics")}) as resources:
            for step in (FRESH, AGAIN):
                context = dg.build_output_context(asset_key="metrics")
                with turn.measure(step, rows=len(frame)):
                    resources.io.handle_output(context, frame)


def plain(frame: pd.DataFrame, turn: Turn) -> None:
    """Without Dagster, twice."""
    with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db", create_missing=True) as temporis:
        source = temporis.data_source("metrics")
        for step in (FRESH, AGAIN):
            with turn.measure(step, rows=len(frame)):
                source.upsert(frame)
