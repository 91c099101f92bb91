"""What a data version costs, next to an upsert of the same frame in which nothing has changed.

Every turn upserts the frame again, counts the stored rows that are not in it, as every write in Dagster does, and makes
the digests: of the whole, and of 100 partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import frames
from benchmarks.harness import Given, Table, Turn, in_turns
from temporis_dagster import connect
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.plan import Within
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.writing.versions import other_rows, versions_of

UPSERT = "unchanged upsert, from a frame"
PARTS, STEP = 100, "a data version"


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    columns = {"processor_s": "processor, s", "processor_ratio": "times as fast as the upsert, by processor time"}
    title = f"Data versions of {given.rows:,} rows of {frames.SERIES} series"
    table = Table("data-versions", title, base=UPSERT, columns=columns)
    frame = frames.long_frame(given.rows)
    observations = observe(frame, ObservationOptions()).in_time_order()
    edges = np.linspace(observations.timestamps[0], observations.timestamps[-1] + 1, PARTS + 1).astype(np.int64)
    windows = PartitionWindows(tuple(map(str, range(PARTS))), np.arange(PARTS), edges[:-1], edges[1:])
    within = Within(tuple(windows.spans()))
    with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
        source = temporis.create_data_source("metrics")
        source.upsert(frame)
        ways: dict[str, Callable[[], object]] = {
            UPSERT: lambda: source.upsert(frame),
            "counting the stored rows that are not in it": lambda: other_rows(source, within, observations),
            "digest": lambda: versions_of(None, observations),
            f"digests of {PARTS} partitions": lambda: versions_of(windows, observations),
        }
        yield in_turns(table, {name: partial(measured, work) for name, work in ways.items()}, given.rounds)


def measured(work: Callable[[], object], turn: Turn) -> None:
    """One of them."""
    with turn.measure(STEP):
        work()
