"""``temporis sources``: manage the data sources of a store, as the dashboard does in the cloud.

Comes in: a store and a name. Goes out: a changed store, or a list of data sources.
Never: deletes a data source.
"""

from __future__ import annotations

import json

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import say, tell
from temporis_dagster.cli.shared_options import STORES, account_option, json_option, store_option, tell_if_missing


@click.group(epilog=EPILOG)
def sources() -> None:
    """Create, list, archive and unarchive the data sources of a store."""


@sources.command(epilog=EPILOG)
@click.argument("name")
@store_option
@account_option
def create(name: str, store: str, account: str) -> None:
    """Create the data source NAME.

    The name is a lowercase letter followed by lowercase letters, digits and underscores, 48 characters at most. A data
    source that exists is left unchanged. The store is created, too, if it does not exist.
    """
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        existed = store.lower().startswith(STORES) and name in temporis.data_sources()
        created = temporis.create_data_source(name)
        tell(f"{f'{name} exists already' if existed else f'Created {name}'} in {created.url}.")


@sources.command("list", epilog=EPILOG)
@store_option
@account_option
@json_option
def list_(store: str, account: str, *, as_json: bool) -> None:
    """List the data sources, one per line.

    A line holds the name and the state, active or archived, separated by a tab.
    """
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
    """Archive the data source NAME.

    It keeps its data and accepts no further observations.
    """
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        temporis.data_source(name).archive()


@sources.command(epilog=EPILOG)
@click.argument("name")
@store_option
@account_option
def unarchive(name: str, store: str, account: str) -> None:
    """Unarchive the data source NAME.

    It accepts observations again.
    """
    from temporis_dagster.data_source.connection import connect

    with connect(store, account=account) as temporis:
        temporis.data_source(name).unarchive()
