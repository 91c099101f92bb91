"""What the tests of a store share: observations as a dict, and what a call that fails must be like.

Comes in: a dict of values by key, a store. Goes out: tallies, reports, what is stored.
Never: knows which database the store is in.
"""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pandas as pd
import pytest

from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.plan import Within
from temporis_dagster.data_source.reading.forms import pandas_frame
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.store.postgres.database import PostgresDatabase
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.errors import StoreError

Content = dict[tuple[int, str], float]


def cut_into_chunks(rows: int, patch: pytest.MonkeyPatch) -> None:
    """Let stores write this many observations per transaction."""
    for kind in (SqliteDatabase, PostgresDatabase):
        patch.setattr(kind, "chunk_rows", rows)


def observed(rows: Content) -> Observations:
    names = tuple(dict.fromkeys(name for _, name in rows))
    codes = {name: code for code, name in enumerate(names)}
    return Observations(
        timestamps=np.array([timestamp for timestamp, _ in rows], dtype=np.int64),
        codes=np.array([codes[name] for _, name in rows], dtype=np.int32),
        names=names,
        values=np.array(list(rows.values()), dtype=np.float64),
        origin=Origin(pd.RangeIndex(len(rows))),
    )


def tally_of(rows: Content, source: str = "metrics", progress=None) -> Tally:
    return Tally(source, observed(rows), progress=progress)


def put(store: SqlStore, rows: Content, source: str = "metrics"):
    tally = tally_of(rows, source)
    store.upsert(tally)
    return tally.report()


def content(store: SqlStore, source: str = "metrics", start=None, end=None, names=None) -> Content:
    frame = pandas_frame(store.rows(source, start, end, names))
    stamps = frame["timestamp"].astype("int64").tolist()
    return dict(zip(zip(stamps, frame["name"], strict=True), frame["value"].tolist(), strict=True))


def bits(rows: Content) -> dict[tuple[int, str], bytes]:
    return {key: struct.pack("<d", value) for key, value in rows.items()}


def digest(store: SqlStore, source: str = "metrics", start=None, end=None, names=None) -> str:
    return store.content_digest(source, start, end, names)


def minutes(rows: int, value: float = 1.0, name: str = "orders") -> Content:
    return {(60 * minute, name): value + minute for minute in range(rows)}


def failing(store: SqlStore, rows: Content, source: str = "metrics") -> StoreError:
    """The error of an upsert that fails, which is complete and survives pickling."""
    with pytest.raises(StoreError) as caught:
        put(store, rows, source)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.url == store.url
    assert error.report.observations_in == len(rows)
    assert error.report.stored + error.report.unchanged + error.report.unsent + error.report.unknown == len(rows)
    assert str(error) == str(caught.value)
    assert str(error).endswith(".")
    return error


def every_call_fails(store: SqlStore, match: str) -> None:
    calls = (
        lambda: store.create_data_source("other"),
        lambda: store.set_archived("metrics", archived=True),
        lambda: store.archive_state("metrics"),
        lambda: content(store),
        lambda: digest(store),
        lambda: store.plan("metrics", observed(minutes(5)), Within()),
        lambda: store.ghosts("metrics", observed(minutes(5)), Within(), stored=True),
        lambda: store.latest("metrics", None),
        lambda: store.delete("metrics", None, None, ["orders"], dry_run=False),
        lambda: store.delete_ghosts("metrics", observed(minutes(5)), Within(), dry_run=False),
        store.data_sources,
        store.overview,
        store.size,
        store.tokens.all,
        lambda: store.overview_of("metrics"),
        lambda: store.series_page("metrics"),
        lambda: store.plot("metrics", ["orders"]),
        lambda: store.table("metrics"),
    )
    for call in calls:
        with pytest.raises(StoreError, match=match) as caught:
            call()
        assert caught.value.report is None
    assert failing(store, minutes(5)).report.unsent == 5
