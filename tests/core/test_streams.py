"""What is promised of streams: what is sent before an error, what the report says of it, and what is refused."""

from __future__ import annotations

import copy
import errno
import gc
import io
import itertools
import logging
import mmap
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow.dataset import dataset

from temporis_dagster import (
    ConfigurationError,
    DataSourceArchivedError,
    InvalidObservationsError,
    Series,
    StreamError,
    connect,
)
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.streams import joined_report, observed, spool
from temporis_dagster.data_source.streams.arrow_columns import frame_of_table
from temporis_dagster.testing import FakeService, answer, in_sequence

LAZY = hasattr(pl.LazyFrame, "collect_batches")
ROWS, SLICE = 30, 10
START = 1_718_870_400


def orders(rows: int = ROWS) -> pd.DataFrame:
    """A long frame of two series in time order."""
    stamps = pd.to_datetime(np.arange(rows) // 2 * 60 + START, unit="s", utc=True)
    return pd.DataFrame({"timestamp": stamps, "name": ["a", "b"] * (rows // 2), "value": np.arange(float(rows))})


def pieces(frame: pd.DataFrame, rows: int = 7):
    """The frame as a generator of small frames."""
    return (frame.iloc[start : start + rows] for start in range(0, len(frame), rows))


def reader(frame: pd.DataFrame) -> pa.RecordBatchReader:
    """The frame as a stream of Arrow."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))


@pytest.fixture
def source(store_url):
    """A data source whose streams are cut into slices of ten rows."""
    with connect(store_url) as temporis:
        source = temporis.data_source("store_metrics")
        source._slice_cells = SLICE
        yield source


def test_an_invalid_row_in_a_later_slice_leaves_what_came_before_stored_and_says_so(source):
    """The error lists the rows of its slice by their position in the stream, and counts what was sent."""
    frame = orders()
    frame.loc[25, "value"] = np.inf
    with pytest.raises(InvalidObservationsError, match="rows 20 to 29 and what follows were not sent") as caught:
        source.upsert(reader(frame))
    assert "Before that, the stream had 20 observations (20 stored)." in str(caught.value)
    assert caught.value.rows["position"].tolist() == caught.value.rows["label"].tolist() == [25]
    assert caught.value.report.stored == len(source.read()) == 20
    assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report


def test_spooled_all_invalid_rows_are_found_and_nothing_is_sent(source):
    """With spool=True, the error is that of one frame."""
    frame = orders()
    frame.loc[[3, 25], "value"] = np.inf
    with pytest.raises(InvalidObservationsError) as of_frame:
        observe(frame, data_source="store_metrics")
    with pytest.raises(InvalidObservationsError) as caught:
        source.upsert(pieces(frame), spool=True)
    assert str(caught.value) == str(of_frame.value)
    pd.testing.assert_frame_equal(caught.value.rows, of_frame.value.rows)
    assert source.read().empty


def test_a_source_that_fails_in_the_middle_is_an_error_of_ours_with_its_cause(source):
    """What was gathered for the next slice is not sent."""

    def failing():
        yield orders(24)
        raise OSError("the bucket is gone")

    with pytest.raises(StreamError, match=r"The generator failed \(OSError: the bucket is gone\)\. Before") as caught:
        source.upsert(failing())
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.report.stored == len(source.read()) == 20
    assert caught.value.retryable


def test_a_source_that_fails_while_it_is_spooled_sends_nothing(source):
    """Not even what was valid."""

    def failing():
        yield orders(24)
        raise ValueError

    with pytest.raises(StreamError, match=r"Nothing was sent"):
        source.upsert(failing(), spool=True)
    assert source.read().empty


def test_an_interrupted_stream_carries_the_report_of_what_was_sent(source):
    """Ctrl-C while the next piece is made."""

    def interrupted():
        yield orders(24)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        source.upsert(interrupted())
    assert caught.value.report.stored == 20


def test_a_slice_that_cannot_be_delivered_carries_the_report_of_all_slices_so_far(source, store_url):
    """Archived between two slices: the rows of the slice that was refused are unsent, those before stored."""

    def archiving():
        yield orders()[:20]
        with connect(store_url) as other:
            other.data_source("store_metrics").archive()
        yield orders()[20:]

    with pytest.raises(DataSourceArchivedError, match=r"This was in rows 20 to 29 of a stream") as caught:
        source.upsert(archiving())
    report = caught.value.report
    assert (report.observations_in, report.stored, report.unsent) == (30, 20, 10)
    assert report.unsent_rows["position"].tolist() == list(range(20, 30))


def test_rows_that_the_service_rejects_are_listed_for_all_slices_and_the_rest_is_stored():
    """One error at the end, with the report of all."""
    script = in_sequence(answer(204), answer(422, "no"), answer(422, "no"), answer(204))
    with FakeService(script=script) as service, connect(service.url, service.token) as temporis:
        source = temporis.data_source("store_metrics")
        source._slice_cells = 2
        report = source.upsert(pieces(orders(6)), on_invalid="drop")
        assert (report.stored, report.rejected) == (5, 1)
        assert report.rejected_rows["position"].tolist() == [2]


def test_a_key_that_comes_again_in_a_later_slice_is_stored_twice_and_the_later_value_wins(source):
    """Within a slice it is superseded. Spooled, it is superseded wherever it is."""
    frame = pd.concat([orders(), orders().assign(value=-1.0)[:4]], ignore_index=True)
    report = source.upsert(reader(frame))
    assert (report.observations_in, report.stored, report.superseded) == (34, 34, 0)
    assert source.read()["value"].tolist()[:4] == [-1.0] * 4
    spooled = source.upsert(reader(frame), spool=True)
    assert (spooled.unchanged, spooled.superseded, spooled.conflicts) == (30, 4, 4)
    assert spooled.superseded_rows["position"].tolist() == [0, 1, 2, 3]


def test_a_conflict_across_slices_is_refused_before_its_slice_is_sent(source):
    """on_conflict="raise" is checked from slice to slice as long as each series goes forward in time."""
    frame = orders()
    frame.loc[10:11, "timestamp"] = frame.loc[9, "timestamp"]
    with pytest.raises(InvalidObservationsError, match="of an earlier row of the stream but another value") as caught:
        source.upsert(reader(frame), on_conflict="raise")
    assert caught.value.rows["position"].tolist() == [10, 11]
    assert (caught.value.conflicts, caught.value.report.stored) == (2, 10)
    frame.loc[10:11, "value"] = frame.loc[8:9, "value"].to_numpy()
    assert source.upsert(reader(frame), on_conflict="raise").unchanged == 12


def test_what_cannot_be_checked_slice_by_slice_is_not_accepted_in_silence(source):
    """A stream that goes back in time is refused where a promise is about rows that are gone."""
    frame = orders()
    frame.loc[29, ["timestamp", "value"]] = [frame.loc[0, "timestamp"], -1.0]
    for options in ({"on_conflict": "raise"}, {"series": [Series(prefix="b", monotone=True)]}):
        with pytest.raises(InvalidObservationsError, match=r"Row 29 of the stream goes back in time.* Pass spool=True"):
            source.upsert(reader(frame), **options)
    assert source.upsert(reader(frame)).observations_in == 30


@pytest.mark.parametrize("cells", [1, 3, 10, 100])
def test_a_monotone_series_may_not_fall_from_slice_to_slice(source, cells):
    """The value before is that of an earlier slice; a key that comes again replaces its value first."""
    frame = orders(8).assign(name="meter", value=[1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 5.0, 4.0])
    frame["timestamp"] = pd.to_datetime(START + np.array([0, 1, 2, 2, 3, 4, 5, 6]), unit="s", utc=True)
    source._slice_cells = cells
    with pytest.raises(InvalidObservationsError, match=r"lower than 5\.0, which is the value before it") as caught:
        source.upsert(reader(frame), series=[Series("meter", monotone=True)])
    assert caught.value.rows["position"].tolist() == [7]
    assert source.upsert(reader(frame[:7]), series=[Series("meter", monotone=True)]).observations_in == 7


def test_a_repeated_hour_is_not_inferred_from_a_slice(source):
    """The rows around it may be in another slice. Spooled, the stream is read as one frame."""
    clock = ["2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:00", "2024-10-27 02:30"]
    frame = pd.DataFrame({"timestamp": pd.to_datetime(clock), "name": "a", "value": range(5)})
    told = {"timezone": "Europe/Berlin", "ambiguous": "infer"}
    with pytest.raises(ConfigurationError, match=r"ambiguous='infer' .* Pass spool=True"):
        source.upsert(reader(frame), **told)
    source._slice_cells = 2
    source.upsert(reader(frame), spool=True, **told)
    other = observe(frame, ObservationOptions(**told))
    assert source.read()["timestamp"].tolist() == other.frame()["timestamp"].tolist()
    assert source.upsert(reader(orders(4)), **told).stored == 4


def test_numbers_that_were_seconds_in_one_slice_are_no_dates_in_the_next(source):
    """The rule looks at all numbers, so that one slice with other numbers is enough."""
    stamps = [1, 5, *range(1990, 1998)]
    frame = pd.DataFrame({"timestamp": stamps, "name": "a", "value": 1.0})
    source._slice_cells = 2
    assert source.upsert(reader(frame)).stored == 10
    with pytest.raises(InvalidObservationsError, match="reads as calendar dates"):
        source.upsert(reader(frame[2:]))


def test_moments_in_one_slice_do_not_make_numbers_in_the_next_seconds(source):
    """A stream whose timestamps are datetimes and then dates as numbers is refused, as one frame of both is."""
    moments = orders(2).astype({"timestamp": object})
    dates = moments.assign(timestamp=pd.Series([20240621, 20240622], dtype=object))
    source._slice_cells = 2
    for data in (pd.concat([moments, dates]), iter([orders(2), dates]), iter([moments, dates])):
        with pytest.raises(InvalidObservationsError, match="reads as calendar dates"):
            source.check(data)
    with pytest.raises(InvalidObservationsError, match="reads as calendar dates"):
        source.upsert(iter([orders(2), dates]), spool=True)


@pytest.mark.parametrize("spool", [False, True])
def test_a_generator_may_fill_one_frame_again_and_again(source, spool, monkeypatch):
    """What was yielded is kept unchanged while the next piece is made in the same memory, also in the report."""
    monkeypatch.setattr(joined_report, "FEW_ROWS", 0)
    stamps, values = np.zeros(2, dtype=np.int64), np.zeros(2)

    def filled():
        frame = pd.DataFrame({"timestamp": stamps, "name": "a", "value": values}, copy=False)
        for start in range(START, START + 10, 2):
            stamps[:], values[:] = (start, start + 1), (start - START, start - START + 1)
            frame["timestamp"], frame["value"] = pd.Series(stamps, copy=False), pd.Series(values, copy=False)
            yield frame

    for slice_cells in (2, 3, 100):
        source._slice_cells = slice_cells
        report = source.check(filled(), spool=spool)
        assert report.unsent_rows["value"].tolist() == list(range(10))
    assert source.upsert(filled(), spool=spool).stored == 10
    assert source.read()["value"].tolist() == list(range(10))


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize("column", ["value", "nothing"])
def test_a_generator_that_is_not_read_completely_is_closed_at_once(source, spool, column):
    """What it holds, such as a cursor, is let go even while the error is kept; an error in doing so hides none."""
    ended = []

    def failing():
        try:
            yield from pieces(orders().assign(value=np.inf))
            yield from itertools.repeat(orders().drop(columns="name"))
        finally:
            ended.append("closed")
            raise OSError("the cursor is gone")

    stream = failing()  # referred to after the error, as the error itself is
    with pytest.raises(InvalidObservationsError):
        source.upsert(stream, value=column, spool=spool)
    assert ended == ["closed"]


def test_a_consumed_stream_is_refused_and_not_taken_for_an_empty_one(source):
    """A generator knows whether it has ended; what was read here is remembered; an iterator must yield a frame."""
    for stream in (pieces(orders()), reader(orders())):
        source.check(stream)
        with pytest.raises(InvalidObservationsError, match="was read before"):
            source.upsert(stream)
    ended = pieces(orders())
    list(ended)
    with pytest.raises(InvalidObservationsError, match="was read before"):
        source.upsert(ended)
    with pytest.raises(InvalidObservationsError, match="yielded no frame, so it was probably read before"):
        source.upsert(itertools.chain())


def test_an_empty_stream_is_an_empty_frame(url, caplog):
    """It creates a data source, as an empty frame does. A reader without rows is mentioned, for it may be consumed."""
    empty = orders()[:0]
    with connect(url, create_missing=True) as temporis:
        for number, stream in enumerate([(f for f in ()), iter([empty]), pa.Table.from_pandas(empty), reader(empty)]):
            assert not caplog.messages
            assert str(temporis.data_source(f"s{number}").upsert(stream)).startswith(f"s{number}: 0 observations")
        assert temporis.data_sources() == ["s0", "s1", "s2", "s3"]
    assert "held no rows" in caplog.text


def test_a_stream_whose_columns_change_is_refused_where_they_change(source):
    """Which row, and which column."""
    first, second = orders()[:12], orders()[12:]
    for other, words in [
        (second.drop(columns="value"), "change at row 12: 'value' disappeared"),
        (second.assign(unit="MW"), "change at row 12: 'unit' appeared"),
        (second.assign(timestamp=second["timestamp"].dt.tz_localize(None)), "changes at row 12: its timestamps in the"),
    ]:
        with pytest.raises(InvalidObservationsError, match=words) as caught:
            source.upsert(iter([first, other]))
        assert caught.value.report.observations_in == 10
    reordered = second[["value", "name", "timestamp"]]
    assert source.upsert(iter([first, reordered])).observations_in == 30


def test_pieces_of_one_slice_are_joined_without_rounding(source):
    """Whole numbers in one piece, fractions in the next: as objects where float64 does not hold them."""
    first = pd.DataFrame({"timestamp": [START], "name": ["a"], "value": [2**53 + 1]})
    second = pd.DataFrame({"timestamp": [START + 1], "name": ["a"], "value": [0.5]})
    with pytest.raises(InvalidObservationsError, match="beyond 2\\*\\*53"):
        source.upsert(iter([first, second]))
    assert source.upsert(iter([first.assign(value=7), second])).stored == 2
    assert source.read()["value"].tolist() == [7.0, 0.5]


def test_pieces_of_pandas_polars_and_arrow_may_be_mixed(source):
    """Each is a frame."""
    table = pa.Table.from_pandas(orders(), preserve_index=False)
    mixed = iter([orders()[:5], pl.from_arrow(table.slice(5, 8)), table.slice(13, 2), table.slice(15).to_reader()])
    assert source.upsert(mixed).stored == 30
    assert source.upsert(orders()).unchanged == 30


@pytest.mark.parametrize(
    ("values", "called"),
    [
        (pa.array([[1]]), "list<item: int64>"),
        (pa.array([{"x": 1}]), "struct<x: int64>"),
        (pa.array([1], pa.duration("s")), "duration[s]"),
        (pa.array([1], pa.decimal256(3)), "decimal256(3, 0)"),
        (pa.array([b"1"]), "binary"),
        (pa.array([1], pa.time32("s")), "time32[s]"),
        (pa.array([1]).dictionary_encode(), "dictionary<values=int64, indices=int32, ordered=0>"),
    ],
    ids=str,
)
def test_a_type_of_arrow_that_is_not_a_number_is_called_by_its_name(source, values, called):
    """In a long and in a wide frame; also as a stream. A column that is not read may have any type."""
    table = pa.table({"timestamp": [START], "name": ["a"], "value": values})
    for data in (table, table.to_reader(), table.drop_columns("name").rename_columns(["timestamp", "load"])):
        with pytest.raises(InvalidObservationsError) as caught:
            source.upsert(data)
        assert f"has the Arrow type {called}, which is not a number" in str(caught.value)
        assert str(caught.value).endswith("Nothing was sent.")
    assert source.upsert(table.rename_columns(["timestamp", "name", "x"]).append_column("value", [[1]])).stored == 1


@pytest.mark.parametrize("cut", [0, 3])
@pytest.mark.parametrize(
    "names", ["ababababa", "aaaaaaa", "abcabca", "abababc", "abcabd", "a", "ab"], ids=lambda names: names
)
def test_names_in_complete_rounds_or_not_are_the_same_names(source, names, cut):
    """A column that repeats its beginning to the end is looked up once; one that almost does is not taken for one."""
    texts = pa.chunked_array([list(names[:cut]), list(names[cut:])], pa.string())
    table = pa.table({"timestamp": range(START, START + len(names)), "name": texts, "value": [1.0] * len(names)})
    assert source.upsert(table).stored == len(names)
    assert source.read()["name"].tolist() == list(names)


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 18, reason="pyarrow encodes text views from version 18 on")
def test_text_views_are_encoded_by_a_pyarrow_that_cannot_compare_them(monkeypatch):
    """Many versions have no kernel for that. Names do not become Python's texts, row by row, because of it."""

    def lacking(*_, **__):
        raise pa.ArrowNotImplementedError("Function 'equal' has no kernel matching input types")

    table = pa.table({"timestamp": range(START, START + 5), "name": pa.array(list("ababa"), pa.string_view())})
    table = table.append_column("value", [[1.0] * 5])
    monkeypatch.setattr(pc, "equal", lacking)
    monkeypatch.setattr(pa, "array", lacking)
    names = frame_of_table(table, None)["name"]
    assert (names.tolist(), names.cat.codes.tolist()) == (list("ababa"), [0, 1, 0, 1, 0])


def test_names_in_dictionaries_that_arrow_cannot_unify(source):
    """Pieces with a dictionary each, which holds a missing text, or which together need wider codes."""
    names = [[f"{kind}{number}" for number in range(100)] for kind in "ab"]
    narrow = [pa.array(part).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())) for part in names]
    missing = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), pa.array(["a", None, "a"]))
    for arrays, count in [(narrow, 200), ([missing, missing.slice(1)], 3)]:
        frames = [pa.table({"timestamp": [START] * len(a), "name": a, "value": [1.0] * len(a)}) for a in arrays]
        reports = [
            source.check(data, on_invalid="drop") for data in (iter(frames), pa.concat_tables(frames), *frames[:1])
        ]
        assert [report.unsent + report.superseded for report in reports[:2]] == [count, count]


