"""What a task of Spark does, without Spark: tables, keys with two values, its report, and what a repetition may heal.

The job as a whole is in tests/distributed/test_spark.py.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    InvalidObservationsError,
    RejectedObservationsError,
    Series,
    StoreError,
    TemporisError,
    UnavailableError,
    connect,
    spark,
)
from temporis_dagster.data_source.connection import reconnection_of
from temporis_dagster.spark.adding_up import raise_failures, report_of
from temporis_dagster.spark.columns import columns_of
from temporis_dagster.spark.gathering import gathered
from temporis_dagster.spark.outcome import SHOWN_ROWS, outcome_of, series_of
from temporis_dagster.spark.task import Task
from temporis_dagster.spark.words import SparkOptions
from temporis_dagster.testing import FakeService, answer
from tests.conftest import CANARY
from tests.support.secrets_shown import showing

TYPES = {"int64": "bigint", "double": "double", "string": "string", "timestamp[us, tz=UTC]": "timestamp"}


@dataclass
class Schema:
    """As much of a Spark frame as the columns are found by."""

    dtypes: list[tuple[str, str]]


def columns(table, order_by=(), **options):
    dtypes = [(field.name, TYPES[str(field.type)]) for field in table.schema]
    return columns_of(Schema(dtypes), SparkOptions(**options), order_by)


def long(keys, values, **more):
    stamps = [stamp for stamp, _ in keys]
    names = [name for _, name in keys]
    return pa.table(
        {"timestamp": pa.array(stamps, pa.int64()), "name": pa.array(names, pa.string()), "value": values, **more}
    )


def job(tables, source, *, order_by=(), together=True, rows=200_000, attempts=1, attempt=0, series=(), **options):
    """What ``spark.upsert`` makes of partitions, each a table whose rows are in the order of a shuffle."""
    options = SparkOptions(**options)
    roles = columns(tables[0], order_by)
    task = Task(reconnection_of(source), source.name, options, tuple(series), roles, together, rows, attempts)
    task = pickle.loads(pickle.dumps(task))  # as it reaches an executor
    sent = [
        batch.to_pylist()[0]
        for partition, table in enumerate(tables)
        for batch in task.run(table.select(list(roles.types)).to_batches(max_chunksize=7), partition, attempt)
    ]
    outcomes = [outcome_of(row["outcome"]) for row in sent]
    names = series_of(row["series"] for row in sent)
    report = report_of(outcomes, len(names), data_source=source.name, duration_s=0.0, dry_run=False)
    raise_failures(outcomes, report, source.url, options)
    return report


@pytest.fixture
def source(url):
    with connect(url, create_missing=True) as temporis:
        yield temporis.data_source("store_metrics")


# Batches become tables


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["a", "b", None])), max_size=60),
    st.integers(1, 20),
    st.integers(1, 9),
)
def test_a_table_never_ends_between_two_rows_of_one_key(keys, rows, size):
    """Every row comes once, in order; a key is in one table; and only rows of one key make a table larger."""
    keys.sort(key=lambda key: (key[0], key[1] or ""))
    table = long(keys, pa.array(range(len(keys)), pa.float64()))
    tables = list(gathered(table.to_batches(max_chunksize=size), rows, ("timestamp", "name")))
    assert [value for part in tables for value in part["value"].to_pylist()] == list(range(len(keys)))
    assert all(part.num_rows for part in tables)
    whole = [set(zip(part["timestamp"].to_pylist(), part["name"].to_pylist(), strict=True)) for part in tables]
    complete = [{key for key in part if key[1] is not None} for part in whole]
    assert sum(map(len, complete)) == len(set().union(*complete))
    longest = max((keys.count(key) for key in keys), default=0)
    assert all(part.num_rows <= rows + longest for part in tables)


def test_without_a_shuffle_tables_are_cut_anywhere():
    """Then a table has exactly the rows that were asked for."""
    table = long([(0, "a")] * 10, pa.array(range(10), pa.float64()))
    assert [part.num_rows for part in gathered(table.to_batches(max_chunksize=3), 4)] == [4, 4, 2]


# Keys with two values

NUMBERS = count()


@contextmanager
def one_store(tmp_path_factory):
    """A data source of its own, in a file that all examples share."""
    folder = tmp_path_factory.getbasetemp() / "of_order_by"
    folder.mkdir(exist_ok=True)
    with connect(f"sqlite:///{folder}/store.db", create_missing=True) as temporis:
        yield temporis.data_source(f"number_{next(NUMBERS)}")


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 2), st.sampled_from([1.0, 2.0])),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_what_wins_is_decided_by_order_by_or_refused(tmp_path_factory, drawn, ordered):
    """The rows of the largest order win if they agree; without an order, all rows of a key must."""
    drawn.sort(key=lambda row: row[:3] if ordered else row[:2])
    keys = [row[:2] for row in drawn]
    table = long(keys, [row[3] for row in drawn], loaded=pa.array([row[2] for row in drawn], pa.int64()))
    best, agreed = {}, True
    for key in set(keys):
        of_key = [row for row in drawn if row[:2] == key]
        largest = [row for row in of_key if not ordered or row[2] == max(other[2] for other in of_key)]
        agreed &= len({row[3] for row in largest}) == 1
        best[key] = largest[-1][3]
    with one_store(tmp_path_factory) as source:
        by = {"order_by": ("loaded",)} if ordered else {}
        if agreed:
            report = job([table], source, **by)
            assert (report.stored, report.superseded) == (len(best), len(drawn) - len(best))
            stored = source.read()
            seconds = stored["timestamp"].astype("int64").tolist()
            assert dict(zip(zip(seconds, stored["name"], strict=True), stored["value"], strict=True)) == best
        else:
            with pytest.raises(InvalidObservationsError, match=r"order_by") as caught:
                job([table], source, **by)
            assert caught.value.report.unsent == caught.value.report.observations_in == len(drawn)


def test_of_a_key_with_two_values_neither_is_sent_but_other_tables_are(source):
    """The promise without ``order_by``: what is refused is what was about to be sent with the two; it is named."""
    keys = [(0, "a"), (60, "a"), (60, "a"), (120, "a")]
    with pytest.raises(
        InvalidObservationsError, match=r"1 of 2 observations .*'a' at 1970-01-01T00:01:00.* the value 3\.0"
    ) as caught:
        job([long(keys, [1.0, 2.0, 3.0, 4.0]), long([(0, "b")], [5.0])], source, rows=1)
    report, error = caught.value.report, caught.value
    assert (report.stored, report.unsent, report.observations_in) == (2, 2, 4), "what comes after it is not even read"
    assert (error.invalid, error.conflicts, error.observations_in) == (1, 1, 2)
    assert error.rows[["partition", "attempt", "name", "value"]].to_numpy().tolist() == [[0, 0, "a", 2.0]]
    assert source.read()["value"].tolist() == [1.0, 5.0]


def test_a_wide_table_takes_each_cell_from_the_newest_row_that_has_it(source):
    """The columns that only order rows are no series."""
    wide = pa.table({
        "timestamp": pa.array([0, 0, 60], pa.int64()),
        "a": [1.0, 2.0, 3.0],
        "b": [4.0, None, 5.0],
        "loaded": pa.array([1, 2, 1], pa.int64()),
    })  # fmt: skip
    report = job([wide], source, order_by=("loaded",))
    assert (report.stored, report.superseded, report.series) == (4, 1, 2)
    assert source.read()["value"].tolist() == [2.0, 4.0, 3.0, 5.0]


# What comes back


def test_reports_are_added_up_and_series_counted_once(source):
    """Counts are sums, series a set, timestamps the first and the last; repeating a task stores nothing new."""
    tables = [long([(60, "a"), (120, "b")], [1.0, 2.0]), long([(0, "b"), (0, "c")], [3.0, 4.0])]
    report = job(tables, source)
    assert (report.stored, report.series, report.observations_in) == (4, 3, 4)
    assert (report.first_timestamp.timestamp(), report.last_timestamp.timestamp()) == (0, 120)
    again = job(tables, source, attempt=1)
    assert (again.stored, again.unchanged, again.series) == (0, 4, 3)


def test_the_driver_gets_the_first_rows_of_each_outcome_and_where_they_were(source):
    """However many were dropped: a partition's rows are numbered, with their reasons."""
    many = 3 * SHOWN_ROWS
    report = job([long([(0, "a")] * many, [np.nan] * many)] * 2, source, on_invalid="drop", rows=7)
    assert report.dropped == report.observations_in == 2 * many
    rows = report.dropped_rows
    assert len(rows) == SHOWN_ROWS
    assert rows["label"].tolist() == list(range(SHOWN_ROWS))
    assert set(rows["partition"]) | set(rows["attempt"]) == {0}
    assert rows["reason"].str.contains("the value is missing").all()


