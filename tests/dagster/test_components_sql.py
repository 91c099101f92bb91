"""SQL components at the changes of the clock: every form of time column, on SQLite and on PostgreSQL."""

import re
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from tests.support.component_tools import Project
from tests.support.dagster_harness import failure_of, materializations

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

ZONE = "America/New_York"
CHANGES = {"spring": ("2024-03-09", "2024-03-12"), "autumn": ("2024-11-02", "2024-11-05")}
QUERY = "SELECT at AS timestamp, zone AS name, mw AS value FROM load WHERE at >= :start AND at < :end ORDER BY id"


def written(form):
    return lambda moment: moment.strftime(form)


# database, type of the column, how a moment of local time is written into it, how the YAML declares it
FORMS = {
    "sqlite epoch": ("sqlite", "INTEGER", lambda t: int(t.timestamp()), {"stored_as": "epoch"}),
    "sqlite epoch ms": ("sqlite", "", lambda t: int(t.timestamp()) * 1000, {"stored_as": "epoch", "unit": "ms"}),
    "sqlite naive": ("sqlite", "DATETIME", written("%Y-%m-%d %H:%M:%S"), {"stored_as": "naive", "timezone": ZONE}),
    "sqlite naive, as SQLAlchemy writes it": (
        *("sqlite", "DATETIME", written("%Y-%m-%d %H:%M:%S.%f")),
        {"stored_as": "naive", "timezone": ZONE},
    ),
    "sqlite text": (
        *("sqlite", "TEXT", written("%Y-%m-%dT%H:%M:%S")),
        {"stored_as": "text", "timezone": ZONE, "format": "%Y-%m-%dT%H:%M:%S"},
    ),
    "sqlite text in UTC": (
        *("sqlite", "TEXT", lambda t: t.tz_convert("UTC").strftime("%Y-%m-%d %H:%MZ")),
        {"stored_as": "text", "timezone": "UTC", "format": "%Y-%m-%d %H:%MZ"},
    ),
    "postgres timestamptz": ("postgres", "timestamptz", lambda t: t.to_pydatetime(), {"stored_as": "timestamptz"}),
    "postgres naive": (
        *("postgres", "timestamp", lambda t: t.tz_localize(None).to_pydatetime()),
        {"stored_as": "naive", "timezone": ZONE},
    ),
    "postgres epoch": ("postgres", "bigint", lambda t: int(t.timestamp()), {"stored_as": "epoch"}),
    "postgres text": (
        *("postgres", 'text COLLATE "C"', written("%Y%m%d%H%M")),
        {"stored_as": "text", "timezone": ZONE, "format": "%Y%m%d%H%M"},
    ),
}


@pytest.fixture
def database(request, tmp_path, monkeypatch):
    """Makes an empty database of a kind; its URL is also in the environment."""

    def make(kind):
        url = request.getfixturevalue("postgres") if kind == "postgres" else f"sqlite:///{tmp_path}/warehouse.db"
        monkeypatch.setenv("WAREHOUSE_URL", url)
        return url

    return make


def observations(change):
    """Two series, every quarter of an hour, around a change of the clock."""
    moments = pd.date_range(*CHANGES[change], freq="15min", tz=ZONE, inclusive="left")
    rows = [(moment, name) for moment in moments for name in ("east", "west")]
    return [(number, moment, name, float(number)) for number, (moment, name) in enumerate(rows)]


def fill(url, kind, rows):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS load"))
        connection.execute(sa.text(f"CREATE TABLE load (id INTEGER PRIMARY KEY, at {kind}, zone TEXT, mw FLOAT)"))
        insert = sa.text("INSERT INTO load VALUES (:id, :at, :zone, :mw)")
        connection.execute(insert, [dict(zip(("id", "at", "zone", "mw"), row, strict=True)) for row in rows])
    engine.dispose()


def truth(rows):
    frame = pd.DataFrame([row[1:] for row in rows], columns=["timestamp", "name", "value"])
    frame["timestamp"] = frame["timestamp"].dt.tz_convert("UTC").dt.as_unit("s")
    return frame.sort_values(["timestamp", "name"], ignore_index=True)


def attributes(partitions, time_column, **more):
    sql = {"url": "{{ env.WAREHOUSE_URL }}", "query": QUERY, "time_column": time_column}
    local = {"ambiguous": "infer"} if "timezone" in time_column else {}
    return {"asset": {"key": "load", "partitions_def": partitions}, "sql": sql, **local, **more}


