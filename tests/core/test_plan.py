"""Plans: what an upsert would do is what it then reports, and ghosts are what a set difference finds.

The hosts are a store in SQLite, a store in PostgreSQL, and a mirror.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import struct
import textwrap
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from temporis_dagster import (
    ConfigurationError,
    DataSourceNotFoundError,
    InvalidObservationsError,
    Limits,
    ReadNotSupportedError,
    connect,
)
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.plan import Within
from temporis_dagster.data_source.plan.changes import Changes, moves
from temporis_dagster.data_source.plan.inputs import InputKeys
from temporis_dagster.data_source.store import compare, planning
from temporis_dagster.data_source.store.sqlite import stored as sqlite_stored
from temporis_dagster.data_source.store.sqlite.file import driver
from temporis_dagster.testing import FakeService

SOURCE = "store_metrics"
fresh_accounts = (f"account_{number}" for number in itertools.count())


@contextmanager
def sqlite(request, tmp_path):
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        yield temporis.create_data_source(SOURCE)


@contextmanager
def postgres(request, tmp_path):
    with connect(request.getfixturevalue("database"), account=next(fresh_accounts)) as temporis:
        yield temporis.create_data_source(SOURCE)


@contextmanager
def mirror(request, tmp_path):
    with (
        FakeService() as service,
        connect(service.url, service.token, mirror=f"sqlite:///{tmp_path}/mirror.db") as temporis,
    ):
        yield temporis.data_source(SOURCE)


@pytest.fixture(scope="module")
def database(postgres_server):
    """The URL of a PostgreSQL database that the tests of this file share: each has an account of its own."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=[sqlite, postgres, mirror], ids=lambda kind: kind.__name__)
def source(request, tmp_path):
    with request.param(request, tmp_path) as source:
        yield source


@pytest.fixture(params=[sqlite, postgres], ids=lambda kind: kind.__name__)
def store(request, tmp_path):
    """A data source from which rows can be deleted."""
    with request.param(request, tmp_path) as source:
        yield source


def frame(*records):
    return pd.DataFrame(records, columns=["timestamp", "name", "value"])


def content_of(source):
    back = source.read()
    seconds = back.timestamp.astype("int64") if len(back) else []
    return dict(zip(zip(seconds, back.name, strict=True), back.value, strict=True))


def bits(value):
    return struct.pack("<d", value)


def keys_of(rows):
    return set(zip(rows["timestamp"].astype("int64"), rows["series"], strict=True)) if len(rows) else set()


