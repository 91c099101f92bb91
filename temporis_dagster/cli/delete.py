"""``temporis delete``: delete observations from a store.

Comes in: a store, a data source, and which of its observations. Goes out: a changed store, and the number of them.
Never: deletes without saying how many, and being told to; deletes a data source.
"""

from __future__ import annotations

import json

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import OutputError, say, tell
from temporis_dagster.cli.shared_options import (
    account_option,
    data_source_option,
    json_option,
    moment,
    rows_options,
    store_option,
)
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import agreeing, counted


@click.command(epilog=EPILOG)
@data_source_option
@store_option
@account_option
@rows_options("delete")
@click.option("--everything", is_flag=True, help="Delete all observations of the data source, without any bound.")
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
@json_option
def delete(
    *,
    data_source: str,
    store: str,
    account: str,
    start: str | None,
    end: str | None,
    names: tuple[str, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete observations from a data source of a store.

    The command counts them first, and asks before it deletes any; what is deleted cannot be brought back. An archived
    data source is refused. The API cannot delete: run this where the store of the service is. A mirror in front of the
    service still has the rows afterwards, and takes them for delivered.
    """
    from temporis_dagster.data_source.connection import connect

    first, last, only = moment("start", start), moment("end", end), names or None
    if everything is not (first is None and last is None and only is None):
        raise ConfigurationError(
            "--everything deletes all observations, so it takes neither --start, --end nor --name."
            if everything
            else "This would delete all observations of the data source. Pass --start, --end or --name, or --everything"
            " if that is what you want."
        )
    with connect(store, account=account, dry_run=True) as temporis:
        found = temporis.data_source(data_source).delete(first, last, only, everything=everything)
    if found and not yes:
        are = agreeing(found, "is", "are")
        tell(f"{counted(found, 'observation')} of data source {data_source!r} {are} about to be deleted.")
        click.confirm("They cannot be brought back. Delete them?", abort=True, err=True)
    deleted = 0
    if found:
        with connect(store, account=account) as temporis:
            deleted = temporis.data_source(data_source).delete(first, last, only, everything=everything)
    try:
        say(
            json.dumps({"data_source": data_source, "deleted": deleted})
            if as_json
            else f"{data_source}\t{deleted:,} deleted"
        )
    except OutputError:
        tell(f"{counted(deleted, 'observation')} {agreeing(deleted, 'was', 'were')} deleted.")
        raise
