"""Rules of frames of other libraries and of streams: the same rows have the same report, however they come."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster import connect
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.report import COUNTS
from temporis_dagster.data_source.streams import observed

LAZY = hasattr(pl.LazyFrame, "collect_batches")
STRING_VIEWS = hasattr(pa, "string_view") and int(pa.__version__.split(".")[0]) >= 18
DROP = {"on_invalid": "drop", "timezone": "Europe/Berlin", "unit": "s", "allow_future": True, "sub_second": "floor"}

SECONDS = st.integers(1_600_000_000, 1_600_000_009)
MOMENTS = [
    *[(pa.timestamp(unit, zone), 1) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "America/New_York")],
    *[(kind, 1) for kind in (pa.int64(), pa.uint64(), pa.int32(), pa.float64())],
    *[(kind, 86_400) for kind in (pa.date32(), pa.date64())],
]
NUMBERS = [
    *[pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
    *[pa.float16(), pa.float32(), pa.float64(), pa.decimal128(12, 3), pa.null(), pa.bool_(), pa.string()],
]
TEXTS = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), *([pa.string_view()] * STRING_VIEWS)]


def moments_of(seconds, kind, step):
    cells = [None if second is None else second // step * step for second in seconds]
    if pa.types.is_timestamp(kind):
        aware = [None if c is None else datetime.fromtimestamp(c, timezone.utc) for c in cells]
        return pa.array(aware, pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit, kind.tz))
    if pa.types.is_date(kind):
        return pa.array([None if c is None else datetime.fromtimestamp(c, timezone.utc).date() for c in cells], kind)
    return pa.array(cells, kind)


def numbers_of(numbers, kind):
    if pa.types.is_null(kind):
        return pa.nulls(len(numbers))
    make = float if pa.types.is_floating(kind) else int
    make = bool if pa.types.is_boolean(kind) else str if pa.types.is_string(kind) else make
    make = Decimal if pa.types.is_decimal(kind) else np.float16 if pa.types.is_float16(kind) else make
    return pa.array([None if number is None else make(number) for number in numbers], kind)


@st.composite
def long_tables(draw):
    """Make a long table of few keys, so that some repeat, with missing cells, in any types."""
    rows = draw(
        st.lists(st.tuples(st.none() | SECONDS, st.sampled_from("ab") | st.none(), st.none() | st.integers(0, 9)))
    )
    kind, step = draw(st.sampled_from(MOMENTS))
    seconds, names, numbers = zip(*rows, strict=True) if rows else ((), (), ())
    texts = pa.array(names, pa.string())
    text_kind = draw(st.sampled_from(TEXTS))
    texts = pa.array(names, text_kind) if not pa.types.is_dictionary(text_kind) else texts.dictionary_encode()
    columns = {
        "timestamp": moments_of(seconds, kind, step),
        "name": texts,
        "value": numbers_of(numbers, draw(st.sampled_from(NUMBERS))),
        "unused": pa.array([[1]] * len(rows), pa.list_(pa.int8())),
    }
    return pa.table(columns)


@st.composite
def wide_tables(draw):
    """Make a wide table with missing cells, in any types of numbers."""
    cells = st.none() | st.integers(0, 9)
    rows = draw(st.lists(st.tuples(SECONDS, cells, cells, cells), min_size=1))
    kind, step = draw(st.sampled_from(MOMENTS))
    seconds, *series = zip(*rows, strict=True)
    kinds = [draw(st.sampled_from(NUMBERS)) for _ in series]
    columns = {name: numbers_of(cells, kind) for name, cells, kind in zip("abc", series, kinds, strict=True)}
    return pa.table({"timestamp": moments_of(seconds, kind, step), **columns})


TABLES = st.one_of(long_tables(), wide_tables())


def quiet(*_) -> None:
    """Receive a warning."""


def in_pandas(table) -> pd.DataFrame:
    """The frame that a user of pandas would have, with no integer rounded."""
    texts = {name: pa.string() for name in table.column_names if pa.types.is_dictionary(table.schema.field(name).type)}
    for name, kind in texts.items():  # an old pyarrow does not know unsigned codes
        table = table.set_column(table.column_names.index(name), name, table.column(name).cast(kind))
    return table.to_pandas(integer_object_nulls=True)


def cut(table, sizes) -> list[pa.Table]:
    """Cut a table into pieces of these lengths, and the rest."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(table.slice(start, size))
        start += size
    return [*pieces, table.slice(start)]


def shown(observations) -> list[object]:
    """What there is to know of observations, without the types that a value had when it was dropped."""
    superseded = observations.superseded_rows
    dropped = observations.dropped_rows
    kept = ["position", "label"] if len(dropped) else []
    parts = [observations.frame(), dropped[kept] if kept else None, None if superseded is None else superseded.frame()]
    return [None if part is None else part.to_dict("records") for part in parts]


