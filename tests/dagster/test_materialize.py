"""``TemporisResource.materialize``: what the IO manager does with a returned frame, called from an asset's own body."""

import inspect

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from temporis_dagster import (
    Series,
    TemporisIOManager,
    TemporisResource,
    UpsertReport,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.asset_options import PER_RUN_OPTIONS
from temporis_dagster.testing import FakeService, answer, in_sequence
from tests.support.dagster_harness import attempts, failure_of, key_range, materializations
from tests.support.io_manager_tools import failure
from tests.support.recorded_events import recorded_events
from tests.support.store_tools import cut_into_chunks

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `can_subset`:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")
ZONES = dg.StaticPartitionsDefinition(["north", "south"])
DAY_AND_ZONE = dg.MultiPartitionsDefinition({"day": DAYS, "zone": ZONES})
HOURS = pd.date_range("2024-06-01", "2024-06-06", freq="h", tz="UTC", inclusive="left")
FIVE_DAYS = key_range("2024-06-01", "2024-06-05")
ONCE = dg.BackfillPolicy.single_run()


def hourly(hours=HOURS, *names):
    return pd.DataFrame({name: np.arange(len(hours), dtype=float) for name in names or ("orders",)}, index=hours)


UNEVEN = hourly().drop(HOURS[30:72]).sample(frac=1, random_state=1)
INVALID = UNEVEN.reset_index(names="timestamp").melt("timestamp", var_name="name").replace({"value": {5.0: np.inf}})
TWO_ZONES = hourly(HOURS[:48], "load_north", "load_south")

CASES = {
    "unpartitioned": (hourly(), {}, {}),
    "a day": (hourly(HOURS[:24]), {"partitions_def": DAYS}, {"partition_key": "2024-06-01"}),
    "a range": (UNEVEN, {"partitions_def": DAYS}, {"tags": FIVE_DAYS}),
    "a range, some rows of it dropped": (
        INVALID,
        {"partitions_def": DAYS, "on_invalid": "drop"},
        {"tags": FIVE_DAYS},
    ),
    "rows outside": (
        hourly(),
        {"partitions_def": DAYS, "outside_partition": "drop"},
        {"tags": key_range("2024-06-02", "2024-06-03")},
    ),
    "limits": (hourly(), {"partitions_def": DAYS, "series": ["orders"], "max_changed": 0.5}, {"tags": FIVE_DAYS}),
    "zones": (
        TWO_ZONES,
        {"partitions_def": ZONES, "series": ["load_{partition}"]},
        {"tags": key_range("north", "south")},
    ),
    "zones without templates": (TWO_ZONES, {"partitions_def": ZONES}, {"tags": key_range("north", "south")}),
    "days and zones": (
        TWO_ZONES,
        {"partitions_def": DAY_AND_ZONE, "series": ["load_{zone}"]},
        {"tags": key_range("2024-06-01|north", "2024-06-02|south")},
    ),
    "contracts": (
        hourly(),
        {"partitions_def": DAYS, "series": [Series("orders", unit="1", minimum=3)], "on_invalid": "drop"},
        {"tags": FIVE_DAYS},
    ),
}


def returned(frame, options):
    """An asset whose frame the IO manager writes."""

    @temporis_asset(name="orders", data_source="store_metrics", **options)
    def orders() -> pd.DataFrame:
        return frame

    return orders


def materialized(frame, options, **arguments):
    """The same asset, which writes the frame itself."""

    @temporis_asset(name="orders", data_source="store_metrics", **options)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, frame() if callable(frame) else frame, **arguments)

    return orders


def run(temporis, instance, *assets, **arguments):
    """Run assets for real, in this process; a failure is a result."""
    return dg.materialize(
        [data_source_spec("store_metrics"), *assets],
        selection=arguments.pop("selection", list(assets)),
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        instance=instance,
        raise_on_error=False,
        **arguments,
    )


@pytest.fixture
def temporis(url):
    return TemporisResource(url=url, create_missing=True)


# The same as with the IO manager. (``test_pipes`` tries all ``CASES``, in three ways.)


