"""What a dashboard asks a store, in SQLite and in PostgreSQL: overviews, pages of series, lines, newest rows, counts.

Lines are compared with what pandas computes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from temporis_dagster.data_source.store import SqlStore, row_counts, series_pages, sources
from temporis_dagster.data_source.store import store as store_module
from temporis_dagster.errors import DataSourceNotFoundError
from tests.support.store_tools import Content, minutes, put


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def kind(request) -> str:
    """In which database the store is."""
    return request.param


@pytest.fixture(scope="module")
def shared(kind, request, tmp_path_factory):
    """A store for many data sources."""
    if kind == "sqlite":
        with closing(SqlStore(f"sqlite:///{tmp_path_factory.mktemp('shared')}/temporis.db")) as store:
            yield store
        return
    with request.getfixturevalue("postgres_server").database() as url, closing(SqlStore(url)) as store:
        yield store


@pytest.fixture
def store(shared, request) -> SqlStore:
    """The store of an account of its own, with the data source ``metrics``."""
    store = shared.of_account(request.node.name)
    store.create_data_source("metrics")
    return store


def stored_in_a_new_source(store: SqlStore, rows: Content) -> str:
    """The name of a new data source with these rows."""
    name = f"source_{len(store.data_sources())}"
    store.create_data_source(name)
    put(store, rows, name)
    return name


def frame_of(rows: Content) -> pd.DataFrame:
    """The same rows, sorted by time."""
    frame = pd.DataFrame([(*key, value) for key, value in rows.items()], columns=["timestamp", "name", "value"])
    return frame.astype({"timestamp": "int64", "value": "float64"}).sort_values("timestamp", ignore_index=True)


# Overview and size


def test_an_overview_has_a_line_for_each_data_source_of_the_account(store):
    """By name, with the number of series, the first and the last second; nothing where there is nothing."""
    store.create_data_source("Empty")
    put(store, {(-5, "a"): 1.0, (7, "a"): 2.0, (3, "b"): 0.5, (9, "gone"): 1.0})
    store.delete("metrics", None, None, ["gone"], dry_run=False)
    store.set_archived("metrics", archived=True)
    other = store.of_account("someone else")
    other.create_data_source("theirs")
    empty, metrics = store.overview()
    assert empty == ("Empty", False, 0, None, None, None)
    assert metrics[:5] == ("metrics", True, 3, -5, 7)
    assert metrics == store.overview_of("metrics")
    with pytest.raises(DataSourceNotFoundError):
        store.overview_of("theirs")


def test_the_last_write_is_when_an_upsert_last_changed_something(store, monkeypatch):
    """To the second; an upsert of what is there already changes nothing, and neither does one that is refused."""
    now = 1_718_870_400.75

    def at(moment: float) -> None:
        monkeypatch.setattr(sources.time, "time", lambda: moment)

    at(now)
    assert store.overview_of("metrics").last_write is None
    put(store, minutes(3))
    assert store.overview_of("metrics").last_write == 1_718_870_400
    at(now + 60)
    put(store, minutes(3))
    put(store, {})
    assert store.overview_of("metrics").last_write == 1_718_870_400
    put(store, {**minutes(3), (0, "orders"): 9.0})
    assert store.overview_of("metrics").last_write == 1_718_870_460


steps = st.lists(
    st.dictionaries(st.tuples(st.integers(-9, 9), st.sampled_from("ab")), st.just(1.0), max_size=4)
    | st.tuples(st.integers(-9, 9), st.integers(1, 9), st.sampled_from("ab")),
    max_size=8,
)


@pytest.mark.parametrize("most_series", [100, 0], ids=["kept", "looked up"])
@settings(deadline=None, max_examples=60)
@given(made=steps)
def test_the_first_and_the_last_second_are_right_whatever_was_written_and_deleted(shared, most_series, made):
    """Each upsert widens what is kept, or looks it up after a delete; of very many series, an overview looks it up."""
    name, model = stored_in_a_new_source(shared, {}), dict[tuple[int, str], float]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "MOST_SERIES", most_series)
        for step in made:
            if isinstance(step, dict):
                put(shared, step, name)
                model |= step
            else:
                start, length, series = step
                shared.delete(name, start, start + length, [series], dry_run=False)
                model = {key: 1.0 for key in model if key[1] != series or not start <= key[0] < start + length}
            there = [second for second, _ in model]
            found = shared.overview_of(name)
            assert (found.first, found.last) == (min(there, default=None), max(there, default=None))


def test_without_a_store_there_is_nothing_and_none_is_made(kind, tmp_path, request):
    """An overview is empty, and a store that does not exist takes no room."""
    url = f"sqlite:///{tmp_path}/none.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with closing(SqlStore(url)) as store:
        assert (store.overview(), store.size(), store.exists) == ([], 0, False)
        store.create_data_source("metrics")
        empty = store.size()
        put(store, minutes(20_000))
        assert store.size() > empty + 20_000 * 8 > 20_000 * 8


# Pages of series

NAMES = ["100 %", "GRÖSSE", "a_b", "axb", "o'r\"d", "größe", "orders", "📈 <script>", "\\", "ORDERS_total"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", sorted(NAMES)),
        ("order", ["ORDERS_total", "orders"]),
        ("ORDER", ["ORDERS_total", "orders"]),
        ("grösse", ["GRÖSSE", "größe"]),
        ("%", ["100 %"]),
        ("_", ["ORDERS_total", "a_b"]),
        ("'r\"", ["o'r\"d"]),
        ("📈", ["📈 <script>"]),
        ("<Script>", ["📈 <script>"]),
        ("\\", ["\\"]),
        ("\0", []),
        ("nothing", []),
    ],
)
def test_series_are_found_by_any_part_of_their_name(shared, search, found):
    """In upper or lower case, also beyond ASCII; no character is special."""
    store = shared.of_account("names")
    if not store.data_sources():
        store.create_data_source("metrics")
        put(store, {(0, name): 1.0 for name in NAMES})
    page = store.series_page("metrics", search)
    assert ([series.name for series in page.series], page.total) == (found, len(found))


def test_a_page_is_a_part_of_what_matches(store):
    """``total`` counts all of it; a page beyond the end is empty."""
    put(store, {(0, f"s{number}"): 1.0 for number in range(7)} | {(0, "other"): 1.0})
    page = store.series_page("metrics", "S", offset=2, most=3)
    assert ([series.name for series in page.series], page.total) == (["s2", "s3", "s4"], 7)
    assert store.series_page("metrics", offset=8) == (8, [])
    assert store.series_page("metrics", most=0) == (8, [])
    with pytest.raises(DataSourceNotFoundError):
        store.series_page("missing")


def test_a_series_without_observations_is_listed(store):
    """What was deleted leaves the name, without a first or last second."""
    put(store, {(0, "a"): 1.0, (0, "b"): 1.0, (5, "c"): -0.0})
    store.delete("metrics", None, None, ["b"], dry_run=False)
    a, b, c = store.series_page("metrics").series
    assert (b.first, b.last, len(b.sparkline.timestamps)) == (None, None, 0)
    assert (a.first, a.last, a.sparkline.values.tolist()) == (0, 0, [1.0])
    assert (c.first, c.last, str(c.sparkline.values.tolist())) == (5, 5, "[-0.0]")


seconds = st.integers(-2_000, 2_000) | st.integers(-62_135_596_800, 10**11 - 1)
values = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3).map(float) | st.just(-0.0)
contents = st.dictionaries(st.tuples(seconds, st.sampled_from("abc")), values, max_size=120)


@settings(deadline=None)
@given(rows=contents)
def test_a_sparkline_has_observations_evenly_spread_over_time(shared, rows):
    """For each of 48 moments from the first to the last observation, the observation that follows it, each once."""
    source = stored_in_a_new_source(shared, rows)
    frame = frame_of(rows)
    for series in shared.series_page(source).series:
        own = frame[frame["name"] == series.name]
        first, last = int(own["timestamp"].iloc[0]), int(own["timestamp"].iloc[-1])
        steps = series_pages.POINTS - 1
        wanted = [first + (last - first) * step // steps for step in range(steps + 1)]
        places = sorted(set(np.searchsorted(own["timestamp"], wanted).tolist()))
        assert (series.first, series.last) == (first, last)
        assert series.sparkline.timestamps.tolist() == own["timestamp"].iloc[places].tolist()
        assert series.sparkline.values.tolist() == own["value"].iloc[places].tolist()


# Lines


def expected(rows: Content, name: str, start: int, end: int, buckets: int) -> list[tuple[int, float, float, float]]:
    """What pandas makes of it."""
    frame = frame_of(rows)
    own = frame[(frame["name"] == name) & (frame["timestamp"] >= start) & (frame["timestamp"] < end)]
    if len(own) <= buckets:
        return [(second, value, value, value) for second, value in zip(own["timestamp"], own["value"], strict=True)]
    length = max(1, -(-(end - start) // buckets))
    found = own.groupby([(second - start) // length for second in own["timestamp"].tolist()]).agg(
        timestamp=("timestamp", "last"), low=("value", "min"), high=("value", "max"), last=("value", "last")
    )
    return list(found.itertuples(index=False, name=None))


def points(line) -> list[tuple[int, float, float, float]]:
    columns = (line.timestamps, line.low, line.high, line.last)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(deadline=None)
@given(
    rows=contents,
    start=st.none() | seconds,
    end=st.none() | seconds,
    buckets=st.integers(1, 30),
    names=st.lists(st.sampled_from(["a", "b", "c", "missing", "\0"]), max_size=4),
)
@example(rows={}, start=None, end=None, buckets=1, names=["a"])
@example(rows={(-1, "a"): 1.0}, start=None, end=None, buckets=600, names=["a"])
@example(rows={(-second, "a"): float(second) for second in range(5)}, start=-3, end=0, buckets=2, names=["a"])
@example(rows={(0, "a"): -0.0, (1, "a"): 0.0, (2, "a"): -1.0}, start=0, end=3, buckets=1, names=["a"])
@example(rows={(0, "a"): 1.0, (1, "a"): 2.0}, start=10, end=5, buckets=1, names=["a", "b"])
@example(rows={(0, "a"): 1.0, (1, "a"): 2.0}, start=-(2**70), end=2**70, buckets=1, names=["a", "a"])
def test_the_buckets_of_a_line_are_those_of_pandas(shared, rows, start, end, buckets, names):
    """Lowest, highest and last value of each bucket, at the time of the last; without a bound, as far as rows go."""
    lines = shared.plot(stored_in_a_new_source(shared, rows), names, start, end, buckets)
    assert [line.name for line in lines] == names
    assert not any(line.is_sample for line in lines)
    low, high = (-(2**63) if start is None else start), (2**63 if end is None else end)
    inside = [second for second, name in rows if name in names and low <= second < high]
    first = min(inside, default=0) if start is None else max(start, -(2**63))
    after = max(inside, default=0) + 1 if end is None else min(end, 2**63 - 1)
    for line in lines:
        assert points(line) == expected(rows, line.name, first, after, buckets)


@settings(deadline=None, max_examples=30)
@given(rows=contents, buckets=st.integers(1, 10))
def test_a_line_of_more_rows_than_may_be_looked_at_is_a_sample_and_says_so(shared, rows, buckets):
    """The last value of each bucket is exact; low and high lie between the exact ones."""
    source = stored_in_a_new_source(shared, rows)
    exact = {line.name: line for line in shared.plot(source, ["a", "b"], buckets=buckets)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "EXACT_ROWS", 25)
        lines = shared.plot(source, ["a", "b"], buckets=buckets)
    sizes = {name: sum(key[1] == name for key in rows) for name in "ab"}
    many = sorted(size for size in sizes.values() if size > buckets)
    exact_of = sum(many) if sum(many) <= 25 else many[0] if len(many) > 1 and many[0] <= 25 // 2 else 0
    for line in lines:
        assert line.is_sample == (sizes[line.name] in many and sizes[line.name] > exact_of)
        assert line.timestamps.tolist() == exact[line.name].timestamps.tolist()
        assert line.last.tolist() == exact[line.name].last.tolist()
        assert (line.low >= exact[line.name].low).all()
        assert (line.high <= exact[line.name].high).all()


# The newest rows


@settings(deadline=None)
@given(
    rows=contents | st.dictionaries(st.tuples(st.integers(0, 4), st.sampled_from("abcdefgh")), values, max_size=40),
    start=st.none() | seconds,
    end=st.none() | seconds,
    names=st.none() | st.lists(st.sampled_from(["a", "b", "missing"]), max_size=3),
    most=st.integers(0, 20),
)
def test_a_table_has_the_newest_rows_of_a_range(shared, rows, start, end, names, most):
    """The newest first, and those of one second by name."""
    found = shared.table(stored_in_a_new_source(shared, rows), names, start, end, most)
    inside = [
        (second, name, value)
        for (second, name), value in rows.items()
        if (names is None or name in names) and (start is None or second >= start) and (end is None or second < end)
    ]
    assert found == sorted(inside, key=lambda row: (-row[0], row[1]))[:most]


# Counting in the background


@contextmanager
def counting_held_up() -> Iterator[None]:
    """Let the thread that counts have something else to do first; at the end, wait until it has counted."""
    go = threading.Event()
    row_counts.RowCounts().get("x", lambda: int(go.wait()))
    yield
    go.set()
    join_the_counting()


def join_the_counting() -> None:
    """Wait for the thread that counts, if there is one."""
    for thread in threading.enumerate():
        if thread.name == row_counts.THREAD_NAME:
            thread.join()


def test_observations_are_counted_in_the_background_and_the_number_is_kept(store, monkeypatch):
    """At first there is none; then there is one with its time, which is counted again when it is no longer fresh."""
    put(store, minutes(5) | minutes(3, name="visits"))
    with counting_held_up():
        assert store.observations("metrics") is None
    counted = store.observations("metrics")
    assert counted is not None
    assert counted.rows == 8
    put(store, minutes(6))
    join_the_counting()
    assert store.observations("metrics") == counted, "it is fresh, so nothing was counted"
    monkeypatch.setattr(store._row_counts, "_fresh_until", {})
    with counting_held_up():
        assert store.observations("metrics") == counted, "who asks does not wait"
    again = store.observations("metrics")
    assert (again.rows, again.counted_at >= counted.counted_at) == (9, True)


def test_one_thread_counts_for_all_stores_of_the_process():
    """However many ask, and for however many data sources: the second waits for its turn."""
    go, threads = threading.Event(), list[threading.Thread]()

    def count(number: int) -> int:
        go.wait()
        threads.append(threading.current_thread())
        return number

    counts = [row_counts.RowCounts() for _ in range(3)]
    for number, each in enumerate(counts):
        for key in "xyx":
            assert each.get(key, lambda number=number: count(number)) is None
    go.set()
    join_the_counting()
    results = [each.get(key, lambda: 0).rows for each in counts for key in "xy"]
    assert (results, len(threads), len(set(threads))) == ([0, 0, 1, 1, 2, 2], 6, 1)


def test_a_count_that_fails_is_logged_and_not_repeated_at_once(store, caplog):
    """The page goes on without a number."""
    assert store.observations("missing") is None
    join_the_counting()
    assert store.observations("missing") is None
    join_the_counting()
    said = [record.getMessage() for record in caplog.records if record.name == row_counts.LOGGER.name]
    assert len(said) == 1
    assert "There is no data source 'missing'" in said[0]


def test_nothing_is_counted_for_a_store_that_was_closed():
    """What still waits for its turn is dropped."""
    go, done = threading.Event(), []
    first, second = row_counts.RowCounts(), row_counts.RowCounts()
    first.get("x", lambda: done.append("first") or int(go.wait()))
    second.get("x", lambda: done.append("second") or 0)
    second.close()
    go.set()
    join_the_counting()
    assert done == ["first"]
