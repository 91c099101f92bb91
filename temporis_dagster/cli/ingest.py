"""``temporis ingest``: a file of observations into a data source.

Comes in: a file and how to read it. Goes out: the report on stdout; warnings and progress on stderr; invalid rows.
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

from temporis_dagster.cli.connecting import MirrorFlags, connected, warnings_on_stderr
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
from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, is_data_source_name
from temporis_dagster.errors import ConfigurationError, DeliveryError, InvalidObservationsError, TemporisError
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
@click.option("--layout", type=click.Choice(["auto", "long", "wide"]), default="auto", show_default=True)
@click.option("--timestamp", default="timestamp", show_default=True, help="The column of timestamps.")
@click.option("--name", default="name", show_default=True, help="The column of series names (long).")
@click.option("--value", default="value", show_default=True, help="The column of values (long).")
@click.option(
    "--delimiter",
    default=",",
    show_default=True,
    callback=one_character,
    help="What separates the columns of CSV; tab for a tab.",
)
@click.option(
    "--na",
    "--na-value",
    "na",
    multiple=True,
    metavar="TEXT",
    help="What stands for no value in CSV, besides blank, NA, N/A, #N/A, NaN, null and the like; may be repeated.",
)
@click.option("--timezone", metavar="ZONE", help="The zone of times without an offset, such as Europe/Berlin.")
@click.option(
    "--ambiguous",
    type=click.Choice(["raise", "infer", "NaT", "true", "false"]),
    default="raise",
    show_default=True,
    help="A time that the clock showed twice: infer it from rows that go forward or backward in time; true (the first,"
    " summer time) or false only where one of the two is there.",
)
@click.option(
    "--nonexistent",
    type=click.Choice(["raise", "shift_forward", "shift_backward", "NaT"]),
    default="raise",
    show_default=True,
    help="A time that the clock skipped.",
)
@click.option("--sub-second", type=click.Choice(["raise", "floor"]), default="raise", show_default=True)
@click.option(
    "--unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="What numbers in the column of timestamps count since 1970. Without it: seconds, but not if all of them read"
    " as calendar dates.",
)
@click.option(
    "--allow-future",
    is_flag=False,
    flag_value="true",
    metavar="[DISTANCE]",
    help="Take timestamps more than a year ahead of the clock: any, or up to a distance such as '730 days'.",
)
@click.option(
    "--on-invalid",
    type=click.Choice(["raise", "drop"]),
    default="raise",
    show_default=True,
    help="Send nothing if a row is invalid, or leave such rows out.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["last", "raise"]),
    help="Rows with one timestamp and name but different values: store the last one and warn, or send nothing. By"
    " default the last, but nothing where a column that is not used shows that they belong to different series.",
)
@click.option(
    "--decimals",
    type=click.Choice(["nearest", "exact"]),
    default="nearest",
    show_default=True,
    help="Decimal numbers of Parquet: take the nearest float, or refuse those that float64 does not hold exactly.",
)
@click.option(
    "--invalid-rows",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write what was invalid, dropped, rejected or lost to a later row of another value: CSV of position, line,"
    " column, value, reason.",
)
@give_up_after_option
@mirror_option
@click.option(
    "--on-unavailable",
    type=click.Choice(["raise", "queue"]),
    default="raise",
    show_default=True,
    help="With --mirror, where rows cannot be delivered now: exit with 8 (or 5 if archived), or with 0. They are kept"
    " in the mirror either way, and go out with the next ingest or `temporis mirror flush`.",
)
@click.option("--check", is_flag=True, help="Only check the file: nothing is opened or sent.")
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
    """Store the observations of FILE: CSV in UTF-8 (also gzip) or Parquet; - is stdin.

    Long: columns timestamp, name, value. Wide: a column of timestamps and one per series. A timestamp is Unix seconds
    or ISO 8601 text. A file without its line of column names is refused. Sending the same file again is safe; with
    --mirror, what a service cannot take now is kept and delivered later.
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
                mirroring = MirrorFlags(on_unavailable=on_unavailable)
                with connected(url, token, account, give_up_after, mirror, mirroring) as temporis:
                    report = _sent(temporis.data_source(data_source), observations, options, bad)
    except (TemporisError, KeyboardInterrupt) as error:
        if as_json:
            _say_all_the_same(json.dumps(_failure(data_source, error)))
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
    """The file of invalid rows, written also where the command fails, whose error comes first."""
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


def _say_all_the_same(text: str) -> None:
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

    if not is_data_source_name(data_source):
        raise ConfigurationError(f"{data_source!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}.")
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
    """A failure for programs: what is known of the observations, and the error."""
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
