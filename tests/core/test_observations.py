"""From a frame to observations: what is taken, what is refused, and in which words."""

from __future__ import annotations

import enum
import tracemalloc
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, InvalidObservationsError
from temporis_dagster.data_source.observations import ObservationOptions, Observations, observe

JUNE = 1718870400  # 2024-06-20T08:00:00Z
UTC = timezone.utc
NEW_YORK = "America/New_York"


class Station(str, enum.Enum):
    NORTH = "north"


def long(timestamps, names="orders", values=1.0, **index):
    column = timestamps if isinstance(timestamps, pd.Series) else pd.Series(timestamps)
    return pd.DataFrame({"timestamp": column.to_numpy() if index else column, "name": names, "value": values}, **index)


def seconds(timestamps, **options) -> list[int]:
    """What a column of timestamps is read as."""
    frame = pd.DataFrame({"timestamp": timestamps, "value": range(len(timestamps))})
    frame["name"] = [str(i) for i in range(len(frame))]
    return observe(frame, ObservationOptions(**options)).timestamps.tolist()


def values(column) -> list[float]:
    """What a column of values is read as."""
    frame = pd.DataFrame({"value": column})
    frame["timestamp"], frame["name"] = range(len(frame)), "orders"
    return observe(frame).values.tolist()


def refusals(frame, **options) -> list[tuple[int, object, str]]:
    """(position, column, reason) of everything that is wrong with a frame."""
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, ObservationOptions(**options))
    rows = raised.value.rows
    assert list(rows.columns) == ["position", "label", "column", "value", "reason"]
    return list(zip(rows.position, rows.column, rows.reason, strict=True))


def rows_of(observations: Observations) -> list[tuple[int, str, float]]:
    names = [observations.names[code] for code in observations.codes]
    return list(zip(observations.timestamps.tolist(), names, observations.values.tolist(), strict=True))


MOMENTS = ["1969-12-31 23:59:59", "2024-06-20 08:00:00"]

GOOD_TIMESTAMPS = {
    **{
        f"aware, {unit}": pd.Series(pd.to_datetime(MOMENTS, utc=True)).dt.as_unit(unit)
        for unit in ("s", "ms", "us", "ns")
    },
    "another zone": pd.Series(pd.to_datetime(MOMENTS, utc=True)).dt.tz_convert("Asia/Kathmandu"),
    "int64": pd.Series([-1, JUNE]),
    "int32": pd.Series([-1, JUNE], dtype="int32"),
    "Int64": pd.Series([-1, JUNE], dtype="Int64"),
    "float64": pd.Series([-1.0, float(JUNE)]),
    "Float64": pd.Series([-1, JUNE], dtype="Float64"),
    "category": pd.Series(pd.to_datetime(MOMENTS, utc=True)).astype("category"),
    "aware objects": pd.Series(
        [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), pd.Timestamp(MOMENTS[1], tz="UTC")], dtype=object
    ),
    "mixed zones": pd.Series(
        [pd.Timestamp(MOMENTS[0], tz="UTC"), datetime(2024, 6, 20, 10, tzinfo=ZoneInfo("Europe/Berlin"))], dtype=object
    ),
    "Python and NumPy integers": pd.Series([-1, np.int64(JUNE)], dtype=object),
    "sparse": pd.Series(pd.arrays.SparseArray([-1, JUNE])),
}


@pytest.mark.parametrize("column", GOOD_TIMESTAMPS.values(), ids=GOOD_TIMESTAMPS)
def test_every_dtype_of_unambiguous_moments_is_read_exactly(column):
    """An instant is the same Unix second whatever dtype, unit or zone it comes in, also before 1970."""
    assert seconds(column) == [-1, JUNE]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["aware", "naive"])
