"""The public API as a user writes it: checked by mypy and pyright, never run.

``make check`` fails if a line no longer type-checks, if a type changes, or if a mistake that is marked below is no
longer found. ``# type: ignore[...]`` is for mypy, ``# pyright: ignore[...]`` for pyright; both refuse one that they do
not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import dagster as dg
import pandas as pd
import polars as pl
from dagster_pipes import PipesContext
from matplotlib.axes import Axes
from typing_extensions import assert_type

import temporis_dagster
from temporis_dagster import (
    ArchiveState,
    AuthenticationError,
    ConfigurationError,
    DataSource,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    InvalidObservationsError,
    Limits,
    MirrorError,
    NotSupportedError,
    PendingInfo,
    Plan,
    ReadNotSupportedError,
    RejectedObservationsError,
    Series,
    StoreError,
    StreamError,
    Temporis,
    TemporisError,
    TemporisIngestComponent,
    TemporisIOManager,
    TemporisResource,
    UnavailableError,
    UpsertReport,
    build_archive_state_checks,
    build_archive_state_sensor,
    build_gap_fill_sensor,
    build_mirror_flush_schedule,
    build_series_checks,
    build_trailing_window_schedule,
    connect,
    data_source_spec,
    gated_selection,
    spark,
    temporis_asset,
)
from temporis_dagster.components import PythonFunction, SqlQuery, TimeColumn
from temporis_dagster.pipes import report_upsert, upsert, windows
from temporis_dagster.testing import (
    FakeService,
    Fault,
    Request,
    Script,
    answer,
    at_random,
    cut,
    html_page,
    in_sequence,
    sample_frame,
    silence,
)

HOURS = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
FRAME = pd.DataFrame({"orders": range(24)}, index=HOURS)
SERIES = pd.Series([float(hour) for hour in range(24)], index=HOURS, name="orders")
ZONE = timezone(timedelta(hours=2))


def a_connection() -> None:
    assert_type(temporis_dagster.__version__, str)
    assert_type(connect(), Temporis)
    assert_type(connect("https://api.temporis.co", "ts_token"), Temporis)
    everything = connect(
        url="http://127.0.0.1:8008",
        token=None,
        batch_rows=1_000,
        max_body_bytes=1_000_000,
        max_in_flight=2,
        requests_per_second=10,
        timeout_s=10,
        give_up_after_s=60.5,
        allow_http=True,
        verify="/etc/ssl/private-ca.pem",
        mirror="sqlite:///mirror.db",
        skip_unchanged=True,
        on_unavailable="queue",
        late_write_window_s=30,
        max_pending_rows=1_000_000,
        dry_run=True,
    )
    with connect("sqlite:///temporis.db", create_missing=True, account="staging") as temporis:
        assert_type(temporis, Temporis)
        assert_type(temporis.url, str)
        assert_type(temporis.dry_run, bool)
        assert_type(temporis.create_data_source("store_metrics"), DataSource)
        assert_type(temporis.data_source("store_metrics"), DataSource)
        assert_type(temporis.data_sources(), list[str])
    everything.close()


def wrong_connections() -> None:
    connect(url=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connect("sqlite:///temporis.db", on_unavailable="wait")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connect("sqlite:///temporis.db", batchrows=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    connect("https://api.temporis.co", "ts_token", 1_000)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    connect().data_source()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    temporis_dagster.conect()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def an_upsert(source: DataSource) -> None:
    assert_type(source.name, str)
    assert_type(source.url, str)
    assert_type(source.upsert(FRAME), UpsertReport)
    assert_type(source.upsert(SERIES, progress=True), UpsertReport)
    seen: list[int] = []
    report = source.upsert(
        FRAME,
        layout="long",
        timestamp="time",
        name=("station", "series"),
        value=0,
        timezone="Europe/Berlin",
        ambiguous=True,
        nonexistent=timedelta(hours=1),
        sub_second="floor",
        on_invalid="drop",
        unit="ms",
        allow_future="730 days",
        on_conflict="raise",
        decimals="exact",
        series=[Series("orders", unit="1", every="1h", minimum=0, integer=True), Series(prefix="load_", maximum=1.5)],
        progress=seen.append,
    )
    source.upsert(FRAME, timestamp=None, ambiguous="infer", nonexistent="shift_forward", allow_future=True)
    assert_type(Series("orders", every=timedelta(hours=1)).stated(), dict[str, object])
    assert_type(
        source.check(FRAME, series=[Series("orders")], layout="wide", allow_future=timedelta(days=730)), UpsertReport
    )
    assert_type(report, UpsertReport)


class SparkDataFrame:
    """As much of PySpark's DataFrame as its callers know: the real one is where PySpark is."""

    dtypes: list[tuple[str, str]]
    isStreaming: bool  # noqa: N815
    sparkSession: object  # noqa: N815

    def selectExpr(self, *expr: str | list[str]) -> SparkDataFrame:  # noqa: N802
        return self


