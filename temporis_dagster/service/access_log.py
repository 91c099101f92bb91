"""Access log: one line per request.

Comes in: a request, what the application noted about it, and its answer. Goes out: a line of the log with method, path,
status and time; for an ingest also account, data source and number of records; then the client's User-Agent, which
contains the run's ID if the client is a Dagster run.
Never: logs another header, a query or a body, which may contain a token. What looks like a token is hidden everywhere.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from temporis_dagster.data_source.store.tokens import A_TOKEN
from temporis_dagster.service.log_lines import FIELDS
from temporis_dagster.service.middleware import AfterAnswers

logger = logging.getLogger("temporis_dagster.service")

SHOWN_CHARACTERS = 100
SHOWN_AGENT_CHARACTERS = 300
SEEN_CHARACTERS = 2_000
"""How much of a text is searched for tokens: more than is shown of it, because hiding tokens shortens it."""

ALWAYS = ("method", "path")
"""The fields at the beginning of a line."""

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
ANY_TOKEN = re.compile(
    r"(?<![a-z0-9])ts(?:_|%(?:25)*5f)[^\s\"'&;,/]+"  # of any length at the beginning of a word: not in "events_daily"
    rf"|{A_TOKEN.pattern}"
    r"|(?<![\w-])(?=[\w-]*\d)[\w-]{43}(?![\w-])",  # one of our tokens without its prefix
    re.IGNORECASE | re.ASCII,
)


@dataclass
class Noted:
    """What the application learns about an ingest while it handles it.

    Attributes:
        account: The account of the token.
        data_source: The data source that the request names; any text.
        records: The number of records.
        refusal: Why it was refused; None if it was not. It is not logged: it may quote a record.
        stored: The number of observations that it changed. It is not logged either.
        unchanged: The number of those that were there already.
    """

    account: str | None = None
    data_source: str | None = None
    records: int | None = None
    refusal: str | None = None
    stored: int = 0
    unchanged: int = 0


def noted(scope: Scope) -> Noted:
    """Return the note of a request, for the application to fill in."""
    note: Noted = scope.setdefault("temporis_dagster.noted", Noted())
    return note


class AccessLog(AfterAnswers):
    """Log each request after it has been answered."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, with a note that all layers inside share."""
        noted(scope)
        await super().handle(scope, receive, send)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Log a request."""
        fields, took_ms = _fields(scope, noted(scope)), 1000 * seconds
        details = "".join(f" {key}={_literal(key, value)}" for key, value in fields.items() if key not in ALWAYS)
        method, path = (_literal(key, fields[key]) for key in ALWAYS)
        # The fields are for a log of JSON lines.
        extra = {FIELDS: {**fields, "status": status, "duration_ms": round(took_ms, 1)}}
        told = (method, path, status or "no answer", took_ms, details)
        logger.info("%s %s %s %.0f ms%s", *told, extra=extra)


def _fields(scope: Scope, note: Noted) -> dict[str, str | int]:
    """Return what is shown of a request, without anything that looks like a token."""
    agent = Headers(scope=scope).get("user-agent")
    shown = {
        "method": without_tokens(scope["method"]),
        "path": without_tokens(scope["path"]),
        "account": note.account,
        "data_source": None if note.data_source is None else without_tokens(note.data_source),
        "records": note.records,
        "agent": (agent or None) and without_tokens(agent or "", SHOWN_AGENT_CHARACTERS),
    }
    return {name: value for name, value in shown.items() if value is not None}


def without_tokens(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Return the beginning of a text of a client, without anything that looks like a token."""
    return ANY_TOKEN.sub("<token>", text[:SEEN_CHARACTERS])[:most]


def _literal(key: str, value: str | int) -> str:
    """Return a text of a client as a literal, since it may contain line breaks."""
    known = key == "account" or value in KNOWN_METHODS or not isinstance(value, str)
    return str(value) if known else ascii(value)