def test_arrow_timestamps_are_read_exactly(unit, kind):
    """Arrow-backed timestamps of every unit, aware or naive in a named zone, are the same Unix seconds."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is optional and not installed with this pandas")
    naive = pd.Series(pd.to_datetime(MOMENTS)).dt.as_unit(unit)
    dtype = pd.ArrowDtype(pyarrow.timestamp(unit, "UTC" if kind == "aware" else None))
    column = (naive.dt.tz_localize("UTC") if kind == "aware" else naive).astype(dtype)
    assert seconds(column, timezone=None if kind == "aware" else "UTC") == [-1, JUNE]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.to_datetime(["2024-06-20 10:00:00"])),
        pd.Series([datetime(2024, 6, 20, 10)], dtype=object),
        pd.Series([np.datetime64("2024-06-20T10:00:00")], dtype=object),
    ],
    ids=["datetime64", "datetime", "np.datetime64"],
)
def test_naive_timestamps_are_read_in_the_named_zone_and_refused_without_one(column):
    """A wall clock means nothing until the caller tells where it hangs."""
    assert seconds(column, timezone="Europe/Berlin") == [JUNE]
    ((position, column_name, reason),) = refusals(long(column))
    assert (position, column_name) == (0, "timestamp")
    assert "no time zone" in reason


def test_a_date_is_midnight_in_the_named_zone():
    """A date needs a zone, and then is its local midnight."""
    day = pd.Series([date(2024, 6, 20)], dtype=object)
    assert seconds(day, timezone="Europe/Berlin") == [JUNE - 10 * 3600]
    assert "no time zone" in refusals(long(day))[0][2]


def test_milliseconds_and_finer_are_refused_with_the_date_they_stand_for():
    """Numbers from 1e11 in magnitude are a finer unit by mistake: the message has the corrected date."""
    column = pd.Series([JUNE, JUNE * 1000, JUNE * 10**6, JUNE * 10**9, -(10**11), 10**20], dtype=object)
    found = refusals(long(column))
    assert [position for position, _, _ in found] == [1, 2, 3, 4, 5]
    reasons = [reason for _, _, reason in found]
    for reason, unit, divisor in zip(
        reasons, ("milli", "micro", "nano"), ("1_000", "1_000_000", "1_000_000_000"), strict=False
    ):
        assert f"looks like {unit}seconds: divide it by {divisor} to get" in reason
        assert "2024-06-20T08:00:00+00:00" in reason
    assert "1966-10-31T14:13:20" in reasons[3]
    assert "out of range" in reasons[4]
    assert [reason for _, _, reason in refusals(long([JUNE * 1000]))] == reasons[:1]
    assert [reason for _, _, reason in refusals(long([float(JUNE * 1000)]))] == reasons[:1]


def test_the_edges_of_the_range_are_exact():
    """The first second of the year 1 and the last below 1e11 are taken; the next ones beyond them are not."""
    assert seconds([-62135596800, 10**11 - 1], allow_future=True) == [-62135596800, 10**11 - 1]
    assert [position for position, _, _ in refusals(long([-62135596801, 10**11]))] == [0, 1]
    late = pd.Series(np.array(["6000-01-01"], dtype="datetime64[s]")).dt.tz_localize("UTC")
    assert "out of range" in refusals(long(late))[0][2]


BEFORE_1970 = datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([pd.Timestamp("1969-12-31 23:59:58.5", tz="UTC")]),
        pd.Series([-1.5]),
        pd.Series([BEFORE_1970], dtype=object),
        pd.Series([pd.Timestamp("1969-12-31T23:59:58.000000001Z")], dtype=object),
    ],
    ids=["datetime64", "float", "datetime", "nanosecond"],
)
def test_fractions_of_a_second_are_refused_or_floored_also_before_1970(column):
    """Nothing is cut off silently, and the floor is the floor, not truncation towards 1970."""
    assert "sub_second='floor'" in refusals(long(column))[0][2]
    assert seconds(column, sub_second="floor") == [-2]


UNREADABLE = {
    "text": (pd.Series(["2024-06-20"]), "text is not a timestamp"),
    "text object": (pd.Series(["2024-06-20"], dtype=object), "text is not a timestamp"),
    "bool": (pd.Series([True]), "bool is not a timestamp"),
    "bool object": (pd.Series([True], dtype=object), "bool is not a timestamp"),
    "Fraction": (pd.Series([Fraction(3, 2)], dtype=object), "Fraction is not a timestamp"),
    "timedelta": (pd.Series([pd.Timedelta("1s")]), "is not a timestamp"),
    "period": (pd.Series([pd.Period("2024-06")]), "is not a timestamp"),
    "NaT": (pd.Series([pd.NaT]), "missing"),
    "None": (pd.Series([None], dtype=object), "missing"),
    "NaN": (pd.Series([np.nan]), "missing"),
    "NA": (pd.Series([pd.NA], dtype="Int64"), "missing"),
    "hidden NaN": (pd.Series([0], dtype="Float64") / 0, "missing"),
    "inf": (pd.Series([np.inf]), "infinite"),
    "out of datetime": (
        pd.Series([datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5)))], dtype=object),
        "out of range",
    ),
}


@pytest.mark.parametrize(("column", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_timestamp_is_refused_by_name(column, reason):
    """Text, booleans, durations and holes are never taken for a moment."""
    ((position, column_name, found),) = refusals(long(column))
    assert (position, column_name) == (0, "timestamp")
    assert reason in found


def test_a_repeated_local_time_shows_both_readings():
    """In a fall-back hour both UTC offsets are shown, and ambiguous= decides, in pandas' words."""
    clock = pd.Series(pd.to_datetime(["2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 02:30"]))
    ((position, _, reason),) = refusals(long(clock), timezone=NEW_YORK)
    assert position == 1
    assert "2024-11-03 01:30:00-04:00 and 2024-11-03 01:30:00-05:00" in reason
    summer = datetime(2024, 11, 3, 5, 30, tzinfo=UTC).timestamp()
    assert seconds(clock, timezone=NEW_YORK, ambiguous=True)[1] == summer
    assert seconds(clock, timezone=NEW_YORK, ambiguous=False)[1] == summer + 3600
    twice = pd.Series(pd.to_datetime(["2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 01:30", "2024-11-03 02:30"]))
    inferred = observe(long(twice), ObservationOptions(timezone=NEW_YORK, ambiguous="infer"))
    assert inferred.timestamps.tolist()[1:3] == [summer, summer + 3600]
    assert [position for position, _, _ in refusals(long(clock), timezone=NEW_YORK, ambiguous="infer")] == [1]
    assert [position for position, _, _ in refusals(long(clock), timezone=NEW_YORK, ambiguous="NaT")] == [1]


