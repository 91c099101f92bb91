"""The write of an external process: the same steps as in Dagster, and a report of what became of it.

Comes in: the context of Dagster Pipes, a connection, a frame or a report. Goes out: one upsert, and a message to
Dagster's process.
Never: imports Dagster, or swallows an error: the process ends with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.observations import ObservationArguments, Series
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import ConfigurationError, TemporisError
from temporis_dagster.pipes.external_output import ExternalOutput
from temporis_dagster.pipes.extras import Task, task_of
from temporis_dagster.writing.shown_report import ensure_report_of, show_error, show_report
from temporis_dagster.writing.steps import write

if TYPE_CHECKING:
    from dagster_pipes import PipesContext
    from typing_extensions import Unpack

_REPORTED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""The assets that have been reported, by context: the second report of one would hide the first."""


def upsert(
    pipes: PipesContext,
    temporis: Temporis | DataSource,
    data: Any,
    *,
    asset_key: str | None = None,
    series: Sequence[Series] = (),
    **options: Unpack[ObservationArguments],
) -> UpsertReport:
    """Check a frame, upsert it into the asset's data source, and report what became of it to Dagster.

    These are the steps of the IO manager: rows outside the partitions of the run are refused, limits hold, partitions
    are sent in the order of time. If it fails partway, Dagster records those that are stored completely, and the step
    fails as it would with the IO manager.

    Args:
        pipes: The context, from ``open_dagster_pipes``.
        temporis: The connection, from ``connect``; or the data source itself.
        data: A DataFrame or a stream, as in ``DataSource.upsert``. A stream is checked completely before anything is
            sent.
        asset_key: Which asset, if the process writes several.
        series: Contracts of series, in addition to those of the asset.
        **options: The arguments of ``DataSource.upsert`` that say how to read ``data``, from ``layout`` to
            ``decimals``. They override those of the asset.

    Returns:
        What happened to every observation.

    Raises:
        TemporisError: The frame was refused, or could not be sent or stored. Let it end the process: it has been
            reported.

    Examples:
        .. code-block:: python

            from dagster_pipes import open_dagster_pipes
            from temporis_dagster import connect
            from temporis_dagster.pipes import upsert, windows

            with open_dagster_pipes() as pipes, connect() as temporis:
                upsert(pipes, temporis, extract(windows(pipes)))
    """
    task = _first_of(pipes, asset_key)
    frame = replace(task.rules.options.frame, **options)
    rules = replace(
        task.rules,
        options=replace(task.rules.options, frame=frame),
        contracts=(*task.rules.contracts, *series),
    )
    output = ExternalOutput(pipes, task, rules)
    try:
        if data is None:
            raise ConfigurationError("data must be a DataFrame or a stream, got None. An empty DataFrame is fine.")
        source = _source(temporis, rules.options.data_source)
        report = write(output, source, data, dry_run=source.dry_run)
    except TemporisError as error:
        output.send_failure(error)
        raise
    _send(pipes, task, output, report)
    return report


def report_upsert(pipes: PipesContext, report: UpsertReport | TemporisError, *, asset_key: str | None = None) -> None:
    """Report an upsert that was not made with ``upsert``, such as one by Spark, to Dagster.

    What a report tells depends on how it was made: one of a stream, or one that was added up of the reports of many
    tasks, does not tell the partitions of a range apart. Then the counts of all of them together are shown.

    Args:
        pipes: The context, from ``open_dagster_pipes``.
        report: What became of the upsert; or the error that ended it, so that Dagster records the partitions that are
            stored completely, and fails as with the IO manager. Raise that error again afterwards.
        asset_key: Which asset, if the process writes several.

    Raises:
        ConfigurationError: The asset passed no extras, the report is of another data source, or the asset has already
            been reported.

    Examples:
        .. code-block:: python

            with open_dagster_pipes() as pipes:
                report_upsert(pipes, temporis_dagster.spark.upsert(df, source))
    """
    task = _first_of(pipes, asset_key)
    output = ExternalOutput(pipes, task, task.rules)
    if isinstance(report, TemporisError):
        if (of_error := getattr(report, "report", None)) is not None:
            ensure_report_of(of_error, task.rules.options.data_source)
        show_error(output, report)
        output.send_failure(report)
        return
    if not isinstance(report, UpsertReport):
        raise ConfigurationError(
            f"report must be what an upsert returned, or the error that ended it, got {type(report).__name__}."
        )
    ensure_report_of(report, task.rules.options.data_source)
    show_report(output, report)
    _send(pipes, task, output, report)


def _first_of(pipes: PipesContext, asset_key: object) -> Task:
    """Return the asset to write, unless it has been reported already."""
    task = task_of(pipes, asset_key)
    if task.asset in _REPORTED.get(pipes, ()):
        raise ConfigurationError(
            f"{task.asset!r} has already been reported by this process. Upsert all its rows at once: a stream, such as "
            "a generator of frames, may be larger than memory."
        )
    return task


def _send(pipes: PipesContext, task: Task, output: ExternalOutput, report: UpsertReport) -> None:
    output.send(report)
    _REPORTED.setdefault(pipes, set()).add(task.asset)


def _source(temporis: object, name: str) -> DataSource:
    if isinstance(temporis, Temporis):
        return temporis.data_source(name)
    if not isinstance(temporis, DataSource):
        raise ConfigurationError(f"temporis must be a connection or a data source, got {type(temporis).__name__}.")
    if temporis.name != name:
        raise ConfigurationError(
            f"The asset writes to {name!r}, but the data source is {temporis.name!r}. Nothing was sent. Pass the "
            "connection, or name the same data source in the asset."
        )
    return temporis
