"""``temporis plan``: what an ingest of a file would change.

Comes in: a file and how to read it, limits. Goes out: the plan on stdout; a failure if it exceeds a limit.
Never: writes to a data source.
"""

from __future__ import annotations

import json
from typing import Any

import click

from temporis_dagster.cli.connecting import readable_source, warnings_on_stderr
from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.observed_file import (
    collected_invalid_rows,
    frame_options,
    observed,
    options_of,
    table_of_file,
)
from temporis_dagster.cli.output import say
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    json_option,
    mirror_option,
    moment,
    share_or_rows,
    token_option,
    url_option,
)
from temporis_dagster.contract import ensure_data_source_name
from temporis_dagster.settings import from_environment


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@data_source_option
@url_option
@token_option
@account_option
@mirror_option
@click.option(
    "--start",
    metavar="TIME",
    help="First time that the file should cover: ISO 8601 with an offset or Z, or Unix seconds. Stored rows from there"
    " on that the file does not have are ghosts. Defaults to the first observation of each series in the file.",
)
@click.option(
    "--end",
    metavar="TIME",
    help="Time that the file should cover until, in the same form. Defaults to the last observation of each series in"
    " the file.",
)
@click.option(
    "--max-changed",
    callback=share_or_rows,
    metavar="LIMIT",
    help="Fail if more stored values would change: a share such as 0.25, or a whole number of rows. 1 is one row, 1.0"
    " all of them.",
)
@click.option(
    "--max-ghosts",
    callback=share_or_rows,
    metavar="LIMIT",
    help="Fail if more stored rows are missing from the file, in the same form.",
)
@click.option(
    "--max-shift",
    type=float,
    metavar="FACTOR",
    help="Fail if the mean of the values that would change moves farther, in any series: 0.5 allows half of the stored"
    " level.",
)
@frame_options
@json_option
def plan(
    *,
    file: str,
    data_source: str,
    url: str | None,
    token: str | None,
    account: str,
    mirror: str | None,
    start: str | None,
    end: str | None,
    max_changed: float | None,
    max_ghosts: float | None,
    max_shift: float | None,
    invalid_rows: str | None,
    as_json: bool,
    **frame: Any,
) -> None:
    """Print what an ingest of FILE would change, and write nothing.

    For each series: how many rows are new, changed and unchanged, the largest change, and ghosts: stored rows that the
    file should have and does not. The file is read as `temporis ingest` reads it. The Temporis cloud cannot be read:
    pass the URL of a store, or a mirror.
    """
    from temporis_dagster.data_source.plan import Limits

    ensure_data_source_name(data_source)
    limits = Limits(max_changed, max_ghosts, max_shift)
    first, last = moment("start", start), moment("end", end)
    options, form = options_of(frame)
    to_protect = [url, mirror, from_environment("TEMPORIS_STORE")]
    with warnings_on_stderr(), collected_invalid_rows(invalid_rows, file, options, to_protect) as bad:
        observations = observed(table_of_file(file, options, form), options, data_source, bad)
        with readable_source(data_source, url, token, account, mirror) as source:
            made = source.plan(observations, start=first, end=last)
    exceeded = limits.exceeded(made)
    say(json.dumps({**made.to_dict(), "exceeded": exceeded}) if as_json else str(made))
    bad.write()
    if exceeded:
        raise click.ClickException(f"The plan exceeds its limits, and nothing was written. {' '.join(exceeded)}")