def test_the_advice_about_a_repeated_or_skipped_time_is_not_what_was_already_done():
    """What was passed and did not help is named; what would help is another word."""
    repeated = long(pd.Series(pd.to_datetime(["2024-11-03 00:30", "2024-11-03 01:30"])))
    skipped = long(pd.Series(pd.to_datetime(["2024-03-10 02:30"])))
    assert refusals(repeated, timezone=NEW_YORK)[0][2].endswith("-05:00. Pass ambiguous= to choose what it means")
    assert "pass ambiguous=True for the first" in refusals(repeated, timezone=NEW_YORK, ambiguous="infer")[0][2]
    assert refusals(repeated, timezone=NEW_YORK, ambiguous="NaT")[0][2].endswith(
        "Correct it: ambiguous='NaT' does not choose one"
    )
    assert refusals(skipped, timezone=NEW_YORK)[0][2].endswith("pass nonexistent= to choose what it means")
    assert "nonexistent='NaT' does not choose one" in refusals(skipped, timezone=NEW_YORK, nonexistent="NaT")[0][2]


def test_a_skipped_local_time_shows_where_the_clock_went():
    """In a spring-forward hour the gap is shown, and nonexistent= decides, in pandas' words."""
    clock = pd.Series(pd.to_datetime(["2024-03-10 01:30", "2024-03-10 02:30"]))
    ((position, _, reason),) = refusals(long(clock), timezone=NEW_YORK)
    assert position == 1
    assert "from 2024-03-10 01:59:59-05:00 to 2024-03-10 03:00:00-04:00" in reason
    gap = int(datetime(2024, 3, 10, 7, tzinfo=UTC).timestamp())
    assert seconds(clock, timezone=NEW_YORK, nonexistent="shift_forward")[1] == gap
    assert seconds(clock, timezone=NEW_YORK, nonexistent="shift_backward")[1] == gap - 1
    assert seconds(clock, timezone=NEW_YORK, nonexistent=timedelta(hours=1))[1] == gap + 1800
    assert [position for position, _, _ in refusals(long(clock), timezone=NEW_YORK, nonexistent="NaT")] == [1]
    still_in_the_gap = refusals(long(clock), timezone=NEW_YORK, nonexistent=timedelta(minutes=10))
    assert [position for position, _, _ in still_in_the_gap] == [1]


def test_inference_of_a_repeated_hour_looks_at_each_series_by_itself():
    """Two series at one repeated clock time are not taken for its two readings, in whatever order the rows come."""
    clock = ["2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 01:30", "2024-11-03 02:30"]
    both = pd.DataFrame({"timestamp": pd.to_datetime(clock * 2), "name": ["a"] * 4 + ["b"] * 4, "value": 1.0})
    infer = ObservationOptions(timezone=NEW_YORK, ambiguous="infer")
    for frame in (both, both.sort_values("timestamp", kind="stable")):
        found = observe(frame, infer)
        assert len(found) == 8
        assert found.superseded == 0
    once = pd.DataFrame({"timestamp": pd.to_datetime(clock[1:2] * 2), "name": ["a", "b"], "value": 1.0})
    assert [position for position, _, _ in refusals(once, timezone=NEW_YORK, ambiguous="infer")] == [0, 1]


@pytest.mark.parametrize(
    ("moment", "second"),
    [("2100-07-01", 4118076000), ("1500-01-01", -14831772808), ("2024-06-20 10:00", JUNE)],
    ids=["after 2037", "before 1900", "now"],
)
def test_a_zone_means_the_same_on_every_pandas(moment, second):
    """Summer time goes on after 2037, and old offsets have seconds: pandas 2 would read zone names otherwise."""
    column = pd.Series(np.array([moment], dtype="datetime64[s]"))
    assert seconds(column, timezone="Europe/Berlin", allow_future=True) == [second]


