"""The SQL data source against its peers: one frame upserted fresh, upserted again unchanged, and read back.

    python benchmarks/store.py [--rows 1000000] [--rounds 3] [--duckdb-python PATH]

Every round runs every way once, one after the other, on a new file; the table shows the medians as thousand rows per
second, and as a ratio to the raw driver. The machine is part of the result: read ratios.

The raw driver is the best hand-written loop we found: the same table and pragmas, rows in the order of the key,
multi-row VALUES, a transaction for every 50,000 rows. ``--duckdb-python`` names an interpreter that has
dagster-duckdb-pandas (which needs pandas < 3), whose IO manager then stores and loads the same frame.
"""

import argparse
import itertools
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

SERIES = 50
FRESH, AGAIN, READ = "fresh", "unchanged", "read"
RAW = "raw `sqlite3` driver, arrays"


def sample(rows: int) -> pd.DataFrame:
    """Observations of 50 series in the order of time."""
    minutes = np.repeat(np.arange(-(-rows // SERIES)) * 60 + 1_700_000_000, SERIES)[:rows]
    names = np.array([f"store_{number}__revenue" for number in range(SERIES)], dtype=object)
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(minutes.astype("datetime64[s]")).tz_localize("UTC"),
            "name": names[np.arange(rows) % SERIES],
            "value": np.random.default_rng(0).standard_normal(rows),
        }
    )


class Clock:
    """Seconds by way and step, over all rounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def time(self, way: str, step: str, work: Callable[[], object]) -> None:
        """Do the work and note what it took."""
        started = time.perf_counter()
        work()
        self.seconds[way][step].append(time.perf_counter() - started)


def temporis(frame: pd.DataFrame, directory: Path, clock: Clock) -> None:
    """The store: from the frame, and from checked observations, as the raw driver gets them."""
    from temporis_dagster.data_source.observations import observe
    from temporis_dagster.data_source.report import Tally
    from temporis_dagster.data_source.store import SqlStore

    def upsert(observations: Callable[[], object]) -> None:
        store.upsert(Tally("metrics", observations()))

    observations = observe(frame)
    ways = {"temporis, from a frame": lambda: observe(frame), "temporis, arrays": lambda: observations}
    for number, (way, given) in enumerate(ways.items()):
        store = SqlStore(f"sqlite:///{directory}/temporis{number}.db", create_missing=True)
        clock.time(way, FRESH, lambda given=given: upsert(given))
        clock.time(way, AGAIN, lambda given=given: upsert(given))
        clock.time(way, READ, lambda store=store: store.rows("metrics", None, None, None))
        store.close()


def raw_driver(frame: pd.DataFrame, directory: Path, clock: Clock) -> None:
    """The driver alone."""
    codes, names = pd.factorize(frame["name"])
    timestamps = frame["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    connection = sqlite3.connect(directory / "raw.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
    connection.execute(
        "CREATE TABLE metrics (series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value NOT NULL,"
        " PRIMARY KEY (series, timestamp)) WITHOUT ROWID"
    )
    given = (connection, codes, timestamps, frame["value"].to_numpy())
    clock.time(RAW, FRESH, lambda: raw_upsert(*given))
    clock.time(RAW, AGAIN, lambda: raw_upsert(*given))
    clock.time(RAW, READ, lambda: raw_read(connection, names))
    connection.close()


def raw_upsert(
    connection: sqlite3.Connection, codes: np.ndarray, timestamps: np.ndarray, values: np.ndarray, chunk: int = 50_000
) -> None:
    """Chunks in the order of the key, 1,000 rows a statement."""
    for start in range(0, len(codes), chunk):
        part = slice(start, start + chunk)
        order = np.lexsort((timestamps[part], codes[part]))
        flat: list[object] = [None] * (3 * len(order))
        for place, column in enumerate((codes, timestamps, values)):
            flat[place::3] = column[part][order].tolist()
        connection.execute("BEGIN IMMEDIATE")
        for first in range(0, len(flat), 3_000):
            block = flat[first : first + 3_000]
            placeholders = ",".join(["(?,?,?)"] * (len(block) // 3))
            connection.execute(
                f"INSERT INTO metrics VALUES {placeholders}"
                " ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value"
                " WHERE value IS NOT excluded.value",
                block,
            )
        connection.execute("COMMIT")


def raw_read(connection: sqlite3.Connection, names: pd.Index) -> pd.DataFrame:
    """All rows as tuples, made into the same frame."""
    rows = connection.execute("SELECT timestamp, series, value FROM metrics").fetchall()
    timestamps, codes, values = zip(*rows, strict=True)
    frame = pd.DataFrame({"timestamp": timestamps, "name": names.take(np.array(codes)), "value": values})
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s", utc=True)
    return frame.sort_values(["timestamp", "name"], ignore_index=True)


def pandas_sql(frame: pd.DataFrame, directory: Path, clock: Clock) -> None:
    """``to_sql``, appending and with an upsert method, and ``read_sql``."""
    import sqlalchemy as sa
    from sqlalchemy.dialects.sqlite import insert

    def upserting(table: object, connection: sa.Connection, keys: list[str], rows: object) -> None:
        statement = insert(table.table)
        changed = statement.on_conflict_do_update(["timestamp", "name"], set_={"value": statement.excluded.value})
        connection.execute(changed, [dict(zip(keys, row, strict=True)) for row in rows])

    def upsert() -> None:
        frame.to_sql("keyed", engine, if_exists="append", index=False, method=upserting, chunksize=50_000)

    engine = sa.create_engine(f"sqlite:///{directory}/pandas.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE keyed (timestamp, name, value, PRIMARY KEY (timestamp, name))")
    query = "SELECT timestamp, name, value FROM metrics ORDER BY timestamp, name"
    plain, keyed = "pandas `to_sql` append, `read_sql`", "pandas `to_sql`, upsert method"
    clock.time(plain, FRESH, lambda: frame.to_sql("metrics", engine, if_exists="append", index=False))
    clock.time(plain, READ, lambda: pd.read_sql(query, engine, parse_dates={"timestamp": {"utc": True}}))
    clock.time(keyed, FRESH, upsert)
    clock.time(keyed, AGAIN, upsert)
    engine.dispose()


def duckdb(frame: pd.DataFrame, directory: Path, clock: Clock) -> None:
    """The IO manager of dagster-duckdb-pandas: it deletes what is there and inserts, and loads."""
    import dagster as dg
    from dagster_duckdb_pandas import DuckDBPandasIOManager

    config = {"database": str(directory / "duck.db"), "schema": None, "connection_config": {}}
    manager = DuckDBPandasIOManager(database=config["database"]).create_io_manager(None)
    given = {
        "asset_key": dg.AssetKey("metrics"),
        "dagster_type": dg.PythonObjectDagsterType(pd.DataFrame),
        "resource_config": config,
        "definition_metadata": {},
    }
    outputs = [dg.build_output_context(name="result", **given) for _ in range(2)]
    loading = dg.build_input_context(upstream_output=outputs[0], **given)
    way = "dagster-duckdb-pandas IO manager (delete + insert)"
    clock.time(way, FRESH, lambda: manager.handle_output(outputs[0], frame))
    clock.time(way, AGAIN, lambda: manager.handle_output(outputs[1], frame))
    clock.time(way, READ, lambda: manager.load_input(loading))


def measure(ways: list[Callable], rows: int, rounds: int) -> Clock:
    """Every way once in each round."""
    frame, clock = sample(rows), Clock()
    for way in itertools.chain.from_iterable(itertools.repeat(ways, rounds)):
        with tempfile.TemporaryDirectory() as directory:
            way(frame, Path(directory), clock)
    return clock


def elsewhere(python: str, rows: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """The seconds of the DuckDB IO manager, measured by another interpreter."""
    command = [python, __file__, "--rows", str(rows), "--rounds", str(rounds), "--only-duckdb"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def show(seconds: dict[str, dict[str, list[float]]], rows: int) -> None:
    """A Markdown table of thousand rows per second, and the ratio to the raw driver."""
    speed = {
        (way, step): rows / statistics.median(taken) / 1_000
        for way, steps in seconds.items()
        for step, taken in steps.items()
    }
    steps = (FRESH, AGAIN, READ)
    print(f"| {rows:,} rows: thousand rows/s (times the raw driver) | {' | '.join(steps)} |")
    print("| --- | --- | --- | --- |")
    for way in seconds:
        cells = [
            f"{speed[way, step]:,.0f} ({speed[way, step] / speed[RAW, step]:.2f}x)" if (way, step) in speed else ""
            for step in steps
        ]
        print(f"| {way} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="The SQL data source against its peers.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duckdb-python", help="an interpreter that has dagster-duckdb-pandas")
    parser.add_argument("--only-duckdb", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.only_duckdb:
        print(json.dumps(measure([duckdb], options.rows, options.rounds).seconds))
        return
    seconds = measure([temporis, raw_driver, pandas_sql], options.rows, options.rounds).seconds
    if options.duckdb_python:
        seconds |= elsewhere(options.duckdb_python, options.rows, options.rounds)
    show(seconds, options.rows)


if __name__ == "__main__":
    main()
