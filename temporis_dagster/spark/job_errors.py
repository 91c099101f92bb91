"""Errors of Spark itself, when it gives up a job: one of the tree in their place.

Comes in: whatever Spark or py4j raises. Goes out: a ``StreamError`` that says which line of it matters.
Never: lets an error of Spark pass, or changes one of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from temporis_dagster.errors import StreamError, TemporisError

OF_PYTHON = re.compile(r"[\w.]*(?:Error|Exception)\b")
SHOWN = 500


@contextmanager
def spark_errors(data_source: str) -> Iterator[None]:
    """Turn errors of Spark into one of the tree.

    Args:
        data_source: The data source that the job upserts into.

    Raises:
        StreamError: Spark gave up the job: its query failed, or its executors.
    """
    try:
        yield
    except TemporisError:
        raise
    except Exception as error:
        raise StreamError(
            f"Spark gave up the job that upserts into {data_source!r}: {_in_words(error)} What its tasks had stored by"
            " then is stored, and not counted here. Correct the cause and upsert the frame again: sending rows again is"
            " safe."
        ) from error


def _in_words(error: Exception) -> str:
    """Return the line that says what happened: of a Python error in a task, the last one of its traceback."""
    text = str(error)
    if "No module named 'temporis_dagster" in text:
        return (
            "temporis-dagster is not installed on the executors. Install it there, into the Python that PYSPARK_PYTHON"
            " names."
        )
    before_java = text.partition("JVM stacktrace:")[0]
    lines = [line.strip() for line in before_java.splitlines() if line.strip()] or [type(error).__name__]
    raised = [line for line in lines if OF_PYTHON.match(line)]
    said = (raised[-1] if raised else lines[0])[:SHOWN]
    return said if said.endswith(".") else f"{said}."