@pytest.mark.parametrize("invalid", [1, 10])
def test_dropping_is_offered_for_a_stream_only_where_valid_rows_are_known(source, invalid):
    """As for a frame: there must be a rest to send."""
    bad = orders(10).assign(value=[np.inf] * invalid + [1.0] * (10 - invalid))
    with pytest.raises(InvalidObservationsError) as raised:
        source.upsert(iter([bad, bad]))
    assert ("or pass on_invalid='drop' to send the rest." in str(raised.value)) == (invalid == 1)


def test_what_is_neither_a_frame_nor_a_stream_is_refused_with_what_to_pass(source):
    """Lists, functions that were not called, single columns, asynchronous generators."""

    def frames():
        yield orders()

    async def later():
        yield orders()

    for given, words in [
        ([orders()], r"got list\. Pass iter\(frames\)"),
        (frames, r"Call the function first"),
        (later(), r"not asynchronous"),
        ({"timestamp": 1}, r"got dict\. Convert it first"),
        (dataset(pa.table({"a": [1]})), r"InMemoryDataset\. Pass \.scanner\(\)\.to_reader\(\)"),
        (dataset(pa.table({"a": [1]})).scanner(), r"Scanner\. Pass \.to_reader\(\)"),
        (pl.DataFrame({"a": [1]}, {"a": pl.Int128}), r"no type for the column 'a' \(Int128\)\. Cast it"),
        (pa.chunked_array([[1]]), r"pyarrow ChunkedArray cannot be read as a table"),
        (pl.Series([1]), r"polars Series cannot be read as a table"),
        (iter([1]), r"must yield frames, got int as item 0"),
    ]:
        with pytest.raises(InvalidObservationsError, match=words):
            source.upsert(given)


