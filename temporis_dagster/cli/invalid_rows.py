"""Invalid rows: the file that says what was wrong with which row.

Comes in: what the checks found and what the service refused. Goes out: CSV: position, line, column, value, reason.
Never: overwrites the file that is ingested, or leaves the rows of an earlier run in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from temporis_dagster.cli.output import OutputError
from temporis_dagster.cli.overwriting import ensure_replaceable
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.conflicts import conflict_rows
from temporis_dagster.data_source.observations.faults import in_words
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.errors import ConfigurationError

COLUMNS = ["position", "line", "column", "value", "reason"]
LINE = "line"
"""What the index of a table is called that has the line of each row in the file."""


class InvalidRows:
    """The rows that were not taken, and the file for them.

    Args:
        path: Where to write them; None for nowhere.
        source: The file that is ingested.
        value_column: The column of the values in a long file.
        urls: Stores and mirrors that it must not overwrite.

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
        """Add what the checks found.

        Args:
            rows: Position, label, column, value, reason.
            index: What the labels are called.
        """
        self._parts.append(rows.assign(line=rows["label"] if index == LINE else None)[COLUMNS])
        self._words = in_words(rows, "label" if index is None else str(index))

    def in_words(self) -> str:
        """The first few of what was added last."""
        return self._words

    def rejected(self, report: UpsertReport, observations: Observations) -> None:
        """Add what the service refused."""
        rows, origin = report.rejected_rows, observations.origin
        column = self._value_column if origin.columns is None else rows["name"]
        self.invalid(
            rows.assign(column=column, label=origin.labels.take(rows["position"].to_numpy())), origin.labels.name
        )

    def superseded(self, observations: Observations) -> None:
        """Add what lost to a later row with another value."""
        if observations.superseded_rows is not None and observations.conflicts:
            rows = conflict_rows(observations.superseded_rows.conflicts(), self._value_column)
            self.invalid(rows, observations.origin.labels.name)

    def write(self) -> None:
        """Write what there is.

        Raises:
            OutputError: It cannot be written, such as for a full disk.
        """
        if self._path is None:
            return
        try:
            self._write(self._path)
        except OSError as error:
            raise OutputError(
                f"--invalid-rows {self._path} cannot be written: {error.strerror}. The upsert is not affected. To list"
                " what was invalid, repeat the command with --check and another file."
            ) from None

    def _write(self, path: str) -> None:
        parts = [part for part in self._parts if len(part)] or self._parts[:1]
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:  # noqa: PTH123
            pd.concat(parts, ignore_index=True).to_csv(file, index=False, lineterminator="\n")
