"""The example project, through real Dagster runs, against a table computed from its CSV files and nothing else.

Everything expected here comes from the csv module and dicts: not from the example's SQL, and not from pandas.
"""

import csv
import functools
import lzma
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import connect

PROJECT = Path(__file__).parents[2] / "example_project"
NEW_YORK = ZoneInfo("America/New_York")
SPRING = ("2013-03-09", "2013-03-11")
AUTUMN = ("2013-11-02", "2013-11-04")
LAST_WEEK = ("2013-12-25", "2013-12-31")
WHOLE_YEAR = ("2013-01-01", "2013-12-31")
ERRORS_ONLY = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*backfill_policy.*:dagster.BetaWarning"),
    pytest.mark.no_cover,  # whole backfills, of whose lines every part has tests of its own
]


# --- what the CSV files say: {(UTC second, series): value}, the last row wins ---


def rows_of(name):
    with lzma.open(PROJECT / "data" / f"{name}.csv.xz", "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@functools.cache
def second_of_hour(utc):
    """The Unix second of an hour such as 2013-01-01T10."""
    return int(datetime.fromisoformat(f"{utc}:00:00+00:00").timestamp())


@functools.cache
def departures_by_hand():
    delays, cancellations = defaultdict(list), defaultdict(int)
    for flight in rows_of("departures"):
        key = (second_of_hour(flight["scheduled_utc"][:13]), flight["origin"])
        delays[key] += [int(flight["dep_delay_min"])] if flight["dep_delay_min"] else []
        cancellations[key] += not flight["dep_delay_min"]
    table = {}
    for (hour, airport), minutes in delays.items():
        table[hour, f"departures__{airport}"] = float(len(minutes))
        table[hour, f"cancellations__{airport}"] = float(cancellations[hour, airport])
        if minutes:
            table[hour, f"mean_delay_min__{airport}"] = sum(minutes) / len(minutes)
    return table


@functools.cache
def weather_by_hand():
    table = {}
    for row in rows_of("weather"):
        hour, airport = second_of_hour(row.pop("observed_utc")[:13]), row.pop("origin")
        table |= {(hour, f"{measure}__{airport}"): float(text) for measure, text in row.items() if text}
    return table


def local_days(first, last):
    """[start, end) in UTC seconds of the days from first to last, as the clocks of New York showed them."""
    days = (date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1))
    return [int(datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp()) for day in days]


def within(table, first, last):
    start, end = local_days(first, last)
    return {key: value for key, value in table.items() if start <= key[0] < end}


EXPECTED = {"departures": departures_by_hand, "weather": weather_by_hand}


# --- the example, in files of its own ---


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(PROJECT / "src")
        yield


@pytest.fixture(scope="module")
def operational_db(tmp_path_factory):
    from nyc_airports import operational_db

    return operational_db.build(tmp_path_factory.mktemp("operational") / "operational.db")


@pytest.fixture
def example(tmp_path, monkeypatch, operational_db):
    """The example's definitions, over an empty data source of this test's own."""
    monkeypatch.setenv("NYC_OPERATIONAL_DB", str(operational_db))
    monkeypatch.setenv("TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
    with connect() as temporis:
        temporis.create_data_source("nyc_airports")
    from nyc_airports.definitions import defs

    return defs()


def run(example, instance, asset, *days):
    """A run as Dagster makes it: of one partition, of a range as in a single-run backfill, or of no partition."""
    tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), days, strict=False))
    job = example.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        ERRORS_ONLY,
        instance,
        asset_selection=[dg.AssetKey(asset)],
        tags=tags if len(days) == 2 else None,
        partition_key=days[0] if len(days) == 1 else None,
    )


def stored():
    with connect() as temporis:
        frame = temporis.data_source("nyc_airports").read()
    seconds = [int(stamp.timestamp()) for stamp in frame["timestamp"]]
    table = dict(zip(zip(seconds, frame["name"], strict=True), frame["value"], strict=True))
    assert len(table) == len(frame), "a key is stored twice"
    return table


def content_digest():
    with connect() as temporis:
        return temporis.data_source("nyc_airports").content_digest()


def metadata_of(result):
    (*_, event) = [event for event in result.all_events if event.is_step_materialization]
    return {name: entry.value for name, entry in event.step_materialization_data.materialization.metadata.items()}


# --- promises ---


def test_the_project_loads_as_dg_loads_it(example):
    """Two daily assets in New York's days, a report, two data sources, and the tables that they come from."""
    dg.Definitions.validate_loadable(example)
    graph = example.resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    sources = {"temporis/nyc_airports", "temporis/nyc_airports_2013_q1"}
    tables = {"operational_db/flights", "operational_db/weather"}
    assert keys == {"departures", "weather", "weather_impact"} | sources | tables
    for asset in EXPECTED:
        days = graph.get(dg.AssetKey(asset)).partitions_def
        assert (len(days.get_partition_keys()), days.timezone) == (365, "America/New_York")


