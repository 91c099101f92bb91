"""The ``temporis`` command as tests call it: in this process, without a shell."""

from __future__ import annotations

from click.testing import CliRunner, Result

from temporis_dagster.cli import main
from temporis_dagster.data_source.store import SqlStore

LONG = "timestamp,name,value\n1718870400,orders,42\n1718870400,revenue,1284.50\n"


def run(*arguments: object, stdin: str | bytes | None = None, **variables: str) -> Result:
    """Run ``temporis`` with these arguments and environment variables."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=variables)


def ingest(store: SqlStore, file: str | bytes, *options: str) -> Result:
    """Run ``temporis ingest`` with a file from stdin, into ``store_metrics`` of a store."""
    return run("ingest", "-", "--data-source", "store_metrics", "--url", store.url, *options, stdin=file)
