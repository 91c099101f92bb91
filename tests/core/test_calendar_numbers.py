"""Numbers that read as calendar dates are never stored as Unix seconds of 1970, on any surface."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import InvalidObservationsError, connect
from temporis_dagster.cli import main
from temporis_dagster.data_source.observations import ObservationOptions, observe, timestamps
from temporis_dagster.data_source.observations.calendar_numbers import FORMS, WITH_MINUTES, form_of
from tests.core.test_allow_future import through_dagster
from tests.support.component_tools import Project
from tests.support.dagster_harness import failure_of

JUNE = 1718870400  # 2024-06-20T08:00:00Z

CALENDAR = {
    "YYYY": ([2012, 2013], "(YYYY, such as 2012)"),
    "YYYY, long ago": ([1700, 1701, 2008], "(YYYY, such as 1700)"),
    "YYYYMM": ([202405, 202406], "202405 is 2024-05"),
    "YYYYDDD": ([2024172, 2024173], "2024172 is 2024-172"),
    "YYYYMMDD": ([20240620, 20240621], "20240620 is 2024-06-20"),
    "YYYYMMDD, one": ([20240620], "20240620 is 2024-06-20"),
    "YYYYMMDD, a leap day": ([20240229, 20240301], "20240229 is 2024-02-29"),
    "YYYYMMDD, newest first": ([20240621, 20240620, 19991231], "20240621 is 2024-06-21"),
    "YYYYMMDD, an open end": ([20240620, 99991231], "20240620 is 2024-06-20"),
    "YYYYMMDD, all nines": ([20240620, 99999999], "20240620 is 2024-06-20"),
    "YYYYMM, all nines": ([202406, 999999], "202406 is 2024-06"),
    "YYYYMMDD, of another century": ([17560101, 17560102], "17560101 is 1756-01-01"),
    "YYYYMMDDHH": ([2024062008, 2024062009], "2024062008 is 2024-06-20 08:00"),
    "YYYYMMDDHH, one": ([2024062008], "2024062008 is 2024-06-20 08:00"),
    "YYYYMMDDHH, hours to 24": ([2024062023, 2024062024], "2024062023 is 2024-06-20 23:00"),
    "YYYYMMDDHH, before 1970": ([1950010100, 1950010101], "1950010100 is 1950-01-01 00:00"),
    "YYYYMMDDHHMM": ([202406200800, 202406200815], "202406200800 is 2024-06-20 08:00"),
    "YYYYMMDDHHMMSS": ([20240620080000], "20240620080000 is 2024-06-20 08:00:00"),
    "YYYYMMDDHHMMSSfff": ([20240620080000000, 20240620080000250], "2024-06-20 08:00:00"),
    "Excel": ([45463, 45464], "45463 is 2024-06-20"),
    "Excel, of the nineties": ([33970, 34001], "33970 is 1993-01-01"),
    "days since 1970": ([19894, 19895], "19894 is 2024-06-20"),
}
FRACTIONS = {
    "Excel with a time of day": ([45463.5], "45463.5 is 2024-06-20 12:00:00"),
    "Excel, mixed": ([45463.0, 45463.25], "45463 is 2024-06-20"),
    "decimal years": ([1958.2027, 1958.2877], "1958.2027 is in 1958"),
}
NOT_CALENDAR = {
    "Unix seconds of today": [JUNE, JUNE + 3600],
    "one Unix second": [JUNE],
    "small seconds": [0, 60, 120],
    "hours of a test": [3600, 7200, 10_800],
    "a zero among dates": [0, 20240620],
    "not a date": [20240620, 20240631],
    "no leap year": [20230229, 20230228],
    "month 13": [202413, 202412],
    "hour 25": [2024062025, 2024062008],
    "one year": [2012],
    "one month": [202406],
    "one serial number": [45463],
    "before 1970": [-20240620, -20240621],
    "several forms": [2012, 20240620],
    "the days of a year in seconds": [86_400 * day for day in range(1, 366)],
}


def wide(numbers, dtype=None):
    return pd.DataFrame({"timestamp": pd.Series(numbers, dtype=dtype), "orders": np.arange(len(numbers), dtype=float)})


def refused(data, **options) -> str:
    with pytest.raises(InvalidObservationsError) as raised:
        observe(data, ObservationOptions(**options))
    return str(raised.value)


@pytest.mark.parametrize(("numbers", "words"), CALENDAR.values(), ids=CALENDAR)
@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "float64", "object", "Decimal", "category", "sparse"])
@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
def test_a_column_of_calendar_numbers_is_refused_with_the_date_it_reads_as(numbers, words, dtype, on_invalid):
    """Calendar numbers are refused in every dtype, and never dropped: it is a fault of the call."""
    column = {
        "Decimal": lambda: pd.Series([Decimal(number) for number in numbers], dtype=object),
        "sparse": lambda: pd.Series(pd.arrays.SparseArray(numbers)),
    }.get(dtype, lambda: pd.Series(numbers, dtype=dtype))()
    message = refused(wide(column), on_invalid=on_invalid)
    assert "reads as calendar dates, not as Unix seconds" in message
    assert words in message
    assert "pass unit='s' if" in message
    if max(numbers) < 10**11:
        taken = observe(wide(column), ObservationOptions(unit="s", allow_future=True))
        assert taken.timestamps.tolist() == numbers


@pytest.mark.parametrize("form", ["YYYY", "YYYYMM", "YYYYDDD", "YYYYMMDD", "Excel", "days since 1970"])
@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "object", "Decimal", "category"])
@pytest.mark.parametrize("missing", [False, True])
def test_the_advice_helps(form, dtype, missing):
    """What the message says to do is done, also where a cell is missing: then the same frame is taken."""
    numbers = CALENDAR[form][0] + [None] * missing
    if dtype == "Decimal":
        column = pd.Series([None if number is None else Decimal(number) for number in numbers], dtype=object)
    elif missing and dtype in ("int64", "category"):
        column = pd.Series(numbers, dtype="float64").astype(dtype.replace("int64", "float64"))
    else:
        column = pd.Series(numbers, dtype=dtype)
    said = re.search(r"convert it with (pd\.to_datetime\(.*?\)), or pass", refused(wide(column)))
    assert said is not None
    converted = eval(said[1], {"pd": pd, "column": column})
    options = ObservationOptions(timezone="UTC", on_invalid="drop")
    observations = observe(wide(converted), options)
    assert len(observations) == len(CALENDAR[form][0])
    assert pd.Timestamp(int(observations.timestamps[0]), unit="s").year in (2012, 2024)


@pytest.mark.parametrize(("numbers", "words"), FRACTIONS.values(), ids=FRACTIONS)
@pytest.mark.parametrize("sub_second", ["raise", "floor"])
def test_days_with_a_time_of_day_are_not_told_to_be_cut_off(numbers, words, sub_second):
    """Cutting 45463.5 off would be a second of 1970."""
    message = refused(wide(numbers), sub_second=sub_second)
    assert words in message
    assert "sub_second" not in message


@pytest.mark.parametrize("numbers", NOT_CALENDAR.values(), ids=NOT_CALENDAR)
def test_other_numbers_are_unix_seconds_as_ever(numbers):
    """Where one number does not fit, or only one is there, or a zero, nothing is guessed."""
    assert observe(wide(numbers), ObservationOptions(allow_future=True)).timestamps.tolist() == numbers


def test_no_column_of_unix_seconds_of_our_time_can_be_refused():
    """The numbers that each form takes hold no Unix second from 1974 to the middle of March 2030."""
    first, last = (int(datetime(*day, tzinfo=timezone.utc).timestamp()) for day in ((1974, 1, 1), (2030, 3, 15)))
    assert not [form.called for form in FORMS if form.first <= last and form.last >= first]


@given(
    st.sampled_from([form for form in FORMS if form.whole]),
    st.lists(st.datetimes(datetime(1950, 1, 1), datetime(2039, 12, 31)), min_size=2, max_size=20),
)
def test_every_date_fits_the_form_it_was_written_in(form, moments):
    """Whatever the dates, and the message's date is the one that was written."""
    column = pd.Series(pd.to_datetime(moments)).astype("datetime64[ns]")
    if "unit='D'" in form.conversion:
        if form.called == "days since 1970":
            column = column[column > "2016-01-01"]
        zero = pd.Timestamp("1899-12-30" if "origin" in form.conversion else "1970-01-01")
        numbers = (column.dt.normalize() - zero).dt.days.to_numpy()
    else:
        directives = form.conversion.split("'")[-2]
        texts = column.dt.strftime(directives)
        numbers = (texts.str[:-3] if directives.endswith("%f") else texts).astype("int64").to_numpy()
    if len(set(numbers.tolist())) > 1:
        assert form_of(numbers) is not None
        assert form.first <= numbers.min() <= numbers.max() <= form.last


