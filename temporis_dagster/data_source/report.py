"""UpsertReport: what happened to every observation of one upsert, and the tally that makes the report.

Comes in: observations, then outcomes as they become known. Goes out: a frozen report whose counts add up to
``observations_in`` by construction, because the tally holds exactly one outcome for each observation.
Never: sends, stores or retries anything.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import pandas as pd

from temporis_dagster import markup
from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Mask, Observations, RowSelector, Superseded
from temporis_dagster.wording import counted

if TYPE_CHECKING:
    from temporis_dagster.data_source.source import DataSource

COUNTS = ("stored", "unchanged", "superseded", "dropped", "rejected", "unsent", "unknown", "pending")
"""Every outcome an observation can have, in the order reports show them."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of observations settled since the last call."""


class Outcome(enum.IntEnum):
    """What is known of an observation that passed the checks and was not superseded in its own frame."""

    UNSENT = 0
    ACKNOWLEDGED = 1
    UNKNOWN = 2
    REJECTED = 3
    PENDING = 4
    SUPERSEDED = 5
    """Kept in the mirror, where a later upsert overwrote it before it was delivered."""


@dataclass(frozen=True, repr=False)
class UpsertReport:
    """What happened to every observation of one upsert.

    Each observation has exactly one outcome, and the counts always add up to ``observations_in``, also on an error.
    In a wide frame, an observation is a cell that is not NaN.

    Attributes:
        data_source: The name of the data source.
        observations_in: The number of observations in the frame.
        stored: Acknowledged by the data source.
        unchanged: Already stored with this exact value, so nothing was written.
        superseded: Valid, but a later row had the same (timestamp, name); with a mirror also: overwritten there by
            another upsert before it was delivered.
        conflicts: The number of superseded observations that had another value than the later row.
        dropped: Invalid and left out (``on_invalid="drop"``).
        rejected: Rejected by the service, one by one.
        unsent: Never sent, or refused with the whole request. In a dry run, everything.
        unknown: Sent without getting an answer, so possibly stored. Sending them again is safe.
        pending: Kept in the mirror and not yet delivered.
        series: The number of series that the observations belong to.
        first_timestamp: The earliest observation time, UTC; None without observations.
        last_timestamp: The latest observation time, UTC; None without observations.
        requests: The number of requests (SQL: transactions).
        retries: How many of those repeated an earlier one.
        bytes_sent: The size of the request bodies in bytes; 0 for SQL.
        duration_s: The wall time of the call, in seconds.
        dry_run: Whether the call only checked the observations.

    Examples:
        >>> import tempfile, pandas as pd
        >>> from temporis_dagster import connect
        >>> orders = pd.DataFrame({"timestamp": [0, 60, 60], "name": "orders", "value": [41, 42, 43]})
        >>> with connect(f"sqlite:///{tempfile.mkdtemp()}/temporis.db") as temporis:
        ...     report = temporis.create_data_source("store_metrics").upsert(orders)
        >>> report.observations_in, report.stored, report.superseded
        (3, 2, 1)
    """

    data_source: str
    observations_in: int = 0
    stored: int = 0
    unchanged: int = 0
    superseded: int = 0
    dropped: int = 0
    rejected: int = 0
    unsent: int = 0
    unknown: int = 0
    pending: int = 0
    series: int = 0
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0
    duration_s: float = 0.0
    dry_run: bool = False
    conflicts: int = 0
    _rows: Mapping[str, RowsOfOutcome] = field(default_factory=dict, repr=False, compare=False)
    _upserted: Upserted | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what was upserted: other processes have neither the connection nor a use for all of the rows."""
        return {**self.__dict__, "_upserted": None}

    @property
    def superseded_rows(self) -> pd.DataFrame:
        """The observations that a later row superseded: position, label, timestamp, name, value, reason.

        The reason names that row and its value, which may be the same or another.
        """
        return self._frame("superseded")

    @property
    def dropped_rows(self) -> pd.DataFrame:
        """The observations that were invalid and left out: position, label, timestamp, name, value, reason."""
        return self._frame("dropped")

    @property
    def rejected_rows(self) -> pd.DataFrame:
        """The observations that the service rejected: position, label, timestamp, name, value, reason (its words)."""
        return self._frame("rejected")

    @property
    def unsent_rows(self) -> pd.DataFrame:
        """The observations that this call did not store: position, label, timestamp, name, value, reason."""
        return self._frame("unsent")

    @property
    def unknown_rows(self) -> pd.DataFrame:
        """The observations that may be stored: position, label, timestamp, name, value, reason."""
        return self._frame("unknown")

    @property
    def pending_rows(self) -> pd.DataFrame:
        """The observations that wait in the mirror: position, label, timestamp, name, value, reason."""
        return self._frame("pending")

    def _frame(self, outcome: str) -> pd.DataFrame:
        return self._rows[outcome].frame() if outcome in self._rows else EMPTY_ROWS.copy()

    def to_dict(self) -> dict[str, object]:
        """Return the counts and figures without the frames, ready for JSON: times are ISO 8601 text."""
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("_")}
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in shown.items()}

    def __str__(self) -> str:
        counts = [f"{getattr(self, name):,} {name}{self._note(name)}" for name in COUNTS if getattr(self, name)]
        made = "dry run, " if self.dry_run else ""
        return (
            f"{self.data_source}: {counted(self.observations_in, 'observation')} of {counted(self.series, 'series')}"
            f" ({', '.join(counts) or 'nothing to do'}) in {made}{self.duration_s:.2f} s"
            f"{self._range()}"
        )

    def _note(self, outcome: str) -> str:
        return f", {self.conflicts:,} of them by another value" if outcome == "superseded" and self.conflicts else ""

    def _range(self) -> str:
        """The first and last timestamp, so that a reader notices an unintended year 1970 or 2099."""
        if self.first_timestamp is None or self.last_timestamp is None:
            return ""
        first, last = (
            f"{moment.replace(tzinfo=None).isoformat()}Z" for moment in (self.first_timestamp, self.last_timestamp)
        )
        return f", at {first}" if first == last else f", from {first} to {last}"

    def __repr__(self) -> str:
        return f"<UpsertReport {self}>"

    def _repr_html_(self) -> str:
        counts: list[tuple[object, ...]] = [
            (name, getattr(self, name), f"{MEANINGS[name]}{self._note(name)}") for name in COUNTS if getattr(self, name)
        ]
        made = "a dry run, " if self.dry_run else ""
        requests = f", {counted(self.requests, 'request')}" if self.requests else ""
        retries = f" ({counted(self.retries, 'retry', 'retries')})" if self.retries else ""
        shown = markup.paragraph(
            self.data_source,
            f"{counted(self.observations_in, 'observation')} of {counted(self.series, 'series')}{self._range()};"
            f" {made}{self.duration_s:.2f} s{requests}{retries}",
        )
        shown += markup.table((), counts or [("nothing to do",)])
        for name in ("dropped", "rejected"):
            if 0 < getattr(self, name) <= MOST_LISTED and name in self._rows:
                shown += markup.first_rows(self._rows[name].frame(), f".{name}_rows")
        return shown


MOST_LISTED = 10_000
"""If more observations have an outcome, notebooks show no row of it: making the frame of them would take time."""

MEANINGS = {
    "stored": "",
    "unchanged": "already stored with this value",
    "superseded": "a later row had the same timestamp and name",
    "dropped": "invalid, so left out",
    "rejected": "refused by the service, one by one",
    "unsent": "not stored by this call",
    "unknown": "sent without getting an answer; sending them again is safe",
    "pending": "kept in the mirror, and not yet delivered",
}
"""What notebooks say about each outcome."""

EMPTY_ROWS = pd.DataFrame(
    {
        "position": pd.Series(dtype="int64"),
        "label": pd.Series(dtype=object),
        "timestamp": pd.Series(dtype="datetime64[s, UTC]"),
        "name": pd.Series(dtype=object),
        "value": pd.Series(dtype="float64"),
        "reason": pd.Series(dtype=object),
    }
)


@dataclass(frozen=True, eq=False)
class OutcomeRows:
    """The observations of one outcome, kept as arrays until the caller asks for the frame."""

    observations: Observations
    reasons: str | list[str]

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        return self.observations.frame().assign(reason=self.reasons)


@dataclass(frozen=True, eq=False)
class DroppedRows:
    """What ``on_invalid="drop"`` left out, already as a frame, because its values may have any type."""

    made: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        return self.made.copy()


@dataclass(frozen=True, eq=False)
class SupersededRows:
    """What later rows of the same frame superseded, followed by what later upserts superseded in the mirror."""

    in_frame: Superseded
    in_mirror: OutcomeRows

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        return pd.concat([self.in_frame.frame(), self.in_mirror.frame()], ignore_index=True)


class RowsOfOutcome(Protocol):
    """The observations of one outcome, in a form that takes less memory than the frame."""

    def frame(self) -> pd.DataFrame:
        """Make a new frame of the rows."""
        ...


def rows_of_outcomes(report: UpsertReport) -> Mapping[str, RowsOfOutcome]:
    """Return the rows that a report lists, by outcome, without making frames of them."""
    return report._rows  # noqa: SLF001  # its own module


@dataclass(frozen=True, eq=False)
class Upserted:
    """What one call upserted, for surfaces that are only given its report: Dagster Pipes tell partitions apart by it.

    Attributes:
        source: The data source.
        observations: The observations that it was given.
    """

    source: DataSource
    observations: Observations


def upserted_of(report: UpsertReport) -> Upserted | None:
    """Return what a report is about, for surfaces over the core; None for a stream, and in another process."""
    return report._upserted  # noqa: SLF001  # its own module


class Tally:
    """The outcomes of one upsert while it runs: one small integer per observation.

    Args:
        data_source: The name of the data source.
        observations: What is to be delivered, in the order of delivery.
        dry_run: Whether nothing is going to be written.
        source: The data source, if the report is to remember it and the observations.
        progress: Called with the number of observations each time some are settled.
    """

    def __init__(
        self,
        data_source: str,
        observations: Observations,
        *,
        dry_run: bool = False,
        source: DataSource | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.data_source = data_source
        self.observations = observations
        self.requests = self.retries = self.bytes_sent = 0
        self._unchanged = 0
        self._dry_run, self._source, self._progress = dry_run, source, progress
        self._outcomes = np.zeros(len(observations), dtype=np.int8)
        self._reasons = dict.fromkeys(Outcome, "")
        self._rejections: dict[int, str] = {}
        self._started = time.monotonic()

    def settle(self, rows: RowSelector, outcome: Outcome, *, unchanged: int = 0, reason: str = "") -> None:
        """Record the outcome of some observations, replacing what was known of them before.

        Args:
            rows: Selects among ``observations``.
            outcome: What is now known of them.
            unchanged: How many of the acknowledged observations were already stored with this value.
            reason: Why they are not stored, as a sentence or clause that ends with what to do.
        """
        self._outcomes[rows] = outcome
        self._unchanged += unchanged
        if outcome is Outcome.REJECTED:
            self._rejections.update(dict.fromkeys(np.arange(len(self._outcomes))[rows].tolist(), reason))
        elif reason:
            self._reasons[outcome] = reason
        count = len(self._outcomes[rows])
        if outcome in (Outcome.ACKNOWLEDGED, Outcome.REJECTED) and count and self._progress is not None:
            self._progress(count)

    def stop_progress(self) -> None:
        """Stop reporting progress: the upsert was interrupted, and the caller's function might interrupt it again."""
        self._progress = None

    def doubt_acknowledged(self, reason: str) -> None:
        """Turn every acknowledged observation into an unknown one, because what was stored may be gone."""
        self._unchanged = 0
        self.settle(self.settled_as(Outcome.ACKNOWLEDGED), Outcome.UNKNOWN, reason=reason)

    @property
    def rejections(self) -> Mapping[int, str]:
        """What the service said of the observations that it rejected, by their index."""
        return self._rejections

    def settled_as(self, outcome: Outcome) -> Mask:
        """Select the observations that have this outcome now."""
        return np.equal(self._outcomes, outcome)

    def report(self, reason: str = "") -> UpsertReport:
        """Make the report as of now, in which whatever was not settled is unsent.

        Args:
            reason: Why the unsent observations were not sent, unless that was recorded before.
        """
        observations, counts = self.observations, self._counts()
        stamps = observations.timestamps
        return UpsertReport(
            data_source=self.data_source,
            observations_in=observations.observations_in,
            stored=counts[Outcome.ACKNOWLEDGED] - self._unchanged,
            unchanged=self._unchanged,
            superseded=observations.superseded + counts[Outcome.SUPERSEDED],
            dropped=len(observations.dropped_rows),
            rejected=counts[Outcome.REJECTED],
            unsent=counts[Outcome.UNSENT],
            unknown=counts[Outcome.UNKNOWN],
            pending=counts[Outcome.PENDING],
            series=self._series(),
            first_timestamp=_utc(stamps.min()) if len(stamps) else None,
            last_timestamp=_utc(stamps.max()) if len(stamps) else None,
            requests=self.requests,
            retries=self.retries,
            bytes_sent=self.bytes_sent,
            duration_s=time.monotonic() - self._started,
            dry_run=self._dry_run,
            conflicts=observations.conflicts,
            _rows=self._outcome_rows(reason, counts),
            _upserted=Upserted(self._source, observations) if self._source else None,
        )

    def _counts(self) -> Mapping[Outcome, int]:
        """Count block by block, because NumPy takes 64 bits per row to count."""
        counts = np.zeros(len(Outcome), dtype=np.int64)
        for start in range(0, len(self._outcomes), BLOCK_ROWS):
            counts += np.bincount(self._outcomes[start : start + BLOCK_ROWS], minlength=len(Outcome))
        return dict(zip(Outcome, counts.tolist(), strict=True))

    def _series(self) -> int:
        return int(np.count_nonzero(self.observations.counts))

    def _outcome_rows(self, reason: str, counts: Mapping[Outcome, int]) -> dict[str, RowsOfOutcome]:
        rows: dict[str, RowsOfOutcome] = {}
        if self.observations.superseded_rows is not None:
            rows["superseded"] = self.observations.superseded_rows
        if len(self.observations.dropped_rows):
            rows["dropped"] = DroppedRows(self.observations.dropped_rows)
        for outcome in (Outcome.UNSENT, Outcome.UNKNOWN, Outcome.REJECTED, Outcome.PENDING, Outcome.SUPERSEDED):
            if counts[outcome]:
                which = slice(None) if counts[outcome] == len(self._outcomes) else self.settled_as(outcome)
                made = OutcomeRows(self.observations.take(which), self._why(outcome) or reason)
                in_frame = self.observations.superseded_rows if outcome is Outcome.SUPERSEDED else None
                rows[outcome.name.lower()] = made if in_frame is None else SupersededRows(in_frame, made)
        return rows

    def _why(self, outcome: Outcome) -> str | list[str]:
        if outcome is Outcome.REJECTED:
            return [self._rejections[row] for row in np.flatnonzero(self.settled_as(outcome)).tolist()]
        return self._reasons[outcome]


def _utc(timestamp: np.int64) -> datetime:
    """Convert Unix seconds; the contract's limits on timestamps are narrower than those of datetime."""
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(seconds=int(timestamp))
