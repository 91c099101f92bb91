"""What the checks cost: their share of an upsert, and what contracts add to them.

The checks run in one thread, so their processor time is what the tables show.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks import frames
from benchmarks.harness import Given, Table, Turn, in_turns
from temporis_dagster import Series, connect
from temporis_dagster.data_source.observations import observe

SERIES = frames.SERIES
CHECKS, UPSERT = "checks", "upsert, fresh"
WITHOUT, WITH = "without contracts", "with contracts"
COLUMNS = {"milliseconds": "processor, ms", "processor_ratio": "by processor time"}


def tables(given: Given) -> Iterator[Table]:
    """Their share of an upsert, and contracts."""
    ordered = frames.long_frame(given.rows)
    yield of_shares(ordered, given)
    yield of_contracts(ordered, given)


def of_shares(ordered: pd.DataFrame, given: Given) -> Table:
    """The checks alone, next to a whole upsert into SQLite."""
    shuffled = ordered.sample(frac=1, random_state=1)
    steps = {"ordered": ordered, "shuffled": shuffled, "shuffled, 1 % with a later value": conflicting(shuffled)}
    title = f"The checks of {given.rows:,} rows of {SERIES} series"
    table = Table("checks", title, base=UPSERT, columns=COLUMNS)
    return in_turns(table, {CHECKS: partial(checked, steps, []), UPSERT: partial(upserted, steps)}, given.rounds)


def of_contracts(ordered: pd.DataFrame, given: Given) -> Table:
    """Bounds, whole numbers and monotone series: what they add to the checks."""
    steps = len(ordered) // SERIES
    alike = ordered.assign(value=ordered["value"].round())
    apart = alike.assign(value=alike["value"] * (1 + np.tile(np.arange(SERIES), steps)) * 8)
    rising = alike.assign(value=np.repeat(np.arange(steps, dtype=float), SERIES))
    monotone = [Series(prefix="store_", minimum=0, integer=True, monotone=True)]
    cases = {
        "values of one scale": (alike, contracts_of(0)),
        "values of different scales": (apart, contracts_of(1)),
        "all series monotone": (rising, monotone),
    }
    found = {f"long, {case}": pair for case, pair in cases.items()}
    found |= {f"wide, {case}": (frames.wide_frame(frame), contracts) for case, (frame, contracts) in cases.items()}
    gaps = np.arange(0, len(apart), 1009)
    found["long with gaps, values of different scales"] = (apart.drop(index=gaps), contracts_of(1))
    found["long with gaps, all series monotone"] = (rising.drop(index=gaps), monotone)
    found["long and shuffled, all series monotone"] = (rising.sample(frac=1, random_state=1), monotone)
    seconds_late = np.repeat(np.random.default_rng(2).integers(0, 60, steps), SERIES)
    irregular = rising.assign(timestamp=rising["timestamp"] + pd.to_timedelta(seconds_late, unit="s"))
    found["long, shuffled and irregular, all series monotone"] = (irregular.sample(frac=1, random_state=1), monotone)
    title = f"Contracts: the checks of {given.rows:,} rows of {SERIES} series"
    table = Table("contracts", title, base=WITHOUT, columns=COLUMNS)
    given_frames = {case: frame for case, (frame, _) in found.items()}
    ways = {
        WITHOUT: partial(checked, given_frames, []),
        WITH: partial(checked_with, {case: contracts for case, (_, contracts) in found.items()}, given_frames),
    }
    return in_turns(table, ways, 2 * given.rounds)


def checked(steps: dict[str, pd.DataFrame], contracts: list[Series], turn: Turn) -> None:
    """From a frame to observations."""
    for step, frame in steps.items():
        with turn.measure(step, rows=len(frame)) as figures:
            observe(frame, series=contracts)
        figures["milliseconds"] = 1_000 * figures["processor_s"]


def checked_with(contracts: dict[str, list[Series]], steps: dict[str, pd.DataFrame], turn: Turn) -> None:
    """The same with the contracts of each case."""
    for step, frame in steps.items():
        checked({step: frame}, contracts[step], turn)


def upserted(steps: dict[str, pd.DataFrame], turn: Turn) -> None:
    """A whole upsert into a new store."""
    for step, frame in steps.items():
        with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
            source = temporis.create_data_source("metrics")
            with turn.measure(step, rows=len(frame)) as figures:
                source.upsert(frame)
            figures["milliseconds"] = 1_000 * figures["processor_s"]


def conflicting(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the keys of its last hundredth at its start as well, under other values."""
    count = len(frame) // 100
    again = frame.iloc[-count:].assign(value=lambda rows: rows["value"] + 1)
    return pd.concat([again, frame.iloc[count:]], ignore_index=True)


def contracts_of(scale: int) -> list[Series]:
    """A contract of its own for every series; with a scale, some bounds lie inside the values of other series."""
    bounds = [2000 * (1 + scale * i) * 8**scale for i in range(SERIES)]
    return [
        Series(str(name), unit="MW", every="1min", minimum=-bound, maximum=bound, integer=True)
        for name, bound in zip(frames.names(SERIES), bounds, strict=True)
    ]