def test_a_spark_frame_is_refused_before_it_is_read_as_a_stream(source):
    """PySpark's frames have Arrow's protocol as well, but it takes all rows through the driver."""
    methods = {"__module__": "pyspark.sql.classic.dataframe", "__arrow_c_stream__": lambda _: 1 / 0}
    spark = type("DataFrame", (), methods)()
    for call in (source.upsert, source.check, source.plan, observed):
        with pytest.raises(InvalidObservationsError, match=r"Call temporis_dagster.spark.upsert\(df, source\)"):
            call(spark)
    on_pandas = type("DataFrame", (), {"__module__": "pyspark.pandas.frame"})()
    with pytest.raises(InvalidObservationsError, match=r"Call df.to_spark\(\) first"):
        source.upsert(on_pandas)


@pytest.mark.skipif(not LAZY, reason="this polars cannot collect batches")
def test_a_lazy_frame_whose_query_fails_is_an_error_of_ours(source):
    """With the words of polars."""
    with pytest.raises(StreamError, match=r"The polars LazyFrame failed \(ColumnNotFoundError: .*\)\. Nothing was"):
        source.upsert(pl.from_pandas(orders()).lazy().select(pl.col("nope")))


@pytest.mark.skipif(LAZY, reason="this polars can collect batches")
def test_a_lazy_frame_of_an_old_polars_says_which_one_is_needed(source):
    """And what to do without it."""
    with pytest.raises(ConfigurationError, match=r"polars 1\.34 or newer"):
        source.upsert(pl.from_pandas(orders()).lazy())


