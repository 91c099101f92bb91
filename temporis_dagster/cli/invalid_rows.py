"""Invalid rows: the file that lists which rows were not stored, and why.

Comes in: what the checks found and what the service rejected. Goes out: CSV with position, line, column, value, reason.
Never: overwrites the file being ingested, or leaves the rows of an earlier run in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from temporis_dagster.cli.output import OutputError
from temporis_dagster.cli.overwriting import ensure_replaceable
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.conflicts import conflict_rows
from temporis_dagster.data_source.observations.faults import faults_in_words, objects
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.errors import ConfigurationError

COLUMNS = ["position", "line", "column", "value", "reason"]
LINE = "line"
"""The name of a table's index if it holds the line of each row in the file."""


class InvalidRows:
    """The rows that were not stored, and the file that lists them.

    Args:
        path: Where to write the list; None for nowhere.
        source: The file that is ingested.
        value_column: The column of values in a long file.
        urls: Stores and mirrors that must not be overwritten.

    Raises:
        ConfigurationError: The path cannot be written to.
    """

    def __init__(self, path: str | None, source: str, value_column: str, urls: Sequence[str | None] = ()) -> None:
        self._path, self._value_column = path, value_column
        self._parts = [pd.DataFrame(columns=COLUMNS)]
        self._words = ""
        if path is not None:
            ensure_replaceable(path, source, urls, ",".join(COLUMNS).encode())
            try:
                self._write(path)
            except OSError as error:
                raise ConfigurationError(f"--invalid-rows cannot be written: {error}. Pass another file.") from None

    def invalid(self, rows: pd.DataFrame, index: object) -> None:
        """Add the rows that the checks found to be invalid.

        Args:
            rows: One line per offending cell: position, label, column, value, reason.
            index: The name of the labels.
        """
        self._parts.append(rows.assign(line=rows["label"] if index == LINE else None)[COLUMNS])
        self._words = faults_in_words(rows, "label" if index is None else str(index))

    def in_words(self) -> str:
        """Describe the first few of the rows that were added last."""
        return self._words

    def rejected(self, report: UpsertReport, observations: Observations) -> None:
        """Add the observations that the service rejected."""
        rows, origin = report.rejected_rows, observations.origin
        column = self._value_column if origin.columns is None else rows["name"]
        self.invalid(
            rows.assign(column=column, label=objects(origin.labels_at(rows["position"].to_numpy()))), origin.labels.name
        )

    def superseded(self, observations: Observations) -> None:
        """Add the rows that lost to a later row with the same timestamp and name but another value."""
        if observations.superseded_rows is not None and observations.conflicts:
            rows = conflict_rows(observations.superseded_rows.conflicts(), self._value_column)
            self.invalid(rows, observations.origin.labels.name)

    def write(self) -> None:
        """Write the list.

        Raises:
            OutputError: The file cannot be written, for example because the disk is full.
        """
        if self._path is None:
            return
        try:
            self._write(self._path)
        except OSError as error:
            raise OutputError(
                f"--invalid-rows {self._path} cannot be written: {error.strerror}. The upsert is not affected. To list"
                " the invalid rows, repeat the command with --check and another file for them."
            ) from None

    def _write(self, path: str) -> None:
        parts = [part for part in self._parts if len(part)] or self._parts[:1]
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:  # noqa: PTH123
            pd.concat(parts, ignore_index=True).to_csv(file, index=False, lineterminator="\n")