def test_an_invalid_row_ends_its_task_and_the_others_go_on(source):
    """The error is that of pandas frames, with where the rows are, and the report of all tasks."""
    tables = [long([(0, "a"), (60, "")], [1.0, 2.0]), long([(0, "b")], [3.0])]
    with pytest.raises(InvalidObservationsError, match=r"^Partition 0: 1 of 2 observations .* is invalid") as caught:
        job(tables, source)
    assert "on_invalid='drop'" in str(caught.value)
    assert "1 of 2 tasks ended early; 1 of 3 observations" in str(caught.value)
    assert (caught.value.report.stored, caught.value.report.unsent) == (1, 2)
    assert caught.value.rows[["partition", "row", "column"]].to_numpy().tolist() == [[0, 1, "name"]]
    assert pickle.loads(pickle.dumps(caught.value)).report.stored == 1


def test_a_contract_holds_in_every_task(source):
    """A row that breaks one is invalid."""
    with pytest.raises(InvalidObservationsError, match="maximum"):
        job([long([(0, "a")], [3.0])], source, series=[Series("a", maximum=2)])


# Errors


def test_what_a_repetition_cannot_heal_is_reported_instead_of_raised(source):
    """Spark would repeat the task in vain, and drop what it had found out: so the error comes back as a row."""
    source.upsert(pd.DataFrame({"timestamp": [0], "name": "a", "value": 1.0}))
    source.archive()
    with pytest.raises(DataSourceArchivedError, match="is archived") as caught:
        job([long([(0, "a")], [1.0]), long([(0, "b"), (60, "b")], [1.0, 2.0])], source, attempts=4)
    assert caught.value.report.unsent == 3
    assert caught.value.report.unsent_rows["partition"].tolist() == [0, 1, 1]


