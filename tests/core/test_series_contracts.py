"""Contracts of series: what cannot be one, which one holds for a name, and which observations break it."""

import contextlib
import json
import math
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import ConfigurationError, InvalidObservationsError, Series, connect
from temporis_dagster.data_source.observations import Contracts, ObservationOptions, observe, repeated_keys
from temporis_dagster.data_source.observations import contracts as contracts_room
from temporis_dagster.data_source.observations import monotone as monotone_room
from temporis_dagster.data_source.observations import names as names_room
from temporis_dagster.data_source.observations.series import series_from

HOURS = pd.date_range("2024-06-01", periods=4, freq="h", tz="UTC")


@pytest.fixture
def source(tmp_path):
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        yield temporis.create_data_source("src")


def long(*values, name="orders"):
    names = [name] * len(values) if isinstance(name, str) else name
    return pd.DataFrame({"timestamp": HOURS[: len(values)], "name": names, "value": values})


def refused(*arguments, **stated):
    with pytest.raises(ConfigurationError) as caught:
        Series(*arguments, **stated)
    return str(caught.value)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "Series has neither a name nor a prefix. Pass Series('orders', ...)"),
        ({"name": "a", "prefix": "b"}, "Series has both a name and a prefix"),
        ({"name": ""}, "Series('') cannot be used: the series name is empty"),
        ({"name": 7}, "Series(7) cannot be used: a series name must be a string, got int"),
        ({"prefix": "a\0"}, "cannot be used: the series name contains a NUL character"),
        ({"name": "a", "minimum": 2, "maximum": 1}, "minimum=2 is greater than maximum=1. Exchange them."),
        (
            {"name": "a", "minimum": math.nan},
            "Series('a'): minimum must be a finite number, or None for no bound, got nan",
        ),
        ({"name": "a", "maximum": math.inf}, "maximum must be a finite number"),
        ({"name": "a", "maximum": Decimal("sNaN")}, "maximum must be a finite number"),
        ({"name": "a", "maximum": 10**400}, "maximum must be a finite number"),
        ({"name": "a", "minimum": True}, "minimum must be a finite number"),
        ({"name": "a", "minimum": "0"}, "minimum must be a finite number, or None for no bound, got '0'"),
        ({"name": "a", "minimum": 2**53 + 1}, "minimum must be a number that float64 holds exactly"),
        ({"name": "a", "minimum": 0.2, "maximum": 0.8, "integer": True}, "there is no whole number from minimum=0.2"),
        ({"name": "a", "integer": 1}, "integer must be True or False, got 1"),
        ({"name": "a", "monotone": "yes"}, "monotone must be True or False, got 'yes'"),
        ({"name": "a", "description": 1}, "description must be text, got 1"),
        ({"prefix": "a", "unit": ""}, "Series(prefix='a'): unit must be printable text of up to 32 characters"),
        ({"name": "a", "unit": " "}, "unit must be printable text"),
        ({"name": "a", "unit": "m/(s"}, "unit must be printable text of up to 32 characters with balanced parentheses"),
        ({"name": "a", "unit": "m)("}, "balanced parentheses, got 'm)('"),
        ({"name": "a", "unit": "m\n"}, "unit must be printable text"),
        ({"name": "a", "unit": "m" * 33}, "up to 32 characters"),
        ({"name": "a", "unit": 1}, "unit must be printable text"),
        (
            {"name": "a", "every": "often"},
            "Series('a'): every must be a timedelta of at least one second or a calendar",
        ),
        ({"name": "a", "every": timedelta(0)}, "every must be a timedelta of at least one second"),
        ({"name": "a", "every": 3600}, "every must be a timedelta"),
        *(
            ({"name": "a", "every": beyond}, "every must be a timedelta")
            for beyond in ("999999999999h", "9999999999999999999999D", timedelta.max)
        ),
        ({"name": "a", "every": pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])}, "cannot be written as text"),
    ],
)
def test_a_contract_that_cannot_hold_is_refused(stated, message):
    """When it is made, with what to write instead."""
    assert message in refused(**stated)


