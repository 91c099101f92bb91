"""Timestamps far ahead of the clock are asked for, and numbers have a unit, on every surface."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from temporis_dagster import (
    ConfigurationError,
    InvalidObservationsError,
    TemporisIOManager,
    TemporisResource,
    connect,
    temporis_asset,
)
from temporis_dagster.cli import main
from temporis_dagster.components import TemporisIngestComponent
from temporis_dagster.data_source.observations import ObservationOptions, observe

UTC = timezone.utc
JUNE = 1718870400  # 2024-06-20T08:00:00Z
YEAR = timedelta(days=366)
NOW = datetime(2024, 6, 20, 8, tzinfo=UTC)


def wide(timestamps) -> pd.DataFrame:
    return pd.DataFrame({"timestamp": timestamps, "orders": np.arange(len(timestamps), dtype=float)})


def seconds(timestamps, **options) -> list[int]:
    """What is read on the day of NOW."""
    return observe(wide(timestamps), ObservationOptions(**options), clock=NOW.timestamp).timestamps.tolist()


@pytest.fixture
def source(url):
    with connect(url) as temporis:
        yield temporis.create_data_source("store_metrics")


FAR = datetime(2099, 1, 1, tzinfo=UTC)
FAR_TIMESTAMPS = {
    "aware column": pd.Series(pd.to_datetime([NOW, FAR])),
    "aware objects": pd.Series([NOW, FAR], dtype=object),
    "naive column": pd.Series(pd.to_datetime(["2024-06-20", "2099-01-01"])),
    "naive seconds": pd.Series(pd.to_datetime(["2024-06-20", "2099-01-01"])).dt.as_unit("s"),
    "dates": pd.Series([date(2024, 6, 20), date(2099, 1, 1)], dtype=object),
    "integers": pd.Series([JUNE, int(FAR.timestamp())]),
    "floats": pd.Series([float(JUNE), FAR.timestamp()]),
    "unsigned": pd.Series([JUNE, int(FAR.timestamp())], dtype="uint64"),
    "nullable": pd.Series([JUNE, int(FAR.timestamp())], dtype="Int64"),
    "Python integers": pd.Series([JUNE, int(FAR.timestamp())], dtype=object),
    "Decimals": pd.Series([Decimal(JUNE), Decimal(int(FAR.timestamp()))], dtype=object),
    "NumPy datetimes": pd.Series([np.datetime64("2024-06-20"), np.datetime64("2099-01-01")], dtype=object),
    "a number among moments": pd.Series([NOW, int(FAR.timestamp())], dtype=object),
    "a two-digit year as a number": pd.Series([JUNE, 2406200800]),
    "category": pd.Series(pd.to_datetime([NOW, FAR])).astype("category"),
}


@pytest.mark.parametrize("column", FAR_TIMESTAMPS.values(), ids=FAR_TIMESTAMPS)
@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
def test_a_timestamp_far_ahead_is_asked_for_whatever_its_type(column, on_invalid):
    """It is the call's fault: nothing is dropped, the message has the option, and with it the row is taken."""
    with pytest.raises(InvalidObservationsError, match=r"more than 366 days ahead .* pass allow_future=True") as raised:
        seconds(column, timezone="UTC", on_invalid=on_invalid)
    assert raised.value.rows["position"].tolist() == [1]
    for allowed in (True, "true", timedelta(days=40_000), "40000 days"):
        assert len(seconds(column, timezone="UTC", on_invalid=on_invalid, allow_future=allowed)) == 2
    with pytest.raises(InvalidObservationsError, match="more than 400 days ahead"):
        seconds(column, timezone="UTC", on_invalid=on_invalid, allow_future=timedelta(days=400))


def test_the_tolerance_is_exact_to_the_second():
    """A year ahead of the clock is taken, a second more is not; the other rows and an empty wide row do not matter."""
    last = int((NOW + YEAR).timestamp())
    assert seconds([last]) == [last]
    for beyond, allowed in ((last + 1, None), (JUNE + 61, timedelta(minutes=1)), (JUNE + 1, timedelta())):
        with pytest.raises(InvalidObservationsError):
            seconds([JUNE, beyond], allow_future=allowed)
    assert seconds([JUNE + 60], allow_future=timedelta(minutes=1)) == [JUNE + 60]
    unobserved = wide([JUNE, last + 1]).assign(orders=[1.0, None])
    assert observe(unobserved, clock=NOW.timestamp).timestamps.tolist() == [JUNE]


@pytest.mark.parametrize(
    "wrong", [False, 30, "30", 1, "1.5", "soon", timedelta(days=-1), "-3 days", 1.5, pd.NaT, "NaT"]
)
def test_what_is_no_distance_in_time_is_refused(wrong):
    """A bare number could be any unit."""
    with pytest.raises(ConfigurationError, match="must be a timedelta of at least 0, text such as"):
        ObservationOptions(allow_future=wrong)


@pytest.mark.parametrize(
    ("unit", "numbers", "expected"),
    [
        ("s", [20240620, 20240621], [20240620, 20240621]),
        ("ms", [JUNE * 1000, -1000, 0], [JUNE, -1, 0]),
        ("us", [JUNE * 10**6, -(10**6)], [JUNE, -1]),
        ("ns", [JUNE * 10**9, -(10**9)], [JUNE, -1]),
    ],
)
@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "object", "Decimal"])
def test_numbers_are_in_the_unit_that_is_said(unit, numbers, expected, dtype):
    """Of any dtype; and finer than a second is for sub_second to decide, also before 1970."""
    items = [Decimal(number) for number in numbers] if dtype == "Decimal" else numbers
    column = pd.Series(items, dtype="object" if dtype == "Decimal" else dtype)
    assert sorted(seconds(column, unit=unit)) == sorted(expected)
    if unit in ("ms", "us"):
        finer = column.map(lambda number: number + 1) if dtype in ("object", "Decimal") else column + 1
        with pytest.raises(InvalidObservationsError, match="fraction of a second"):
            seconds(finer, unit=unit)
        assert sorted(seconds(finer, unit=unit, sub_second="floor")) == sorted(expected)