FAR = {
    "milliseconds as seconds": pd.Series(np.array([1718870400000], dtype="datetime64[s]")).dt.tz_localize("UTC"),
    "naive, year 20000": pd.Series(np.array(["20000-01-01"], dtype="datetime64[s]")),
    "naive, year 1": pd.Series(np.array(["0001-01-01"], dtype="datetime64[s]")),
    "NumPy object": pd.Series([np.datetime64(2**58, "s")], dtype=object),
    "aware object": pd.Series([pd.Timestamp(np.datetime64(1718870400000, "s"), tz="UTC")], dtype=object),
}


@pytest.mark.parametrize("column", FAR.values(), ids=FAR)
def test_a_moment_far_out_of_range_is_an_ordinary_fault(column):
    """Moments that pandas itself can neither localise nor print are refused like any other, with a printable text."""
    with pytest.raises(InvalidObservationsError, match="out of range") as raised:
        observe(long(column), ObservationOptions(timezone="Europe/Berlin"))
    raised.value.rows.to_string()


def test_numpy_datetimes_among_objects_are_read_in_their_own_units():
    """No common unit in which one of them would overflow or lose its fraction."""
    column = pd.Series([np.datetime64("2024-06-20", "D"), np.datetime64("1970-01-02", "ps")], dtype=object)
    assert seconds(column, timezone="UTC") == [JUNE - 8 * 3600, 86400]
    fraction = pd.Series([np.datetime64("2024-01-01T00:00:00.000000001", "ns")], dtype=object)
    assert "fraction" in refusals(long(fraction), timezone="UTC")[0][2]


BAD_NAMES = {
    "empty": ("", "empty"),
    "NUL": ("a\0b", "NUL"),
    "lone surrogate": ("a\ud800", "surrogate"),
    "None": (None, "missing"),
    "NaN": (np.nan, "missing"),
    "int": (7, "got int"),
    "bytes": (b"orders", "got bytes"),
    "unhashable": (["orders"], "got list"),
}


@pytest.mark.parametrize(("name", "reason"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_what_cannot_name_a_series_is_refused_by_row(name, reason):
    """Among good names, exactly the bad row is refused; the rows frame can always be printed."""
    names = pd.Series(["a", name, "a"], dtype=object)
    frame = pd.DataFrame({"timestamp": [1, 2, 3], "name": names, "value": 1.0})
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame)
    assert raised.value.rows[["position", "column"]].values.tolist() == [[1, "name"]]
    assert reason in raised.value.rows.reason[0]
    raised.value.rows.to_string().encode()
    str(raised.value).encode()


@pytest.mark.parametrize("dtype", ["object", "category", "string", "str"])
def test_names_compare_byte_by_byte(dtype):
    """Names that only look alike are different series: no stripping, no case folding, no Unicode normalisation."""
    alike = ["é", "e\u0301", "E", "e", " e", "😀", "a'b\"c", "%s", ":x", "a", "a "]
    frame = pd.DataFrame({"timestamp": 0, "name": pd.Series(alike).astype(dtype), "value": 1.0})
    assert [name for _, name, _ in rows_of(observe(frame))] == alike


def test_equal_texts_of_different_types_name_one_series():
    """A str enum and a NumPy string are the text they equal."""
    names = pd.Series([Station.NORTH, np.str_("north"), "north", "a\0"], dtype=object)
    frame = pd.DataFrame({"timestamp": 0, "name": names, "value": [1.0, 2.0, 3.0, 4.0]})
    observations = observe(frame, ObservationOptions(on_invalid="drop"))
    assert rows_of(observations) == [(0, "north", 3.0)]
    assert type(rows_of(observations)[0][1]) is str
    assert (observations.superseded, len(observations.dropped_rows)) == (2, 1)


GOOD_VALUES = {
    "float64": (pd.Series([-0.0, 5e-324, 1e22, 1.7976931348623157e308]), [-0.0, 5e-324, 1e22, 1.7976931348623157e308]),
    "float32": (pd.Series([0.1], dtype="float32"), [float(np.float32(0.1))]),
    "float16": (pd.Series([0.1], dtype="float16"), [float(np.float16(0.1))]),
    "int64": (pd.Series([2**53, -(2**53)]), [2.0**53, -(2.0**53)]),
    "uint8": (pd.Series([255], dtype="uint8"), [255.0]),
    "Int64": (pd.Series([2**53], dtype="Int64"), [2.0**53]),
    "Float64": (pd.Series([0.1], dtype="Float64"), [0.1]),
    "object": (pd.Series([1, 2.5, np.float32(0.5), np.int8(3), Decimal("0.25")], dtype=object), [1, 2.5, 0.5, 3, 0.25]),
    "category": (pd.Series([1.5, 2.5]).astype("category"), [1.5, 2.5]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.0, 1.5])), [0.0, 1.5]),
}


