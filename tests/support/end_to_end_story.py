"""The end-to-end story, scene by scene: what automation does while the upstream and the data source misbehave.

Comes in: a stage, which is Dagster with the code location of ``end_to_end_definitions``, and the local service.
Goes out: nothing; what is not as promised fails.
Never: knows whether daemons of their own turn the wheels (``end_to_end_processes``) or the test does
(``end_to_end_loops``).
"""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

import dagster as dg

from temporis_dagster import DataSource
from tests.support.end_to_end_upstream import FORMAT, Upstream

T = TypeVar("T")
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
SCHEDULE, GAPS, ARCHIVE = "fill_schedule", "fill_gap_fill_sensor", "archive_state_sensor"
BY_SCHEDULE, BY_GAPS = {"dagster/schedule_name": SCHEDULE}, {"dagster/sensor_name": GAPS}
LOOKBACK, MAX_ATTEMPTS, HISTORY = 3, 3, 9
MINUTE = timedelta(minutes=1)
BACKFILLED, DAYS, ROWS = ("disturbed", "undisturbed"), [f"2024-01-{day:02d}" for day in range(1, 11)], 10 * 24 * 60
UNFINISHED = [
    status for status in dg.DagsterRunStatus if status.value not in {"SUCCESS", "FAILURE", "CANCELED", "MANAGED"}
]


@dataclass
class Stage(ABC):
    """Dagster and a data source, and how time passes.

    Attributes:
        instance: Of Dagster.
        upstream: Where the assets extract from.
        source: The data source ``grid``, seen past the service.
        store_url: Of the store that is served.
        start: The first partition begins then.
    """

    instance: dg.DagsterInstance
    upstream: Upstream
    source: DataSource
    store_url: str
    start: datetime

    @abstractmethod
    def turn(self) -> None:
        """Let some time pass, or raise TimeoutError when it is enough."""

    @abstractmethod
    def between_ticks(self) -> bool:
        """The schedule will not tick at once."""

    @abstractmethod
    def launch(self, job: str, keys: Sequence[str] = ()) -> str:
        """Launch a job by hand, over a range of partitions; the id of its run, which need not have begun."""

    @abstractmethod
    def ensure_shown(self, words: str) -> None:
        """What the instance says is what somebody who looks at it is shown."""

    def until(self, what: str, seen: Callable[[], T | None]) -> T:
        """Let time pass until something is seen."""
        try:
            while not (found := seen()):
                self.turn()
        except TimeoutError as error:
            raise AssertionError(f"not seen: {what}\n{self.so_far()}") from error
        return found

    def so_far(self) -> str:
        """For whoever has to find out why the story did not go on."""
        runs = [f"{run.run_id[:8]} {run.status.value} {run.job_name} {keys_of(run)}" for run in self.runs()]
        ticks = [f"{name}: {self.said(name)[:3]}" for name in (SCHEDULE, GAPS, ARCHIVE)]
        return "\n".join([*runs, *ticks])

    # What Dagster says

    def runs(self, tags: dict[str, str] | None = None, since: float = 0.0) -> list[dg.DagsterRun]:
        """The runs with these tags that were made since then, newest first."""
        after = datetime.fromtimestamp(since, tz=timezone.utc)
        return list(self.instance.get_runs(filters=dg.RunsFilter(tags=tags or {}, created_after=after)))

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def at_rest(self) -> bool:
        """Nobody is at work."""
        return not self.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))

    def finished(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait for the end of a run; how it ended."""
        return self.until(f"the end of run {run_id}", lambda: (run := self.run(run_id)).is_finished and run.status)

    def filled_by(self, tags: dict[str, str], before: Iterable[str] = ()) -> dg.DagsterRun | None:
        """The first run with these tags that succeeded, those before left out."""
        done = [run for run in self.runs(tags) if run.is_success and run.run_id not in before]
        return done[-1] if done else None

    def ids(self) -> set[str]:
        """Of all runs there are."""
        return {run.run_id for run in self.runs()}

    def said(self, name: str) -> list[tuple[float, str]]:
        """The reasons for the ticks of a schedule or sensor that were skipped, newest first, with their times."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == name:
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=50)
                return [(tick.timestamp, tick.skip_reason) for tick in ticks if tick.skip_reason]
        return []

    def skipped(self, name: str, words: str, after: float = 0.0) -> list[str]:
        """The reasons with these words, of ticks after that time, newest first."""
        return [reason for moment, reason in self.said(name) if words in reason and moment > after]

    def latest_tick(self, name: str) -> float:
        return max((moment for moment, _ in self.said(name)), default=0.0)

    def check_of(self, data_source: str) -> str | None:
        """``SUCCEEDED``, ``FAILED``, or None: what the check of the archive state last found."""
        key = dg.AssetCheckKey(dg.AssetKey(["temporis", data_source]), "archive_state_check")
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        return record.status.value if record else None

    # What is stored

    def key(self, number: int) -> str:
        """A partition, counted from the first."""
        return (self.start + number * MINUTE).strftime(FORMAT)

    def stored(self, series: str = "load") -> dict[str, float]:
        """The values of the data source by partition."""
        frame = self.source.read(names=[series])
        return dict(zip(frame["timestamp"].dt.strftime(FORMAT), frame["value"].tolist(), strict=True))

    def temporis(self, *arguments: str) -> None:
        """The command line, as whoever keeps the data source uses it."""
        command = [sys.executable, "-m", "temporis_dagster.cli", *arguments, "--store", self.store_url]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def keys_of(run: dg.DagsterRun) -> list[str]:
    """The partitions of a run."""
    return span(*(run.tags[tag] for tag in RANGE)) if RANGE[0] in run.tags else []


