"""What is indexed by time in another dtype than a DatetimeIndex is read, or told what to do with the index."""

import io
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from temporis_dagster import (
    InvalidObservationsError,
    TemporisIOManager,
    TemporisResource,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.cli import main
from temporis_dagster.cli.file_options import FileOptions
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.write_options import AssetFrameOptions
from tests.support.dagster_harness import failure_of

DAY_S = 86_400
JUNE_20 = 1_718_841_600
DAYS = [JUNE_20, JUNE_20 + DAY_S]
UTC = timezone.utc
NAMED = {"name": "timestamp"}

READ = {
    "dates": pd.Index([date(2024, 6, 20), date(2024, 6, 21)]),
    "dates of Arrow": pd.Index(
        pd.array([date(2024, 6, 20), date(2024, 6, 21)], dtype=pd.ArrowDtype(pa.date32())), name="day"
    ),
    "datetimes as objects": pd.Index([datetime(2024, 6, 20, tzinfo=UTC), datetime(2024, 6, 21)], dtype=object),
    "mixed offsets": pd.Index(
        [pd.Timestamp("2024-06-19 19:00-0500"), pd.Timestamp("2024-06-21 01:00+0100")], dtype=object
    ),
    "NumPy datetimes as objects": pd.Index([np.datetime64("2024-06-20"), np.datetime64("2024-06-21")], dtype=object),
    "a category of moments": pd.CategoricalIndex(pd.to_datetime(["2024-06-20", "2024-06-21"], utc=True)),
    "Unix seconds that are called timestamp": pd.Index(DAYS, **NAMED),
    "the same as floats": pd.Index([float(second) for second in DAYS], **NAMED),
    "the same as Decimals": pd.Index([Decimal(second) for second in DAYS], dtype=object, **NAMED),
    "the same, nullable": pd.Index(DAYS, dtype="Int64", **NAMED),
}


def test_a_signalling_nan_in_an_index_is_a_missing_timestamp():
    """pandas itself raises decimal.InvalidOperation where it looks for missing values among such objects."""
    index = pd.Index([Decimal("sNaN"), Decimal(JUNE_20)], dtype=object)
    for data, options in (
        (pd.DataFrame({"a": [1, 2]}, index=index), ObservationOptions(timestamp=None, on_invalid="drop")),
        (pd.DataFrame({"a": [1, 2]}, index=index.rename("timestamp")), ObservationOptions(on_invalid="drop")),
        (pd.Series([1, 2], index=index, name="a"), ObservationOptions(timestamp=None, on_invalid="drop")),
    ):
        assert observe(data, options).timestamps.tolist() == [JUNE_20]
    with pytest.raises(InvalidObservationsError, match=r"The index holds numbers. .*timestamp=None"):
        observe(pd.DataFrame({"a": [1, 2]}, index=index), ObservationOptions())


@pytest.mark.parametrize("index", READ.values(), ids=READ)
def test_an_index_of_moments_is_read_whatever_its_dtype(index):
    """Objects that are moments are so by themselves; numbers are if the index has the timestamp column's name."""
    options = ObservationOptions(timezone="UTC")
    for data in (pd.DataFrame({"a": [1, 2]}, index=index), pd.Series([1, 2], index=index, name="a")):
        before = data.copy(deep=True)
        assert observe(data, options).timestamps.tolist() == DAYS
        assert data.equals(before)
    long = pd.DataFrame({"name": "a", "value": [1, 2]}, index=index)
    assert observe(long, options).timestamps.tolist() == DAYS


def test_timestamp_none_takes_an_index_of_numbers_but_never_row_numbers():
    """A caller who declares the index to be the timestamp is believed, if it can be one."""
    none = ObservationOptions(timestamp=None)
    assert observe(pd.DataFrame({"a": [1, 2]}, index=pd.Index(DAYS)), none).timestamps.tolist() == DAYS
    with pytest.raises(InvalidObservationsError, match="only numbers the rows"):
        observe(pd.DataFrame({"a": [1, 2]}), none)
    with pytest.raises(InvalidObservationsError, match="to get Unix seconds"):
        observe(pd.DataFrame({"a": [1]}, index=pd.Index([DAYS[0] * 1000])), none)
    with pytest.raises(InvalidObservationsError, match="no column 'timestamp'"):
        observe(pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(2, **NAMED)))


LABELS = {
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    "periods": pd.period_range("2024-01", periods=2, freq="M"),
    "intervals": pd.interval_range(0, 2),
    **{kind: READ[kind] for kind in ("dates", "mixed offsets", "NumPy datetimes as objects")},
}


