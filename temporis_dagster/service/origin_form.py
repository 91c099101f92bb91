"""Origin form: the target of a request as a path, also where a client sends the whole URL.

Comes in: a request. Goes out: it, with the path of its target. RFC 9112, section 3.2.2, asks a server to take both.
Never: looks at the URL's host, which is the proxy's business.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

ABSOLUTE = re.compile(r"https?://[^/]*", re.IGNORECASE)


class OriginForm:
    """Middleware that makes a path of a URL.

    Args:
        app: The application within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and (origin := ABSOLUTE.match(scope["path"])):
            scope = {**scope, "path": scope["path"][origin.end() :] or "/"}
        await self._app(scope, receive, send)
