"""The example's limits: four planted disasters in its operational database are stopped, and a year of ticks is not.

What is spoiled is a copy of the database of real flights and hourly weather; the assets, their limits and the runs are
those of the example project.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from temporis_dagster import connect

PROJECT = Path(__file__).parents[2] / "example_project"
ERRORS_ONLY = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
DAY, BEFORE, AFTER = "2013-06-12", "2013-06-11", "2013-06-13"
START = 1_371_009_600  # midnight of DAY in New York
END = START + 86_400

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*backfill_policy.*:dagster.BetaWarning"),
    pytest.mark.no_cover,  # whole backfills, of whose lines every part has tests of its own
]


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(PROJECT / "src")
        yield


@pytest.fixture(scope="module")
def as_published(tmp_path_factory):
    from nyc_airports import operational_db

    return operational_db.build(tmp_path_factory.mktemp("operational") / "operational.db")


@pytest.fixture
def database(tmp_path, monkeypatch, as_published):
    """A copy of the operational database, which a test may spoil."""
    path = shutil.copy(as_published, tmp_path / "operational.db")
    monkeypatch.setenv("NYC_OPERATIONAL_DB", str(path))
    monkeypatch.setenv("TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
    with connect() as temporis:
        temporis.create_data_source("nyc_airports")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def example(database):
    from nyc_airports.definitions import defs

    return defs()


def run(example, instance, asset, first, last, tags=()):
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return example.resolve_implicit_global_asset_job_def().execute_in_process(
        ERRORS_ONLY, instance, asset_selection=[dg.AssetKey(asset)], tags={**span, **dict(tags)}, raise_on_error=False
    )


def digest():
    with connect() as temporis:
        return temporis.data_source("nyc_airports").content_digest()


def disasters(table, time, another_unit):
    return {
        "another unit": f"UPDATE {table} SET {another_unit}",
        "a shift by a time zone": f"UPDATE {table} SET {time} = {time} + 4 * 3600",
        "a truncated extract": f"DELETE FROM {table} WHERE {time} >= {END - 9 * 3600} AND {time} < {END}",
        "the data of another partition": f"""
            DELETE FROM {table} WHERE {time} >= {START} AND {time} < {END};
            UPDATE {table} SET {time} = {time} - 86400 WHERE {time} >= {END} AND {time} < {END + 86_400}""",
    }


DISASTERS = {
    "departures": disasters("flights", "scheduled_at", "dep_delay_min = dep_delay_min * 60"),
    "weather": disasters("weather", "observed_at", "temp_f = (temp_f - 32) / 1.8"),
}


@pytest.mark.parametrize("asset", DISASTERS)
@pytest.mark.parametrize("disaster", DISASTERS["weather"])
def test_a_planted_disaster_is_stopped(example, database, instance, asset, disaster):
    """In the database from which the asset reads. Nothing is written, and a person can still let it through."""
    assert run(example, instance, asset, BEFORE, AFTER).success
    before = digest()
    database.executescript(DISASTERS[asset][disaster])
    result = run(example, instance, asset, DAY, DAY)
    assert not result.success
    (event,) = result.get_step_failure_events()
    data = event.event_specific_data.user_failure_data
    assert "Nothing was sent" in data.description
    assert data.metadata["temporis/plan"].value.records
    assert digest() == before
    assert run(example, instance, asset, DAY, DAY, {"temporis/ignore_limits": "true"}.items()).success
    assert (digest() == before) == (disaster == "a truncated extract")  # an upsert deletes nothing


def as_known_at(database, midnight):
    """Let the database hold what it would have held at that midnight: some rows are late, some are corrected later.

    One in fifty flights and one in forty hours of weather arrive a day late; the delay of one flight in a hundred is
    corrected after a day.
    """
    database.executescript(
        f"""
        BEGIN;
        DELETE FROM flights;
        INSERT INTO flights
            SELECT scheduled_at, origin,
                dep_delay_min + CASE WHEN rowid % 100 = 3 AND scheduled_at >= {midnight - 86_400} THEN 7 ELSE 0 END
            FROM all_flights
            WHERE scheduled_at >= {midnight - 4 * 86_400} AND scheduled_at < {midnight}
                AND NOT (rowid % 50 = 7 AND scheduled_at >= {midnight - 86_400});
        DELETE FROM weather;
        INSERT INTO weather SELECT * FROM all_weather
            WHERE observed_at >= {midnight - 4 * 86_400} AND observed_at < {midnight}
                AND NOT (rowid % 40 = 1 AND observed_at >= {midnight - 86_400});
        COMMIT;"""
    )


@pytest.mark.soak
def test_the_daily_runs_of_a_year_are_not_stopped(example, database, instance, soak):
    """The last three days every night, as the schedules fill them, with late and corrected rows: none is stopped."""
    from nyc_airports.dataset import NYC_DAYS

    for table in ("flights", "weather"):
        database.execute(f"CREATE TABLE all_{table} AS SELECT * FROM {table}")
    database.execute("CREATE INDEX all_flights_by_time ON all_flights (scheduled_at)")
    database.execute("CREATE INDEX all_weather_by_time ON all_weather (observed_at)")
    days = NYC_DAYS.get_partition_keys()
    changed = 0
    for place in range(2, 365 if soak else 6):
        as_known_at(database, int(NYC_DAYS.time_window_for_partition_key(days[place]).end.timestamp()))
        for asset in DISASTERS:
            result = run(example, instance, asset, days[place - 2], days[place])
            assert result.success, (asset, days[place])
            (*_, event) = [event for event in result.all_events if event.is_step_materialization]
            metadata = event.step_materialization_data.materialization.metadata
            assert metadata["temporis/ghost_rows"].value == 0
            changed += metadata["temporis/stored"].value
    assert changed
