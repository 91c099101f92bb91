"""Serve: run the application on a socket until a signal stops it.

Comes in: a store, a host and a port. Goes out: answers to requests.
Never: stops in the middle of a request that it can still answer, or accepts one before the caller has the URL.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.service.app import Limits, Pages, application
from temporis_dagster.service.connection import HEAD_BYTES, Connection

GRACE_S = 30
"""How long requests may go on after the signal to stop."""

KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than clients keep theirs, so that none sends into a closing one."""


def serve(
    store: SqlStore,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    pages: Pages | None = None,
    started: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests under way.

    Args:
        store: The store to serve.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        limits: How large one request may be.
        pages: What is served besides the API, such as a dashboard.
        started: Called with the URL once connections are accepted.

    Raises:
        ConfigurationError: The address cannot be listened on.
        KeyboardInterrupt: SIGINT stopped the service. (After SIGTERM, the process ends by that signal.)
    """
    with _listening(host, port) as listener:
        started(_url(host, listener))
        server(store, limits, pages).run(sockets=[listener])


def server(store: SqlStore, limits: Limits | None = None, pages: Pages | None = None) -> uvicorn.Server:
    """Build the server of a store, to run on sockets that already listen."""
    # uvicorn's access log shows query strings. With access_log=False alone, it still reaches any handler of the user's.
    logging.getLogger("uvicorn.access").disabled = True
    config = uvicorn.Config(
        application(store, limits, pages),
        http=Connection,  # h11: httptools bounds no header, and drops the body of a request that offers an upgrade
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"The service cannot listen on {host!r}, port {port}: {error}. Choose another port, or another address of"
            " this machine."
        ) from None


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