def test_a_relation_is_run_anew_each_time_until_its_connection_is_closed(source):
    """A relation is a query: it can be checked and then upserted."""
    connection = duckdb.connect()
    connection.register("orders", pa.Table.from_pandas(orders()))
    query = "select timestamp, name, value from orders"
    assert source.check(connection.sql(query)).unsent == 30
    assert source.upsert(connection.sql(query)).stored == 30
    relation = connection.sql(query)
    connection.close()
    with pytest.raises(StreamError, match="duckdb DuckDBPyRelation failed"):
        source.upsert(relation)


def test_without_a_place_for_its_spool_nothing_is_sent(source, monkeypatch):
    """A full disk is an error of ours, and says where."""

    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(
        StreamError,
        match=r"No space left on device\)\. Make room there, or set TMPDIR .*disk\. Nothing was sent\. Make",
    ):
        source.upsert(pieces(orders()), spool=True)
    assert source.read().empty


def test_a_spool_leaves_no_file_behind(source, monkeypatch, tmp_path):
    """Not even while it is used: its files have no names."""
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    seen = []
    source.upsert(pieces(orders()), spool=True, progress=lambda _: seen.append(list(place.iterdir())))
    assert seen == [[]]


def bytes_in_memory_of(folder):
    """What this process has in memory of the files that it has mapped from a folder, as Linux counts it."""
    mapped, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            mapped = str(folder) in line
        elif mapped and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is in memory")
