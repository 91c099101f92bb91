"""Times across: columns that are named like months or years, so that the times of a table are in its header.

Comes in: names of columns. Goes out: how to reshape such a table, and how to read the result.
Never: reshapes it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from temporis_dagster.cli.file_form import COLUMN, FileForm
from temporis_dagster.cli.time_parts import LONG_MONTHS, NAMED, SHORT_MONTHS, only_years, year_among
from temporis_dagster.wording import listed

YEAR = re.compile(r"[A-Za-z]?(?:1[5-9]|20)\d\d(?:\.0+)?(?: \[YR\d{4}\])?", re.ASCII)
"""A year as the name of a column: 1960, X1960 as R writes it, 1960.0, or 1960 [YR1960] as the World Bank writes it."""

PLAIN_YEAR = re.compile(r"\d{4}(?:\.0+)?", re.ASCII)
ENOUGH = 3
"""How many such columns it takes: one or two may be series that only have such a name."""

MEASURED = "measured"
"""What the reshaped table calls the column of values, until its owner finds a better name."""


@dataclass(frozen=True)
class TimesAcross:
    """A table whose times are in its header.

    Attributes:
        across: The columns that are named like times.
        kind: What they are named like: month or year.
        kept: The other columns.
        form: How the file is written.
        read: How pandas reads it.
        timezone: The time zone that was given; None for none.
        years: The column that was named for the timestamps, if it holds years; None if it does not, or is not known.
    """

    across: list[str]
    kind: str
    kept: list[str]
    form: FileForm
    read: str
    timezone: str | None = None
    years: str | None = None

    @property
    def noticed(self) -> str:
        """What was noticed, as a clause."""
        return f"The columns {listed(self.across)} are named like {self.kind}s"

    @property
    def warning(self) -> str:
        """What to do if the rows have times of their own, so that the columns may well be series."""
        return (
            f"{self.noticed}. If each of them is a series of its own, name all columns of values with --columns, and"
            " this warning goes away. If their names say when the values were measured, the values are at wrong times:"
            " reshape the table first, so that each row has one time."
        )

    @property
    def advice(self) -> str:
        """How to reshape the table, the options that read the result, and what to do if they are series after all."""
        if self.kind == "month" and self._year is None:
            return (
                "Only rows have times for this command, and no column is known to hold the year of these months: name"
                " it with --timestamp, or add one that is called year, and try again. If each of the columns is a"
                " series of its own, name them with --columns."
            )
        return (
            f"Only rows have times for this command, and every column of values is a series, so such a table must be"
            f" reshaped first. With pandas: {self._example}. There, {MEASURED!r} becomes the name of the series: write"
            f" what was measured. For long.csv, pass {self._options}.{self._rest} If each of the columns is a series of"
            " its own nevertheless, name them with --columns."
        )

    @property
    def _example(self) -> str:
        years = "" if self._plain else "; long['year'] = long['year'].str.extract(r'(\\d{4})', expand=False)"
        return (
            f"import pandas as pd; long = {self.read}.melt({self.kept!r}, var_name={self.kind!r},"
            f" value_name={MEASURED!r}){years}; long.to_csv('long.csv', index=False)"
        )

    @property
    def _plain(self) -> bool:
        return self.kind == "month" or all(PLAIN_YEAR.fullmatch(column.strip()) for column in self.across)

    @property
    def _year(self) -> str | None:
        """The column that holds years, by its cells or by its name. None is guessed."""
        return self.years or year_among(self.kept)

    @cached_property
    def _parts(self) -> tuple[list[str], str]:
        """The columns of the times in the reshaped table, and their format."""
        if self.kind == "month":
            short = all(column.strip().lower() in SHORT_MONTHS for column in self.across)
            given = self.form.timestamp_format
            pattern = given if given is not None and only_years(given) else "%Y"
            return [str(self._year), "month"], f"{pattern} {'%b' if short else '%B'}"
        finer = [column for column in self.kept if column.strip().lower() in NAMED][:1]
        return ["year", *finer], " ".join(["%Y", *(NAMED[column.strip().lower()] for column in finer)])

    @property
    def _others(self) -> list[str]:
        return [column for column in self.kept if column not in self._parts[0]]

    @property
    def _options(self) -> str:
        columns, pattern = self._parts
        words = [word for column in columns for word in ("--timestamp", column)]
        words += ["--timestamp-format", pattern, "--timezone", self.timezone or "UTC"]
        if self._others:
            words += ["--name", "__".join([*(f"{{{column}}}" for column in self._others), COLUMN])]
        return shlex.join(words)

    @property
    def _rest(self) -> str:
        if not self._others:
            return ""
        return " Leave the columns that tell no rows of one time apart out of --name, and out with --exclude."


def times_across(
    columns: Sequence[str],
    form: FileForm,
    *,
    left_out: Sequence[str] = (),
    path: str = "-",
    timezone: str | None = None,
) -> TimesAcross | None:
    """Return what is noticed about the names of columns; None if they are not times, or ``--columns`` named them.

    Args:
        columns: The columns of the file that are taken.
        form: How the file is written.
        left_out: Its other columns.
        path: The file.
        timezone: The time zone that was given.

    Examples:
        >>> found = times_across(["YEAR", "JAN", "FEB", "MAR"], FileForm(timestamps=("YEAR",)), path="sea.csv")
        >>> found.noticed
        "The columns 'JAN', 'FEB', 'MAR' are named like months"
        >>> "--timestamp YEAR --timestamp month --timestamp-format '%Y %b' --timezone UTC" in found.advice
        True
        >>> times_across(["day", "JAN", "FEB"], FileForm(timestamps=("day",))) is None
        True
    """
    if form.columns:
        return None
    taken = [*form.timestamps, *form.keys]
    candidates = [column for column in columns if column not in (form.timestamp, *taken)]
    months = [column for column in candidates if column.strip().lower() in SHORT_MONTHS | LONG_MONTHS]
    years = [column for column in candidates if YEAR.fullmatch(column.strip())]
    across, kind = (months, "month") if len(months) >= len(years) else (years, "year")
    if len(across) < ENOUGH:
        return None
    apart = form.timestamps if len(form.timestamps) > 1 and form.timestamp in columns else ()
    kept = [column for column in (*apart, *columns, *left_out) if column not in across]
    kept = [column for column in kept if not apart or column != form.timestamp]
    return TimesAcross(across, kind, kept, form, _reading(path, form), timezone)


def _reading(path: str, form: FileForm) -> str:
    """Return how pandas reads a file that is written in this form."""
    name = repr("FILE.csv" if path == "-" else path)
    if form.kind == "parquet":
        return f"pd.read_parquet({name})"
    rows = {"skiprows": form.skip_rows} if form.skip_rows else {}
    if form.kind == "excel":
        given: dict[str, object] = {**({} if form.sheet is None else {"sheet_name": form.sheet}), **rows}
        return f"pd.read_excel({', '.join([name, *_arguments(given)])})"
    coded = {} if form.encoding is None else {"encoding": form.encoding}
    if form.kind == "json":
        lines = {} if path.lower().removesuffix(".gz").endswith(".json") else {"lines": True}
        return f"pd.read_json({', '.join([name, *_arguments({**coded, **lines})])})"
    given = {**({} if form.delimiter == "," else {"sep": form.delimiter}), **coded, **rows}
    given |= {} if form.decimal == "." else {"decimal": form.decimal}
    given |= {"thousands": form.thousands} if form.thousands else {}
    given |= {"na_values": sorted(form.missing)} if form.missing else {}
    return f"pd.read_csv({', '.join([name, *_arguments(given)])})"


def _arguments(given: dict[str, object]) -> list[str]:
    return [f"{argument}={value!r}" for argument, value in given.items()]
