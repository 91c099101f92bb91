"""``temporis read``: print the observations of a data source as CSV.

Comes in: a data source and a time window. Goes out: CSV on stdout, from which ``temporis ingest`` restores every bit.
Never: writes anything else on stdout.
"""

from __future__ import annotations

import click

from temporis_dagster.cli.connecting import connected, names_in, opened_mirror
from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import send
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    mirror_option,
    moment,
    token_option,
    url_option,
)


@click.command(epilog=EPILOG)
@data_source_option
@url_option
@token_option
@account_option
@mirror_option
@click.option(
    "--start",
    metavar="TIME",
    help="First time to print: ISO 8601 with an offset or Z, or Unix seconds. Defaults to the first observation.",
)
@click.option(
    "--end",
    metavar="TIME",
    help="Time to stop before, in the same form. Defaults to after the last observation.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="SERIES",
    help="Print only this series. May be repeated. Defaults to all series.",
)
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
    with connected(url, token, account, mirror=mirror) as temporis:
        if mirror is not None:  # which takes an unknown name or path for one that has no data yet
            with opened_mirror(mirror, url, token) as opened:
                names_in(opened, data_source)
        frame = temporis.data_source(data_source).read(moment("start", start), moment("end", end), names or None)
    send(frame)