@pytest.mark.parametrize("rows", [3, 100_000])
def test_the_rule_is_of_the_whole_column_not_of_a_block(rows, monkeypatch):
    """One number that fits no form, in the last block, makes Unix seconds of all."""
    monkeypatch.setattr(timestamps, "BLOCK_ROWS", rows)
    numbers = [20240601 + day for day in range(20)]
    assert "20 of 20 observations" in refused(wide(numbers))
    assert len(observe(wide([*numbers, 7]))) == 21


def test_a_long_frame_of_many_series_is_one_column():
    """A series with one month alone is refused with the others, also where repeated hours are inferred per series."""
    frame = pd.DataFrame({"timestamp": [202405, 202406], "name": ["a", "b"], "value": 1.0})
    for ambiguous in ("raise", "infer"):
        assert "2 of 2 observations" in refused(frame, ambiguous=ambiguous, timezone="UTC")


def test_what_is_beside_the_numbers_has_its_own_reason():
    """Missing and text cells are named too, and moments among numbers are valid."""
    mixed = pd.Series([20240620, None, "soon", pd.Timestamp("2024-06-21", tz="UTC"), True, float("nan")], dtype=object)
    with pytest.raises(InvalidObservationsError) as raised:
        observe(wide(mixed))
    reasons = dict(zip(raised.value.rows["position"], raised.value.rows["reason"], strict=True))
    assert sorted(reasons) == [0, 1, 2, 4, 5]
    assert "calendar dates" in reasons[0]
    assert "missing" in reasons[1]
    assert "missing" in reasons[5]


