"""``temporis sources``: the data sources of a store.

Comes in: a store and a name. Goes out: what the dashboard does for the cloud.
Never: deletes a data source.
"""

from __future__ import annotations

import json

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import say
from temporis_dagster.cli.shared_options import account_option, json_option, store_option, tell_if_missing


@click.group(epilog=EPILOG)
def sources() -> None:
    """Create, list, archive and unarchive the data sources of a store."""


@sources.command(epilog=EPILOG)
@click.argument("name")
@store_option
@account_option
def create(name: str, store: str, account: str) -> None:
    """Create a data source; one that exists is left as it is."""
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        temporis.create_data_source(name)


@sources.command("list", epilog=EPILOG)
@store_option
@account_option
@json_option
def list_(store: str, account: str, *, as_json: bool) -> None:
    """List the data sources: name, tab, active or archived."""
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        states = {name: temporis.data_source(name).archive_state().value for name in temporis.data_sources()}
    tell_if_missing(store)
    if as_json:
        say(json.dumps([{"name": name, "state": state} for name, state in states.items()]))
    elif states:
        say("\n".join(f"{name}\t{state}" for name, state in states.items()))


@sources.command(epilog=EPILOG)
@click.argument("name")
@store_option
@account_option
def archive(name: str, store: str, account: str) -> None:
    """Stop ingestion, keep the data."""
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        temporis.data_source(name).archive()


@sources.command(epilog=EPILOG)
@click.argument("name")
@store_option
@account_option
def unarchive(name: str, store: str, account: str) -> None:
    """Take observations again."""
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        temporis.data_source(name).unarchive()
