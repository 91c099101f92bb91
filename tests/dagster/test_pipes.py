"""Dagster Pipes: an external process without Dagster writes an asset, and Dagster shows what the IO manager would."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesMappingParamsLoader,
    decode_param,
    encode_param,
    open_dagster_pipes,
)

from temporis_dagster import ConfigurationError, Series, TemporisResource, UpsertReport, connect, temporis_asset
from temporis_dagster.pipes import launching, partition_keys, report_upsert, upsert, windows
from temporis_dagster.testing import FakeService, answer
from temporis_dagster.writing.dagster_rules import StepPartitions, write_rules
from temporis_dagster.writing.materialized import DEFAULTS
from temporis_dagster.writing.rules_json import rules_as_json, rules_from_json
from tests.conftest import CANARY
from tests.dagster.test_materialize import (
    CASES,
    DAYS,
    FIVE_DAYS,
    HOURS,
    UNEVEN,
    ZONES,
    archive_after,
    hourly,
    materialized,
    returned,
    run,
)
from tests.support import pipes_process
from tests.support.dagster_harness import attempts, failure_of, key_range, materializations
from tests.support.io_manager_tools import failure
from tests.support.recorded_events import recorded_events
from tests.support.store_tools import cut_into_chunks

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `can_subset`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:AssetExecutionContext:DeprecationWarning"),  # Dagster itself calls those
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]


class InThisProcess(dg.PipesClient):
    """A client whose external process is a function, with all that lies between: extras and messages are files."""

    def __init__(self, body):
        self.body = body
        self.context_injector, self.message_reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        self.passed = []

    def run(self, *, context, extras=None):
        """Run the body; an error of its own is the failure of the process."""
        self.passed.append(extras)
        with dg.open_pipes_session(context, self.context_injector, self.message_reader, extras) as session:
            try:
                with external(session) as pipes:
                    self.body(pipes)
            except Exception as error:
                raise dg.DagsterExecutionStepExecutionError("failed with code 1", sys.exc_info(), "orders") from error
        return dg.PipesClientCompletedInvocation(session)


@contextmanager
def external(session):
    """The context of an external process."""
    loader = PipesMappingParamsLoader(session.get_bootstrap_env_vars())
    with PipesContext(loader, PipesDefaultContextLoader(), PipesDefaultMessageWriter()) as pipes:
        yield pipes
    if session.message_handler.received_opened_message:  # else Dagster's reader may stop before it has read the last
        while not session.message_handler.received_closed_message:
            time.sleep(0.01)


def piped(client, options, **arguments):
    """An asset called orders that an external process writes."""

    @temporis_asset(name="orders", data_source="store_metrics", **options)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.run_pipes(client, context=context, **arguments).get_materialize_result()

    return orders


def writing(frame, url, **options):
    """A client whose process upserts a frame."""

    def body(pipes):
        with connect(url, **options) as temporis:
            upsert(pipes, temporis, frame)

    return InThisProcess(body)


@pytest.fixture
def temporis(url):
    return TemporisResource(url=url, create_missing=True)


@pytest.fixture
def processes(tmp_path, url):
    """Make an asset that a real process writes."""

    def asset(way, frame, options, **connection):
        frame.to_pickle(tmp_path / "frame.pickle")
        given = json.dumps({"url": url, "create_missing": True, **connection})
        command = [sys.executable, pipes_process.__file__, way, str(tmp_path / "frame.pickle"), given]
        return piped(dg.PipesSubprocessClient(), options, command=command, extras={"source": "store_metrics"})

    return asset


# The same as with the IO manager


@pytest.mark.parametrize("way", ["in_one_go", "by_its_report"])
def test_a_range_in_a_process_is_recorded_as_with_the_io_manager(way, processes, temporis, tmp_path, instance):
    """A real process that cannot import Dagster: equal metadata of each partition, data versions and page."""
    options = {"partitions_def": DAYS, "series": [Series("orders", unit="1")]}
    assert run(temporis, instance, processes(way, UNEVEN, options), tags=FIVE_DAYS).success
    there = TemporisResource(url=f"sqlite:///{tmp_path}/there.db", create_missing=True)
    with dg.DagsterInstance.ephemeral() as other:
        assert run(there, other, returned(UNEVEN, options), tags=FIVE_DAYS).success
        assert recorded_events(instance, "orders") == recorded_events(other, "orders")
    assert temporis.data_source("store_metrics").content_digest() == there.data_source("store_metrics").content_digest()


def test_a_half_failed_range_in_a_process_records_the_same_partitions(processes, temporis, monkeypatch, tmp_path):
    """Two of five days are stored completely when the data source is archived; the failure is the same."""
    options = {"partitions_def": DAYS, "retry_policy": dg.RetryPolicy(max_retries=2)}
    seen = []
    for way, asset in enumerate((processes("archived_halfway", hourly(), options), returned(hourly(), options))):
        with dg.DagsterInstance.ephemeral() as instance, monkeypatch.context() as patch:
            cut_into_chunks(12, patch)
            used = temporis
            if way:
                url = f"sqlite:///{tmp_path}/there.db"
                used = TemporisResource(url=url, create_missing=True)
                archive_after(5, url, patch)
            result = run(used, instance, asset, tags=FIVE_DAYS)
            said = failure_of(result).event_specific_data.user_failure_data
            facts = {key: entry.value for key, entry in said.metadata.items()}
            events = recorded_events(instance, "orders")
            seen.append((events, said.description.split("sqlite:")[0], facts, attempts(result)))
    assert seen[0] == seen[1]
    events, _, facts, tries = seen[0]
    assert [key for key, _, _ in events["materializations"]] == ["2024-06-01", "2024-06-02"]
    assert (facts["temporis/error"], tries) == ("DataSourceArchivedError", 1)


def test_a_killed_process_records_nothing_and_may_run_again(processes, temporis, instance):
    """It could not say what it had stored. The retry policy decides, and the next run stores the rest."""
    options = {"partitions_def": DAYS, "retry_policy": dg.RetryPolicy(max_retries=1)}
    result = run(temporis, instance, processes("killed_halfway", hourly(), options), tags=FIVE_DAYS)
    assert "failed with code -9" in str(failure_of(result).event_specific_data.error)
    assert (attempts(result), len(temporis.data_source("store_metrics").read())) == (2, 60)
    assert not recorded_events(instance, "orders")["materializations"]
    assert run(temporis, instance, processes("in_one_go", hourly(), options), tags=FIVE_DAYS).success


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_recorded_as_with_the_io_manager(case, tmp_path):
    """By ``materialize``, and with all that travels as extras and messages. The second time nothing is new."""
    frame, options, how = CASES[case]

    def by_pipes(frame, options):
        return piped(writing(frame, url, create_missing=True), options)

    seen = []
    for way, make in enumerate((returned, materialized, by_pipes)):
        url = f"sqlite:///{tmp_path}/{way}.db"
        temporis = TemporisResource(url=url, create_missing=True)
        with dg.DagsterInstance.ephemeral() as instance:
            asset = make(frame, options)
            assert [run(temporis, instance, asset, **how).success for _ in range(2)] == [True, True]
            seen.append(recorded_events(instance, "orders"))
    assert seen[0]["materializations"]
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]


def test_a_dry_run_says_that_it_is_one(url, temporis, instance):
    """The process decides whether it is one: its connection writes."""
    asset = piped(writing(UNEVEN, url, dry_run=True, create_missing=True), {"partitions_def": DAYS})
    events = materializations(run(temporis, instance, asset, tags=FIVE_DAYS), "orders")
    assert {metadata["temporis/dry_run"] for metadata in events.values()} == {True}
    assert not any("dagster/uri" in metadata for metadata in events.values())


def test_rows_outside_and_limits_are_refused_before_anything_is_sent(url, temporis, instance):
    """With the tables of the failure, and never retried."""
    options = {"partitions_def": DAYS, "retry_policy": dg.RetryPolicy(max_retries=2), "max_changed": 0}
    result = run(temporis, instance, piped(writing(hourly(), url), options), partition_key="2024-06-01")
    assert "96 of 120 observations lie outside the run's partitions (2024-06-01)" in failure(result)
    assert attempts(result) == 1
    day = hourly(HOURS[:24])
    first = run(temporis, instance, piped(writing(day, url, create_missing=True), options), partition_key="2024-06-01")
    assert first.success
    again = run(temporis, instance, piped(writing(day + 1, url), options), partition_key="2024-06-01")
    assert "would change more of 'store_metrics' than this asset allows" in failure(again)
    assert "temporis/plan" in failure_of(again).event_specific_data.user_failure_data.metadata
    tags = {"temporis/ignore_limits": "true"}
    assert run(temporis, instance, piped(writing(day + 1, url), options), partition_key="2024-06-01", tags=tags).success


def test_a_long_wait_becomes_a_retry_of_the_step(instance):
    """As with the IO manager; another outage is left to the retry policy."""
    faults = [answer(503, retry_after=1)]
    with FakeService(script=lambda _: faults[0] if faults else None) as service:
        service.create_data_source("store_metrics")
        temporis = TemporisResource(url=service.url, token=service.token, give_up_after_s=0.5)

        def body(pipes):
            with connect(service.url, service.token, give_up_after_s=0.01) as connection:
                try:
                    upsert(pipes, connection, hourly())
                finally:
                    faults.clear()

        result = run(temporis, instance, piped(InThisProcess(body), {}))
        (retry,) = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
        assert 0.5 < retry.event_specific_data.seconds_to_wait <= 1
        assert result.success
        faults.append(answer(503))
        outage = run(temporis, instance, piped(InThisProcess(body), {"retry_policy": dg.RetryPolicy(max_retries=1)}))
    assert (outage.success, attempts(outage)) == (True, 2)


def test_partitions_that_overwrite_each_other_are_found_afterwards(url, temporis, instance):
    """Only Dagster knows what other partitions wrote, so it looks when the process has said which series it wrote."""
    asset = piped(writing(hourly(), url, create_missing=True), {"partitions_def": ZONES})
    assert run(temporis, instance, asset, partition_key="north").success
    assert "also written by partition 'north'" in failure(run(temporis, instance, asset, partition_key="south"))


def test_several_assets_are_written_by_one_process(url, temporis, instance):
    """Each by its key; an asset without a data source is left to the process."""
    specs = [
        dg.AssetSpec("orders", metadata={"temporis/data_source": "shop"}),
        dg.AssetSpec("visits", metadata={"temporis/data_source": "web"}),
        dg.AssetSpec("model"),
    ]

    def body(pipes):
        with connect(url, create_missing=True) as connection:
            upsert(pipes, connection, hourly(HOURS[:24]), asset_key="orders")
            upsert(pipes, connection.data_source("web"), hourly(HOURS[:12]), asset_key="visits")
            pipes.report_asset_materialization({"loss": 0.1}, asset_key="model")
            with pytest.raises(ConfigurationError, match="Pass asset_key="):
                upsert(pipes, connection, hourly())

    @dg.multi_asset(specs=specs, partitions_def=DAYS)
    def shop(context: dg.AssetExecutionContext, temporis: TemporisResource):
        yield from temporis.run_pipes(InThisProcess(body), context=context).get_results()

    result = run(temporis, instance, shop, partition_key="2024-06-01")
    rows = [materializations(result, asset)["2024-06-01"] for asset in ("orders", "visits", "model")]
    assert [each.get("dagster/partition_row_count") for each in rows] == [24, 12, None]
    assert rows[2]["loss"] == 0.1


def test_a_session_of_ones_own_needs_the_extras_and_gives_the_results(url, temporis, instance):
    """Without ``run_pipes``: the same metadata."""

    @temporis_asset(name="orders", data_source="store_metrics", partitions_def=DAYS)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource):
        injector, reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        extras = temporis.pipes_extras(context)
        with dg.open_pipes_session(context, injector, reader, extras) as session, external(session) as pipes:
            writing(UNEVEN, url, create_missing=True).body(pipes)
        yield from temporis.pipes_results(session, context=context)

    events = materializations(run(temporis, instance, orders, tags=FIVE_DAYS), "orders")
    assert [events[f"2024-06-0{day}"]["dagster/partition_row_count"] for day in range(1, 6)] == [24, 6, 0, 24, 24]


def test_a_client_without_our_help_shows_the_counts_of_all_partitions(url, temporis, instance):
    """``get_materialize_result`` of Dagster's own clients: the process reports a materialization as well."""

    @temporis_asset(name="orders", data_source="store_metrics", partitions_def=DAYS)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        client = writing(UNEVEN, url, create_missing=True)
        return client.run(context=context, extras=temporis.pipes_extras(context)).get_materialize_result()

    events = materializations(run(temporis, instance, orders, tags=FIVE_DAYS), "orders")
    assert {metadata["temporis/stored"] for metadata in events.values()} == {78}
    assert {metadata["temporis/data_source"] for metadata in events.values()} == {"store_metrics"}


