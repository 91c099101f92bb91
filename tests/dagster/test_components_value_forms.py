"""A time column that is declared in a form it does not have: detected, never a green partition without rows."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import ConfigurationError
from temporis_dagster.components import SqlQuery, TimeColumn
from temporis_dagster.components.column_sample import compared_columns
from temporis_dagster.components.value_forms import form_of
from tests.support.component_tools import Project
from tests.support.dagster_harness import failure_of, materializations

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

AT = datetime(2024, 6, 20, 4, 30, tzinfo=timezone.utc)
S = int(AT.timestamp())
HOUR = (S - 1_800, S + 1_800)
QUERY = "SELECT t AS timestamp, v AS x FROM m WHERE t >= :start AND t < :end"
EPOCH = {unit: {"stored_as": "epoch", "unit": unit} for unit in ("s", "ms", "us", "ns")}
NAIVE = {"stored_as": "naive", "timezone": "UTC"}
ZONED = {"stored_as": "timestamptz"}


def text(form):
    return {"stored_as": "text", "timezone": "UTC", "format": form}


# what the column holds, what is declared, what the message tells to declare; as SQLite holds it
SQLITE_MISFITS = {
    "text with T as naive": ("2024-06-20T04:30:00", NAIVE, "format: '%Y-%m-%dT%H:%M:%S'"),
    "text with T and Z as naive": ("2024-06-20T04:30:00Z", NAIVE, "timezone: UTC and format: '%Y-%m-%dT%H:%M:%SZ'"),
    "text with an offset as naive": ("2024-06-20T04:30:00+02:00", NAIVE, "compare and convert it in the query"),
    "text of digits as naive": ("20240620", NAIVE, "format: '%Y%m%d'"),
    "digits with a clock as naive": ("202406200430", NAIVE, "format: '%Y%m%d%H%M'"),
    "text with slashes as naive": ("2024/06/20 04:30", NAIVE, "format: '%Y/%m/%d %H:%M'"),
    "German text as naive": ("20.06.2024 04:30", NAIVE, "convert it in the query"),
    "seconds as naive": (S, NAIVE, "declare stored_as: epoch."),
    "milliseconds as naive": (S * 1000, NAIVE, "unit: ms"),
    "a fraction of seconds as naive": (S + 0.5, NAIVE, "declare stored_as: epoch."),
    "a Julian day as naive": (2_460_481.6875, NAIVE, "a Julian day"),
    "bytes as naive": (b"2024-06-20 04:30:00", NAIVE, "a value of type bytes"),
    "milliseconds as seconds": (S * 1000, EPOCH["s"], "unit: ms"),
    "microseconds as seconds": (S * 10**6, EPOCH["s"], "unit: us"),
    "nanoseconds as seconds": (S * 10**9, EPOCH["s"], "unit: ns"),
    "seconds as milliseconds": (S, EPOCH["ms"], "declare stored_as: epoch."),
    "seconds as nanoseconds": (S, EPOCH["ns"], "declare stored_as: epoch."),
    "a calendar date as seconds": (20_240_620, EPOCH["s"], "format: '%Y%m%d'"),
    "text as seconds": ("2024-06-20 04:30:00", EPOCH["s"], "stored_as: naive"),
    "text of seconds as seconds": (str(S), EPOCH["s"], "cast it to a number"),
    "text with a blank as text with T": (*("2024-06-20 04:30:00", text("%Y-%m-%dT%H:%M:%S")), "stored_as: naive"),
    "text with T as text with a blank": ("2024-06-20T04:30:00", text("%Y-%m-%d %H:%M:%S"), "'%Y-%m-%dT%H:%M:%S'"),
    "dates as text with a clock": ("2024-06-20", text("%Y-%m-%d %H:%M"), "stored_as: naive"),
    "dashes as digits": ("2024-06-20 04:30", text("%Y%m%d%H%M"), "stored_as: naive"),
    "seconds as text": (S, text("%Y-%m-%d %H:%M:%S"), "declare stored_as: epoch."),
}
MOMENT = "timestamptz '2024-06-20 04:30+00'"
POSTGRES_MISFITS = {
    "a time without a zone as timestamptz": ("timestamp '2024-06-20 04:30'", ZONED, "stored_as: naive"),
    "a date as timestamptz": ("date '2024-06-20'", ZONED, "a date, but is declared with stored_as: timestamptz"),
    "a moment as naive": (MOMENT, NAIVE, "stored_as: timestamptz"),
    "milliseconds as seconds": (f"{S}000::bigint", EPOCH["s"], "unit: ms"),
    "numeric milliseconds as seconds": (f"{S}000.0::numeric", EPOCH["s"], "unit: ms"),
    "double seconds as microseconds": (f"{S}::double precision", EPOCH["us"], "declare stored_as: epoch."),
    "text with T as text with a blank": ("'2024-06-20T04:30:00'::text", text("%Y-%m-%d %H:%M:%S"), "%Y-%m-%dT%H"),
    "text of a date as text with a clock": ("'2024-06-20'::text", text("%Y-%m-%d %H:%M"), "format: '%Y-%m-%d'"),
}
FITS = {  # what the window of 04:00 to 05:00 must find
    "naive": ("2024-06-20 04:30:00", NAIVE),
    "naive at the hour, without seconds": ("2024-06-20 04:00", NAIVE),
    "naive with a fraction": ("2024-06-20 04:00:00.000", NAIVE),
    "text of three digits of a fraction": ("2024-06-20T04:00:00.000", text("%Y-%m-%dT%H:%M:%S.%f")),
    "the same with Z": ("2024-06-20T04:00:00.000Z", text("%Y-%m-%dT%H:%M:%S.%fZ")),
    "seconds": (S, EPOCH["s"]),
    "milliseconds": (S * 1000, EPOCH["ms"]),
}


def table(url, column, value):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS m"))
        if value is None or column:
            connection.exec_driver_sql(f"CREATE TABLE m AS SELECT {column or 'NULL'} AS t, 1.5 AS v")
        else:
            connection.execute(sa.text("CREATE TABLE m (t, v)"))
            connection.execute(sa.text("INSERT INTO m VALUES (:t, 1.5)"), {"t": value})
    engine.dispose()


def fetched(url, declared, query=QUERY, window=HOUR):
    return SqlQuery(url=url, query=query, time_column=TimeColumn(**declared)).fetch([window], "timestamp")


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/warehouse.db"


@pytest.mark.parametrize("case", SQLITE_MISFITS)
def test_sqlite_compares_anything_with_anything_so_the_column_is_looked_at(case, sqlite):
    """The failure shows the value, what it looks like, what was declared, and how to declare it."""
    value, declared, advice = SQLITE_MISFITS[case]
    table(sqlite, "", value)
    with pytest.raises(ConfigurationError) as caught:
        fetched(sqlite, declared)
    assert advice.lower() in str(caught.value).lower()
    assert str(value)[:10] in str(caught.value)
    assert "Nothing was written" in str(caught.value)


@pytest.mark.parametrize("case", POSTGRES_MISFITS)
def test_postgresql_converts_without_a_word_so_the_column_is_looked_at(case, postgres):
    """If its types are compatible, PostgreSQL refuses nothing, and finds nothing in any other hour either."""
    column, declared, advice = POSTGRES_MISFITS[case]
    table(postgres, column, "")
    with pytest.raises(ConfigurationError, match="cannot be compared with the window") as caught:
        fetched(postgres, declared, window=(HOUR[0] + 86_400 * 3, HOUR[1] + 86_400 * 3))
    assert advice.lower() in str(caught.value).lower()


def test_rows_with_a_zone_from_a_column_without_one_are_looked_into(postgres):
    """The window found other rows than it should: the failure names the declaration, and not the rows outside it."""
    table(postgres, MOMENT, "")
    with pytest.raises(ConfigurationError, match=r"may have missed rows.*stored_as: timestamptz"):
        fetched(postgres, NAIVE, window=(HOUR[0] - 86_400, HOUR[1]))
    table(postgres, "'2024-06-20 04:30'::timestamp", "")
    own = "SELECT t AT TIME ZONE 'UTC' AS timestamp, 'a' AS name, v AS value FROM m WHERE t >= :start AND t < :end"
    assert len(fetched(postgres, NAIVE, query=own).frame) == 1


@pytest.mark.parametrize("case", FITS)
def test_text_of_any_precision_is_found(case, sqlite):
    """Also in the first second of a window, where longer text sorts after the bound and shorter text before it."""
    value, declared = FITS[case]
    table(sqlite, "", value)
    assert len(fetched(sqlite, declared).frame) == 1
    empty = fetched(sqlite, declared, window=(HOUR[0] + 3_600, HOUR[1] + 3_600))
    assert empty.frame.empty
    assert not empty.suspicious
    assert "is as declared" in empty.remark


def test_dates_are_found_by_days(sqlite):
    """A date of SQLite's is the midnight of its zone: the first of the window is in it, the first after it is not."""
    table(sqlite, "", "2024-06-20")
    midnight = HOUR[0] - 4 * 3_600
    assert len(fetched(sqlite, NAIVE, window=(midnight, midnight + 86_400)).frame) == 1
    assert fetched(sqlite, NAIVE, window=(midnight - 86_400, midnight)).frame.empty


