"""A process that upserts through a mirror until it is killed, for test_mirror_kills.py. Talks JSON lines on stdout.

``URL TOKEN MIRROR SEED FIRST WINDOW_S``: random rows of few keys, values counted up from FIRST; tells of each upsert
before it begins and after it returned.
"""

from __future__ import annotations

import json
import random
import sys

import pandas as pd

from temporis_dagster import connect

KEYS, SERIES, ROWS = 3_000, 3, 400
FIRST = 1_700_000_000
"""The moment of key 0; small numbers would be refused as years."""


def tell(**record: object) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def main(url: str, token: str, mirror: str, seed: int, value: int, window_s: float) -> None:
    chance = random.Random(seed)  # a repeatable test
    options = {"batch_rows": 100, "timeout_s": 1.0, "give_up_after_s": 2.0, "max_in_flight": 2}
    with connect(
        url, token, mirror=mirror, on_unavailable="queue", late_write_window_s=window_s, **options
    ) as temporis:
        source = temporis.data_source("store_metrics")
        while True:
            first = chance.randrange(KEYS - ROWS)
            value += 1
            tell(begins=[first, value])
            source.upsert(
                pd.DataFrame(
                    {
                        "timestamp": range(FIRST + first, FIRST + first + ROWS),
                        "name": [f"series {number % SERIES}" for number in range(first, first + ROWS)],
                        "value": float(value),
                    }
                )
            )
            tell(done=value)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