def test_a_report_without_rows_shows_its_counts(url, temporis, instance):
    """Such as one that was added up of many tasks: what it does not tell is left out, not made up."""
    told = UpsertReport("store_metrics", observations_in=10, stored=7, rejected=2, superseded=1, series=3)
    asset = piped(InThisProcess(lambda pipes: report_upsert(pipes, told)), {"partitions_def": DAYS})
    (day,) = materializations(run(temporis, instance, asset, partition_key="2024-06-01"), "orders").values()
    assert (day["dagster/partition_row_count"], day["temporis/rejected"], day["temporis/series_count"]) == (7, 2, 3)
    events = materializations(run(temporis, instance, asset, tags=FIVE_DAYS), "orders")
    assert not any("dagster/partition_row_count" in metadata for metadata in events.values())


# What the process is told


def test_the_process_knows_its_windows_also_in_a_range(temporis, instance):
    """Where Dagster Pipes give neither a key nor a window: in UTC, over the change of the clock."""
    berlin = dg.DailyPartitionsDefinition("2024-03-30", end_date="2024-04-02", timezone="Europe/Berlin")
    told = []

    def body(pipes):
        told.extend(windows(pipes))
        assert partition_keys(pipes) == ("2024-03-30", "2024-03-31", "2024-04-01")
        raise StopIteration

    run(
        temporis,
        instance,
        piped(InThisProcess(body), {"partitions_def": berlin}),
        tags=key_range("2024-03-30", "2024-04-01"),
    )
    assert [(each.end - each.start) / pd.Timedelta("1h") for each in told] == [24, 23, 24]
    assert told[0].start == pd.Timestamp("2024-03-29 23:00", tz="UTC")


