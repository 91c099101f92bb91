"""What is read back: the same as pandas, Arrow and polars, and in batches of any size, from every store."""

from __future__ import annotations

import itertools
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime

import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporis_dagster import (
    ConfigurationError,
    DataSource,
    DataSourceNotFoundError,
    ReadNotSupportedError,
    StoreError,
    Temporis,
    connect,
)
from temporis_dagster.data_source.reading import forms
from temporis_dagster.data_source.store import pieces
from temporis_dagster.testing import FakeService

HARD_NAMES = ["it's", 'say "hi"', "emoji 🐘", "näive ☃", "};{", "\uffff", " ", "a", "B"]
SOURCES = [f"source_{number}" for number in range(5_000)]
fresh_names = (f"source_{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["sqlite", "postgres", "mirror", "mirror on postgres"])
def temporis(request, tmp_path_factory) -> Iterator[Temporis]:
    """A connection that can read back; the tests of this file share it, and use data sources of their own."""
    file = f"sqlite:///{tmp_path_factory.mktemp('reading')}/temporis.db"
    with ExitStack() as stack:
        if request.param == "sqlite":
            connection = connect(file, create_missing=True)
        elif request.param == "postgres":
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
            connection = connect(url, create_missing=True)
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
            service = stack.enter_context(FakeService(SOURCES))
            connection = connect(service.url, service.token, mirror=file if request.param == "mirror" else url)
        yield stack.enter_context(connection)


@pytest.fixture
def source(temporis) -> DataSource:
    return temporis.data_source(next(fresh_names))


@pytest.fixture
def stored(tmp_path) -> Iterator[DataSource]:
    """A data source in a SQLite file, with ten hours of two series."""
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        source = temporis.create_data_source("metrics")
        source.upsert(hours(10))
        yield source


def hours(count: int) -> pd.DataFrame:
    index = pd.date_range("2024-06-20", periods=count, freq="h", tz="UTC")
    return pd.DataFrame({"orders": range(count), "revenue": range(count)}, index=index, dtype=float)


def long(content) -> pd.DataFrame:
    columns = zip(*((*key, value) for key, value in content.items()), strict=True)
    return pd.DataFrame(dict(zip(("timestamp", "name", "value"), map(list, columns), strict=True)))


def rows_of_arrow(table) -> list:
    seconds = table.column("timestamp").cast(pa.int64()).to_pylist()
    return list(zip(seconds, table.column("name").to_pylist(), table.column("value").to_pylist(), strict=True))


def rows_of_polars(frame) -> list:
    seconds = frame["timestamp"].dt.epoch("s").to_list()
    return list(zip(seconds, frame["name"].to_list(), frame["value"].to_list(), strict=True))


def rows_of_pandas(frame) -> list:
    seconds = frame["timestamp"].dt.as_unit("s").astype("int64").tolist()
    return list(zip(seconds, frame["name"].tolist(), frame["value"].tolist(), strict=True))


ROWS_OF = {"pandas": rows_of_pandas, "arrow": rows_of_arrow, "polars": rows_of_polars}


def bits(rows) -> list:
    return [(second, name, struct.pack("<d", value)) for second, name, value in rows]


# One content in every form


seconds = st.integers(0, 6) | st.integers(-5_000, 5_000) | st.integers(-62_135_596_800, 10**11 - 1)
values = st.sampled_from([0.0, -0.0, 5e-324, 1e22]) | st.floats(allow_nan=False, allow_infinity=False)
contents = st.dictionaries(st.tuples(seconds, st.sampled_from(HARD_NAMES)), values, min_size=1, max_size=40)
windows = st.tuples(st.none() | seconds, st.none() | seconds)
wanted = st.none() | st.lists(st.sampled_from([*HARD_NAMES, "unknown", "nul\0"]), max_size=4)


@given(contents, windows, wanted, st.integers(1, 45), st.data())
@settings(deadline=None, max_examples=20)
def test_every_form_and_every_size_of_batches_hold_the_same(temporis, content, window, names, rows, data):
    """What a dict would hold, bit for bit and in order; all batches but the last are full; the types never change."""
    source = temporis.data_source(next(fresh_names))
    with pytest.MonkeyPatch.context() as patch:
        fewest, per_series = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 4)))
        patch.setattr(pieces, "FEWEST_ROWS", fewest)
        patch.setattr(pieces, "ROWS_PER_SERIES", per_series)
        sizes = sizes_of_pieces(source, patch)
        patch.setattr(pieces, "SERIES_AT_ONCE", data.draw(st.integers(1, 10)))
        source.upsert(long(content), allow_future=True)
        start, end = window
        expected = sorted(
            (second, name, value)
            for (second, name), value in content.items()
            if (start is None or second >= start) and (end is None or second < end) and (names is None or name in names)
        )
        for form, rows_of in ROWS_OF.items():
            assert bits(rows_of(source.read(start, end, names, as_=form))) == bits(expected)
            found = list(source.read_batches(start, end, names, rows=rows, as_=form))
            assert bits(itertools.chain.from_iterable(map(rows_of, found))) == bits(expected)
            assert [len(batch) for batch in found[:-1]] == [rows] * (len(found) - 1)
            assert all(1 <= len(batch) <= rows for batch in found)
        assert max(sizes, default=0) <= max(rows, fewest, per_series * len({name for _, name in content}))


