"""``temporis ingest``: a file of observations into a data source.

Comes in: a file and how to read it. Goes out: the report on stdout; progress, on a terminal, on stderr.
Never: checks or sends anything itself.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Literal

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.options import (
    account_option,
    data_source_option,
    json_option,
    token_option,
    url_option,
)
from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, is_data_source_name
from temporis_dagster.errors import ConfigurationError, DeliveryError, StoreError

if TYPE_CHECKING:
    from temporis_dagster.data_source.observations import Observations, OnInvalid
    from temporis_dagster.data_source.report import UpsertReport


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
@click.option("--timezone", metavar="ZONE", help="The zone of times without an offset, such as Europe/Berlin.")
@click.option("--sub-second", type=click.Choice(["raise", "floor"]), default="raise", show_default=True)
@click.option("--on-invalid", type=click.Choice(["raise", "drop"]), default="raise", show_default=True)
@click.option("--check", is_flag=True, help="Only check the file: nothing is opened or sent.")
@json_option
def ingest(  # noqa: PLR0913  # one argument an option
    *,
    file: str,
    data_source: str,
    url: str | None,
    token: str | None,
    account: str,
    layout: Literal["auto", "long", "wide"],
    timestamp: str,
    name: str,
    value: str,
    timezone: str | None,
    sub_second: Literal["raise", "floor"],
    on_invalid: Literal["raise", "drop"],
    check: bool,
    as_json: bool,
) -> None:
    """Store the observations of FILE: CSV, or Parquet by its ending; - is CSV from stdin.

    Long: columns timestamp, name, value. Wide: a column of timestamps and one column a series. A timestamp is Unix
    seconds or ISO 8601 text. Sending the same file again is safe.
    """
    from temporis_dagster.cli.tables import table_of
    from temporis_dagster.data_source.observations import ObservationOptions, observe

    options = ObservationOptions(layout, timestamp, name, value, timezone, sub_second=sub_second, on_invalid=on_invalid)
    table = table_of(file, timestamp=timestamp, name=None if layout == "wide" else name)
    observations = observe(table, options, data_source=data_source)
    if check:
        _print(_checked(data_source, observations), as_json)
        return
    try:
        _print(_sent(data_source, observations, url, token, account, on_invalid), as_json)
    except (DeliveryError, StoreError) as error:
        if as_json and error.report is not None:
            _print(error.report, as_json)
        raise


def _checked(data_source: str, observations: Observations) -> UpsertReport:
    from temporis_dagster.data_source.report import Tally

    if not is_data_source_name(data_source):
        raise ConfigurationError(f"{data_source!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}.")
    return Tally(data_source, observations, dry_run=True).report("A check sends nothing.")


def _sent(
    data_source: str,
    observations: Observations,
    url: str | None,
    token: str | None,
    account: str,
    on_invalid: OnInvalid,
) -> UpsertReport:
    from temporis_dagster.data_source.connection import connect

    with connect(url, token, account=account) as temporis:
        source = temporis.data_source(data_source)
        return source.upsert(observations, on_invalid=on_invalid, progress=sys.stderr.isatty())


def _print(report: UpsertReport, as_json: bool) -> None:
    click.echo(json.dumps(report.to_dict()) if as_json else str(report))
