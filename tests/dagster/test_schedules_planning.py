"""The rules under schedules and sensors, for every input: which partitions are trailing, which gaps are filled when."""

from datetime import datetime, timedelta, timezone

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster.schedules.gap_plan import GapLimits, PartitionState, PartitionStatus, plan_gaps
from temporis_dagster.schedules.partition_row import (
    PartitionRow,
    keys_since,
    tick_before,
    trailing_keys,
    trailing_start,
)
from temporis_dagster.schedules.trailing_window import _ranges

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]
CRONS = {"0 * * * *": 3_600, "*/15 * * * *": 900, "0 0 * * *": 86_400, "30 2 * * *": 86_400, "0 5 * * 1": 604_800}
UNEVEN = {"0 6 * * 1-5": 120_960, "0 0 1,2 * *": 1_314_900}
"""Windows of several lengths, in the mean in seconds."""

CHANGES = [datetime(2026, month, day, tzinfo=timezone.utc) for month, day in ((3, 8), (3, 29), (10, 25), (11, 1))]


@st.composite
def partitions_and_a_time(draw):
    """Partitions that began shortly before a clock change somewhere, and a time close to it."""
    lengths = CRONS | UNEVEN
    cron = draw(st.sampled_from(sorted(lengths)))
    near = draw(st.sampled_from(CHANGES)) + timedelta(minutes=draw(st.integers(-3_000, 3_000)))
    start = near - timedelta(seconds=lengths[cron] * draw(st.integers(0, 40)))
    partitions = dg.TimeWindowPartitionsDefinition(
        start=start,
        fmt="%Y-%m-%dT%H:%M",
        cron_schedule=cron,
        timezone=draw(st.sampled_from(ZONES)),
        end_offset=draw(st.integers(-1, 2)),
    )
    return partitions, near


@given(partitions_and_a_time(), st.integers(1, 60))
def test_trailing_partitions_are_the_last_that_dagster_lists(given_partitions, count):
    """Counted back from the newest, in any zone and rhythm, they are the end of Dagster's own list at that time."""
    partitions, at = given_partitions
    with dg.partition_loading_context(effective_dt=at):
        listed = partitions.get_partition_keys()
    assert trailing_keys(partitions, at, count) == listed[-count:]
    start = trailing_start(partitions, at, count)
    assert (start is None) == (not listed)
    if start is not None:
        assert keys_since(partitions, at, start) == listed[-count:]


@given(st.sampled_from(sorted(CRONS)), st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(0, 200_000))
def test_the_tick_before_a_moment_is_before_it_and_none_is_between(cron, zone, change, seconds):
    """Ticks descend strictly, and each one is the one before the moment just after it."""
    moment = (change + timedelta(seconds=seconds)).timestamp()
    tick = tick_before([cron], zone, moment)
    assert moment > tick >= moment - CRONS[cron] - 7_200
    assert tick_before([cron], zone, tick + 1) == tick
    assert tick_before([cron], zone, tick) < tick
    assert tick_before([cron, "0 0 * * *"], zone, moment) == max(tick, tick_before(["0 0 * * *"], zone, moment))


