"""``temporis ingest``: store a file of observations in a data source.

Comes in: a file and how to read it. Goes out: the report on stdout; warnings and progress on stderr; the list of
invalid rows.
Never: checks or sends anything itself.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click

from temporis_dagster.cli.connecting import CommandLineMirrorOptions, connected, warnings_on_stderr
from temporis_dagster.cli.exits import EPILOG, exit_code
from temporis_dagster.cli.observed_file import (
    collected_invalid_rows,
    frame_options,
    observed,
    options_of,
    table_of_file,
)
from temporis_dagster.cli.output import OutputError, say, tell
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    give_up_after_option,
    json_option,
    mirror_option,
    token_option,
    url_option,
)
from temporis_dagster.contract import ensure_data_source_name
from temporis_dagster.errors import DeliveryError, InvalidObservationsError, TemporisError
from temporis_dagster.settings import from_environment

if TYPE_CHECKING:
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
@frame_options
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
@click.option(
    "--check",
    is_flag=True,
    help="Only show what would be stored (series, first and last timestamps, some rows), without connecting to"
    " anything.",
)
@json_option
def ingest(
    *,
    file: str,
    data_source: str,
    url: str | None,
    token: str | None,
    account: str,
    invalid_rows: str | None,
    give_up_after: float,
    mirror: str | None,
    on_unavailable: Literal["raise", "queue"],
    check: bool,
    as_json: bool,
    **frame: Any,
) -> None:
    """Store the observations of FILE in a data source.

    FILE is CSV, which may be compressed with gzip, Parquet, an Excel workbook or JSON lines; - reads stdin. A long
    file has the columns timestamp, name and value; a wide file has a column of timestamps and one column per series.
    Timestamps are Unix seconds or ISO 8601 text. CSV must begin with a line of column names.

    The data source must exist: `temporis sources create NAME --store URL` creates it. Its name is a lowercase letter
    followed by lowercase letters, digits and underscores, 48 characters at most.

    Try it with --check first: nothing is sent, and it shows what would be. Sending the same file again is safe. With
    --mirror, rows that the service cannot take now are kept and delivered later.

    \b
    If the file has                        pass, for example
      dates in another form                --timestamp-format '%d.%m.%Y %H:%M'
      date and time in two columns         --timestamp Date --timestamp Time
      dates, or times without an offset    --timezone UTC
      local times                          --timezone Europe/Berlin
      milliseconds                         --unit ms
      decimal commas                       --decimal , --thousands . --delimiter ";"
      a title above the column names       --skip-rows 3
      a year and a quarter                 --timestamp year --timestamp quarter
                                             --timestamp-format '%Y %q'
      several rows per time, told apart    --name symbol --value price, or
        by a column                          --name '{station}__{column}'
      texts that tell no rows apart        --exclude weather
      signs for no value                   --na - --na n.d.
      another encoding                     --encoding latin1
    """  # noqa: D301  # click's mark of a paragraph that is not wrapped is the character, not a backslash and a b
    from temporis_dagster.cli.lost_rows import way_out
    from temporis_dagster.cli.preview import oddities, preview

    to_protect = [url, mirror, from_environment("TEMPORIS_STORE")]
    try:
        ensure_data_source_name(data_source)
        options, form = options_of(frame)
        with warnings_on_stderr(), collected_invalid_rows(invalid_rows, file, options, to_protect) as bad:
            table = table_of_file(file, options, form)
            observations = observed(table, options, data_source, bad)
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
        said = {**report.to_dict(), "no_value": table.no_value, "error": None}
        say(json.dumps(said) if as_json else str(report))
        if (without := table.no_value_in_words()) and not as_json:
            say(without)
        if (lost := way_out(observations, options, table)) and not as_json:
            say(lost)
        if check and not as_json:
            say(f"\n{preview(observations)}")
    except OutputError:
        tell(str(report))
        raise
    numeric = options.timestamp in table.frame.columns and table.frame[options.timestamp].dtype.kind in "iuf"
    for oddity in oddities(observations, time.time(), numeric=numeric):
        tell(f"Warning: {oddity}")
    bad.write()


def _say_regardless(text: str) -> None:
    try:
        say(text)
    except OutputError as error:
        tell(f"Error: {error.message}")


def _checked(data_source: str, observations: Observations) -> UpsertReport:
    from temporis_dagster.data_source.report import Tally

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