def test_a_dry_run_is_recorded_as_with_the_io_manager(tmp_path):
    """It says that it is one, and names no place."""
    seen = []
    for make in (returned, materialized):
        temporis = TemporisResource(url=f"sqlite:///{tmp_path}/dry.db", dry_run=True, create_missing=True)
        with dg.DagsterInstance.ephemeral() as instance:
            assert run(temporis, instance, make(UNEVEN, {"partitions_def": DAYS}), tags=FIVE_DAYS).success
            events = recorded_events(instance, "orders")
            seen.append([(partition, metadata) for partition, metadata, _ in events.pop("materializations")])
            assert not any(events.values())
    assert seen[1] == seen[0]
    assert [metadata["temporis/dry_run"] for _, metadata in seen[0]] == [("BoolMetadataValue", True)] * 5


@pytest.mark.parametrize("complete", [0, 1, 3])
def test_a_half_failed_range_records_the_same_partitions(complete, monkeypatch, tmp_path):
    """Those that were stored completely, with metadata and versions; the failure is the same, and never retried."""
    seen = []
    for way, make in enumerate((returned, materialized)):
        with monkeypatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            cut_into_chunks(12, patch)
            url = f"sqlite:///{tmp_path}/{way}.db"
            with connect(url) as store:
                store.create_data_source("store_metrics")
            archive_after(2 * complete + 1, url, patch)
            options = {"partitions_def": DAYS, "retry_policy": dg.RetryPolicy(max_retries=2)}
            result = run(TemporisResource(url=url), instance, make(hourly(), options), tags=FIVE_DAYS)
            said = failure_of(result).event_specific_data.user_failure_data
            facts = {key: entry.value for key, entry in said.metadata.items()}
            seen.append(
                (recorded_events(instance, "orders"), said.description.replace(url, ""), facts, attempts(result))
            )
    assert seen[1] == seen[0]
    events, _, facts, tries = seen[0]
    assert [key for key, _, _ in events["materializations"]] == [f"2024-06-0{day + 1}" for day in range(complete)]
    assert (facts["temporis/error"], tries) == ("DataSourceArchivedError", 1)


def archive_after(chunks, url, patch):
    """Archive the data source when this many chunks are stored."""
    from temporis_dagster.data_source.store import upsert

    store, done = upsert.StoreUpsert._store, []

    def store_and_archive(self, rows):
        changed = store(self, rows)
        done.append(rows)
        if len(done) == chunks:
            with connect(url) as other:
                other.data_source("store_metrics").archive()
        return changed

    patch.setattr(upsert.StoreUpsert, "_store", store_and_archive)


def test_a_long_wait_becomes_a_retry_of_the_step(instance):
    """The service asks for more than ``give_up_after_s``: the step runs again after it, as with the IO manager."""
    with FakeService(script=in_sequence(answer(503, retry_after=1))) as service:
        service.create_data_source("store_metrics")
        temporis = TemporisResource(url=service.url, token=service.token, give_up_after_s=0.5)
        result = run(temporis, instance, materialized(hourly(), {}))
    (retry,) = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert 0.5 < retry.event_specific_data.seconds_to_wait <= 1
    assert result.success


def test_every_option_of_an_asset_can_be_given_in_the_call():
    """A new option is not forgotten here."""
    assert set(PER_RUN_OPTIONS) <= set(inspect.signature(TemporisResource.materialize).parameters)


# Several assets, and the assets that depend on them


