"""Columns: what the tasks need of a Spark frame, and what is refused before the first of them starts.

Comes in: a Spark frame, and how to read it. Goes out: its columns by role.
Never: starts a job, or imports PySpark: a frame brings it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from temporis_dagster.data_source.observations.layout import check_columns, refuse
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.spark.frame import SparkFrame
from temporis_dagster.spark.words import SparkOptions
from temporis_dagster.wording import listed

INTEGERS = ("tinyint", "smallint", "int", "bigint")
NUMBERS = (*INTEGERS, "float", "double", "decimal")
NAIVE = ("timestamp_ntz", "date")
TIMES = ("timestamp", *NAIVE)
TEXTS = ("string", "char", "varchar")
ORDERED = (*NUMBERS, *TIMES, *TEXTS, "boolean", "binary")


def _kind(written: str) -> str:
    return re.split(r"[( ]", written, maxsplit=1)[0]


@dataclass(frozen=True)
class Columns:
    """The columns of a Spark frame by role.

    Attributes:
        types: The type of each column that the tasks get, as Spark writes it, in the order of the frame.
        timestamp: The column of timestamps.
        name: The column of series names; None for a wide frame.
        values: The columns of values.
        order_by: The columns that order the rows of one key; empty if nothing orders them.
    """

    types: Mapping[str, str]
    timestamp: str
    name: str | None
    values: tuple[str, ...]
    order_by: tuple[str, ...]

    def kind(self, name: str) -> str:
        """Return the type of a column without what stands in brackets, and without its collation."""
        return _kind(self.types[name])

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of which rows of one key have the same cells."""
        return (self.timestamp,) if self.name is None else (self.timestamp, self.name)

    @property
    def only_ordering(self) -> tuple[str, ...]:
        """The columns that only order rows, and that hold no part of an observation."""
        return tuple(name for name in self.order_by if name not in (*self.key, *self.values))


def columns_of(df: SparkFrame, options: SparkOptions, order_by: Sequence[str]) -> Columns:
    """Find the columns that a frame's observations are in.

    Raises:
        InvalidObservationsError: The frame has no such columns, or one of them has a type that no observation has.
        ConfigurationError: ``order_by`` names a column that the frame does not have.
    """
    types = dict(df.dtypes)
    check_columns(pd.DataFrame(columns=[name for name, _ in df.dtypes]), options)
    for name in order_by:
        if name not in types:
            raise ConfigurationError(f"order_by names {name!r}, but the columns are {listed(types)}.")
        if _kind(types[name]) not in ORDERED:
            raise ConfigurationError(
                f"The column {name!r} of order_by must hold numbers, times or text, but is {types[name].upper()}."
            )
    timestamp = str(options.timestamp)
    long = options.layout == "long" or (options.layout == "auto" and options.name in types)
    if long:
        roles = Columns(types, timestamp, str(options.name), (str(options.value),), tuple(order_by))
    else:
        series = tuple(name for name in types if name != timestamp and name not in order_by)
        roles = Columns(types, timestamp, None, series, tuple(order_by))
    wanted = {*roles.key, *roles.values, *order_by}
    roles = replace(roles, types={name: kind for name, kind in types.items() if name in wanted})
    _check_types(roles, options)
    return roles


def _check_types(roles: Columns, options: SparkOptions) -> None:
    """Refuse types of which every row would be invalid."""
    kind = roles.kind(roles.timestamp)
    if kind in NAIVE and options.timezone is None:
        refuse(
            f"The column {roles.timestamp!r} is {kind.upper()}, so its times have no time zone. Pass the zone that they"
            " are in, such as timezone='UTC' or timezone='Europe/Berlin'."
        )
    if kind not in (*TIMES, *NUMBERS):
        refuse(
            f"The column {roles.timestamp!r} must hold timestamps or numbers, but is {kind.upper()}. Convert it"
            f" {options.TEXT_AS_TIMESTAMP if kind in TEXTS else 'to TIMESTAMP'}, or choose another one with"
            f" {options.spelled('timestamp')}."
        )
    if roles.name is not None and roles.kind(roles.name) not in TEXTS:
        refuse(
            f"The column {roles.name!r} must hold the names of series, but is {roles.types[roles.name].upper()}:"
            f" {options.ADVICE.names}."
        )
    for column in roles.values:
        if roles.kind(column) not in NUMBERS:
            refuse(
                f"The column {column!r} must hold numbers, but is {roles.types[column].upper()}: cast it to a number,"
                " or leave the column out."
            )
    if not roles.values:
        refuse("There is no column besides the timestamps. Each series needs a column that holds its values.")
