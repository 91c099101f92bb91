"""Spark frames, upserted by the tasks of a Spark cluster with two workers, some of which fail or are overtaken.

What a single task does is in tests/core/test_spark_task.py.
"""

import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from temporis_dagster import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    InvalidObservationsError,
    Series,
    StreamError,
    UnavailableError,
    connect,
    spark,
)
from temporis_dagster.testing import FakeService, answer
from tests.conftest import CANARY
from tests.support.secrets_shown import showing
from tests.support.spark_cluster import OF_EXECUTORS, OF_PANDAS_3

pytestmark = [
    pytest.mark.filterwarnings(OF_PANDAS_3),
    pytest.mark.timeout(600),  # six processes with Java: seconds on an idle machine, minutes on a busy one
]

START = 1_700_000_000


def long_frame(session, rows, partitions=8):
    """Twenty series with an observation per minute; the row's number is in it."""
    return session.range(0, rows, 1, partitions).selectExpr(
        f"timestamp_seconds({START} + 60 * (id div 20)) AS timestamp",
        "concat('series_', id % 20) AS name",
        "id * 0.5D AS value",
        "id AS loaded",
    )


def by_a_single_process(tmp_path, frame, **options):
    """The digest of what pandas makes of the same rows."""
    with connect(f"sqlite:///{tmp_path}/single.db", create_missing=True) as temporis:
        source = temporis.data_source("store_metrics")
        source.upsert(frame, **options)
        return source.content_digest()


def disturbed(df, folder: Path, *, fails: int, waits: int):
    """The same frame; the first attempt of one partition fails halfway, and that of another waits for the second."""

    def pass_on(batches):
        from pyspark import TaskContext

        context = TaskContext.get()
        partition, attempt = context.partitionId(), context.attemptNumber()
        (folder / f"{partition}-{attempt}").touch()
        for number, batch in enumerate(batches):
            if number == 1 and (partition, attempt) == (fails, 0):
                raise RuntimeError("on purpose")
            if number == 1 and (partition, attempt) == (waits, 0):
                end = time.monotonic() + 120
                while not (folder / f"{waits}-1-end").exists() and time.monotonic() < end:
                    time.sleep(0.05)
            yield batch
        (folder / f"{partition}-{attempt}-end").touch()

    return df.mapInArrow(pass_on, df.schema)


def test_every_row_is_counted_once_when_a_task_fails_and_a_slow_one_is_overtaken(session, source, tmp_path, soak):
    """Repeated and speculative attempts store the same values; the report has the rows of each partition once."""
    rows = 5_000_000 if soak else 200_000
    df = long_frame(session, rows)
    report = spark.upsert(disturbed(df, tmp_path, fails=3, waits=5), source, assume_unique=True, rows=10_000)
    attempts = {tuple(map(int, path.name.split("-")[:2])) for path in tmp_path.iterdir()}
    assert {(3, 0), (3, 1), (5, 0), (5, 1)} <= attempts, "nothing was disturbed"
    assert report.stored + report.unchanged == report.observations_in == rows
    assert report.series == 20
    assert report.first_timestamp == datetime.fromtimestamp(START, timezone.utc)
    assert report.last_timestamp - report.first_timestamp == timedelta(minutes=rows // 20 - 1)
    assert source.content_digest() == by_a_single_process(tmp_path, df.toArrow().drop_columns(["loaded"]))
    again = spark.upsert(df, source, order_by="loaded")
    assert (again.unchanged, again.stored, again.observations_in) == (rows, 0, rows)


def test_rows_of_one_key_meet_wherever_they_were(session, source, tmp_path):
    """With ``order_by``, the largest wins; without, both are refused, and rows that agree are not."""
    new = long_frame(session, 2_000)
    old = new.selectExpr("timestamp", "name", "-value AS value", "loaded - 10000 AS loaded")
    report = spark.upsert(new.union(old), source, order_by="loaded")
    assert (report.stored, report.superseded, report.conflicts) == (2_000, 2_000, 2_000)
    assert source.content_digest() == by_a_single_process(tmp_path, new.drop("loaded").toArrow())
    assert spark.upsert(new.union(new), source).superseded == 2_000
    with pytest.raises(InvalidObservationsError, match=r"Pass order_by=") as caught:
        spark.upsert(new.union(old), source)
    assert caught.value.report.unsent == caught.value.report.observations_in


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("timestamp, name, CAST(value AS DECIMAL(20, 2)) AS value", {}),
        ("timestamp, max(value) AS a, min(value) + 1 AS b", {}),
        ("unix_millis(timestamp) + loaded % 7 AS at, name, CAST(loaded AS INT) AS value",
         {"unit": "ms", "sub_second": "floor", "timestamp": "at"}),
        ("timestamp + make_dt_interval(0, 0, 0, 0.25) AS timestamp, name, value", {"sub_second": "floor"}),
        ("CAST(timestamp AS TIMESTAMP_NTZ) AS `a t`, name AS `n.n`, value AS `v``v`",
         {"timezone": "Europe/Berlin", "timestamp": "a t", "name": "n.n", "value": "v`v"}),
    ],
    ids=["decimals", "wide", "milliseconds", "fractions", "naive"],
)  # fmt: skip
def test_every_kind_of_column_is_stored_as_from_arrow(session, source, tmp_path, query, options):
    """Decimals, wide frames, numbers, fractions of seconds, naive timestamps, names that need quotes."""
    long_frame(session, 400).createOrReplaceTempView("rows")
    df = session.sql(f"SELECT {query} FROM rows {'GROUP BY timestamp' if 'max' in query else ''}")
    report = spark.upsert(df, source, **options)
    assert report.stored == report.observations_in
    assert source.content_digest() == by_a_single_process(tmp_path, df.toArrow(), **options)


