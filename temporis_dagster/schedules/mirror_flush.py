"""``build_mirror_flush_schedule``: delivers what waits in a mirror, without re-running the assets that wrote it.

Comes in: the names of data sources; at a tick, what is pending in their mirror and which flushes are running. Goes out:
one run per data source that has rows waiting, or the reason why not; in a run, what was delivered, as metadata.
Never: puts two data sources in one run (one that cannot be reached must not hold up another), or reads observations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import ensure_data_source
from temporis_dagster.dagster_failures import failures_for_dagster
from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source_page import place
from temporis_dagster.errors import ConfigurationError, MirrorError, StoreError, UnavailableError
from temporis_dagster.metadata_keys import DATA_SOURCE, DURATION_S, OLDEST_PENDING, REJECTED_KEPT, count_key
from temporis_dagster.progress_log import ProgressLog
from temporis_dagster.resource import TemporisResource, temporis_of
from temporis_dagster.schedules.activity import RUN_KEY, UNFINISHED
from temporis_dagster.schedules.archive_gate import archived_data_sources
from temporis_dagster.wording import agreeing, counted

OP = "flush_mirror"
NOTHING = "Nothing is pending in the mirror."

LOOK_WITHIN_S = 5.0
"""How long a tick keeps looking into a mirror that cannot be reached."""


class FlushConfig(dg.Config):
    """The configuration of a run: the data source to flush."""

    data_source: str


def build_mirror_flush_schedule(
    *,
    data_sources: Sequence[str],
    cron_schedule: str = "*/5 * * * *",
    execution_timezone: str | None = None,
    job_name: str = "mirror_flush",
    name: str | None = None,
    resource_key: str = "temporis",
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> dg.ScheduleDefinition:
    """Build a schedule that delivers what is pending in the mirror of a ``TemporisResource``: one run per data source.

    A run sends what may be sent now, the oldest rows first. The output metadata of its step shows how many observations
    were stored and rejected, and how many are still pending. The run fails if the service cannot be reached or refuses
    everything; the next tick tries again. A tick launches no run for a data source, and gives the reason, while

    - nothing is pending for it. Only the mirror is asked, from the process of the code location, which needs access to
      the mirror's file or database. If the mirror cannot be read, the run is launched.
    - it is archived. What is pending is delivered after it is unarchived. If its state is unknown, the run is launched.
    - the run of an earlier tick is unfinished.

    It is safe to flush while assets write: a row that one process is sending is not sent by another.

    Args:
        data_sources: The names of the data sources.
        cron_schedule: When to look for pending rows.
        execution_timezone: The time zone of ``cron_schedule``. Defaults to UTC.
        job_name: The name of the job to launch. If a deployment has several such schedules, each needs its own.
        name: The name of the schedule. Defaults to ``<job_name>_schedule``.
        resource_key: The key of the ``TemporisResource``.
        description: The description that the UI shows.
        tags: Tags for every run.
        metadata: Metadata for the schedule.
        default_status: Whether the schedule runs before a user starts it in the UI.

    Raises:
        ConfigurationError: There is no data source, or a name breaks the rule for names of data sources.

    Examples:
        .. code-block:: python

            import dagster as dg

            from temporis_dagster import TemporisResource, build_mirror_flush_schedule

            temporis = TemporisResource(
                url="https://api.temporis.co",
                token=dg.EnvVar("TEMPORIS_TOKEN"),
                mirror="sqlite:////var/lib/mirror.db",
                on_unavailable="queue",
            )
            defs = dg.Definitions(
                schedules=[build_mirror_flush_schedule(data_sources=["store_metrics"])],
                resources={"temporis": temporis},
            )
    """
    flush = _MirrorFlush(_checked(data_sources), job_name, resource_key, dict(tags or {}))

    @dg.schedule(
        name=name or f"{job_name}_schedule",
        job=_flush_job(job_name, resource_key),
        cron_schedule=cron_schedule,
        execution_timezone=execution_timezone,
        required_resource_keys={resource_key},
        description=description or "Delivers what is pending in the mirror.",
        metadata=metadata,
        default_status=default_status,
    )
    def mirror_flush(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return flush.tick(context)

    return mirror_flush


def _checked(data_sources: object) -> tuple[str, ...]:
    if isinstance(data_sources, str) or not isinstance(data_sources, Sequence) or not data_sources:
        raise ConfigurationError(
            f"data_sources must be a list of names, such as ['store_metrics'], got {data_sources!r}."
        )
    for name in data_sources:
        ensure_data_source(name)
    return tuple(dict.fromkeys(data_sources))


def _flush_job(job_name: str, resource_key: str) -> dg.JobDefinition:
    @dg.op(name=OP, required_resource_keys={resource_key}, out=dg.Out(dg.Nothing))
    def flush_mirror(context: dg.OpExecutionContext, config: FlushConfig) -> None:
        """Deliver what is pending for one data source."""
        temporis = temporis_of(context, resource_key)
        with failures_for_dagster():
            source = temporis.data_source(config.data_source)
            progress = ProgressLog(context.log.info, source.name, max(source.pending().rows, 1))
            report = source.flush(wait=False, progress=progress)
            context.add_output_metadata(_delivered(source, report))
        level = context.log.warning if report.pending or report.rejected else context.log.info
        level("Flushed: %s", report)

    @dg.job(name=job_name, executor_def=dg.in_process_executor, description="Delivers what is pending in a mirror.")
    def mirror_flush() -> None:
        flush_mirror()

    return mirror_flush


def _delivered(source: DataSource, report: UpsertReport) -> dict[str, dg.MetadataValue]:
    info = source.pending()
    counts = {name: getattr(report, name) for name in ("stored", "rejected", "pending", "requests", "retries")}
    facts: dict[str, dg.MetadataValue] = {
        **place(source),
        **{count_key(name): dg.MetadataValue.int(count) for name, count in counts.items()},
        REJECTED_KEPT: dg.MetadataValue.int(info.rejected),
        DURATION_S: dg.MetadataValue.float(round(report.duration_s, 3)),
    }
    if info.oldest:
        facts[OLDEST_PENDING] = dg.MetadataValue.timestamp(info.oldest)
    return facts


@dataclass(frozen=True)
class _MirrorFlush:
    data_sources: tuple[str, ...]
    job_name: str
    resource_key: str
    tags: Mapping[str, str]

    def tick(self, context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        temporis = temporis_of(context, self.resource_key)
        if temporis.dry_run:
            return dg.SkipReason("Nothing is delivered, because the resource has dry_run=True.")
        run_key = context.scheduled_execution_time.isoformat()
        # A server that cannot be reached must not hold up the tick for as long as it may hold up a run.
        with temporis.asking(give_up_after_s=LOOK_WITHIN_S, mirror=True) as connection:
            pending = _pending(context, connection, self.data_sources)
        reasons = self._reasons(context, temporis, pending, run_key)
        requests = [self._request(name, run_key) for name in self.data_sources if name not in reasons]
        lines = [f"{name}: {reason}" for name, reason in reasons.items()]
        if not requests:
            return dg.SkipReason(" ".join(lines) if set(reasons.values()) != {NOTHING} else NOTHING)
        for line in lines:
            context.log.info("No flush for %s", line)
        return requests

    def _request(self, name: str, run_key: str) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"{run_key} {name}",
            run_config={"ops": {OP: {"config": {"data_source": name}}}},
            tags={**self.tags, DATA_SOURCE: name},
        )

    def _reasons(
        self,
        context: dg.ScheduleEvaluationContext,
        temporis: TemporisResource,
        pending: Mapping[str, int | None],
        run_key: str,
    ) -> dict[str, str]:
        """Return the reason for each data source that gets no run. The cheap questions are asked first."""
        reasons = {name: NOTHING for name, rows in pending.items() if rows == 0}
        waiting = [name for name in pending if name not in reasons]
        at_work = {name: reason for name in waiting if (reason := self._at_work(context, name, run_key))}
        idle = [name for name in waiting if name not in at_work]
        archived = archived_data_sources(context, temporis, idle) if idle else []
        return {**reasons, **at_work, **{name: _because_archived(name, pending[name]) for name in archived}}

    def _at_work(self, context: dg.ScheduleEvaluationContext, name: str, run_key: str) -> str:
        for run in _unfinished(context.instance, self.job_name, name):
            # If the daemon is killed after it created a run and before it launched it, the tick is evaluated again.
            if run.tags.get(RUN_KEY) != f"{run_key} {name}":
                return f"Run {run.run_id[:8]} ({run.status.value}) is flushing it. If that run is stuck, terminate it."
        return ""


def _unfinished(instance: dg.DagsterInstance, job_name: str, data_source: str) -> Iterator[dg.DagsterRun]:
    wanted = dg.RunsFilter(job_name=job_name, tags={DATA_SOURCE: data_source}, statuses=UNFINISHED)
    yield from instance.get_runs(filters=wanted)


def _pending(
    context: dg.ScheduleEvaluationContext, connection: Temporis, names: Sequence[str]
) -> dict[str, int | None]:
    """Return the number of rows that wait for each data source; None where the mirror cannot be read."""
    found: dict[str, int | None] = dict.fromkeys(names)
    for name in names:
        try:
            found[name] = connection.data_source(name).pending().rows
        except (StoreError, MirrorError, UnavailableError) as error:  # noqa: PERF203  # one must not hide another
            context.log.warning("How much is pending for data source %r is unknown, so it is flushed: %s", name, error)
            if isinstance(error, UnavailableError):
                break  # the others are in the same database, for which this tick has waited long enough
    return found


def _because_archived(name: str, rows: int | None) -> str:
    waiting = "what is pending waits" if rows is None else f"{counted(rows, 'row')} {agreeing(rows, 'waits', 'wait')}"
    return (
        f"It is archived, and {waiting} until it is unarchived. Run temporis mirror discard-pending --data-source "
        f"{name} only if these rows must never be delivered."
    )