def test_narrow_integers_hold_a_unit_that_does_not_fit_them():
    """The divisor of nanoseconds is wider than an int16, and no bit is lost in the widest unsigned."""
    for dtype in ("int8", "int16", "int32", "uint8", "uint64"):
        assert seconds(pd.Series([0, 100], dtype=dtype), unit="ns", sub_second="floor") == [0]
    assert seconds(pd.Series([2**63 + 10**9], dtype="uint64"), unit="ns", sub_second="floor", allow_future=True) == [
        9223372037
    ]


def test_a_finer_unit_than_the_one_said_is_shown():
    """Microseconds under unit='ms' are out of its range, and the message says which unit they look like."""
    with pytest.raises(InvalidObservationsError, match=r"looks like microseconds.*2024-06-20T08.*unit='us'"):
        seconds([JUNE * 10**6], unit="ms")
    with pytest.raises(ConfigurationError, match="unit must be one of 's', 'ms', 'us', 'ns', got 'minutes'"):
        ObservationOptions(unit="minutes")


# The surfaces


def test_upsert_and_check_take_both_options(source):
    """What check takes, upsert takes, with the same words, and the service is never asked."""
    far = wide(pd.to_datetime([FAR]))
    for call in (source.upsert, source.check):
        with pytest.raises(InvalidObservationsError, match="allow_future=True"):
            call(far)
        assert call(far, allow_future=True).observations_in == 1
        assert call(wide([JUNE * 1000]), unit="ms").observations_in == 1
    assert source.read()["timestamp"].tolist() == [pd.Timestamp(JUNE, unit="s", tz="UTC"), pd.Timestamp(FAR)]


def test_the_command_line_takes_both_options(source, url, tmp_path):
    """The advice of the error is an option that works."""
    path = tmp_path / "far.csv"

    def ingested(text, *options):
        path.write_text(f"timestamp,orders\n{text},1\n")
        return CliRunner().invoke(main, ["ingest", str(path), "--data-source", source.name, "--url", url, *options])

    refused = ingested("2099-01-01T00:00Z", "--on-invalid", "drop")
    assert refused.exit_code == 3
    assert "--allow-future true" in refused.output
    for options in (["--allow-future"], ["--allow-future", "true"], ["--allow-future", "40000 days"]):
        assert ingested("2099-01-01T00:00Z", *options).exit_code == 0
    assert "--allow-future soon must be a timedelta" in ingested("2099-01-01T00:00Z", "--allow-future", "soon").output
    assert "--unit ms" in ingested(JUNE * 1000).output
    assert ingested(JUNE * 1000, "--unit", "ms").exit_code == 0
    assert source.read()["timestamp"].dt.year.tolist() == [2024, 2099]


def through_dagster(url, frame, *, manager=None, **arguments):
    """Return whether an asset's frame was stored, and the text of its failure."""

    @temporis_asset(data_source="store_metrics", **arguments)
    def orders():
        return frame

    temporis = TemporisResource(url=url)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [orders],
            resources={"temporis_io_manager": TemporisIOManager(temporis=temporis, **(manager or {}))},
            instance=instance,
            raise_on_error=False,
        )
    events = result.all_events
    said = [e.event_specific_data.error.message for e in events if e.event_type_value == "STEP_FAILURE"]
    return result.success, " ".join(said)


@pytest.mark.parametrize(
    "said",
    [
        {"allow_future": True, "unit": "ms"},
        {"allow_future": timedelta(days=40_000), "unit": "ms"},
        {"allow_future": "40000 days", "unit": "ms"},
        {"metadata": {"temporis/allow_future": True, "temporis/unit": "ms"}},
        {"metadata": {"temporis/allow_future": dg.MetadataValue.text("40000 days"), "temporis/unit": "ms"}},
        {"manager": {"allow_future": "true", "unit": "ms"}},
        {"manager": {"allow_future": True, "unit": "ms"}},
        {"manager": {"allow_future": timedelta(days=40_000), "unit": "ms"}},
    ],
)
def test_an_asset_takes_both_options_from_wherever_it_says_them(source, url, said):
    """The decorator, its metadata, the IO manager's configuration."""
    frame = wide([int(FAR.timestamp()) * 1000])
    stored, words = through_dagster(url, frame, **said)
    assert stored, words
    assert source.read()["timestamp"].tolist() == [pd.Timestamp(FAR)]
    refused, words = through_dagster(url, wide([FAR]))
    assert not refused
    assert "allow_future" in words


@pytest.mark.parametrize("said", [True, "40000 days"])
def test_the_component_takes_both_options(said):
    """In YAML: allow_future: true, or a distance; unit: ms."""
    attributes = {
        "data_source": "store_metrics",
        "asset": {"key": "orders"},
        "function": "tests.core.test_allow_future.far",
        "allow_future": said,
        "unit": "ms",
    }
    component = TemporisIngestComponent.from_attributes_dict(attributes=attributes)
    (metadata,) = component._asset(component.get_asset_spec()).metadata_by_key.values()
    assert (metadata["temporis/allow_future"], metadata["temporis/unit"]) == (said, "ms")


def far():
    return wide([FAR])