def test_a_year_of_hours_fits_into_an_environment_variable():
    """Clients that pass extras so have 128 kB for them. What arrives is what was passed."""
    hours = dg.HourlyPartitionsDefinition("2024-01-01-00:00", end_date="2025-01-01-00:00", timezone="Europe/Berlin")
    partitions = StepPartitions(hours, hours.get_partition_keys(), None, None)
    rules = write_rules({**DEFAULTS, "data_source": "shop"}, {}, {}, partitions, is_asset=True, tags={})
    passed = encode_param(rules_as_json(rules))
    assert len(passed) < 100_000
    arrived = rules_from_json(decode_param(passed))
    assert arrived.windows.keys == rules.windows.keys
    for column in ("numbers", "starts", "ends"):
        assert np.array_equal(getattr(arrived.windows, column), getattr(rules.windows, column))
    assert replace(arrived, windows=None) == replace(rules, windows=None)


def test_the_extras_hold_no_secret(instance):
    """Neither URL nor token nor a tag of somebody else's: the process connects with its own environment."""
    temporis = TemporisResource(url="https://user:word@example.com", token=CANARY)
    client = InThisProcess(lambda _: None)
    tags = {**FIVE_DAYS, "password": "hunter2", "temporis/ignore_limits": "true"}
    run(temporis, instance, piped(client, {"partitions_def": DAYS}), tags=tags)
    said = json.dumps(client.passed)
    assert "store_metrics" in said
    assert not any(secret in said for secret in (CANARY, "example.com", "password", "hunter2", "word@"))


