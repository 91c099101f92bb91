"""TemporisIOManager, through real Dagster runs: one upsert per step, exact about partitions, never retried in vain."""

import json
import logging
import sqlite3
import warnings
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from temporis_dagster import (
    TemporisIOManager,
    TemporisResource,
    connect,
    data_source_spec,
    progress_log,
    temporis_asset,
)
from temporis_dagster.data_source.store import upsert
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.partition_windows import partition_windows
from temporis_dagster.writing import event_metadata
from tests.support.dagster_harness import (
    attempts,
    backfill_environment,
    failure_of,
    key_range,
    materializations,
    recorded,
    run_backfill,
)
from tests.support.store_tools import cut_into_chunks

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

NEW_YORK = "America/New_York"
DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")
HOURS = pd.date_range("2024-06-01", "2024-06-06", freq="h", tz="UTC", inclusive="left")
FIVE_DAYS = key_range("2024-06-01", "2024-06-05")


@pytest.fixture
def run(url, instance):
    """Materialize assets in process, against the data source of the test."""

    def materialize(*assets, dry_run=False, create_missing=False, raise_on_error=True, options=None, **run_arguments):
        temporis = TemporisResource(url=url, dry_run=dry_run, create_missing=create_missing)
        return dg.materialize(
            [data_source_spec("store_metrics"), *assets],
            selection=run_arguments.pop("selection", list(assets)),
            resources={"temporis_io_manager": TemporisIOManager(temporis=temporis, **(options or {}))},
            instance=instance,
            raise_on_error=raise_on_error,
            **run_arguments,
        )

    return materialize


def hourly(hours=HOURS, name="orders"):
    return pd.DataFrame({name: np.arange(len(hours), dtype=float)}, index=hours)


def storing(data, **arguments):
    """Make an asset called orders that returns this, whatever its partitions."""

    @temporis_asset(**{"data_source": "store_metrics", "name": "orders", **arguments})
    def orders():
        return data() if callable(data) else data

    return orders


def failure(result):
    """Return the Failure of the one failed step, and its metadata as plain values."""
    data = failure_of(result).event_specific_data
    metadata = data.user_failure_data.metadata if data.user_failure_data else {}
    return data.user_failure_data, {key: entry.value for key, entry in metadata.items()}


def excluded(month, *days):
    return [datetime(2024, month, day) for day in days]


def rows_of(table):
    return [record.data for record in table.records]


# Writing: partitions and their windows


def test_one_partition(run, source):
    """What is stored is what was returned, and the materialization says where, how much and what became of it."""
    result = run(storing(hourly(HOURS[:24]), partitions_def=DAYS), partition_key="2024-06-01")
    assert source.read()["value"].tolist() == list(range(24))
    (metadata,) = materializations(result, "orders").values()
    assert metadata.pop("temporis/duration_s") >= 0
    columns = metadata.pop("dagster/column_schema").columns
    assert [column.name for column in columns] == ["timestamp", "name", "value", "orders"]
    assert metadata == {
        "dagster/uri": source.url,
        "dagster/table_name": "temporis.store_metrics",
        "dagster/storage_kind": "temporis",
        "temporis/data_source": "store_metrics",
        "dagster/partition_row_count": 24,
        "temporis/stored": 24,
        "temporis/unchanged": 0,
        "temporis/ghost_rows": 0,
        "temporis/series_count": 1,
        "temporis/requests": 1,
        "temporis/retries": 0,
        "temporis/first_observation": HOURS[0].timestamp(),
        "temporis/last_observation": HOURS[23].timestamp(),
    }


def test_the_same_run_again_writes_nothing(run, source):
    """Running a partition again is safe, and says that nothing was new."""
    orders = storing(hourly(HOURS[:24]), partitions_def=DAYS)
    run(orders, partition_key="2024-06-01")
    before = source.content_digest()
    (metadata,) = materializations(run(orders, partition_key="2024-06-01"), "orders").values()
    assert (metadata["temporis/stored"], metadata["temporis/unchanged"]) == (0, 24)
    assert source.content_digest() == before


def test_a_range_is_one_upsert_and_every_partition_knows_its_rows(run, source):
    """A range is sent once, in time order; each partition's event has its own row count, an empty one 0."""
    uneven = hourly().drop(HOURS[30:72]).sample(frac=1, random_state=1)
    result = run(storing(uneven, partitions_def=DAYS), tags=FIVE_DAYS)
    events = materializations(result, "orders")
    counts = {key: metadata["dagster/partition_row_count"] for key, metadata in events.items()}
    assert counts == {"2024-06-01": 24, "2024-06-02": 6, "2024-06-03": 0, "2024-06-04": 24, "2024-06-05": 24}
    assert {metadata["temporis/requests"] for metadata in events.values()} == {1}
    assert len(source.read()) == 78


@pytest.mark.parametrize("day", ["2013-03-10", "2013-11-03"])
@pytest.mark.parametrize("kind", [dg.DailyPartitionsDefinition, dg.HourlyPartitionsDefinition])
def test_every_observation_is_in_exactly_one_partition_when_the_clocks_change(run, source, day, kind):
    """Days of 23 and 25 hours, and the hour that comes twice: each observation belongs to one partition, as in UTC."""
    first = pd.Timestamp(day, tz=NEW_YORK) - pd.Timedelta(days=1)
    last = pd.Timestamp(day, tz=NEW_YORK) + pd.DateOffset(days=2)
    start = str(first.date()) if kind is dg.DailyPartitionsDefinition else f"{first.date()}-00:00"
    end = str(last.date()) if kind is dg.DailyPartitionsDefinition else f"{last.date()}-00:00"
    partitions_def = kind(start, end_date=end, timezone=NEW_YORK)
    keys = partitions_def.get_partition_keys()
    minutes = pd.date_range(first.tz_convert("UTC"), last.tz_convert("UTC"), freq="15min", inclusive="left")
    orders = storing(hourly(minutes), partitions_def=partitions_def)

    events = materializations(run(orders, tags=key_range(keys[0], keys[-1])), "orders")
    windows = [partitions_def.time_window_for_partition_key(key) for key in keys]
    hours = [(window.end.timestamp() - window.start.timestamp()) / 3600 for window in windows]
    assert [events[key]["dagster/partition_row_count"] for key in keys] == [4 * hour for hour in hours]
    assert sum(4 * hour for hour in hours) == len(minutes) == len(source.read())
    if kind is dg.DailyPartitionsDefinition:
        assert hours == [24, 23 if "03-10" in day else 25, 24]
    else:
        assert set(hours) == {1}


