"""The Dagster surface over a data source in PostgreSQL: the same definitions as over a SQLite file."""

import dagster as dg
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from temporis_dagster import (
    ArchiveState,
    TemporisIOManager,
    TemporisResource,
    build_archive_state_checks,
    build_archive_state_sensor,
    build_series_checks,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.ask_all import ask_all
from tests.support.dagster_harness import attempts, key_range, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")


@pytest.fixture
def url(postgres_url):
    """The URL of a database without a store."""
    return postgres_url


@pytest.fixture
def sales():
    """An asset with two observations a day."""

    @temporis_asset(data_source=SOURCE, partitions_def=DAYS, series=["orders"])
    def sales(context) -> pd.DataFrame:
        start, end = context.partition_time_window if context.has_partition_key else window_of(context)
        hours = pd.date_range(start, end, freq="12h", inclusive="left")
        return pd.DataFrame({"orders": [float(hour.day) for hour in hours]}, index=hours)

    return sales


def window_of(context):
    """The window of a range of partitions."""
    keys = context.partition_key_range
    return DAYS.time_window_for_partition_key(keys.start).start, DAYS.time_window_for_partition_key(keys.end).end


def test_partitions_are_written_read_back_and_written_again_for_free(project, sales):
    """A range of partitions is one upsert; another asset reads its partition; a second run changes nothing."""
    read = {}

    @dg.asset(partitions_def=DAYS)
    def peak(context, sales: pd.DataFrame) -> None:
        read[context.partition_key] = sales["value"].max()

    days = key_range("2024-06-03", "2024-06-05")
    first = project.run(sales, tags=days)
    digest = project.temporis.data_source(SOURCE).content_digest()
    again = project.run(sales, tags=days)
    stored = [sum(m["temporis/stored"] for m in materializations(run, "sales").values()) for run in (first, again)]
    assert project.run(sales, peak, selection=[peak], partition_key="2024-06-04").success
    assert read == {"2024-06-04": 4.0}
    assert stored[0] > 0 == stored[1]
    assert project.temporis.data_source(SOURCE).content_digest() == digest
    assert len(project.read()) == 6


def test_no_metadata_shows_the_user_or_the_password(url, project, sales):
    """The place of the observations is a URL with host and database only, wherever Dagster shows it."""
    host = sa.make_url(url).host
    secret = sa.make_url(url).update_query_dict({"application_name": "s3cret"}).render_as_string(hide_password=False)
    temporis = TemporisResource(url=secret, create_missing=True)
    project.temporis = temporis
    result = project.run(sales, partition_key="2024-06-03")
    shown = materializations(result, "sales")["2024-06-03"]["dagster/uri"]
    assert sa.make_url(shown).username is None
    assert sa.make_url(shown).host == host
    told = repr([project.observations(), *project.logged(result), temporis.connection, temporis.data_source(SOURCE)])
    assert "s3cret" not in shown + told


def test_checks_read_what_is_stored(project, sales):
    """Series checks and the archive check pass over PostgreSQL, and the archive check fails once it is archived."""
    archive = build_archive_state_checks(data_sources=[SOURCE])
    expected = {"expected_series": ["orders"], "bounds": {"orders": (0, 31)}}
    checks = build_series_checks(assets=[sales], **expected, clock=pd.Timestamp("2024-06-05", tz="UTC").timestamp)
    assert project.run(sales, partition_key="2024-06-03").success
    everything = dg.AssetSelection.assets(sales) | dg.AssetSelection.checks(*checks, *archive)
    run = project.run(sales, *checks, *archive, selection=everything, partition_key="2024-06-04")
    found = {evaluation.check_name: evaluation.passed for evaluation in run.get_asset_check_evaluations()}
    assert found == {"archive_state_check": True, "expected_series_check": True, "observation_bounds_check": True}
    project.temporis.data_source(SOURCE).archive()
    selection = dg.AssetSelection.checks(*archive)
    (red,) = project.run(sales, *archive, selection=selection).get_asset_check_evaluations()
    assert (red.passed, red.metadata["temporis/found"].value) == (False, "archived")


def test_the_archive_sensor_asks_many_data_sources_at_once(url, instance):
    """Each data source has its answer, over one connection, with one deadline for all of them."""
    names = [f"source_{number}" for number in range(20)]
    with connect(url) as temporis:
        for name in names:
            temporis.create_data_source(name)
        temporis.data_source(names[7]).archive()
        answers = ask_all(lambda name: temporis.data_source(name).archive_state(), names, within_s=60)
    assert [answers[name].result() is ArchiveState.ARCHIVED for name in names] == [name == names[7] for name in names]

    sensor = build_archive_state_sensor(data_sources=names)
    resources = {"temporis": TemporisResource(url=url)}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        tick = sensor.evaluate_tick(context)
    failed = [event.asset_key.path[-1] for event in tick.asset_events if getattr(event, "passed", True) is False]
    assert failed == [names[7]]
    assert "Asked 20 data sources. Failed: source_7." in tick.skip_message


def test_a_sensor_does_not_wait_for_a_database_that_is_away(private_postgres, instance):
    """At its deadline, a data source that gave no answer is a failed check and not an exception."""
    sensor = build_archive_state_sensor(data_sources=[SOURCE], answer_within_s=0.5)
    resources = {"temporis": TemporisResource(url=private_postgres.url(), give_up_after_s=5.0)}
    private_postgres.stop()
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        tick = sensor.evaluate_tick(context)
    assert [event.passed for event in tick.asset_events] == [False]


def test_an_outage_is_left_to_the_retry_policy(private_postgres, project):
    """A step whose database is away fails in a way that Dagster retries; the second attempt stores everything."""
    project.temporis = TemporisResource(url=private_postgres.url(), create_missing=True, give_up_after_s=0.01)
    bodies = []

    @temporis_asset(data_source=SOURCE, retry_policy=dg.RetryPolicy(max_retries=1))
    def once() -> pd.DataFrame:
        (private_postgres.start if bodies else private_postgres.stop)()
        bodies.append(1)
        return pd.DataFrame({"timestamp": [0], "name": ["orders"], "value": [1.0]})

    result = project.run(once)
    assert (result.success, attempts(result), len(bodies)) == (True, 2, 2)
    assert len(project.read()) == 1


def test_missing_rights_are_a_failure_that_is_not_retried(private_postgres, project):
    """A role that may not make tables fails at once, and the message says which rights to grant."""
    with private_postgres.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    project.temporis = TemporisResource(url=private_postgres.url(username="guest"), create_missing=True)
    writes = temporis_asset(data_source=SOURCE, retry_policy=dg.RetryPolicy(max_retries=3), name="writes")

    result = project.run(writes(lambda: pd.DataFrame({"timestamp": [0], "name": ["orders"], "value": [1.0]})))
    assert attempts(result) == 1
    assert "Grant this user the rights" in failure(result)
    assert "guest" not in failure(result)


def test_definitions_that_only_name_the_data_source_load_without_a_database(sales):
    """Loading code needs neither the database nor its driver."""
    temporis = TemporisResource(url="postgresql+psycopg://nobody@127.0.0.1:1/metrics")
    resources = {"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)}
    dg.Definitions.validate_loadable(dg.Definitions([sales, data_source_spec(SOURCE)], resources=resources))


def test_a_writer_of_another_program_is_seen(url, project, sales):
    """What the store holds is in tables that SQL can read."""
    project.run(sales, partition_key="2024-06-03")
    with psycopg.connect(url.replace("+psycopg", "")) as by_hand:
        rows = by_hand.execute(
            "SELECT s.name, o.value FROM temporis_observation o JOIN temporis_series s ON s.id = o.series ORDER BY 2"
        ).fetchall()
    assert rows == [("orders", 3.0), ("orders", 3.0)]