def test_keys_that_only_floor_makes_equal_meet_as_well(session, source):
    """Two fractions of one second are one key; so the shuffle looks at whole seconds, before 1970, too."""
    halves = session.sql(
        "SELECT timestamp_millis(id * 250 - 2000) AS timestamp, 'a' AS name, 1D AS value FROM range(0, 16, 1, 8)"
    )
    report = spark.upsert(halves, source, sub_second="floor")
    assert (report.stored, report.superseded) == (4, 12)
    numbers = halves.selectExpr("unix_millis(timestamp) AS timestamp", "name", "value + timestamp::long AS value")
    with pytest.raises(InvalidObservationsError, match="order_by"):
        spark.upsert(
            numbers.selectExpr("timestamp", "name", "timestamp * 1D AS value"), source, unit="ms", sub_second="floor"
        )


def test_an_outage_that_ends_is_healed_by_spark_and_one_that_does_not_is_counted(session):
    """A task that cannot reach the service is repeated, up to Spark's own limit; then the error is ours."""
    df = long_frame(session, 40, 2)
    down = {"requests": 3}

    def flaky(_request):
        down["requests"] -= 1
        return answer(503) if down["requests"] >= 0 else None

    with FakeService(script=flaky, token=OF_EXECUTORS) as service:
        source = connect(service.url, give_up_after_s=0.01, batch_rows=1_000).data_source("store_metrics")
        report = spark.upsert(df, source, order_by="loaded")
        assert (report.stored, report.observations_in, len(service.content)) == (40, 40, 40)
        down["requests"] = 1_000_000
        with pytest.raises(UnavailableError, match=r"tasks? ended early") as caught:
            spark.upsert(df, source)
        assert caught.value.report.observations_in == 40
        assert caught.value.report.stored == 0


def test_all_tasks_share_a_mirror_in_postgresql(session, postgres_url):
    """What they send goes through it, so it is kept while the service is down, and can be read."""
    down = {"service": True}
    with (
        FakeService(script=lambda _: answer(503) if down["service"] else None, token=OF_EXECUTORS) as service,
        connect(
            service.url, OF_EXECUTORS, mirror=postgres_url, on_unavailable="queue", give_up_after_s=0.01
        ) as temporis,
    ):
        source = temporis.data_source("store_metrics")
        report = spark.upsert(long_frame(session, 40, 2), source)
        assert (report.pending, report.observations_in, len(source.read())) == (40, 40, 40)
        down["service"] = False
        assert source.flush().stored == len(service.content) == 40