def sizes_of_pieces(source, patch) -> list[int]:
    """How many rows each piece holds, from now on."""
    sizes, target = [], type(source._target)
    read_on = target.read_on

    def noting_size(self, *arguments):
        piece = read_on(self, *arguments)
        sizes.append(len(piece))
        return piece

    patch.setattr(target, "read_on", noting_size)
    return sizes


def test_the_types_of_each_form(source):
    """With rows or without: seconds in pandas and Arrow, microseconds, polars' default, in polars."""
    source.upsert(hours(2))
    for bounds in ((None, None), (0, 1)):
        frame, table, polars = (source.read(*bounds, as_=form) for form in ("pandas", "arrow", "polars"))
        dtypes = ["datetime64[s, UTC]", str(pd.Series(["a"]).dtype), "float64"]
        assert [str(dtype) for dtype in frame.dtypes] == dtypes
        assert table.schema.types == [pa.timestamp("s", tz="UTC"), pa.string(), pa.float64()]
        assert polars.schema == {"timestamp": pl.Datetime("us", "UTC"), "name": pl.String, "value": pl.Float64}
        assert len(frame) == len(table) == len(polars) == (0 if bounds[1] else 4)
    assert [list(source.read_batches(0, 1, as_=form)) for form in ROWS_OF] == [[], [], []]
    (batch,) = source.read_batches(as_="arrow")
    assert isinstance(batch, pa.RecordBatch)
    assert batch.schema == table.schema


def test_names_that_are_too_long_for_one_array_of_arrow(stored, monkeypatch):
    """An array of strings holds 2 GiB of text: beyond that, a table has several chunks, and there are more batches."""
    monkeypatch.setattr(forms, "LONGEST_TEXT", 3 * len("revenue"))
    table = stored.read(as_="arrow")
    assert table.column("name").num_chunks == 7
    assert [len(batch) for batch in stored.read_batches(rows=10, as_="arrow")] == [3, 3, 3, 1, 3, 3, 3, 1]
    assert rows_of_arrow(table) == rows_of_pandas(stored.read())


# What cannot be


def test_a_form_that_there_is_not(stored, monkeypatch):
    """A misspelt form, and a library that is not installed: the error says what to do, and nothing is read."""
    for read in (stored.read, stored.read_batches):
        with pytest.raises(ConfigurationError, match="as_ must be 'pandas', 'arrow' or 'polars', got 'duckdb'"):
            read(as_="duckdb")
        with pytest.raises(ConfigurationError, match="as_ must be"):
            read(as_=None)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ConfigurationError, match=r"needs pyarrow.*pip install 'temporis-dagster\[arrow\]'$"):
            read(as_="arrow")
        monkeypatch.undo()
        monkeypatch.setitem(sys.modules, "polars", None)
        with pytest.raises(ConfigurationError, match="as_='polars' needs polars, which cannot be imported"):
            read(as_="polars")
        monkeypatch.undo()