def span(first: str, last: str) -> list[str]:
    """The partitions from one to another."""
    start, end = (datetime.strptime(key, FORMAT).replace(tzinfo=timezone.utc) for key in (first, last))
    return [(start + number * MINUTE).strftime(FORMAT) for number in range((end - start) // MINUTE + 1)]


def tell(stage: Stage) -> None:
    """The whole story, from the first start of the daemons."""
    cursed, broken = stage.key(1), stage.key(5)
    stage.upstream.say(version=1.0, fails=(cursed, 1_000_000))
    a_tick_fills_the_trailing_window(stage)
    the_sensor_fills_history_and_gives_up_on_one_partition(stage, cursed)
    a_partition_that_breaks_is_healed(stage, broken)
    by_hand = a_slow_older_run_never_wins(stage)
    there_already = archived_nothing_is_launched_or_computed(stage, by_hand)
    unarchived_everything_is_made_up_for(stage, there_already, cursed)
    assert len(stage.upstream.extractions("load", cursed)) == MAX_ATTEMPTS, "more attempts than it may have"


def a_tick_fills_the_trailing_window(stage: Stage) -> None:
    run = stage.until("a scheduled run that succeeded", lambda: stage.filled_by(BY_SCHEDULE))
    assert len(keys_of(run)) >= LOOKBACK
    assert set(keys_of(run)) <= set(stage.stored())
    stage.ensure_shown(run.run_id)


def the_sensor_fills_history_and_gives_up_on_one_partition(stage: Stage, cursed: str) -> None:
    words = f"Given up after {MAX_ATTEMPTS} attempts: {cursed}."
    reason = stage.until("the sensor gives up on what always fails", lambda: stage.skipped(GAPS, words))[0]
    tried = [run for run in stage.runs(BY_GAPS) if cursed in keys_of(run)]
    assert [run.tags["temporis/attempt"] for run in tried] == ["3", "2", "1"]
    assert keys_of(tried[0]) == [cursed], "the last attempt takes no neighbour with it"
    history = {stage.key(number) for number in range(HISTORY)}
    stage.until("its neighbours are filled", lambda: history - {cursed} <= set(stage.stored()))
    assert cursed not in stage.stored()
    stage.ensure_shown(reason)


def a_partition_that_breaks_is_healed(stage: Stage, broken: str) -> None:
    """It was there; run by hand it fails, so does the sensor's first attempt, and the second one heals it."""
    before = len(stage.upstream.extractions("load", broken))
    earlier = stage.ids()
    stage.upstream.say(version=2.0, fails=(broken, 2))
    assert stage.finished(stage.launch("fill", [broken])) is dg.DagsterRunStatus.FAILURE
    assert stage.stored()[broken] == 1.0, "what was stored stays, until there is something newer"
    healed = stage.until("the sensor heals it", lambda: stage.filled_by(BY_GAPS, earlier))
    assert (keys_of(healed), healed.tags["temporis/attempt"]) == ([broken], "2")
    assert len(stage.upstream.extractions("load", broken)) == before + 3
    assert stage.stored()[broken] == 2.0


def quiet(stage: Stage) -> dg.DagsterRun:
    """Wait until nobody is at work and no tick is about to come; the scheduled run that succeeded last."""
    stage.until("nobody is at work", lambda: stage.at_rest() and stage.between_ticks())
    return next(run for run in stage.runs(BY_SCHEDULE) if run.is_success)


def a_slow_older_run_never_wins(stage: Stage) -> set[str]:
    """It holds older values while the upstream has newer ones: nobody newer overtakes it, and who comes after it wins.

    The schedule leaves the window alone. A run by hand waits, as the pool of the data source has a limit of 1.
    Returns the partitions of the window.
    """
    window = keys_of(quiet(stage))[-LOOKBACK:]
    seen, asleep = stage.latest_tick(SCHEDULE), len(stage.upstream.extractions("load"))
    with stage.upstream.held():
        older = stage.launch("fill", window)
        stage.until("the older run has its values", lambda: len(stage.upstream.extractions("load")) > asleep)
        stage.upstream.say(version=3.0)
        newer = stage.launch("fill", window)
        words = "is at work on"
        (reason, *_) = stage.until("the schedule stays out of the way", lambda: stage.skipped(SCHEDULE, words, seen))
        assert any(run[:8] in reason for run in (older, newer))
    assert {stage.finished(run) for run in (older, newer)} == {dg.DagsterRunStatus.SUCCESS}
    versions = [one.version for one in stage.upstream.extractions("load")[asleep:] if set(window) <= set(one.keys)]
    assert versions[:2] == [2.0, 3.0]
    assert {stage.stored()[key] for key in window} == {3.0}
    stage.ensure_shown(reason)
    return set(window)


def archived_nothing_is_launched_or_computed(stage: Stage, by_hand: set[str]) -> list[str]:
    """Returns the partitions that were filled last before, by ticks alone.

    A run by hand is of the real clock, which is ahead of that of ``end_to_end_loops``: no later tick is said to miss.
    """
    stage.until("ticks leave behind what was filled by hand", lambda: not by_hand & set(keys_of(quiet(stage))))
    last = quiet(stage)
    archived_after = stage.latest_tick(SCHEDULE)
    stage.temporis("sources", "archive", "grid")
    stage.upstream.say(version=4.0)
    extracted, stored, runs = len(stage.upstream.extractions("load")), stage.stored(), len(stage.runs())
    skipped = stage.until(
        "two ticks are skipped",
        lambda: (said := stage.skipped(SCHEDULE, "Archived: grid.", archived_after)) and len(said) >= 2 and said,
    )
    stage.until("the check turns red", lambda: stage.check_of("grid") == "FAILED")
    assert (stage.check_of("legacy"), stage.check_of("ghost")) == ("SUCCEEDED", "FAILED"), "each for itself"
    assert stage.finished(stage.launch("predict")) is dg.DagsterRunStatus.FAILURE
    assert stage.upstream.extractions("forecast") == [], "an expensive body ran in vain"
    assert (len(stage.upstream.extractions("load")), stage.stored()) == (extracted, stored)
    assert len(stage.runs()) == runs + 1, "something was launched"
    stage.ensure_shown(skipped[0])
    stage.ensure_shown("FAILED")
    return keys_of(last)


def unarchived_everything_is_made_up_for(stage: Stage, there_already: Sequence[str], cursed: str) -> None:
    earlier = stage.ids()
    stage.temporis("sources", "unarchive", "grid")
    stage.until("the check is green again", lambda: stage.check_of("grid") == "SUCCEEDED")
    run = stage.until("a scheduled run makes up for it", lambda: stage.filled_by(BY_SCHEDULE, earlier))
    refilled, stored = keys_of(run), stage.stored()
    corrected = set(there_already[-(LOOKBACK - 1) :])
    assert corrected <= set(refilled), "corrections to what was there are picked up, as the missed tick would have"
    assert len(refilled) >= LOOKBACK + 2
    assert {stored[key] for key in refilled} == {4.0}
    assert set(span(stage.key(0), refilled[-1])) - set(stored) == {cursed}
    assert stage.finished(stage.launch("predict")) is dg.DagsterRunStatus.SUCCESS
    assert len(stage.upstream.extractions("forecast")) == 1
    stage.ensure_shown(run.run_id)
