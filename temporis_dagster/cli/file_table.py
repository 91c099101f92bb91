"""File table: turn a file into a frame whose cells are numbers, moments and names.

Comes in: a path, or stdin. Goes out: a frame for ``observe``, which does all the checking, and what was left out of it.
Never: takes a series called NA for a missing name, or a file without a line of column names for an empty table.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.cli.cells import moments, numbers
from temporis_dagster.cli.csv_file import CsvFile
from temporis_dagster.cli.file_bytes import PARQUET, ZIP, raw_bytes_of, text_of
from temporis_dagster.cli.file_form import COLUMN, FileForm, Kind, chosen, formatted, joined, named_by_template
from temporis_dagster.cli.file_options import FileOptions
from temporis_dagster.cli.time_parts import seems_to_hold_times, times_in
from temporis_dagster.cli.times_across import TimesAcross, times_across
from temporis_dagster.data_source.observations.layout import check_columns, refuse
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import agreeing, columns_of, counted

DATE_AND_TIME = re.compile(
    r"\d{4}([-/.]?)\d\d\1\d\d \d\d(:?\d\d)(:?\d\d([.,]\d+)?)?( ?([Zz]|[+-]\d\d:?\d\d))?", re.ASCII
)
"""What a date and a time in two columns are when they are joined, without ``--timestamp-format``."""

ENDINGS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
"""The formats that the ending of a file's name tells, besides CSV."""


@dataclass(frozen=True, eq=False)
class FileTable:
    """A file as a table.

    Attributes:
        frame: The cells, for ``observe``. For CSV, the index is called ``line`` and holds the line of each row in the
            file, where that can be determined.
        columns: The columns of the file that are taken, before names are made of cells.
        left_out: The columns that ``--exclude`` and ``--columns`` left out, with the rows of the frame.
        cells: The number of cells that could hold a value; 0 for a long file, whose rows without one are invalid.
        no_value: The number of those that hold no value.
        warning: What is odd about the names of its columns; empty for nothing.
    """

    frame: pd.DataFrame
    columns: list[str]
    left_out: pd.DataFrame
    cells: int = 0
    no_value: int = 0
    warning: str = ""

    def no_value_in_words(self) -> str:
        """Return how many cells hold no value, as a sentence; nothing if all of them hold one."""
        if not self.no_value:
            return ""
        return (
            f"{self.no_value:,} of {counted(self.cells, 'cell')} {agreeing(self.no_value, 'holds', 'hold')} no value."
        )


def table_of(path: str, options: FileOptions, form: FileForm) -> FileTable:
    """Read a file into a table.

    Args:
        path: A CSV, Parquet, Excel or JSON file, or - for stdin. It may be compressed with gzip.
        options: Which columns to expect.
        form: How the file is written.

    Raises:
        InvalidObservationsError: The file cannot be read as a table, or lacks the columns, or its times are in its
            column names.
        ConfigurationError: The file cannot be opened, or a package that reads it is not installed.
    """
    kind = _kind(path, form)

    def across(columns: list[str], left_out: Sequence[str] = ()) -> TimesAcross | None:
        known = replace(form, kind=kind)
        return times_across(columns, known, left_out=left_out, path=path, timezone=options.timezone)

    if kind == "parquet":
        source = path if path != "-" and not path.lower().endswith(".gz") else io.BytesIO(raw_bytes_of(path))
        frame, left_out = _typed(_parquet(source), options, form)
    elif kind == "excel":
        frame, left_out = _typed(_excel(raw_bytes_of(path), form), options, form)
        frame = _numbered(frame, options, form)
    elif kind == "json":
        frame, left_out = _typed(_json(text_of(raw_bytes_of(path), form.encoding)), options, form)
        frame = _numbered(frame, options, form)
    else:
        content = text_of(raw_bytes_of(path), form.encoding)
        if content.startswith(PARQUET):
            frame, left_out = _typed(_parquet(io.BytesIO(content)), options, form)
        else:
            frame, left_out = _csv(CsvFile(content, form.delimiter, form.skip_rows, across), options, form)
    columns, warning = [str(column) for column in frame.columns], ""
    if not _is_long(columns, options, form) and (found := across(columns, list(map(str, left_out.columns)))):
        warning = _warning(found, frame, left_out, options)
    _ensure_template(frame, options, form)
    cells, no_value = (0, 0) if _is_long(columns, options, form) else _without_value(frame, form)
    if form.template is not None:
        labels, frame = frame.index, named_by_template(frame.set_axis(pd.RangeIndex(len(frame))), form)
        rows = frame.index.to_numpy(dtype="int64")
        frame, left_out = frame.set_axis(labels.take(rows)), left_out.take(rows)
    check_columns(frame, options)
    return FileTable(frame, columns, left_out.reset_index(drop=True), cells, no_value, warning)


