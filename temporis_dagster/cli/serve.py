"""``temporis serve``: the Temporis API over a store, on this machine.

Comes in: a store and an address. Goes out: the URL on stdout, the log on stderr.
Never: logs a token.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import say, tell
from temporis_dagster.cli.shared_options import store_option, tell_if_missing
from temporis_dagster.data_source.local_service import LOOPBACK
from temporis_dagster.errors import ConfigurationError, UnavailableError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

POOL_LOGGER = "temporis_dagster.data_source.store.idle"
"""Where SQLAlchemy logs that it has renewed the pool of connections: at every attempt while a database is away."""


@click.command(epilog=EPILOG)
@store_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8008, show_default=True, metavar="PORT", help="Port to listen on; 0 takes a free port.")
def serve(store: str, host: str, port: int) -> None:
    """Serve the Temporis API over a store until stopped.

    Prints the URL on stdout once requests are accepted, and a log line per request on stderr. Data sources and tokens
    are managed with `temporis sources` and `temporis tokens`, also while the service runs. Several services, on several
    machines, may share a PostgreSQL store.
    """
    from temporis_dagster.data_source.store import SqlStore

    try:
        from temporis_dagster.service import serve as serve_until_stopped
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`temporis serve` needs {error.name}. Install it with: pip install 'temporis-dagster[service]'"
        ) from None
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger(POOL_LOGGER).setLevel(logging.WARNING)
    if host not in LOOPBACK:
        tell(f"Tokens travel unencrypted to {host}. Put a proxy with TLS in front of this service.")
    try:
        tell_if_missing(store)
    except UnavailableError as error:
        tell(f"Warning: {error} Until the store is available, requests are answered with 503.")
    with suppress(KeyboardInterrupt):
        serve_until_stopped(SqlStore(store), host, port, started=say)