NAMES = ["a", "ab", "b", "é"]
RECORDS = st.lists(
    st.tuples(
        st.integers(-3, 12),
        st.sampled_from(NAMES),
        st.sampled_from([0.0, -0.0, 1.0, 2.5, -1e308, 1e308, 5e-324, math.nan]),
    ),
    min_size=1,
    max_size=30,
)
SPANS = st.none() | st.lists(
    st.tuples(st.integers(-4, 14), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))), max_size=3
).map(tuple)
SUBJECTS = st.builds(
    Within,
    SPANS,
    st.none() | st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    st.sampled_from(["", "a", "z"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=RECORDS, after=RECORDS, within=SUBJECTS)
def test_a_plan_is_what_the_upsert_then_reports_and_ghosts_are_what_brute_force_finds(source, before, after, within):
    """New, changed and unchanged add up, bit for bit; ghosts are the stored keys within that the frame lacks."""
    source.upsert(frame(*before), on_invalid="drop")
    stored = content_of(source)
    observations = observe(frame(*after), ObservationOptions(on_invalid="drop"))
    plan = source.plan(observations, within=within)
    wanted = {(s, n): v for s, n, v in after if not math.isnan(v)}
    assert plan.new == len(wanted.keys() - stored.keys())
    assert plan.unchanged == sum(bits(stored[key]) == bits(v) for key, v in wanted.items() if key in stored)
    assert plan.new + plan.changed + plan.unchanged == len(wanted)
    assert (
        plan.new + plan.changed + plan.unchanged + plan.superseded + plan.dropped == plan.observations_in == len(after)
    )
    moved = {
        (int(row.timestamp.timestamp()), row.series): (bits(row.before), bits(row.after))
        for row in plan.changes.itertuples()
    }
    assert moved == {
        k: (bits(stored[k]), bits(v)) for k, v in wanted.items() if k in stored and bits(stored[k]) != bits(v)
    }
    lost = {key for key in stored if _is_within(key, within, wanted, after)} - {(s, n) for s, n, _ in after}
    found = source.ghosts(observations, within)
    assert plan.ghosts == found.count == len(lost)
    assert plan.stored == found.stored == sum(_is_within(key, within, wanted, after) for key in stored)
    assert keys_of(found.rows(None)) == lost
    assert keys_of(plan.ghost_rows) <= lost
    assert int(plan.series["ghosts"].sum()) == plan.ghosts
    for column in ("new", "changed", "unchanged"):
        assert int(plan.series[column].sum()) == getattr(plan, column)
    assert content_of(source) == stored
    json.dumps(plan.to_dict())
    str(plan)
    plan._repr_html_()

    report = source.upsert(observations)
    assert source.ghosts(observations, within, stored=True).count == len(lost)
    again = source.plan(observations, within=within)
    assert (again.new, again.changed, again.unchanged) == (0, 0, len(wanted))
    if report.unchanged:  # a mirror without skip_unchanged sends, and so counts, everything
        assert (report.stored, report.unchanged) == (plan.new + plan.changed, plan.unchanged)


def _is_within(key, within, wanted, given):
    second, name = key
    named = name in (within.names or ()) or (within.prefix != "" and name.startswith(within.prefix))
    if not (named or (within.only_of_frame and name in {n for _, n, _ in given})):
        return False
    if within.spans is not None:
        return any(start <= second < end for start, end in within.spans)
    own = [s for s, n in wanted if n == name]
    return bool(own) and min(own) <= second <= max(own)


def test_the_text_in_the_docs_is_what_a_plan_prints(tmp_path):
    """docs/plan.md shows the output of its first example."""
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()
    example = page.split("```python\n")[1].split("```")[0].replace("plan.db", f"{tmp_path}/plan.db")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        names: dict[str, Any] = {}
        exec(example, names)  # of our own docs
        names["temporis"].close()
    assert textwrap.indent(said.getvalue(), "    ") in page


def test_a_plan_of_a_data_source_that_would_be_created_makes_nothing(tmp_path):
    """With create_missing, everything is new, and neither a data source nor a file is made; without, it is missing."""
    url = f"sqlite:///{tmp_path}/temporis.db"
    with connect(url, create_missing=True) as temporis:
        plan = temporis.data_source(SOURCE).plan(frame((0, "a", 1), (60, "a", 2)))
    assert (plan.new, plan.changed, plan.ghosts, plan.stored) == (2, 0, 0, 0)
    assert list(tmp_path.iterdir()) == []
    with connect(url) as temporis, pytest.raises(DataSourceNotFoundError):
        temporis.data_source(SOURCE).plan(frame((0, "a", 1)))


def test_a_plan_writes_no_series(store):
    """Not even a name: a later upsert of something else finds the store as it was."""
    store.upsert(frame((0, "a", 1)))
    store.plan(frame((0, "new", 1)), start=0, end=60)
    database, account = store._target._database, store._target._account
    with database.reading() as connection:
        assert set(database.series(connection, database.find(connection, account, SOURCE), None)) == {"a"}


def test_a_plan_of_an_archived_data_source_says_so(store):
    """It compares all the same; an upsert would be refused."""
    store.upsert(frame((0, "a", 1)))
    store.archive()
    plan = store.plan(frame((0, "a", 1)))
    assert plan.archived
    assert plan.unchanged == 1
    assert "an upsert would be refused" in str(plan)
    assert "an upsert would be refused" in plan._repr_html_()


def test_what_an_upsert_refuses_a_plan_refuses(source):
    """Invalid rows, options that cannot be used, a frame that cannot be read: before anything is looked up."""
    with pytest.raises(InvalidObservationsError):
        source.plan(frame((0, "a", math.nan)))
    with pytest.raises(InvalidObservationsError):
        source.plan(frame((0, "a", 1), (0, "a", 2)), on_conflict="raise")
    with pytest.raises(ConfigurationError, match="has no time zone"):
        source.plan(frame((0, "a", 1)), start=pd.Timestamp("2024-06-20").to_pydatetime())
    with pytest.raises(ConfigurationError, match="Pass one or the other"):
        source.plan(frame((0, "a", 1)), start=0, within=Within())
    with pytest.raises(ConfigurationError, match="ends before it begins"):
        source.plan(frame((0, "a", 1)), start=60, end=0)


def test_plain_http_has_no_plan():
    """The error says that the API returns nothing, and that a mirror can be read."""
    with FakeService() as service, connect(service.url, service.token) as temporis:
        source = temporis.data_source(SOURCE)
        observations = observe(frame((0, "a", 1)))
        for ask in (lambda: source.plan(observations), lambda: source.ghosts(observations), source.latest):
            with pytest.raises(ReadNotSupportedError, match="mirror"):
                ask()
        assert service.requests == []


def test_the_windows_are_the_caller_s(source):
    """Rows that are missing at the end show only if the end is given, and series without a row only by name."""
    source.upsert(frame(*((60 * row, name, row) for row in range(10) for name in "ab")))
    some = frame(*((60 * row, "a", row) for row in range(8)))
    assert source.plan(some).ghosts == 0
    assert source.plan(some, start=0, end=600).ghosts == 2
    assert source.plan(some, end=540).ghosts == 1
    assert source.plan(some, within=Within(((0, 600),), ("a", "b"))).ghosts == 12
    assert source.plan(some, within=Within(((0, 600),), prefix="b")).ghosts == 10
    assert source.plan(some, within=Within(((0, 120), (480, 540)), ("a",))).ghosts == 1


def test_a_series_without_a_row_is_not_in_the_frame(source):
    """A category that no row uses, an empty column, or a part of the observations: those series may be another's."""
    source.upsert(frame((0, "a", 1), (0, "b", 2), (60, "b", 3)))
    hour = Within(((0, 3600),))
    categories = frame((0, "a", 1)).astype({"name": pd.CategoricalDtype(["a", "b"])})
    empty = pd.DataFrame({"a": [1.0], "b": [math.nan]}, index=pd.to_datetime([0], unit="s", utc=True))
    part = observe(frame((0, "a", 1), (0, "b", 2))).take(slice(0, 1))
    for one in (categories, empty, part):
        assert source.plan(one, within=hour).ghosts == 0
        assert source.plan(one, within=Within(((0, 3600),), ("a", "b"))).ghosts == 2


def test_dropped_rows_are_not_ghosts_and_those_without_a_time_are_named(source):
    """A row whose value is invalid has a key. One whose timestamp is missing may be any row of its series."""
    source.upsert(frame((0, "a", 1), (60, "a", 2), (120, "a", 3), (0, "b", 4)))
    given = frame((0, "a", 1), (60, "a", math.nan), (120, "a", 3), (math.nan, "a", 9))
    observations = observe(given, ObservationOptions(on_invalid="drop"))
    ghosts = source.ghosts(observations, Within(((0, 600),), ("a", "b")))
    assert (ghosts.count, dict(ghosts.by_series), ghosts.unreadable) == (1, {"b": 1}, 1)
    plan = source.plan(observations, within=Within(((0, 600),)))
    assert (plan.ghosts, plan.dropped, plan.unreadable) == (0, 2, 1)
    wide = pd.DataFrame(
        {"a": [1.0, math.inf, 3.0], "b": [4.0, None, None]}, index=pd.to_datetime([0, 60, 120], unit="s", utc=True)
    )
    observations = observe(wide, ObservationOptions(on_invalid="drop"))
    assert source.plan(observations).ghosts == 0
    assert source.plan(observations.take(np.array([0, 1]))).ghosts == 0


def test_a_frame_of_which_no_name_could_be_read_has_a_plan(source):
    """Every row is dropped, and may be any of the stored ones."""
    source.upsert(frame((0, "a", 1)))
    observations = observe(frame((0, None, 1), (60, None, 2)), ObservationOptions(on_invalid="drop"))
    plan = source.plan(observations, within=Within(((0, 600),), ("a",)))
    assert (plan.ghosts, plan.dropped, plan.unreadable) == (1, 2, 2)
    assert source.ghosts(observations, Within(((0, 600),), ("a",))).unreadable == 2


def test_the_keys_of_invalid_rows_are_told_from_those_of_valid_ones_at_once():
    """An invalid row in each of many series does not make a search through all rows for each of them."""
    looked_at = 0

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **given):
            nonlocal looked_at
            looked_at += 1
            plain = [one.view(np.ndarray) if isinstance(one, Watched) else one for one in inputs]
            return getattr(ufunc, method)(*plain, **given)

    rows = [(60 * row, f"s{number}", math.nan if row == 2 else 1.0) for number in range(100) for row in range(3)]
    rows.append((120, "s7", 5.0))  # a valid row with the key of an invalid one
    observations = observe(frame(*rows), ObservationOptions(on_invalid="drop"))
    keys = InputKeys(replace(observations, codes=observations.codes.view(Watched))).only_dropped()
    assert len(keys.codes) == 99
    assert set(keys.timestamps.tolist()) == {120}
    assert looked_at < 50


def test_counting_alone_notices_that_rows_of_the_frame_were_deleted(store):
    """Where there is less than the frame had, the keys are looked up, so that no number is negative or wrong."""
    store.upsert(frame((0, "a", 1), (60, "a", 2), (120, "a", 3), (180, "a", 4)))
    observations = observe(frame((0, "a", 1), (60, "a", 2), (120, "a", 3)))
    store.delete(0, 120)
    ghosts = store.ghosts(observations, Within(((0, 600),), ("a",)), stored=True)
    assert ghosts.count == 1
    assert ghosts.rows()["timestamp"].astype("int64").tolist() == [180]


def test_ghosts_are_counted_in_one_query_and_read_only_if_there_are_some(tmp_path):
    """After an upsert, counting asks the database once for the rows, whatever their number; none are read."""
    with sqlite(None, tmp_path) as source:
        whole = frame(*((60 * row, name, row) for row in range(50) for name in "abcdef"))
        source.upsert(whole)
        observations = observe(whole)
        statements = list[str]()
        database = source._target._database
        with database.reading() as connection:
            driver(connection).set_trace_callback(statements.append)
            connection_of_trace = driver(connection)
        ghosts = source.ghosts(observations, Within(((0, 10_000),), tuple("abcdef")), stored=True)
        assert ghosts.rows(None).empty
        connection_of_trace.set_trace_callback(None)
    about_rows = [text for text in statements if "temporis_observation" in text]
    assert len(about_rows) == 1
    assert "count(*)" in about_rows[0]


def test_latest_is_the_last_row_of_each_series(source):
    """Sorted by name, exact names, bit for bit; a series without rows, or that does not exist, is left out."""
    assert source.latest().empty
    source.upsert(frame((0, "b", 1), (60, "b", -0.0), (30, "a", 2), (-5, "é", 3)))
    latest = source.latest()
    assert latest["name"].tolist() == ["a", "b", "é"]
    assert latest["timestamp"].astype("int64").tolist() == [30, 60, -5]
    assert [bits(value) for value in latest["value"]] == [bits(2.0), bits(-0.0), bits(3.0)]
    assert str(latest["timestamp"].dtype) == "datetime64[s, UTC]"
    assert source.latest(["b", "missing", "a\0"])["name"].tolist() == ["b"]
    assert source.latest("b")["name"].tolist() == ["b"]
    assert source.latest([]).empty


@given(RECORDS, RECORDS)
@example([(0, "b", 1.0), (1, "b", 5e-324)], [(0, "b", -1e308), (1, "b", 1e308)])
def test_the_shift_of_a_series_is_that_of_its_definition(before, after):
    """|new mean - stored mean| / mean |stored| of the rows that change, as exact as floats, and never NaN."""
    stored = {(s, n): v for s, n, v in before if not math.isnan(v)}
    given = {(s, n): v for s, n, v in after if not math.isnan(v)}
    for name in NAMES:
        pairs = [
            (Fraction(stored[k]), Fraction(v))
            for k, v in given.items()
            if k[1] == name and k in stored and bits(stored[k]) != bits(v)
        ]
        if not pairs:
            continue
        columns = [np.array([float(pair[i]) for pair in pairs]) for i in (0, 1)]
        changes = Changes(np.zeros(len(pairs), dtype=np.int64), np.arange(len(pairs)), *columns)
        shift = moves(changes)[0].shift
        moved, level = abs(sum(a - b for b, a in pairs)), sum(abs(b) for b, _ in pairs)
        if level == 0:
            assert shift == (math.inf if moved else 0.0)
        elif moved / level < Fraction(10) ** 300:
            rounding = sum(abs(a) + abs(b) for b, a in pairs) / level / 2**50
            assert abs(Fraction(shift) - moved / level) <= moved / level / 10**9 + rounding


LIMITS = [
    *({"max_changed": limit} for limit in (1.5, 25.0, -1, -0.1, True, "0.5", math.nan, math.inf)),
    *({"max_ghosts": limit} for limit in (1.0000001, -1, False, "1", math.nan)),
    *({"max_shift": limit} for limit in (0, 0.0, -1, True, "2", math.nan, math.inf)),
]


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_limit_that_cannot_be_one_is_refused_when_it_is_made(limit):
    """Shares beyond 100 %, negative numbers, booleans, texts: the error names the limit and what to write."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(limit))} must be .* Write "):
        Limits(**limit)


def test_a_limit_may_be_any_real_number(tmp_path):
    """Also a fraction, or an integer that no float can hold: a limit that is accepted can be looked at."""
    with sqlite(None, tmp_path) as source:
        source.upsert(frame((0, "a", 1), (60, "a", 1)))
        plan = source.plan(frame((0, "a", 3), (60, "a", 1)))
    assert Limits(10**400, 10**400).exceeded(plan) == []
    said = Limits(max_changed=Fraction(1, 3), max_shift=Fraction(1, 2)).exceeded(plan)
    assert [sentence.rsplit("; ", 1)[1] for sentence in said] == ["max_changed is 0.333333.", "max_shift is 0.5."]
    with pytest.raises(ConfigurationError, match="max_shift must be a positive number"):
        Limits(max_shift=10**400)


@pytest.mark.parametrize(
    ("limits", "exceeded"),
    [
        ({}, 0),
        ({"max_changed": 1}, 1),
        ({"max_changed": 2}, 0),
        ({"max_changed": 0.2}, 0),
        ({"max_changed": 0.19}, 1),
        ({"max_changed": 1.0}, 0),
        ({"max_changed": 0}, 1),
        ({"max_ghosts": 0}, 1),
        ({"max_ghosts": 1}, 0),
        ({"max_ghosts": 0.1}, 0),
        ({"max_ghosts": 0.09}, 1),
        ({"max_shift": 9}, 0),
        ({"max_shift": 8.9}, 1),
        ({"max_changed": 0, "max_ghosts": 0, "max_shift": 1}, 3),
    ],
    ids=str,
)
def test_limits_are_shares_of_what_is_stored_or_numbers_of_rows(tmp_path, limits, exceeded):
    """Of ten stored rows, two change tenfold and one is gone: an integer counts rows, a float is a share."""
    with sqlite(None, tmp_path) as source:
        source.upsert(frame(*((60 * row, "a", row + 1) for row in range(10))))
        given = frame(*((60 * row, "a", (row + 1) * (10 if row in (3, 4) else 1)) for row in range(10) if row != 7))
        plan = source.plan(given)
    assert (plan.changed, plan.ghosts, plan.stored) == (2, 1, 10)
    assert len(Limits(**limits).exceeded(plan)) == exceeded
    assert bool(Limits(**limits)) is bool(limits)


def test_a_share_is_not_exceeded_by_rounding(tmp_path):
    """29 of 100 rows are not more than 0.29 of them, although 0.29 * 100 is a little less than 29."""
    with sqlite(None, tmp_path) as source:
        source.upsert(frame(*((row, "a", 1) for row in range(100))))
        plan = source.plan(frame(*((row, "a", 2 if row < 29 else 1) for row in range(100))))
    assert Limits(max_changed=0.29).exceeded(plan) == []


def test_what_another_writer_stores_during_a_plan_is_not_in_it(store, monkeypatch):
    """All of a plan is of one state: counts, changes and ghosts fit each other."""
    store.upsert(frame((0, "a", 1), (60, "a", 2)))
    beside = type(store)(SOURCE, store._target)
    counted = planning.counted

    def interrupted(*arguments):
        beside.upsert(frame((0, "a", 5), (30, "a", 5)))
        return counted(*arguments)

    monkeypatch.setattr(planning, "counted", interrupted)
    plan = store.plan(frame((0, "a", 1), (60, "a", 2)))
    assert (plan.unchanged, plan.ghosts, plan.stored) == (2, 0, 2)
    monkeypatch.undo()
    assert store.plan(frame((0, "a", 1), (60, "a", 2))).changed == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(1, 60), st.integers(1, 60))
def test_however_rows_are_looked_up_they_compare_alike(tmp_path, data, stored_rows, rows):
    """SQLite: by key or by range, in small statements or large ones, with much else in between or nothing."""
    with sqlite(None, tmp_path) as source, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_stored, "ROWS_PER_STATEMENT", data.draw(st.sampled_from([1, 3, 1000])))
        patch.setattr(sqlite_stored, "FEWEST_IN_A_RANGE", data.draw(st.sampled_from([1, 4, 8])))
        patch.setattr(sqlite_stored, "WASTE", data.draw(st.sampled_from([1, 2, 100])))
        patch.setattr(compare, "COMPARED_ROWS", data.draw(st.sampled_from([1, 7, 1000])))
        source.delete(everything=True)
        cells = st.tuples(st.integers(0, 40), st.sampled_from("ab"))
        values = st.sampled_from([0.0, -0.0, 1.0, 2.0])
        stored = data.draw(st.dictionaries(cells, values, min_size=1, max_size=stored_rows))
        given = data.draw(st.dictionaries(cells, values, min_size=1, max_size=rows))
        source.upsert(frame(*((*key, value) for key, value in stored.items())))
        plan = source.plan(frame(*((*key, value) for key, value in given.items())))
    known = given.keys() & stored.keys()
    changed = {key for key in known if bits(given[key]) != bits(stored[key])}
    assert (plan.new, plan.changed, plan.unchanged) == (len(given) - len(known), len(changed), len(known - changed))
    assert [bits(value) for value in plan.changes["before"]] == [
        bits(stored[second, name]) for name, second in sorted((n, s) for s, n in changed)
    ]


def test_changes_are_listed_by_the_names_of_series(tmp_path):
    """Whatever the order of the frame."""
    with sqlite(None, tmp_path) as source:
        source.upsert(frame((60, "a", 1.0), (0, "a", 1.0), (0, "b", 1.0)))
        plan = source.plan(frame((0, "b", 2.0), (60, "a", 3.0), (0, "a", 4.0)))
    assert plan.changes[["series", "after"]].values.tolist() == [["a", 4.0], ["a", 3.0], ["b", 2.0]]