def test_the_hour_that_comes_twice_is_two_partitions(run, source):
    """Run alone, each of the two 01:00 partitions takes its own hour, although both begin and end at the same clock."""
    partitions_def = dg.HourlyPartitionsDefinition("2013-11-03-00:00", end_date="2013-11-03-04:00", timezone=NEW_YORK)
    twice = [key for key in partitions_def.get_partition_keys() if "01:00" in key]
    hours = pd.date_range("2013-11-03 04:00", periods=5, freq="h", tz="UTC")
    orders = storing(hourly(hours), partitions_def=partitions_def, outside_partition="drop")
    assert len(twice) == 2
    for key, hour in zip(twice, hours[1:3], strict=True):
        run(orders, partition_key=key)
        assert source.read()["timestamp"].iloc[-1] == hour
    assert source.read()["timestamp"].tolist() == hours[1:3].tolist()


def test_excluded_partitions_leave_holes(run, source):
    """What lies in an excluded day of a range is outside, and is not read back either."""
    holes = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-06", exclusions=excluded(6, 3))
    assert not run(storing(hourly(), partitions_def=holes), tags=FIVE_DAYS, raise_on_error=False).success
    orders = storing(hourly(), partitions_def=holes, outside_partition="drop")
    events = materializations(run(orders, tags=FIVE_DAYS), "orders")
    assert {metadata["temporis/outside_partition"] for metadata in events.values()} == {24}
    assert sorted(events) == ["2024-06-01", "2024-06-02", "2024-06-04", "2024-06-05"]
    source.upsert(hourly())
    reader = reading()
    assert read_of(run(orders, reader, selection=[reader]))["days"] == [1, 2, 4, 5]


def test_multi_partitions_have_the_window_of_their_time_dimension(run, source):
    """The time dimension is found, whatever its name; two partitions of one day share its rows, so none is counted."""
    partitions_def = dg.MultiPartitionsDefinition({"region": dg.StaticPartitionsDefinition(["de", "fr"]), "when": DAYS})
    orders = storing(hourly(HOURS[:24]), partitions_def=partitions_def)
    key = dg.MultiPartitionKey({"region": "de", "when": "2024-06-01"})
    (metadata,) = materializations(run(orders, partition_key=key), "orders").values()
    assert metadata["dagster/partition_row_count"] == 24
    other = dg.MultiPartitionKey({"region": "de", "when": "2024-06-02"})
    _, facts = failure(run(orders, partition_key=other, raise_on_error=False))
    assert facts["temporis/outside_count"] == 24
    keys = partitions_def.get_partition_keys()
    both = [key for key in keys if key.endswith("2024-06-01")]
    windows = partition_windows(partitions_def, both)
    assert (windows.spans(), windows.one_key_each) == ([(1_717_200_000, 1_717_286_400)], False)


def test_partitions_without_time_have_no_window(run, source):
    """Static partitions, alone or crossed with each other, take rows of any time."""
    static = dg.StaticPartitionsDefinition(["de", "fr"])
    for partitions_def in (static, dg.MultiPartitionsDefinition({"a": static, "b": static})):
        key = partitions_def.get_partition_keys()[0]
        result = run(storing(hourly(), partitions_def=partitions_def), partition_key=key)
        (metadata,) = materializations(result, "orders").values()
        assert metadata["dagster/partition_row_count"] == 120
    result = run(storing(hourly(), partitions_def=static), tags=key_range("de", "fr"))
    assert all("dagster/partition_row_count" not in event for event in materializations(result, "orders").values())


def test_rows_outside_the_partition_are_refused(run, source):
    """By default nothing is sent; the failure names the first offending rows and how many there are."""
    orders = storing(hourly(HOURS[:49]), partitions_def=DAYS, retry_policy=dg.RetryPolicy(max_retries=3))
    result = run(orders, partition_key="2024-06-01", raise_on_error=False)
    said, facts = failure(result)
    assert "25 of 49 observations lie outside" in said.description
    assert (facts["temporis/outside_count"], attempts(result), source.read().empty) == (25, 1, True)
    rows = rows_of(facts["temporis/outside_rows"])
    assert len(rows) == 20
    assert (rows[0]["position"], rows[0]["timestamp"], rows[0]["name"]) == (24, "2024-06-02T00:00:00+00:00", "orders")
    assert rows[0].keys() == {"position", "label", "timestamp", "name", "value"}


def test_rows_outside_the_partition_are_dropped_or_allowed_on_request(run, source):
    """'drop' leaves them out and counts them; 'allow' stores them; the partition's rows are those of its window."""
    for mode, left_out, stored in (("drop", 25, 24), ("allow", None, 49)):
        orders = storing(hourly(HOURS[:49]), partitions_def=DAYS, outside_partition=mode)
        (metadata,) = materializations(run(orders, partition_key="2024-06-01"), "orders").values()
        assert metadata.get("temporis/outside_partition") == left_out
        assert metadata["dagster/partition_row_count"] == 24
        assert len(source.read()) == stored


