"""Decimal numbers, which every database gives, become the nearest float, as the same digits in a CSV file do."""

import math
from decimal import Decimal

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    InvalidObservationsError,
    TemporisIOManager,
    TemporisResource,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.cli import main
from temporis_dagster.data_source.observations import ObservationOptions, observe
from tests.support.component_tools import Project
from tests.support.dagster_harness import failure_of

JUNE = 1_718_841_600


def long(values, timestamps=None) -> pd.DataFrame:
    count = len(values)
    column = values if isinstance(values, pd.Series) else pd.Series(values, dtype=object)
    return pd.DataFrame({"timestamp": timestamps or range(JUNE, JUNE + count), "name": "revenue", "value": column})


def refusal(frame, **options) -> pd.DataFrame:
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, ObservationOptions(**options))
    return raised.value.rows


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value="-1e308", max_value="1e308")


@given(numbers=st.lists(st.one_of(NUMBERS, st.floats(allow_nan=False, allow_infinity=False).map(Decimal)), min_size=1))
def test_a_decimal_becomes_what_its_digits_are_as_a_float_and_exact_takes_only_the_others(numbers):
    """Nearest is Python's own reading of the digits, bit for bit; exact refuses each row where that loses something."""
    floats = np.array([float(str(number)) for number in numbers])
    assert observe(long(numbers)).values.tobytes() == floats.tobytes()
    inexact = [row for row, number in enumerate(numbers) if float(str(number)) != number]
    if inexact:
        assert refusal(long(numbers), decimals="exact").position.tolist() == inexact
    else:
        assert observe(long(numbers), ObservationOptions(decimals="exact")).values.tobytes() == floats.tobytes()


DECIMALS = {
    "objects": pd.Series([Decimal("12.34"), Decimal("5.00")], dtype=object),
    "with floats and integers": pd.Series([Decimal("12.34"), 5], dtype=object),
    "decimal128": pd.Series([Decimal("12.34"), Decimal("5.00")], dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
    "decimal256": pd.Series([Decimal("12.34"), Decimal("5.00")], dtype=pd.ArrowDtype(pa.decimal256(60, 20))),
    "category": pd.Series([Decimal("12.34"), Decimal("5.00")], dtype=object).astype("category"),
    "a subclass": pd.Series([type("Money", (Decimal,), {})("12.34"), Decimal("5.00")], dtype=object),
}


@pytest.mark.parametrize("column", DECIMALS.values(), ids=DECIMALS)
def test_decimals_of_every_dtype_are_taken(column):
    """Objects of a driver, Arrow's decimals, categories: in a long frame and as the cells of a wide one."""
    assert observe(long(column)).values.tolist() == [12.34, 5.0]
    wide = pd.DataFrame({"revenue": column.to_numpy()}, index=pd.to_datetime([JUNE, JUNE + 1], unit="s", utc=True))
    assert observe(wide).values.tolist() == [12.34, 5.0]


ODD = {
    "-0": (Decimal("-0"), -0.0),
    "the least that is not 0": (Decimal("5e-324"), 5e-324),
    "less than that": (Decimal("1e-400"), 0.0),
    "far less": (Decimal("-1e-999999"), -0.0),
    "the largest float": (Decimal("1.7976931348623157e308"), 1.7976931348623157e308),
    "a third": (Decimal(1) / Decimal(3), 1 / 3),
    "a tie, to even": (Decimal(2**53 + 1), float(2**53)),
    "38 digits": (Decimal("1234567890123456789012345678.0123456789"), 1234567890123456789012345678.0123456789),
}


@pytest.mark.parametrize(("number", "expected"), ODD.values(), ids=ODD)
def test_small_large_and_long_decimals_are_rounded_once(number, expected):
    """What is below float64's range is a zero of its sign, as in CSV; nothing else is lost but digits."""
    (value,) = observe(long([number])).values.tolist()
    assert (value, math.copysign(1, value)) == (expected, math.copysign(1, expected))


def test_what_is_no_finite_float_is_refused_and_nan_is_missing():
    """1e400 would be an infinity, which no JSON has; a NaN of either kind is a missing value like any other."""
    numbers = [Decimal("1e400"), Decimal("-Infinity"), Decimal("sNaN"), Decimal("NaN"), Decimal(1)]
    reasons = refusal(long(numbers)).reason.tolist()
    words = ["beyond the largest", "infinite", "missing", "missing"]
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))
    hours = pd.to_datetime(range(JUNE, JUNE + 3), unit="s", utc=True)
    assert observe(pd.DataFrame({"revenue": numbers[2:]}, index=hours)).values.tolist() == [1.0]


def test_the_advice_of_exact_helps():
    """It names the option that takes the row."""
    (reason,) = refusal(long([Decimal("0.1")]), decimals="exact").reason
    assert "decimals='nearest'" in reason
    assert observe(long([Decimal("0.1")]), ObservationOptions(decimals="nearest")).values.tolist() == [0.1]