def test_an_outage_is_left_to_repetitions_while_there_are_some():
    """Then the last attempt reports it: the job ends with the counts of all tasks, and not with an error of Spark."""
    table = long([(0, "a")], [1.0])
    with FakeService(script=lambda _: answer(503)) as service:
        connection = connect(service.url, service.token, give_up_after_s=0.01)
        source = connection.data_source("store_metrics")
        for attempt in range(3):
            with pytest.raises(UnavailableError, match=r"^Data source") as caught:
                job([table], source, attempts=4, attempt=attempt)
        with pytest.raises(UnavailableError, match=r"^Partition 0: ") as caught:
            job([table], source, attempts=4, attempt=3)
    assert caught.value.report.observations_in == 1
    assert caught.value.attempts >= 1
    assert caught.value.retryable


def test_a_token_that_the_service_does_not_know_says_whose_environment_counts():
    """The error tells where a token for executors is set."""
    with (
        FakeService() as service,
        connect(service.url, "ts_wrong") as temporis,
        pytest.raises(AuthenticationError, match=r"spark\.executorEnv\.TEMPORIS_TOKEN"),
    ):
        job([long([(0, "a")], [1.0])], temporis.data_source("store_metrics"))


def test_rows_that_the_service_rejects_do_not_end_a_task():
    """All others are stored before the error is raised; with ``on_invalid="drop"``, none is."""
    table = long([(0, "a"), (60, "a"), (120, "a")], [1.0, 2.0, 3.0])

    def fault_of(record):
        return "unwanted" if record["timestamp"] == 0 else None

    with FakeService(fault_of=fault_of) as service, connect(service.url, service.token) as temporis:
        source = temporis.data_source("store_metrics")
        with pytest.raises(RejectedObservationsError, match=r"rejected 1 of 3 .* stored 2") as caught:
            job([table], source, rows=1)
        assert caught.value.report.rejected_rows["partition"].tolist() == [0]
        assert job([table], source, rows=1, on_invalid="drop").rejected == 1