def an_upsert_from_spark(df: SparkDataFrame, source: DataSource) -> None:
    """A frame of PySpark is taken without its being installed here."""
    assert_type(spark.upsert(df, source, order_by="loaded_at", timezone="UTC"), UpsertReport)
    spark.upsert(df, source, assume_unique=True, rows=100_000)
    spark.upsert(FRAME, source)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    spark.upsert(df, source, on_conflict="last")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong_upserts(source: DataSource) -> None:
    source.upsert([1, 2, 3])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    source.upsert(FRAME, layout="tall")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    source.upsert(FRAME, on_invalid=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    source.upsert(FRAME, time_zone="UTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    source.upsert(FRAME, "wide")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    source.upsert(FRAME, progress=print_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    source.upsert(FRAME, series=["orders"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Series("orders", "1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Series("orders").unit = "1"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    source.check(FRAME, layout="tall")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    source.check(FRAME, progress=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def print_text(text: str) -> None:
    raise NotImplementedError(text)


def a_report(report: UpsertReport) -> None:
    assert_type(report.data_source, str)
    counts: Sequence[int] = (
        report.observations_in,
        report.stored,
        report.unchanged,
        report.superseded,
        report.conflicts,
        report.dropped,
        report.rejected,
        report.unsent,
        report.unknown,
        report.pending,
        report.series,
        report.requests,
        report.retries,
        report.bytes_sent,
    )
    assert_type(report.first_timestamp, datetime | None)
    assert_type(report.last_timestamp, datetime | None)
    assert_type(report.duration_s, float)
    assert_type(report.dry_run, bool)
    assert_type(report.to_dict(), dict[str, object])
    frames: Sequence[pd.DataFrame] = (
        report.superseded_rows,
        report.dropped_rows,
        report.rejected_rows,
        report.unsent_rows,
        report.unknown_rows,
        report.pending_rows,
    )
    report.stored = len(counts) + len(frames)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def reading(source: DataSource) -> None:
    assert_type(source.read(), pd.DataFrame)
    assert_type(source.read(datetime(2024, 6, 20, tzinfo=ZONE), 1_718_928_000, ["orders"]), pd.DataFrame)
    assert_type(source.read(HOURS[0], names={"orders", "revenue"}), pd.DataFrame)
    assert_type(source.content_digest(end=60), str)
    assert_type(source.read(HOURS[0], as_="pandas"), pd.DataFrame)
    assert_type(source.read(as_="polars"), pl.DataFrame)
    assert_type(source.read_batches(), Iterator[pd.DataFrame])
    assert_type(source.read_batches(HOURS[0], 60, ["orders"], rows=10, as_="polars"), Iterator[pl.DataFrame])
    table: Any = source.read(as_="arrow")  # pyarrow has no types
    batches: Any = source.read_batches(as_="arrow")
    assert_type(source.plot(), Axes)
    source.plot(["orders"], HOURS[0], 60, max_series=20, gap="1h", ax=source.plot(gap=timedelta(hours=1)))
    assert next(batches) == table
    source.read(start="2024-06-20")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    source.read(names=[1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    source.read(as_="duckdb")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    source.read_batches(rows="many")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def planning(source: DataSource) -> None:
    plan = source.plan(HOURS.to_frame(), start=HOURS[0], end=60, timezone="UTC", on_invalid="drop")
    assert_type(plan, Plan)
    counts: Sequence[int] = (plan.new, plan.changed, plan.unchanged, plan.superseded, plan.dropped, plan.ghosts)
    frames: Sequence[pd.DataFrame] = (plan.series, plan.changes, plan.ghost_rows, plan.largest_changes(5))
    plan.stored = len(counts) + len(frames)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert_type(plan.to_dict(), dict[str, object])
    assert_type(Limits(max_changed=0.5, max_ghosts=3, max_shift=2).exceeded(plan), list[str])
    Limits(max_changed="0.5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(source.latest(["orders"]), pd.DataFrame)
    assert_type(source.delete(0, HOURS[0], names=["orders"]), int)
    assert_type(source.delete(everything=True), int)
    source.delete(everything="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def archiving(source: DataSource) -> None:
    state = source.archive_state()
    assert_type(state, ArchiveState)
    if state is ArchiveState.ARCHIVED:
        source.unarchive()
    elif state is ArchiveState.UNKNOWN:
        source.ensure_writable()
    else:
        assert_type(state, Literal[ArchiveState.ACTIVE])
        source.archive()


def a_mirror(source: DataSource) -> None:
    assert_type(source.flush(wait=False, progress=True), UpsertReport)
    info = source.pending()
    assert_type(info, PendingInfo)
    assert_type(info.rows, int)
    assert_type(info.oldest, datetime | None)
    assert_type(info.last_error, str | None)
    assert_type(info.last_error_at, datetime | None)
    assert_type(info.rejected, int)
    assert_type(source.rejected_rows(), pd.DataFrame)
    assert_type(source.retry_rejected() + source.discard_rejected() + source.discard_pending(), int)


def errors(source: DataSource) -> str:
    try:
        source.upsert(FRAME)
    except InvalidObservationsError as error:
        assert_type(error.rows, pd.DataFrame)
        assert_type(error.invalid + error.observations_in + error.conflicts, int)
        assert_type(error.report, UpsertReport | None)
    except UnavailableError as error:
        assert_type(error.attempts, int)
        assert_type(error.retry_after_s, float | None)
        assert_type(error.report, UpsertReport)
    except (AuthenticationError, DataSourceArchivedError, DataSourceNotFoundError, RejectedObservationsError) as error:
        return error.data_source
    except DeliveryError as error:
        assert_type(error.report, UpsertReport)
        assert_type(error.data_source, str)
    except StreamError as error:
        assert_type(error.report, UpsertReport | None)
    except (MirrorError, StoreError) as error:
        assert_type(error.report, UpsertReport | None)
        return error.url
    except (ConfigurationError, ReadNotSupportedError, NotSupportedError) as error:
        assert_type(error.retryable, bool)
    except TemporisError as error:
        error.report.to_dict()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    return ""


DAYS = dg.DailyPartitionsDefinition("2024-06-01")
RESOURCE = TemporisResource(
    url=dg.EnvVar("TEMPORIS_URL"), token=dg.EnvVar("TEMPORIS_TOKEN"), max_in_flight=2, on_unavailable="queue"
)
IO_MANAGER = TemporisIOManager(
    temporis=RESOURCE, data_source="store_metrics", outside_partition="drop", timezone="Europe/Berlin", unit="ms"
)


@temporis_asset(data_source="store_metrics", series=["orders"], partitions_def=DAYS, on_invalid="drop", pool="temporis")
def orders(context: dg.AssetExecutionContext, temporis: TemporisResource) -> pd.DataFrame:
    temporis.ensure_writable("store_metrics")
    assert_type(temporis.connection, Temporis)
    assert_type(temporis.data_source("store_metrics"), DataSource)
    return FRAME


@dg.asset(io_manager_key="temporis_io_manager", metadata={"temporis/series": ["revenue"]})
def revenue(orders: pd.DataFrame) -> pd.DataFrame:
    return orders


@dg.multi_asset(specs=[dg.AssetSpec("visits"), dg.AssetSpec("clicks")])
def web(
    context: dg.AssetExecutionContext, client: dg.PipesSubprocessClient, temporis: TemporisResource
) -> Iterator[dg.MaterializeResult[Any]]:
    result = temporis.materialize(
        context, FRAME, data_source="web", asset_key="visits", on_invalid="drop", max_ghosts=3
    )
    assert_type(result, dg.MaterializeResult[Any])
    yield result
    temporis.materialize(context, FRAME, on_invalid="skip")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    writes = temporis.run_pipes(client, context=context, data_source="web", command=["python", "extract.py"])
    assert_type(temporis.pipes_extras(context), dict[str, Any])
    yield writes.get_materialize_result()


def external(pipes: PipesContext, temporis: Temporis) -> None:
    for window in windows(pipes):
        assert_type(window.start, pd.Timestamp)
    report = upsert(pipes, temporis, FRAME, timezone="Europe/Berlin")
    assert_type(report, UpsertReport)
    report_upsert(pipes, report, asset_key="visits")
    upsert(pipes, temporis, FRAME, timezon="UTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def definitions() -> dg.Definitions:
    assert_type(orders, dg.AssetsDefinition)
    spec = data_source_spec("store_metrics", kinds={"sql"}, owners=["team:ingest"])
    assert_type(spec, dg.AssetSpec)
    checks = build_archive_state_checks(data_sources={"store_metrics": ArchiveState.ACTIVE})
    assert_type(checks, Sequence[dg.AssetChecksDefinition])
    series = build_series_checks(
        assets=[orders, spec],
        max_age=timedelta(hours=2),
        expected_interval=timedelta(hours=1),
        expected_series=["orders"],
        bounds={"orders": (0, None)},
        severity=dg.AssetCheckSeverity.ERROR,
    )
    assert_type(series, Sequence[dg.AssetChecksDefinition])
    assert_type(gated_selection(orders), dg.AssetSelection)
    sensor = build_archive_state_sensor(data_sources=["store_metrics"], minimum_interval_seconds=60)
    assert_type(sensor, dg.SensorDefinition)
    gaps = build_gap_fill_sensor(target=orders, horizon=30, max_attempts=3, run_tags={"team": "ingest"})
    assert_type(gaps, dg.SensorDefinition)
    window = build_trailing_window_schedule(target=[orders], lookback=3, hour_of_day=5)
    assert_type(window, dg.ScheduleDefinition)
    flush = build_mirror_flush_schedule(data_sources=["store_metrics"], cron_schedule="*/10 * * * *")
    assert_type(flush, dg.ScheduleDefinition)
    return dg.Definitions(
        assets=[orders, revenue, spec],
        asset_checks=[*checks, *series],
        sensors=[sensor, gaps],
        schedules=[window, flush],
        resources={"temporis": RESOURCE, "temporis_io_manager": IO_MANAGER},
    )


def wrong_definitions() -> None:
    temporis_asset(series=["orders"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    temporis_asset(data_source="store_metrics", unit="h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    build_gap_fill_sensor(target=orders)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    build_archive_state_checks(data_sources=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TemporisResource(url="sqlite:///temporis.db", batch_rows="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TemporisIOManager(temporis=RESOURCE, layout="tall")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def components() -> None:
    kinds: Sequence[type[Any]] = (TemporisIngestComponent, SqlQuery, PythonFunction, TimeColumn)
    assert_type(TemporisIngestComponent.get_spec(), dg.ComponentTypeSpec)
    assert issubclass(kinds[0], dg.Component)


def a_test_of_a_user(fake_temporis: FakeService) -> None:
    script: Script = in_sequence(answer(503, "busy", retry_after=1), None, cut(applies="half"), silence(), html_page())
    with FakeService(["store_metrics"], script=script, max_records=100) as service:
        assert_type(service, FakeService)
        report = connect(service.url, service.token).data_source("store_metrics").upsert(sample_frame(hours=2))
        assert_type(report, UpsertReport)
        assert_type(service.content, dict[tuple[str, int, str], float])
        assert_type(service.requests, list[Request])
        service.archive("store_metrics", archived=False)
    fault: Callable[[Request], Fault | None] = at_random([cut()], rate=0.1, seed=1)
    assert_type(FakeService(script=fault), FakeService)
    assert_type(fake_temporis.requests[0].number, int)
