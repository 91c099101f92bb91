"""The shape of CSV: its line of column names, the lines of its rows, and what is wrong with a line.

Comes in: the bytes of a CSV file. Goes out: column names, line numbers, or an error that names the line.
Never: reads a value.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import pandas as pd

from temporis_dagster.cli.cells import is_moment
from temporis_dagster.cli.invalid_rows import LINE
from temporis_dagster.data_source.observations.layout import refuse

OTHER_DELIMITERS = (",", ";", "\t", "|")
UNNAMED = "Unnamed: 0"
"""What pandas calls a first column without a name."""

BOM = b"\xef\xbb\xbf"
SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\r?\n', re.IGNORECASE)
NOT_CSV = {
    ("<",): "HTML or XML, such as the page of a login or of an error",
    ("{", "["): "JSON",
    ("#", "//", "%", "--"): "a comment",
}
"""How a first line begins that is no line of column names."""


@dataclass(frozen=True)
class Record:
    """One row of CSV as it stands in the file: the line that it begins on, and its fields."""

    line: int
    fields: list[str]


class CsvFile:
    """The bytes of a CSV file, without Excel's line that names the delimiter.

    Args:
        content: All bytes.
        delimiter: What separates the columns.

    Raises:
        InvalidObservationsError: The file names another delimiter.
    """

    def __init__(self, content: bytes, delimiter: str) -> None:
        content, self._first_line, self.delimiter = content.removeprefix(BOM), 1, delimiter
        if found := SEPARATOR_LINE.match(content):
            named = found[1].decode(errors="replace")
            if named != delimiter:
                refuse(f"Line 1 is Excel's sep={named}, which names the delimiter. Pass {_option(named)}.")
            content, self._first_line = content[found.end() :], 2
        self.content = content

    def records(self) -> Iterator[Record]:
        """The rows, of which the first is the line of column names; without blank lines."""
        text = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", errors="replace", newline="")
        reader, begins = csv.reader(text, delimiter=self.delimiter), self._first_line
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip(" \t")):
                yield Record(begins, fields)
            begins = self._first_line + reader.line_num

    def column_names(self, timestamp: str, name: str | None) -> list[str]:
        """The line of column names, checked.

        Args:
            timestamp: The column of timestamps, which must be there.
            name: The column of series names, if the layout is long.

        Raises:
            InvalidObservationsError: It is no such line.
        """
        header = next(self._readable_records())
        names = [
            UNNAMED if not i and not field and timestamp == UNNAMED else field for i, field in enumerate(header.fields)
        ]
        if timestamp not in names:
            self._refuse_header(header, timestamp)
        if names[0] == "" and name not in names:
            refuse(
                "The first column has no name, so it would be a series without one. Write the file without the index."
            )
        twice = sorted({column for column in names if column and names.count(column) > 1})
        if twice:
            refuse(f"The columns {twice} exist more than once. Rename or drop the duplicates.")
        return names

    def lines(self, rows: int) -> pd.Index:
        """The line of the file on which each row begins; the rows' numbers where that cannot be told."""
        if self.content.rstrip(b"\r\n").count(b"\n") == rows:
            return pd.RangeIndex(self._first_line + 1, self._first_line + 1 + rows, name=LINE)
        try:
            begins = [record.line for record in self.records()]
        except csv.Error:
            begins = []
        return pd.Index(begins[1:], name=LINE) if len(begins) == rows + 1 else pd.RangeIndex(rows)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise for a file that the parser could not read, with the line that stopped it."""
        try:
            self.content.decode()
        except UnicodeDecodeError as fault:
            line = self._first_line + self.content.count(b"\n", 0, fault.start)
            bad = self.content[fault.start : fault.start + 1]
            refuse(
                f"Line {line} is not UTF-8: it holds the byte {bad!r}. Convert the file: iconv -f LATIN1 -t UTF-8 FILE."
            )
        records, header = self._readable_records(), next(self._readable_records())
        last = header
        for last in records:
            if len(last.fields) > len(header.fields):
                self._refuse_fields(last, header)
        if last.fields[-1].count("\n") or self.content.count(b'"') % 2:
            refuse(f"A quotation mark that opens in line {last.line} is never closed. Close it, or double it.")
        refuse(f"The file cannot be read as CSV: {' '.join(str(error).split())}. Check its last lines.")

    def refuse_lost_rows(self, rows: list[int]) -> None:
        """Raise if one of these rows, which hold no value, has one field only: another delimiter, or no row at all.

        Args:
            rows: Positions of rows without a timestamp that can be read and without a value.
        """
        suspects, header = set(rows), Record(0, [])
        for i, record in enumerate(self._readable_records()):
            if i == 0:
                header = record
            elif i - 1 in suspects and len(record.fields) == 1:
                self._refuse_fields(record, header)

    def refuse_cut_off(self) -> None:
        """Raise if the file ends in the middle of a row: with fewer fields than columns, and without a line break."""
        if self.content.endswith((b"\n", b"\r")):
            return
        width, last = 0, Record(0, [])
        for last in self._readable_records():
            width = width or len(last.fields)
        if len(last.fields) < width:
            refuse(
                f"The file ends in the middle of line {last.line}, which has {_fields(len(last.fields))} of {width} and"
                " no line break: it seems to be cut off. Fetch it again, or remove that line."
            )

    def _readable_records(self) -> Iterator[Record]:
        try:
            yield from self.records()
        except csv.Error as error:
            refuse(f"The file cannot be read as CSV: {error}. Check that it is CSV with a line of column names.")

    def _refuse_header(self, header: Record, timestamp: str) -> NoReturn:
        fields = header.fields
        line, first = f"Line {header.line}, {_shown(self.delimiter.join(fields))},", fields[0].lstrip()
        what = next((what for marks, what in NOT_CSV.items() if first.startswith(marks)), None)
        if what is not None:
            following = next(
                (f", and line {record.line} has {_fields(len(record.fields))}" for record in self._after_header()), ""
            )
            refuse(
                f"{line} is {what}, not the line of column names: it has {_fields(len(fields))}{following}."
                " Check what wrote the file, and remove what stands before the column names."
            )
        others = [other for other in OTHER_DELIMITERS if other != self.delimiter and other in first]
        if len(fields) == 1 and others:
            refuse(f"There is only one column, {first!r}. Pass {_option(others[0])} if that separates the columns.")
        if any(is_moment(field) for field in fields):
            refuse(
                f"{line} is an observation rather than a line of column names. Begin the file with one, such as"
                " timestamp,name,value."
            )
        missing = f"There is no column {timestamp!r} in line {header.line}"
        if fields[0] == "":
            refuse(
                f"{missing}, and the first column has no name: pandas writes an index so. Pass --timestamp '{UNNAMED}'"
                " if it holds the timestamps."
            )
        refuse(f"{missing}. Say which column of {fields[:20]} holds the timestamps, with --timestamp.")

    def _after_header(self) -> Iterator[Record]:
        records = self._readable_records()
        next(records)
        return records

    def _refuse_fields(self, record: Record, header: Record) -> NoReturn:
        fields, columns = _fields(len(record.fields)), len(header.fields)
        counts = f"Line {record.line} has {fields}, and the line of column names has {columns}"
        extra = record.fields[len(header.fields) :]
        if not extra:
            refuse(f"{counts}: {_shown(self.delimiter.join(record.fields))}. Correct or remove that line.")
        if not any(extra):
            refuse(f"{counts}. The last is empty: remove the {self.delimiter!r} at the end of the lines.")
        if self.delimiter == "," and any(re.fullmatch(r"\d+", field, re.ASCII) for field in record.fields[2:]):
            refuse(
                f"{counts}. Expected one field for each column: write numbers with a decimal point instead of a comma,"
                " or quote what holds a comma."
            )
        refuse(f"{counts}. Quote what holds a {self.delimiter!r}, or correct the line of column names.")


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"


def _option(delimiter: str) -> str:
    return f"--delimiter {'tab' if delimiter == chr(9) else shlex.quote(delimiter)}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004  # what fits a line
