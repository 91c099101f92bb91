"""File table: turn a file into a frame whose cells are numbers, moments and names.

Comes in: a path, or stdin. Goes out: a frame for ``observe``, which does all the checking.
Never: takes a series called NA for a missing name, or a file without a line of column names for an empty table.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import pandas as pd

from temporis_dagster.cli.cells import moments, numbers
from temporis_dagster.cli.csv_file import CsvFile
from temporis_dagster.cli.file_bytes import PARQUET, bytes_of
from temporis_dagster.cli.file_options import FileOptions
from temporis_dagster.data_source.observations.layout import check_columns, refuse
from temporis_dagster.errors import ConfigurationError

PARQUET_ENDINGS = (".parquet", ".pq")


def table_of(
    path: str, options: FileOptions, *, delimiter: str = ",", missing: frozenset[str] = frozenset()
) -> pd.DataFrame:
    """Read a file into a frame.

    Args:
        path: A CSV or Parquet file, or - for stdin. CSV may be compressed with gzip.
        options: Which columns to expect.
        delimiter: The character between the columns of CSV.
        missing: Further texts that mean "no value" in CSV.

    Returns:
        The cells. For CSV, the index is called ``line`` and holds the line of each row in the file, where that can be
        determined.

    Raises:
        InvalidObservationsError: The file cannot be read as a table, or lacks the columns.
        ConfigurationError: The file cannot be opened, or is Parquet and pyarrow is not installed.
    """
    if path.lower().endswith(PARQUET_ENDINGS):
        frame = _parquet(path, options)
    else:
        content = bytes_of(path)
        if content.startswith(PARQUET):
            frame = _parquet(io.BytesIO(content), options)
        else:
            frame = _csv(CsvFile(content, delimiter), options, missing)
    check_columns(frame, options)
    return frame


def _csv(file: CsvFile, options: FileOptions, missing: frozenset[str]) -> pd.DataFrame:
    timestamp, name = str(options.timestamp), None if options.layout == "wide" else str(options.name)
    columns = file.column_names(timestamp, name)
    frame = _texts(file, columns, file.delimiter)
    texts = frame[timestamp]
    for column in frame.columns:
        if column != name:
            frame[column] = moments(texts) if column == timestamp else numbers(frame[column], missing)
    if name not in frame.columns:
        _refuse_lost_rows(file, frame, timestamp)
    return frame.set_axis(file.lines(len(frame)))


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


def _parquet(source: str | io.BytesIO, options: FileOptions) -> pd.DataFrame:
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
    timestamp = options.timestamp
    if (
        timestamp not in frame.columns
        and frame.index.name == timestamp
        and not isinstance(frame.index, pd.DatetimeIndex)
    ):
        frame = frame.reset_index()
    if timestamp in frame.columns and frame.columns.is_unique and _holds_text(frame[timestamp]):
        frame[timestamp] = moments(frame[timestamp].astype(object))
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