def test_years_beyond_the_calendar_are_no_error_of_pandas():
    """pandas 3 raises an error of its own, which is turned into ours; pandas 2 cannot tell."""
    with contextlib.suppress(ConfigurationError):
        assert Series("a", every="1000000YE").every == "1000000YE"


def test_a_contract_shows_what_it_states():
    """Its repr is the code that makes it; 0 is a bound, and lengths of time are kept as text."""
    contract = Series("orders", unit="1", every=timedelta(hours=1), minimum=0, maximum=np.float64(2.5))
    assert repr(contract) == "Series('orders', unit='1', every='1h', minimum=0, maximum=2.5)"
    assert repr(Series(prefix="load_", integer=True)) == "Series(prefix='load_', integer=True)"
    assert Series("m", unit="µg/(m³·h)").unit == "µg/(m³·h)"


EVERY = st.sampled_from(["1h", "15min", "D", "B", "W-MON", "MS"]) | st.integers(1, 10**6).map(
    lambda seconds: timedelta(seconds=seconds)
)


@given(
    key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    family=st.booleans(),
    bounds=st.tuples(*[st.none() | st.floats(allow_nan=False, allow_infinity=False)] * 2),
    every=st.none() | EVERY,
    monotone=st.booleans(),
)
def test_a_contract_survives_json(key, family, bounds, every, monotone):
    """As metadata hold it: what comes back is equal."""
    low, high = bounds if None in bounds else sorted(bounds)
    stated = {"every": every, "minimum": low, "maximum": high, "monotone": monotone}
    contract = Series(prefix=key, **stated) if family else Series(key, **stated)
    again = series_from(json.loads(json.dumps(contract.stated())))
    assert again == contract
    assert hash(again) == hash(contract)


def test_json_that_is_no_contract_is_refused():
    """What a contract may state is listed."""
    with pytest.raises(ConfigurationError, match=r"states only name, prefix, .*; got 'min' in"):
        series_from({"name": "a", "min": 0})
    with pytest.raises(ConfigurationError, match="got 'orders'"):
        series_from("orders")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ("orders", "series must be a list of contracts, got 'orders'. Pass [Series('orders', minimum=0)]"),
        (Series("orders"), "series must be a list of contracts, got Series('orders')"),
        (["orders"], "series must be a list of contracts, got 'orders'"),
        ([Series("a", minimum=0), Series("a", maximum=1)], "There are two contracts for 'a': Series('a', minimum=0)"),
        ([Series(prefix="a"), Series(prefix="a", unit="m")], "There are two contracts for 'a'"),
    ],
)
def test_contracts_that_leave_a_choice_are_refused(source, series, message):
    """Two for one name or one prefix, and what is no list of contracts; by upsert and check alike."""
    for method in (source.upsert, source.check):
        with pytest.raises(ConfigurationError) as caught:
            method(long(1.0), series=series)
        assert message in str(caught.value)
    assert source.read().empty


TEXTS = st.text("ab", max_size=4)


@given(exact=st.sets(TEXTS.filter(bool)), families=st.sets(TEXTS.filter(bool)), name=TEXTS.filter(bool))
def test_the_most_specific_contract_holds(exact, families, name):
    """An exact name beats a family; of the families, the one with the longest prefix holds."""
    contracts = Contracts([*map(Series, exact), *(Series(prefix=prefix) for prefix in families)])
    found = contracts.of(name)
    fitting = [prefix for prefix in families if name.startswith(prefix)]
    if name in exact:
        assert found == Series(name)
    else:
        assert found == (Series(prefix=max(fitting, key=len)) if fitting else None)


def reasons(error):
    return error.rows[["position", "column", "value", "reason"]].values.tolist()


