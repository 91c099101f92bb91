"""What a frame of Spark is, without importing PySpark.

Comes in: whatever a caller passed. Goes out: whether it is one.
Never: asks Spark for anything.
"""

from __future__ import annotations

from typing import Any, Protocol


class SparkFrame(Protocol):
    """What is used of ``pyspark.sql.DataFrame``, of the classic one and of that of Spark Connect."""

    @property
    def dtypes(self) -> list[tuple[str, str]]:
        """The name and the type of each column."""

    @property
    def isStreaming(self) -> bool:  # noqa: N802  Spark's name
        """Whether it has no end."""

    @property
    def sparkSession(self) -> Any:  # noqa: N802  Spark's name
        """Its session."""

    def selectExpr(self, *expr: str) -> Any:  # noqa: N802  Spark's name
        """Return a frame of these expressions."""


def is_spark_frame(data: object) -> bool:
    """Return whether this is a DataFrame of PySpark, also one of Spark Connect."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.startswith("pyspark.sql.") for kind in type(data).__mro__
    )