@pytest.mark.parametrize(("column", "expected"), GOOD_VALUES.values(), ids=GOOD_VALUES)
def test_numbers_of_every_dtype_keep_every_bit(column, expected):
    """A value is the same number, sign of zero included, in whatever dtype it came."""
    assert np.array(values(column)).tobytes() == np.array(expected, dtype=float).tobytes()


BAD_VALUES = {
    "inf": (pd.Series([np.inf]), "infinite"),
    "-inf": (pd.Series([-np.inf], dtype=object), "infinite"),
    "NaN": (pd.Series([np.nan]), "missing"),
    "None": (pd.Series([None], dtype=object), "missing"),
    "NA": (pd.Series([pd.NA], dtype="Int64"), "missing"),
    "hidden NaN": (pd.Series([0], dtype="Float64") / 0, "missing"),
    "Decimal NaN": (pd.Series([Decimal("NaN")], dtype=object), "missing"),
    "Decimal infinity": (pd.Series([Decimal("Infinity")], dtype=object), "infinite"),
    "Decimal signalling NaN": (pd.Series([Decimal("sNaN")], dtype=object), "missing"),
    "Decimal beyond float64": (pd.Series([Decimal("-1e400")], dtype=object), "beyond the largest float64"),
    "2**53 + 1": (pd.Series([2**53 + 1]), "beyond 2**53"),
    "-2**63": (pd.Series([-(2**63)]), "beyond 2**53"),
    "uint64": (pd.Series([2**64 - 1], dtype="uint64"), "beyond 2**53"),
    "10**400": (pd.Series([10**400], dtype=object), "beyond 2**53"),
    "bool": (pd.Series([True]), "bool is not a number"),
    "bool object": (pd.Series([True], dtype=object), "bool is not a number"),
    "boolean": (pd.Series([True], dtype="boolean"), "bool is not a number"),
    "text": (pd.Series(["1.5"]), "text is not a number"),
    "text object": (pd.Series(["1.5"], dtype=object), "text is not a number"),
    "complex": (pd.Series([1j]), "complex128 is not a number"),
    "datetime": (pd.Series([pd.Timestamp(0)]), "datetime is not a number"),
    "Fraction": (pd.Series([Fraction(1, 2)], dtype=object), "Fraction is not a number"),
}


@pytest.mark.parametrize(("column", "reason"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_what_is_no_finite_number_is_refused_by_row(column, reason):
    """JSON encoders turn these into null or lose bits; here each one is named before anything is sent."""
    ((position, column_name, found),) = refusals(pd.DataFrame({"timestamp": [1], "name": ["orders"], "value": column}))
    assert (position, column_name) == (0, "value")
    assert reason in found


def test_a_long_double_that_float64_does_not_hold_is_refused():
    """Extended precision is not rounded away silently, on platforms that have it."""
    wide_float = np.array([1, 2], dtype=np.longdouble) / 3
    exact = bool((wide_float.astype(float) == wide_float).all())
    if exact:
        assert values(pd.Series(wide_float)) == wide_float.astype(float).tolist()
    else:
        assert (
            "does not hold"
            in refusals(pd.DataFrame({"timestamp": 0, "name": "a", "value": pd.Series(wide_float)}))[0][2]
        )


def test_a_category_of_integers_may_have_holes():
    """A hole in a categorical column is a hole, not a crash."""
    index = pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC")
    assert len(observe(pd.DataFrame({"a": pd.Categorical([1, None])}, index=index))) == 1
    assert refusals(long(pd.Series(pd.Categorical([1, None]))))[0][:2] == (1, "timestamp")


def test_all_faults_are_found_in_one_pass():
    """Every bad cell is listed once, by position, with its label, its value and a reason."""
    frame = pd.DataFrame(
        {"timestamp": [1, None, 3.5], "name": ["a", "", "b"], "value": [np.inf, 1.0, 2.0]}, index=["x", "x", "y"]
    )
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, data_source="store_metrics")
    rows = raised.value.rows
    assert rows[["position", "label", "column"]].values.tolist() == [
        [0, "x", "value"],
        [1, "x", "timestamp"],
        [1, "x", "name"],
        [2, "y", "timestamp"],
    ]
    assert str(raised.value).startswith("3 of 3 observations for 'store_metrics' are invalid, so nothing was sent.")
    assert str(raised.value).endswith("Correct them.")


def test_dropping_is_offered_only_where_valid_rows_are_left():
    """Otherwise there is no rest to send."""
    for values, words in (
        ([np.inf, 1.0], "Correct it, or pass on_invalid='drop' to send the rest."),
        ([np.inf] * 2, ""),
    ):
        with pytest.raises(InvalidObservationsError) as raised:
            observe(long([1, 2], names=["a", "b"], values=values))
        assert str(raised.value).endswith(words or "Correct them.")


def test_a_fault_of_many_rows_is_said_once():
    """The message shows each kind of fault once, with its first cell and how many there are; .rows has them all."""
    frame = long([1, 2, 3, 4], names=["a", "", "a", "a"], values=[np.inf, np.inf, 1.0, np.inf])
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame)
    assert str(raised.value).count("infinite") == 1
    assert "column 'value', inf: the value is infinite: a value must be a finite number (3 such rows); row 1" in str(
        raised.value
    )
    assert (raised.value.invalid, raised.value.observations_in, len(raised.value.rows)) == (3, 4, 4)