@pytest.mark.parametrize("target", ["store", "service"])
def test_a_spool_takes_no_memory_for_what_has_been_written(store_url, monkeypatch, tmp_path, target):
    """However many rows there are: each chunk, or request, lets go of what it has read from the files."""
    rows, kept, place = 250_000, [], tmp_path / "spool"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    frame = pd.DataFrame({"timestamp": np.arange(rows) // 5 * 60, "name": np.resize([*"abcde"], rows), "value": 1.5})
    stream = (frame.iloc[start : start + 50_000] for start in range(0, rows, 50_000))
    with FakeService() as service:
        url, token = (store_url, None) if target == "store" else (service.url, service.token)
        with connect(url, token) as temporis:
            source = temporis.data_source("store_metrics")
            source._slice_cells = 50_000
            report = source.upsert(stream, spool=True, progress=lambda _: kept.append(bytes_in_memory_of(place)))
    assert report.stored == rows
    assert len(kept) > 2
    bytes_in_files = 14 * rows
    assert (max(kept) if target == "store" else kept[-1]) < bytes_in_files / 10


def test_what_a_spooled_stream_returns_can_go_to_another_process(source, monkeypatch):
    """Reports and errors with rows, and observations; they are copied like those of a frame."""
    monkeypatch.setattr(spool, "MOST_CELLS", 10)
    twice = pd.concat([orders(), orders()])
    report = source.upsert(pieces(twice), spool=True)
    source.archive()
    with pytest.raises(DataSourceArchivedError) as caught:
        source.upsert(pieces(twice), spool=True)
    for copied in (copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))):
        pd.testing.assert_frame_equal(copied(report).superseded_rows, report.superseded_rows)
        pd.testing.assert_frame_equal(copied(caught.value).report.unsent_rows, caught.value.report.unsent_rows)
        again = copied(observed(pieces(twice), slice_cells=10))
        assert len(again) == len(orders())
        again.let_go()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_a_report_with_rows_keeps_no_file_of_a_spool(source, monkeypatch, tmp_path):
    """The rows that it lists are copies, so the disk is free again."""
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(spool, "MOST_CELLS", 10)
    report = source.check(pieces(pd.concat([orders(), orders(2)])), spool=True)
    assert report.superseded == 2
    gc.collect()
    assert str(place) not in Path("/proc/self/maps").read_text()