def test_nothing_of_it_imports_dagster(tmp_path):
    """Neither the functions nor what they import."""
    code = "import sys; sys.modules['dagster'] = None; import temporis_dagster.pipes; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "fine\n"


# Refused


def test_a_process_that_cannot_be_meant_is_told_what_to_do(url, temporis, instance):
    """Before anything is sent; the step fails once, with the same words."""

    def of_another(pipes):
        report_upsert(pipes, UpsertReport("elsewhere"))

    def of_nothing(pipes):
        with connect(url) as connection:
            upsert(pipes, connection, None)

    def of_an_unknown_asset(pipes):
        report_upsert(pipes, UpsertReport("store_metrics"), asset_key="visits")

    def twice(pipes):
        report_upsert(pipes, UpsertReport("store_metrics"))
        report_upsert(pipes, UpsertReport("store_metrics"))

    def of_another_source(pipes):
        with connect(url) as connection:
            upsert(pipes, connection.data_source("elsewhere"), hourly())

    texts = {
        of_another: "The report is of the data source 'elsewhere', but the asset writes to 'store_metrics'",
        of_nothing: "data must be a DataFrame or a stream, got None",
        of_an_unknown_asset: "asset_key='visits' is not among the assets that this process is to write: 'orders'",
        twice: "'orders' has already been reported by this process",
        of_another_source: "The asset writes to 'store_metrics', but the data source is 'elsewhere'",
    }
    for body, text in texts.items():
        told = []

        def tried(pipes, body=body, told=told):
            with pytest.raises(ConfigurationError) as refused:
                body(pipes)
            told.append(str(refused.value))
            raise refused.value

        result = run(temporis, instance, piped(InThisProcess(tried), {}))
        assert text in told[0]
        assert not result.success