@pytest.mark.parametrize("layout", ["long", "wide"])
@pytest.mark.parametrize("naive", [[True, True], [True, False]])
def test_a_missing_zone_is_the_fault_of_the_call_and_drops_no_row(layout, naive):
    """on_invalid="drop" is for bad rows. Naive times without timezone= would be dropped by a mere slip: refused."""
    clock = [pd.Timestamp("2024-06-20 10:00"), pd.Timestamp("2024-06-20 11:00")]
    stamps = pd.Series(
        [t if bare else t.tz_localize("UTC") for t, bare in zip(clock, naive, strict=True)], dtype=object
    )
    frame = long(stamps) if layout == "long" else pd.DataFrame({"timestamp": stamps, "orders": [1.0, 2.0]})
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, ObservationOptions(on_invalid="drop"))
    assert (
        str(raised.value).count("pass the zone that it is in, such as timezone='UTC' or timezone='Europe/Berlin'") == 1
    )
    assert str(raised.value).endswith("Correct them." if all(naive) else "Correct it.")
    assert raised.value.invalid == sum(naive)
    assert len(observe(frame, ObservationOptions(on_invalid="drop", timezone="UTC"))) == 2


def test_dropping_every_row_is_said_aloud(caplog):
    """A report with everything dropped is easily taken for a success: the log has a warning, with the first reason."""
    milliseconds = long([JUNE * 1000, JUNE * 1000 + 1])
    assert len(observe(milliseconds, ObservationOptions(on_invalid="drop"), data_source="store_metrics")) == 0
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "All 2 observations for 'store_metrics' are invalid and were dropped" in record.getMessage()
    assert "divide it by 1_000" in record.getMessage()
    caplog.clear()
    observe(milliseconds.head(1), ObservationOptions(on_invalid="drop"))
    assert "The only observation is invalid and was dropped" in caplog.messages[0]
    caplog.clear()
    observe(long([JUNE, JUNE * 1000]), ObservationOptions(on_invalid="drop"))
    observe(long([]), ObservationOptions(on_invalid="drop"))
    assert not caplog.records


def test_on_invalid_drop_takes_the_rest_and_lists_what_it_left_out():
    """Dropped rows keep their position, label, key and reasons; the last *valid* row of a key wins."""
    frame = pd.DataFrame({"timestamp": [1, 1, 1], "name": "a", "value": [1.0, 2.0, np.nan]}, index=[7, 8, 9])
    observations = observe(frame, ObservationOptions(on_invalid="drop"))
    assert rows_of(observations) == [(1, "a", 2.0)]
    assert (observations.superseded, observations.observations_in) == (1, 3)
    dropped = observations.dropped_rows
    assert dropped[["position", "label", "timestamp", "name"]].values.tolist() == [[2, 9, 1, "a"]]
    assert "missing" in dropped.reason[0]


def test_wide_nan_is_no_observation_and_the_faults_name_their_cells():
    """A hole in a wide frame is nothing; a bad cell, column name or timestamp spoils exactly its observations."""
    index = pd.DatetimeIndex(["2024-01-01", "2024-01-02", pd.NaT], tz="UTC")
    frame = pd.DataFrame(
        {"a": [1.0, np.nan, np.nan], "b": [np.inf, 2.0, np.nan], 5: [np.nan, 3.0, np.nan]}, index=index
    )
    assert [(p, c) for p, c, _ in refusals(frame)] == [(0, "b"), (1, 5)]
    observations = observe(frame, ObservationOptions(on_invalid="drop"))
    assert [(name, value) for _, name, value in rows_of(observations)] == [("a", 1.0), ("b", 2.0)]
    assert observations.observations_in == 4
    assert observations.dropped_rows[["position", "name"]].values.tolist() == [[0, "b"], [1, 5]]
    assert observations.dropped_rows.label[0] == (index[0], "b")
    bad_time = pd.DataFrame({"a": [1.0], "b": [2.0]}, index=pd.DatetimeIndex([pd.NaT], tz="UTC"))
    assert refusals(bad_time) == [(0, "the index", "the timestamp is missing (NaT)")]
    assert len(observe(bad_time, ObservationOptions(on_invalid="drop")).dropped_rows) == 2


