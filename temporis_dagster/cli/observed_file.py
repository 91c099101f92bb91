"""Observed file: a file of observations, read and checked, for the commands that take one.

Comes in: a file and how to read it. Goes out: observations; the list of invalid rows.
Never: connects to anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from temporis_dagster.cli.output import OutputError, tell
from temporis_dagster.cli.shared_options import Command, one_character, with_options
from temporis_dagster.errors import InvalidObservationsError

if TYPE_CHECKING:
    import pandas as pd

    from temporis_dagster.cli.file_options import FileOptions
    from temporis_dagster.cli.invalid_rows import InvalidRows
    from temporis_dagster.data_source.observations import Observations

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
        default="timestamp",
        show_default=True,
        metavar="COLUMN",
        help="Name of the column of timestamps.",
    ),
    click.option(
        "--name",
        default="name",
        show_default=True,
        metavar="COLUMN",
        help="Name of the column of series names in a long file.",
    ),
    click.option(
        "--value",
        default="value",
        show_default=True,
        metavar="COLUMN",
        help="Name of the column of values in a long file.",
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
        "--timezone", metavar="ZONE", help="Time zone of timestamps without an offset, such as Europe/Berlin."
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
        " different series.",
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


def frame_options(command: Command) -> Command:
    """Give a command the options that say how to read a file."""
    return with_options(command, FRAME_OPTIONS)


def options_of(frame: dict[str, Any]) -> FileOptions:
    """Return how to read the file, from what the options of ``frame_options`` were given."""
    from temporis_dagster.cli.file_options import FileOptions, MergingFileOptions

    meant, on_conflict = {"true": True, "false": False}, frame["on_conflict"]
    said = {**frame, "ambiguous": meant.get(frame["ambiguous"], frame["ambiguous"])}
    return (FileOptions if on_conflict is None else MergingFileOptions)(**said | {"on_conflict": on_conflict or "last"})


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


def table_of_file(file: str, options: FileOptions, delimiter: str, na: tuple[str, ...]) -> pd.DataFrame:
    """Read the file."""
    from temporis_dagster.cli.file_table import table_of

    return table_of(file, options, delimiter=delimiter, missing=frozenset(text.strip() for text in na))


def observed(table: pd.DataFrame, options: FileOptions, data_source: str, bad: InvalidRows) -> Observations:
    """Return the observations of the file, and collect the rows that are none."""
    from temporis_dagster.data_source.observations import observe

    try:
        observations = observe(table, replace(options, on_invalid="raise"), data_source=data_source)
    except InvalidObservationsError as error:
        bad.invalid(error.rows, table.index.name)
        if options.on_invalid == "raise" or error.conflicts or error.rows.empty:
            raise
        dropped = bad.in_words()
        observations = _without_invalid(table, options, data_source, bad)
        tell(f"Dropped: {dropped}. {options.LIST_OF_INVALID}")
    bad.superseded(observations)
    return observations


def _without_invalid(table: pd.DataFrame, options: FileOptions, data_source: str, bad: InvalidRows) -> Observations:
    from temporis_dagster.data_source.observations import observe

    try:
        return observe(table, options, data_source=data_source)
    except InvalidObservationsError as error:
        if error.conflicts:
            bad.invalid(error.rows, table.index.name)
        raise
