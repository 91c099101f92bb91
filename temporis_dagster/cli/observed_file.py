"""Observed file: a file of observations, read and checked, for the commands that take one.

Comes in: a file and how to read it. Goes out: observations; the list of invalid rows.
Never: connects to anything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from temporis_dagster.cli.output import OutputError, tell
from temporis_dagster.cli.shared_options import Command, one_character, thousands, with_options
from temporis_dagster.errors import InvalidObservationsError

if TYPE_CHECKING:
    import pandas as pd

    from temporis_dagster.cli.file_form import FileForm
    from temporis_dagster.cli.file_options import FileOptions
    from temporis_dagster.cli.file_table import FileTable
    from temporis_dagster.cli.invalid_rows import InvalidRows
    from temporis_dagster.data_source.observations import Observations

LOGGER = logging.getLogger(__name__)

FRAME_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(["auto", "long", "wide"]),
        default="auto",
        show_default=True,
        help="Layout of the file: one row per observation (long), or one column per series (wide). auto decides by the"
        " column names.",
    ),
    click.option(
        "--timestamp",
        default=("timestamp",),
        show_default=True,
        multiple=True,
        metavar="COLUMN",
        help="Name of the column of timestamps. Repeat it if date and time are in two columns: they are joined by a"
        " blank.",
    ),
    click.option(
        "--timestamp-format",
        metavar="FORMAT",
        help="How timestamps are written, unless they are ISO 8601 or numbers since 1970: for example '%d.%m.%Y %H:%M',"
        " '%m/%d/%Y %I:%M %p', '%b %d %Y', %Y%m%d or %Y, as for Python's strptime; %q is a quarter from 1 to 4. Without"
        " %z in it, --timezone says the time zone.",
    ),
    click.option(
        "--name",
        default="name",
        show_default=True,
        metavar="COLUMN",
        help="Name of the column of series names in a long file. Or a template for the names of a wide file with more"
        " rows per time, such as '{station}__{column}': the cells of the column station, then the name of each column"
        " of values.",
    ),
    click.option(
        "--value",
        default="value",
        show_default=True,
        metavar="COLUMN",
        help="Name of the column of values in a long file.",
    ),
    click.option(
        "--columns",
        multiple=True,
        metavar="COLUMN",
        help="Take only this column of values. May be repeated, or list several with commas.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="COLUMN",
        help="Leave this column out, such as one of texts that tells no rows apart. May be repeated, or list several"
        " with commas.",
    ),
    click.option(
        "--format",
        "kind",
        type=click.Choice(["auto", "csv", "parquet", "excel", "json"]),
        default="auto",
        show_default=True,
        help="Format of the file. auto decides by the ending of its name (.parquet, .xlsx, .jsonl and others). json is"
        " one object per line, or one array of objects.",
    ),
    click.option("--sheet", metavar="NAME", help="Sheet of an Excel workbook. Defaults to the first."),
    click.option(
        "--encoding",
        metavar="NAME",
        help="Encoding of CSV or JSON, such as latin1, cp1252 or utf-16. Defaults to UTF-8.",
    ),
    click.option(
        "--skip-rows",
        type=click.IntRange(min=0),
        default=0,
        metavar="NUMBER",
        help="Number of lines above the line of column names, such as a title or comments.",
    ),
    click.option(
        "--decimal",
        type=click.Choice([".", ","]),
        default=".",
        show_default=True,
        help="Decimal separator of numbers in texts.",
    ),
    click.option(
        "--thousands",
        default="",
        callback=thousands,
        metavar="CHARACTER",
        help="Separator between thousands in numbers, such as . or , or ' or a blank. By default, there is none.",
    ),
    click.option(
        "--delimiter",
        default=",",
        show_default=True,
        callback=one_character,
        metavar="CHARACTER",
        help="Character between the columns of CSV. The word tab stands for a tab.",
    ),
    click.option(
        "--na",
        "--na-value",
        "na",
        multiple=True,
        metavar="TEXT",
        help="Text that means no value in CSV, besides blank, NA, N/A, #N/A, NaN, null and the like. May be repeated.",
    ),
    click.option(
        "--timezone",
        metavar="ZONE",
        help="Time zone of timestamps without an offset, such as UTC or Europe/Berlin. Etc/GMT+8 is UTC-8 all year:"
        " these names reverse the sign.",
    ),
    click.option(
        "--ambiguous",
        type=click.Choice(["raise", "infer", "NaT", "true", "false"]),
        default="raise",
        show_default=True,
        help="What to do with a local time that occurs twice: refuse it (raise), tell the two apart by the order of the"
        " rows (infer), or treat it as missing (NaT). true treats each as the first, in summer time, and false as the"
        " second; use them only if the file contains just one of the two.",
    ),
    click.option(
        "--nonexistent",
        type=click.Choice(["raise", "shift_forward", "shift_backward", "NaT"]),
        default="raise",
        show_default=True,
        help="What to do with a local time that the clock skipped: refuse it (raise), move it to the end or the start"
        " of the gap (shift_forward, shift_backward), or treat it as missing (NaT).",
    ),
    click.option(
        "--sub-second",
        type=click.Choice(["raise", "floor"]),
        default="raise",
        show_default=True,
        help="What to do with a fraction of a second: refuse it (raise), or cut it off (floor).",
    ),
    click.option(
        "--unit",
        type=click.Choice(["s", "ms", "us", "ns"]),
        help="Unit of numeric timestamps, counted from 1970. Defaults to seconds; numbers that all look like calendar"
        " dates, such as 20240620, are then refused.",
    ),
    click.option(
        "--allow-future",
        is_flag=False,
        flag_value="true",
        metavar="[DISTANCE]",
        help="Accept timestamps more than a year ahead of the clock: all of them, or up to a distance such as '730"
        " days'.",
    ),
    click.option(
        "--on-invalid",
        type=click.Choice(["raise", "drop"]),
        default="raise",
        show_default=True,
        help="If a row is invalid, send nothing (raise), or send the other rows (drop).",
    ),
    click.option(
        "--on-conflict",
        type=click.Choice(["last", "raise"]),
        help="If rows have the same timestamp and name but different values, store the last one and warn (last), or"
        " send nothing (raise). Defaults to last, but to raise if another column shows that the rows belong to"
        " different series, or if more than half of the rows would be lost.",
    ),
    click.option(
        "--decimals",
        type=click.Choice(["nearest", "exact"]),
        default="nearest",
        show_default=True,
        help="What to do with a decimal number in Parquet that float64 cannot hold exactly: take the nearest float, or"
        " refuse it (exact).",
    ),
    click.option(
        "--invalid-rows",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write a CSV of the rows that were invalid, dropped, rejected or lost to a later row with another value:"
        " position, line, column, value, reason.",
    ),
)
"""How to read the file, in the order of ``--help``."""


_OF_THE_FORM = (
    *("kind", "sheet", "encoding", "skip_rows", "delimiter", "decimal", "thousands", "na"),
    *("timestamp_format", "columns", "exclude"),
)
"""The options that say how the file is written. The others are those of a frame."""


def frame_options(command: Command) -> Command:
    """Give a command the options that say how to read a file."""
    return with_options(command, FRAME_OPTIONS)


def options_of(given: dict[str, Any]) -> tuple[FileOptions, FileForm]:
    """Return how to read the file and how it is written, from what the options of ``frame_options`` were given."""
    from temporis_dagster.cli.file_form import COLUMN, FileForm
    from temporis_dagster.cli.file_options import FileOptions, MergingFileOptions

    said = {name: value for name, value in given.items() if name not in _OF_THE_FORM}
    form = FileForm(
        timestamps=given["timestamp"],
        missing=frozenset(text.strip() for text in given["na"]),
        template=said["name"] if COLUMN in said["name"] else None,
        **{name: given[name] for name in _OF_THE_FORM if name != "na"},
    )
    said |= {"timestamp": form.timestamp, "timestamp_format": form.timestamp_format}
    if form.template is not None:
        said |= {"layout": "long", "value": COLUMN}
    meant, on_conflict = {"true": True, "false": False}, said["on_conflict"]
    said |= {"ambiguous": meant.get(said["ambiguous"], said["ambiguous"]), "on_conflict": on_conflict or "last"}
    return (FileOptions if on_conflict is None else MergingFileOptions)(**said), form


@contextmanager
def collected_invalid_rows(
    path: str | None, file: str, options: FileOptions, urls: Sequence[str | None]
) -> Iterator[InvalidRows]:
    """Collect invalid rows, and write their list even if the command fails. The error of the command comes first."""
    from temporis_dagster.cli.invalid_rows import InvalidRows

    bad = InvalidRows(path, file, str(options.value), urls)
    try:
        yield bad
    except BaseException:
        try:
            bad.write()
        except OutputError as error:
            tell(f"Error: {error.message}")
        raise


def table_of_file(file: str, options: FileOptions, form: FileForm) -> FileTable:
    """Read the file into a table, and warn if its columns are named like times."""
    from temporis_dagster.cli.file_table import table_of

    table = table_of(file, options, form)
    if table.warning:
        tell(f"Warning: {table.warning}")
    return table


def observed(table: FileTable, options: FileOptions, data_source: str, bad: InvalidRows) -> Observations:
    """Return the observations of the file, and collect the rows that are none."""
    from temporis_dagster.cli.lost_rows import settled

    frame, merging, dropped, remarks = table.frame, options.merging(), "", list[tuple[object, ...]]()
    try:
        observations = _observe(frame, replace(merging, on_invalid="raise"), data_source, remarks)
    except InvalidObservationsError as error:
        bad.invalid(error.rows, frame.index.name)
        if options.on_invalid == "raise" or error.rows.empty:
            raise _with_advice(error, table, options) from None
        dropped = bad.in_words()
        observations = _observe(frame, merging, data_source, remarks)
    try:
        observations = settled(table, observations, options, data_source)
    except InvalidObservationsError as error:
        bad.invalid(error.rows, frame.index.name)
        raise
    if not observations.conflicts:
        for remark in remarks:
            LOGGER.warning(*remark)
    if dropped:
        tell(f"Dropped: {dropped}. {options.LIST_OF_INVALID}")
    bad.superseded(observations)
    return observations


def _observe(
    frame: pd.DataFrame, options: FileOptions, data_source: str, remarks: list[tuple[object, ...]]
) -> Observations:
    """Observe a frame, and collect the warnings: the one of rows that lose is given, or not, when they are settled."""
    from temporis_dagster.data_source.observations import observe

    return observe(frame, options, data_source=data_source, warn=lambda *remark: remarks.append(remark))


def _with_advice(error: InvalidObservationsError, table: FileTable, options: FileOptions) -> InvalidObservationsError:
    """Return the error with what to do about a column of texts that names what was measured, if there is one.

    It does not offer to drop the texts then: the rows of one time that would be left lose to each other.
    """
    from temporis_dagster.cli.lost_rows import entity_advice
    from temporis_dagster.data_source.observations.observe import dropping

    advice = entity_advice(table, options, error.rows["column"].unique()) if len(error.rows) else ""
    if not advice:
        return error
    return InvalidObservationsError(
        f"{advice} {str(error).replace(dropping(options), '')}",
        rows=error.rows,
        invalid=error.invalid,
        observations_in=error.observations_in,
    )