def test_the_same_observations_come_from_every_layout():
    """Long, long with an index, wide, wide with a column, and a Series say the same thing."""
    index = pd.DatetimeIndex(["2024-06-20 08:00"], tz="UTC")
    expected = [(JUNE, "orders", 42.0)]
    frames = [
        long([JUNE], values=[42]),
        pd.DataFrame({"name": ["orders"], "value": [42]}, index=index),
        pd.DataFrame({"orders": [42]}, index=index),
        pd.DataFrame({"timestamp": index, "orders": [42]}),
        pd.Series([42], index=index, name="orders"),
        pd.DataFrame(
            {"name": ["orders"], "value": [42], "note": ["extra columns of a long frame are left alone"]}, index=index
        ),
    ]
    for frame in frames:
        before = frame.copy(deep=True)
        assert rows_of(observe(frame)) == expected
        assert frame.equals(before)
    renamed = pd.DataFrame({"at": [JUNE], "what": ["orders"], "much": [42]})
    assert rows_of(observe(renamed, ObservationOptions(timestamp="at", name="what", value="much"))) == expected
    series_called_value = pd.DataFrame({"value": [42.0]}, index=index)
    assert rows_of(observe(series_called_value, ObservationOptions(layout="wide"))) == [(JUNE, "value", 42.0)]
    both = pd.DataFrame({"timestamp": [1.0]}, index=index)
    assert rows_of(observe(both, ObservationOptions(timestamp=None))) == [(JUNE, "timestamp", 1.0)]


TWO_READINGS = pd.DatetimeIndex(["2024-06-20"], tz="UTC")
SHAPES = {
    "a list": ([1, 2], {}, "must be a pandas DataFrame or Series, got list"),
    "no timestamp": (pd.DataFrame({"orders": [1]}), {}, "no column 'timestamp'"),
    "column and index": (pd.DataFrame({"timestamp": [0], "orders": [1]}, index=TWO_READINGS), {}, "timestamp=None"),
    "only a value": (pd.DataFrame({"timestamp": [0], "value": [1]}), {}, "layout='wide'"),
    "only a name": (pd.DataFrame({"timestamp": [0], "name": ["a"]}), {}, "value="),
    "numeric names": (
        pd.DataFrame({"timestamp": [0], "name": [1], "value": [1]}),
        {},
        "layout='long' or layout='wide'",
    ),
    "long without name": (pd.DataFrame({"timestamp": [0], "value": [1]}), {"layout": "long"}, "name="),
    "index in levels": (
        pd.DataFrame({"value": [1]}, index=pd.MultiIndex.from_tuples([(JUNE, "a")], names=["timestamp", "name"])),
        {},
        r"Call \.reset_index\(\) first",
    ),
    "columns in levels": (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), {}, "several levels"),
    "columns twice": (
        pd.DataFrame([[0, 1, 2]], columns=["timestamp", "a", "a"]),
        {},
        "The column 'a' exists more than once",
    ),
    "nameless Series": (pd.Series([1.0], index=TWO_READINGS), {}, "has no name"),
    "Series by number": (pd.Series([1.0], name="orders"), {}, "no DatetimeIndex"),
}


