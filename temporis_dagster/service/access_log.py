"""The access log: one line a request.

Comes in: a request and its answer. Goes out: method, path, status and time, to the log.
Never: logs a header, a query or a body: a token may be there.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("temporis_dagster.service")

PATH_CHARACTERS = 100


class AccessLog:
    """Middleware that logs each request once it was answered.

    Args:
        app: The application within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 0, time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            # The path as a literal: it may hold line breaks.
            path, took_ms = ascii(scope["path"][:PATH_CHARACTERS]), 1000 * (time.monotonic() - begun)
            logger.info("%s %s %s %.0f ms", scope["method"], path, status or "no answer", took_ms)
