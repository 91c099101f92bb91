"""Together: a shuffle after which one task has all rows of a key, next to each other and in order.

Comes in: a Spark frame and its columns. Goes out: the frame with just these, partitioned by key and sorted within.
Never: runs anything, or changes a row. With ``sub_second="floor"``, it cuts off fractions of seconds as the checks
would, because they would make two keys of one.
"""

from __future__ import annotations

from typing import Any

from temporis_dagster.spark.columns import INTEGERS, TIMES, Columns
from temporis_dagster.spark.frame import SparkFrame
from temporis_dagster.spark.words import SparkOptions

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def quoted(name: str) -> str:
    """Return a column's name as SQL writes it.

    >>> quoted("a.b"), quoted("a`b")
    ('`a.b`', '`a``b`')
    """
    return "`" + name.replace("`", "``") + "`"


def apart(df: SparkFrame, columns: Columns) -> Any:
    """Return the columns that the tasks need, under other names, with every row where it is."""
    return df.selectExpr(*(f"{quoted(name)} AS {called}" for name, called in _called(columns).items()))


def together(df: SparkFrame, columns: Columns, options: SparkOptions) -> Any:
    """Return the columns that the tasks need, under other names, with the rows of a key in one partition, in order."""
    names = _called(columns)
    chosen = df.selectExpr(*(f"{_expression(name, columns, options)} AS {names[name]}" for name in names))
    keys = [names[name] for name in columns.key]
    ordering = [names[name] for name in columns.order_by if name not in columns.key]
    return chosen.repartition(*keys).sortWithinPartitions(*keys, *ordering)


def _called(columns: Columns) -> dict[str, str]:
    """Return names for the way to the tasks: PySpark's mapInArrow fails for names with dots and backticks."""
    return {name: f"column_{number}" for number, name in enumerate(columns.types)}


def _expression(name: str, columns: Columns, options: SparkOptions) -> str:
    column = quoted(name)
    if name == columns.timestamp and options.sub_second == "floor":
        return _whole_second(column, columns.kind(name), PER_SECOND[options.unit or "s"])
    if name in columns.key and "collate" in columns.types[name]:
        return f"collate({column}, 'UTF8_BINARY')"  # names that differ in case are different series
    return column


def _whole_second(column: str, kind: str, per_second: int) -> str:
    if kind in TIMES:
        fraction = f"make_dt_interval(0, 0, 0, pmod(extract(SECOND FROM {column}), 1))"
        return column if kind == "date" else f"{column} - {fraction}"
    if kind in INTEGERS:
        return f"{column} - pmod({column}, {per_second})"
    return f"floor({column} / {per_second}) * {per_second}"