@pytest.mark.parametrize(("data", "options", "words"), SHAPES.values(), ids=SHAPES)
def test_a_shape_with_no_or_two_readings_is_refused_with_the_argument_that_decides(data, options, words):
    """A RangeIndex is never a timestamp, and nothing is guessed: the message names the argument to pass."""
    with pytest.raises(InvalidObservationsError, match=words) as raised:
        observe(data, ObservationOptions(**options))
    assert raised.value.rows.empty


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "tall"},
        {"timezone": "Mars/Olympus"},
        {"timezone": ""},
        {"timezone": "../../etc/passwd"},
        {"on_invalid": "ignore"},
        {"sub_second": "round"},
        {"ambiguous": "earliest"},
        {"nonexistent": "skip"},
        {"ambiguous": np.array([True, False])},
        {"nonexistent": timedelta(days=400)},
        {"timestamp": ["timestamp"]},
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused_before_the_data_is_looked_at(options):
    """A misspelt option is a ConfigurationError that lists what may be said."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ObservationOptions(**options)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"timestamp": [], "name": [], "value": []}),
        pd.DataFrame({"timestamp": pd.Series(dtype="datetime64[ns]"), "orders": pd.Series(dtype=float)}),
        pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC")),
        pd.DataFrame(index=pd.DatetimeIndex(["2024-01-01"], tz="UTC")),
        pd.DataFrame({"a": [np.nan]}, index=pd.DatetimeIndex(["2024-01-01"], tz="UTC")),
    ],
)
def test_an_empty_frame_is_no_observation_and_no_error(frame):
    """Nothing to do is not a mistake."""
    observations = observe(frame)
    assert (len(observations), observations.observations_in) == (0, 0)
    assert observations.frame().empty


def memory_of(frame, **options) -> tuple[float, float]:
    """Bytes a row that observing a frame keeps, and the most that it takes on the way."""
    observe(frame.iloc[:10], ObservationOptions(**options))  # imports at first use are not part of the measurement
    tracemalloc.start()
    try:
        observations = observe(frame, ObservationOptions(**options))
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert observations.observations_in == len(frame)
    return kept / len(frame), most / len(frame)


FRUGAL_TIMESTAMPS = {
    "ns, UTC": lambda utc: utc.dt.as_unit("ns"),
    "us, UTC": lambda utc: utc.dt.as_unit("us"),
    "us, another zone": lambda utc: utc.dt.as_unit("us").dt.tz_convert("Asia/Kathmandu"),
    "ns, naive": lambda utc: utc.dt.as_unit("ns").dt.tz_localize(None),
    "integer seconds": lambda utc: utc.dt.as_unit("s").astype("int64"),
    "float seconds": lambda utc: utc.dt.as_unit("s").astype("int64").astype("float64"),
    "until 2081": lambda utc: utc + pd.Timedelta(days=365 * 57),
}


@pytest.mark.parametrize("made_of", FRUGAL_TIMESTAMPS.values(), ids=FRUGAL_TIMESTAMPS)
def test_ordered_rows_take_six_bytes_each_beside_the_frame(made_of):
    """What is kept of a row is 4 bytes of seconds and 2 of its series; what is needed on the way hardly grows with it.

    The blocks on the way take up to 7 MB, however many rows there are: here 7 bytes per row.
    """
    count = 1_000_000
    names = np.array([f"series {i}" for i in range(100)], dtype=object)[np.arange(count) % 100]
    utc = pd.Series(pd.to_datetime(JUNE + np.arange(count) // 100 * 60, unit="s", utc=True))
    kept, most = memory_of(long(made_of(utc), names, np.arange(count) / 7), timezone="UTC", allow_future=True)
    assert kept < 6.5
    assert most < 14


def test_shuffled_rows_with_repeated_keys_take_eighteen_bytes_each_beside_the_frame():
    """Where rows are superseded, those that stay are copied: 8 bytes more of values and 4 of positions."""
    count = 1_000_000
    order = np.random.default_rng(0).permutation(count)
    order[: count // 100] = order[-count // 100 :]
    names = np.array([f"series {i}" for i in range(100)], dtype=object)[order % 100]
    utc = pd.Series(pd.to_datetime(JUNE + order // 100 * 60, unit="s", utc=True))
    kept, most = memory_of(long(utc, names, order / 7))
    assert kept < 19
    assert most < 32


BEFORE_THE_YEAR_1 = np.array(["0000-01-01", "-0044-03-15", "-290000-01-01", "12000-01-01"], dtype="datetime64[s]")


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("place", ["timestamp", "index", "object", "value", "name", "column"])
def test_a_moment_that_pandas_cannot_print_is_an_ordinary_fault(place, zone):
    """Wherever it stands in the frame: placeholders such as 0000-00-00 come out of databases."""
    stamps = pd.Series(BEFORE_THE_YEAR_1)
    stamps = stamps.dt.tz_localize(zone) if zone else stamps
    good = pd.Series([JUNE] * len(stamps))
    frame = {
        "timestamp": lambda: long(stamps),
        "index": lambda: pd.DataFrame({"orders": 1.0}, index=pd.DatetimeIndex(stamps)),
        "object": lambda: long(stamps.astype(object)),
        "value": lambda: long(good, values=stamps.astype(object)),
        "name": lambda: long(good, names=stamps.astype(object)),
        "column": lambda: pd.DataFrame([[1.0] * 4], columns=pd.Index(stamps), index=pd.DatetimeIndex(["2024-06-20"])),
    }[place]()
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, ObservationOptions(timezone="UTC"))
    assert len(raised.value.rows) == len(stamps)
    assert "0000-01-01" in str(raised.value)
    assert "0000-01-01" in raised.value.rows.to_string()
    dropped = observe(frame, ObservationOptions(timezone="UTC", on_invalid="drop")).dropped_rows
    assert "0000-01-01" in dropped.to_string()
