"""upsert: the rows of a Spark DataFrame, stored by the tasks of one Spark job.

Comes in: a Spark frame, a data source, and how to read the frame. Goes out: one report, or one error of the tree.
Never: brings a row to the driver, lets an error of Spark pass as it is, or imports PySpark before it is given a frame.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from temporis_dagster.data_source.connection import Reconnection, reconnection_of
from temporis_dagster.data_source.observations import (
    AllowFuture,
    Ambiguous,
    Decimals,
    Layout,
    Nonexistent,
    OnInvalid,
    Series,
    SubSecond,
    Unit,
)
from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.spark.adding_up import raise_failures, report_of
from temporis_dagster.spark.columns import columns_of
from temporis_dagster.spark.frame import SparkFrame, is_spark_frame
from temporis_dagster.spark.job_errors import spark_errors
from temporis_dagster.spark.outcome import SCHEMA, outcome_of, series_of
from temporis_dagster.spark.task import Task
from temporis_dagster.spark.together import apart, together
from temporis_dagster.spark.words import SparkOptions

if TYPE_CHECKING:
    import pyarrow as pa

LOGGER = logging.getLogger(__name__)


def upsert(  # noqa: PLR0913  as DataSource.upsert
    df: SparkFrame,
    source: DataSource,
    *,
    order_by: str | Sequence[str] | None = None,
    assume_unique: bool = False,
    rows: int = 200_000,
    layout: Layout = "auto",
    timestamp: str = "timestamp",
    name: str = "name",
    value: str = "value",
    timezone: str | None = None,
    ambiguous: Ambiguous = "raise",
    nonexistent: Nonexistent = "raise",
    sub_second: SubSecond = "raise",
    on_invalid: OnInvalid = "raise",
    unit: Unit | None = None,
    allow_future: AllowFuture = None,
    decimals: Decimals = "nearest",
    series: Sequence[Series] = (),
) -> UpsertReport:
    """Store the observations of a Spark DataFrame from Spark's own tasks, as ``DataSource.upsert`` does for pandas.

    Each task connects by itself, so the executors, not the driver, must reach the data source, and
    ``temporis-dagster`` must be installed on them. Sending the same rows again is always safe, so Spark may repeat
    tasks, or run two attempts of one at once, as long as both read the same rows.

    Args:
        df: *Long*: columns ``timestamp``, ``name``, ``value``. *Wide*: the timestamp column and one numeric column per
            series; NULL and NaN cells are left out. Not a streaming frame; call this in ``foreachBatch`` for one.
        source: A data source of ``connect(...)`` or of a ``TemporisResource``. Tasks connect with the same options.
            A token that comes from the environment of the driver is not sent to them: they need ``TEMPORIS_TOKEN`` in
            theirs (``spark.executorEnv.TEMPORIS_TOKEN``). A token that was passed to ``connect`` travels to them in
            Spark's plan, but is never shown.
        order_by: The column, or columns, that tell which of several rows with one (timestamp, name) is the newest: the
            largest wins. None refuses such rows, unless they have the same value.
        assume_unique: Whether the caller vouches that no (timestamp, name) is in two rows. This saves the shuffle that
            otherwise brings the rows of a key to one task. If two rows have one, either of them may win.
        rows: How many observations a task gathers for an upsert.
        layout: As in ``DataSource.upsert``, and so are all the following.
        timestamp: The column of timestamps.
        name: The column of series names (long).
        value: The column of values (long).
        timezone: The zone of the timestamps of a TIMESTAMP_NTZ or DATE column.
        ambiguous: For a local time that occurs twice; ``"infer"`` is refused, because tasks see only some rows.
        nonexistent: For a local time that the clock skipped: ``"raise"`` or ``"NaT"``.
        sub_second: ``"floor"`` cuts off fractions of a second; ``"raise"`` refuses them.
        on_invalid: ``"drop"`` sends the valid rows; ``"raise"`` sends nothing of the ``rows`` among which an invalid
            one was found, and ends that task.
        unit: What number timestamps count since 1970.
        allow_future: How far ahead of the clock a timestamp may lie.
        decimals: For a DECIMAL that float64 does not hold exactly.
        series: Contracts of series; none that is monotone, because tasks see only some rows.

    Returns:
        What happened to every observation of all tasks. Its frames list the first 100 rows of each outcome, with the
        number of the partition and of the attempt.

    Raises:
        ConfigurationError: An argument cannot be used. Nothing was sent.
        InvalidObservationsError: The frame has no such columns, and nothing was sent; or a task found invalid rows, or
            rows of one key that nothing orders. None of the rows that it was about to upsert with these was sent; what
            it had sent before, and what other tasks sent, is stored: ``.report`` counts it.
        DataSourceNotFoundError: The data source does not exist.
        DataSourceArchivedError: The data source is archived. The report counts what was stored before.
        RejectedObservationsError: The service rejected some observations and stored the others.
        AuthenticationError: The service does not know the token.
        UnavailableError: A task could not reach the service for too long, and neither could its repetitions.
        StreamError: Spark gave up the job, because its query or its executors failed: how much its tasks had stored by
            then is not known. Sending everything again is safe.
        DeliveryError: The service gave an answer that the API does not document.
        StoreError: The database failed.
        MirrorError: The mirror belongs to another target, or is full.
    """
    started = time.monotonic()
    options = SparkOptions(
        layout=layout,
        timestamp=timestamp,
        name=name,
        value=value,
        timezone=timezone,
        ambiguous=ambiguous,
        nonexistent=nonexistent,
        sub_second=sub_second,
        on_invalid=on_invalid,
        unit=unit,
        allow_future=allow_future,
        decimals=decimals,
    )
    ordering = _ordering(order_by, assume_unique=assume_unique)
    _check_rows(rows)
    _check_contracts(series)
    _check_frame(df)
    reconnection = reconnection_of(source)
    _check_reach(df, source, reconnection)
    with spark_errors(source.name):
        columns = columns_of(df, options, ordering)
        attempts = _attempts(df)
        task = Task(reconnection, source.name, options, tuple(series), columns, not assume_unique, rows, attempts)
        chosen = apart(df, columns) if assume_unique else together(df, columns, options)
        collected = chosen.mapInArrow(_named(task), SCHEMA).collect()
    outcomes = [outcome_of(row["outcome"]) for row in collected]
    report = report_of(
        outcomes,
        len(series_of(row["series"] for row in collected)),
        data_source=source.name,
        duration_s=time.monotonic() - started,
        dry_run=reconnection.dry_run,
    )
    raise_failures(outcomes, report, source.url, options)
    if not report.observations_in:
        source.upsert(pd.DataFrame())  # creates the data source, if that is what create_missing asks for
    elif report.dropped == report.observations_in:
        LOGGER.warning(
            "All %s observations for %r are invalid and were dropped. The first reason is: %s.",
            *(f"{report.dropped:,}", source.name, report.dropped_rows["reason"].iloc[0]),
        )
    return report


def _named(task: Task) -> Any:
    """Return the function that Spark calls and shows in its plan. It is short, because it is pickled by its code."""

    def upsert_to_temporis(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        return task.run(batches, context.partitionId(), context.attemptNumber())

    return upsert_to_temporis


def _ordering(order_by: object, *, assume_unique: bool) -> tuple[str, ...]:
    if order_by is None:
        return ()
    names = (order_by,) if isinstance(order_by, str) else order_by
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"order_by must be the name of a column, or a list of names, got {order_by!r}.")
    if assume_unique:
        raise ConfigurationError(
            "With assume_unique=True, rows of one key are not brought together, so order_by cannot choose between them."
            " Pass one or the other."
        )
    return tuple(names)


def _check_rows(rows: object) -> None:
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise ConfigurationError(f"rows must be an integer of at least 1, got {rows!r}.")


def _check_contracts(series: Sequence[Series]) -> None:
    Contracts(series)
    monotone = [contract for contract in series if contract.monotone]
    if monotone:
        raise ConfigurationError(
            f"{monotone[0]!r} is monotone, which cannot be checked here: each task of Spark sees only some of the rows."
            " Leave out monotone=True, and check it in Spark, with lag(value) OVER (PARTITION BY name ORDER BY"
            " timestamp)."
        )


def _check_frame(df: SparkFrame) -> None:
    if not is_spark_frame(df):
        try:
            import pyspark  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                "temporis_dagster.spark needs PySpark, which is not installed. Install temporis-dagster[spark]."
            ) from None
        kind = f"{type(df).__module__.partition('.')[0]}.{type(df).__name__}"
        more = " Call its to_spark() first." if type(df).__module__.startswith("pyspark.pandas") else ""
        refuse(f"The data must be a Spark DataFrame, got {kind}.{more or ' DataSource.upsert takes frames of pandas.'}")
    if df.isStreaming:
        raise ConfigurationError(
            "A streaming frame has no end. Upsert each of its batches:"
            " df.writeStream.foreachBatch(lambda batch, number: spark.upsert(batch, source, ...))."
        )


def _setting(df: SparkFrame, name: str, default: str) -> str:
    return str(df.sparkSession.conf.get(name, default))


def _check_reach(df: SparkFrame, source: DataSource, reconnection: Reconnection) -> None:
    """Refuse files that executors do not share."""
    if reconnection.mirror is not None and reconnection.mirror.strip().lower().startswith("sqlite"):
        raise ConfigurationError(
            "Tasks on several machines cannot share a mirror in a SQLite file. Connect without mirror=, or with a"
            " mirror in PostgreSQL: mirror='postgresql+psycopg://host/database'."
        )
    master = _setting(df, "spark.master", "")
    if source.url.startswith("sqlite") and not master.startswith("local"):
        raise ConfigurationError(
            f"{source.url} is a file on this machine, and the executors of {master or 'this session'} may run on"
            " others. Use a data source in PostgreSQL or of a service; a SQLite file only with the master local[...]."
        )


def _attempts(df: SparkFrame) -> int:
    """Return how often Spark attempts a task; in local mode, ``local[threads, attempts]`` says it."""
    local = re.fullmatch(r"local(?:\[[^,\]]*(?:,\s*(\d+))?\])?", _setting(df, "spark.master", "").strip())
    if local:
        return int(local[1] or 1)
    return int(_setting(df, "spark.task.maxFailures", "4"))
