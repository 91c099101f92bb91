"""Headers: what browsers have to obey on every page of the dashboard, and with every file.

Comes in: an answer. Goes out: the same answer with these headers.
Never: allows an inline script or style, or anything from another host.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from temporis_dagster.service.middleware import HttpMiddleware

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would state no origin for our own forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOT_STORED = {"Cache-Control": "no-store"}
"""Of pages: they are private, and one of them shows a token."""

ASKED_AGAIN = {"Cache-Control": "no-cache"}
"""Of files: browsers keep them, and ask whether there is a newer one."""


class Secured(HttpMiddleware):
    """Send the files of the dashboard with its headers."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**HEADERS, **ASKED_AGAIN})
            await send(message)

        await self.app(scope, receive, with_headers)
