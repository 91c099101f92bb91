"""JoinedReport: one report of the slices of a stream.

Comes in: the report of each slice, and its observations. Goes out: one report of all of them, as of now.
Never: takes memory for the observations that were acknowledged, or much for others: long lists of them go to a file.
"""

from __future__ import annotations

import os
import pickle  # written and read by this process only, in a file without a name
import tempfile
import time
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.report import (
    COUNTS,
    DroppedRows,
    OutcomeRows,
    RowsOfOutcome,
    UpsertReport,
    rows_of_outcomes,
)
from temporis_dagster.wording import counted

ADDED = (*COUNTS, "observations_in", "requests", "retries", "bytes_sent", "conflicts")
FEW_ROWS = 2_000
"""Rows that are kept as a frame, which takes more memory for a row, but does not keep the rest of the slice."""

ROWS_IN_MEMORY = 500_000
"""Rows of all outcomes that are kept in memory. Further ones are kept in a file."""


class JoinedReport:
    """The reports of the slices so far.

    Args:
        data_source: The name of the data source.
        dry_run: Whether nothing is written.

    Attributes:
        last: No observation of the slice that was added last: they share its origin. None before the first.
    """

    def __init__(self, data_source: str, *, dry_run: bool = False) -> None:
        self._empty = UpsertReport(data_source, dry_run=dry_run)
        self._only: UpsertReport | None = None
        self._counts: dict[str, Any] = dict.fromkeys(ADDED, 0)
        self._names: set[str] = set()
        self._range: list[Any] = []
        self._rows: dict[str, list[RowsOfOutcome]] = {}
        self._in_memory, self._file = 0, RowsFile()
        self._slices = 0
        self._started = time.monotonic()
        self.last: Observations | None = None

    def add(self, report: UpsertReport, observations: Observations) -> None:
        """Add a slice.

        Args:
            report: What happened to its observations.
            observations: The observations.
        """
        self._slices += 1
        self._only = report if self._slices == 1 else None
        self.last = _alone(observations.take(np.empty(0, dtype=np.int64)))  # a slice would keep all of them in memory
        for count in ADDED:
            self._counts[count] += getattr(report, count)
        used = np.zeros(len(observations.names), dtype=np.bool_)
        used[observations.codes] = True
        self._names.update(observations.names[code] for code in np.flatnonzero(used).tolist())
        self._range += [moment for moment in (report.first_timestamp, report.last_timestamp) if moment is not None]
        self._range = [min(self._range), max(self._range)] if self._range else []
        for outcome, rows in rows_of_outcomes(report).items():
            self._rows.setdefault(outcome, []).append(self._kept(rows, getattr(report, outcome)))

    def report(self) -> UpsertReport:
        """Make the report of the slices so far."""
        duration_s = time.monotonic() - self._started
        if self._only is not None:
            return replace(self._only, duration_s=duration_s)
        first, last = self._range or (None, None)
        return replace(
            self._empty,
            **self._counts,
            series=len(self._names),
            first_timestamp=first,
            last_timestamp=last,
            duration_s=duration_s,
            _rows={outcome: JoinedRows(tuple(parts)) for outcome, parts in self._rows.items()},
        )

    def with_slice(self, report: UpsertReport, observations: Observations) -> UpsertReport:
        """Make the report of the slices so far and one that failed."""
        self.add(report, observations)
        return self.report()

    @property
    def slices(self) -> int:
        """How many slices were added."""
        return self._slices

    def in_words(self) -> str:
        """Return what became of the slices so far, as a clause."""
        counts = [f"{self._counts[name]:,} {name}" for name in COUNTS if self._counts[name]]
        return f"{counted(self._counts['observations_in'], 'observation')} ({', '.join(counts)})"

    def _kept(self, rows: RowsOfOutcome, count: int) -> RowsOfOutcome:
        if count <= FEW_ROWS:
            return DroppedRows(rows.frame())
        self._in_memory += count
        if isinstance(rows, OutcomeRows):
            rows = replace(rows, observations=_own(_alone(rows.observations)))
        return rows if self._in_memory <= ROWS_IN_MEMORY else self._file.kept(rows)


def _alone(observations: Observations) -> Observations:
    """Return the observations without the rows that were superseded or dropped, which are kept elsewhere."""
    return replace(observations, superseded_rows=None, dropped_rows=pd.DataFrame(), dropped_keys=None)


def _own(observations: Observations) -> Observations:
    """Return the observations with values of their own: those of a frame of a stream may be overwritten by the next."""
    return replace(observations, values=observations.values.copy())


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """The rows of one outcome in all slices."""

    parts: tuple[RowsOfOutcome, ...]

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        return pd.concat([part.frame() for part in self.parts], ignore_index=True)


class RowsFile:
    """A temporary file of rows. It has no name, so it is gone with the process at the latest, whatever ends that."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def kept(self, rows: RowsOfOutcome) -> RowsOfOutcome:
        """Write rows to the file; or keep them in memory if that fails, for instance because the disk is full."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="temporis-report-", buffering=0)  # noqa: SIM115
            written = pickle.dumps(rows, protocol=5)
            self._file.seek(self._end)
            left = memoryview(written)
            while left:  # a disk that is almost full takes a part, and only then raises
                left = left[self._file.write(left) :]
        except OSError:
            return rows
        start, self._end = self._end, self._end + len(written)
        return RowsInFile(self, start, len(written))

    def read(self, start: int, length: int) -> bytes:
        """Read a part of the file."""
        return b"" if self._file is None else os.pread(self._file.fileno(), length, start)

    def __del__(self) -> None:
        """Close the file, now that no report refers to it."""
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, eq=False)
class RowsInFile:
    """Rows in such a file."""

    file: RowsFile
    start: int
    length: int

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        return self.rows().frame()

    def rows(self) -> RowsOfOutcome:
        """Read the rows."""
        rows: RowsOfOutcome = pickle.loads(self.file.read(self.start, self.length))  # noqa: S301
        return rows

    def __reduce__(self) -> Any:
        """Pickle the rows themselves: reports move between processes."""
        return _unchanged, (self.rows(),)


def _unchanged(rows: RowsOfOutcome) -> RowsOfOutcome:
    return rows
