"""Middleware: what HTTP demands of every request and answer, around the application.

Comes in: a request and its answer. Goes out: a request whose target is a path, as RFC 9112, section 3.2.2, asks; an
answer with ``Connection: close`` if it comes before the end of its request.
Never: reads a body, decides what is answered, or looks at the host of a URL, which only concerns proxies.
"""

from __future__ import annotations

import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ABSOLUTE = re.compile(r"https?://[^/]*", re.IGNORECASE)


class HttpMiddleware:
    """A layer around the application that handles HTTP requests and passes on everything else.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or one of the server's own events."""
        await (self.handle if scope["type"] == "http" else self.app)(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self.app(scope, receive, send)


class AfterAnswers(HttpMiddleware):
    """A layer that looks at each request once it has been answered."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        status, begun = 0, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            status = status or 500  # sent by a layer outside this middleware
            raise
        finally:
            self.answered(scope, status, time.monotonic() - begun)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Look at a request.

        Args:
            scope: The request.
            status: The status of its answer; 0 if the client did not wait for one.
            seconds: How long it took.
        """
        raise NotImplementedError


class OriginForm(HttpMiddleware):
    """Reduce the target of a request to its path, for clients that send the whole URL."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if origin := ABSOLUTE.match(scope["path"]):
            scope = {**scope, "path": scope["path"][origin.end() :] or "/"}
        await self.app(scope, receive, send)


class EarlyAnswers(HttpMiddleware):
    """Announce the end of a connection that cannot be used again, because its request has not ended."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        ended = not _has_body(Headers(scope=scope))

        async def received() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, received, closing)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0 ") != ""