# Writing: what a retry cannot fix, and what it can


def test_an_archived_data_source_fails_the_step_once(run, source, instance):
    """Although the asset would be retried three times; and nothing is written."""
    source.archive()
    orders = storing(hourly(), retry_policy=dg.RetryPolicy(max_retries=3))
    result = run(orders, raise_on_error=False)
    said, facts = failure(result)
    assert "archived" in said.description
    assert attempts(result) == 1
    assert (facts["temporis/stored"], facts["temporis/unsent"]) == (0, 120)
    assert source.read().empty
    assert not recorded(instance, "orders")


def test_a_missing_data_source_fails_the_step_once(run, url):
    """There is nothing to retry, and nothing is created unasked."""
    with connect(url) as temporis:
        temporis.create_data_source("other")
        result = run(storing(hourly(), retry_policy=dg.RetryPolicy(max_retries=3)), raise_on_error=False)
        said, _ = failure(result)
        assert "store_metrics" in said.description
        assert (attempts(result), temporis.data_sources()) == (1, ["other"])


def test_invalid_rows_are_shown_in_the_failure(run, source):
    """The first 20 as a table that JSON can hold, and how many there are; nothing is written, nothing retried."""
    bad = pd.DataFrame({"timestamp": HOURS[:30], "name": "orders", "value": [np.inf] * 29 + [1.0]})
    result = run(storing(bad, retry_policy=dg.RetryPolicy(max_retries=3)), raise_on_error=False)
    _, facts = failure(result)
    rows = rows_of(facts["temporis/invalid_rows"])
    assert (facts["temporis/invalid_count"], len(rows), rows[3]["position"]) == (29, 20, 3)
    json.dumps(rows, allow_nan=False)
    assert (attempts(result), source.read().empty) == (1, True)


def test_on_invalid_drop_stores_the_rest_and_shows_what_was_dropped(run, source):
    """The option of upsert reaches it; the materialization counts the dropped rows and has the first as a table."""
    some = pd.DataFrame({"timestamp": HOURS[:30], "name": "orders", "value": [np.inf] * 29 + [1.0]})
    (metadata,) = materializations(run(storing(some, on_invalid="drop")), "orders").values()
    assert (metadata["temporis/stored"], metadata["temporis/dropped"], len(source.read())) == (1, 29, 1)
    rows = rows_of(metadata["temporis/dropped_rows"])
    assert (metadata["temporis/dropped_count"], len(rows), rows[3]["position"]) == (29, 20, 3)
    json.dumps(rows, allow_nan=False)


def test_a_table_is_once_in_a_range(run, source):
    """Events stay for good, so the dropped rows of a whole range are on the event of its last partition only."""
    some = hourly().reset_index(names="timestamp").melt("timestamp", var_name="name").replace({"value": {5.0: np.inf}})
    events = materializations(run(storing(some, partitions_def=DAYS, on_invalid="drop"), tags=FIVE_DAYS), "orders")
    assert [key for key, metadata in events.items() if "temporis/dropped_rows" in metadata] == ["2024-06-05"]
    assert {metadata["temporis/dropped"] for metadata in events.values()} == {1}


def test_too_many_counts_stand_together(run, source, monkeypatch):
    """If the counts of too many partitions differ, the event of the last one has the counts of all."""
    monkeypatch.setattr(event_metadata, "MOST_COUNTED_APART", 2)
    uneven = hourly().drop(HOURS[30:72])
    events = materializations(run(storing(uneven, partitions_def=DAYS), tags=FIVE_DAYS), "orders")
    assert events["2024-06-02"]["dagster/partition_row_count"] == 6  # two differ from the usual 24
    uneven = hourly().drop(HOURS[[30, 50, 51, 100, 101, 102]])
    events = materializations(run(storing(uneven, partitions_def=DAYS), tags=FIVE_DAYS), "orders")
    assert not any("dagster/partition_row_count" in metadata for metadata in events.values())
    counts = {"2024-06-01": 24, "2024-06-02": 23, "2024-06-03": 22, "2024-06-04": 24, "2024-06-05": 21}
    assert events.pop("2024-06-05")["temporis/partition_row_counts"] == counts
    assert not any("temporis/partition_row_counts" in metadata for metadata in events.values())


def test_figures_are_numbers_and_moments(run, source):
    """Dagster's UI plots ints and floats and shows timestamps in the reader's zone; text it can do neither with."""
    result = run(storing(hourly(HOURS[:24]), partitions_def=DAYS), partition_key="2024-06-01")
    (event,) = result.get_asset_materialization_events()
    kinds = {key: type(entry) for key, entry in event.step_materialization_data.materialization.metadata.items()}
    floats, moments = {"temporis/duration_s"}, {"temporis/first_observation", "temporis/last_observation"}
    texts = {"dagster/uri", "dagster/table_name", "dagster/storage_kind", "temporis/data_source"}
    expected = {
        **dict.fromkeys(kinds, dg.IntMetadataValue),
        **dict.fromkeys(floats, dg.FloatMetadataValue),
        **dict.fromkeys(moments, dg.TimestampMetadataValue),
        **dict.fromkeys(texts, dg.TextMetadataValue),
        "dagster/column_schema": dg.TableSchemaMetadataValue,
    }
    assert kinds == expected


def test_none_is_not_a_frame(run, source):
    """Returning nothing by mistake is an error, which names both ways out."""
    said, _ = failure(run(storing(None), raise_on_error=False))
    assert "Return a DataFrame" in said.description
    assert "-> None" in said.description