def test_a_spool_is_read_where_memory_is_locked(source, monkeypatch):
    """The system then refuses to take memory back, which is no fault of the store."""

    class Locked(mmap.mmap):
        def madvise(self, *_):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(spool, "MOST_CELLS", 10)
    monkeypatch.setattr(mmap, "mmap", Locked)
    assert source.upsert(pieces(orders()), spool=True).stored == 30


def test_long_lists_of_rows_are_kept_in_a_file(source, monkeypatch):
    """They are the same rows, and a report that is sent to another process takes them along."""
    monkeypatch.setattr(joined_report, "FEW_ROWS", 0)
    monkeypatch.setattr(joined_report, "ROWS_IN_MEMORY", 15)
    report = source.check(reader(orders()))
    expected = source.check(orders()).unsent_rows
    for one in (report, pickle.loads(pickle.dumps(report))):
        pd.testing.assert_frame_equal(one.unsent_rows, expected)


@pytest.mark.parametrize("room", [10**9, 2_000, 0])
def test_a_disk_that_is_almost_full_loses_no_row_of_a_report(source, monkeypatch, tmp_path, room):
    """It takes a part of what is written, and only then raises; such rows stay in memory."""

    class AlmostFull(io.FileIO):
        def write(self, data):
            left = room - self.tell()
            if left <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data)[: min(left, 100)])

    monkeypatch.setattr(joined_report, "FEW_ROWS", 0)
    monkeypatch.setattr(joined_report, "ROWS_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: AlmostFull(tmp_path / "rows", "w+"))
    report = source.check(reader(orders()))
    pd.testing.assert_frame_equal(report.unsent_rows, source.check(orders()).unsent_rows)


def test_a_dry_run_reads_a_stream_and_writes_nothing(store_url):
    """Every observation is unsent."""
    with connect(store_url, dry_run=True) as temporis:
        report = temporis.data_source("store_metrics").upsert(reader(orders()))
    assert (report.dry_run, report.unsent) == (True, 30)


def test_progress_counts_the_observations_of_all_slices(source):
    """One bar, without a length."""
    settled = []
    source.upsert(reader(orders()), progress=settled.append)
    assert sum(settled) == 30


def test_a_plan_takes_a_stream(source):
    """It is spooled, because a plan is about everything at once."""
    source.upsert(orders()[:10])
    plan = source.plan(reader(orders()))
    assert (plan.new, plan.unchanged) == (20, 10)


def test_warnings_of_a_stream_are_shown_once(source, caplog):
    """A stream may have thousands of slices."""
    frame = pd.concat([orders(), orders().assign(value=-1.0)]).sort_values(["timestamp", "name"], kind="stable")
    with caplog.at_level(logging.WARNING):
        report = source.upsert(pieces(frame.reset_index(drop=True)))
    assert report.conflicts == 30
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("In rows 0 to 9 of the stream (the report counts all): 5 of 10 observations")


@pytest.mark.once
def test_pyarrow_is_imported_only_for_what_needs_it():
    """A frame of pandas whose names are objects, in and out."""
    code = (
        "import sys, pandas as pd; sys.modules['pyarrow'] = None\n"
        "from temporis_dagster.data_source.streams import observed\n"
        "frame = pd.DataFrame({'timestamp': [1], 'name': pd.Series(['a'], dtype=object), 'value': [1.0]})\n"
        "print(len(observed(frame)), len(observed(iter([frame]))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"