@pytest.mark.parametrize("index", LABELS.values(), ids=LABELS)
def test_where_there_is_a_timestamp_column_another_index_is_left_alone(index):
    """Only a DatetimeIndex makes a second reading of such a frame; levels, dates or numbers are labels."""
    frame = pd.DataFrame({"timestamp": DAYS, "name": "a", "value": [1.0, 2.0]}, index=index)
    observations = observe(frame)
    assert observations.timestamps.tolist() == DAYS
    assert observations.frame().label.tolist() == index.tolist()


REFUSED = {
    "PeriodIndex": (pd.period_range("2024-01", periods=2, freq="M"), "periods (period[M])", "to_timestamp()"),
    "PeriodIndex, by name": (pd.period_range("2024-01", periods=2, freq="D", **NAMED), "periods", "to_timestamp()"),
    "periods as objects": (pd.Index([pd.Period("2024")] * 2, dtype=object), "periods", "to_timestamp()"),
    "Unix seconds": (pd.Index(DAYS), "numbers (int64)", "timestamp=None"),
    "floats": (pd.Index([0.5, 1.5]), "numbers (float64)", "timestamp=None"),
    "text": (pd.Index(["2024-06-20", "2024-06-21"]), "text", "pd.to_datetime(frame.index, utc=True)"),
    "text, by name": (pd.Index(["2024-06-20", "2024-06-21"], **NAMED), "text is not a timestamp", "pd.to_datetime"),
    "durations": (pd.to_timedelta([1, 2], unit="h"), "durations", "start + frame.index"),
    "durations as objects": (pd.Index([timedelta(1), timedelta(2)], dtype=object), "durations", "start + frame.index"),
    "intervals": (pd.interval_range(0, 2), "intervals", "frame.index.left"),
    "moments and text": (pd.Index([pd.Timestamp(0), "soon"], dtype=object), "Timestamp and text", "DatetimeIndex"),
    "booleans": (pd.Index([True, False]), "bool", "DatetimeIndex"),
}  # fmt: skip


@pytest.mark.parametrize(("index", "held", "advice"), REFUSED.values(), ids=REFUSED)
def test_another_index_is_named_with_what_to_do_with_it(index, held, advice):
    """The fault is the index, so the message is about the index, not only about the columns that there are."""
    for data in (pd.DataFrame({"a": [1, 2]}, index=index), pd.Series([1, 2], index=index, name="a")):
        with pytest.raises(InvalidObservationsError) as raised:
            observe(data, ObservationOptions(timezone="UTC"))
        assert held in str(raised.value)
        assert advice in str(raised.value)


@pytest.mark.parametrize(
    "index",
    [
        pd.period_range("2024-01", periods=2, freq="M"),
        pd.Index(["2024-06-20", "2024-06-21"]),
        pd.interval_range(pd.Timestamp("2024-06-20"), periods=2, freq="h"),
        pd.to_timedelta([1, 2], unit="h"),
    ],
    ids=["periods", "text", "intervals", "durations"],
)
def test_the_statement_that_a_message_gives_helps(index):
    """Pasted as it is written, it makes a frame that is read."""
    frame, options = pd.DataFrame({"a": [1, 2]}, index=index), ObservationOptions(timezone="UTC")
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, options)
    (statement,) = re.findall(r"(frame\.index = .*)\. Or say", str(raised.value))
    exec(statement, {"pd": pd, "frame": frame, "start": pd.Timestamp("2024-06-20")})
    assert len(observe(frame, options)) == 2


@pytest.mark.parametrize(("index", "held", "_advice"), REFUSED.values(), ids=REFUSED)
def test_no_message_speaks_of_python_on_the_command_line_or_of_arguments_in_dagster(index, held, _advice):
    """A file has no frame to change, and an asset's options are its metadata: name= would rename the asset."""
    frame = pd.DataFrame({"a": [1, 2]}, index=index)
    for options in (FileOptions(timezone="UTC"), AssetFrameOptions(timezone="UTC")):
        with pytest.raises(InvalidObservationsError) as raised:
            observe(frame, options)
        said = str(raised.value)
        if isinstance(options, FileOptions):
            assert "frame." not in said
            assert "pd." not in said
            assert "--timestamp" in said or "ISO 8601" in said
        else:
            assert re.search(r"(?<!temporis/)\btimestamp=", said) is None
            assert held in said


VALUES = {
    "bool": ([True, False], "bool", ".astype(int)", "1 or 0"),
    "bool objects": (np.array([True, None], dtype=object), "bool", ".astype(int)", "1 or 0"),
    "nullable bool": (pd.array([True, False], dtype="boolean"), "bool", ".astype(int)", "1 or 0"),
    "durations": (pd.to_timedelta([1, 2], unit="h"), "timedelta64", ".dt.total_seconds()", "number of seconds"),
    "durations as objects": (np.array([timedelta(1), 1.0], dtype=object), "timedelta", "total_seconds", "seconds"),
}