def test_a_locked_database_is_retried_by_the_retry_policy(run, source, url, monkeypatch):
    """What may pass is left to Dagster: the second attempt finds the lock gone and stores everything."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.0)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    bodies = []

    def data():
        bodies.append("run")
        if len(bodies) == 2:
            holder.execute("ROLLBACK")
        return hourly()

    result = run(storing(data, retry_policy=dg.RetryPolicy(max_retries=3)))
    holder.close()
    assert result.success
    assert (bodies, len(source.read())) == (["run", "run"], 120)


# Writing: how far a long write is


def progress_lines(instance, result):
    messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    return [message for message in messages if " observations (" in message and " after " in message]


def test_a_long_write_logs_its_progress(run, source, instance, monkeypatch):
    """Lines in Dagster's event log, with the share that is settled; a short write logs none."""
    cut_into_chunks(40, monkeypatch)
    assert progress_lines(instance, run(storing(hourly()))) == []
    monkeypatch.setattr(progress_log, "LOG_EVERY_S", 0.0)
    lines = progress_lines(instance, run(storing(hourly() + 1)))
    assert [line.split(" after ")[0] for line in lines] == [
        "store_metrics: 40 of 120 observations (33 %)",
        "store_metrics: 80 of 120 observations (66 %)",
        "store_metrics: 120 of 120 observations (100 %)",
    ]


def test_progress_is_at_most_a_line_in_half_a_minute():
    """However many calls there are, on an injected clock: an hour of one call per second is 120 lines."""
    seconds, lines = iter(range(3_601)), []
    log = progress_log.ProgressLog(lambda text, *parts: lines.append(text % parts), "a", 3_600, now=seconds.__next__)
    for _ in range(3_600):
        log(1)
    assert len(lines) == 120
    assert lines[59] == "a: 1,800 of 3,600 observations (50 %) after 1800 s"


# Writing: a failure on the way


@pytest.fixture
def archived_after(source, monkeypatch):
    """Archive the data source after this many chunks of 12 observations."""
    cut_into_chunks(12, monkeypatch)
    store = upsert.StoreUpsert._store

    def after(chunks):
        done = []

        def store_and_archive(self, rows):
            changed = store(self, rows)
            done.append(rows)
            if len(done) == chunks:
                source.archive()
            return changed

        monkeypatch.setattr(upsert.StoreUpsert, "_store", store_and_archive)

    return after


@pytest.mark.parametrize(("chunks", "complete"), [(1, 0), (2, 1), (5, 2), (8, 4)])
def test_partitions_stored_before_a_failure_are_recorded(run, source, instance, archived_after, chunks, complete):
    """If a range fails partway, complete partitions are materialized with their rows, and the others are not."""
    archived_after(chunks)
    result = run(storing(hourly(), partitions_def=DAYS), tags=FIVE_DAYS, raise_on_error=False)
    assert not result.success
    events = recorded(instance, "orders")
    assert list(events) == [f"2024-06-0{day}" for day in range(1, complete + 1)]
    assert all(event["dagster/partition_row_count"] == 24 for event in events.values())
    newest = [event["temporis/last_observation"] for event in events.values()]
    assert newest == [HOURS[24 * day - 1].timestamp() for day in range(1, complete + 1)]
    _, facts = failure(result)
    assert facts["temporis/stored"] == 12 * chunks == len(source.read())


def test_an_empty_partition_is_recorded_only_between_two_complete_ones(run, instance, archived_after):
    """It is unknown whether the write reached an empty partition at the edge of what was stored."""
    archived_after(4)  # days 1 and 3; 2 and 4 are empty, 5 is not stored
    frame = hourly().drop(HOURS[24:48]).drop(HOURS[72:96])
    run(storing(frame, partitions_def=DAYS), tags=FIVE_DAYS, raise_on_error=False)
    counts = {key: metadata["dagster/partition_row_count"] for key, metadata in recorded(instance, "orders").items()}
    assert counts == {"2024-06-01": 24, "2024-06-02": 0, "2024-06-03": 24}
    assert "temporis/last_observation" not in recorded(instance, "orders")["2024-06-02"]


def test_recorded_partitions_keep_what_the_run_said(run, source, instance, archived_after):
    """They have the metadata of the body as well, so a later load knows the data source that the run chose."""
    archived_after(2)

    @dg.asset(name="orders", partitions_def=DAYS, io_manager_key="temporis_io_manager")
    def orders():
        return dg.MaterializeResult(value=hourly(), metadata={"temporis/data_source": "store_metrics"})

    run(orders, tags=FIVE_DAYS, raise_on_error=False)
    assert recorded(instance, "orders")["2024-06-01"]["temporis/data_source"] == "store_metrics"
    reader = reading(partitions_def=DAYS)
    assert read_of(run(orders, reader, selection=[reader], partition_key="2024-06-01"))["rows"] == 24


def test_a_failed_multi_partition_range_records_whole_windows(run, instance, archived_after):
    """Every partition of a complete day is recorded, under its own key."""
    archived_after(2)
    partitions_def = dg.MultiPartitionsDefinition({"region": dg.StaticPartitionsDefinition(["de"]), "when": DAYS})
    tags = key_range("de|2024-06-01", "de|2024-06-02")
    run(storing(hourly(HOURS[:48]), partitions_def=partitions_def), tags=tags, raise_on_error=False)
    assert list(recorded(instance, "orders")) == ["de|2024-06-01"]