NOT_TO_BE_STORED = {
    "infinity": np.inf,
    "minus infinity": -np.inf,
    "beyond any time": 1e30,
    "a long integer": 10**30,
    "a Decimal without end": Decimal("Infinity"),
    "a Decimal beyond any time": Decimal("1e999999"),
    "a date with minutes": 202406200800,
    "milliseconds": JUNE * 1000,
    "beyond 64 bits of a sign": 2**63 + 1,
}


@pytest.mark.parametrize("other", NOT_TO_BE_STORED.values(), ids=NOT_TO_BE_STORED)
@pytest.mark.parametrize("dtype", [None, "object"])
def test_dates_are_refused_also_where_a_number_beside_them_would_be_dropped(other, dtype):
    """Numbers that are dropped do not cause the others to be stored in 1970."""
    message = refused(wide([20240620, 20240621, other], dtype), on_invalid="drop")
    assert "20240620 is 2024-06-20" in message
    seconds = observe(wide([JUNE, JUNE + 1, other], dtype), ObservationOptions(on_invalid="drop")).timestamps
    assert seconds.tolist() == [JUNE, JUNE + 1]


def test_rows_that_are_no_observations_do_not_make_seconds_of_dates():
    """An empty row of a wide frame, and a row that is dropped for its value or name, may have any number."""
    numbers = pd.Series([0, 20240620, 20240621])
    refused(pd.DataFrame({"timestamp": numbers, "orders": [np.nan, 2.0, 3.0]}))
    refused(pd.DataFrame({"timestamp": numbers, "orders": ["Total", 2.0, 3.0]}), on_invalid="drop")
    for name, value in (("orders", "Total"), ("", 1.0), ("orders", None)):
        long = pd.DataFrame({"timestamp": numbers, "name": [name, "orders", "orders"], "value": [value, 2.0, 3.0]})
        refused(long, on_invalid="drop")


