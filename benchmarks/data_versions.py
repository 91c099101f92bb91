"""What a data version costs, next to an upsert of 1,000,000 rows in which nothing has changed.

    python benchmarks/data_versions.py [--rows 1000000] [--rounds 5]

Every round upserts the frame again, counts the stored rows that are not in it, as every write in Dagster does, and
makes the digests: of the whole, and of 100 partitions. The table shows medians of processor time. The machine is part
of the result: read the shares.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.store import sample
from temporis_dagster import connect
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.plan import Within
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.writing.versions import other_rows, versions_of

UPSERT, GHOSTS, WHOLE, PARTITIONS = "unchanged upsert", "counting other rows", "digest", "digests of 100 partitions"
PARTS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    frame = sample(arguments.rows)
    observations = observe(frame, ObservationOptions()).in_time_order()
    edges = np.linspace(observations.timestamps[0], observations.timestamps[-1] + 1, PARTS + 1).astype(np.int64)
    keys = tuple(map(str, range(PARTS)))
    windows = PartitionWindows(keys, np.arange(PARTS), edges[:-1], edges[1:])
    within = Within(tuple(windows.spans()))
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, work: Callable[[], object]) -> None:
        started = time.process_time()
        work()
        seconds[step].append(time.process_time() - started)

    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
        source = temporis.create_data_source("store_metrics")
        source.upsert(frame)
        for _ in range(arguments.rounds):
            timed(UPSERT, lambda: source.upsert(frame))
            timed(GHOSTS, lambda: other_rows(source, within, observations))
            timed(WHOLE, lambda: versions_of(None, observations))
            timed(PARTITIONS, lambda: versions_of(windows, observations))
    upsert = statistics.median(seconds[UPSERT])
    print(f"| {arguments.rows:,} rows | seconds | of the upsert |\n| --- | ---: | ---: |")
    for step, times in seconds.items():
        median = statistics.median(times)
        print(f"| {step} | {median:.3f} | {100 * median / upsert:.1f} % |")


if __name__ == "__main__":
    main()