PROJECT = """
import dagster as dg, numpy as np, pandas as pd
from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec, temporis_asset
from tests.support.store_tools import cut_into_chunks

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")

@temporis_asset(data_source="store_metrics", partitions_def=DAYS)
def orders(context):
    windows = [DAYS.time_window_for_partition_key(key) for key in context.partition_keys]
    hours = pd.date_range(windows[0].start, windows[-1].end, freq="h", inclusive="left")
    return pd.DataFrame({"orders": np.arange(len(hours), dtype=float)}, index=hours)

temporis = TemporisResource(url=dg.EnvVar("TEST_STORE"))
defs = dg.Definitions(
    assets=[data_source_spec("store_metrics"), orders],
    resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)},
    jobs=[dg.define_asset_job("orders_job", selection=[orders])],
    executor=dg.EXECUTOR,
)

def orders_job():
    return defs.resolve_job_def("orders_job")
"""


@pytest.fixture
def project(tmp_path, url, monkeypatch):
    """Writes a file of definitions, like that of a code location."""

    def written(executor):
        monkeypatch.setenv("TEST_STORE", url)
        file = tmp_path / f"{executor}_project.py"
        file.write_text(PROJECT.replace("EXECUTOR", executor))
        return file

    return written


@pytest.mark.filterwarnings("ignore")  # of Dagster's daemon, which runs in this process here
def test_an_asset_backfill(project, source):
    """A real backfill of a month is one run, and ends as success."""
    keys = DAYS.get_partition_keys()
    with backfill_environment(project("in_process_executor")) as (instance, workspace):
        assert run_backfill(instance, workspace, "orders", keys) == "COMPLETED_SUCCESS"
        assert instance.get_materialized_partitions(dg.AssetKey("orders")) == set(keys)
        assert instance.get_runs_count() == 1
    assert len(source.read()) == 30 * 24


@pytest.mark.filterwarnings("ignore")  # of Dagster's daemon, which runs in this process here
def test_an_asset_backfill_that_fails_on_the_way(project, source, archived_after):
    """The backfill ends as failed, and knows the days that are stored; only the others need to run again."""
    archived_after(7)
    with backfill_environment(project("in_process_executor")) as (instance, workspace):
        keys = DAYS.get_partition_keys()[:5]
        assert run_backfill(instance, workspace, "orders", keys) == "COMPLETED_FAILED"
        assert instance.get_materialized_partitions(dg.AssetKey("orders")) == set(keys[:3])
    assert len(source.read()) == 84


@pytest.mark.filterwarnings("ignore")  # of Dagster's executor
def test_steps_in_processes_of_their_own(project, source, tmp_path, monkeypatch):
    """The multiprocess executor stores and fails alike: an error with a report crosses processes."""
    file = project("multiprocess_executor")
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.chdir(file.parent)  # where the children look for it
    job = dg.reconstructable(import_module(file.stem).orders_job)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        with dg.execute_job(job, instance, tags=FIVE_DAYS) as result:
            assert result.success
        assert instance.get_materialized_partitions(dg.AssetKey("orders")) == set(DAYS.get_partition_keys()[:5])
        source.archive()
        with dg.execute_job(job, instance, tags=FIVE_DAYS) as result:
            said, facts = failure(result)
    assert "archived" in said.description
    assert facts["temporis/unsent"] == 120


# Reading back


def reading(upstream="orders", **arguments):
    """An asset that says what it was given, as metadata."""

    @dg.asset(name="reader", ins={"frame": dg.AssetIn(upstream)}, **arguments)
    def reader(frame):
        assert frame.dtypes.astype(str).tolist()[::2] == ["datetime64[s, UTC]", "float64"]
        days = sorted(set(frame["timestamp"].dt.day.tolist()))
        return dg.MaterializeResult(metadata={"rows": len(frame), "days": days, "names": sorted(set(frame["name"]))})

    return reader


def read_of(result):
    return next(iter(materializations(result, "reader").values()))


