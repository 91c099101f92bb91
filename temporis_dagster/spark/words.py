"""The options of a Spark frame, and what messages about them advise, in terms of Spark.

Comes in: the arguments of ``spark.upsert``. Goes out: the same as checked options.
Never: looks at a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporis_dagster.data_source.observations import ObservationOptions
from temporis_dagster.data_source.observations.advice import PYTHON
from temporis_dagster.errors import ConfigurationError


@dataclass(frozen=True)
class SparkOptions(ObservationOptions):
    """How to read a Spark frame: as a pandas frame, without an index, and in tasks that see a part of it each."""

    LIST_OF_INVALID = "The error's .rows lists the first of them."
    LIST_OF_REJECTED = "The error's .report.rejected_rows lists the first of them."
    LIST_OF_SUPERSEDED = "The report's .superseded_rows lists the first of them."
    TEXT_AS_TIMESTAMP = "for text with to_timestamp(...), in a session whose time zone is that of the text"
    ADVICE = replace(
        PYTHON,
        no_index="",
        calendar_numbers="convert it with to_timestamp(...)",
        calendar_fractions="convert it to TIMESTAMP",
        booleans="cast it to INT, or leave the column out",
        durations="convert it to a number, or leave the column out",
        integers="scale it or cast it to DOUBLE first",
        labels="rename the columns",
        names="cast the names to STRING",
        texts="cast it to DOUBLE, or leave the column out",
        passes="convert the column to TIMESTAMP in Spark",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("timestamp", "name", "value"):
            if not isinstance(getattr(self, argument), str):
                raise ConfigurationError(
                    f"{argument} must be the name of a column of the Spark frame, got {getattr(self, argument)!r}."
                )
        if self.ambiguous == "infer":
            raise ConfigurationError(
                "ambiguous='infer' needs the rows of a series in the order in which they happened, and a task of Spark"
                f" sees only some of them. {_CONVERT}, or pass ambiguous=True or False."
            )
        if self.nonexistent not in ("raise", "NaT"):
            raise ConfigurationError(
                f"nonexistent={self.nonexistent!r} moves a row to the time of another one, which another task of Spark"
                f" may have. {_CONVERT}."
            )


_CONVERT = (
    "Convert the timestamps in Spark, with convert_timezone('Europe/Berlin', 'UTC', ...), and pass timezone='UTC'"
)
