"""main: the ``temporis`` command and its subcommands.

Comes in: the command line. Goes out: the call of the subcommand that it names.
Never: does the work of a subcommand, or imports what only some of them need.
"""

from __future__ import annotations

import click

from temporis_dagster._version import __version__
from temporis_dagster.cli.delete import delete
from temporis_dagster.cli.exits import EPILOG, Commands
from temporis_dagster.cli.ingest import ingest
from temporis_dagster.cli.mirror import mirror
from temporis_dagster.cli.plan import plan
from temporis_dagster.cli.read import read
from temporis_dagster.cli.serve import serve
from temporis_dagster.cli.sources import sources
from temporis_dagster.cli.tokens import tokens


@click.group(cls=Commands, epilog=EPILOG)
@click.version_option(__version__)
def main() -> None:
    """Send time series to Temporis data sources, in the cloud or in a store of your own."""


for _command in (ingest, plan, read, delete, sources, tokens, serve, mirror):
    main.add_command(_command)