def test_an_input_is_the_windows_of_its_partitions(run, source):
    """One partition gives one day, a range its days, an unpartitioned reader all partitions of the upstream asset."""
    orders = storing(hourly(), partitions_def=dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-06"))
    run(orders, tags=FIVE_DAYS)
    source.upsert(hourly(HOURS + pd.Timedelta(days=30)))
    daily = reading(partitions_def=orders.partitions_def, backfill_policy=dg.BackfillPolicy.single_run())
    one = run(orders, daily, selection=[daily], partition_key="2024-06-02")
    assert (read_of(one)["days"], read_of(one)["rows"]) == ([2], 24)
    some = run(orders, daily, selection=[daily], tags=key_range("2024-06-02", "2024-06-04"))
    assert (read_of(some)["days"], read_of(some)["rows"]) == ([2, 3, 4], 72)
    whole = reading()
    every = run(orders, whole, selection=[whole])
    assert (read_of(every)["days"], read_of(every)["rows"]) == ([1, 2, 3, 4, 5], 120)


@pytest.mark.parametrize(("partitions", "statements"), [(1, 1), (5, 1), (30, 1)])
def test_touching_partitions_are_read_in_one_query(run, source, partitions, statements):
    """The windows of a range are joined: as many statements for a month as for a day, one per series."""
    month = pd.date_range("2024-06-01", "2024-07-01", freq="h", tz="UTC", inclusive="left")
    orders = storing(hourly(month), partitions_def=DAYS)
    keys = DAYS.get_partition_keys()
    run(orders, tags=key_range(keys[0], keys[-1]))
    reader = reading(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    with queries_of_observations() as asked:
        result = run(orders, reader, selection=[reader], tags=key_range(keys[0], keys[partitions - 1]))
    assert (read_of(result)["rows"], len(asked)) == (24 * partitions, statements)


@contextmanager
def queries_of_observations():
    """Every SELECT of observations that SQLite is given, by a connection opened while the block lasts."""
    asked = []

    def watch(connection, _record):
        connection.set_trace_callback(
            lambda statement: asked.append(statement) if "FROM temporis_observation" in statement else None
        )

    sa.event.listen(sa.pool.Pool, "connect", watch)
    try:
        yield asked
    finally:
        sa.event.remove(sa.pool.Pool, "connect", watch)


def test_an_input_in_many_pieces_is_whole(run, source):
    """Windows in more pieces than are read one by one: what lies between them is left out."""
    orders = storing(
        lambda: hourly(pd.date_range("2024-06-01", "2024-08-01", freq="h", tz="UTC", inclusive="left")),
        partitions_def=dg.DailyPartitionsDefinition(
            "2024-06-01",
            end_date="2024-08-01",
            exclusions=excluded(6, *range(2, 30, 2)) + excluded(7, *range(1, 31, 2)),
        ),
        outside_partition="allow",
    )
    run(orders, tags=key_range("2024-06-01", "2024-07-31"))
    reader = reading()
    result = run(orders, reader, selection=[reader])
    assert read_of(result)["rows"] == 24 * len(orders.partitions_def.get_partition_keys())


@pytest.mark.parametrize("series", [["web__orders", "web__returns"], "web__"])
def test_on_a_shared_data_source_an_asset_has_its_own_series(run, source, series):
    """Names or a prefix: others can be neither written nor read back."""
    source.upsert(hourly(name="shop__orders"))
    frame = hourly(name="web__orders").assign(web__returns=1.0)
    orders = storing(frame, series=series)
    reader = reading()
    result = run(orders, reader)
    assert read_of(result)["names"] == ["web__orders", "web__returns"]
    before = source.content_digest()
    stranger = storing(frame.assign(shop__orders=2.0), series=series, retry_policy=dg.RetryPolicy(max_retries=3))
    refused = run(stranger, raise_on_error=False)
    said, _ = failure(refused)
    assert "'shop__orders'" in said.description
    assert (attempts(refused), source.content_digest()) == (1, before)


def test_a_partition_never_materialized_is_an_error(run, source):
    """Not an empty frame: the failure names how many are missing and the first ones, and is not retried."""
    orders = storing(hourly(HOURS[:24]), partitions_def=DAYS)
    run(orders, partition_key="2024-06-01")
    reader = reading(retry_policy=dg.RetryPolicy(max_retries=3))
    result = run(orders, reader, selection=[reader], raise_on_error=False)
    said, _ = failure(result)
    assert "2024-06-02, 2024-06-03, 2024-06-04, 2024-06-05, 2024-06-06, ... (29 in all)" in said.description
    assert attempts(result) == 1


def test_an_asset_never_materialized_is_an_error(run, source):
    """Also where the data source already has observations."""
    source.upsert(hourly())
    orders, reader = storing(hourly()), reading()
    said, _ = failure(run(orders, reader, selection=[reader], raise_on_error=False))
    assert "orders cannot be loaded" in said.description
    assert run(orders, reader).success


def test_a_partition_that_failed_later_can_still_be_read(run, source):
    """Materialized once is materialized, although its last run failed."""
    orders = storing(hourly(HOURS[:24]), partitions_def=DAYS)
    run(orders, partition_key="2024-06-01")
    run(storing(None, partitions_def=DAYS), partition_key="2024-06-01", raise_on_error=False)
    reader = reading(partitions_def=DAYS)
    assert read_of(run(orders, reader, selection=[reader], partition_key="2024-06-01"))["rows"] == 24


# Options


def test_the_data_source_comes_from_what_is_nearest_to_the_run(run, url, source):
    """Output metadata, then the asset's, then the configuration; and it is read back from where the run put it."""
    with connect(url) as temporis:
        chosen = temporis.create_data_source("of_the_run")
        temporis.create_data_source("of_the_configuration")

        @temporis_asset(data_source="store_metrics", name="orders")
        def orders():
            return dg.MaterializeResult(value=hourly(), metadata={"temporis/data_source": "of_the_run"})

        @dg.asset(io_manager_key="temporis_io_manager")
        def returns():
            return hourly()

        reader = reading()
        result = run(orders, returns, reader, options={"data_source": "of_the_configuration"})
        assert read_of(result)["rows"] == len(chosen.read()) == 120
        assert len(temporis.data_source("of_the_configuration").read()) == 120
        assert source.read().empty


def test_without_a_data_source_the_failure_shows_three_ways(run, source):
    """The one thing that cannot be guessed."""

    @dg.asset(io_manager_key="temporis_io_manager")
    def orders():
        return hourly()

    said, _ = failure(run(orders, raise_on_error=False))
    for way in ("@temporis_asset(data_source=", "metadata={'temporis/data_source'", "TemporisIOManager(data_source="):
        assert way in said.description


def test_frame_options_by_metadata_over_configuration(run, source):
    """How to read a frame can be set where it is known best."""
    naive = pd.DataFrame({"at": ["2024-06-01"], "series": "orders", "amount": 1.0}).astype({"at": "datetime64[s]"})
    orders = storing(naive, name_column="series", value="amount", metadata={"temporis/timestamp": "at"})
    run(orders, options={"timezone": "Europe/Berlin", "timestamp": "unknown"})
    assert source.read()["timestamp"].tolist() == [pd.Timestamp("2024-05-31 22:00", tz="UTC")]


@pytest.mark.parametrize(
    "wrong",
    [{"temporis/layout": "tall"}, {"temporis/outside_partition": "ignore"}, {"temporis/timezone": "Mars/Olympus"}],
)
def test_an_unknown_option_value_fails_once(run, source, wrong):
    """A typo in metadata is an error, and not retried."""

    @dg.asset(
        io_manager_key="temporis_io_manager",
        retry_policy=dg.RetryPolicy(max_retries=3),
        metadata={"temporis/data_source": "store_metrics", **wrong},
    )
    def orders():
        return hourly()

    result = run(orders, raise_on_error=False)
    said, _ = failure(result)
    assert next(iter(wrong.values())) in said.description
    assert (attempts(result), source.read().empty) == (1, True)


def test_metadata_of_the_body_never_breaks_the_run(run, source):
    """A body may use our keys, also for single partitions of a range."""

    @temporis_asset(data_source="store_metrics", partitions_def=DAYS)
    def orders(context: dg.AssetExecutionContext):
        context.add_output_metadata({"dagster/uri": "mine", "temporis/stored": "mine", "owner": "me"})
        context.add_asset_metadata({"dagster/partition_row_count": 7}, partition_key="2024-06-02")
        return hourly()

    events = materializations(run(orders, tags=FIVE_DAYS), "orders")
    assert events["2024-06-01"]["dagster/uri"] == source.url
    assert events["2024-06-01"]["owner"] == "me"
    assert len(events) == 5


def test_a_dry_run_checks_everything_and_writes_nothing(run, source):
    """Branch deployments: the materialization says that it was dry, names no place and counts no rows."""
    orders = storing(hourly(HOURS[:24]), partitions_def=DAYS)
    (metadata,) = materializations(run(orders, partition_key="2024-06-01", dry_run=True), "orders").values()
    assert (metadata["temporis/dry_run"], metadata["temporis/unsent"], metadata["temporis/stored"]) == (True, 24, 0)
    assert not [key for key in metadata if key.startswith("dagster/")]
    assert source.read().empty
    refused = run(orders, partition_key="2024-06-02", dry_run=True, raise_on_error=False)
    assert failure(refused)[1]["temporis/outside_count"] == 24


def test_a_dry_run_is_a_warning_in_the_event_log(run, source, instance):
    """Dagster shows a materialization all the same; the log says that nothing was stored."""
    result = run(storing(hourly()), dry_run=True)
    warned = [entry for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert ["nothing was stored" in entry.user_message for entry in warned] == [True]


@pytest.mark.parametrize("partitioned", [False, True])
def test_what_only_a_dry_run_materialized_is_not_read_back(run, source, partitioned):
    """It stored nothing; a dry run of the reader reads what is there, and a real run makes it complete."""
    single_run = {"partitions_def": DAYS, "backfill_policy": dg.BackfillPolicy.single_run()} if partitioned else {}
    when = {"partition_key": "2024-06-01"} if partitioned else {}
    orders, reader = storing(hourly(HOURS[:24]), **single_run), reading(**single_run)
    assert read_of(run(orders, reader, dry_run=True, **when))["rows"] == 0
    said, _ = failure(run(orders, reader, selection=[reader], raise_on_error=False, **when))
    assert "materialized only by dry runs" in said.description
    run(orders, **when)
    run(orders, dry_run=True, **when)
    assert read_of(run(orders, reader, selection=[reader], **when))["rows"] == 24


def test_ops_can_write_too(url, source):
    """The IO manager stores the output of an op, with the data source of its configuration."""

    @dg.op(out=dg.Out(io_manager_key="io"))
    def orders():
        return hourly()

    io_manager = TemporisIOManager(temporis=TemporisResource(url=url), data_source="store_metrics")

    @dg.job(resource_defs={"io": io_manager})
    def job():
        orders()

    assert job.execute_in_process().success
    assert len(source.read()) == 120


def test_works_without_a_run(url, source):
    """In a unit test of a project: Dagster's own contexts are enough."""
    io_manager = TemporisIOManager(temporis=TemporisResource(url=url), data_source="store_metrics")
    context = dg.build_output_context(asset_key="orders")
    io_manager.handle_output(context, hourly())
    assert context.get_logged_metadata()["temporis/stored"].value == 120
    assert len(source.read()) == 120


def test_a_failure_partway_without_a_run_is_what_is_raised(url, source, archived_after):
    """Without a run there is no step to ask for data versions; the failure itself is what a unit test has to see."""
    archived_after(2)
    io_manager = TemporisIOManager(temporis=TemporisResource(url=url), data_source="store_metrics")
    days = dg.PartitionKeyRange("2024-06-01", "2024-06-05")
    context = dg.build_output_context(asset_key="orders", asset_partitions_def=DAYS, asset_partition_key_range=days)
    with pytest.raises(dg.Failure, match="archived"):
        io_manager.handle_output(context, hourly())
    assert len(source.read()) == 24


def test_every_field_is_described_and_none_warns():
    """What the UI shows of the IO manager explains itself, and uses no beta feature."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TemporisIOManager(temporis=TemporisResource(url="sqlite:///temporis.db"))
    for cls in (TemporisIOManager, TemporisResource):
        assert all(field.description for field in cls.model_fields.values())


def test_windows_compare_in_utc():
    """The wall clock of the second 01:00 starts and ends at the same time; its window is an hour all the same."""
    partitions_def = dg.HourlyPartitionsDefinition("2013-11-03-00:00", end_date="2013-11-03-04:00", timezone=NEW_YORK)
    windows = partition_windows(partitions_def, partitions_def.get_partition_keys()[::-1])
    assert list(windows.keys) == partitions_def.get_partition_keys()
    assert (windows.ends - windows.starts).tolist() == [3600] * 5
    start = int(datetime(2013, 11, 3, tzinfo=ZoneInfo(NEW_YORK)).timestamp())
    assert windows.spans() == [(start, start + 5 * 3600)]
    assert windows.of(np.array([start - 1, start, start + 5 * 3600 - 1, start + 5 * 3600])).tolist() == [-1, 0, 4, -1]
    assert partition_windows(partitions_def, []).spans() == []
    assert partition_windows(partitions_def, []).of(np.array([start])).tolist() == [-1]


def test_a_partition_is_read_from_the_data_source_it_was_written_to(run, instance, url):
    """A later run of another partition, into another data source, does not change where this one is read."""
    with connect(url) as temporis:
        temporis.create_data_source("of_june_2")
        temporis.create_data_source("store_metrics")

    @dg.asset(partitions_def=DAYS, io_manager_key="temporis_io_manager")
    def orders(context: dg.AssetExecutionContext):
        chosen = "of_june_2" if context.partition_key == "2024-06-02" else "store_metrics"
        window = context.partition_time_window
        hours = pd.date_range(window.start, window.end, freq="h", inclusive="left")
        return dg.MaterializeResult(value=hourly(hours), metadata={"temporis/data_source": chosen})

    seen = []

    @dg.asset(partitions_def=DAYS)
    def reader(orders: pd.DataFrame) -> None:
        seen.append(len(orders))

    for day in ("2024-06-01", "2024-06-02"):
        assert run(orders, partition_key=day).success
    assert run(orders, reader, selection=[reader], partition_key="2024-06-01").success
    assert run(orders, reader, selection=[reader], partition_key="2024-06-02").success
    assert seen == [24, 24]

    @dg.asset
    def everything(orders: pd.DataFrame) -> None:
        """Reads every partition, so it needs one data source."""

    for day in DAYS.get_partition_keys()[2:]:
        instance.report_runless_asset_event(dg.AssetMaterialization("orders", partition=day))
    failed = run(orders, everything, selection=[everything], raise_on_error=False)
    assert not failed.success
    assert "several data sources" in failed.failure_data_for_node("everything").user_failure_data.description


def test_an_asset_that_moved_is_read_from_where_it_was_written(run, url):
    """Its definition now names another data source; what was stored earlier is read from where it is, not as empty."""
    with connect(url) as temporis:
        temporis.create_data_source("before")
        temporis.create_data_source("after")
    inside = {"partitions_def": DAYS, "outside_partition": "drop"}
    before, after = (storing(hourly(), data_source=name, **inside) for name in ("before", "after"))
    reader = reading(partitions_def=DAYS)
    assert run(before, partition_key="2024-06-01").success
    assert read_of(run(after, reader, selection=[reader], partition_key="2024-06-01"))["rows"] == 24
    everything = reading()
    assert run(after, tags=key_range("2024-06-02", "2024-06-30")).success
    said, _ = failure(run(after, everything, selection=[everything], raise_on_error=False))
    assert "several data sources (after, before)" in said.description
    assert run(after, partition_key="2024-06-01").success
    assert read_of(run(after, everything, selection=[everything]))["rows"] == 120


def test_what_was_materialized_by_hand_is_where_the_definition_says(run, instance, source):
    """A partition reported in the UI names no data source; read with others, it belongs to the definition's."""
    orders, reader = storing(hourly(), partitions_def=DAYS, outside_partition="drop"), reading()
    assert run(orders, tags=key_range("2024-06-01", "2024-06-29")).success
    instance.report_runless_asset_event(dg.AssetMaterialization("orders", partition="2024-06-30"))
    assert read_of(run(orders, reader, selection=[reader]))["rows"] == 120


def test_an_asset_that_depends_on_itself_starts_from_nothing(run, source):
    """Its first partition is given an empty frame, also where its own first write makes the data source."""
    yesterday = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
    ins, given = {"running_total": dg.AssetIn(partition_mapping=yesterday)}, []

    @temporis_asset(data_source="of_its_own", series=["total"], partitions_def=DAYS, ins=ins)
    def running_total(context: dg.AssetExecutionContext, running_total: pd.DataFrame) -> pd.DataFrame:
        given.append(running_total)
        return hourly(HOURS[:1] + pd.Timedelta(days=len(given) - 1), name="total")

    for day in ("2024-06-01", "2024-06-02"):
        assert run(running_total, partition_key=day, create_missing=True).success
    assert [frame["name"].tolist() for frame in given] == [[], ["total"]]
    assert given[0].dtypes.tolist() == given[1].dtypes.tolist() == source.read().dtypes.tolist()


@pytest.mark.parametrize(("series", "warned"), [(None, True), (["orders"], False)])
def test_series_of_others_are_warned_of(run, source, instance, series, warned):
    """An asset that does not declare its own series also reads those of other assets; the run's log warns of it."""
    orders, reader = storing(hourly(), series=series), reading()
    alone = run(orders, reader)
    source.upsert(hourly(name="returns"))
    shared = run(orders, reader)
    warnings_of = [
        [entry.user_message for entry in instance.all_logs(result.run_id) if "may belong to other assets" in str(entry)]
        for result in (alone, shared)
    ]
    assert [len(said) for said in warnings_of] == [0, int(warned)]
    assert all("2 series were read" in said and "'store_metrics'" in said for said in warnings_of[1])


def test_two_time_dimensions_are_refused_once(run, source):
    """Which of two windows a row belongs to is not guessed, and a retry would not help."""
    both = dg.MultiPartitionsDefinition({"a": DAYS, "b": DAYS})

    @dg.asset(
        partitions_def=both,
        io_manager_key="temporis_io_manager",
        metadata={"temporis/data_source": "store_metrics"},
        retry_policy=dg.RetryPolicy(max_retries=2),
    )
    def orders() -> pd.DataFrame:
        return hourly()

    failed = run(
        orders, raise_on_error=False, partition_key=dg.MultiPartitionKey({"a": "2024-06-01", "b": "2024-06-01"})
    )
    assert not failed.success
    assert not failed.retry_attempts_for_node("orders")
    assert "more than one time dimension" in failed.failure_data_for_node("orders").user_failure_data.description
