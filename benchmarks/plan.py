"""A plan, a count of ghosts and a delete against an unchanged upsert of the same rows, in SQLite and in PostgreSQL.

    python benchmarks/plan.py [--rows 1000000] [--rounds 3] [--url postgresql+psycopg://...]

Without ``--url`` only SQLite is measured. The database that is given must be empty: a store is made in it.

Every round does every step once, in turns; the tables show medians, and ratios of medians, by the clock and by the
processor time of this process (that of a PostgreSQL server is not in it). The machine is part of the result: read
ratios.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from temporis_dagster import DataSource, connect
from temporis_dagster.data_source.observations import Observations, observe
from temporis_dagster.data_source.plan import Within

UPSERT = "upsert, unchanged"


def sample(rows: int, series: int, order: str) -> pd.DataFrame:
    """Observations at every minute, by time or by series."""
    each = -(-rows // series)
    minutes, codes = np.repeat(np.arange(each), series)[:rows], np.tile(np.arange(series), each)[:rows]
    if order == "by series":
        places = np.lexsort((minutes, codes))
        minutes, codes = minutes[places], codes[places]
    names = np.array([f"store_{number:06}" for number in range(series)], dtype=object)
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex((minutes * 60 + 1_700_000_000).astype("datetime64[s]")).tz_localize("UTC"),
            "name": names[codes],
            "value": np.random.default_rng(0).standard_normal(rows),
        }
    )


class Clock:
    """Seconds by step, over all rounds: by the clock, and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def time(self, step: str, work: Callable[[], object]) -> None:
        """Do the work and note what it took."""
        wall, own = time.perf_counter(), time.process_time()
        work()
        self.seconds[step].append((time.perf_counter() - wall, time.process_time() - own))

    def table(self, rows: int, title: str) -> None:
        """Print the medians, and their ratios to those of the upsert."""
        print(f"\n{title}\n\n| step | s | times the upsert | processor time, µs per row | times the upsert |")
        print("| --- | ---: | ---: | ---: | ---: |")
        base = [statistics.median(both) for both in zip(*self.seconds[UPSERT], strict=True)]
        for step, measured in self.seconds.items():
            wall, own = (statistics.median(both) for both in zip(*measured, strict=True))
            print(f"| {step} | {wall:.2f} | {wall / base[0]:.2f} | {own / rows * 1e6:.2f} | {own / base[1]:.2f} |")


def measure(source: DataSource, frame: pd.DataFrame, rounds: int, title: str) -> None:
    """Store the frame, and time what is done with it afterwards."""
    observations: Observations = observe(frame)
    source.upsert(observations)
    changed = frame.assign(value=frame["value"] * 1000)
    whole = Within(spans=((0, 2**33),))
    clock = Clock()
    for _ in range(rounds):
        clock.time(UPSERT, lambda: source.upsert(observations))
        clock.time("plan, unchanged", lambda: source.plan(observations))
        clock.time("plan, unchanged, the windows given", lambda: source.plan(observations, within=whole))
        of_changed = observe(changed)
        clock.time("plan, everything changed", lambda given=of_changed: source.plan(given))
        few = observations.take(np.arange(len(observations)) % 100 != 0)
        clock.time("plan, 1 % ghosts", lambda given=few: source.plan(given))
        clock.time("ghosts, after an upsert", lambda: source.ghosts(observations, whole, stored=True))
        clock.time("ghosts, looked up", lambda: source.ghosts(observations, whole))
        clock.time("all 1 % ghosts, read", lambda given=few: source.ghosts(given, whole, stored=True).rows(None))
        clock.time("latest", source.latest)
        clock.time("delete everything", lambda: source.delete(everything=True))
        clock.time("upsert, new", lambda: source.upsert(observations))
    clock.time("upsert, from a frame, unchanged", lambda: source.upsert(frame))
    clock.time("plan, from a frame, unchanged", lambda: source.plan(frame))
    clock.table(len(frame), title)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="of an empty PostgreSQL database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        urls = {"SQLite": f"sqlite:///{directory}/temporis.db"} | ({"PostgreSQL": given.url} if given.url else {})
        for name, url in urls.items():
            for series, order in ((50, "by time"), (50, "by series"), (2_000, "by time"), (100_000, "by time")):
                with connect(url) as temporis:
                    source = temporis.create_data_source(f"s{series}{order.replace(' ', '_')}")
                    frame = sample(given.rows, series, order)
                    measure(source, frame, given.rounds, f"{name}, {given.rows:,} rows of {series:,} series, {order}")


if __name__ == "__main__":
    main()