def test_loading_warns_of_nothing_but_backfill_policy():
    """In a separate process. Loaded as dg loads it, nothing warns; module by module, only BackfillPolicy's beta."""
    listen = """
import warnings
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    from nyc_airports.defs import automation, checks, data_sources, departures, resources, weather_impact
    automation.automation(), data_sources.data_sources(), resources.resources()  # checks need the context of dg
    from nyc_airports.definitions import defs
    defs().get_repository_def()
for one in heard:
    print(one.category.__name__, one.message)
"""
    paths = os.pathsep.join([str(PROJECT / "src"), str(PROJECT.parent), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, "-c", listen], {**os.environ, "PYTHONPATH": paths}
    heard = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(heard) == 1
    assert heard[0].startswith("BetaWarning Parameter `backfill_policy` of function `asset` is currently in beta")


@pytest.mark.parametrize("asset", ["departures", "weather"])
@pytest.mark.parametrize("days", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_range_over_a_clock_change_stores_what_the_csv_says(example, instance, asset, days):
    """Neither the hour that is skipped nor the one that is repeated is lost, doubled or shifted."""
    assert run(example, instance, asset, *days).success
    assert stored() == within(EXPECTED[asset](), *days)


@pytest.mark.parametrize("asset", ["departures", "weather"])
@pytest.mark.parametrize("day", [*SPRING, "2013-03-10", *AUTUMN, "2013-11-03"])
def test_single_days_around_the_clock_changes_store_what_the_csv_says(example, instance, asset, day):
    """A partition is the day as New York's clocks showed it."""
    assert run(example, instance, asset, day).success
    assert stored() == within(EXPECTED[asset](), day, day)


@pytest.mark.parametrize(("day", "first_hours"), [("2013-03-10", [0, 1, 3, 4]), ("2013-11-03", [1, 1, 2, 3])])
def test_the_skipped_hour_is_not_there_and_the_repeated_hour_is_there_twice(example, instance, day, first_hours):
    """By the clocks on New York's walls; the station did not report midnight of 3 November."""
    run(example, instance, "weather", day)
    seconds = sorted(timestamp for timestamp, name in stored() if name == "temp_f__JFK")
    assert [datetime.fromtimestamp(hour, NEW_YORK).hour for hour in seconds[:4]] == first_hours


def test_a_day_without_rows_is_materialized_and_stores_nothing(example, instance):
    """The weather ends on 30 December; the empty last day is not an error."""
    assert run(example, instance, "weather", "2013-12-31").success
    assert stored() == {}


@pytest.mark.once
def test_the_year_is_stored_once_and_read_back_for_the_report(example, instance):
    """All 365 days equal the CSV files; the same backfill again writes nothing; the report only reads."""
    for asset in EXPECTED:
        run(example, instance, asset, *WHOLE_YEAR)
    assert stored() == departures_by_hand() | weather_by_hand()
    digest = content_digest()
    for asset in EXPECTED:
        said = metadata_of(run(example, instance, asset, *WHOLE_YEAR))
        assert (said["temporis/stored"], said["temporis/partitions"]) == (0, "2013-01-01...2013-12-31 (365)")
    report = metadata_of(run(example, instance, "weather_impact"))
    assert content_digest() == digest
    assert len(report["plot"]) < 60_000
    assert report["flights"] == flights_with_known_weather()


def flights_with_known_weather():
    known = {(row["observed_utc"][:13], row["origin"]) for row in rows_of("weather")}
    return sum((flight["scheduled_utc"][:13], flight["origin"]) in known for flight in rows_of("departures"))


@pytest.fixture
def last_week(example, instance):
    """Both assets have the last week of the year, and the first quarter is frozen: what the checks look at."""
    from nyc_airports.demo import freeze_first_quarter

    for asset in EXPECTED:
        run(example, instance, asset, *LAST_WEEK)
    with connect() as temporis:
        freeze_first_quarter(temporis)


def checked(example, instance):
    """Evaluate every check of the project: {asset: {check: passed}}."""
    found = defaultdict(dict)
    result = example.resolve_job_def("checks_job").execute_in_process(ERRORS_ONLY, instance, raise_on_error=False)
    for check in result.get_asset_check_evaluations():
        found[check.asset_key.to_user_string()][check.check_name] = check.passed
    return dict(found)


GREEN = {
    "temporis/nyc_airports": {"archive_state_check": True},
    "temporis/nyc_airports_2013_q1": {"archive_state_check": True},
    "departures": {
        "expected_series_check": True,
        "ghost_rows_check": True,
        "observation_bounds_check": True,
        "observation_freshness_check": True,
        "observation_gaps_check": True,
    },
    "weather": {
        "expected_series_check": True,
        "ghost_rows_check": True,
        "observation_bounds_check": True,
        "observation_freshness_check": True,
    },
}


def test_every_check_is_green_after_the_demo(example, instance, last_week):
    """The year is completely filled, one data source is in use, the other is frozen."""
    from nyc_airports.demo import run_checks

    assert checked(example, instance) == GREEN
    run_checks(instance)


@pytest.mark.parametrize("source", ["nyc_airports", "nyc_airports_2013_q1"])
def test_an_archive_state_that_is_not_as_expected_is_red_alone(example, instance, last_week, source):
    """The active data source archived, or the frozen one active again: only its own check fails, and the demo would."""
    from nyc_airports.demo import run_checks

    with connect() as temporis:
        frozen = temporis.data_source(source)
        frozen.archive() if source == "nyc_airports" else frozen.unarchive()
    assert checked(example, instance) == {**GREEN, f"temporis/{source}": {"archive_state_check": False}}
    with pytest.raises(SystemExit, match=rf"^archive_state_check of temporis/{source}: "):
        run_checks(instance)


@pytest.mark.parametrize("asset", ["departures", "weather"])
def test_nothing_runs_into_an_archived_source(example, instance, asset):
    """The job from Python and the one from YAML stop at the gate."""
    range_tags = {
        "dagster/asset_partition_range_start": LAST_WEEK[0],
        "dagster/asset_partition_range_end": LAST_WEEK[1],
    }
    job = example.resolve_job_def(f"{asset}_job")
    with connect() as temporis:
        temporis.data_source("nyc_airports").archive()
        stopped = job.execute_in_process(ERRORS_ONLY, instance, tags=range_tags, raise_on_error=False)
        assert not stopped.success
        assert not any(event.step_key == asset and event.is_step_start for event in stopped.all_events)
        temporis.data_source("nyc_airports").unarchive()
    assert job.execute_in_process(ERRORS_ONLY, instance, tags=range_tags).success
    assert stored() == within(EXPECTED[asset](), *LAST_WEEK)


@pytest.mark.parametrize("asset", ["departures", "weather"])
def test_the_schedules_fill_the_last_three_days_in_new_york(example, asset):
    """The one from Python and the one from YAML tick at night by New York's clock, once a day."""
    repository = example.get_repository_def()
    schedule = repository.get_schedule_def(f"{asset}_job_schedule")
    assert schedule.execution_timezone == "America/New_York"
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=datetime(2014, 1, 1, 2, 0, tzinfo=NEW_YORK),
            repository_def=repository,
            resources={"temporis": example.resources["temporis"]},
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == "2013-12-29"
    assert request.tags["dagster/asset_partition_range_end"] == "2013-12-31"


def test_the_first_quarter_is_copied_once_and_then_left_alone(example, instance):
    """Frozen is frozen: a later correction of the active data source does not reach it."""
    from nyc_airports.demo import freeze_first_quarter

    run(example, instance, "weather", "2013-03-30", "2013-04-02")
    with connect() as temporis:
        freeze_first_quarter(temporis)
        frozen = temporis.data_source("nyc_airports_2013_q1")
        assert len(frozen.read()) == len(within(weather_by_hand(), "2013-03-30", "2013-03-31"))
        digest = frozen.content_digest()
        run(example, instance, "weather", "2013-03-01", "2013-03-02")
        freeze_first_quarter(temporis)
        assert frozen.content_digest() == digest


def test_what_a_killed_demo_left_is_ended_by_the_next(example, instance):
    """Otherwise its runs would seem to go on forever, and hold up schedule and sensor. Other runs are left alone."""
    from nyc_airports.demo import OF_DEMO, end_leftovers

    job, started = example.resolve_job_def("departures_job"), dg.DagsterRunStatus.STARTED
    left, other = (instance.create_run_for_job(job, tags=tags, status=started) for tags in (OF_DEMO, {}))
    end_leftovers(instance)
    assert instance.get_run_by_id(left.run_id).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(other.run_id).status == started


def test_one_writer_at_a_time_is_what_dagster_yaml_says(tmp_path):
    """Every pool has one place, and a run whose process was killed is detected."""
    shutil.copy(PROJECT / "instance.yaml", tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.run_monitoring_enabled


@pytest.mark.parametrize(("written", "digest_after"), [(1, "same"), (0, "other")])
def test_the_demo_fails_where_a_second_backfill_changes_anything(written, digest_after):
    """A demo that cannot fail proves nothing."""
    from nyc_airports.demo import verify_nothing_changed

    with pytest.raises(SystemExit, match="wrote"):
        verify_nothing_changed({"weather": {"temporis/stored": written}}, "same", digest_after)


# --- the demo on PostgreSQL: `make demo-postgres` ---


def test_the_same_days_have_the_same_digest_on_postgresql(example, instance, postgres_url, monkeypatch):
    """The assets know nothing of the target: what PostgreSQL holds is what SQLite holds, and again writes nothing."""
    from nyc_airports.demo_postgres import compare

    for asset in EXPECTED:
        run(example, instance, asset, *AUTUMN)
    in_sqlite = content_digest()
    monkeypatch.setenv("TEMPORIS_URL", postgres_url)
    with connect() as temporis:
        temporis.create_data_source("nyc_airports")
    from nyc_airports.definitions import defs

    on_postgresql = defs()
    for _ in range(2):
        said = [metadata_of(run(on_postgresql, instance, asset, *AUTUMN)) for asset in EXPECTED]
    assert [metadata["temporis/stored"] for metadata in said] == [0, 0]
    assert stored() == within(departures_by_hand() | weather_by_hand(), *AUTUMN)
    compare(content_digest(), in_sqlite)
    with pytest.raises(SystemExit, match="the contents differ"):
        compare(content_digest(), "another")


@pytest.fixture
def no_server(monkeypatch):
    """No variable names a database, and no server answers where one is looked for."""
    for name in ("TEMPORIS_STORE", "TEMPORIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPORT", "1")


def the_database(tmp_path, capsys):
    from nyc_airports.demo_postgres import postgresql

    with postgresql(tmp_path) as url:
        return url, capsys.readouterr().out


@pytest.mark.parametrize("variable", ["TEMPORIS_STORE", "TEMPORIS_URL"])
def test_the_demo_takes_the_postgresql_that_the_environment_names(no_server, variable, monkeypatch, tmp_path, capsys):
    """It says which one, but neither who logs in nor with what."""
    named = "postgresql+psycopg://somebody:hunter2@db.example:6543/airports"
    monkeypatch.setenv(variable, named)
    url, said = the_database(tmp_path, capsys)
    assert url == named
    assert said.startswith("PostgreSQL: db.example:6543, database airports (")
    assert not any(secret in said for secret in ("somebody", "hunter2"))


def test_the_demo_makes_its_database_on_a_server_that_answers(
    no_server, private_postgres, monkeypatch, tmp_path, capsys
):
    """Once: the second demo finds it there. A URL of something else, such as a SQLite file, is no reason not to."""
    monkeypatch.setenv("TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
    monkeypatch.setenv("PGHOST", str(private_postgres.folder))
    monkeypatch.setenv("PGPORT", str(private_postgres.port))
    monkeypatch.setenv("PGUSER", "postgres")
    (first, said), (second, _) = (the_database(tmp_path, capsys) for _ in range(2))
    assert first == second
    assert "`dropdb temporis_demo` removes" in said
    with connect(first, create_missing=True) as temporis:
        assert temporis.create_data_source("nyc_airports").read().empty


def test_where_no_server_answers_the_demo_starts_one_from_the_wheel(no_server, monkeypatch, capsys):
    """Its data stay in the folder, so the next demo finds what this one stored, and no server runs in between."""
    monkeypatch.delenv("PGPORT")
    from nyc_airports import demo_postgres

    monkeypatch.setattr(demo_postgres, "LOCAL_SERVERS", ())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest closes its own to other users
        for stored_before in (False, True):
            with demo_postgres.postgresql(Path(folder)) as url, connect(url, create_missing=True) as temporis:
                source = temporis.create_data_source("nyc_airports")
                assert len(source.read()) == stored_before
                source.upsert(pd.DataFrame({"load": [1.0]}, index=pd.date_range("2013-01-01", periods=1, tz="UTC")))
            assert not (Path(folder) / "data" / "postmaster.pid").exists()
    assert "`make clean-demo` removes it" in capsys.readouterr().out


def test_building_the_operational_database_again_gives_the_same_rows(operational_db, tmp_path):
    """And it is whole: as many flights and weather rows as the CSV files have."""
    from nyc_airports.operational_db import build

    again = build(tmp_path / "operational.db")
    for table, name in [("flights", "departures"), ("weather", "weather")]:
        assert all_rows(again, table) == all_rows(operational_db, table)
        assert len(all_rows(again, table)) == sum(1 for _ in rows_of(name))


def test_a_build_that_fails_leaves_the_old_database_in_place(tmp_path):
    """A reader sees the old database or the new one; nothing half built stays behind."""
    from nyc_airports.operational_db import build

    path = tmp_path / "operational.db"
    path.write_bytes(b"the old one")
    with pytest.raises(FileNotFoundError):
        build(path, data=tmp_path / "nowhere")
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def all_rows(path, table):
    connection = sqlite3.connect(path)
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return rows
