"""A backfill of a year of hourly partitions in one run: our IO manager compared with one that does nothing, in turns.

Both runs are ``dagster.materialize`` over the same asset and range. The time is nearly all Dagster's: it records an
event for each partition. ``--instance disk`` is a Dagster home with SQLite files, as in production; ``memory`` is what
tests use. ``--rows random`` gives most partitions a count of their own, ``equal`` all the same.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import dagster as dg
import numpy as np
import pandas as pd

from temporis_dagster import TemporisIOManager, TemporisResource

FIRST = 1_672_531_200  # 2023-01-01


class NullIOManager(dg.ConfigurableIOManager):
    """Neither stores nor loads."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Do nothing."""

    def load_input(self, context: dg.InputContext) -> None:
        """Do nothing."""


def main() -> None:
    arguments = parsed()
    warnings.simplefilter("ignore", dg.BetaWarning)
    logging.disable(logging.CRITICAL)
    print(f"Medians of {arguments.turns}, seconds of the wall clock and of the processor:")
    print("| instance, rows per partition | nothing | temporis | over | nothing, CPU | temporis, CPU | over |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for instance in arguments.instance:
        for rows in arguments.rows:
            asset, tags = hourly_asset(arguments.partitions, rows)
            nothing, ours = in_turns(asset, tags, INSTANCES[instance], arguments.turns)
            cells = [f"{n:.1f} | {o:.1f} | {100 * (o / n - 1):.0f} %" for n, o in zip(nothing, ours, strict=True)]
            print(f"| {instance}, {rows} | {' | '.join(cells)} |", flush=True)


def hourly_asset(partitions: int, rows: str) -> tuple[dg.AssetsDefinition, dict[str, str]]:
    """An hourly asset and the tags of one run over all of its partitions; about 30 rows per hour."""
    counts = np.full(partitions, 30) if rows == "equal" else np.random.default_rng(1).integers(0, 60, partitions)
    hours = np.repeat(FIRST + 3_600 * np.arange(partitions), counts)
    minutes = np.concatenate([60 * np.arange(count) for count in counts])
    frame = pd.DataFrame({"timestamp": hours + minutes, "name": "load", "value": 1.0})
    end = pd.Timestamp(FIRST + 3_600 * partitions, unit="s")
    hourly = dg.HourlyPartitionsDefinition("2023-01-01-00:00", end_date=f"{end:%Y-%m-%d-%H:%M}")
    keys = hourly.get_partition_keys()

    @dg.asset(
        partitions_def=hourly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="io",
        metadata={"temporis/data_source": "load"},
    )
    def load() -> pd.DataFrame:
        return frame

    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    return load, tags


def in_turns(
    asset: dg.AssetsDefinition,
    tags: dict[str, str],
    instance: Callable[[], AbstractContextManager[dg.DagsterInstance]],
    turns: int,
) -> tuple[list[float], list[float]]:
    """Median seconds, wall and processor, of a run with an IO manager that does nothing, and of one with ours."""
    seconds: dict[str, list[tuple[float, float]]] = {"nothing": [], "ours": []}
    for _ in range(turns):
        for which, times in seconds.items():
            with tempfile.TemporaryDirectory() as folder, instance() as dagster:
                temporis = TemporisResource(url=f"sqlite:///{folder}/temporis.db", create_missing=True)
                io = NullIOManager() if which == "nothing" else TemporisIOManager(temporis=temporis)
                wall, cpu = time.perf_counter(), time.process_time()
                result = dg.materialize([asset], tags=tags, instance=dagster, resources={"io": io})
                times.append((time.perf_counter() - wall, time.process_time() - cpu))
                assert result.success
                assert dagster.get_runs_count() == 1
    nothing, ours = ([statistics.median(clock) for clock in zip(*times, strict=True)] for times in seconds.values())
    return nothing, ours


INSTANCES: dict[str, Callable[[], AbstractContextManager[dg.DagsterInstance]]] = {
    "memory": dg.DagsterInstance.ephemeral,
    "disk": dg.DagsterInstance.local_temp,
}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partitions", type=int, default=8_760)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--instance", nargs="+", choices=INSTANCES, default=["memory"])
    parser.add_argument("--rows", nargs="+", choices=("equal", "random"), default=["equal", "random"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