def _is_long(columns: list[str], options: FileOptions, form: FileForm) -> bool:
    """Tell whether a file has one row per observation, with a column of names."""
    if form.template is not None or options.layout == "wide":
        return False
    return options.layout == "long" or {str(options.name), str(options.value)} <= set(columns)


def _warning(found: TimesAcross, frame: pd.DataFrame, left_out: pd.DataFrame, options: FileOptions) -> str:
    """Refuse a table whose times are in its header, and return a warning if they only may be.

    They are if its rows have no times, or years where the header has months. Another column that may hold the times of
    the rows is left to the checks that follow: they say how to name it, or how to read it.
    """
    if not frame.columns.is_unique:
        return ""
    held, timestamp = "", str(options.timestamp)
    if timestamp in frame.columns:
        held = times_in(frame[timestamp], options.timestamp_format)
    elif isinstance(frame.index, pd.DatetimeIndex):
        held = "moment"
    if held == "moment" or (held and (options.layout == "wide" or found.kind == "year")):
        return found.warning
    elsewhere = any(
        seems_to_hold_times(column, some[column])
        for some in (frame, left_out)
        for column in some.columns
        if str(column) not in found.across
    )
    if held or not elsewhere:
        found = replace(found, years=timestamp if held and timestamp in found.kept else None)
        refuse(f"{found.noticed}. {found.advice}")
    return ""


def _without_value(frame: pd.DataFrame, form: FileForm) -> tuple[int, int]:
    """Return the number of cells for values, and of those without one, in the rows that have a timestamp."""
    if not frame.columns.is_unique:
        return 0, 0
    values = [column for column in frame.columns if column not in (form.timestamp, *form.keys)]
    timed = np.ones(len(frame), dtype=np.bool_)
    if form.timestamp in frame.columns:
        timed = frame[form.timestamp].notna().to_numpy(dtype=np.bool_)
    without = sum(int((frame[column].isna().to_numpy() & timed).sum()) for column in values)
    return int(timed.sum()) * len(values), without


def _ensure_template(frame: pd.DataFrame, options: FileOptions, form: FileForm) -> None:
    """Refuse what looks like a template, lacks the name of the column of values, and names no column either."""
    name = str(options.name)
    keys = [key for key in re.findall(r"\{([^{}]+)\}", name) if key in frame.columns]
    if form.template is None and keys and name not in frame.columns:
        values = [column for column in frame.columns if column not in (form.timestamp, *keys)]
        long = ""
        if name == f"{{{keys[0]}}}":
            value = str(values[0]) if len(values) == 1 else "COLUMN"
            long = f", or --name {shlex.quote(keys[0])} --value {shlex.quote(value)}"
        raise ConfigurationError(
            f"--name {name!r} lacks {COLUMN}, which stands for the name of each column of values. Pass"
            f" --name {shlex.quote(f'{name}__{COLUMN}')}{long}."
        )


def _kind(path: str, form: FileForm) -> Kind:
    if form.kind != "auto":
        return form.kind
    name = path.lower()
    return next((kind for ending, kind in ENDINGS.items() if name.removesuffix(".gz").endswith(ending)), "csv")


