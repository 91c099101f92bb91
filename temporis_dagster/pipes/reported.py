"""In Dagster's process: what an external process said of a write becomes metadata, events, data versions and failures.

Comes in: messages. Goes out: what the IO manager would have recorded.
Never: makes up what no message holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import dagster as dg

from temporis_dagster.dagster_failures import LATER_RETRIES
from temporis_dagster.dagster_metadata import for_dagster
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.wording import listed
from temporis_dagster.writing.dagster_output import AssetOutput
from temporis_dagster.writing.message import (
    Failed,
    Message,
    message_from_json,
    values_from_json,
    versions_of_message,
)
from temporis_dagster.writing.output import PartitionGuard


@dataclass(frozen=True)
class _Place:
    name: str
    url: str


def show_messages(outputs: Mapping[str, AssetOutput], payloads: Iterable[Any], give_up_after_s: float) -> set[str]:
    """Show what an external process said; of several messages about an asset, the last one counts.

    Args:
        outputs: Where each asset shows what became of it.
        payloads: The custom messages of the process, also those of others.
        give_up_after_s: The longest wait, in seconds, for which a client itself retries.

    Returns:
        The assets that were written.

    Raises:
        Failure: A write failed, as it would have with the IO manager.
        RetryRequested: The service asked for a longer wait than ``give_up_after_s``.
        RefusedError: Another partition has meanwhile written the same rows.
    """
    last = {message.asset: message for message in map(message_from_json, payloads) if message is not None}
    messages = [message for asset, message in last.items() if asset in outputs]
    for message in messages:
        _show(outputs[message.asset], message)
    for message in messages:
        if message.failed is not None:
            _fail(message.failed, give_up_after_s)
    return {message.asset for message in messages}


def ensure_reported(outputs: Mapping[str, AssetOutput], written: set[str], results: Iterable[Any]) -> None:
    """Refuse the success of a process that has not said what it wrote: its messages may be lost.

    Args:
        outputs: The assets that it was to write.
        written: Those of which it said what it wrote.
        results: What it reported itself.

    Raises:
        Failure: It reported nothing of an asset. The retry policy decides.
    """
    keys = [each.asset_key for each in results if isinstance(each, dg.MaterializeResult) and each.asset_key]
    reported = {key.to_escaped_user_string() for key in keys}
    silent = sorted(set(outputs) - written - reported)
    if silent:
        raise dg.Failure(
            f"The external process has ended without reporting what it wrote to {listed(silent)}. Its rows may be "
            "stored, and sending them again is safe. The process has to call upsert or report_upsert of "
            "temporis_dagster.pipes, also for an empty frame, and to close the context of Dagster Pipes."
        )


def _show(output: AssetOutput, message: Message) -> None:
    written = message.written
    guard = PartitionGuard() if written is None else output.guard(_spans(written), message.data_source)
    columns = {} if message.dry_run else output.columns(message.names)
    if message.failed is None and not message.dry_run:
        guard.look_again()
    further = {**guard.metadata(), **columns}
    for stored in message.recorded:
        version = stored.version if output.own_version is None else output.own_version
        output.record(stored.partition, {**values_from_json(stored.metadata), **further}, version)
    for seen in message.seen:
        state = None if seen.state is None else ArchiveState(seen.state)
        output.observe(_Place(message.data_source, seen.url), state, values_from_json(seen.facts))
    if message.failed is not None:
        return
    guard.add_lists()
    output.add({**values_from_json(message.metadata), **further})
    for partition, values in message.of_partitions.items():
        output.add_to(partition, values_from_json(values))
    versions = versions_of_message(message)
    if versions is not None and output.own_version is None:
        output.set_versions(versions, may_stay=message.version_may_stay)


def _spans(written: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    return {part: {name: (first, last) for name, (first, last) in spans.items()} for part, spans in written.items()}


def _fail(failed: Failed, give_up_after_s: float) -> NoReturn:
    """Fail as ``failures_for_dagster`` does; only what it would raise unchanged is a failure here as well."""
    metadata = for_dagster(values_from_json(failed.metadata))
    wait = failed.retry_after_s or 0.0
    if failed.retryable and not failed.kept and wait > give_up_after_s:
        raise dg.RetryRequested(LATER_RETRIES, seconds_to_wait=wait)
    raise dg.Failure(failed.message, metadata=metadata, allow_retries=failed.retryable)


class PipesWrites(dg.PipesClientCompletedInvocation):
    """What an external process has written: results for Dagster, as those of a client of Dagster Pipes.

    Args:
        invocation: What the client returned.
        outputs: What each asset shows.
    """

    def __init__(self, invocation: dg.PipesClientCompletedInvocation, outputs: Mapping[str, AssetOutput]) -> None:
        self._invocation, self._outputs = invocation, outputs

    @property
    def metadata(self) -> Mapping[str, dg.MetadataValue]:
        """What the client states about the launch."""
        return self._invocation.metadata

    def get_results(self, *, implicit_materializations: bool = True) -> Sequence[Any]:
        """Return a result for each asset and each check, to be yielded from the body."""
        found = self._invocation.get_results(implicit_materializations=implicit_materializations)
        return with_outputs(found, self._outputs)

    def get_materialize_result(self, *, implicit_materialization: bool = True) -> dg.MaterializeResult[Any]:
        """Return the result of the one asset, to be returned from the body."""
        return super().get_materialize_result(implicit_materialization=implicit_materialization)

    def get_custom_messages(self) -> Sequence[Any]:
        """Return the custom messages of the process."""
        return self._invocation.get_custom_messages()


def with_outputs(results: Iterable[Any], outputs: Mapping[str, AssetOutput]) -> list[Any]:
    """Return results with all that is known of the writes of their assets."""
    return [_with_output(result, outputs) for result in results]


def _with_output(result: Any, outputs: Mapping[str, AssetOutput]) -> Any:
    if not isinstance(result, dg.MaterializeResult) or result.asset_key is None:
        return result
    output = outputs.get(result.asset_key.to_escaped_user_string())
    if output is None:
        return result
    ours = output.result()
    return result._replace(
        metadata={**(result.metadata or {}), **(ours.metadata or {})},
        data_version=ours.data_version or (result.data_version if output.own_version is None else None),
    )