def test_one_bad_cell_does_not_turn_dates_into_milliseconds():
    """YYYYMMDDHHMM next to a cell that is not a date: the advice is not unit='ms', which would turn 2024 into 1976."""
    message = refused(wide([202406200800, 202406209900, 202406200830]))
    assert "reads as the date 2024-06-20 08:00 (YYYYMMDDHHMM)" in message
    assert "on_invalid" not in message


# The surfaces


def ingested(url, path, *options):
    return CliRunner().invoke(main, ["ingest", str(path), "--data-source", "store_metrics", "--url", url, *options])


def stored(url):
    with connect(url) as temporis:
        return temporis.data_source("store_metrics").read()


@pytest.mark.parametrize(("numbers", "words"), {**CALENDAR, **FRACTIONS}.values(), ids={**CALENDAR, **FRACTIONS})
def test_the_command_line_refuses_them(store_url, tmp_path, numbers, words):
    """In CSV, with a zone or without, never dropped; and its advice is in its own words."""
    path = tmp_path / "data.csv"
    path.write_text("timestamp,orders\n" + "".join(f"{number},1.5\n" for number in numbers))
    for options in ([], ["--timezone", "Europe/Berlin"], ["--on-invalid", "drop"], ["--ambiguous", "infer"]):
        done = ingested(store_url, path, *options)
        assert done.exit_code == 3, done.output
        assert words in done.output
        assert "--timestamp-format %Y" in done.output or "ISO 8601" in done.output
        assert "--unit s" in done.output
    assert stored(store_url).empty


def test_the_command_line_takes_them_as_seconds_where_that_is_said(store_url, tmp_path):
    """And ISO 8601 in its short form goes on being ISO 8601."""
    path = tmp_path / "data.csv"
    path.write_text("timestamp,orders\n20240620,1.5\n20240621,1.5\n")
    assert ingested(store_url, path, "--unit", "s").exit_code == 0
    assert stored(store_url)["timestamp"].dt.year.tolist() == [1970, 1970]
    path.write_text("timestamp,orders\n20240620T080000Z,1.5\n")
    assert ingested(store_url, path).exit_code == 0
    assert stored(store_url)["timestamp"].iloc[-1] == pd.Timestamp("2024-06-20T08:00Z")


@pytest.mark.parametrize("form", ["YYYY", "YYYYMMDD", "YYYYMMDDHH", "Excel"])
def test_the_io_manager_refuses_them(store_url, form):
    """Also where the asset says on_invalid="drop"."""
    numbers, words = CALENDAR[form]
    success, said = through_dagster(store_url, wide(numbers), on_invalid="drop")
    assert not success
    assert words in said
    assert through_dagster(store_url, wide(numbers), unit="s", allow_future=True) == (True, "")


@pytest.mark.parametrize("form", ["YYYYMMDD", "YYYYMMDDHH"])
def test_a_query_whose_time_column_is_a_date_as_a_number_fails(form, tmp_path, monkeypatch):
    """An integer column of dates, as warehouses have it."""
    numbers, words = CALENDAR[form]
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{tmp_path}/warehouse.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/warehouse.db")
    wide(numbers).to_sql("orders", engine, index=False)
    engine.dispose()
    sql = {"url": "{{ env.WAREHOUSE_URL }}", "query": "SELECT timestamp, orders FROM orders"}
    with Project(tmp_path, {"sql": sql}) as project:
        result = project.run(raise_on_error=False)
        assert words in failure_of(result).event_specific_data.error.message
        assert project.stored().empty


def test_forms_with_minutes_are_too_large_for_seconds():
    """So they are refused one by one as well, if the column also holds something else."""
    assert all(form.first >= 10**11 for form in WITH_MINUTES)
