"""Where a write in an external process shows what became of it: in one message to Dagster's process.

Comes in: metadata and events as plain values. Goes out: a message, and the materialization that Dagster Pipes know.
Never: imports Dagster, or reports a materialization of a write that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError, TemporisError
from temporis_dagster.metadata_values import Value, Values, printable
from temporis_dagster.pipes.extras import Task
from temporis_dagster.refusal import RefusedError, facts_of
from temporis_dagster.writing.message import Failed, Message, Recorded, Seen, values_as_json
from temporis_dagster.writing.output import Output, PartitionGuard, Place
from temporis_dagster.writing.rules import WriteRules
from temporis_dagster.writing.versions import Versions
from temporis_dagster.writing.written_series import Written

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

COLUMN_TYPES = {int: "integer", str: "string"}
"""What Dagster calls the type of a column of a table, by its first value."""


class ExternalOutput(Output):
    """What an external process says of one asset.

    Args:
        pipes: The context of Dagster Pipes.
        task: The asset, and the rules of its write.
        rules: These rules, with the options of the call.
    """

    def __init__(self, pipes: PipesContext, task: Task, rules: WriteRules) -> None:
        self._pipes, self._task, self._rules = pipes, task, rules
        self._metadata: dict[str, Value] = {}
        self._message = Message(task.asset, rules.options.data_source)
        if not hasattr(pipes, "report_custom_message"):
            raise ConfigurationError(
                "This version of dagster-pipes cannot send messages, so Dagster would not know what became of the rows."
                " Nothing was sent. Upgrade it: pip install --upgrade dagster-pipes."
            )

    @property
    def rules(self) -> WriteRules:
        """What applies to the write."""
        return self._rules

    @property
    def log(self) -> logging.Logger:
        """The log of the run."""
        return self._pipes.log

    @property
    def in_a_run(self) -> bool:
        """Whether there are events to add to."""
        return True

    @property
    def run_id(self) -> str:
        """The run."""
        return self._pipes.run_id

    @property
    def own_version(self) -> str | None:
        """The data version that the asset has set itself, which only Dagster's process knows."""
        return None

    def states(self, key: str) -> bool:
        """Tell whether the asset itself has put something under a metadata key."""
        return key in self._task.stated

    def columns(self, names: Sequence[str]) -> Values:
        """Remember the series that are written: Dagster's process makes the columns of them."""
        self._message.names = list(names)
        return {}

    def guard(self, written: Written, data_source: str) -> PartitionGuard:  # noqa: ARG002  the message names it
        """Remember what was written: Dagster's process looks up what other partitions wrote."""
        self._message.written = {part: {name: list(span) for name, span in of.items()} for part, of in written.items()}
        return PartitionGuard()

    def add(self, values: Values) -> None:
        """Add metadata to the materializations of all partitions of the run."""
        self._metadata |= values

    def add_to(self, partition: str, values: Values) -> None:
        """Add metadata to the materialization of one partition."""
        self._message.of_partitions.setdefault(partition, {}).update(values_as_json(values))

    def record(self, partition: str, values: Values, version: str | None) -> None:
        """Say that one partition is stored: the process is about to fail."""
        self._message.recorded.append(Recorded(partition, values_as_json(values), version))

    def observe(self, source: Place, state: ArchiveState | None, facts: Values) -> None:
        """Say what was seen of the data source."""
        self._message.seen.append(Seen(source.url, None if state is None else state.value, values_as_json(facts)))

    def set_versions(self, versions: Versions, *, may_stay: bool) -> None:
        """Say what the data versions are."""
        self._message.versions = (versions.whole, dict(versions.by_partition))
        self._message.version_may_stay = may_stay

    def send(self, report: UpsertReport) -> None:
        """Send the message, and report the materialization.

        Args:
            report: What became of the upsert.
        """
        self._message.dry_run = report.dry_run
        self._message.metadata = values_as_json(self._metadata)
        self._pipes.report_custom_message(self._message.as_json())
        self._pipes.report_asset_materialization(
            metadata=cast("Any", as_pipes_metadata(self._metadata)),
            data_version=self._message.versions[0] if self._message.versions else None,
            asset_key=self._task.asset,
        )

    def send_failure(self, error: TemporisError) -> None:
        """Send the message of a write that failed.

        Args:
            error: What ended it.
        """
        report: UpsertReport | None = getattr(error, "report", None)
        self._message.failed = Failed(
            error=type(error).__name__,
            message=printable(str(error)),
            retryable=error.retryable,
            kept=bool(report and report.pending) and error.retryable,
            retry_after_s=getattr(error, "retry_after_s", None),
            metadata=values_as_json(error.metadata if isinstance(error, RefusedError) else facts_of(error)),
        )
        self._pipes.report_custom_message(self._message.as_json())


def as_pipes_metadata(values: Values) -> dict[str, Mapping[str, Any]]:
    """Return metadata in the form of Dagster Pipes."""
    return {key: _of_pipes(value) for key, value in values.items()}


def _of_pipes(value: Value) -> Mapping[str, Any]:
    if value.type != "table":
        return {"raw_value": value.raw, "type": value.type}
    records, columns = value.raw["records"], value.raw["columns"]
    if columns is None:
        columns = {name: COLUMN_TYPES[type(cell)] for name, cell in records[0].items()}
    schema = [{"name": name, "type": kind} for name, kind in columns.items()]
    return {"raw_value": {"records": records, "schema": schema}, "type": "table"}