def test_a_column_of_two_forms_is_warned_of(sqlite):
    """The window may really have no rows: so the partition is empty, and the log says what would be missed."""
    table(sqlite, "", "2024-06-20T04:30:00")
    engine = sa.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO m VALUES ('2024-06-01 00:00', 1)"))
    engine.dispose()
    found = fetched(sqlite, NAIVE)
    assert found.suspicious
    assert "1 of 2 rows" in found.remark


def test_an_empty_table_is_no_mistake(sqlite):
    """There is nothing to sample: the partition is empty, and the remark says so."""
    table(sqlite, "", None)
    found = fetched(sqlite, EPOCH["s"])
    assert (found.suspicious, len(found.frame)) == (False, 0)
    assert "have no values of t" in found.remark


@pytest.mark.parametrize(
    "query",
    [
        "SELECT v AS x, t AS timestamp FROM m WHERE t BETWEEN :start AND :end",
        "SELECT x.t AS timestamp, x.v FROM (SELECT * FROM m) x JOIN m USING (v) WHERE :start <= x.t AND x.t < :end",
        "WITH w AS (SELECT * FROM m WHERE t >= :start AND t < :end) SELECT t AS timestamp, v FROM w",
        "WITH w AS (SELECT * FROM m) SELECT t AS timestamp, sum(v) FROM w WHERE t >= :start AND t < :end GROUP BY t",
        "SELECT t AS timestamp, v FROM m WHERE t >= :start AND t < :end UNION SELECT t, v FROM m WHERE t = 'a\\:b'",
        'SELECT "t" AS timestamp, v FROM "m" WHERE ("t") >= (:start) AND "t" < :end ORDER BY 1 LIMIT 5',
        "SELECT t AS timestamp, v FROM m WHERE v > 0 AND (t >= :start AND t < :end) AND t NOT LIKE '%x'",
    ],
)
def test_the_column_is_found_in_any_query(query, sqlite):
    """Joins, subqueries, common tables, unions, brackets: the compared column is sampled without conditions."""
    table(sqlite, "", str(S))
    with pytest.raises(ConfigurationError, match=r"\bt\"? cannot be compared with the window"):
        fetched(sqlite, EPOCH["s"], query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT t AS timestamp, v FROM m WHERE t >= datetime(:start, 'unixepoch') AND t < datetime(:end, 'unixepoch')",
        "SELECT t AS timestamp, v FROM m WHERE t > CAST(:end AS TEXT) AND t < CAST(:start AS TEXT)",
        "SELECT 1 AS timestamp, 2 AS v WHERE :start > :end",
        "SELECT t AS timestamp, v FROM m WHERE unixepoch(t) >= :start AND unixepoch(t) < :end AND 1 = 0",
    ],
)
def test_what_the_query_converts_is_not_judged(query, sqlite):
    """A query that converts the bound or the column compares something of another form than the column's."""
    table(sqlite, "", "2024-06-20T04:30:00")
    assert fetched(sqlite, EPOCH["s"], query, window=(0, 3_600)).frame.empty


