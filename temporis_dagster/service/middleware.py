"""Early answers: one that comes before its request has ended says that it is the connection's last.

Comes in: a request and its answer. Goes out: the answer, with ``Connection: close`` where the request had not ended.
Never: reads a body, or decides what is answered.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EarlyAnswers:
    """Middleware that closes what cannot be used for another request.

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

        await self._app(scope, received, closing)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0 ") != ""