def test_errors_of_tasks_are_those_of_the_core_with_the_counts_of_all(session, source):
    """Archived, and a query that fails: nothing of Spark's comes through."""
    df = long_frame(session, 100, 4)
    spark.upsert(df, source)
    source.archive()
    with pytest.raises(DataSourceArchivedError, match="is archived") as archived:
        spark.upsert(df, source)
    assert archived.value.report.unsent == 100
    source.unarchive()
    failing = df.selectExpr("timestamp", "name", "value / (loaded - 7) AS value")
    with pytest.raises(StreamError, match=r"DIVIDE_BY_ZERO.*sending rows again is safe") as failed:
        spark.upsert(failing, source)
    assert failed.value.retryable


def test_a_token_is_never_shown_and_one_of_the_environment_does_not_travel(session, monkeypatch):
    """Not in Spark's plan, its UI, the logs of its processes, or an error; executors have a token of their own."""
    monkeypatch.setenv("TEMPORIS_TOKEN", "ts_of_the_driver")
    df = long_frame(session, 40, 2)
    with FakeService(token=OF_EXECUTORS) as service:
        assert spark.upsert(df, connect(service.url).data_source("store_metrics")).stored == 40
        with pytest.raises(AuthenticationError, match="executorEnv") as refused:
            spark.upsert(df, connect(service.url, CANARY).data_source("store_metrics"))
    with FakeService(token=CANARY) as service:
        assert spark.upsert(df, connect(service.url, CANARY).data_source("store_metrics")).stored == 40
    assert showing(refused.value, CANARY, OF_EXECUTORS) == []
    assert refused.value.report.unsent == 40
    api = f"{session.sparkContext.uiWebUrl}/api/v1/applications/{session.sparkContext.applicationId}"
    shown = [
        urllib.request.urlopen(f"{api}/{page}").read().decode()
        for page in ("environment", "jobs", "stages?details=true", "sql?details=true&planDescription=true&length=1000")
    ]
    shown += [path.read_text(errors="replace") for path in session.folder.rglob("std*")]
    assert any("upsert_to_temporis" in text for text in shown), "the plans are not among what was looked at"
    assert not any(secret in text for text in shown for secret in (CANARY, OF_EXECUTORS, "ts_of_the_driver"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order_by": "loadde"}, "order_by names 'loadde', but the columns are 'timestamp'"),
        ({"order_by": "loaded", "assume_unique": True}, "order_by cannot choose"),
        ({"order_by": []}, "order_by must be the name of a column"),
        ({"rows": 0}, "rows must be an integer of at least 1, got 0"),
        ({"series": [Series("a", monotone=True)]}, "is monotone, which cannot be checked here"),
        ({"series": ["a"]}, "Series"),
    ],
)
def test_mistakes_in_the_call_are_found_before_a_job_starts(session, source, options, said):
    """Nothing runs, and nothing is sent."""
    with pytest.raises(ConfigurationError, match=said):
        spark.upsert(long_frame(session, 10), source, **options)


def test_frames_and_places_that_tasks_cannot_use_are_refused(session, source, tmp_path):
    """A file of the driver's machine, a mirror in a file, a stream without an end, a frame of pandas."""
    df = long_frame(session, 10)
    with pytest.raises(ConfigurationError, match=r"is a file on this machine.*local\[\.\.\.\]"):
        spark.upsert(df, connect(f"sqlite:///{tmp_path}/x.db").data_source("store_metrics"))
    mirrored = connect("http://127.0.0.1:1", mirror=f"sqlite:///{tmp_path}/mirror.db")
    with pytest.raises(ConfigurationError, match="cannot share a mirror"):
        spark.upsert(df, mirrored.data_source("store_metrics"))
    with pytest.raises(ConfigurationError, match="foreachBatch"):
        spark.upsert(session.readStream.format("rate").load(), source)
    with pytest.raises(InvalidObservationsError, match=r"must be a Spark DataFrame, got pandas\.DataFrame"):
        spark.upsert(pd.DataFrame(), source)
    with pytest.raises(InvalidObservationsError, match=r"temporis_dagster\.spark\.upsert"):
        source.upsert(df)


def test_a_frame_without_rows_creates_the_data_source_if_that_is_asked_for(session, source):
    """As a pandas frame without rows does."""
    report = spark.upsert(long_frame(session, 10).where("false"), source)
    assert report.observations_in == 0
    assert source.read().empty