@pytest.mark.parametrize("declared", [ZONED, EPOCH["s"]])
def test_bounds_may_be_cast_with_two_colons(declared, postgres):
    """``:start::timestamptz`` is the parameter start, cast, as people write it for PostgreSQL."""
    kind = "timestamptz" if declared is ZONED else "bigint"
    table(postgres, MOMENT if declared is ZONED else f"{S}::bigint", "")
    query = f"SELECT t AS timestamp, v FROM m WHERE t >= :start::{kind} AND t < (:end)::{kind}"
    assert len(fetched(postgres, declared, query).frame) == 1
    assert SqlQuery(url="x", query=query, time_column=TimeColumn(**declared)).has_window


@pytest.mark.parametrize(("unit", "times"), [("s", 1), ("ms", 1_000), ("us", 10**6)])
def test_numeric_epochs_of_postgresql_are_moments(unit, times, postgres):
    """``extract(epoch from ...)`` is numeric there, so its driver gives Decimals; fractions are exact."""
    table(postgres, f"{MOMENT} + interval '250 milliseconds'", "")
    seconds = f"extract(epoch FROM t) * {times}"
    query = f"SELECT {seconds} AS timestamp, v FROM m WHERE {seconds} >= :start AND {seconds} < :end"
    found = fetched(postgres, EPOCH[unit], query).frame["timestamp"]
    assert found[0].to_pydatetime() == AT + timedelta(milliseconds=250)
    whole = TimeColumn(**EPOCH[unit]).read(found.map(lambda _: Decimal(S * times)))
    assert whole[0].to_pydatetime() == AT


