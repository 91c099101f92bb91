"""File options: how to read a file, with advice that spells the options as the command line does.

Comes in: the options of ``temporis ingest``. Goes out: options for ``observe``.
Never: decides differently from its base class.
"""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from temporis_dagster.data_source.observations import ObservationOptions
from temporis_dagster.data_source.observations.advice import Advice

AS_COLUMN = "write the timestamps as a column of the file, as Unix seconds or ISO 8601"
FILE_ADVICE = Advice(
    index={
        held: f"To use it, {AS_COLUMN}{how}"
        for held, how in {"periods": ", the start of each", "durations": "", "intervals": "", "text": ""}.items()
    },
    other_index=f"To use it, {AS_COLUMN}",
    no_index="",
    index_or_column="Write the file without that index.",
    index_levels="Write the file with each of them as a column.",
    calendar_numbers="pass --timestamp-format {directives}",
    calendar_fractions="write it as ISO 8601, such as 2024-06-20 or 2024-06-20T08:00Z",
    passes="order the rows of each series as they happened, or write the offset from UTC into each timestamp, such as"
    " 2024-10-27T02:00+02:00",
    other_unit="the timestamp looks like {called} ({moment}): pass {unit}, if all of them are",
    written="pass --timestamp-format {}, if all of them have this form",
    separated="pass --decimal , if they have decimal commas, and --thousands with the separator if they have one;"
    " otherwise write all of them with a decimal point, without separators, and negative ones with a leading -",
    booleans="write it as 1 or 0, or leave the column out",
    durations="write it as a number of seconds, or leave the column out",
    integers="scale it, or write it with a decimal point if the nearest float is meant",
    labels="write the column names as text",
    names="write the names as text",
    texts="write it as a number (1 or 0 for true or false), or name it with --na if it stands for no value. If the"
    " column tells rows of one time apart, make it part of the series names, with --name '{COLUMN}__{column}'; only if"
    " it tells nothing apart, leave it out with --exclude",
    untold="If a column tells them apart, make it part of the series names, with --name '{COLUMN}__{column}', or pass"
    " it as another --timestamp if it is a part of the time.",
    periods="write the start of each as ISO 8601, such as 2024-06-20T08:00Z",
)
LISTED = "--invalid-rows FILE lists them all."


@dataclass(frozen=True)
class FileOptions(ObservationOptions):
    """``ObservationOptions`` of the command line.

    Attributes:
        timestamp_format: The ``--timestamp-format`` that was given, for messages; None for none.
        value_columns: The columns that hold neither timestamps nor names, for messages; empty if they are not known.
        name_column: The column of series names of a long file, for messages; None for a wide one.
        time_parts: The columns that seem to hold a part of the time, each with its directive, for messages.

    >>> FileOptions().spelled("on_invalid", "drop"), FileOptions().spelled("timezone")
    ('--on-invalid drop', '--timezone')
    """

    timestamp_format: str | None = None
    value_columns: tuple[str, ...] = ()
    name_column: str | None = None
    time_parts: tuple[tuple[str, str], ...] = ()

    LIST_OF_INVALID = LISTED
    LIST_OF_REJECTED = LISTED
    LIST_OF_SUPERSEDED = LISTED
    ADVICE = FILE_ADVICE
    MAY_MERGE = False
    TEXT_AS_TIMESTAMP = (
        "to Unix seconds or to ISO 8601, such as 2024-06-20T08:00Z, or say how it is written, for example with"
        " --timestamp-format '%d.%m.%Y %H:%M'"
    )

    def spelled(self, argument: str, value: object = ...) -> str:
        """Spell an argument as the option of the same name."""
        option = f"--{argument.replace('_', '-')}"
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return option if value is ... else f"{option} {shlex.quote(text)}"

    def text_as_timestamp(self) -> str:
        """Name the format that was given, if it was: it does not fit, so it must not be advised as if it were new."""
        if self.timestamp_format is None:
            return self.TEXT_AS_TIMESTAMP
        given = self.spelled("timestamp_format", self.timestamp_format)
        return f"to the form of {given}, which it does not match, or correct that format"

    def told_apart(self, column: Hashable) -> str:
        """Spell how to make a column part of the series names, and of the time."""
        measured = f"if it says what was measured, make it part of the series names, with {self.naming([str(column)])}"
        if (part := self.as_part_of_the_time(str(column))) is not None:
            return f"if it is a part of the time, {part}; {measured}"
        return f"{measured}; if it is a part of the time, pass it as another --timestamp"

    def untold(self) -> str:
        """Name a column that seems to be a part of the time, if there is one."""
        parts = [
            f"If the column {column!r} is a part of the time, {self.as_part_of_the_time(column)}. "
            for column, _ in self.time_parts[:1]
        ]
        if not parts and self.name_column is None:
            return super().untold()
        if not parts:
            return (
                f"If a column tells them apart, make it part of the series names, with {self.naming([])}, or pass it as"
                " another --timestamp if it is a part of the time."
            )
        return (
            f"{parts[0]}If another column tells them apart, make it part of the series names, with {self.naming([])}."
        )

    def naming(self, columns: Sequence[str]) -> str:
        """Spell how to make columns part of the series names: with a template, unless the file is simply a long one."""
        values = [column for column in self.value_columns if column not in columns]
        if len(columns) == 1 and len(values) == 1 and self.name_column is None:
            return f"{self.spelled('name', columns[0])} {self.spelled('value', values[0])}"
        keys = [*(columns or ["COLUMN"]), *([] if self.name_column is None else [self.name_column])]
        template = self.spelled("name", "__".join([*(f"{{{column}}}" for column in keys), "{column}"]))
        if self.name_column is None or values == [self.value]:
            return template
        return f"{template} {self.spelled('columns', self.value)}"

    def as_part_of_the_time(self, column: str) -> str | None:
        """Spell how to make a column part of the time; None if it does not seem to be one."""
        directive = dict(self.time_parts).get(column)
        if directive is None:
            return None
        if self.timestamp_format is None:
            return f"pass it as another --timestamp, with {directive} in --timestamp-format"
        given = self.spelled("timestamp_format", f"{self.timestamp_format} {directive}")
        return f"pass it as another --timestamp, with {given}"

    def merging(self) -> MergingFileOptions:
        """Return these options so that the last of several rows with one timestamp and name is kept in any case."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return MergingFileOptions(**{**given, "on_conflict": "last"})


@dataclass(frozen=True)
class MergingFileOptions(FileOptions):
    """The options of a call with ``--on-conflict``, by which the caller has decided what happens to such rows."""

    MAY_MERGE = True
