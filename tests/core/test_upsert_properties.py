"""The promise of an upsert, end to end: whatever is sent, in any pieces, the store is the dict fed in row order.

The same in SQLite and in PostgreSQL.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import count, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import UpsertReport, connect
from temporis_dagster.data_source.report import COUNTS

NAMES = st.sampled_from(["orders", "Orders", "o'r\"d", "😀", "%s:x", " ", "é", "e\u0301"])
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 5e-324, 1e22, 2.0**53, -1.5]), st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.lists(st.tuples(st.integers(-3, 3), NAMES, NUMBERS), min_size=1, max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=4)

fresh_names = (f"store_metrics_{number}" for number in count())


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request, tmp_path_factory):
    """A connection to a store that the examples share: each has a data source of its own."""
    if request.param == "sqlite":
        with connect(f"sqlite:///{tmp_path_factory.mktemp('shared')}/temporis.db") as temporis:
            yield temporis
    else:
        with request.getfixturevalue("postgres_server").database() as url, connect(url) as temporis:
            yield temporis


def long_frame(rows) -> pd.DataFrame:
    stamps, names, values = zip(*rows, strict=True)
    return pd.DataFrame({"timestamp": stamps, "name": pd.Series(names, dtype=object), "value": values})


def stored(source) -> dict[tuple[int, str], bytes]:
    frame = source.read()
    stamps = frame.timestamp.astype("int64")
    return {
        (int(stamp), name): np.float64(value).tobytes()
        for stamp, name, value in zip(stamps, frame.name, frame.value, strict=True)
    }


def adds_up(report: UpsertReport) -> bool:
    assert {field.name for field in fields(report)} >= set(COUNTS)
    return sum(getattr(report, count) for count in COUNTS) == report.observations_in


@given(rows=ROWS, cuts=CUTS, replays=st.lists(st.integers(0, 4), max_size=3), order=st.randoms(use_true_random=False))
def test_the_store_is_the_dict_fed_in_row_order(shared, rows, cuts, replays, order):
    """Duplicates, shuffles, any cut into upserts and any replay of the last ones: the same final value, bit for bit."""
    order.shuffle(rows)
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    pieces = [rows[start:stop] for start, stop in pairwise(bounds)]
    pieces += [pieces[i] for i in replays if i < len(pieces)]
    expected: dict[tuple[int, str], bytes] = {}
    source = shared.create_data_source(next(fresh_names))
    for piece in pieces:
        before = dict(expected)
        expected |= {(stamp, name): np.float64(value).tobytes() for stamp, name, value in piece}
        report = source.upsert(long_frame(piece), layout="long")
        assert adds_up(report)
        keys = {(stamp, name) for stamp, name, _ in piece}
        assert report.unchanged == sum(before.get(key) == expected[key] for key in keys)
        assert report.superseded == len(piece) - len(keys)
    assert stored(source) == expected
    digest = source.content_digest()
    everything = source.read()
    assert source.upsert(everything.sample(frac=1, random_state=order.randrange(2**32))).unchanged == len(expected)
    assert source.content_digest() == digest