def test_decimal_timestamps_are_unix_seconds():
    """PostgreSQL's extract(epoch from ...) is numeric: whole seconds are read, others refused, floored or named."""
    stamps = [Decimal("1718841600.000000"), Decimal(-1), Decimal("1e3")]
    assert observe(long([1, 2, 3], stamps)).timestamps.tolist() == [1718841600, -1, 1000]
    odd = [Decimal("0.5"), Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999"), Decimal("1718841600000.5"), None]
    reasons = refusal(long([1] * len(odd), odd)).reason.tolist()
    words = ["fraction", "missing", "infinite", "out of range", "milliseconds", "missing"]
    assert all(word in reason for word, reason in zip(words, reasons, strict=True)), reasons
    floored = observe(long([1, 2], [Decimal("-0.5"), Decimal("1.5")]), ObservationOptions(sub_second="floor"))
    assert floored.timestamps.tolist() == [-1, 1]


def test_parquet_decimals_are_ingested_by_the_command_line(tmp_path):
    """decimal128 of a file: the nearest float; with --decimals exact refused, and the advice is an option."""
    file, url = tmp_path / "revenue.parquet", f"sqlite:///{tmp_path}/temporis.db"
    long([Decimal("12.34"), Decimal("5.00")]).to_parquet(file)
    with connect(url) as temporis:
        source = temporis.create_data_source("shop")
        arguments = ["ingest", str(file), "--data-source", "shop", "--url", url]
        refused = CliRunner().invoke(main, [*arguments, "--decimals", "exact"])
        assert refused.exit_code == 3
        assert "--decimals nearest" in refused.stderr
        assert CliRunner().invoke(main, arguments).exit_code == 0
        assert source.read().value.tolist() == [12.34, 5.0]


EPOCHS = {
    "timestamptz": ("date_trunc('hour', at)", "at", {"stored_as": "timestamptz"}),
    "epoch": ("extract(epoch from date_trunc('hour', at))", "extract(epoch from at)", {"stored_as": "epoch"}),
    "epoch ms": (
        *("extract(epoch from date_trunc('hour', at)) * 1000", "extract(epoch from at) * 1000"),
        {"stored_as": "epoch", "unit": "ms"},
    ),
}


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")
@pytest.mark.parametrize(("hour", "at", "time_column"), EPOCHS.values(), ids=EPOCHS)
def test_numeric_columns_of_postgresql_are_ingested_by_a_component(tmp_path, postgres, hour, at, time_column):
    """Sums of prices, and extract(epoch from ...), which PostgreSQL gives as numeric: what a component is for."""
    with sa.create_engine(postgres, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS sale"))
        connection.execute(sa.text("CREATE TABLE sale (at timestamptz, price numeric(10, 2))"))
        rows = ("2024-06-20 08:15Z", "19.99"), ("2024-06-20 08:45Z", "0.01"), ("2024-06-20 09:00Z", "0.30")
        connection.execute(sa.text("INSERT INTO sale VALUES (:at, :price)"), [{"at": a, "price": p} for a, p in rows])
    query = f"SELECT {hour} AS timestamp, sum(price) AS revenue, avg(price) AS mean FROM sale"
    query += f" WHERE {at} >= :start AND {at} < :end GROUP BY 1 ORDER BY 1"
    days = {"type": "daily", "start_date": "2024-06-01", "timezone": "UTC"}
    attributes = {
        "asset": {"key": "load", "partitions_def": days},
        "sql": {"url": postgres, "query": query, "time_column": time_column},
    }
    with Project(tmp_path, attributes) as project:
        assert project.run("2024-06-20").success
        with connect(project.temporis.url) as temporis:
            stored = temporis.data_source("grid_load").read()
    assert stored.timestamp.astype("int64").tolist() == [JUNE + 8 * 3600] * 2 + [JUNE + 9 * 3600] * 2
    assert stored.value.tolist() == [10.0, 20.0, 0.3, 0.3]
    with Project(tmp_path, {**attributes, "decimals": "exact"}) as project:
        result = project.run("2024-06-20", raise_on_error=False)
        assert (
            "decimals: nearest (attribute of the component)"
            in failure_of(result).event_specific_data.user_failure_data.description
        )


SIBLINGS = [
    *("12.34", "0.1", "-0.30", "1234567890123456789012345678.0123456789", "1E-28", "9007199254740993.0", "19.990000"),
    *("-99999999999999999999.5", "0.000000000000000000000000000001", "1E+27", "0.1000000000000000055511151231"),
]


@pytest.mark.parametrize("surface", ["python", "csv", "parquet, long", "parquet, wide", "asset"])
def test_every_surface_stores_what_the_digits_are(tmp_path, surface):
    """The same numbers, as objects of a driver, as text, as decimal128 and decimal256, end as the same bits."""
    numbers = [Decimal(text) for text in SIBLINGS]
    frame, url = long(numbers), f"sqlite:///{tmp_path}/temporis.db"
    with connect(url) as temporis:
        source = temporis.create_data_source("grid_load")
        STORING[surface](frame, source, tmp_path)
        assert source.read().value.to_numpy().tobytes() == np.array([float(text) for text in SIBLINGS]).tobytes()


def _by_the_command_line(frame, source, folder, suffix=".parquet"):
    file = folder / f"file{suffix}"
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    arguments = ["ingest", str(file), "--data-source", "grid_load", "--url", source.url]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output


def _wide(frame):
    """As one series of decimal256: of 76 digits, 38 of them after the point."""
    values = frame["value"].astype(pd.ArrowDtype(pa.decimal256(76, 38)))
    return pd.DataFrame({"timestamp": frame["timestamp"], "revenue": values})


def _by_an_asset(frame, source, _folder):
    @temporis_asset(data_source="grid_load")
    def revenue():
        return frame

    temporis = TemporisResource(url=source.url)
    resources = {"temporis_io_manager": TemporisIOManager(temporis=temporis)}
    assert dg.materialize([data_source_spec("grid_load"), revenue], selection=[revenue], resources=resources).success


STORING = {
    "python": lambda frame, source, _: source.upsert(frame),
    "csv": lambda frame, source, folder: _by_the_command_line(frame, source, folder, ".csv"),
    "parquet, long": _by_the_command_line,
    "parquet, wide": lambda frame, source, folder: _by_the_command_line(_wide(frame), source, folder),
    "asset": _by_an_asset,
}