def test_a_misfit_fails_the_run_and_an_empty_window_says_why_it_is_empty(sqlite, tmp_path):
    """In Dagster: red, without retries, for what is certain; for a window without rows, green, with the metadata."""
    hours = {"type": "hourly", "start_date": "2024-06-20-00:00", "timezone": "UTC"}
    table(sqlite, "", "2024-06-20T04:30:00")
    sql = {"url": sqlite, "query": QUERY, "time_column": NAIVE}
    with Project(tmp_path, {"asset": {"key": "load", "partitions_def": hours}, "sql": sql}) as project:
        failure = failure_of(project.run("2024-06-20-04:00", raise_on_error=False)).step_failure_data
        assert "Declare stored_as: text" in failure.user_failure_data.description
    sql["time_column"] = text("%Y-%m-%dT%H:%M:%S")
    with Project(tmp_path, {"asset": {"key": "load", "partitions_def": hours}, "sql": sql}) as project:
        run = project.run("2024-06-20-05:00")
        (said,) = materializations(run, "load").values()
        assert "it holds '2024-06-20T04:30:00'" in said["temporis/time_column"]
        assert project.run("2024-06-20-04:00").success
        assert len(project.stored()) == 1


@given(st.integers(0, 2**62) | st.floats() | st.text(max_size=20) | st.binary(max_size=3) | st.dates() | st.datetimes())
def test_every_value_has_a_form(value):
    """Whatever a column holds is recognized without an error, with advice on what to do about it."""
    form = form_of(value, "sqlite")
    assert form.words
    assert form.advice
    assert isinstance(value, date) == (form.kind in ("date", "naive"))


@given(st.text(max_size=60))
def test_sql_that_cannot_be_read_is_passed_over(noise):
    """SQL of an unknown dialect, or no SQL at all: no sample, no error."""
    for dialect in ("sqlite", "postgresql", "nosuch"):
        compared_columns(f"SELECT {noise} FROM m WHERE t >= :start AND t < :end", dialect)


def test_a_failing_sample_fails_nothing(tmp_path):
    """If the connection is lost after the query, or a view is too slow, the partition is empty, and says so."""
    sql = SqlQuery(url=f"sqlite:///{tmp_path}/x.db", query=QUERY, time_column=TimeColumn(**EPOCH["s"]))
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        assert sql._remark(connection) == ("The query found nothing. The values of t could not be sampled.", False)