def test_rows_that_break_a_contract_are_invalid_and_nothing_is_sent(source):
    """All at once, together with other faults, each with the bound that it breaks; a value may break two."""
    frame = long(-0.5, 101.0, 7.0, np.inf)
    contract = Series("orders", minimum=0, maximum=100, integer=True)
    with pytest.raises(InvalidObservationsError) as caught:
        source.upsert(frame, series=[contract])
    assert reasons(caught.value) == [
        [0, "value", -0.5, "the value is below the minimum of 'orders', which is 0"],
        [0, "value", -0.5, "the value is not a whole number, but 'orders' holds only whole numbers"],
        [1, "value", 101.0, "the value is above the maximum of 'orders', which is 100"],
        [3, "value", np.inf, "the value is infinite: a value must be a finite number"],
    ]
    assert caught.value.invalid == 3
    assert str(caught.value).startswith("3 of 4 observations for 'src' are invalid, so nothing was sent. Row 0")
    assert "on_invalid='drop'" in str(caught.value)
    assert source.read().empty
    with pytest.raises(InvalidObservationsError):
        source.check(frame, series=[contract])


def test_with_drop_the_other_rows_are_stored_and_the_broken_ones_reported(source):
    """``on_invalid="drop"`` decides about contracts as about every other fault."""
    report = source.upsert(long(-1.0, 5.0), series=[Series("orders", minimum=0)], on_invalid="drop")
    assert (report.stored, report.dropped) == (1, 1)
    assert report.dropped_rows["reason"].tolist() == ["the value is below the minimum of 'orders', which is 0"]
    assert source.read()["value"].tolist() == [5.0]


def test_bounds_are_inclusive_and_other_names_are_not_forbidden(source):
    """Equal to a bound is within it; a series without a contract may hold anything."""
    frame = long(0.0, 100.0, -1e9, -0.0, name=["a", "a", "b", "a"])
    assert source.upsert(frame, series=[Series("a", minimum=0, maximum=100)]).stored == 4


def test_a_wide_frame_is_held_to_the_contracts_column_by_column(source):
    """Only the cell that breaks a contract is invalid; a missing cell is no observation, so it breaks none."""
    frame = pd.DataFrame({"load_de": [1.0, np.nan], "load_fr": [1.0, -2.0], "price": [-5.0, 0.5]}, index=HOURS[:2])
    contracts = [Series(prefix="load_", minimum=0), Series("price", integer=True)]
    report = source.upsert(frame, series=contracts, on_invalid="drop")
    assert (report.stored, report.dropped) == (3, 2)
    assert report.dropped_rows[["name", "value"]].values.tolist() == [["load_fr", -2.0], ["price", 0.5]]
    report = source.upsert(frame["price"], series=contracts, on_invalid="drop")
    assert (report.observations_in, report.dropped) == (2, 1)


@given(
    values=st.lists(st.floats(-10, 10).map(lambda value: round(value * 2) / 2), min_size=1, max_size=60),
    names=st.data(),
    wide=st.booleans(),
)
def test_a_row_is_invalid_exactly_if_it_breaks_the_contract_of_its_series(values, names, wide):
    """For any values, series and contracts, in long and wide frames."""
    contracts = [
        Series("a", minimum=-3, maximum=4.5),
        Series("b", integer=True),
        Series(prefix="fam", maximum=0, integer=True),
        Series("famous", minimum=2),
    ]
    every = ["a", "b", "free", "fam_1", "famous"]
    series = names.draw(st.lists(st.sampled_from(every), min_size=len(values), max_size=len(values)))
    stamps = pd.date_range("2024-06-01", periods=len(values), freq="h", tz="UTC")
    frame = pd.DataFrame({"timestamp": stamps, "name": series, "value": values})
    allowed = {
        "a": lambda value: -3 <= value <= 4.5,
        "b": float.is_integer,
        "free": lambda value: True,
        "fam_1": lambda value: value <= 0 and value.is_integer(),
        "famous": lambda value: value >= 2,
    }
    expected = [i for i, (name, value) in enumerate(zip(series, values, strict=True)) if not allowed[name](value)]
    data = frame.pivot(index="timestamp", columns="name", values="value") if wide else frame
    observations = observe(data, ObservationOptions(on_invalid="drop"), series=contracts, warn=lambda *_: None)
    assert observations.dropped_rows.get("position", pd.Series(dtype=int)).tolist() == expected
    assert len(observations) == len(values) - len(expected)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1.0, 7.0, 0.5, np.nan, np.inf, -np.inf])),
        min_size=1,
        max_size=8,
    ),
    dtype=st.sampled_from(["float64", "Float64", "object"]),
)
def test_contracts_hide_no_other_fault(rows, dtype):
    """Missing and infinite values and missing names are found as without contracts, whatever bounds there are."""
    contracts = [Series("a", minimum=0, maximum=5, integer=True), Series("b", minimum=0, maximum=9)]
    frame = pd.DataFrame({"timestamp": range(len(rows)), "name": [name for name, _ in rows]})
    frame["value"] = pd.Series([value for _, value in rows]).astype(dtype)

    def found(**stated):
        observations = observe(frame, ObservationOptions(on_invalid="drop"), warn=lambda *_: None, **stated)
        return (
            dict(observations.dropped_rows[["position", "reason"]].values.tolist())
            if len(observations.dropped_rows)
            else {}
        )

    broken = {
        row: ABOVE_5 if value > 1 else "the value is not a whole number, but 'a' holds only whole numbers"
        for row, (name, value) in enumerate(rows)
        if name == "a" and value in (7.0, 0.5)
    }
    assert found(series=contracts) == found() | broken


