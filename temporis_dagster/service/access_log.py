"""The access log: one line per request.

Comes in: a request, what the application noted of it, and its answer. Goes out: a line of the log: method, path,
status and time; then account, data source and number of records of an ingest; then the client's User-Agent, which for
a Dagster run holds the run's id.
Never: logs another header, a query or a body: a token may be there. What looks like a token is hidden wherever it is.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("temporis_dagster.service")

SHOWN_CHARACTERS = 100
SHOWN_AGENT_CHARACTERS = 300
SEEN_CHARACTERS = 2_000
"""So much of a text is searched for tokens, which is more than is shown of it once they are hidden."""

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
ANY_TOKEN = re.compile(
    r"(?<![a-z0-9])ts(?:_|%(?:25)*5f)[^\s\"'&;,/]+"  # of any length, where a word begins: not in "events_daily"
    r"|ts_[\w-]{30,}"  # as long as a token, wherever
    r"|(?<![\w-])(?=[\w-]*\d)[\w-]{43}(?![\w-])",  # what follows the prefix of a token that we make
    re.IGNORECASE | re.ASCII,
)


@dataclass
class Noted:
    """What the application learns of an ingest while it handles it.

    Attributes:
        account: Whose token it was.
        data_source: What the request named; any text.
        records: How many records there were.
    """

    account: str | None = None
    data_source: str | None = None
    records: int | None = None


def noted(scope: Scope) -> Noted:
    """What is noted of a request, to be filled in."""
    note: Noted = scope.setdefault("temporis_dagster.noted", Noted())
    return note


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
        status, begun, note = 0, time.monotonic(), noted(scope)

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = status or 500  # which is answered outside of this middleware
            raise
        finally:
            took_ms = 1000 * (time.monotonic() - begun)
            details = _details(note, Headers(scope=scope).get("user-agent"))
            method, path = _method(scope["method"]), _shown(scope["path"])
            logger.info("%s %s %s %.0f ms%s", method, path, status or "no answer", took_ms, details)


def _details(note: Noted, agent: str | None) -> str:
    shown = {
        "account": note.account,
        "data_source": None if note.data_source is None else _shown(note.data_source),
        "records": note.records,
        "agent": agent and _shown(agent, SHOWN_AGENT_CHARACTERS),
    }
    return "".join(f" {key}={value}" for key, value in shown.items() if value is not None)


def _method(given: str) -> str:
    return given if given in KNOWN_METHODS else _shown(given)


def _shown(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The text as a literal, since it may hold line breaks, and without what looks like a token."""
    return ascii(ANY_TOKEN.sub("<token>", text[:SEEN_CHARACTERS])[:most])
