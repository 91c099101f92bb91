"""Real exports: each form that programs write is read with the options of ``--help``, or refused with the one it needs.

The public data sets are excerpts of the same shape as those of statsmodels, vega_datasets and the others named here.
"""

from __future__ import annotations

import io
import json
import re
import shlex

import pandas as pd
import pytest

from temporis_dagster.cli import lost_rows
from temporis_dagster.cli.cells import numbers
from temporis_dagster.cli.file_form import FileForm
from temporis_dagster.cli.time_parts import directive_of
from temporis_dagster.data_source.observations import timestamps
from tests.support.cli_tools import ingest, run
from tests.support.service_fixture import content

UTC = ["--timezone", "UTC"]
DAY, HOUR = 86_400, 3_600
NOON = 1_718_884_800
"""2024-06-20 12:00 UTC."""


def day(text: str) -> int:
    """The Unix second of a moment in UTC."""
    return int(pd.Timestamp(text, tz="UTC").timestamp())


SETS = {
    "co2 (statsmodels): dates as numbers": (
        "date,co2\n19580329,316.1\n19580405,317.3\n",
        ["--timestamp", "date"],
        "--timestamp-format %Y%m%d",
        ["--timestamp", "date", "--timestamp-format", "%Y%m%d", *UTC],
        {(day("1958-03-29"), "co2"): 316.1, (day("1958-04-05"), "co2"): 317.3},
    ),
    "elnino (statsmodels): years": (
        '"YEAR","JAN","FEB"\n1950,23.110,24.200\n1951,24.190,25.280\n',
        ["--timestamp", "YEAR"],
        "--timestamp-format %Y",
        ["--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC],
        {(day("1950"), "JAN"): 23.11, (day("1950"), "FEB"): 24.2}
        | {(day("1951"), "JAN"): 24.19, (day("1951"), "FEB"): 25.28},
    ),
    "macrodata (statsmodels): year and quarter": (
        '"year","quarter","realgdp"\n1959,1,2710.349\n1959,4,2785.204\n',
        ["--timestamp", "year", "--timestamp", "quarter", *UTC],
        "--timestamp-format",
        ["--timestamp", "year", "--timestamp", "quarter", "--timestamp-format", "%Y %q", *UTC],
        {(day("1959-01"), "realgdp"): 2710.349, (day("1959-10"), "realgdp"): 2785.204},
    ),
    "seattle-weather (vega): a column of words": (
        "date,precipitation,wind,weather\n2012/01/01,0.0,4.7,drizzle\n2012/01/02,10.9,4.5,rain\n",
        ["--timestamp", "date", *UTC],
        "--exclude",
        ["--timestamp", "date", "--exclude", "weather", *UTC],
        {(day("2012-01-01"), "precipitation"): 0.0, (day("2012-01-01"), "wind"): 4.7}
        | {(day("2012-01-02"), "precipitation"): 10.9, (day("2012-01-02"), "wind"): 4.5},
    ),
    "sf-temps (vega): no zone": (
        "temp,date\n47.8,2010/01/01 00:00:00\n47.4,2010/01/01 01:00:00\n",
        ["--timestamp", "date"],
        "--timezone",
        ["--timestamp", "date", *UTC],
        {(day("2010-01-01"), "temp"): 47.8, (day("2010-01-01T01"), "temp"): 47.4},
    ),
    "stocks (vega): names of months": (
        "symbol,date,price\nMSFT,Jan 1 2000,39.81\nAMZN,Feb 1 2000,68.87\n",
        ["--timestamp", "date", "--name", "symbol", "--value", "price", *UTC],
        "--timestamp-format",
        ["--timestamp", "date", "--name", "symbol", "--value", "price", "--timestamp-format", "%b %d %Y", *UTC],
        {(day("2000-01-01"), "MSFT"): 39.81, (day("2000-02-01"), "AMZN"): 68.87},
    ),
    "iowa-electricity (vega): an entity": (
        "year,source,net_generation\n2001-01-01,Fossil Fuels,35361\n2001-01-01,Nuclear Energy,3853\n",
        ["--timestamp", "year", "--exclude", "source", *UTC],
        "",
        ["--timestamp", "year", "--name", "{source}: {column}", *UTC],
        {(day("2001"), "Fossil Fuels: net_generation"): 35361, (day("2001"), "Nuclear Energy: net_generation"): 3853},
    ),
    "sunspots (statsmodels): a year and one column": (
        '"YEAR","SUNACTIVITY"\n1700,5\n1701,11\n',
        ["--timestamp", "YEAR"],
        "--timestamp-format %Y",
        ["--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC],
        {(day("1700"), "SUNACTIVITY"): 5, (day("1701"), "SUNACTIVITY"): 11},
    ),
    "sunspots (statsmodels) as pandas writes it: years with a point": (
        '"YEAR","SUNACTIVITY"\n1700.0,5\n1701.0,11\n',
        ["--timestamp", "YEAR"],
        "--timestamp-format %Y",
        ["--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC],
        {(day("1700"), "SUNACTIVITY"): 5, (day("1701"), "SUNACTIVITY"): 11},
    ),
    "macrodata (statsmodels) as pandas writes it: year and quarter with a point": (
        '"year","quarter","realgdp"\n1959.0,1.0,2710.349\n1959.0,4.0,2785.204\n',
        ["--timestamp", "year", "--timestamp", "quarter", *UTC],
        "--timestamp-format",
        ["--timestamp", "year", "--timestamp", "quarter", "--timestamp-format", "%Y %q", *UTC],
        {(day("1959-01"), "realgdp"): 2710.349, (day("1959-10"), "realgdp"): 2785.204},
    ),
    "us-employment (vega): dates, wide": (
        "month,nonfarm,private\n2006-01-01,135450,113603\n",
        ["--timestamp", "month"],
        "--timezone",
        ["--timestamp", "month", *UTC],
        {(day("2006"), "nonfarm"): 135450, (day("2006"), "private"): 113603},
    ),
}


@pytest.mark.parametrize(("file", "first", "advised", "second", "expected"), SETS.values(), ids=SETS)
def test_a_public_data_set_goes_in_within_two_attempts(store, file, first, advised, second, expected):
    """The first attempt is refused with the option that is missing; with it, every value is where it belongs."""
    done = ingest(store, file, *first)
    if advised:
        assert (done.exit_code, content(store)) == (3, {})
        assert advised in done.stderr
    done = ingest(store, file, *second)
    assert done.exit_code == 0, done.stderr
    stored = content(store)
    assert {key: stored[key] for key in expected} == expected


FORMS = {
    "decimal commas": (
        '"";"MT_001";"MT_002"\n"2011-01-01 00:15:00";2,53807106598985;0\n"2011-01-01 00:30:00";0;22,7596\n',
        ["--delimiter", ";", "--timestamp", "Unnamed: 0", "--timezone", "Europe/Lisbon", "--decimal", ","],
        {"MT_001": 2.53807106598985, "MT_002": 0.0},
    ),
    "thousands": (
        "Zeit;Umsatz;Kosten\n20.06.2024 08:00;1.284,50;-900\n",
        [
            *("--timestamp", "Zeit", "--timestamp-format", "%d.%m.%Y %H:%M", "--timezone", "Europe/Berlin"),
            *("--delimiter", ";", "--decimal", ",", "--thousands", "."),
        ],
        {"Umsatz": 1284.5, "Kosten": -900.0},
    ),
    "a blank between thousands": (
        "timestamp;a\n2024-06-20T08:00Z;1\u202f284\u00a0000,5\n",
        ["--delimiter", ";", "--decimal", ",", "--thousands", "blank"],
        {"a": 1284000.5},
    ),
    "milliseconds": ('"Time","up"\n1704067200000,1\n', ["--timestamp", "Time", "--unit", "ms"], {"up": 1.0}),
    "digits": (
        "MESS_DATUM,t\n202406200810,1\n",
        ["--timestamp", "MESS_DATUM", "--timestamp-format", "%Y%m%d%H%M", *UTC],
        {"t": 1.0},
    ),
    "date and time apart": (
        "Date,Time,kW\n20/06/2024,08:15,1.5\n",
        ["--timestamp", "Date", "--timestamp", "Time", "--timestamp-format", "%d/%m/%Y %H:%M", *UTC],
        {"kW": 1.5},
    ),
    "dates as numbers with a point, and one without": (
        "timestamp,a\n20240620.0,1.5\n20240621,2\n",
        ["--timestamp-format", "%Y%m%d", *UTC],
        {"a": 1.5},
    ),
    "a point that the format has": (
        "timestamp,a\n2024.0,1.5\n2025,2\n",
        ["--timestamp-format", "%Y.0", "--on-invalid", "drop", *UTC],
        {"a": 1.5},
    ),
    "ISO date and time apart": (
        "date,hour,kW\n2024-06-20,08:15,1.5\n",
        ["--timestamp", "date", "--timestamp", "hour", *UTC],
        {"kW": 1.5},
    ),
    "a title": ("Report\nof June\n\ntimestamp,a\n2024-06-20T08:00Z,1\n", ["--skip-rows", "3"], {"a": 1.0}),
    "latin1": ("timestamp,Höhe\n2024-06-20T08:00Z,1\n".encode("latin1"), ["--encoding", "latin1"], {"Höhe": 1.0}),
    "utf-16": ("timestamp,a\n2024-06-20T08:00Z,1\n".encode("utf-16"), ["--encoding", "utf-16"], {"a": 1.0}),
    "some columns": ("timestamp,a,b,c\n2024-06-20T08:00Z,1,x,y\n", ["--columns", "a"], {"a": 1.0}),
    "columns in one text": ("timestamp,a,b,c\n2024-06-20T08:00Z,1,2,y\n", ["--columns", "a, b"], {"a": 1.0, "b": 2.0}),
    "without some": ('timestamp,a,"b,c"\n2024-06-20T08:00Z,1,x\n', ["--exclude", "b,c"], {"a": 1.0}),
    "no value": ("timestamp,a,b\n2024-06-20T08:00Z,1,n.d.\n", ["--na", "n.d."], {"a": 1.0}),
    "with an offset": (
        "timestamp,a\n20.06.2024 10:00 +0200,1\n",
        ["--timestamp-format", "%d.%m.%Y %H:%M %z"],
        {"a": 1.0},
    ),
    "an entity": (
        "timestamp,station,temp,rain\n2024-06-20T08:00Z,07,1,2\n2024-06-20T08:00Z,JFK,3,\n",
        ["--name", "{station}__{column}"],
        {"07__temp": 1.0, "07__rain": 2.0, "JFK__temp": 3.0},
    ),
    "columns that str.format would take apart": (
        "timestamp,a.b,0,c[d],temp\n2024-06-20T08:00Z,{x},y,z,1\n",
        ["--name", "{{{a.b}}}{0}{c[d]} {column}"],
        {"{{x}}yz temp": 1.0},
    ),
}


@pytest.mark.parametrize(("file", "options", "expected"), FORMS.values(), ids=FORMS)
def test_a_form_that_exports_have_is_read_with_its_option(store, file, options, expected):
    """Exactly, and nothing else is stored."""
    done = ingest(store, file, *options)
    assert done.exit_code == 0, done.stderr
    first = min(second for second, _ in content(store))
    assert {name: value for (second, name), value in content(store).items() if second == first} == expected


REFUSED = {
    "commas": ("timestamp;a\n0;1,5\n60;2\n", ["--delimiter", ";", "--on-invalid", "drop"], "--decimal ,"),
    "milliseconds": ("timestamp,a\n1704067200000,1\n", [], "--unit ms"),
    "digits": ("timestamp,a\n202406200810,1\n", [], "--timestamp-format %Y%m%d%H%M"),
    "comments": ("# from a logger\n# two lines\ntimestamp,a\n0,1\n", [], "--skip-rows 2"),
    "latin1": ("timestamp,Höhe\n0,1\n".encode("latin1"), [], "--encoding latin1"),
    "another encoding": (b"timestamp,a\n0,\x81\n", ["--encoding", "ascii"], "--encoding"),
    "words": ("timestamp,a,b\n0,1,rain\n", [], "--exclude"),
    "a format that does not fit": (
        "timestamp,a\n2024-06-20,1\n",
        ["--timestamp-format", "%d.%m.%Y", *UTC],
        "2024-06-20",
    ),
    "all lines skipped": ("timestamp,a\n0,1\n", ["--skip-rows", "9"], "--skip-rows 9"),
    "a column that is not there": ("timestamp,a\n0,1\n", ["--columns", "b"], "--columns takes some of"),
    "the timestamps left out": ("timestamp,a\n0,1\n", ["--exclude", "timestamp"], "Leave it out of --exclude"),
    "a part of the name that is not there": ("timestamp,a\n0,1\n", ["--name", "{x}_{column}"], "no column 'x'"),
    "an empty part of the name": ("timestamp,x,a\n0,,1\n", ["--name", "{x}_{column}"], "name"),
    "a year and a month": ("y,m,a\n2024,10,1\n", ["--timestamp", "y", "--timestamp", "m", *UTC], "--timestamp-format"),
    "a date and an hour": ("d,h,a\n2024-06-20,8,1\n", ["--timestamp", "d", "--timestamp", "h", *UTC], "2024-06-20 8"),
    "decimal points among commas": ("timestamp;a\n0;1.5\n", ["--delimiter", ";", "--decimal", ","], "text is not"),
    "stations": (
        "timestamp,station,t\n"
        + "".join(f"{NOON + 60 * i},{station},{i}.{n}\n" for i in range(3) for n, station in enumerate("AB")),
        ["--columns", "t,station"],
        "--exclude",
    ),
}


@pytest.mark.parametrize(("file", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_needs_an_option_is_refused_with_its_name(store, file, options, words):
    """Nothing is stored, also with the advice that would only drop rows."""
    done = ingest(store, file, *options)
    assert (done.exit_code, content(store)) == (3, {})
    assert words in done.stderr


@pytest.mark.parametrize(("file", "pattern", "text"), [
    ("timestamp,a\n1950.0,1\n1951.5,2\nx,2\n", "%Y", "1951.5"), ("timestamp,a\n1950,1\n", "%d.%m.%Y", "1950"),
    ("timestamp,a\n1950 5,1\n", "%Y %q", "1950 5"), ("timestamp,a\n20240620,1\n", "%Y-%m-%d %H:%M", "20240620"),
])  # fmt: skip
def test_a_format_that_does_not_fit_is_named(store, file, pattern, text):
    """With the first text that does not match it; it is not advised as if it had not been given."""
    done = ingest(store, file, "--timestamp-format", pattern, *UTC)
    assert (done.exit_code, content(store)) == (3, {})
    given = f"--timestamp-format {shlex.quote(pattern)}"
    assert f"'{text}': text is not a timestamp: convert it, to the form of {given}, which it does not" in done.stderr
    assert done.stderr.count("--timestamp-format") == done.stderr.count(given)
    assert "for example" not in done.stderr


def test_a_format_applies_to_numbers_of_json(store):
    """A number that does not match it is not read as seconds since 1970."""
    lines = '{"timestamp": 1950.0, "a": 1}\n{"timestamp": 1951, "a": 2}\n'
    options = ["--format", "json", *UTC, "--timestamp-format"]
    done = ingest(store, lines, *options, "%Y%m%d")
    assert (done.exit_code, content(store)) == (3, {})
    assert "'1950': text is not a timestamp" in done.stderr
    assert ingest(store, lines, *options, "%Y").exit_code == 0
    assert content(store) == {(day("1950"), "a"): 1.0, (day("1951"), "a"): 2.0}


@pytest.mark.parametrize(("options", "words"), [
    (["--decimal", ",", "--thousands", ","], "must differ"), (["--encoding", "base64"], "is not known"),
    (["--encoding", "nonsense"], "is not known"), (["--timestamp-format", "never"], "no directive"),
    (["--timestamp-format", "%Y %!"], "is not a format"), (["--name", "{x{column}"], "is not a template"),
    (["--name", "{x:>5}_{column}"], "how to write 'x'"), (["--name", "{column!r}{x}{column}"], "how to write 'column'"),
    (["--thousands", "ab"], "one character"), (["--skip-rows", "-1"], "--skip-rows"),
])  # fmt: skip
def test_an_option_that_cannot_be_is_refused_first(store, options, words):
    """The file is not looked at."""
    done = ingest(store, "timestamp,a\n0,1\n", *options)
    assert done.exit_code == 2
    assert words in done.stderr


def test_the_entity_that_is_missing_is_named(store):
    """Rows of several stations are not one series, and the message shows the option that keeps them apart."""
    lines = [f"{NOON + 60 * i},{station},{i}.{n}\n" for i in range(3) for n, station in enumerate(("JFK", "LGA"))]
    done = ingest(
        store, "timestamp,station,t\n" + "".join(lines), "--layout", "long", "--name", "station", "--value", "t"
    )
    assert done.exit_code == 0
    done = ingest(store, "timestamp,station,t\n" + "".join(lines), "--on-invalid", "drop")
    assert done.exit_code == 3
    assert "with --name station --value t;" in done.stderr


def test_hours_in_standard_time_all_year_are_recognised(store):
    """The evidence, an hour that was skipped and one that came twice only once, is first, with its answer."""
    spring, autumn = "2010-03-14 01:00,1\n2010-03-14 02:00,2\n", "2010-11-07 01:00,3\n2010-11-07 02:00,4\n"
    zone = ["--timezone", "America/Los_Angeles"]
    done = ingest(store, f"timestamp,a\n{spring}{autumn}", *zone)
    assert (done.exit_code, content(store)) == (3, {})
    evidence = "because 02:00 of 2010-03-14 is there, and 01:00 of 2010-11-07 only once: pass --timezone Etc/GMT+8"
    advice = (
        f"The times seem to be in standard time all year, {evidence}, which is UTC-8: these names reverse the",
        "--n",
    )
    assert advice[0] in done.stderr.partition(advice[1])[0]
    for more in ([], ["--ambiguous", "true"], ["--nonexistent", "shift_forward"], ["--ambiguous", "NaT"]):
        done = ingest(store, f"timestamp,a\n{spring}{autumn}", *zone, *more)
        assert (done.exit_code, evidence in done.stderr, content(store)) == (3, True, {})
        assert "--ambiguous infer" not in done.stderr
    for only in (spring, autumn):
        assert "Etc/GMT" not in ingest(store, f"timestamp,a\n{only}", *zone).stderr
    assert ingest(store, f"timestamp,a\n{spring}{autumn}", "--timezone", "Etc/GMT+8").exit_code == 0
    assert {(day("2010-03-14T10"), "a"): 2.0, (day("2010-11-07T09"), "a"): 3.0}.items() <= content(store).items()


@pytest.mark.parametrize(("rows", "infers"), [
    (["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"], True), (["00:00", "01:00", "02:00"], False),
    (["01:30", "01:00", "00:30"], False), (["00:30", "01:00", "01:00", "01:30", "01:30"], False),
])  # fmt: skip
@pytest.mark.parametrize("spring", ["2010-03-14 02:00,9\n", ""])
def test_inferring_is_offered_only_where_it_would_not_be_refused(store, rows, infers, spring):
    """Both passes must be there, in order; then the clock was changed, whatever else the file holds."""
    file = f"timestamp,a\n{spring}" + "".join(f"2010-11-07 {row},{i}\n" for i, row in enumerate(rows))
    zone = ["--timezone", "America/Los_Angeles"]
    done = ingest(store, file, *zone)
    assert done.exit_code == 3
    assert ("pass --ambiguous infer" in done.stderr) == infers
    assert ("Etc/GMT+8" in done.stderr) == (bool(spring) and not infers)
    done = ingest(store, file, *zone, "--ambiguous", "infer", "--nonexistent", "shift_forward")
    assert (done.exit_code == 0) == infers


def test_the_rows_of_all_series_and_of_the_whole_file_are_looked_at_before_inferring_is_offered(store, monkeypatch):
    """A file is read in blocks, and one series that tells its passes apart does not speak for another."""
    monkeypatch.setattr(timestamps, "BLOCK_ROWS", 2)
    clock = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    rows = [f"2010-11-07 {row},a,{i}\n" for i, row in enumerate(clock)]
    for more, infers in (("", True), ("2010-11-07 01:00,b,1\n", False)):
        done = ingest(store, f"timestamp,name,value\n{''.join(rows)}{more}", "--timezone", "America/Los_Angeles")
        assert (done.exit_code, "pass --ambiguous infer" in done.stderr) == (3, infers)
    days = ["2010-03-14 02:00", "2010-04-01 02:00", "2010-05-01 02:00", "2010-11-07 01:00"]
    file = "timestamp,name,value\n" + "".join(f"{day},a,1\n" for day in days)
    done = ingest(store, file, "--timezone", "America/Los_Angeles")
    assert "because 02:00 of 2010-03-14 is there, and 01:00 of 2010-11-07 only once" in done.stderr


IOWA = "timestamp,source,gen\n" + "".join(
    f"{NOON + HOUR * i},{source},{i}.{n}\n" for i in range(4) for n, source in enumerate(("Coal", "Sun", "Wind"))
)
BARLEY = "timestamp,site,variety,yield\n" + "".join(
    f"{NOON},{site},{variety},{n}\n" for n, (site, variety) in enumerate(["ax", "ay", "bx", "by"])
)
"""Neither column tells the rows apart alone."""


@pytest.mark.parametrize(("file", "name"), [
    (IOWA, "--name source --value gen"), (BARLEY, "--name '{site}__{variety}__{column}'"),
    (IOWA.replace("gen", "gen,x").replace("\n", ",1\n").replace("x,1", "x"), "--name '{source}__{column}'"),
])  # fmt: skip
def test_a_column_of_texts_that_tells_rows_apart_is_advised_for_the_names_first(store, file, name):
    """Leaving it out would lose rows, and so would dropping it; the advice stores every one of them."""
    done = ingest(store, file, "--layout", "wide")
    assert (done.exit_code, content(store)) == (3, {})
    assert re.match(rf"Error: Rows of one time differ in the column.*, with {re.escape(name)}\. ", done.stderr)
    assert "--on-invalid drop" not in done.stderr
    assert ingest(store, file, *shlex.split(name)).exit_code == 0
    assert len(content(store)) == (file.count("\n") - 1) * (2 if ",x\n" in file else 1)


@pytest.mark.parametrize(("file", "name", "way"), [
    (IOWA, "{source}", "--name '{source}__{column}', or --name source --value gen."),
    (IOWA.replace("gen", "gen,x"), "{source}", "--name '{source}__{column}', or --name source --value COLUMN."),
    (BARLEY, "{site}-{variety}", "--name '{site}-{variety}__{column}'."),
])  # fmt: skip
def test_a_template_without_the_name_of_the_column_of_values_is_told_so(store, file, name, way):
    """It would otherwise count as the name of a column that the file does not have, and be ignored."""
    done = ingest(store, file, "--name", name)
    assert (done.exit_code, content(store)) == (2, {})
    assert f"--name {name!r} lacks {{column}}, which stands for the name of each column of values. Pass {way}" in (
        done.stderr
    )


def test_a_column_with_braces_in_its_name_may_hold_the_names(store):
    """Such a name is a template only if no column has it."""
    assert ingest(store, "timestamp,{a},a,value\n0,x,1,2\n", "--name", "{a}").exit_code == 0
    assert content(store) == {(0, "x"): 2.0}


def test_the_only_column_that_is_left_for_the_values_is_named(store):
    """A file with a column of names, and one more."""
    done = ingest(store, IOWA, "--name", "source")
    assert (done.exit_code, content(store)) == (3, {})
    assert "or choose the column that holds the values, with --value gen." in done.stderr


QUARTERLY = "year,quarter,gdp,cpi\n" + "".join(
    f"{year},{quarter},{year}.{quarter},{quarter}.5\n" for year in (1959, 1960, 1961) for quarter in range(1, 5)
)
MONTHLY_LONG = "YEAR,month,measured\n" + "".join(
    f"{year},{month},{year}.{i}\n" for year in (1950, 1951) for i, month in enumerate(("JAN", "FEB", "MAR"))
)
PARTS = {
    "a quarter among the values": (QUARTERLY, [], "%Y %q", "quarter"),
    "a quarter that is left out": (QUARTERLY, ["--exclude", "quarter"], "%Y %q", "quarter"),
    "a quarter that is not taken": (QUARTERLY, ["--columns", "gdp"], "%Y %q", "quarter"),
    "names of months": (MONTHLY_LONG, [], "%Y %b", "month"),
    "names of months, left out": (MONTHLY_LONG, ["--exclude", "month"], "%Y %b", "month"),
    "numbers of months": (QUARTERLY.replace("quarter", "Month"), [], "%Y %m", "Month"),
}


@pytest.mark.parametrize(("file", "options", "pattern", "part"), PARTS.values(), ids=PARTS)
def test_a_part_of_the_time_in_a_second_column_is_noticed_and_the_advice_works(store, file, options, pattern, part):
    """Rows of one year differ in it; as a part of the names, its rows would all lie at the first of January."""
    year = file.partition(",")[0]
    done = ingest(store, file, "--timestamp", year, "--timestamp-format", "%Y", *UTC, *options)
    assert (done.exit_code, content(store)) == (3, {})
    assert f"part of the time, pass it as another --timestamp, with --timestamp-format '{pattern}'" in done.stderr
    done = ingest(store, file, "--timestamp", year, "--timestamp", part, "--timestamp-format", pattern, *UTC)
    assert done.exit_code == 0, done.stderr
    assert len({second for second, _ in content(store)}) == file.count("\n") - 1


def test_a_part_of_the_time_is_thought_of_where_no_column_looks_like_one(store):
    """It may be called anything."""
    done = ingest(store, QUARTERLY.replace("quarter", "q_no"), "--timestamp", "year", "--timestamp-format", "%Y", *UTC)
    assert done.exit_code == 3
    assert "or pass it as another --timestamp if it is a part of the time." in done.stderr


@pytest.mark.parametrize("file", [
    f"timestamp,weather,t\n{NOON},drizzle,1\n{NOON + 60},rain,2\n",
    f'timestamp,a,b\n{NOON},"1,5","2,5"\n{NOON},"1,7","2,7"\n',
])  # fmt: skip
def test_a_column_of_texts_that_tells_nothing_apart_is_not_advised_for_the_names(store, file):
    """Words, one per time, and numbers written another way."""
    done = ingest(store, file)
    assert done.exit_code == 3
    assert not done.stderr.startswith("Error: Rows of one time")


@pytest.mark.parametrize("check", [["--check"], []])
def test_most_rows_of_a_file_are_not_lost_without_a_word(store, check):
    """More than half would be: an explicit --on-conflict is needed; the message names the column that was left out."""
    done = ingest(store, IOWA, "--exclude", "source", *check)
    assert (done.exit_code, done.stdout, content(store)) == (3, "", {})
    assert "8 of 12 observations" in done.stderr
    assert "The column 'source', which is not used, tells them apart" in done.stderr
    assert "with --name source --value gen; if it is a part of the time, pass it as another --timestamp." in done.stderr
    assert "Pass --on-conflict last only if" in done.stderr
    done = ingest(store, IOWA, "--exclude", "source", "--on-conflict", "last", *check)
    assert done.exit_code == 0
    assert "tells them apart: if it says what was measured" in done.stdout
    assert "with --name source --value gen; if it is a part" in done.stdout
    assert len(content(store)) == (0 if check else 4)


def test_most_rows_are_not_lost_where_no_column_is_known_to_tell_them_apart(store):
    """A quarter that is taken for a series, and two columns that tell rows apart only together."""
    quarters = "timestamp,number,gdp\n" + "".join(f"{NOON},{i},{i}.5\n" for i in range(1, 5))
    for file, options in ((quarters, []), (BARLEY, ["--exclude", "site,variety"])):
        done = ingest(store, file, *options)
        assert (done.exit_code, content(store)) == (3, {})
        assert "If a column tells them apart, make it part of the series names, with --name '{COLUMN}__{" in done.stderr


@pytest.mark.parametrize(
    "how", [["--exclude", "source"], ["--columns", "gen"], ["--exclude", "source", "--name", "{x}_{column}"]]
)
def test_fewer_rows_are_lost_with_a_warning_and_a_line_of_the_summary(store, how):
    """Half of the rows: the warning names the column that was left out, with --exclude or by --columns, and --name."""
    file = "timestamp,x,source,gen\n" + "".join(
        f"{NOON + HOUR * i},p,{source},{i}.{n}\n" for i in range(4) for n, source in enumerate(("Coal", "Sun"))
    )
    how = how if "--columns" in how or "--name" in how else [*how, "--exclude", "x"]
    for check in (["--check"], []):
        done = ingest(store, file, *how, *check)
        assert done.exit_code == 0, done.stderr
        assert "Warning: 4 of 8 observations" in done.stderr
        named = "--name '{source}__{column}'" if "--name" in how else "--name source --value gen"
        assert named in done.stderr
        assert "4 of 8 observations lost to a later row with another value. The column 'source' tells" in done.stdout
    assert ingest(store, file, *how, "--on-conflict", "raise").exit_code == 3


def test_a_revised_row_is_no_lost_entity(store):
    """A file that holds a correction of one row is stored, and the list of invalid rows has what was replaced."""
    file = f"timestamp,a\n{NOON},1\n{NOON + 60},2\n{NOON},3\n"
    done = ingest(store, file)
    assert (done.exit_code, content(store)) == (0, {(NOON, "a"): 3.0, (NOON + 60, "a"): 2.0})
    assert "1 of 3 observations lost to a later row with another value. If a column tells them" in done.stdout
    assert "lost" not in ingest(store, file, "--json").stdout


ELNINO = "YEAR,JAN,FEB,MAR\n1950.0,23.11,24.2,25.37\n1951.0,24.19,25.28,25.6\n"
FERTILITY = "Country,Code,1960,1961,1962\nAruba,ABW,4.8,4.6,4.5\nAngola,AGO,7.3,7.35,7.4\n"


def reshaped(said: str, folder) -> str:
    """The file that the code in a refusal writes."""
    (made,) = re.findall(r"import pandas as pd; long = .*?; long\.to_csv\('long\.csv', index=False\)", said)
    exec(made.replace("long.csv", f"{folder}/long.csv"), {})  # the advice is code
    return (folder / "long.csv").read_text()


def advised(said: str) -> list[str]:
    """The options that a refusal names for the file that it tells to write."""
    (words,) = re.findall(r"For long\.csv, pass (.*?)\. ", said)
    return shlex.split(words)


MONTHLY = {
    "a year with a point": (ELNINO, "elnino.csv", ["--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC]),
    "no option at all": (ELNINO, "elnino.csv", []),
    "another form": (
        "a title\n" + ELNINO.replace(",", ";").replace(".", ","),
        "it's.csv",
        ["--timestamp", "YEAR", "--delimiter", ";", "--decimal", ",", "--skip-rows", "1"],
    ),
    "long names": (ELNINO.replace("JAN,FEB,MAR", "January,February,March"), "elnino.csv", ["--timestamp", "YEAR"]),
    "JSON lines": (
        "".join(json.dumps({"YEAR": y, "JAN": y + 0.1, "FEB": 25.28, "MAR": 1}) + "\n" for y in (1950, 1951)),
        "elnino.jsonl",
        ["--timestamp", "YEAR", "--timestamp-format", "%Y"],
    ),
    "JSON lines without an option": ('{"YEAR": 1951, "JAN": 1, "FEB": 25.28, "MAR": 1}\n' * 2, "elnino.jsonl", []),
}


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "ingest"])
@pytest.mark.parametrize(("file", "name", "options"), MONTHLY.values(), ids=MONTHLY)
def test_months_as_columns_are_refused_and_the_advice_works(store, tmp_path, file, name, options, check):
    """Nothing is stored at wrong times; what the advice makes of the file has every value at its time."""
    (tmp_path / name).write_text(file)
    where = ["--data-source", "store_metrics", "--url", store.url]
    done = run("ingest", tmp_path / name, *where, *options, *check)
    assert (done.exit_code, done.stdout, content(store)) == (3, "", {})
    assert len(done.stderr.splitlines()) == 1
    assert " are named like months. Only rows have times for this command" in done.stderr
    assert repr(f"{tmp_path}/{name}") in done.stderr
    assert "'measured' becomes the name of the series" in done.stderr
    if check:
        return
    done = ingest(store, reshaped(done.stderr, tmp_path), *advised(done.stderr))
    assert done.exit_code == 0, done.stderr
    assert content(store)[day("1951-02"), "measured"] == 25.28


def test_columns_that_are_named_on_purpose_are_series_although_they_are_called_like_months(store):
    """--columns says so; a column of a long file is no series at all."""
    options = ["--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC]
    done = ingest(store, ELNINO, *options, "--columns", "JAN,FEB,MAR")
    assert (done.exit_code, done.stderr, len(content(store))) == (0, "", 6)
    long = f"timestamp,name,value,jan,feb,mar\n{NOON},a,1,2,3,4\n"
    assert ingest(store, long).exit_code == 0
    assert content(store)[NOON, "a"] == 1.0


def test_plan_refuses_months_as_columns_too(store):
    """It reads the file as ingest does."""
    options = ["--data-source", "store_metrics", "--url", store.url, "--timestamp", "YEAR", *UTC]
    done = run("plan", "-", *options, "--timestamp-format", "%Y", stdin=ELNINO)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "are named like months" in done.stderr


@pytest.mark.parametrize("options", [["--layout", "wide", "--timestamp", "Country"], ["--timestamp", "Code"], []])
@pytest.mark.parametrize("years", ["1960,1961,1962", "X1960,X1961,X1962", "1960 [YR1960],1961 [YR1961],1962 [YR1962]"])
def test_the_advice_for_years_as_columns_can_be_followed_word_for_word(store, tmp_path, options, years):
    """Whatever the years are called, and whether or not a column of times was named."""
    (tmp_path / "fertility.csv").write_text(FERTILITY.replace("1960,1961,1962", years))
    done = run("ingest", tmp_path / "fertility.csv", "--data-source", "store_metrics", "--url", store.url, *options)
    assert (done.exit_code, content(store)) == (3, {})
    done = ingest(store, reshaped(done.stderr, tmp_path), *advised(done.stderr))
    assert done.exit_code == 0, done.stderr
    assert {(day("1962"), name) for name in ("Aruba__ABW__measured", "Angola__AGO__measured")} < set(content(store))
    assert len(content(store)) == 6


@pytest.mark.parametrize("options", [["--layout", "wide", "--timestamp", "Country"], ["--timestamp", "Code"]])
def test_years_as_columns_are_noticed_and_the_advice_works(store, tmp_path, options):
    """Also where the file has no column of times at all, with a column left out."""
    (tmp_path / "fertility.csv").write_text(FERTILITY)
    where = ["--data-source", "store_metrics", "--url", store.url]
    done = run("ingest", tmp_path / "fertility.csv", *where, *options)
    assert (done.exit_code, content(store)) == (3, {})
    assert "The columns '1960', '1961', '1962' are named like years" in done.stderr
    options = ["--timestamp", "year", "--timestamp-format", "%Y", "--exclude", "Country", *UTC]
    options += ["--name", "{Code}__{column}"]
    assert ingest(store, reshaped(done.stderr, tmp_path), *options).exit_code == 0
    assert len(content(store)) == 6
    assert content(store)[day("1962"), "AGO__measured"] == 7.4


def test_years_as_columns_are_no_observation(store):
    """The line of column names is recognised, although the years in it are numbers."""
    done = ingest(store, FERTILITY)
    assert (done.exit_code, content(store)) == (3, {})
    assert "Line 1 has no column 'timestamp'. The columns '1960', '1961', '1962' are named like years" in done.stderr
    assert "pd.read_csv('FILE.csv').melt(['Country', 'Code'], var_name='year', value_name='measured'); long.to_csv" in (
        done.stderr
    )


OWN_TIMES = {
    "moments, and probes called like years": ("timestamp,P1500,P1600,P1700\n2024-06-20T12:00Z,1,2,3\n", []),
    "seconds": (f"timestamp,X2001,X2002,X2003\n{NOON},1,2,3\n", ["--layout", "wide"]),
    "dates in another form": (
        "day,mar,may,dec\n20.06.2024 12:00,1,2,3\n",
        ["--timestamp", "day", "--timestamp-format", "%d.%m.%Y %H:%M", *UTC],
    ),
    "date and time": ("d,t,mar,may,dec\n2024-06-20,12:00,1,2,3\n", ["--timestamp", "d", "--timestamp", "t", *UTC]),
    "JSON lines": ('{"timestamp": "2024-06-20T12:00Z", "JAN": 1, "FEB": 2, "MAR": 3}\n', ["--format", "json"]),
}


@pytest.mark.parametrize(("file", "options"), OWN_TIMES.values(), ids=OWN_TIMES)
def test_rows_with_times_of_their_own_are_stored_with_a_warning_whatever_the_series_are_called(store, file, options):
    """The warning names --columns, which takes it away, and offers no code that would lose the times."""
    done = ingest(store, file, *options)
    assert (done.exit_code, {second for second, _ in content(store)}) == (0, {NOON})
    assert len(content(store)) == 3
    assert re.fullmatch(
        r"Warning: The columns .* are named like (years|months)\. If each of them is a series of its own, name all"
        r" columns of values with --columns, .*\n",
        done.stderr,
    )
    assert "melt" not in done.stderr
    columns = ",".join(name for _, name in sorted(content(store)))
    assert ingest(store, file, *options, "--columns", columns).stderr == ""


def test_typed_moments_in_a_column_or_an_index_are_times_of_the_rows(store, tmp_path):
    """Parquet, with months as columns."""
    frame = pd.DataFrame({"JAN": [1.0], "FEB": [2.0], "MAR": [3.0]}, index=pd.DatetimeIndex(["2024-06-20T12:00Z"]))
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index(names="timestamp").to_parquet(tmp_path / "column.parquet")
    for name in ("index", "column"):
        done = run("ingest", tmp_path / f"{name}.parquet", "--data-source", "store_metrics", "--url", store.url)
        assert done.exit_code == 0, done.stderr
        assert "Warning: The columns 'JAN', 'FEB', 'MAR' are named like months. If each of them" in done.stderr


@pytest.mark.parametrize(("file", "layout"), [(ELNINO, "wide"), (ELNINO.replace("JAN,FEB,MAR", "X1,X2,X1700"), "auto")])
def test_years_are_times_where_the_layout_is_said_or_the_columns_are_years_too(store, file, layout):
    """Only the months of one year in a row are surely in the header."""
    file = file.replace("X1,X2", "X1500,X1600")
    done = ingest(store, file, "--timestamp", "YEAR", "--timestamp-format", "%Y", *UTC, "--layout", layout)
    assert (done.exit_code, len(content(store))) == (0, 6)
    assert "name all columns of values with --columns" in done.stderr


@pytest.mark.parametrize("options", [[], ["--timestamp", "city"], ["--timestamp", "city", "--layout", "wide"]])
def test_no_column_is_taken_for_the_year_of_months_unless_it_holds_years(store, options):
    """Whichever column comes first."""
    done = ingest(store, "city,JAN,FEB,MAR\nRome,1,2,3\n", *options)
    assert (done.exit_code, content(store)) == (3, {})
    assert "no column is known to hold the year of these months: name it with --timestamp, or add one" in done.stderr
    assert "%Y" not in done.stderr


def test_a_year_is_told_by_the_cells_of_the_column_that_was_named(store, tmp_path):
    """It may be called anything."""
    (tmp_path / "sea.csv").write_text(ELNINO.replace("YEAR", "J"))
    where = ["--data-source", "store_metrics", "--url", store.url]
    done = run("ingest", tmp_path / "sea.csv", *where, "--timestamp", "J")
    assert done.exit_code == 3
    assert advised(done.stderr)[:6] == ["--timestamp", "J", "--timestamp", "month", "--timestamp-format", "%Y %b"]


@pytest.mark.parametrize("file", [
    "date,P1500,P1600,P1700\n20.06.2024,1,2,3\n",
    "when,P1500,P1600,P1700\n2024-06-20,1,2,3\n",
    '{"when": "2024-06-20", "P1500": 1, "P1600": 2, "P1700": 3}\n',
])  # fmt: skip
def test_times_of_rows_are_never_advised_as_names_of_series(store, file):
    """Where their column was not named, it has to be."""
    done = ingest(store, file, "--format", "json" if file.startswith("{") else "csv")
    assert (done.exit_code, content(store)) == (3, {})
    assert "melt" not in done.stderr
    assert "--timestamp" in done.stderr


PARTS_OF_ANOTHER_KIND = {
    "nullable numbers": {"Hour": pd.array([1, None], dtype="Int64")},
    "nullable texts": {"month": pd.array(["x", None], dtype="string")},
    "lists": {"day": [[1], [2, 3]]},
    "dates": {"quarter": [pd.Timestamp("2024-01-01"), pd.NaT]},
}


@pytest.mark.parametrize("columns", PARTS_OF_ANOTHER_KIND.values(), ids=PARTS_OF_ANOTHER_KIND)
@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, None]], ids=["lost", "none lost"])
def test_a_column_called_like_a_part_of_the_time_may_hold_anything(store, tmp_path, columns, values):
    """It is left out here; a row that is lost makes it a candidate for advice."""
    pd.DataFrame({"timestamp": [NOON, NOON], "power": values, **columns}).to_parquet(tmp_path / "a.parquet")
    where = ["--data-source", "store_metrics", "--url", store.url]
    done = run("ingest", tmp_path / "a.parquet", *where, "--columns", "power", "--on-conflict", "last")
    assert done.exit_code == 0, done.exception
    assert content(store)[NOON, "power"] == (values[1] or 1.0)


def test_a_part_of_the_time_may_lack_cells():
    """What is missing says nothing; what is neither a text nor a number is no part of a time."""
    assert directive_of("hour", pd.array([1, None], dtype="Int64")) == "%H"
    assert directive_of("hour", [3.0, float("nan"), None, pd.NaT]) == "%H"
    assert directive_of("hour", [1, [2]]) == directive_of("hour", [1, True]) == directive_of("hour", [None]) == ""


def test_cells_are_looked_at_only_where_the_name_and_lost_rows_ask_for_it(store, monkeypatch):
    """A large file without such rows costs nothing; a column of another name is never gone through."""
    assert directive_of("power", (pytest.fail("a cell was looked at") for _ in range(1))) == ""
    looked_at: list[object] = []
    monkeypatch.setattr(lost_rows, "directive_of", lambda column, _: looked_at.append(column) or "")
    assert ingest(store, f"timestamp,hour,a\n{NOON},1,2\n").exit_code == 0
    assert looked_at == []
    assert ingest(store, f"timestamp,hour,a\n{NOON},1,2\n{NOON},1,3\n", "--on-conflict", "last").exit_code == 0
    assert "hour" in looked_at


@pytest.mark.parametrize("more", ["", ",unit"])
@pytest.mark.parametrize("lost", [[], ["--on-conflict", "last"]], ids=["refused", "lost"])
def test_the_advice_for_one_more_column_in_a_long_file_works(store, more, lost):
    """Its cells become part of the names, which keep what they were."""
    rest = more and ",kW"
    file = f"timestamp,name,value,station{more}\n{NOON},a,1,x{rest}\n{NOON},a,2,y{rest}\n{NOON},b,3,x{rest}\n"
    done = ingest(store, file, *lost)
    assert done.exit_code == (0 if lost else 3)
    (words,) = re.findall(r"make it part of the series names, with (.*?);", done.stdout or done.stderr)
    store.create_data_source("followed")
    done = run("ingest", "-", "--data-source", "followed", "--url", store.url, *shlex.split(words), stdin=file)
    assert done.exit_code == 0, done.stderr
    assert "3 observations of 3 series" in done.stdout


def test_the_advice_for_a_long_file_keeps_its_names_where_no_column_is_known(store):
    """COLUMN stands for the one that its owner finds."""
    done = ingest(store, LONG_TWICE)
    assert done.exit_code == 3
    assert "with --name '{COLUMN}__{name}__{column}', or pass it as another --timestamp" in done.stderr


LONG_TWICE = "timestamp,name,value\n" + "".join(f"{NOON},a,{value}\n" for value in range(4))


@pytest.mark.parametrize("columns", ["JAN,FEB,total", "may,june", "q1960,1960", "Mars,Apr,Maybe,x"])
def test_few_such_names_are_no_times(store, columns):
    """Two series may be called like months by chance."""
    names = columns.split(",")
    done = ingest(store, f"timestamp,{columns}\n{NOON}{',1' * len(names)}\n")
    assert (done.exit_code, done.stderr, len(content(store))) == (0, "", len(names))


def test_lines_are_counted_from_the_top_of_the_file(store):
    """Also below a title, and for rows that become several observations."""
    file = "Title\n\ntimestamp,x,a,b\n2024-06-20T08:00Z,p,1,2\n2024-06-20T09:00Z,p,1,oops\n"
    done = ingest(store, file, "--skip-rows", "2", "--name", "{x}.{column}")
    assert "line 5" in done.stderr


def test_numbers_with_separators_are_exact():
    """Only numbers in the form that was named are read; everything else stays text."""
    form = FileForm(decimal=",", thousands=".")
    texts = ["1.284,50", "1284,5", "-,5", "1e3", "1.28", "12.345.678", "1,2,3", "", "NA", "+7", ".", ",", "-"]
    read = numbers(pd.Series(texts, dtype=object), form).tolist()
    assert [cell for cell in read if not pd.isna(cell)] == [
        *(1284.5, 1284.5, -0.5, 1000.0, "1.28", 12345678, "1,2,3", 7, ".", ",", "-"),
    ]


def test_json_lines_are_read(store, tmp_path):
    """One object per line, or one array of them; numbers stay exact, and texts are read as in CSV."""
    records = [{"t": "2024-06-20T08:00Z", "a": 0.1, "b": "2.5"}, {"t": "2024-06-20T09:00Z", "a": 2**53}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(lines)
    send = ["--data-source", "store_metrics", "--url", store.url, "--timestamp", "t"]
    assert run("ingest", tmp_path / "a.jsonl", *send).exit_code == 0
    eight, nine = day("2024-06-20T08"), day("2024-06-20T09")
    assert content(store) == {(eight, "a"): 0.1, (eight, "b"): 2.5, (nine, "a"): 2.0**53}
    assert run("ingest", "-", *send, "--format", "json", stdin=json.dumps(records)).stdout.count("unchanged")
    for wrong in ("[1]", "{", '"a"'):
        done = run("ingest", "-", *send, "--format", "json", stdin=wrong)
        assert (done.exit_code, "JSON" in done.stderr) == (3, True)


def test_an_excel_workbook_is_read_or_its_package_named(store, tmp_path):
    """With openpyxl, dates and numbers of a sheet; without it, the error says what to install."""
    path = tmp_path / "book.xlsx"
    send = ["--data-source", "store_metrics", "--url", store.url, "--timestamp", "Date", *UTC]
    try:
        import openpyxl
    except ImportError:
        path.write_bytes(b"PK\x03\x04")
        done = run("ingest", path, *send)
        assert (done.exit_code, "openpyxl" in done.stderr) == (2, True)
        return
    book = openpyxl.Workbook()
    book.active.append(["Date", "Sales"])
    book.active.append([pd.Timestamp("2024-06-20 08:00").to_pydatetime(), 42.5])
    saved = io.BytesIO()
    book.save(saved)
    path.write_bytes(saved.getvalue())
    assert run("ingest", path, *send).exit_code == 0
    assert content(store) == {(day("2024-06-20T08"), "Sales"): 42.5}


def test_a_check_shows_what_would_be_stored(store):
    """Each series with its first and last timestamp, the first rows, and nothing is stored."""
    file = "timestamp,a,b\n" + "".join(f"{NOON + 60 * i},{i},0.5\n" for i in range(9))
    done = ingest(store, file, "--check")
    assert (done.exit_code, done.stderr, content(store)) == (0, "", {})
    lines = done.stdout.splitlines()
    assert "from 2024-06-20T12:00:00Z to 2024-06-20T12:08:00Z" in lines[0]
    assert ["a", "9", "2024-06-20T12:00:00Z", "2024-06-20T12:08:00Z"] in [line.split() for line in lines]
    assert ["2024-06-20T12:01:00Z", "a", "1.0"] in [line.split() for line in lines]
    assert len(lines) == 1 + 1 + 3 + 1 + 6
    many = ingest(
        store, "timestamp," + ",".join(f"s{i}" for i in range(99)) + f"\n{NOON}" + ",1" * 99 + "\n", "--check"
    )
    assert "... and 79 more series" in many.stdout


def test_a_list_of_columns_that_is_cut_tells_how_many_more_there_are(store, tmp_path):
    """Twenty of them, and the number of the others."""
    columns = [f"c{i}" for i in range(24)]
    file = ",".join(columns) + "\n" + ",".join("1" * 24) + "\n"
    lines = json.dumps(dict.fromkeys(columns, 1))
    for text, options in (
        (file, []),
        (file, ["--timestamp", "c0", "--columns", "x"]),
        (file, ["--timestamp", "c0", "--name", "{x}{column}"]),
        (file, ["--timestamp", "c0", "--layout", "long"]),
        (lines, ["--format", "json"]),
        (lines, ["--format", "json", "--timestamp", "x", "--timestamp", "y"]),
    ):
        done = ingest(store, text, *options)
        assert (done.exit_code, "'c19'] and 4 more" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize("command", [["ingest", "--check"], ["ingest"], ["plan"]])
def test_the_name_of_the_data_source_is_checked_before_the_rows(store, command):
    """One refused name instead of two rounds."""
    send = ["-", "--data-source", "sf-temps", "--url", store.url]
    done = run(command[0], *send, *command[1:], stdin="timestamp,a\noops,1\n")
    assert (done.exit_code, "'sf-temps' cannot name a data source" in done.stderr) == (2, True)


def test_cells_are_quoted_as_the_file_has_them(store):
    """Numbers without a point, moments without the name of a type, and years that are not explained by themselves."""
    said = ingest(store, "timestamp,a\n19580329,1\n19580405,2\n").stderr
    assert (
        "19580329: the column reads as calendar dates, not as Unix seconds (YYYYMMDD: 19580329 is 1958-03-29)" in said
    )
    assert "not as Unix seconds (YYYY, such as 1950)" in ingest(store, "timestamp,a\n1950,1\n1951,2\n").stderr
    said = ingest(store, "timestamp,a\n2024-06-20T08:00,1\n").stderr
    assert "column 'timestamp', 2024-06-20 08:00:00: the timestamp has no time zone" in said


@pytest.mark.parametrize(("file", "options", "count", "cells"), [
    (f"timestamp,a,b\n{NOON},1,\n{NOON + 60},NA,2\n{NOON + 120},3,4\n", [], 2, 6),
    (f"timestamp,a,b\n{NOON},1,.\n,,\n", ["--na", "."], 1, 2), (f"timestamp,a\n{NOON},1\n", [], 0, 1),
    (f"timestamp,x,a,b\n{NOON},p,1,\n{NOON},q,,2\n", ["--name", "{x}.{column}"], 2, 4),
    (f"timestamp,a,b\n{NOON},1,\n", ["--exclude", "b"], 0, 1),
    (f"timestamp,name,value,c\n{NOON},a,1,\n", [], 0, 0),
    (f'{{"timestamp": {NOON}, "a": 1, "b": null}}\n', ["--format", "json"], 1, 2),
])  # fmt: skip
@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "ingest"])
def test_cells_without_a_value_are_counted(store, file, options, count, cells, check):
    """They store nothing, and the summary says how many there are; a long file has none."""
    done = ingest(store, file, *options, *check)
    assert done.exit_code == 0, done.stderr
    words = f"{count} of {cells} cells {'holds' if count == 1 else 'hold'} no value."
    assert [line for line in done.stdout.splitlines() if "no value" in line] == ([words] if count else [])
    said = json.loads(ingest(store, file, *options, *check, "--json").stdout)
    assert said["no_value"] == count
    assert said["observations_in"] == (cells - count or 1)


ODD = {
    "numbers that are no seconds": (
        "timestamp,a\n19000,1\n19001.5,2\n",
        ["--sub-second", "floor", "--unit", "s"],
        "--unit",
    ),
    "no date as 1970": (f"timestamp,a\n0,1\n{NOON},2\n", [], "may stand for no date"),
    "no date as 1900": (f"timestamp,a\n1900-01-01T00:00Z,1\n{NOON},2\n", [], "may stand for no date"),
    "the far future": ("timestamp,a\n2999-12-31T00:00Z,1\n", ["--allow-future"], "more than a year ahead"),
    "repeated rows": (f"timestamp,a\n{NOON},1\n{NOON},1\n", [], "--name '{COLUMN}__{column}'"),
    "names that are numbers": (
        "timestamp,name,value\n" + "".join(f"{NOON + i},{i},1\n" for i in range(120)),
        ["--layout", "long"],
        "There are 120 series",
    ),
}


@pytest.mark.parametrize("how", [["--check"], []], ids=["check", "ingest"])
@pytest.mark.parametrize(("file", "options", "words"), ODD.values(), ids=ODD)
def test_what_looks_odd_is_said(store, file, options, words, how):
    """On stderr, with the option that may be missing; it is no failure."""
    done = ingest(store, file, *options, *how)
    assert done.exit_code == 0, done.stderr
    assert "Warning: " in done.stderr
    assert words in done.stderr


def test_plan_reads_files_in_the_same_way(store):
    """The options of ``temporis ingest`` that say how a file is written are those of ``temporis plan``."""
    options = ["--timestamp-format", "%d.%m.%Y", "--decimal", ",", "--delimiter", ";", *UTC]
    file = "timestamp;a\n20.06.2024;1,5\n"
    plan = ["plan", "-", "--data-source", "store_metrics", "--url", store.url, *options]
    assert "1 new" in run(*plan, stdin=file).stdout
    assert ingest(store, file, *options).exit_code == 0
    assert "1 unchanged" in run(*plan, stdin=file).stdout


def test_the_shell_completes_commands_and_options():
    """As click does it, for bash, zsh and fish."""
    from click.testing import CliRunner

    from temporis_dagster.cli import main

    def completed(words: str, position: int) -> str:
        words = {"_TEMPORIS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        return CliRunner().invoke(main, [], prog_name="temporis", env=words).stdout

    assert completed("temporis ing", 1) == "plain,ingest\n"
    assert "plain,--timestamp-format\n" in completed("temporis ingest --time", 2)
    assert "plain,excel\n" in completed("temporis ingest --format e", 3)


def test_nothing_is_coloured(store):
    """NO_COLOR asks for what is so anyway."""
    for variables in ({}, {"NO_COLOR": "1"}):
        done = run("ingest", "-", "--data-source", "x", "--url", store.url, stdin="timestamp,a\nx,1\n", **variables)
        assert "\x1b" not in done.output
