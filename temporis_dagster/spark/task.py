"""A task: on an executor, upserts the rows of one partition over a connection of its own.

Comes in: batches, from Spark. Goes out: one row for the driver, with the outcome, at the end.
Never: leaves its connection open, holds more than a table of rows, or lets Spark repeat what a repetition cannot heal:
such an error is part of the row. Spark repeats a task by sending everything again, which stores the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from temporis_dagster.data_source.connection import Reconnection
from temporis_dagster.data_source.observations import Observations, Series, observe
from temporis_dagster.data_source.observations.faults import fault_frame, faults_in_words
from temporis_dagster.data_source.observations.model import Superseded
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source.streams import as_pandas
from temporis_dagster.errors import InvalidObservationsError, TemporisError
from temporis_dagster.spark.columns import Columns
from temporis_dagster.spark.gathering import gathered
from temporis_dagster.spark.outcome import SHOWN_ROWS, Failure, Outcome, plain_rows, superseded_rows
from temporis_dagster.spark.repeated import undecided
from temporis_dagster.spark.words import SparkOptions
from temporis_dagster.wording import agreeing, counted

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Task:
    """What every task does. Pickled, and sent to the executors with the plan.

    Attributes:
        reconnection: How to connect.
        data_source: The name of the data source.
        options: How to read the rows.
        series: Contracts of series.
        columns: The columns by role.
        together: Whether the rows of a key are next to each other.
        rows: How many observations to upsert at once.
        attempts: How many attempts of a task Spark makes before it gives up the job.
    """

    reconnection: Reconnection
    data_source: str
    options: SparkOptions
    series: tuple[Series, ...]
    columns: Columns
    together: bool
    rows: int
    attempts: int

    def run(self, batches: Iterable[pa.RecordBatch], partition: int, attempt: int) -> Iterator[pa.RecordBatch]:
        """Upsert the rows of a partition.

        Args:
            batches: Its rows.
            partition: Its number.
            attempt: The number of the attempt, from 0.

        Yields:
            The outcome; nothing for a partition without rows.

        Raises:
            TemporisError: A repetition may heal it, and Spark has attempts left.
        """
        outcome = Outcome(partition, attempt)
        try:
            with self.reconnection.connect() as temporis:
                self._upsert(batches, temporis.data_source(self.data_source), outcome)
        except TemporisError as error:
            # The attempts that Spark counts are at most these: it does not count those that it ended itself.
            if error.retryable and attempt + 1 < self.attempts:
                raise
            outcome.failure = outcome.failure or Failure.of(error)
        if outcome.counts["observations_in"] or outcome.failure is not None:
            yield outcome.batch()

    def _upsert(self, batches: Iterable[pa.RecordBatch], source: DataSource, outcome: Outcome) -> None:
        at_once = max(1, self.rows // max(1, len(self.columns.values)))
        read = 0
        for table in gathered(map(self._with_names, batches), at_once, self.columns.key if self.together else ()):
            observations = self._checked(table, read, outcome)
            read += table.num_rows
            try:
                # "drop": that the service rejects some rows does not keep it from storing the others.
                report = source.upsert(observations, on_invalid="drop")
            except TemporisError as error:
                if (stopped := getattr(error, "report", None)) is not None:
                    outcome.add(stopped, observations)
                raise
            outcome.add(report, observations)

    def _with_names(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the columns the names that they have in the frame."""
        return type(batch).from_arrays(batch.columns, names=list(self.columns.types))

    def _checked(self, table: pa.Table, read: int, outcome: Outcome) -> Observations:
        frame = as_pandas(table.drop_columns(list(self.columns.only_ordering)), self.options)
        frame.index = pd.RangeIndex(read, read + len(frame), name=f"partition {outcome.partition}, row")
        try:
            observations = observe(frame, self.options, series=self.series, data_source=self.data_source, warn=_nothing)
        except InvalidObservationsError as error:
            outcome.refuse(error.observations_in)
            outcome.failure = self._invalid(error, frame)
            raise
        repeated = undecided(observations, table, self.columns.order_by) if self.together else None
        if repeated is not None:
            outcome.refuse(observations.observations_in)
            outcome.failure = self._undecided(repeated, observations)
            raise InvalidObservationsError(outcome.failure.message, rows=fault_frame([], pd.Index([])))
        return observations

    def _invalid(self, error: InvalidObservationsError, frame: pd.DataFrame) -> Failure:
        failure = Failure.of(error)
        if len(error.rows):
            drop = self.options.spelled("on_invalid", "drop")
            way_out = f", or pass {drop} to send the rest" if drop in failure.message else ""
            words = faults_in_words(error.rows, str(frame.index.name))
            failure.message = (
                f"{error.invalid:,} of {counted(error.observations_in, 'observation')} that a task was about to upsert"
                f" {agreeing(error.invalid, 'is', 'are')} invalid, so none of these was sent."
                f" {words[:1].upper()}{words[1:]}. {self.options.LIST_OF_INVALID}"
                f" Correct {agreeing(error.invalid, 'it', 'them')}{way_out}."
            )
            shown = error.rows.head(SHOWN_ROWS)
            failure.rows = plain_rows(shown.drop(columns=["position"]).rename(columns={"label": "row"}))
        return failure

    def _undecided(self, repeated: Superseded, observations: Observations) -> Failure:
        rows = superseded_rows(repeated)
        first, count = rows[0], len(repeated.winners)
        if self.columns.order_by:
            why = f"and the same {' and '.join(map(repr, self.columns.order_by))}, so order_by does not tell which wins"
            cure = "Add a column to order_by that does."
        else:
            why = "and Spark's rows have no order, so the last one is not the newer one"
            cure = (
                "Pass order_by= with a column that tells which row is newer, such as the time at which it was loaded,"
                " or leave one row per key, with dropDuplicates or an aggregate."
            )
        facts = {
            "invalid": count,
            "conflicts": count,
            "observations_in": observations.observations_in,
            "retryable": False,
        }
        message = (
            f"{count:,} of {counted(observations.observations_in, 'observation')} that a task was about to upsert"
            f" {agreeing(count, 'has', 'have')} the timestamp and name of another row with another value, {why}; none"
            f" of these was sent. The first is series {first['name']!r:.60} at {first['timestamp']},"
            f" {first['value']!r}: {first['reason']}. {cure}"
        )
        return Failure(InvalidObservationsError.__name__, message, facts, rows)


def _nothing(*_: Any) -> None:
    """Warn of nothing: which row wins was decided by ``order_by``, and what was dropped is in the report."""