def test_each_asset_of_a_body_is_written_with_its_own_metadata(temporis, instance):
    """Options come from each spec; those of the call override them; a selected asset needs no others."""
    specs = [
        dg.AssetSpec("orders", metadata={"temporis/data_source": "shop", "temporis/series": ["orders"]}),
        dg.AssetSpec("visits", metadata={"temporis/data_source": "web", "temporis/timezone": "Europe/Berlin"}),
    ]
    naive = hourly(HOURS[:24].tz_localize(None), "visits")

    @dg.multi_asset(specs=specs, partitions_def=DAYS, can_subset=True)
    def shop(context: dg.AssetExecutionContext, temporis: TemporisResource):
        if dg.AssetKey("orders") in context.selected_asset_keys:
            yield temporis.materialize(context, hourly(HOURS[:24]), asset_key="orders")
        if dg.AssetKey("visits") in context.selected_asset_keys:
            yield temporis.materialize(
                context, naive, asset_key=dg.AssetKey("visits"), data_source="archive", outside_partition="allow"
            )

    result = run(temporis, instance, shop, partition_key="2024-06-01")
    (orders,), (visits,) = materializations(result, "orders").values(), materializations(result, "visits").values()
    assert (orders["temporis/data_source"], orders["dagster/partition_row_count"]) == ("shop", 24)
    assert (visits["temporis/data_source"], visits["temporis/stored"]) == ("archive", 24)
    assert visits["dagster/partition_row_count"] == 22  # two hours of the Berlin day belong to the day before in UTC
    only = run(temporis, instance, shop, selection=["visits"], partition_key="2024-06-01")
    assert only.success
    assert not materializations(only, "orders")


def test_what_was_written_is_an_input_like_any_other(temporis, instance):
    """The materialization names the data source, so that a downstream asset loads the partition's rows."""
    seen = []

    @dg.asset(
        partitions_def=DAYS,
        ins={"orders": dg.AssetIn(input_manager_key="temporis_io_manager")},
        backfill_policy=ONCE,
    )
    def report(orders: pd.DataFrame) -> None:
        seen.append(orders)

    @dg.asset(partitions_def=DAYS, backfill_policy=ONCE)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, hourly(), data_source="elsewhere")

    assert run(temporis, instance, orders, report, tags=FIVE_DAYS).success
    assert seen[0]["value"].tolist() == list(range(120))


def test_a_stream_is_one_write(temporis, instance):
    """A generator of frames is checked and counted as a whole."""

    def days():
        for day in range(5):
            yield hourly(HOURS[24 * day : 24 * day + 24])

    result = run(
        temporis, instance, materialized(days, {"partitions_def": DAYS, "backfill_policy": ONCE}), tags=FIVE_DAYS
    )
    events = materializations(result, "orders")
    assert {each["dagster/partition_row_count"] for each in events.values()} == {24}
    assert {each["temporis/stored"] for each in events.values()} == {120}


def test_a_body_may_add_to_the_result(temporis, instance):
    """It is a MaterializeResult: more metadata, and checks of its own."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("plausible", asset="orders")])
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        result = temporis.materialize(context, hourly(), data_source="store_metrics")
        return dg.MaterializeResult(
            metadata={**result.metadata, "source": "till"},
            data_version=result.data_version,
            check_results=[dg.AssetCheckResult(passed=True)],
        )

    result = run(temporis, instance, orders)
    (metadata,) = materializations(result, "orders").values()
    assert (metadata["source"], metadata["dagster/row_count"]) == ("till", 120)
    assert [each.passed for each in result.get_asset_check_evaluations()] == [True]


def test_a_test_may_call_the_body(temporis):
    """Without a run there is nothing to record, and the result has what became of the frame."""

    @dg.asset(partitions_def=DAYS)
    def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, hourly(HOURS[:24]), data_source="store_metrics")

    result = orders(dg.build_asset_context(partition_key="2024-06-01"), temporis=temporis)
    assert result.metadata["temporis/stored"].value == 24


def test_contracts_of_the_call_are_checked_next_to_those_of_the_asset(temporis, instance):
    """A row that breaks one is invalid, and nothing is sent."""
    asset = materialized(hourly(), {}, series=[Series("orders", maximum=100)])
    assert "19 of 120 observations" in failure(run(temporis, instance, asset))


def test_a_report_of_what_something_else_upserted_is_shown(url, temporis, instance):
    """One of an upsert in this process tells all; one that was added up of tasks, as Spark's, its counts."""

    def upserted():
        return temporis.data_source("store_metrics").upsert(UNEVEN)

    options = {"partitions_def": DAYS}
    with dg.DagsterInstance.ephemeral() as other:
        assert run(temporis, instance, materialized(upserted, options), tags=FIVE_DAYS).success
        there = TemporisResource(url=url.replace("temporis.db", "there.db"), create_missing=True)
        assert run(there, other, returned(UNEVEN, options), tags=FIVE_DAYS).success
        assert recorded_events(instance, "orders") == recorded_events(other, "orders")
    added_up = UpsertReport("store_metrics", observations_in=9, stored=8, superseded=1, series=3)
    (metadata,) = materializations(run(temporis, instance, materialized(added_up, {})), "orders").values()
    assert (metadata["temporis/stored"], metadata["dagster/row_count"], metadata["dagster/uri"]) == (8, 8, url)
    assert "The report is of the data source 'b', but" in failure(
        run(temporis, instance, materialized(UpsertReport("b"), {}))
    )