def _csv(file: CsvFile, options: FileOptions, form: FileForm) -> tuple[pd.DataFrame, pd.DataFrame]:
    name = None if options.layout == "wide" or form.template is not None else str(options.name)
    columns = file.column_names(form.timestamps, name)
    whole = joined(_texts(file, columns, file.delimiter), form)
    frame = chosen(whole, form, _no_values(options, form)).copy(deep=False)  # for older pandas, which warns otherwise
    left_out = whole.drop(columns=frame.columns)
    texts = frame[form.timestamp]
    for column in frame.columns:
        if column == form.timestamp:
            frame[column] = _moments(texts, form)
        elif column != name and column not in form.keys:
            frame[column] = numbers(frame[column], form)
    if name not in frame.columns and form.template is None:
        _refuse_lost_rows(file, frame, form.timestamp)
    return frame.set_axis(file.lines(len(frame))), left_out


def _typed(frame: pd.DataFrame, options: FileOptions, form: FileForm) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the columns of a file with types, and read texts among its timestamps; leave other cells unchanged."""
    timestamp, index = form.timestamp, frame.index
    if form.timestamps == (index.name,) and timestamp not in frame.columns and not isinstance(index, pd.DatetimeIndex):
        frame = frame.reset_index()
    if not frame.columns.is_unique:
        return frame, frame.iloc[:, :0]
    for column in form.timestamps:
        if column not in frame.columns and (len(form.timestamps) > 1 or form.template is not None):
            refuse(f"There is no column {column!r}. The columns are {columns_of(frame.columns.tolist())}.")
    whole = joined(frame, form)
    frame = chosen(whole, form, _no_values(options, form))
    left_out = whole.drop(columns=frame.columns)
    if timestamp not in frame.columns:
        return frame, left_out
    if form.timestamp_format is not None and frame[timestamp].dtype.kind != "M":
        frame = frame.assign(**{timestamp: formatted(frame[timestamp], form)})
    elif _holds_text(frame[timestamp]):
        frame = frame.assign(**{timestamp: _moments(frame[timestamp].astype(object), form)})
    return frame, left_out


def _numbered(frame: pd.DataFrame, options: FileOptions, form: FileForm) -> pd.DataFrame:
    """Read the texts among the values of a sheet or of JSON, as in CSV."""
    if not frame.columns.is_unique:
        return frame
    texts = {
        column: numbers(frame[column], form)
        for column in frame.columns.difference(_no_values(options, form) if form.template else _names(options, form))
        if _holds_text(frame[column])
    }
    return frame.assign(**texts)


def _moments(texts: pd.Series[Any], form: FileForm) -> pd.Series[Any]:
    """Read texts as timestamps; what is joined, only where it is a whole date and a time of day.

    Without a format, a year and a quarter would read as a year and a month.
    """
    if form.timestamp_format is not None:
        return formatted(texts, form)
    if len(form.timestamps) == 1:
        return moments(texts)
    cells: list[str] = texts.tolist()
    whole = [DATE_AND_TIME.fullmatch(cell) is not None for cell in cells]
    kept = [cell if right else "" for cell, right in zip(cells, whole, strict=True)]
    read = moments(pd.Series(kept, texts.index, dtype=object))
    if all(whole):
        return read
    found = [
        moment if right or not cell else cell for moment, right, cell in zip(read.tolist(), whole, cells, strict=True)
    ]
    return pd.Series(found, texts.index, dtype=object)


def _names(options: FileOptions, form: FileForm) -> list[str]:
    """Return the columns that hold timestamps or names."""
    return [form.timestamp, *([] if options.layout == "wide" else [str(options.name)])]


def _no_values(options: FileOptions, form: FileForm) -> list[str]:
    """Return the columns that hold no values."""
    if form.template is not None:
        return [form.timestamp, *form.keys]
    return [form.timestamp, *([] if options.layout == "wide" else [str(options.name), str(options.value)])]


def _excel(content: bytes, form: FileForm) -> pd.DataFrame:
    """Read a sheet of a workbook, with unchanged cells."""
    try:
        if content.startswith(ZIP):
            import_module("openpyxl")  # pandas would find out that it needs it only in a complete workbook
        sheet = 0 if form.sheet is None else form.sheet
        frame: pd.DataFrame = pd.read_excel(
            io.BytesIO(content), sheet_name=sheet, skiprows=form.skip_rows, dtype=object, keep_default_na=False
        )
    except ImportError as error:
        raise ConfigurationError(
            f"Excel files need another package ({str(error).rstrip('.')}). For .xlsx, install it with: pip install"
            " openpyxl"
        ) from None
    except Exception as error:  # noqa: BLE001  # zip, XML and the engines have errors of their own
        refuse(
            f"The file cannot be read as a workbook: {' '.join(str(error).split()).rstrip('.')}. Check that it is"
            " complete, and --sheet."
        )
    return frame.set_axis([str(column) for column in frame.columns], axis="columns")


def _json(content: bytes) -> pd.DataFrame:
    """Read objects, one per line or in one array, with every number exact."""
    try:
        text = content.decode("utf-8-sig")
        whole = text.lstrip().startswith("[")
        records = json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        refuse(f"The file cannot be read as JSON lines: {error}. Write one object per line, or one array of objects.")
    if not all(isinstance(record, dict) for record in records):
        refuse("The file must hold one JSON object per line, or one array of objects. Check the program that wrote it.")
    return pd.DataFrame.from_records(records)


def _texts(file: CsvFile, columns: list[str], delimiter: str) -> pd.DataFrame:
    """Return all cells as text, without the columns that have neither a name nor a cell."""
    text: dict[str, Any] = {"dtype": object, "keep_default_na": False, "na_filter": False, "sep": delimiter}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame: pd.DataFrame = pd.read_csv(
                io.BytesIO(file.content), header=0, names=range(len(columns)), index_col=False, **text
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        file.refuse(error)
    unused = [i for i, column in enumerate(columns) if not column and not frame[i].str.strip().any()]
    return frame.drop(columns=unused).set_axis([c for i, c in enumerate(columns) if i not in unused], axis="columns")


def _refuse_lost_rows(file: CsvFile, frame: pd.DataFrame, timestamp: str) -> None:
    """Refuse lines that are not rows of a wide table.

    A row without a value is not checked later, whatever its timestamp is.
    """
    values = frame.drop(columns=timestamp)
    empty = frame[timestamp].map(lambda cell: isinstance(cell, str)) & values.isna().all(axis="columns")
    if empty.any():
        file.refuse_lost_rows([row for row, lost in enumerate(empty) if lost])
    if len(frame) and values.iloc[-1].isna().any():
        file.refuse_cut_off()


def _parquet(source: str | io.BytesIO) -> pd.DataFrame:
    try:
        import pyarrow as pa

        frame = _read_parquet(source)
    except ImportError:
        raise ConfigurationError("Parquet files need pyarrow. Install it with: pip install pyarrow") from None
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        if "Multiple matches" in str(error):
            refuse("Some column names occur more than once. Rename or drop the duplicates.")
        refuse(
            f"The file cannot be read as Parquet: {' '.join(str(error).split()).rstrip('.')}. Check that it is"
            " complete."
        )
    return frame


def _read_parquet(source: str | io.BytesIO) -> pd.DataFrame:
    """Read Parquet with pandas; where an older pandas cannot read the dtypes that a newer one wrote, ignore those."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pd.read_parquet(source, engine="pyarrow")
    except NotImplementedError as error:
        if isinstance(error, pa.ArrowException):
            raise
    if isinstance(source, io.BytesIO):
        source.seek(0)
    frame: pd.DataFrame = pyarrow.parquet.read_table(source).to_pandas(ignore_metadata=True)
    unnamed = [column for column in frame.columns if str(column).startswith("__index_level_")]
    return frame.set_index(unnamed).rename_axis([None] * len(unnamed)) if unnamed else frame


def _holds_text(column: pd.Series[Any]) -> bool:
    return any(isinstance(cell, str) for cell in column.tolist()) if column.dtype.kind not in "iufMm" else False