@pytest.mark.parametrize("change", [pytest.param("spring", marks=pytest.mark.once), "autumn"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.no_cover
def test_no_row_is_missed_and_none_is_fetched_twice(form, change, database, tmp_path):
    """At both changes of New York's clock, hour by hour, day by day and as one range, each row is stored once."""
    kind, column, write, time_column = FORMS[form]
    rows = observations(change)
    fill(database(kind), column, [(number, write(moment), *rest) for number, moment, *rest in rows])
    first, _ = CHANGES[change]
    day, after = (f"{pd.Timestamp(first) + pd.Timedelta(days=days):%Y-%m-%d}" for days in (1, 2))
    plans = {
        "hourly": ({"start_date": f"{day}-00:00", "end_date": f"{day}-04:00"}, False),
        "daily": ({"start_date": day, "end_date": after}, False),
        "range": ({"type": "hourly", "start_date": f"{first}-22:00", "end_date": f"{day}-06:00"}, True),
    }
    for name, (dates, as_range) in plans.items():
        folder = tmp_path / name
        folder.mkdir()
        with Project(folder, attributes({"type": name, "timezone": ZONE, **dates}, time_column)) as project:
            keys = project.partitions()
            runs = [project.run(keys[0], to=keys[-1])] if as_range else [project.run(key) for key in keys]
            stored = project.stored()
        said = [metadata for run in runs for metadata in materializations(run, "load").values()]
        windows = [project.asset.partitions_def.time_window_for_partition_key(key) for key in (keys[0], keys[-1])]
        start, until = windows[0].start.timestamp(), windows[1].end.timestamp()
        wanted = truth([row for row in rows if start <= row[1].timestamp() < until])
        pd.testing.assert_frame_equal(stored, wanted)
        assert {metadata["temporis/unchanged"] for metadata in said} == {0}
        if not as_range:
            assert sum(metadata["dagster/partition_row_count"] for metadata in said) == len(wanted)


@pytest.mark.parametrize("form", ["sqlite naive", "sqlite text", "postgres naive"])
def test_rows_may_come_newest_first_and_other_orders_of_a_repeated_hour_are_refused(form, database, tmp_path):
    """What is stored is right, to the row; nothing is stored if the order does not tell the two passes apart."""
    kind, column, write, time_column = FORMS[form]
    rows = observations("autumn")
    fill(database(kind), column, [(number, write(moment), *rest) for number, moment, *rest in rows])
    day = {"type": "daily", "start_date": "2024-11-03", "end_date": "2024-11-04", "timezone": ZONE}
    wanted = truth([row for row in rows if f"{row[1]:%Y-%m-%d}" == "2024-11-03"])
    for order, understood in (("id DESC", True), ("zone, id DESC", True), ("at", False), ("at, id", False)):
        folder = tmp_path / order.replace(" ", "_").replace(",", "")
        folder.mkdir()
        said = attributes(day, time_column)
        query = QUERY.replace("ORDER BY id", f"ORDER BY {order}")
        with Project(folder, {**said, "sql": {**said["sql"], "query": query}}) as project:
            result = project.run("2024-11-03", raise_on_error=False)
            assert result.success == understood
            if understood:
                pd.testing.assert_frame_equal(project.stored(), wanted)
            else:
                words = failure_of(result).step_failure_data.error.message
                assert "order the rows of each series as they happened" in words
                assert project.stored().empty


def test_a_date_as_a_number_next_to_an_epoch_column_is_refused_as_a_date(database, tmp_path):
    """The column that is compared is an epoch; the one that is selected is not."""
    url = database("sqlite")
    fill(url, "INTEGER", [(0, 1718870400, "north", 1.0), (1, 1718874000, "north", 2.0)])
    days = {"type": "daily", "start_date": "2024-06-20", "end_date": "2024-06-21"}
    said = attributes(days, {"stored_as": "epoch"})
    query = QUERY.replace("at AS timestamp", "20240620 + id AS timestamp")
    with Project(tmp_path, {**said, "sql": {**said["sql"], "query": query}}) as project:
        words = failure_of(project.run("2024-06-20", raise_on_error=False)).step_failure_data.error.message
        assert "20240620 is 2024-06-20" in words


@pytest.mark.parametrize(
    ("column", "declared", "complaint"),
    [
        ("timestamp", {"stored_as": "timestamptz"}, "has no zone"),
        ("timestamp", {"stored_as": "epoch"}, "The query failed"),
        ("timestamptz", {"stored_as": "naive", "timezone": "Asia/Tokyo"}, "Declare stored_as: timestamptz"),
    ],
)
def test_a_column_of_another_form_than_declared_fails(column, declared, complaint, database, tmp_path):
    """PostgreSQL would compare it in the session's zone, and silently miss rows."""
    rows = observations("spring")
    fill(database("postgres"), column, [(number, at.to_pydatetime(), *rest) for number, at, *rest in rows])
    days = {"type": "daily", "start_date": "2024-03-10", "end_date": "2024-03-12", "timezone": ZONE}
    with Project(tmp_path, attributes(days, declared)) as project:
        failure = failure_of(project.run("2024-03-10", raise_on_error=False)).step_failure_data
        assert complaint in failure.user_failure_data.description
        assert project.stored().empty


def test_a_percent_sign_in_the_query_is_a_percent_sign(database, tmp_path):
    """It is doubled for drivers that use it to mark parameters."""
    rows = [row for row in observations("spring") if row[2] == "east"]
    fill(database("postgres"), "timestamptz", [(number, at.to_pydatetime(), *rest) for number, at, *rest in rows])
    query = QUERY.replace("ORDER BY", "AND zone LIKE 'ea%' AND id % 2 = 0 AND '1'::int = 1 ORDER BY")
    days = {"type": "daily", "start_date": "2024-03-10", "end_date": "2024-03-11", "timezone": ZONE}
    said = attributes(days, {"stored_as": "timestamptz"})
    with Project(tmp_path, {**said, "sql": {**said["sql"], "query": query}}) as project:
        assert project.run("2024-03-10").success
        assert len(project.stored()) == 23 * 4


def test_the_first_example_of_the_page_runs_on_numeric_columns(database, tmp_path):
    """As pasted from docs/components.md: sums of ``numeric(10,2)``, which its driver gives as Decimals."""
    page = (Path(__file__).parents[2] / "docs" / "components.md").read_text()
    shown = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])["attributes"]
    engine = sa.create_engine(database("postgres"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS orders")
        connection.exec_driver_sql("CREATE TABLE orders (placed_at timestamptz, price numeric(10,2))")
        connection.exec_driver_sql(
            "INSERT INTO orders VALUES ('2024-06-20 04:10+00', 19.99), ('2024-06-20 04:10+00', 0.1), "
            "('2024-06-20 04:59:59+00', 5), ('2024-06-20 05:00+00', 7)"
        )
    engine.dispose()
    with Project(tmp_path, {**shown, "data_source": "grid_load"}) as project:
        assert project.run("2024-06-20-04:00").success
        assert project.stored()["value"].tolist() == [2.0, 20.09, 1.0, 5.0]


def test_several_values_in_a_row_become_a_row_each(database, tmp_path):
    """As pasted from docs/sql_to_temporis.md: a table of PostgreSQL with fractions of a second, NUMERIC and NULL."""
    page = (Path(__file__).parents[2] / "docs" / "sql_to_temporis.md").read_text()
    shown = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])["attributes"]
    engine = sa.create_engine(database("postgres"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS wind_farms")
        connection.exec_driver_sql(
            "CREATE TABLE wind_farms (measured_at timestamptz, farm text, output_kw numeric, air_temp_c float8)"
        )
        connection.exec_driver_sql(
            "INSERT INTO wind_farms VALUES ('2024-06-20 04:10:00.663244+00', 'north', 810.5, 18.5), "
            "('2024-06-20 04:10:00.7+00', 'south', 640, NULL), ('2024-06-21 00:00+00', 'north', 1, 1)"
        )
    engine.dispose()
    with Project(tmp_path, {**shown, "data_source": "grid_load"}) as project:
        assert project.run("2024-06-20").success
        stored = project.stored()
        assert dict(zip(stored["name"], stored["value"], strict=True)) == {
            "wind_air_temp_c_north": 18.5,
            "wind_output_kw_north": 810.5,
            "wind_output_kw_south": 640.0,
        }
        assert set(stored["timestamp"]) == {pd.Timestamp("2024-06-20 04:10:00", tz="UTC")}
        assert project.run("2024-06-22").success, "a day without rows"
