"""Plans: what an upsert would do is what it then reports, and ghosts are what a set difference finds.

The hosts are a store in SQLite, a store in PostgreSQL, and a mirror.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from contextlib import contextmanager

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporis_dagster import (
    connect,
)
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.plan import Within
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
