"""What a process without Dagster says of a write, as JSON that travels with Dagster Pipes.

Comes in: metadata and events as plain values. Goes out: one message for each asset, and its parts.
Never: imports Dagster.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from temporis_dagster.metadata_values import Value, Values
from temporis_dagster.writing.versions import Versions

KIND = "temporis"
"""The key that tells our messages from others."""
FORMAT = 1

JsonValues = dict[str, list[Any]]


@dataclass(frozen=True)
class Failed:
    """Why a write failed.

    Attributes:
        error: The class of the error.
        message: Its text.
        retryable: Whether the same write may succeed later.
        kept: Whether a mirror keeps the rows.
        retry_after_s: How many seconds the service asked to wait; None if it did not ask.
        metadata: What the failure shows.
    """

    error: str
    message: str
    retryable: bool
    kept: bool
    retry_after_s: float | None
    metadata: JsonValues


@dataclass(frozen=True)
class Recorded:
    """A partition that is stored although the write failed."""

    partition: str
    metadata: JsonValues
    version: str | None


@dataclass(frozen=True)
class Seen:
    """An observation for the page of the data source."""

    url: str
    state: str | None
    facts: JsonValues


@dataclass
class Message:
    """What one asset's write said.

    Attributes:
        asset: The asset, as Dagster Pipes calls it.
        data_source: Where it was written to.
        dry_run: Whether nothing was to be written.
        names: The series that were written.
        written: These with their first and last second, where partitions have to be kept apart by them.
        metadata: Metadata of the materializations of all partitions.
        of_partitions: Metadata of single partitions.
        recorded: The partitions that are stored although the write failed.
        seen: What to show on the page of the data source.
        versions: The data versions: that of all partitions, and that of each.
        version_may_stay: Whether nothing was stored, so that the version of the latest materialization holds.
        failed: Why the write failed; None if it did not.
        format: The version of this form.
    """

    asset: str
    data_source: str
    dry_run: bool = False
    names: list[str] = field(default_factory=list)
    written: dict[str, Any] | None = None
    metadata: JsonValues = field(default_factory=dict)
    of_partitions: dict[str, JsonValues] = field(default_factory=dict)
    recorded: list[Recorded] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    versions: tuple[str, dict[str, str]] | None = None
    version_may_stay: bool = False
    failed: Failed | None = None
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """Return the message as JSON, packed: a short line is written at once, so that no reader meets half of it."""
        packed = zlib.compress(json.dumps(asdict(self)).encode())
        return {KIND: {"format": self.format, "packed": base64.b64encode(packed).decode()}}


def message_from_json(payload: object) -> Message | None:
    """Return a message; None if the payload is not one of ours, or of a version that this one does not know."""
    given = payload.get(KIND) if isinstance(payload, Mapping) else None
    if not isinstance(given, Mapping) or given.get("format") != FORMAT:
        return None
    said = json.loads(zlib.decompress(base64.b64decode(given["packed"])))
    return Message(
        **{
            **said,
            "recorded": [Recorded(**each) for each in said["recorded"]],
            "seen": [Seen(**each) for each in said["seen"]],
            "failed": said["failed"] and Failed(**said["failed"]),
        }
    )


def values_as_json(values: Values) -> JsonValues:
    """Return values as JSON."""
    return {key: [value.type, value.raw] for key, value in values.items()}


def values_from_json(given: JsonValues) -> dict[str, Value]:
    """Return the values again."""
    return {key: Value(kind, raw) for key, (kind, raw) in given.items()}


def versions_of_message(message: Message) -> Versions | None:
    """Return the data versions, if there are any."""
    if message.versions is None:
        return None
    whole, by_partition = message.versions
    return Versions(whole, by_partition)
