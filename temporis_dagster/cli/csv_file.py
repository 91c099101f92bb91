"""CSV file: the column names of CSV, the line of each row, and what is wrong with a line.

Comes in: the bytes of a CSV file. Goes out: column names, line numbers, or an error that names the line.
Never: interprets a value.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import NoReturn

import pandas as pd

from temporis_dagster.cli.cells import is_moment
from temporis_dagster.cli.invalid_rows import LINE
from temporis_dagster.cli.time_parts import seems_to_hold_times
from temporis_dagster.cli.times_across import TimesAcross
from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.wording import columns_of, counted

OTHER_DELIMITERS = (",", ";", "\t", "|")
UNNAMED = "Unnamed: 0"
"""The name that pandas gives a first column without one."""

NO_NAMES = "Check the program that wrote the file. If the column names stand further down, pass --skip-rows."

HEADER_WITHIN = 100
"""Among how many rows the line of column names is looked for, to say how many lines to skip."""

BOM = b"\xef\xbb\xbf"
SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\r?\n', re.IGNORECASE)
NOT_CSV = {
    ("<",): "HTML or XML, such as a login or error page",
    ("{", "["): "JSON",
    ("#", "//", "%", "--"): "a comment",
}
"""How a first line begins that does not hold column names."""


@dataclass(frozen=True)
class Record:
    """One row of CSV: the line of the file on which it begins, and its fields."""

    line: int
    fields: list[str]


class CsvFile:
    """The bytes of a CSV file, without Excel's line that names the delimiter.

    Args:
        content: All bytes of the file.
        delimiter: The character between the columns.
        skip_rows: The number of lines before the line of column names.
        times_across: Returns what is noticed about column names that are times; None if they are none.

    Raises:
        InvalidObservationsError: The file names another delimiter, or has no line after those that are skipped.
    """

    def __init__(
        self,
        content: bytes,
        delimiter: str,
        skip_rows: int = 0,
        times_across: Callable[[list[str]], TimesAcross | None] = lambda _: None,
    ) -> None:
        content, self._first_line, self.delimiter = content.removeprefix(BOM), 1, delimiter
        self._times_across = times_across
        if skip_rows:
            content = b"".join(content.splitlines(keepends=True)[skip_rows:])
            self._first_line += skip_rows
            if not content.strip():
                refuse(f"Nothing is left of the file after --skip-rows {skip_rows}. Skip only what is above the names.")
        if found := SEPARATOR_LINE.match(content):
            named = found[1].decode(errors="replace")
            if named != delimiter:
                refuse(f"Line 1 is Excel's sep={named}, which names the delimiter. Pass {_option(named)}.")
            content, self._first_line = content[found.end() :], self._first_line + 1
        self.content = content

    def records(self) -> Iterator[Record]:
        """Iterate over the rows, blank lines left out. The first is the line of column names."""
        text = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", errors="replace", newline="")
        reader, begins = csv.reader(text, delimiter=self.delimiter), self._first_line
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip(" \t")):
                yield Record(begins, fields)
            begins = self._first_line + reader.line_num

    def column_names(self, timestamps: Sequence[str], name: str | None) -> list[str]:
        """Check the line of column names and return the names.

        Args:
            timestamps: The columns of timestamps, which must exist.
            name: The column of series names, if the layout is long.

        Raises:
            InvalidObservationsError: The line does not hold the column names of a table of observations.
        """
        header = next(self._readable_records())
        names = [
            UNNAMED if not i and not field and UNNAMED in timestamps else field for i, field in enumerate(header.fields)
        ]
        for timestamp in timestamps:
            if timestamp not in names:
                self._refuse_header(header, timestamp)
        if names[0] == "" and name not in names:
            refuse("The first column has no name, so its series would have none. Write the file without the index.")
        twice = sorted({column for column in names if column and names.count(column) > 1})
        if twice:
            refuse(f"Column names must be unique, got more than one of {twice}. Rename or drop the duplicates.")
        return names

    def lines(self, rows: int) -> pd.Index:
        """Return the line of the file on which each row begins, or the row numbers where that cannot be determined."""
        if self.content.rstrip(b"\r\n").count(b"\n") == rows:
            return pd.RangeIndex(self._first_line + 1, self._first_line + 1 + rows, name=LINE)
        try:
            begins = [record.line for record in self.records()]
        except csv.Error:
            begins = []
        return pd.Index(begins[1:], name=LINE) if len(begins) == rows + 1 else pd.RangeIndex(rows)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise for a file that the parser could not read, and name the line that stopped it."""
        try:
            self.content.decode()
        except UnicodeDecodeError as fault:
            line = self._first_line + self.content.count(b"\n", 0, fault.start)
            bad = self.content[fault.start : fault.start + 1]
            refuse(
                f"Line {line} is not UTF-8: it contains the byte {bad!r}. Pass the encoding of the file, for example"
                " --encoding latin1 or --encoding cp1252."
            )
        records, header = self._readable_records(), next(self._readable_records())
        last = header
        for last in records:
            if len(last.fields) > len(header.fields):
                self._refuse_fields(last, header)
        if last.fields[-1].count("\n") or self.content.count(b'"') % 2:
            refuse(f"A quotation mark that opens in line {last.line} is never closed. Close it or double it.")
        refuse(f"The file cannot be read as CSV: {' '.join(str(error).split())}. Check its last lines.")

    def refuse_lost_rows(self, rows: list[int]) -> None:
        """Raise if one of these rows has only one field: the delimiter is another one, or the line is not a row.

        Args:
            rows: Positions of the rows that have neither a readable timestamp nor a value.
        """
        suspects, header = set(rows), Record(0, [])
        for i, record in enumerate(self._readable_records()):
            if i == 0:
                header = record
            elif i - 1 in suspects and len(record.fields) == 1:
                self._refuse_fields(record, header)

    def refuse_cut_off(self) -> None:
        """Raise if the file ends in the middle of a row: with fewer fields than columns and without a line break."""
        if self.content.endswith((b"\n", b"\r")):
            return
        width, last = 0, Record(0, [])
        for last in self._readable_records():
            width = width or len(last.fields)
        if len(last.fields) < width:
            refuse(
                f"The file seems to be cut off: line {last.line}, its last, has only {len(last.fields)} of"
                f" {counted(width, 'field')} and no line break. Fetch the file again, or remove that line."
            )

    def _readable_records(self) -> Iterator[Record]:
        try:
            yield from self.records()
        except csv.Error as error:
            refuse(f"The file cannot be read as CSV: {error}. Check that it is CSV with a line of column names.")

    def _refuse_header(self, header: Record, timestamp: str) -> NoReturn:
        fields = header.fields
        line, first = f"Line {header.line}, {_shown(self.delimiter.join(fields))},", fields[0].lstrip()
        missing = f"Line {header.line} has no column {timestamp!r}"
        what = next((what for marks, what in NOT_CSV.items() if first.startswith(marks)), None)
        if what is not None:
            following = next(
                (
                    f", and line {record.line} has {counted(len(record.fields), 'field')}"
                    for record in self._after_header()
                ),
                "",
            )
            refuse(
                f"{line} is {what}, not the line of column names. It has {counted(len(fields), 'field')}{following}."
                f" {self._skipping(timestamp) or NO_NAMES}"
            )
        others = [other for other in OTHER_DELIMITERS if other != self.delimiter and other in first]
        if len(fields) == 1 and others:
            refuse(
                f"The file has only one column, {first!r}. Pass {_option(others[0])} if that character separates the"
                " columns."
            )
        if not is_moment(first) and not self._has_times(fields) and (found := self._times_across(fields)):
            refuse(f"{missing}. {found.noticed}. {found.advice}")
        if any(is_moment(field) for field in fields):
            refuse(
                f"{line} is an observation, not the line of column names. Begin the file with a line of column names,"
                " such as timestamp,name,value."
            )
        if skipping := self._skipping(timestamp):
            refuse(f"{line} has no column {timestamp!r}. {skipping}")
        if fields[0] == "":
            refuse(
                f"{missing}, and its first column has no name, as when pandas writes an index. Pass --timestamp"
                f" '{UNNAMED}' if that column holds the timestamps."
            )
        refuse(f"{missing}. Name the column of {columns_of(fields)} that holds the timestamps with --timestamp.")

    def _has_times(self, columns: list[str]) -> bool:
        """Tell whether a column seems to hold the times of the rows, although it is not the one that was named."""
        record = next(self._after_header(), None)
        cells = [] if record is None else record.fields
        return any(
            seems_to_hold_times(column, pd.Series([cell], dtype=object))
            for column, cell in zip_longest(columns, cells[: len(columns)], fillvalue="")
        )

    def _skipping(self, timestamp: str) -> str:
        """Return how to skip the lines above the line of column names, if that stands further down."""
        for record in islice(self._after_header(), HEADER_WITHIN):
            if timestamp in record.fields:
                return f"If line {record.line} has the column names, pass --skip-rows {record.line - 1}."
        return ""

    def _after_header(self) -> Iterator[Record]:
        records = self._readable_records()
        next(records)
        return records

    def _refuse_fields(self, record: Record, header: Record) -> NoReturn:
        fields, columns = counted(len(record.fields), "field"), len(header.fields)
        counts = f"Line {record.line} has {fields}, but the line of column names has {columns}"
        extra = record.fields[len(header.fields) :]
        if not extra:
            refuse(f"{counts}: {_shown(self.delimiter.join(record.fields))}. Correct or remove that line.")
        if not any(extra):
            refuse(f"{counts}. The last field is empty: remove the {self.delimiter!r} at the end of the lines.")
        if self.delimiter == "," and any(re.fullmatch(r"\d+", field, re.ASCII) for field in record.fields[2:]):
            refuse(
                f"{counts}. Expected one field per column: write numbers with a decimal point instead of a comma, or"
                " quote fields that contain a comma. (Quoted numbers with a comma are read with --decimal ,)"
            )
        refuse(f"{counts}. Quote fields that contain {self.delimiter!r}, or correct the line of column names.")


def _option(delimiter: str) -> str:
    return f"--delimiter {'tab' if delimiter == chr(9) else shlex.quote(delimiter)}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004  # fits on a line
