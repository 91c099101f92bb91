"""``temporis read``: print the observations of a data source as CSV.

Comes in: a data source and a time window. Goes out: CSV on stdout, from which ``temporis ingest`` restores every bit.
Never: writes anything else on stdout.
"""

from __future__ import annotations

import click

from temporis_dagster.cli.connecting import readable_source
from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import send
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    mirror_option,
    moment,
    rows_options,
    token_option,
    url_option,
)


@click.command(epilog=EPILOG)
@data_source_option
@url_option
@token_option
@account_option
@mirror_option
@rows_options("print")
def read(
    *,
    data_source: str,
    url: str | None,
    token: str | None,
    account: str,
    mirror: str | None,
    start: str | None,
    end: str | None,
    names: tuple[str, ...],
) -> None:
    """Print observations as CSV.

    The columns are timestamp (ISO 8601 in UTC), name and value; the rows are sorted by timestamp and name. `temporis
    ingest` restores every bit from it. The Temporis cloud cannot be read: pass the URL of a store, or a mirror.
    """
    with readable_source(data_source, url, token, account, mirror) as source:
        frame = source.read(moment("start", start), moment("end", end), names or None)
    send(frame)
