"""Encoding: bodies are the JSON of the API's documentation, exact to the bit, bounded, in order, one at a time."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster.data_source.http.body_size import BodySize
from temporis_dagster.data_source.http.encoding import Encoder, empty_body
from temporis_dagster.data_source.observations.model import Observations, Origin

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
SECONDS = st.integers(-62_135_596_800, 99_999_999_999)


def observations(records, *, names=None):
    names = names or tuple(dict.fromkeys(name for _, name, _ in records))
    return Observations(
        np.array([stamp for stamp, _, _ in records], dtype=np.int64),
        np.array([names.index(name) for _, name, _ in records], dtype=np.int32),
        names,
        np.array([value for _, _, value in records], dtype=np.float64),
        Origin(pd.RangeIndex(len(records))),
    )


def encoder(records, *, batch_rows=10_000, max_body_bytes=4_000_000, data_source="store_metrics"):
    return Encoder(data_source, observations(records), BodySize(batch_rows, max_body_bytes))


def bits(value):
    return struct.pack("<d", value)


def test_a_body_is_what_the_documentation_shows():
    """data_source and records of timestamp, name and value, and nothing else."""
    (body,) = encoder([(1718870400, "orders", 42), (1718870400, "revenue", 1284.5)]).bodies()
    assert json.loads(body.content) == {
        "data_source": "store_metrics",
        "records": [
            {"timestamp": 1718870400, "name": "orders", "value": 42},
            {"timestamp": 1718870400, "name": "revenue", "value": 1284.50},
        ],
    }
    assert json.loads(empty_body("store_metrics")) == {"data_source": "store_metrics", "records": []}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(SECONDS, NAMES, FINITE), min_size=1, max_size=40),
    st.integers(1, 50),
    st.integers(1, 3000),
)
def test_every_record_arrives_bit_for_bit_in_order_and_within_bounds(records, batch_rows, max_body_bytes):
    """Whatever the names, numbers and bounds: the same records, in order; a row too large for a body goes alone."""
    bodies = list(encoder(records, batch_rows=batch_rows, max_body_bytes=max_body_bytes).bodies())
    read = [record for body in bodies for record in json.loads(body.content)["records"]]
    assert [(r["timestamp"], r["name"], bits(r["value"])) for r in read] == [(t, n, bits(v)) for t, n, v in records]
    assert all(type(r["timestamp"]) is int for r in read)
    assert all(len(body) <= batch_rows for body in bodies)
    assert all(len(body.content) <= max_body_bytes or len(body) == 1 for body in bodies)
    assert [body.rows.start for body in bodies] == [0, *(body.rows.stop for body in bodies[:-1])]
    assert bodies[-1].rows.stop == len(records)


@pytest.mark.parametrize("value", [-0.0, 5e-324, 1e22, 2.0**53, 1.7976931348623157e308, 0.1 + 0.2, -1e-7])
def test_the_numbers_that_writers_get_wrong(value):
    """Each comes back bit for bit, including the sign of zero."""
    (body,) = encoder([(0, "x", value)]).bodies()
    back = json.loads(body.content)["records"][0]["value"]
    assert bits(back) == bits(value)
    assert math.copysign(1, back) == math.copysign(1, value)


@given(st.lists(FINITE, min_size=2, max_size=30), st.integers(2, 3))
def test_strided_arrays_encode_like_plain_ones(values, step):
    """A view with gaps, which a wide frame or a reversed one gives, loses nothing."""
    wide = np.repeat(np.array(values), step)[::step]
    stamps, codes = np.arange(len(values) * step)[::step], np.zeros(len(values), dtype=np.int32)
    made = Observations(stamps, codes, ("x",), wide, Origin(pd.RangeIndex(len(values))))
    (body,) = Encoder("a", made, BodySize(100, 10**6)).bodies()
    records = json.loads(body.content)["records"]
    assert [bits(r["value"]) for r in records] == [bits(v) for v in values]
    assert [r["timestamp"] for r in records] == stamps.tolist()


def test_halves_are_the_body_in_two():
    """Nothing is lost or sent twice, down to a single row."""
    made = encoder([(i, "x", i) for i in range(7)])
    (body,) = made.bodies()
    left, right = made.halves(body)
    assert (left.rows, right.rows) == (slice(0, 3), slice(3, 7))
    assert [r["value"] for half in (left, right) for r in json.loads(half.content)["records"]] == list(range(7))


def test_later_bodies_can_be_made_smaller():
    """shrink_to bounds the bytes of what is still to come, never grows again and never goes below one row."""
    size = BodySize(8, 4_000_000)
    made = Encoder("store_metrics", observations([(i, "x", i) for i in range(30)]), size)
    bodies = made.bodies()
    first = next(bodies)
    size.shrink_to(len(first.content) // 2)
    second = next(bodies)
    size.shrink_to(10**6)
    third = next(bodies)
    size.shrink_to(0)
    rest = list(bodies)
    assert len(first) == 8
    assert 1 < len(second) < 8
    assert max(len(second.content), len(third.content)) <= len(first.content) // 2
    assert made.is_too_large(second)
    assert {len(body) for body in rest} == {1}
    assert rest[-1].rows.stop == 30


def test_a_body_is_rarely_made_in_vain(monkeypatch):
    """If bytes bound a body, the number of rows that fit is learned from the previous bodies."""
    made = []
    plain = Encoder._body
    monkeypatch.setattr(Encoder, "_body", lambda self, rows: made.append(rows) or plain(self, rows))
    bodies = list(encoder([(i, "x", i / 7) for i in range(20_000)], max_body_bytes=50_000).bodies())
    assert len(made) <= len(bodies) * 1.1 + 20


def test_only_one_body_is_in_memory_at_a_time():
    """A load of any size takes the memory of the body being made, even if bodies must be cut by bytes."""
    many = 200_000
    made = observations([(0, "x", 0.0)])
    made = Observations(
        np.arange(many), np.zeros(many, dtype=np.int32), ("x" * 40,), np.random.default_rng(0).random(many), made.origin
    )
    peaks = []
    for rows in (10_000, many):
        made_of = Encoder("a", made.take(slice(0, rows)), BodySize(5_000, 300_000))
        tracemalloc.start()
        sizes = [len(body.content) for body in made_of.bodies()]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(sizes) <= 300_000
    assert sum(sizes) > 15_000_000
    assert peaks[1] < peaks[0] * 1.5