@given(partitions_and_a_time(), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_a_range_of_partitions_is_found_in_a_row_of_them(given_partitions, count, first, length):
    """Those of the range that are in the row, also where it begins before the row or ends after it."""
    partitions, at = given_partitions
    with dg.partition_loading_context(effective_dt=at):
        listed = partitions.get_partition_keys()
    if not listed:
        return
    row = PartitionRow(partitions, listed[-count:])
    first = min(first, len(listed) - 1)
    asked = listed[first : first + length + 1]
    span = row.span(asked[0], asked[-1])
    assert [key for position, key in enumerate(row.keys) if position in span] == [
        key for key in row.keys if key in asked
    ]
    assert row.span("no key", asked[-1]) is None


@given(st.integers(0, 30), st.integers(1, 10), st.data(), st.none() | st.integers(1, 12))
def test_what_was_left_out_is_made_up_for_newest_first(count, lookback, data, most):
    """Tick by tick, everything that was left out gets a run, never twice, and never in a run that is too long."""
    most = most if most is None else max(most, lookback)
    missed = sorted(data.draw(st.sets(st.integers(0, max(count - lookback, 0) - 1)))) if count > lookback else []
    left = set(missed)
    for _ in range(count + 1):
        trailing, earlier = _ranges(count, lookback, sorted(left), most)
        assert trailing.stop == count
        assert set(range(max(count - lookback, 0), count)) <= set(trailing)
        assert most is None or max(len(trailing), len(earlier)) <= max(most, 1)
        launched = {*trailing, *earlier} - set(range(max(count - lookback, 0), count))
        assert launched <= left
        assert not left or max(left) in launched or (most is not None and len(trailing) == most)
        assert not set(trailing) & set(earlier)
        if not left:
            return
        left -= launched
    assert not left


limits = st.builds(
    GapLimits,
    max_partitions_per_run=st.integers(1, 50),
    max_runs_per_tick=st.integers(1, 5),
    max_attempts=st.integers(1, 5),
    retry_delay_s=st.sampled_from([0.0, 1.0, 300.0]),
)
statuses = st.lists(
    st.tuples(st.sampled_from(PartitionStatus), st.integers(0, 6), st.floats(0, 1e4)), min_size=0, max_size=60
)


def states_of(given_statuses):
    return [PartitionState(f"{number:03d}", *one) for number, one in enumerate(given_statuses)]


@given(statuses, limits, st.floats(0, 1e5))
def test_every_partition_is_in_one_place_of_the_plan(given_statuses, bounds, now):
    """What is filled appears nowhere, everything else exactly once, and no limit is exceeded."""
    states = states_of(given_statuses)
    by_key = {state.key: state for state in states}
    plan = plan_gaps(states, bounds, now)
    launched = [key for run in plan.runs for key in run.keys]
    placed = [*launched, *plan.later, *plan.waiting, *plan.given_up, *plan.busy]
    assert sorted(placed) == [state.key for state in states if state.status is not PartitionStatus.FILLED]
    assert len(plan.runs) <= bounds.max_runs_per_tick
    assert not plan.later or len(plan.runs) == bounds.max_runs_per_tick
    for run in plan.runs:
        numbers = [int(key) for key in run.keys]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert {by_key[key].attempts + 1 for key in run.keys} == {run.attempt}
        assert run.attempt <= bounds.max_attempts
        assert len(run.keys) <= bounds.run_size(run.attempt) <= bounds.max_partitions_per_run
        assert all(bounds.ready_at(by_key[key]) <= now for key in run.keys)
    assert all(bounds.ready_at(by_key[key]) > now for key in plan.waiting)
    assert (plan.due_at is None) == (not plan.waiting)


@given(st.sets(st.integers(0, 39)), limits)
def test_what_always_fails_takes_no_neighbour_with_it(broken, bounds):
    """Tick by tick, the healthy partitions end filled, and the broken ones given up.

    Each broken one has exactly max_attempts runs. With one attempt there is no smaller range to protect neighbours.
    """
    tried = dict.fromkeys(range(40), 0)
    filled: set[int] = set()
    now = 0.0
    for _ in range(2_000):
        states = [
            PartitionState(f"{n:03d}", PartitionStatus.FILLED)
            if n in filled
            else PartitionState(f"{n:03d}", PartitionStatus.GAP, tried[n], now)
            for n in range(40)
        ]
        now += bounds.retry_delay_s * 2.0**bounds.max_attempts
        plan = plan_gaps(states, bounds, now)
        if not plan.runs:
            break
        for run in plan.runs:
            numbers = {int(key) for key in run.keys}
            for number in numbers:
                tried[number] += 1
            if not numbers & broken:
                filled |= numbers
    assert sorted(map(int, plan.given_up)) == sorted(set(range(40)) - filled)
    assert broken <= set(range(40)) - filled
    assert all(tried[number] == bounds.max_attempts for number in broken)
    if bounds.max_attempts > 1:
        assert filled == set(range(40)) - broken


@given(limits)
def test_ranges_shrink_to_one(bounds):
    """The first attempt has the longest ranges, no further one has longer ones, and the last has single partitions."""
    sizes = [bounds.run_size(attempt) for attempt in range(1, bounds.max_attempts + 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == bounds.max_partitions_per_run
    assert len(sizes) == 1 or sizes[-1] == 1
