"""``temporis serve``: the Temporis API over a store, on this machine.

Comes in: a store and an address. Goes out: the URL on stdout, the log on stderr.
Never: logs a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import say, tell
from temporis_dagster.cli.shared_options import LOOKING_S, setting, store_option, tell_if_missing
from temporis_dagster.contract import CLOUD_URL
from temporis_dagster.data_source.local_service import LOOPBACK
from temporis_dagster.errors import ConfigurationError, UnavailableError
from temporis_dagster.settings import Hidden, from_environment, hidden_token

if TYPE_CHECKING:
    from temporis_dagster.dashboard.login import LoginOptions
    from temporis_dagster.dashboard.pending import PendingOf
    from temporis_dagster.service.metrics import Metrics

PASSWORD = "TEMPORIS_DASHBOARD_PASSWORD"  # noqa: S105  # the name of the variable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

POOL_LOGGER = "temporis_dagster.data_source.store.idle"
"""Where SQLAlchemy logs that it has renewed the pool of connections: at every attempt while a database is away."""


@click.command(epilog=EPILOG)
@store_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8008, show_default=True, metavar="PORT", help="Port to listen on; 0 takes a free port.")
@click.option(
    "--account",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Account in the store of those who open the dashboard with the password, or without a login. A token has an"
    " account of its own.",
)
@click.option(
    "--dashboard/--no-dashboard",
    default=True,
    show_default=True,
    help="Serve the dashboard as well. It is opened with a token (temporis tokens create NAME --dashboard), or with the"
    " password in the TEMPORIS_DASHBOARD_PASSWORD environment variable.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Let everyone on this machine open the dashboard without a login, for the data sources of --account. Only for"
    " a service that listens on this machine alone.",
)
@click.option(
    "--mirror",
    callback=setting,
    metavar="URL",
    help="URL of a mirror whose pending rows the dashboard shows to --account. The service that the mirror belongs to,"
    " and its token, are those of the TEMPORIS_URL and TEMPORIS_TOKEN environment variables.",
)
@click.option(
    "--metrics",
    is_flag=True,
    help="Serve metrics for Prometheus at /metrics as well, without a token. Needs the extra [metrics].",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to write the log on stderr: lines to read, or a JSON object per line.",
)
def serve(
    *,
    store: str,
    host: str,
    port: int,
    account: str,
    dashboard: bool,
    is_open: bool,
    mirror: str | None,
    metrics: bool,
    log_format: str,
) -> None:
    """Serve the Temporis API over a store until stopped.

    Prints the URL on stdout once requests are accepted, and a log line per request on stderr. Data sources and tokens
    are managed in the dashboard at that URL, or with `temporis sources` and `temporis tokens`, also while the service
    runs. Several services, on several machines, may share a PostgreSQL store.
    """
    from temporis_dagster.data_source.store import SqlStore

    try:
        from temporis_dagster.dashboard import Dashboard
        from temporis_dagster.service import serve as serve_until_stopped
        from temporis_dagster.service.app import AllPages
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`temporis serve` needs {error.name}. Install it with: pip install 'temporis-dagster[service]'"
        ) from None
    if not dashboard and (is_open or mirror):
        raise ConfigurationError("--open and --mirror are for the dashboard, which --no-dashboard leaves out.")
    login = _login(host, account, is_open=is_open)
    counting = [_metrics()] if metrics else []
    remark = _start_log(log_format)
    logging.getLogger(POOL_LOGGER).setLevel(logging.WARNING)
    if host not in LOOPBACK:
        remark(f"Tokens travel unencrypted to {host}. Put a proxy with TLS in front of this service.")
    try:
        tell_if_missing(store, remark)
    except UnavailableError as error:
        remark(f"Warning: {error} Until the store is available, requests are answered with 503.")
    served = SqlStore(store)
    shown = [Dashboard(served, login, pending=_pending(mirror))] if dashboard else []
    with suppress(KeyboardInterrupt):
        serve_until_stopped(served, host, port, pages=AllPages(*counting, *shown), started=say)


def _metrics() -> Metrics:
    """Return what counts requests.

    Raises:
        ConfigurationError: The extra is not installed.
    """
    try:
        from temporis_dagster.service.metrics import Metrics
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--metrics needs {error.name}. Install it with: pip install 'temporis-dagster[metrics]'"
        ) from None
    return Metrics()


def _start_log(form: str) -> Callable[[str], None]:
    """Begin to log on stderr. Return what writes a remark there, in the same form."""
    if form == "text":
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        return tell
    from temporis_dagster.service.log_lines import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return logging.getLogger("temporis_dagster.service").warning


def _login(host: str, account: str, *, is_open: bool) -> LoginOptions:
    """Return how people get into the dashboard.

    Raises:
        ConfigurationError: It would be open to other machines.
    """
    from temporis_dagster.dashboard.login import LoginOptions

    if is_open and host not in LOOPBACK:
        raise ConfigurationError(
            f"--open would let everyone who reaches {host} change the data sources of this store. Leave out --open and"
            " create a token with: temporis tokens create NAME --dashboard; or listen on 127.0.0.1."
        )
    password = from_environment(PASSWORD)
    return LoginOptions(account, None if password is None else Hidden(password), is_open)


def _pending(mirror: str | None) -> PendingOf | None:
    """Return what tells the pending rows of a mirror."""
    if mirror is None:
        return None
    from temporis_dagster.cli.connecting import CommandLineHttpOptions, CommandLineMirrorOptions
    from temporis_dagster.dashboard.pending import MirrorPending
    from temporis_dagster.data_source.http.target import HttpTarget
    from temporis_dagster.data_source.mirror import Mirror

    token = hidden_token(from_environment("TEMPORIS_TOKEN"))
    service = HttpTarget(
        from_environment("TEMPORIS_URL") or CLOUD_URL, token, CommandLineHttpOptions(give_up_after_s=LOOKING_S)
    )
    return MirrorPending(Mirror(mirror, service, token, CommandLineMirrorOptions(late_write_window_s=None)))