def test_of_different_errors_the_one_that_no_repetition_heals_is_raised(source, monkeypatch):
    """An invalid row in one task is worth more than a locked database in another."""
    broken = StoreError("The database is locked.", url="sqlite:///x.db", retryable=True)
    tables = [long([(0, "a")], [1.0]), long([(0, "")], [1.0])]
    monkeypatch.setattr(type(source), "upsert", _raising(broken))
    with pytest.raises(InvalidObservationsError, match=r"^Partition 1: .* 2 of 2 tasks ended early"):
        job(tables, source)
    with pytest.raises(StoreError, match=r"^Partition 0: The database is locked\.") as caught:
        job(tables[:1], source)
    assert (caught.value.url, caught.value.retryable) == ("sqlite:///x.db", True)


def _raising(error):
    def upsert(*_args, **_named):
        raise error

    return upsert


# How a task connects


def test_a_token_of_the_environment_stays_there(monkeypatch):
    """Only one that was passed travels; an executor without one says so, and how to give it one."""
    monkeypatch.setenv("TEMPORIS_TOKEN", CANARY)
    with FakeService(token=CANARY) as service:
        source = connect(service.url).data_source("store_metrics")
        assert CANARY.encode() not in pickle.dumps(reconnection_of(source))
        assert job([long([(0, "a")], [1.0])], source).stored == 1
        passed = connect(service.url, CANARY).data_source("store_metrics")
        assert CANARY not in repr(reconnection_of(passed))
        monkeypatch.delenv("TEMPORIS_TOKEN")
        with pytest.raises(TemporisError, match="TEMPORIS_TOKEN") as caught:
            job([long([(0, "a")], [1.0])], source)
        assert job([long([(0, "a")], [1.0])], passed).stored == 1
    assert showing(caught.value, CANARY) == []


def test_a_relative_path_is_that_of_the_driver(tmp_path, monkeypatch):
    """Wherever a task runs on this machine."""
    monkeypatch.chdir(tmp_path)
    source = connect("sqlite:///here.db", create_missing=True).data_source("store_metrics")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert job([long([(0, "a")], [1.0])], source).stored == 1
    assert (tmp_path / "here.db").exists()


def test_executors_need_no_dagster():
    """A connection of a resource is sent as that of ``connect``."""
    from temporis_dagster import TemporisResource

    source = TemporisResource(url="http://127.0.0.1:1", requests_per_second=3.0).data_source("store_metrics")
    packed = pickle.dumps(reconnection_of(source))
    assert b"resource" not in packed
    assert pickle.loads(packed).options.requests_per_second == 3.0


def test_without_pyspark_the_call_says_what_to_install(source, monkeypatch):
    """The module can be imported; using it names the extra."""
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigurationError, match=r"temporis-dagster\[spark\]"):
        spark.upsert(pd.DataFrame(), source)


# What is refused before a job


@pytest.mark.parametrize(
    ("types", "options", "said"),
    [
        ({"timestamp": "timestamp_ntz"}, {}, "TIMESTAMP_NTZ, so its times have no time zone.*timezone="),
        ({"timestamp": "date"}, {}, "DATE, so its times have no time zone"),
        ({"timestamp": "string"}, {}, r"STRING.*to_timestamp\(\.\.\.\)"),
        ({"timestamp": "array<bigint>"}, {}, "must hold timestamps or numbers"),
        ({"name": "bigint"}, {"layout": "long"}, "must hold the names of series.*cast the names to STRING"),
        ({"value": "boolean"}, {}, "'value' must hold numbers, but is BOOLEAN"),
        ({"value": "map<string,double>"}, {}, "must hold numbers"),
        ({"name": "double"}, {"layout": "wide", "timestamp": "at"}, "There is no column 'at'"),
        ({}, {"value": "amount"}, "There is a column 'name' but no column 'amount'"),
    ],
)  # fmt: skip
def test_types_of_which_no_row_could_be_stored_are_refused_at_once(types, options, said):
    """Not row by row in every task, and never dropped with ``on_invalid="drop"``."""
    kinds = {"timestamp": "timestamp", "name": "string", "value": "decimal(10,2)", **types}
    with pytest.raises(InvalidObservationsError, match=said):
        columns_of(Schema(list(kinds.items())), SparkOptions(on_invalid="drop", **options), ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ambiguous": "infer"}, "ambiguous='infer' needs"),
        ({"nonexistent": "shift_forward"}, "convert_timezone"),
        ({"timestamp": None}, "timestamp must be the name of a column"),
    ],
)
def test_options_that_need_all_rows_of_a_frame_are_refused(options, said):
    """Each task sees a part of the rows only."""
    with pytest.raises(ConfigurationError, match=said):
        SparkOptions(**options)
