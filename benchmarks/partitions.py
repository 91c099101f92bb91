"""A backfill of a year of hourly partitions in one run: our IO manager next to one that does nothing.

Both runs are ``dagster.materialize`` over the same asset and range, with an instance in memory. The time is nearly all
Dagster's, which records an event for each partition. Most partitions have a count of rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from tempfile import TemporaryDirectory

import dagster as dg
import numpy as np
import pandas as pd

from benchmarks.baselines import null_io_manager
from benchmarks.harness import Given, Goal, Table, Turn, in_turns
from temporis_dagster import TemporisIOManager, TemporisResource

PARTITIONS = 8_760
FIRST, HOUR_S = 1_672_531_200, 3_600  # 2023-01-01
OURS, NOTHING, STEP = "temporis", "an IO manager that does nothing", "one run"


def tables(given: Given) -> Iterator[Table]:
    """The one table of this script."""
    partitions = min(PARTITIONS, max(10, given.rows // 100))
    table = Table(
        "partitions",
        f"One run over {partitions:,} hourly partitions of about 30 rows each",
        base=NOTHING,
        columns={
            "wall_s": "s",
            "ratio": "by the clock",
            "processor_s": "processor, s",
            "processor_ratio": "by processor time",
        },
        goals=[
            Goal(
                7,
                "8,760 partitions in one run: within 20 % of an IO manager that does nothing",
                OURS,
                STEP,
                at_least=1 / 1.2,
                over=NOTHING,
                figure="processor_s",
            )
        ],
    )
    table.peer(NOTHING, "null_io_manager")
    asset, tags = hourly_asset(partitions)
    ways = {OURS: partial(with_ours, asset, tags), NOTHING: partial(with_nothing, asset, tags)}
    yield in_turns(table, ways, given.rounds)


def hourly_asset(partitions: int) -> tuple[dg.AssetsDefinition, dict[str, str]]:
    """An hourly asset, and the tags of one run over all of its partitions."""
    counts = np.random.default_rng(1).integers(0, 60, partitions)
    hours = np.repeat(FIRST + HOUR_S * np.arange(partitions), counts)
    minutes = np.concatenate([60 * np.arange(count) for count in counts])
    frame = pd.DataFrame({"timestamp": hours + minutes, "name": "load", "value": 1.0})
    end = pd.Timestamp(FIRST + HOUR_S * partitions, unit="s")
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


def with_ours(asset: dg.AssetsDefinition, tags: Mapping[str, str], turn: Turn) -> None:
    """Into a new SQLite file."""
    with TemporaryDirectory() as folder:
        temporis = TemporisResource(url=f"sqlite:///{folder}/temporis.db", create_missing=True)
        run(asset, tags, TemporisIOManager(temporis=temporis), turn)


def with_nothing(asset: dg.AssetsDefinition, tags: Mapping[str, str], turn: Turn) -> None:
    """Nowhere."""
    run(asset, tags, null_io_manager.NullIOManager(), turn)


def run(asset: dg.AssetsDefinition, tags: Mapping[str, str], io: dg.ConfigurableIOManager, turn: Turn) -> None:
    """One run over all partitions, on a new instance."""
    with dg.DagsterInstance.ephemeral() as instance:
        with turn.measure(STEP):
            result = dg.materialize([asset], tags=dict(tags), instance=instance, resources={"io": io})
        assert result.success
        assert instance.get_runs_count() == 1
