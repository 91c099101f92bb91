"""``temporis ingest``: store a file of observations in a data source.

Comes in: a file and how to read it. Goes out: the report on stdout; warnings and progress on stderr; the list of
invalid rows.
Never: checks or sends anything itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from temporis_dagster.cli.connecting import CommandLineMirrorOptions, connected, warnings_on_stderr
from temporis_dagster.cli.exits import EPILOG, exit_code
from temporis_dagster.cli.output import OutputError, say, tell
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    give_up_after_option,
    json_option,
    mirror_option,
    one_character,
    token_option,
    url_option,
)
from temporis_dagster.contract import ensure_data_source_name
from temporis_dagster.errors import DeliveryError, InvalidObservationsError, TemporisError
from temporis_dagster.settings import from_environment

if TYPE_CHECKING:
    import pandas as pd

    from temporis_dagster.cli.file_options import FileOptions
    from temporis_dagster.cli.invalid_rows import InvalidRows
    from temporis_dagster.data_source.observations import Observations
    from temporis_dagster.data_source.report import UpsertReport
    from temporis_dagster.data_source.source import DataSource


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@data_source_option
@url_option
@token_option
@account_option
@click.option(
    "--layout",
    type=click.Choice(["auto", "long", "wide"]),
    default="auto",
    show_default=True,
    help="Layout of the file: one row per observation (long), or one column per series (wide). auto decides by the"
    " column names.",
)
@click.option(
    "--timestamp", default="timestamp", show_default=True, metavar="COLUMN", help="Name of the column of timestamps."
)
@click.option(
    "--name",
    default="name",
    show_default=True,
    metavar="COLUMN",
    help="Name of the column of series names in a long file.",
)
@click.option(
    "--value",
    default="value",
    show_default=True,
    metavar="COLUMN",
    help="Name of the column of values in a long file.",
)
@click.option(
    "--delimiter",
    default=",",
    show_default=True,
    callback=one_character,
    metavar="CHARACTER",
    help="Character between the columns of CSV. The word tab stands for a tab.",
)
@click.option(
    "--na",
    "--na-value",
    "na",
    multiple=True,
    metavar="TEXT",
    help="Text that means no value in CSV, besides blank, NA, N/A, #N/A, NaN, null and the like. May be repeated.",
)
@click.option("--timezone", metavar="ZONE", help="Time zone of timestamps without an offset, such as Europe/Berlin.")
@click.option(
    "--ambiguous",
    type=click.Choice(["raise", "infer", "NaT", "true", "false"]),
    default="raise",
    show_default=True,
    help="What to do with a local time that occurs twice: refuse it (raise), tell the two apart by the order of the"
    " rows (infer), or treat it as missing (NaT). true treats each as the first, in summer time, and false as the"
    " second; use them only if the file contains just one of the two.",
)
@click.option(
    "--nonexistent",
    type=click.Choice(["raise", "shift_forward", "shift_backward", "NaT"]),
    default="raise",
    show_default=True,
    help="What to do with a local time that the clock skipped: refuse it (raise), move it to the end or the start of"
    " the gap (shift_forward, shift_backward), or treat it as missing (NaT).",
)
@click.option(
    "--sub-second",
    type=click.Choice(["raise", "floor"]),
    default="raise",
    show_default=True,
    help="What to do with a fraction of a second: refuse it (raise), or cut it off (floor).",
)
@click.option(
    "--unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="Unit of numeric timestamps, counted from 1970. Defaults to seconds; numbers that all look like calendar"
    " dates, such as 20240620, are then refused.",
)
@click.option(
    "--allow-future",
    is_flag=False,
    flag_value="true",
    metavar="[DISTANCE]",
    help="Accept timestamps more than a year ahead of the clock: all of them, or up to a distance such as '730 days'.",
)
@click.option(
    "--on-invalid",
    type=click.Choice(["raise", "drop"]),
    default="raise",
    show_default=True,
    help="If a row is invalid, send nothing (raise), or send the other rows (drop).",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["last", "raise"]),
    help="If rows have the same timestamp and name but different values, store the last one and warn (last), or send"
    " nothing (raise). Defaults to last, but to raise if another column shows that the rows belong to different"
    " series.",
)
@click.option(
    "--decimals",
    type=click.Choice(["nearest", "exact"]),
    default="nearest",
    show_default=True,
    help="What to do with a decimal number in Parquet that float64 cannot hold exactly: take the nearest float, or"
    " refuse it (exact).",
)
@click.option(
    "--invalid-rows",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write a CSV of the rows that were invalid, dropped, rejected or lost to a later row with another value:"
    " position, line, column, value, reason.",
)
@give_up_after_option
@mirror_option
@click.option(
    "--on-unavailable",
    type=click.Choice(["raise", "queue"]),
    default="raise",
    show_default=True,
    help="If rows cannot be delivered now, exit with code 8, or 5 if the data source is archived (raise), or with code"
    " 0 (queue, which needs --mirror). A mirror keeps the rows either way and delivers them with the next ingest or"
    " `temporis mirror flush`.",
)
@click.option("--check", is_flag=True, help="Only check the file, without connecting to anything.")
@json_option
def ingest(
    *,
    file: str,
    data_source: str,
    url: str | None,
    token: str | None,
    account: str,
    delimiter: str,
    na: tuple[str, ...],
    invalid_rows: str | None,
    give_up_after: float,
    mirror: str | None,
    on_unavailable: Literal["raise", "queue"],
    check: bool,
    as_json: bool,
    **frame: Any,
) -> None:
    """Store the observations of FILE in a data source.

    FILE is CSV in UTF-8, which may be compressed with gzip, or Parquet; - reads stdin. A long file has the columns
    timestamp, name and value; a wide file has a column of timestamps and one column per series. Timestamps are Unix
    seconds or ISO 8601 text. CSV must begin with a line of column names.

    Sending the same file again is safe. With --mirror, rows that the service cannot take now are kept and delivered
    later.
    """
    to_protect = [url, mirror, from_environment("TEMPORIS_STORE")]
    try:
        options = _options(frame)
        with warnings_on_stderr(), _invalid_rows(invalid_rows, file, options, to_protect) as bad:
            table = _table(file, options, delimiter, na)
            observations = _observed(table, options, data_source, bad)
            if check:
                report = _checked(data_source, observations)
            else:
                mirroring = CommandLineMirrorOptions(on_unavailable=on_unavailable)
                with connected(url, token, account, give_up_after, mirror, mirroring) as temporis:
                    report = _sent(temporis.data_source(data_source), observations, options, bad)
    except (TemporisError, KeyboardInterrupt) as error:
        if as_json:
            _say_regardless(json.dumps(_failure(data_source, error)))
        raise
    try:
        say(json.dumps({**report.to_dict(), "error": None}) if as_json else str(report))
    except OutputError:
        tell(str(report))
        raise
    bad.write()


def _options(frame: dict[str, Any]) -> FileOptions:
    from temporis_dagster.cli.file_options import FileOptions, MergingFileOptions

    meant, on_conflict = {"true": True, "false": False}, frame["on_conflict"]
    said = {**frame, "ambiguous": meant.get(frame["ambiguous"], frame["ambiguous"])}
    return (FileOptions if on_conflict is None else MergingFileOptions)(**said | {"on_conflict": on_conflict or "last"})


@contextmanager
def _invalid_rows(
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


def _say_regardless(text: str) -> None:
    try:
        say(text)
    except OutputError as error:
        tell(f"Error: {error.message}")


def _table(file: str, options: FileOptions, delimiter: str, na: tuple[str, ...]) -> pd.DataFrame:
    from temporis_dagster.cli.file_table import table_of

    return table_of(file, options, delimiter=delimiter, missing=frozenset(text.strip() for text in na))


def _observed(table: pd.DataFrame, options: FileOptions, data_source: str, bad: InvalidRows) -> Observations:
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


def _checked(data_source: str, observations: Observations) -> UpsertReport:
    from temporis_dagster.data_source.report import Tally

    ensure_data_source_name(data_source)
    return Tally(data_source, observations, dry_run=True).report("A check sends nothing.")


def _sent(source: DataSource, observations: Observations, options: FileOptions, bad: InvalidRows) -> UpsertReport:
    from temporis_dagster.data_source.source import rejection

    try:
        report = source.upsert(observations, on_invalid="drop", progress=sys.stderr.isatty())
    except DeliveryError as error:
        bad.rejected(error.report, observations)
        raise
    bad.rejected(report, observations)
    if report.rejected and options.on_invalid == "raise":
        raise rejection(report, observations, source.url, options)
    return report


def _failure(data_source: str, error: TemporisError | KeyboardInterrupt) -> dict[str, object]:
    """Describe a failure for programs: what is known of the observations, and the error."""
    report: UpsertReport | None = getattr(error, "report", None)
    known: dict[str, object] = {"data_source": data_source} if report is None else report.to_dict()
    if isinstance(error, InvalidObservationsError):
        known |= {"observations_in": error.observations_in, "invalid": error.invalid, "conflicts": error.conflicts}
    if isinstance(error, KeyboardInterrupt):
        message, retryable, code = "Interrupted.", True, 1
    else:
        message, retryable, code = str(error), error.retryable, exit_code(error)
    said = {"kind": type(error).__name__, "message": message, "retryable": retryable, "exit_code": code}
    return {**known, "error": said}