def streams_of(table, sizes):
    """The same rows as streams of every kind."""
    pieces = cut(table, sizes)
    yield pa.RecordBatchReader.from_batches(table.schema, [b for piece in pieces for b in piece.to_batches()])
    yield (piece for piece in pieces)
    ends, frame = np.cumsum([0, *map(len, pieces)]).tolist(), in_pandas(table)
    yield iter([frame.iloc[start:end] for start, end in pairwise(ends)])
    if not any(map(pa.types.is_float16, table.schema.types)):  # DuckDB has no such type
        with duckdb.connect() as connection:
            yield connection.from_arrow(table)


SIZES = st.lists(st.integers(0, 5), max_size=4)


@given(TABLES)
def test_a_frame_of_arrow_has_the_observations_of_the_same_frame_in_pandas(table):
    """For every type of timestamps, names and numbers: what is stored, superseded and dropped, and where it was."""
    options = ObservationOptions(**DROP)
    want = shown(observe(in_pandas(table), options, warn=quiet))
    assert shown(observed(table, options, warn=quiet)) == want


@given(TABLES)
def test_a_frame_of_polars_has_the_observations_of_the_same_frame_in_pandas(table):
    """Which types polars keeps is its own business; what they hold is the same."""
    options = ObservationOptions(**DROP)
    frame = pl.from_arrow(table)
    want = shown(observe(in_pandas(frame.to_arrow()), options, warn=quiet))
    assert shown(observed(frame, options, warn=quiet)) == want
    if LAZY:
        assert shown(observed(frame.lazy(), options, warn=quiet)) == want


@given(TABLES, SIZES, st.integers(1, 12))
def test_a_stream_that_is_spooled_has_the_observations_of_one_frame(table, sizes, slice_cells):
    """However it is cut, and whatever it is read in: what is superseded lies across its slices, too."""
    options = ObservationOptions(**DROP)
    want = shown(observe(in_pandas(table), options, warn=quiet))
    for stream in streams_of(table, sizes):
        got = shown(observed(stream, options, warn=quiet, slice_cells=slice_cells))
        assert got[1:] == want[1:]
        assert sorted(map(str, got[0])) == sorted(map(str, want[0]))


@settings(max_examples=20)
@given(table=TABLES, sizes=SIZES)
def test_a_stream_that_fits_into_a_slice_has_the_report_of_one_frame(table, sizes, tmp_path_factory):
    """Every count, the first and last timestamp, the series, and every list of rows."""
    url = f"sqlite:///{tmp_path_factory.getbasetemp()}/never_opened.db"
    with connect(url) as temporis:
        source = temporis.data_source("store_metrics")
        want = source.check(in_pandas(table), **DROP)
        for stream in streams_of(table, sizes):
            got = source.check(stream, **DROP)
            assert {**got.to_dict(), "duration_s": 0} == {**want.to_dict(), "duration_s": 0}
            for rows in ("unsent_rows", "superseded_rows"):
                assert getattr(got, rows).to_dict("records") == getattr(want, rows).to_dict("records")
            assert (
                got.dropped_rows.get("position", pd.Series()).tolist()
                == want.dropped_rows.get("position", pd.Series()).tolist()
            )


@settings(max_examples=20)
@given(table=TABLES, sizes=SIZES, slice_cells=st.integers(1, 12))
def test_slices_store_what_one_frame_stores_and_count_every_row_once(table, sizes, slice_cells, tmp_path_factory):
    """With slices of a few rows: the same content, and counts that add up to the same number of observations."""
    url = f"sqlite:///{tmp_path_factory.mktemp('slices')}/temporis.db"
    with connect(url, create_missing=True) as temporis:
        want = temporis.data_source("frame").upsert(in_pandas(table), **DROP)
        digest = temporis.data_source("frame").content_digest()
        for number, stream in enumerate(streams_of(table, sizes)):
            source = temporis.data_source(f"stream_{number}")
            source._slice_cells = slice_cells
            got = source.upsert(stream, **DROP)
            assert source.content_digest() == digest
            same = ("observations_in", "dropped", "series", "first_timestamp", "last_timestamp")
            assert [getattr(got, part) for part in same] == [getattr(want, part) for part in same]
            assert sum(getattr(got, count) for count in COUNTS) == got.observations_in
            positions = (
                got.superseded_rows["position"].tolist() + got.dropped_rows.get("position", pd.Series()).tolist()
            )
            assert all(0 <= position < len(table) for position in positions)