# Refused


def refused(temporis, instance, body, *, decorator=None, **how):
    """Return why a body failed, which it does only once."""
    asset = (decorator or dg.asset(name="orders", retry_policy=dg.RetryPolicy(max_retries=2)))(body)
    result = run(temporis, instance, asset, **how)
    assert attempts(result) == 1
    return failure(result)


def test_a_call_that_cannot_be_meant_is_refused_with_what_to_do(temporis, instance):
    """Each of them once, never retried, before anything is sent."""

    def no_frame(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, None, data_source="store_metrics")

    def no_source(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, hourly())

    def no_context(temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(None, hourly(), data_source="store_metrics")

    def of_another(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, hourly(), data_source="store_metrics", asset_key="visits")

    def wrong_option(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        return temporis.materialize(context, hourly(), data_source="store_metrics", on_invalid="skip")

    said = {body.__name__: refused(temporis, instance, body) for body in (no_frame, no_source, no_context, of_another)}
    assert "frame must be a DataFrame or a stream, got None" in said["no_frame"]
    assert "does not know the data source of 'orders'. Pass data_source='store_metrics'" in said["no_source"]
    assert "needs the context of the asset, got NoneType" in said["no_context"]
    assert (
        "asset_key='visits' is none of the assets that this run selects from this body: 'orders'" in said["of_another"]
    )
    assert "on_invalid must be" in refused(temporis, instance, wrong_option)
    assert not temporis.connection.data_sources()


def test_two_writes_of_one_asset_in_a_step_are_refused(temporis, instance):
    """The metadata of the second would hide those of the first. Trying the step again is no second write."""

    def twice(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        temporis.materialize(context, hourly(HOURS[:24]), data_source="store_metrics")
        return temporis.materialize(context, hourly(HOURS[24:]), data_source="store_metrics")

    assert "has already been written in this step. Pass all its rows at once" in refused(temporis, instance, twice)
    tries = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def again(context: dg.AssetExecutionContext, temporis: TemporisResource) -> dg.MaterializeResult:
        result = temporis.materialize(context, hourly(), data_source="store_metrics")
        tries.append(result)
        if len(tries) == 1:
            raise RuntimeError("after the write")
        return result

    assert run(temporis, instance, again).success


def test_several_assets_have_to_be_named_and_selected(temporis, instance):
    """Which one is written is not guessed, and one that the run does not ask for is not written."""
    two = dg.multi_asset(specs=[dg.AssetSpec("orders"), dg.AssetSpec("visits")], can_subset=True)

    def unnamed(context: dg.AssetExecutionContext, temporis: TemporisResource):
        yield temporis.materialize(context, hourly(), data_source="store_metrics")

    def unselected(context: dg.AssetExecutionContext, temporis: TemporisResource):
        yield temporis.materialize(context, hourly(), data_source="store_metrics", asset_key="visits")

    assert "this body has 'orders', 'visits'. Pass asset_key=" in refused(temporis, instance, unnamed, decorator=two)
    said = refused(temporis, instance, unselected, decorator=two, selection=["orders"])
    assert "asset_key='visits' is none of the assets that this run selects" in said


def test_an_op_is_told_to_upsert(temporis):
    """It has no materialization to put the metadata on."""

    @dg.op
    def load(context: dg.OpExecutionContext, temporis: TemporisResource):
        temporis.materialize(context, hourly(), data_source="store_metrics")

    @dg.job(resource_defs={"temporis": temporis})
    def nightly():
        load()

    said = failure(nightly.execute_in_process(raise_on_error=False))
    assert "this is an op. In an op, call temporis.data_source(...).upsert" in said
