"""What an input is annotated as is what it gets: a frame of pandas, polars or Arrow, a reader, a dict of these."""

from typing import Any, Optional

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from temporis_dagster import DataSource, StoreError, temporis_asset
from temporis_dagster.data_source.store import pieces
from tests.support.io_manager_tools import SOURCE, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-04")
ZONES = dg.StaticPartitionsDefinition(["north", "south"])
SINGLE = {
    "pandas": pd.DataFrame,
    "anything": Any,
    "an object": object,
    "polars": pl.DataFrame,
    "text": "pl.DataFrame",
    "optional": Optional[pl.DataFrame],  # noqa: UP045  # as many write it
    "union": pl.DataFrame | None,
    "lazy": pl.LazyFrame,
    "table": pa.Table,
    "reader": pa.RecordBatchReader,
}
KINDS = {"anything": pd.DataFrame, "an object": pd.DataFrame, "text": pl.DataFrame, "optional": pl.DataFrame}
KINDS = {**SINGLE, **KINDS, "union": pl.DataFrame}


FRAME = f"{pd.DataFrame.__module__}.DataFrame"
WRITTEN = ["polars", "table", "reader", *(["lazy"] if hasattr(pl.LazyFrame, "collect_batches") else [])]
"""LazyFrames can be read in batches from polars 1.34 on."""


