"""Which gaps to fill now: pure planning, no Dagster.

Comes in: the partitions of the horizon in order, with the state of each. Goes out: ranges to run, and what is not
filled now, by reason.
Never: knows where its facts come from, reads a clock, or gives a partition more attempts than it may have.
"""

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from temporis_dagster.errors import ConfigurationError

LONGEST_OUTAGE_DELAY_S = 1_800.0


class PartitionStatus(enum.Enum):
    """The status of a partition."""

    FILLED = "filled"
    BUSY = "busy"
    GAP = "gap"


@dataclass(frozen=True)
class PartitionState:
    """One partition of the horizon.

    Attributes:
        key: The key of the partition.
        status: Whether it is filled, being written, or a gap.
        attempts: How many times the sensor tried to fill it since it was last filled.
        last_attempt_at: When the last of those attempts, or of the outages since, ended, in Unix seconds.
        outages: How many of the latest runs, in a row, failed only because a data source could not be reached. They do
            not count as attempts.
    """

    key: str
    status: PartitionStatus
    attempts: int = 0
    last_attempt_at: float = 0.0
    outages: int = 0


@dataclass(frozen=True)
class GapLimits:
    """How much to fill at once, and how often to try.

    Attributes:
        max_partitions_per_run: The maximum number of partitions of a run that is a first attempt.
        max_runs_per_tick: The maximum number of runs per tick.
        max_attempts: The maximum number of attempts per partition.
        retry_delay_s: How many seconds to wait after the first attempt; twice as long after each further one.
    """

    max_partitions_per_run: int
    max_runs_per_tick: int
    max_attempts: int
    retry_delay_s: float

    def __post_init__(self) -> None:
        for name in ("max_partitions_per_run", "max_runs_per_tick", "max_attempts"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ConfigurationError(f"{name} must be an integer of at least 1, got {count!r}.")
        if not self.retry_delay_s >= 0:
            raise ConfigurationError(f"retry_delay_s must not be negative, got {self.retry_delay_s!r}.")

    def run_size(self, attempt: int) -> int:
        """Return the longest range of an attempt: shorter each time, and a single partition for the last attempt.

        So a partition that always fails does not make its neighbours fail.

        Examples:
            >>> limits = GapLimits(max_partitions_per_run=100, max_runs_per_tick=4, max_attempts=3, retry_delay_s=300)
            >>> [limits.run_size(attempt) for attempt in (1, 2, 3)]
            [100, 10, 1]
        """
        if self.max_attempts == 1:
            return self.max_partitions_per_run
        share = (self.max_attempts - attempt) / (self.max_attempts - 1)
        return max(round(math.pow(self.max_partitions_per_run, share)), 1)

    def ready_at(self, state: PartitionState) -> float:
        """Return when a partition may be tried again. In an outage the delay is capped: it may end at any time."""
        if state.outages:
            longest = max(LONGEST_OUTAGE_DELAY_S, self.retry_delay_s)
            return state.last_attempt_at + min(self.retry_delay_s * 2.0 ** (state.outages - 1), longest)
        if not state.attempts:
            return 0.0
        return state.last_attempt_at + self.retry_delay_s * 2.0 ** (state.attempts - 1)


@dataclass(frozen=True)
class GapRun:
    """A range to fill in one run.

    Attributes:
        keys: The keys of its partitions, which are neighbours, the oldest first.
        attempt: The number of the attempt at these partitions, from 1.
    """

    keys: tuple[str, ...]
    attempt: int


@dataclass(frozen=True)
class GapPlan:
    """What to do about the gaps.

    Attributes:
        runs: The runs to launch now.
        later: The partitions that a later tick fills, because this one launches enough runs.
        waiting: The partitions whose next attempt is not due yet.
        given_up: The partitions that had all their attempts.
        busy: The partitions that another run or backfill is writing.
        due_at: When the next attempt at the first of the waiting partitions is due, in Unix seconds.
    """

    runs: tuple[GapRun, ...] = ()
    later: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    due_at: float | None = field(default=None)


def plan_gaps(states: Sequence[PartitionState], limits: GapLimits, now: float) -> GapPlan:
    """Join the gaps that may be filled now into ranges of neighbours, the oldest first.

    Args:
        states: All partitions of the horizon, the oldest first.
        limits: How much to fill at once, and how often to try.
        now: The time, in Unix seconds.
    """
    gaps = [state for state in states if state.status is PartitionStatus.GAP]
    open_gaps = [gap for gap in gaps if gap.attempts < limits.max_attempts]
    waiting = [gap for gap in open_gaps if limits.ready_at(gap) > now]
    runs = list(_ranges(states, limits, now))
    now_runs, later = runs[: limits.max_runs_per_tick], runs[limits.max_runs_per_tick :]
    return GapPlan(
        runs=tuple(now_runs),
        later=tuple(key for run in later for key in run.keys),
        waiting=tuple(gap.key for gap in waiting),
        given_up=tuple(gap.key for gap in gaps if gap.attempts >= limits.max_attempts),
        busy=tuple(state.key for state in states if state.status is PartitionStatus.BUSY),
        due_at=min(map(limits.ready_at, waiting), default=None),
    )


def _ranges(states: Sequence[PartitionState], limits: GapLimits, now: float) -> Iterator[GapRun]:
    def attempt_due(state: PartitionState) -> int | None:
        is_open = state.status is PartitionStatus.GAP and state.attempts < limits.max_attempts
        return state.attempts + 1 if is_open and limits.ready_at(state) <= now else None

    for attempt, neighbours in groupby(states, key=attempt_due):
        if attempt is None:
            continue
        keys, size = [state.key for state in neighbours], limits.run_size(attempt)
        for start in range(0, len(keys), size):
            yield GapRun(tuple(keys[start : start + size]), attempt)