@pytest.mark.parametrize(("values", "kind", "python", "file"), VALUES.values(), ids=VALUES)
def test_booleans_and_durations_are_told_how_to_become_numbers(values, kind, python, file):
    """As values of either layout, on either surface."""
    for frame in (
        pd.DataFrame({"timestamp": DAYS, "a": values}),
        pd.DataFrame({"timestamp": DAYS, "name": "a", "value": values}),
    ):
        for options, advice in ((ObservationOptions(), python), (FileOptions(), file)):
            with pytest.raises(InvalidObservationsError, match=f"{kind}.* is not a number") as raised:
                observe(frame, options)
            assert advice in str(raised.value)


def test_integers_that_float64_may_not_hold_are_told_how_to_become_floats(tmp_path):
    """In Python by a conversion, in a file by a decimal point; and both of these help."""
    frame, url = pd.DataFrame({"timestamp": DAYS, "a": [2**53 + 1, 1]}), f"sqlite:///{tmp_path}/temporis.db"
    with pytest.raises(InvalidObservationsError, match="convert it to float"):
        observe(frame)
    assert observe(frame.astype({"a": float})).values.tolist() == [2.0**53, 1.0]
    with connect(url) as temporis:
        temporis.create_data_source("src")
        for text, code in ((f"{2**53 + 1}", 3), (f"{2**53 + 1}.0", 0)):
            (tmp_path / "a.csv").write_text(f"timestamp,a\n0,{text}\n")
            done = CliRunner().invoke(main, ["ingest", f"{tmp_path}/a.csv", "--data-source", "src", "--url", url])
            assert done.exit_code == code
            assert ("decimal point" in done.stderr) == (code == 3)


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")
@pytest.mark.parametrize("kind", [*READ, *REFUSED])
def test_an_asset_with_such_an_index_is_stored_or_told_what_to_do(tmp_path, kind):
    """The same rule behind the IO manager, in the words of Dagster."""
    index = READ[kind] if kind in READ else REFUSED[kind][0]

    @temporis_asset(data_source="src", timezone="UTC")
    def made():
        return pd.DataFrame({"a": [1, 2]}, index=index)

    url = f"sqlite:///{tmp_path}/temporis.db"
    resources = {"temporis_io_manager": TemporisIOManager(temporis=TemporisResource(url=url, create_missing=True))}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [data_source_spec("src"), made],
            selection=[made],
            resources=resources,
            instance=instance,
            raise_on_error=False,
        )
    assert result.success == (kind in READ)
    if kind in READ:
        with connect(url) as temporis:
            assert temporis.data_source("src").read().timestamp.astype("int64").tolist() == DAYS
    else:
        said = failure_of(result).event_specific_data.user_failure_data.description
        assert REFUSED[kind][2].replace("timestamp=None", "temporis/timestamp=None") in said


def test_integer_labels_and_names_are_told_how_to_become_text():
    """A pivot by a number leaves integers as column labels; the message has the call, and the call helps."""
    wide = pd.DataFrame({7: [1.0], 8: [2.0]}, index=pd.DatetimeIndex(["2024-06-20"], tz="UTC"))
    with pytest.raises(InvalidObservationsError, match=re.escape("frame.rename(columns=str)")):
        observe(wide)
    assert observe(wide.rename(columns=str)).names == ("7", "8")
    long = pd.DataFrame({"timestamp": DAYS, "name": [7, 8], "value": [1.0, 2.0]})
    for options in (ObservationOptions(), ObservationOptions(layout="long")):
        with pytest.raises(InvalidObservationsError, match=re.escape(".astype(str)")):
            observe(long, options)
    assert observe(long.assign(name=long["name"].astype(str))).names == ("7", "8")
    for frame in (wide, long):
        with pytest.raises(InvalidObservationsError, match="as text"):
            observe(frame, FileOptions())


@pytest.mark.parametrize("kind", ["dates", "Unix seconds that are called timestamp", "mixed offsets"])
def test_a_parquet_file_with_such_an_index_is_ingested(tmp_path, kind):
    """What a frame has as its index, its file has, too."""
    index, buffer, url = READ[kind], io.BytesIO(), f"sqlite:///{tmp_path}/temporis.db"
    index = index if kind != "mixed offsets" else pd.to_datetime(index, utc=True)
    pd.DataFrame({"a": [1, 2]}, index=index).to_parquet(buffer)
    (tmp_path / "a.parquet").write_bytes(buffer.getvalue())
    with connect(url) as temporis:
        source = temporis.create_data_source("src")
        arguments = ["ingest", f"{tmp_path}/a.parquet", "--data-source", "src", "--url", url, "--timezone", "UTC"]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.stderr
        assert source.read().timestamp.astype("int64").tolist() == DAYS
