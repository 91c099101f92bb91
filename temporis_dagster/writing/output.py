"""What the steps of a write need of the place they run in: an output of Dagster, an asset's body, an external process.

Comes in: metadata and events as plain values. Goes out: the interface.
Never: says how a place shows them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.metadata_values import Value, Values
from temporis_dagster.writing.rules import WriteRules
from temporis_dagster.writing.versions import Versions
from temporis_dagster.writing.written_series import Written


class Place(Protocol):
    """What a data source is called, and where it is."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def url(self) -> str:
        """Where it is, without secrets."""


class PartitionGuard:
    """The guard where there is nothing to guard: time or templates tell partitions apart, or this is not a run."""

    def before(self) -> None:
        """Refuse, before anything is sent, what would overwrite rows of another partition."""

    def after(self, report: UpsertReport) -> None:
        """Look again, unless the run was a dry run: another run may have been writing at the same time."""

    def look_again(self) -> None:
        """Refuse what another partition has written while this run was writing."""

    def metadata(self) -> Mapping[str, Value]:
        """Return the metadata for the materialization."""
        return {}

    def add_lists(self) -> None:
        """Add each partition's list of series to its own materialization, if one list of all would be too long."""


class Output(Protocol):
    """Where one write shows what became of it."""

    @property
    def rules(self) -> WriteRules:
        """What applies to the write."""

    @property
    def log(self) -> logging.Logger:
        """The log of the run."""

    @property
    def in_a_run(self) -> bool:
        """Whether there are events to add to; ``dg.migrate_io_storage`` and unit tests write without a run."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def own_version(self) -> str | None:
        """The data version that the asset has set itself."""

    def states(self, key: str) -> bool:
        """Tell whether the asset itself has put something under a metadata key."""

    def columns(self, names: Sequence[str]) -> Values:
        """Return the columns of what is written, and where they come from, as Dagster's catalog reads them.

        Args:
            names: The series that are written.
        """

    def guard(self, written: Written, data_source: str) -> PartitionGuard:
        """Return what keeps partitions that time does not tell apart from overwriting each other's rows.

        Args:
            written: The series that are written.
            data_source: The name of the data source.
        """

    def add(self, values: Values) -> None:
        """Add metadata to the materializations of all partitions of the run."""

    def add_to(self, partition: str, values: Values) -> None:
        """Add metadata to the materialization of one partition."""

    def record(self, partition: str, values: Values, version: str | None) -> None:
        """Record a materialization of one partition now: the step is about to fail."""

    def observe(self, source: Place, state: ArchiveState | None, facts: Values) -> None:
        """Record an observation on the page of the data source."""

    def set_versions(self, versions: Versions, *, may_stay: bool) -> None:
        """Set the data version of the materializations.

        Args:
            versions: That of all partitions together, and that of each.
            may_stay: Whether nothing was stored, so that the version of the latest materialization holds.
        """
