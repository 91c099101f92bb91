"""The IO manager of dagster-duckdb-pandas, called directly: it deletes what is there and inserts, and loads.

That is not an upsert: it replaces a whole columnar table that has no key, and only one process at a time may write.
It needs pandas below 3, so it is measured by an interpreter of its own, in which this file needs nothing else of ours.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

SETTINGS = "the IO manager of dagster-duckdb-pandas (delete, then insert) as documented, in an interpreter of its own"


def seconds(rows: int) -> dict[str, float]:
    """Seconds of storing a frame, of storing it again, and of loading it: ``fresh``, ``unchanged``, ``read``.

    Args:
        rows: Of how many rows the frame is.
    """
    import dagster as dg
    import pandas as pd
    from dagster_duckdb_pandas import DuckDBPandasIOManager

    from benchmarks.frames import long_frame

    frame, taken = long_frame(rows), {}
    with tempfile.TemporaryDirectory() as folder:
        config = {"database": str(Path(folder) / "duck.db"), "schema": None, "connection_config": {}}
        manager = DuckDBPandasIOManager(database=config["database"]).create_io_manager(None)
        given = {
            "asset_key": dg.AssetKey("metrics"),
            "dagster_type": dg.PythonObjectDagsterType(pd.DataFrame),
            "resource_config": config,
            "definition_metadata": {},
        }
        outputs = [dg.build_output_context(name="result", **given) for _ in range(2)]
        loading = dg.build_input_context(upstream_output=outputs[0], **given)
        for step, work in {
            "fresh": lambda: manager.handle_output(outputs[0], frame),
            "unchanged": lambda: manager.handle_output(outputs[1], frame),
            "read": lambda: manager.load_input(loading),
        }.items():
            wall, processor = time.perf_counter(), time.process_time()
            work()
            taken[step], taken[f"{step}_cpu"] = time.perf_counter() - wall, time.process_time() - processor
    return taken