def test_neither_arrow_nor_polars_is_imported_unasked(stored):
    """A reader of pandas frames pays for neither."""
    code = f"""
import sys
sys.modules["pyarrow"] = sys.modules["polars"] = None
from temporis_dagster import connect
source = connect({str(stored.url)!r}).data_source("metrics")
print(len(source.read()), sum(map(len, source.read_batches(rows=3))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["20", "20"]


@pytest.mark.parametrize("rows", [0, -1, True, 1.5, "many", None])
def test_batches_have_at_least_one_row(stored, rows):
    """Another size is refused by the call itself."""
    with pytest.raises(ConfigurationError, match="rows must be an integer of at least 1, got"):
        stored.read_batches(rows=rows)


def test_the_call_raises_what_it_can(stored, tmp_path):
    """Not the first batch: a bound without a zone, a missing data source, a service that cannot be read."""
    with pytest.raises(ConfigurationError, match="has no time zone"):
        stored.read_batches(datetime(2024, 6, 20))
    with pytest.raises(ConfigurationError, match="names must contain only strings"):
        stored.read_batches(names=[1])
    with connect(f"sqlite:///{tmp_path}/other.db") as temporis, pytest.raises(DataSourceNotFoundError):
        temporis.data_source("metrics").read_batches()
    with FakeService(["metrics"]) as service, connect(service.url, service.token) as temporis:
        with pytest.raises(ReadNotSupportedError, match="cannot be read"):
            temporis.data_source("metrics").read_batches()
        with pytest.raises(ReadNotSupportedError, match="cannot be read"):
            temporis.data_source("metrics").read(as_="polars")


@pytest.mark.parametrize("as_", ["pandas", "arrow", "polars"])
def test_batches_can_be_upserted_even_if_there_are_none(stored, as_):
    """An iterator of batches is a stream of frames, also an empty one."""
    assert stored.upsert(stored.read_batches(10**10, as_=as_)).observations_in == 0


# What happens between two batches


@pytest.fixture
def small_pieces(monkeypatch) -> None:
    """Pieces of at most two rows, so that every batch of one or two rows comes with a piece of its own."""
    monkeypatch.setattr(pieces, "FEWEST_ROWS", 2)
    monkeypatch.setattr(pieces, "ROWS_PER_SERIES", 1)


def open_transactions(source: DataSource) -> int:
    """How many readers hold up what a database cleans up."""
    url = getattr(source._target, "mirror_url", source.url)
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return busy
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL"
        return connection.execute(f"{query} AND pid <> pg_backend_pid()").fetchone()[0]


def test_nothing_is_open_between_two_batches(source, small_pieces):
    """A reader that is slow, or stops, has no transaction open: it holds up neither a checkpoint nor a vacuum."""
    source.upsert(hours(5))
    batches = source.read_batches(rows=2)
    next(batches)
    source.upsert(hours(6))
    assert open_transactions(source) == 0
    assert len(next(batches)) == 2


def test_what_is_written_meanwhile(source, small_pieces):
    """Behind the batches it is not seen, ahead of them it is; after the last second of the call it is not."""
    source.upsert(hours(3))
    batches = source.read_batches(rows=2)
    found = rows_of_pandas(next(batches))
    first = found[0][0]
    written = {
        (first, "late"): 1.0,
        (first + 3_600, "new"): 2.0,
        (first + 7_200, "orders"): -2.0,
        (first + 10_800, "x"): 3.0,
    }
    source.upsert(long(written))
    found += itertools.chain.from_iterable(map(rows_of_pandas, batches))
    assert found == [
        (first, "orders", 0.0),
        (first, "revenue", 0.0),
        (first + 3_600, "new", 2.0),
        (first + 3_600, "orders", 1.0),
        (first + 3_600, "revenue", 1.0),
        (first + 7_200, "orders", -2.0),
        (first + 7_200, "revenue", 2.0),
    ]


def test_what_is_deleted_or_archived_meanwhile(stored, small_pieces):
    """An archived data source is read on; rows that were deleted before the batches reach them are not there."""
    batches = stored.read_batches(rows=2)
    found = rows_of_pandas(next(batches))
    stored.delete(names=["revenue"])
    stored.archive()
    found += itertools.chain.from_iterable(map(rows_of_pandas, batches))
    assert [value for _, name, value in found if name == "orders"] == list(range(10))
    assert [value for _, name, value in found if name == "revenue"] == [0.0]
    stored.unarchive()
    batches = stored.read_batches(rows=2)
    next(batches)
    stored.delete(everything=True)
    assert sum(map(len, batches)) <= 1  # what had been read with the first batch


def test_a_store_that_was_replaced_is_not_read_on(tmp_path, small_pieces):
    """A reading that began in one file does not go on in another, whose rows are not what was asked for."""
    with connect(f"sqlite:///{tmp_path}/temporis.db", create_missing=True) as temporis:
        source = temporis.data_source("metrics")
        source.upsert(hours(5))
        batches = source.read_batches(rows=2)
        next(batches)
        temporis.close()
        for each in tmp_path.glob("temporis.db*"):
            each.unlink()
        source.upsert(hours(5))
        with pytest.raises(StoreError, match="replaced by another one while it was being read"):
            next(batches)


def test_a_mirror_that_is_gone_is_not_read_on(tmp_path, small_pieces):
    """Nor does it count as empty in the middle of a reading, as a mirror that does not exist yet does."""
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    with FakeService(["metrics"]) as service, connect(service.url, service.token, mirror=mirror) as temporis:
        source = temporis.data_source("metrics")
        assert list(source.read_batches()) == []
        source.upsert(hours(5))
        batches = source.read_batches(rows=2)
        next(batches)
        temporis.close()
        for each in tmp_path.glob("mirror.db*"):
            each.unlink()
        with pytest.raises(StoreError, match="was replaced by another one"):
            next(batches)


def test_a_closed_connection_is_opened_again(source, temporis, small_pieces):
    """As for any later call."""
    source.upsert(hours(5))
    batches = source.read_batches(rows=2)
    found = [next(batches)]
    temporis.close()
    found += batches
    assert sum(map(len, found)) == 10


def test_a_fork_reads_on_by_itself(source, small_pieces):
    """The parent and its child each get the rest, over connections of their own."""
    source.upsert(hours(5))
    batches = source.read_batches(rows=2)
    next(batches)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(sum(map(len, batches))).encode())
        os._exit(0)
    rest = sum(map(len, batches))
    assert os.waitpid(child, 0)[1] == 0
    assert (int(os.read(reading, 10)), rest) == (8, 8)
    for end in (reading, writing):
        os.close(end)