ABOVE_5 = "the value is above the maximum of 'a', which is 5"


def meter(*readings, at=None, name="meter"):
    at = range(len(readings)) if at is None else at
    return pd.DataFrame({"timestamp": [hour * 3600 for hour in at], "name": name, "value": readings})


def test_a_monotone_series_that_falls_is_refused_whatever_on_invalid_says(source):
    """In time order, not row order; the row says what came before it. Other series may fall."""
    frame = meter(9.0, 7.0, 8.0, 8.0, at=[3, 1, 2, 0])
    contract = Series("meter", monotone=True)
    for on_invalid in ("raise", "drop"):
        with pytest.raises(InvalidObservationsError) as caught:
            source.upsert(frame, series=[contract], on_invalid=on_invalid)
        before = "the value is lower than 8.0, which is the value before it, at 1970-01-01T00:00:00Z"
        assert reasons(caught.value) == [[1, "value", 7.0, f"{before}; but 'meter' is monotone"]]
        assert "1 of 4 observations for 'src' is lower than the one before" in str(caught.value)
    assert source.read().empty
    assert source.upsert(meter(1.0, 1.0, 2.0), series=[contract]).stored == 3
    assert source.upsert(meter(2.0, 1.0, name="other"), series=[contract]).stored == 2


def test_a_row_that_is_superseded_or_dropped_does_not_make_a_series_fall(source):
    """What counts is what would be stored."""
    contract = Series("meter", monotone=True, maximum=100)
    corrected = meter(1.0, 999.0, 2.0, 3.0, at=[0, 1, 1, 2])
    assert source.upsert(corrected, series=[contract], on_invalid="drop").stored == 3
    assert source.upsert(meter(1.0, 50.0, 2.0, 3.0, at=[0, 1, 1, 2]), series=[contract]).superseded == 1


def test_in_a_wide_frame_the_column_that_falls_is_named(source):
    """With the label of the row."""
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, np.nan, 0.5]}, index=HOURS[:3])
    with pytest.raises(InvalidObservationsError) as caught:
        source.upsert(frame, series=[Series(prefix="a", monotone=True), Series("b", monotone=True)])
    assert caught.value.rows[["position", "label", "column", "value"]].values.tolist() == [[2, HOURS[2], "b", 0.5]]