class Spark:
    """What an annotation of another library looks like."""


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of one row, read in pieces of two."""
    monkeypatch.setattr(pieces, "FEWEST_ROWS", 2)
    monkeypatch.setattr(pieces, "ROWS_PER_SERIES", 1)
    monkeypatch.setitem(DataSource.rows_in_batches.__kwdefaults__, "rows", 1)


def rows(frame):
    """Whatever the frame is of, as a list of (second, name, value)."""
    if isinstance(frame, pa.RecordBatchReader):
        frame = frame.read_all()
    if isinstance(frame, pa.Table):
        frame = frame.to_pandas()
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.col("timestamp").dt.epoch("s")).rows()
    seconds = frame["timestamp"].dt.as_unit("s").astype("int64").tolist()
    return list(zip(seconds, frame["name"].tolist(), frame["value"].tolist(), strict=True))


def asset_of(name, annotation, got, upstream, metadata=None):
    """An asset that notes what its input is, and its rows."""

    def read(frame) -> None:
        apart = frame if isinstance(frame, dict) else {"": frame}
        got[name] = ({type(each) for each in apart.values()}, {key: rows(each) for key, each in apart.items()})

    read.__annotations__["frame"] = annotation
    return dg.asset(name=name.replace(" ", "_"), ins={"frame": dg.AssetIn(upstream, metadata=metadata)})(read)


def written():
    """An asset of nine rows per day."""

    @temporis_asset(data_source=SOURCE, partitions_def=DAYS)
    def load(context: dg.AssetExecutionContext):
        hours = pd.date_range(context.partition_key, periods=3, freq="h", tz="UTC")
        return pd.DataFrame({"load_north": -0.0, "load_south": 2.0, "load": 1.5}, index=hours)

    return load


def written_zones(options):
    """An asset of one series per zone."""

    @temporis_asset(data_source=SOURCE, partitions_def=ZONES, **options)
    def load(context: dg.AssetExecutionContext):
        hours = pd.date_range("2024-06-01", periods=3, freq="h", tz="UTC")
        return pd.DataFrame({f"load_{context.partition_key}": range(3)}, index=hours)

    return load


def test_an_input_is_what_it_is_annotated_as(project, small_batches):
    """Classes, Optional, text; without an annotation pandas; and a dict of any of them has one for each partition."""
    load, got = written(), {}
    for day in DAYS.get_partition_keys():
        assert project.run(load, partition_key=day).success
    single = [asset_of(name, annotation, got, "load") for name, annotation in SINGLE.items()]
    apart = [
        asset_of(f"apart {name}", dict[str, SINGLE[name]], got, "load")
        for name in ("pandas", "anything", "polars", "optional", "lazy", "table", "reader")
    ]
    assert project.run(load, *single, *apart, selection=[*single, *apart]).success
    everything = got["pandas"][1]
    assert len(everything[""]) == 27
    by_day = got["apart pandas"][1]
    assert list(by_day) == DAYS.get_partition_keys()
    assert [len(day) for day in by_day.values()] == [9, 9, 9]
    for name in SINGLE:
        assert got[name] == ({KINDS[name]}, everything)
        if f"apart {name}" in got:
            assert got[f"apart {name}"] == ({KINDS[name]}, by_day)


@pytest.mark.parametrize("options", [{}, {"series": ["load_{partition}"]}, {"series": "load_"}], ids=str)
def test_a_reader_reads_what_a_frame_would_hold(project, small_batches, options):
    """Where series tell partitions apart, by what was written or by a template, or are chosen by a prefix."""
    load, got = written_zones(options), {}
    for zone in ZONES.get_partition_keys():
        assert project.run(load, partition_key=zone).success
    readers = [
        asset_of("frame", pd.DataFrame, got, "load"),
        asset_of("reader", pa.RecordBatchReader, got, "load"),
        asset_of("frames", dict[str, pd.DataFrame], got, "load"),
        asset_of("readers", dict[str, pa.RecordBatchReader], got, "load"),
    ]
    assert project.run(load, *readers, selection=readers).success
    assert got["reader"][1] == got["frame"][1]
    assert got["readers"][1] == got["frames"][1]
    assert [len(each) for each in got["frames"][1].values()] == [3, 3]


def test_a_reader_warns_of_series_that_have_no_observations(project):
    """As a frame does, once everything has been read."""
    load, got = written(), {}
    assert project.run(load, partition_key="2024-06-01").success
    metadata = {"columns": ["load", "sun"], "allow_missing_partitions": True}
    result = project.run(load, read := asset_of("read", pa.RecordBatchReader, got, "load", metadata), selection=[read])
    assert result.success
    assert len(got["read"][1][""]) == 3
    assert any("There are no observations of 'sun'" in message for message in project.logged(result))


def test_a_reader_without_any_rows(project):
    """Where nothing was materialized: the same columns, and nothing in them."""
    load, seen = written(), []

    @dg.asset(ins={"frame": dg.AssetIn("load", metadata={"allow_missing_partitions": True})})
    def read(frame: pa.RecordBatchReader) -> None:
        seen.append(frame.read_all())

    assert project.run(load, read, selection=[read]).success
    assert (seen[0].num_rows, seen[0].column_names) == (0, ["timestamp", "name", "value"])


def test_a_failure_in_the_middle_of_a_reader_is_itself(project, small_batches, monkeypatch):
    """Arrow passes on the error of the tree, on which the retry policy of the asset decides."""
    load, seen = written(), []
    assert project.run(load, partition_key="2024-06-01").success

    @dg.asset(ins={"frame": dg.AssetIn("load", metadata={"allow_missing_partitions": True})})
    def read(frame: pa.RecordBatchReader) -> None:
        monkeypatch.setattr(pieces, "ensure_same_store", replaced)
        with pytest.raises(StoreError, match="was replaced"):
            frame.read_all()
        seen.append(frame)

    def replaced(*_):
        raise pieces.replaced()

    assert project.run(load, read, selection=[read]).success
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (list[pd.DataFrame], f"List[{FRAME}]"),
        (pd.Series, "pandas.Series"),
        (int, "int"),
        (Spark, "Spark"),
        (dict[str, pd.Series], f"Dict[str, {pd.Series.__module__}.Series]"),
        (dict[int, pd.DataFrame], f"Dict[int, {FRAME}]"),
    ],
    ids=range(6),
)
def test_an_annotation_that_cannot_be_served(project, annotation, shown):
    """The step fails before anything is read, and says what an input can be annotated as."""
    load = written()
    assert project.run(load, partition_key="2024-06-01").success
    read = asset_of("read", annotation, {}, "load", {"allow_missing_partitions": True})
    said = failure(project.run(load, read, selection=[read]))
    assert "The input of load is annotated" in said
    assert f"{shown}, which observations cannot be loaded as. Annotate it as pd.DataFrame, pl.DataFrame" in said


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_written_may_be_annotated_too(project, kind):
    """A frame of polars or Arrow as the asset's return value passes Dagster's check of types, and is upserted."""
    hours = pd.date_range("2024-06-01", periods=3, freq="h", tz="UTC")
    long = pd.DataFrame({"timestamp": hours, "name": "orders", "value": [1.0, -0.0, 2.5]})
    table = pa.Table.from_pandas(long, preserve_index=False)
    made = {"polars": lambda: pl.from_arrow(table), "lazy": lambda: pl.from_arrow(table).lazy(), "table": lambda: table}
    made["reader"] = table.to_reader
    got = {}

    def orders():
        return made[kind]()

    orders.__annotations__["return"] = SINGLE[kind]
    write = temporis_asset(data_source=SOURCE)(orders)
    assert project.run(write, asset_of("read", SINGLE[kind], got, "orders")).success
    assert got["read"] == ({SINGLE[kind]}, {"": rows(long)})
