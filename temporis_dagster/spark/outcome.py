"""Outcome: what became of the observations of one task, as the one row that the task returns to the driver.

Comes in: the reports of a task's upserts, and the error that ended it. Goes out: a row; on the driver, the same again.
Never: holds more than the first rows of each outcome, or a secret. Spark passes on rows of attempts that succeeded and
drops those of others, so that each observation is counted once; sums kept outside of the rows would count some twice.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Superseded
from temporis_dagster.data_source.report import COUNTS, UpsertReport

if TYPE_CHECKING:
    import pyarrow as pa

    from temporis_dagster.errors import TemporisError

SCHEMA = "partition int, attempt int, outcome string, series binary"
"""The columns of the row, as Spark writes a schema."""

SHOWN_ROWS = 100
"""How many rows of each outcome reach the driver."""

ADDED_UP = ("observations_in", *COUNTS, "conflicts", "requests", "retries", "bytes_sent")
"""The figures of a report that are sums."""


@dataclass
class Failure:
    """The error that ended a task, as plain values.

    Attributes:
        kind: The name of its class in ``errors``.
        message: Its text.
        facts: What it is made of, by the names of the class's arguments.
        rows: The first invalid rows, for an error that has them.
    """

    kind: str
    message: str
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, error: TemporisError) -> Failure:
        """Take an error apart."""
        names = ("attempts", "retry_after_s", "url", "invalid", "observations_in", "conflicts")
        facts = {name: getattr(error, name) for name in names if hasattr(error, name)}
        return cls(type(error).__name__, str(error), {**facts, "retryable": error.retryable})


@dataclass
class Outcome:
    """What became of the observations of one attempt of one task.

    Attributes:
        partition: The number of the partition.
        attempt: The number of the attempt, from 0.
        counts: The figures that are sums.
        first: The earliest timestamp, in Unix seconds; None without observations.
        last: The latest.
        rows: The first rows of each outcome that reports list.
        failure: What ended the task early, if anything did.
        series: The names of the series of its observations.
    """

    partition: int
    attempt: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ADDED_UP, 0))
    first: float | None = None
    last: float | None = None
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failure: Failure | None = None
    series: set[str] = field(default_factory=set)

    def add(self, report: UpsertReport, observations: Observations) -> None:
        """Add what became of the observations of one upsert."""
        for name in ADDED_UP:
            self.counts[name] += getattr(report, name)
        for moment in (report.first_timestamp, report.last_timestamp):
            self._reach(moment)
        seen = np.zeros(len(observations.names), dtype=np.bool_)
        seen[observations.codes] = True
        self.series.update(observations.names[code] for code in np.flatnonzero(seen).tolist())
        for outcome in COUNTS:
            count = getattr(report, outcome)
            if count and outcome not in ("stored", "unchanged"):
                self._show(outcome, _first_rows(report, outcome, observations.superseded_rows))

    def refuse(self, observations_in: int) -> None:
        """Add observations that the checks refused, so that none of them was sent."""
        self.counts["observations_in"] += observations_in
        self.counts["unsent"] += observations_in

    def _reach(self, moment: datetime | None) -> None:
        if moment is not None:
            second = moment.timestamp()
            self.first = second if self.first is None else min(self.first, second)
            self.last = second if self.last is None else max(self.last, second)

    def _show(self, outcome: str, rows: Iterable[dict[str, Any]]) -> None:
        shown = self.rows.setdefault(outcome, [])
        shown.extend(list(rows)[: SHOWN_ROWS - len(shown)])

    def batch(self) -> pa.RecordBatch:
        """Make the row for the driver."""
        import pyarrow as pa

        plain = asdict(self)
        names = json.dumps(sorted(plain.pop("series"))).encode()
        row = {
            "partition": [self.partition],
            "attempt": [self.attempt],
            "outcome": [json.dumps(plain, default=str)],
            "series": [zlib.compress(names, 1)],
        }
        types = [("partition", pa.int32()), ("attempt", pa.int32()), ("outcome", pa.string()), ("series", pa.binary())]
        return pa.RecordBatch.from_pydict(row, schema=pa.schema(types))


def outcome_of(text: str) -> Outcome:
    """Read the row of a task, without the names of the series."""
    plain = json.loads(text)
    failure = plain.pop("failure")
    return Outcome(**plain, failure=None if failure is None else Failure(**failure))


def series_of(columns: Iterable[bytes]) -> set[str]:
    """Return the names in the rows of all tasks. Most tasks have the same ones, so each list is read once."""
    names: set[str] = set()
    for packed in set(columns):
        names.update(json.loads(zlib.decompress(packed)))
    return names


def _first_rows(report: UpsertReport, outcome: str, superseded: Superseded | None) -> list[dict[str, Any]]:
    if outcome == "superseded" and superseded is not None:
        return superseded_rows(superseded)
    frame: pd.DataFrame = getattr(report, f"{outcome}_rows")
    return plain_rows(frame.head(SHOWN_ROWS))


def superseded_rows(superseded: Superseded) -> list[dict[str, Any]]:
    """Return the first rows that lost to another one with the same key, with the value of that one."""
    shown = superseded.take(np.arange(min(len(superseded.winners), SHOWN_ROWS)))
    winning = shown.winning_values.tolist()
    reasons = [f"another row has the same timestamp and name, and the value {value!r}" for value in winning]
    return plain_rows(shown.rows.frame().assign(reason=reasons))


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows with values that JSON has; anything else as its text."""
    return [
        {str(column): _plain(cell) for column, cell in zip(frame.columns, row, strict=True)}
        for row in frame.itertuples(index=False, name=None)
    ]


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, pd.Timestamp):
        return cell.isoformat()
    return cell if cell is None or isinstance(cell, bool | int | float | str) else str(cell)