MONOTONE_ROW = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 3).map(float))
ROW_ORDERS = {
    "as drawn": lambda rows: rows,
    "in time": lambda rows: sorted(rows, key=lambda row: (row[1], row[0])),
    "by series": sorted,
    "in rounds": lambda rows: [("abc"[i % 3], i // 3, value) for i, (_, _, value) in enumerate(rows)],
    "in rising rounds": lambda rows: [("abc"[i % 3], i // 3, float(i // 7)) for i in range(len(rows))],
    "in rounds, the newest first": lambda rows: [
        ("abc"[i % 3], (len(rows) - i) // 3, value) for i, (_, _, value) in enumerate(rows)
    ],
    "in rounds that hold a series twice": lambda rows: [
        ("abb"[i % 3], i, value) for i, (_, _, value) in enumerate(rows[:10])
    ],
}


def lower_than_the_one_before(rows, monotone):
    """What the definition says of long rows: position, column, value and reason, looked up one by one."""
    last = {(name, hour): (position, value) for position, (name, hour, value) in enumerate(rows)}
    found = []
    for name in monotone:
        kept = sorted((hour, *last[series, hour]) for series, hour in last if series == name)
        for (hour, _, before), (_, position, value) in pairwise(kept):
            reason = (
                f"the value is lower than {before!r}, which is the value before it, at 1970-01-01T0{hour}:00:00Z; but"
                f" {name!r} is monotone"
            )
            if value < before:
                found.append([position, "value", value, reason])
    return sorted(found)


@given(
    rows=st.lists(MONOTONE_ROW, max_size=30),
    row_order=st.sampled_from([*ROW_ORDERS]),
    monotone=st.sets(st.sampled_from("abc"), min_size=1),
    block=st.sampled_from([2, 4, 7, 65_536]),
    bits=st.sampled_from([63, 4]),
    minimum=st.sampled_from([None, -1]),
)
def test_a_monotone_series_is_refused_exactly_where_it_falls(rows, row_order, monotone, block, bits, minimum):
    """For rows in any order, with gaps, repeated keys and series that may fall: what is found one by one."""
    rows = ROW_ORDERS[row_order](rows)
    frame = pd.DataFrame(rows, columns=["name", "hour", "value"]).astype({"value": float})
    frame = frame.assign(timestamp=pd.to_datetime(frame.pop("hour") * 3600, unit="s", utc=True))
    expected = lower_than_the_one_before(rows, monotone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeated_keys, "BLOCK_ROWS", block)
        patch.setattr(repeated_keys, "BITS", bits)
        patch.setattr(monotone_room, "CACHED_ROWS", block)
        patch.setattr(contracts_room, "CACHED_ROWS", block)
        patch.setattr(names_room, "BLOCK_ROWS", block)
        contracts = [Series(name, monotone=True, minimum=minimum) for name in monotone]
        observations = observe(frame, warn=lambda *_: None)
        if not expected:
            assert len(observe(frame, series=contracts, warn=lambda *_: None)) == len(observations)
            return
        with pytest.raises(InvalidObservationsError) as caught:
            observe(frame, series=contracts, warn=lambda *_: None)
    assert sorted(reasons(caught.value)) == expected
    assert caught.value.rows["position"].is_monotonic_increasing
    assert (caught.value.invalid, caught.value.observations_in) == (len(expected), len(rows))


@pytest.mark.parametrize(
    ("round_of", "values", "hours", "fallen"),
    [
        ("abb", [1, 5, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 5, 8]),
        ("abc", [1, 1, 1], [2, 2, 2, 1, 1, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5]),
        ("abc", [1, 1, 1], [0, 0, 0, 2, 2, 2, 1, 1, 1], [3, 4, 5]),
    ],
    ids=["a series twice in a round", "the newest first", "two rounds in each other's place"],
)
def test_rows_that_rise_from_round_to_round_may_still_fall_in_time(monkeypatch, round_of, values, hours, fallen):
    """Rounds are compared with each other only where that is the order of time, and each series once in a round."""
    values = [step * 10 + value for step in range(3) for value in values]
    frame = pd.DataFrame({"timestamp": np.multiply(hours, 3600), "name": list(round_of * 3), "value": values})
    monkeypatch.setattr(names_room, "BLOCK_ROWS", 6)
    with pytest.raises(InvalidObservationsError) as caught:
        observe(frame, series=[Series(prefix=name, minimum=0, monotone=True) for name in "abc"])
    assert caught.value.rows["position"].tolist() == fallen


@pytest.mark.parametrize("block", [3, 6, 65_536])
def test_a_fall_in_any_row_of_complete_rounds_is_found(monkeypatch, block):
    """Also where the round before is in another block."""
    monkeypatch.setattr(names_room, "BLOCK_ROWS", 6)
    monkeypatch.setattr(contracts_room, "CACHED_ROWS", block)
    steps = np.repeat(np.arange(10), 3)
    frame = pd.DataFrame({"timestamp": steps * 3600, "name": list("abc" * 10), "value": steps.astype(float)})
    contracts = [Series(prefix=name, minimum=-9, monotone=True) for name in "abc"]
    observe(frame, series=contracts)
    for row in range(3, len(frame)):
        with pytest.raises(InvalidObservationsError) as caught:
            observe(frame.assign(value=frame["value"].where(frame.index != row, -1.0)), series=contracts)
        assert caught.value.rows["position"].tolist() == [row]


@pytest.mark.parametrize("left_out", [0, 7], ids=["complete", "with gaps"])
def test_a_fall_is_found_in_many_rows_in_any_order(left_out):
    """Among more rows than are looked at at once, one that is too low is found, and no other."""
    rows = 30_000
    frame = pd.DataFrame(
        {
            "timestamp": np.repeat(np.arange(rows // 3) * 60, 3),
            "name": np.resize(["a", "b", "c"], rows),
            "value": np.repeat(np.arange(rows // 3) // 2, 3).astype(float),
        }
    )
    shuffled = frame.drop(index=range(100, 100 + left_out)).sample(frac=1, random_state=1)
    contracts = [Series(prefix=name, monotone=True) for name in "abc"]
    observe(shuffled, series=contracts)
    shuffled.loc[rows - 5, "value"] -= 2000
    with pytest.raises(InvalidObservationsError) as caught:
        observe(shuffled, series=contracts)
    assert caught.value.rows["label"].tolist() == [rows - 5]


@given(
    values=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=12)
    ),
    form=st.sampled_from(["wide", "long", "by series"]),
    drawn=st.data(),
)
def test_frames_in_complete_rounds_are_held_to_the_same_contracts(values, form, drawn):
    """They are looked at in a faster way, as are those sorted by series; the rows that are found are the same."""
    wide = pd.DataFrame(values, dtype=float).set_axis(pd.date_range("2024-06-01", periods=len(values), tz="UTC"))
    wide.columns = list("abcd")[: wide.shape[1]]
    highest = drawn.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4))
    long_frame = wide.rename_axis("timestamp").melt(ignore_index=False, var_name="name").reset_index()
    data = {"wide": wide, "by series": long_frame, "long": long_frame.sort_values(["timestamp", "name"])}[form]
    bounded = [Series(name, maximum=bound) for name, bound in zip("abcd", highest, strict=True)]
    broken = observe(data, ObservationOptions(on_invalid="drop"), series=bounded, warn=lambda *_: None).dropped_rows
    expected = [
        (name, value)
        for row in values
        for name, bound, value in zip("abcd", highest, row, strict=False)
        if value > bound
    ]
    assert sorted(broken[["name", "value"]].itertuples(index=False, name=None) if len(broken) else []) == sorted(
        expected
    )
    falls = int((wide.diff() < 0).sum().sum())
    if not falls:
        observe(data, series=[Series(name, monotone=True) for name in "abcd"])
        return
    with pytest.raises(InvalidObservationsError) as caught:
        observe(data, series=[Series(name, monotone=True) for name in "abcd"])
    assert caught.value.invalid == falls


def test_blocks_of_many_rows_are_all_looked_at():
    """Values beyond the first block, in rounds that change halfway, are held to their own bounds."""
    rows = 100_000
    names = np.where(np.arange(rows) < rows // 2, np.resize(["a", "b", "c"], rows), np.resize(["c", "a"], rows))
    values = np.where(names == "a", 5.0, 50.0)
    values[[7, 40_000, 70_001, 99_999]] = 500.0
    frame = pd.DataFrame({"timestamp": range(rows), "name": names, "value": values})
    contracts = [Series("a", maximum=5), Series("b", maximum=50), Series("c", maximum=50)]
    with pytest.raises(InvalidObservationsError) as caught:
        observe(frame, series=contracts)
    assert caught.value.rows["position"].tolist() == [7, 40_000, 70_001, 99_999]