def test_a_process_without_extras_is_told_where_they_come_from(temporis, instance):
    """The asset launched it without our help, or nothing launched it."""
    told = []

    def body(pipes):
        with pytest.raises(ConfigurationError) as refused:
            windows(pipes)
        told.append(str(refused.value))

    @dg.asset
    def orders(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return InThisProcess(body).run(context=context).get_materialize_result()

    assert run(temporis, instance, orders).success
    with pytest.warns(match="was not launched by a Dagster"), open_dagster_pipes() as pipes:
        body(pipes)
    assert told[0].startswith("The asset passed nothing for Temporis to this process. Launch it from an asset")
    assert told[1].startswith("This process was not launched by Dagster Pipes")


def test_a_success_without_a_report_is_none(temporis, instance):
    """A message may be lost, or the process may have forgotten it: nothing is known, so nothing is materialized."""
    options = {"retry_policy": dg.RetryPolicy(max_retries=1)}
    result = run(temporis, instance, piped(InThisProcess(lambda _: None), options))
    assert "has ended without reporting what it wrote to 'orders'" in failure(result)
    assert attempts(result) == 2
    assert not recorded_events(instance, "orders")["materializations"]


def test_a_process_that_says_nothing_fails_as_ever(processes, temporis, instance):
    """Its own mistakes are Dagster's to show."""
    result = run(temporis, instance, processes("broken", hourly(), {}))
    assert "External execution process failed with code 1" in str(failure_of(result).event_specific_data.error)


def test_an_old_dagster_pipes_is_refused_before_anything_is_sent(url, temporis, instance):
    """Without messages Dagster would not know what became of the rows."""

    def body(pipes):
        class Old:
            extras, log, run_id = pipes.extras, pipes.log, pipes.run_id

        with connect(url, create_missing=True) as connection:
            with pytest.raises(ConfigurationError, match="Upgrade it: pip install --upgrade dagster-pipes"):
                upsert(Old(), connection, hourly())
            assert not connection.data_sources()
        report_upsert(pipes, UpsertReport("store_metrics"))

    assert run(temporis, instance, piped(InThisProcess(body), {})).success


def test_an_asset_that_cannot_be_meant_fails_before_the_process_starts(temporis, instance):
    """No data source, or what cannot be checked elsewhere."""
    client = InThisProcess(lambda _: pytest.fail("started"))

    @dg.asset
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.run_pipes(client, context=context).get_materialize_result()

    assert "does not know the data source of the asset" in failure(run(temporis, instance, orders))
    pandera = pytest.importorskip("pandera.pandas")
    checked = piped(client, {"schema": pandera.DataFrameSchema({"orders": pandera.Column(float)})})
    assert "cannot be checked in another process" in failure(run(temporis, instance, checked))


class Late:
    """What a reader has received that is slower than its process: nothing, when that has ended."""

    looks = 0

    @property
    def received_opened_message(self) -> bool:
        return self.looks > 2

    @property
    def received_closed_message(self) -> bool:
        self.looks += 1
        return self.looks > 4


def test_the_messages_of_a_process_that_is_quicker_than_the_reader_are_waited_for():
    """A reader of Dagster stops when the process has ended and it finds nothing more: it must not have ended yet."""
    handler = Late()
    with launching._patient(lambda _: nullcontext({}), [])(handler):
        pass
    assert handler.looks == 5
