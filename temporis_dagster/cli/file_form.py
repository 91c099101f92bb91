"""File form: how a file is written, which is decided before its cells are read as observations.

Comes in: the options of ``temporis ingest``. Goes out: one checked value; columns that are chosen, joined or made.
Never: guesses a separator, an encoding or a format: what is not said is as in CSV in UTF-8 with a decimal point.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Any, Literal, TypeAlias

import pandas as pd

from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import columns_of

Kind: TypeAlias = Literal["auto", "csv", "parquet", "excel", "json"]

COLUMN = "{column}"
"""What a template of names has where the name of the column of values goes."""

SPACES = "[ \u00a0\u2009\u202f]"
"""What stands for a space between thousands: also the spaces of typesetters."""

QUARTER = "%q"
"""A directive of ``--timestamp-format`` that pandas does not have: the quarter of a year, from 1 to 4."""

WHOLE = re.compile(r"(?<!\S)(\d+)\.0+(?!\S)", re.ASCII)
"""A whole number as pandas writes it if the column has gaps: 1950.0."""


@dataclass(frozen=True)
class FileForm:
    """How a file is written.

    Attributes:
        kind: The format; ``"auto"`` tells by the ending of the name and the first bytes.
        delimiter: The character between the columns of CSV.
        encoding: The encoding of text; None for UTF-8.
        skip_rows: The number of lines before the line of column names.
        sheet: The sheet of a workbook; None for the first.
        timestamps: The columns whose cells, joined by a blank, are the timestamps.
        timestamp_format: How these are written, as for ``strptime``; None for ISO 8601 or numbers.
        template: The template of series names; None for none.
        columns: The only columns of values; empty for all.
        exclude: Columns that are left out.
        missing: Further texts that mean "no value".
        decimal: The decimal separator.
        thousands: The separator of thousands; empty for none.

    Raises:
        ConfigurationError: The options contradict each other, or one of them has a value that it does not take.
    """

    kind: Kind = "auto"
    delimiter: str = ","
    encoding: str | None = None
    skip_rows: int = 0
    sheet: str | None = None
    timestamps: tuple[str, ...] = ("timestamp",)
    timestamp_format: str | None = None
    template: str | None = None
    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        if self.encoding is not None:
            _ensure_encoding(self.encoding)
        if self.thousands == self.decimal:
            raise ConfigurationError(f"--decimal and --thousands must differ, got {self.decimal!r} for both.")
        if self.timestamp_format is not None:
            _ensure_format(self.timestamp_format)
        _ = self.keys

    @property
    def timestamp(self) -> str:
        """The name of the column of timestamps, also of one that is joined."""
        return " ".join(self.timestamps)

    @property
    def keys(self) -> list[str]:
        """The columns whose cells are part of the series names, in the order of the template.

        Raises:
            ConfigurationError: The template is not valid.
        """
        return list(dict.fromkeys(field for _, field in self.parts if field is not None and field != "column"))

    @cached_property
    def parts(self) -> list[tuple[str, str | None]]:
        """The template in parts: a text, and the column whose cell follows it, or None at the end.

        What stands between braces is the name of a column and nothing else: also one such as ``a.b`` or ``0``, which
        ``str.format`` would take apart.

        Raises:
            ConfigurationError: The template is not valid.
        """
        try:
            parts = list(Formatter().parse(self.template or ""))
        except ValueError as error:
            raise ConfigurationError(
                f"--name {self.template!r} is not a template: {error}. Write a brace that is part of the name twice."
            ) from None
        for _, field, layout, conversion in parts:
            if layout or conversion:
                raise ConfigurationError(
                    f"--name {self.template!r} says how to write {field!r}. Write only the name of a column between"
                    f" braces, such as {{{field}}}."
                )
        return [(text, field) for text, field, _, _ in parts]

    def name(self, cells: Mapping[str, str]) -> str:
        """Return the name that the template makes of the cells of these columns."""
        return "".join(text + ("" if field is None else cells[field]) for text, field in self.parts)

    @property
    def plain_numbers(self) -> bool:
        """Whether numbers are written as in Python."""
        return self.decimal == "." and not self.thousands

    def number(self, text: str) -> str | None:
        """Return a number with a decimal point and without separators; None if it is not written in this form.

        >>> form = FileForm(decimal=",", thousands=".")
        >>> [form.number(text) for text in ("1.284,50", "-7", "1,5e3", "1.5", "12.34,5")]
        ['1284.50', '-7', '1.5e3', None, None]
        """
        found = self._pattern.fullmatch(text.strip())
        if found is None:
            return None
        whole = re.sub(r"\D", "", found["whole"])
        fraction = "." + found["fraction"] if found["fraction"] is not None else ""
        return f"{found['sign']}{whole}{fraction}{found['exponent'] or ''}"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        separator = SPACES if self.thousands == " " else re.escape(self.thousands)
        grouped = rf"\d{{1,3}}(?:{separator}\d{{3}})+|" if self.thousands else ""
        return re.compile(
            rf"(?P<sign>[+-]?)(?P<whole>{grouped}\d*)(?:{re.escape(self.decimal)}(?P<fraction>\d*))?"
            rf"(?P<exponent>[eE][+-]?\d+)?(?<=\d)",
            re.ASCII,
        )


def joined(frame: pd.DataFrame, form: FileForm) -> pd.DataFrame:
    """Return the frame with one column of timestamps, made of the texts of several."""
    if len(form.timestamps) < 2:  # noqa: PLR2004  # nothing to join
        return frame
    parts = [frame[column].map(_text).tolist() for column in form.timestamps]
    whole = [" ".join(cells).strip() for cells in zip(*parts, strict=True)]
    rest = frame.drop(columns=list(form.timestamps))
    if form.timestamp in rest.columns:
        refuse(f"There is a column {form.timestamp!r} besides those that are joined. Leave it out with --exclude.")
    rest.insert(0, form.timestamp, pd.Series(whole, frame.index, dtype=object))
    return rest


def chosen(frame: pd.DataFrame, form: FileForm, kept: Sequence[str]) -> pd.DataFrame:
    """Return the columns that ``--columns`` and ``--exclude`` leave, and those that do not hold values.

    Args:
        frame: The frame.
        form: Which columns.
        kept: Columns that are not values, which stay unless they are excluded.
    """
    columns = [str(column) for column in frame.columns]
    only, without = (
        _named(given, columns, option) for option, given in (("columns", form.columns), ("exclude", form.exclude))
    )
    lost = [column for column in without if column in kept]
    if lost:
        refuse(f"--exclude names {lost[0]!r}, which is not a column of values here. Leave it out of --exclude.")
    left = [column for column in columns if (not only or column in only or column in kept) and column not in without]
    return frame[[column for column in frame.columns if str(column) in left]]


def _named(given: tuple[str, ...], columns: list[str], option: str) -> list[str]:
    """Return the names that an option was given, also several in one text with commas between them."""
    names = [
        name.strip() if text not in columns else name
        for text in given
        for name in ([text] if text in columns else text.split(","))
    ]
    unknown = [name for name in names if name not in columns]
    if unknown:
        refuse(f"There is no column {unknown[0]!r}. --{option} takes some of {columns_of(columns)}.")
    return names


def named_by_template(frame: pd.DataFrame, form: FileForm) -> pd.DataFrame:
    """Return a long frame: one row for each row and column of values, the series named by the template.

    A cell without a value is left out, as in a wide file. Where a cell that is part of the name is empty, the name is
    missing. The columns are the timestamps, the template, and ``{column}``.
    """
    template, timestamp = str(form.template), form.timestamp
    missing = [key for key in form.keys if key not in frame.columns]
    if missing:
        refuse(
            f"There is no column {missing[0]!r}, which --name {template!r} names. The columns are"
            f" {columns_of(frame.columns.tolist())}; {COLUMN} stands for the name of each column of values."
        )
    values = [column for column in frame.columns if column not in (timestamp, *form.keys)]
    keys = {key: frame[key].map(_text) for key in form.keys}
    blank = pd.concat([cells == "" for cells in keys.values()], axis="columns").any(axis="columns") if keys else None
    parts = []
    for column in values:
        rows = zip(*keys.values(), strict=True) if keys else [()] * len(frame)
        names = pd.Series(
            [form.name({**dict(zip(keys, cells, strict=True)), "column": column}) for cells in rows],
            frame.index,
            dtype=object,
        )
        if blank is not None:
            names[blank] = None
        part = pd.DataFrame({timestamp: frame[timestamp], template: names, COLUMN: frame[column]})
        parts.append(part[part[COLUMN].notna()])
    if not parts:
        return pd.DataFrame(columns=[timestamp, template])
    return pd.concat(parts) if len(parts) > 1 else parts[0]


def _text(cell: Any) -> str:
    """Return a cell as a text, a whole number without a point, and nothing for no value."""
    if isinstance(cell, str):
        return cell.strip()
    if pd.isna(cell):
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def formatted(column: pd.Series[Any], form: FileForm) -> pd.Series[Any]:
    """Read texts and numbers as timestamps in the form's ``timestamp_format``; leave the rest as text.

    A whole number that is written with a point, such as 1950.0, is read without the point where the format needs that.
    A moment is aware where the format has ``%z``, and naive otherwise.
    """
    pattern = str(form.timestamp_format)
    cells = [_text(cell) if isinstance(cell, str | int | float) else "" for cell in column.tolist()]
    texts = pd.Series(cells, column.index, dtype=object)
    read = _read(texts, pattern)
    if read.isna().any():
        read = read.fillna(_read(texts.str.replace(WHOLE, r"\1", regex=True), pattern))
    if read.notna().all():
        return read
    left = [(cell or None) if pd.isna(moment) else moment for cell, moment in zip(cells, read.tolist(), strict=True)]
    return pd.Series(left, column.index, dtype=object)


def _read(texts: pd.Series[Any], pattern: str) -> pd.Series[Any]:
    """Return the moments of texts that have a format, and NaT for the others."""
    if QUARTER in pattern:
        pattern, cells = _by_months(pattern, texts.tolist())
        texts = pd.Series(cells, texts.index, dtype=object)
    return pd.Series(pd.to_datetime(texts, format=pattern, utc="%z" in pattern, errors="coerce"))


def _by_months(pattern: str, texts: list[str]) -> tuple[str, list[str]]:
    """Return a format with months instead of quarters, and the texts so that they have this format."""
    before, after = pattern.split(QUARTER)
    place = re.compile(rf"({_parts(before)})([1-4])({_parts(after)})")
    found = [place.fullmatch(text) for text in texts]
    return f"{before}%m{after}", [f"{m[1]}{int(m[2]) * 3 - 2:02d}{m[3]}" if m else "" for m in found]


def _parts(pattern: str) -> str:
    """Return a regular expression for what is around a quarter: digits for each directive, and the rest of it."""
    return "".join(r"\d+" if part.startswith("%") else re.escape(part) for part in re.findall(r"%.|[^%]+", pattern))


def _ensure_format(pattern: str) -> None:
    example = pattern.replace(QUARTER, "%m")
    try:
        if pattern.count(QUARTER) > 1 or "%" not in pattern:
            raise ValueError("it has no directive such as %Y, or more than one %q")  # noqa: TRY301
        pd.to_datetime(pd.Series(["2024"], dtype=object), format=example, errors="coerce")
    except ValueError as error:
        raise ConfigurationError(
            f"--timestamp-format {pattern!r} is not a format: {' '.join(str(error).split())}. Write it as in"
            " '%d.%m.%Y %H:%M', with the directives of Python's strptime."
        ) from None


def _ensure_encoding(name: str) -> None:
    try:
        "a".encode(name).decode(name)  # empty text would not be looked at
    except (LookupError, ValueError):
        raise ConfigurationError(
            f"--encoding {name!r} is not known. Use a name such as latin1, cp1252, utf-16 or shift_jis."
        ) from None
