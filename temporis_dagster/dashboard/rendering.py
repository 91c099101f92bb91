"""Rendering: one content, as a page for people or as JSON for programs.

Comes in: a page and who asks for it. Goes out: the bytes of its answer.
Never: shows a text unescaped, or anything in a page that its JSON twin does not have, except for forms and drawings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from temporis_dagster._version import __version__
from temporis_dagster.contract import DATA_SOURCE_NAME, DATA_SOURCE_NAME_RULE
from temporis_dagster.dashboard import drawing, formatting
from temporis_dagster.dashboard.headers import HEADERS, NOT_STORED
from temporis_dagster.dashboard.sessions import Session
from temporis_dagster.wording import counted

PIECE_BYTES = 32_768

NOTICES = {
    "created": "The data source was created.",
    "archived": "The data source was archived. Ingests are refused from now on.",
    "unarchived": "The data source was unarchived. It takes observations again.",
    "deleted": "The token was deleted. Requests with it are refused from now on.",
    "logged-out": "You are logged out.",
}
"""What a page says at its top after something was done, by the word that stands in its URL."""


@dataclass(frozen=True)
class Page:
    """What an endpoint answers with.

    Attributes:
        template: The file of the page.
        content: What it shows: the content of its JSON twin.
        status: The HTTP status.
        headers: Further headers.
        extras: What only the template needs: forms, and links between pages.
    """

    template: str
    content: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


class InPieces(Response):
    """An answer that is sent piece by piece: the service gives a client ten seconds for what it has not read yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as in Starlette
        """Send it. The server makes each piece wait until most of the one before has left."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for first in range(0, max(len(self.body), 1), PIECE_BYTES):
            last = first + PIECE_BYTES
            piece = {"body": self.body[first:last], "more_body": last < len(self.body)}
            await send({"type": "http.response.body", **piece})


def as_html(page: Page, request: Request, session: Session | None) -> Response:
    """Render a page for people."""
    text = _ENVIRONMENT.get_template(page.template).render(
        page.content,
        **page.extras,
        session=session,
        path=request.url.path,
        twin=_twin(request),
        notice=NOTICES.get(request.query_params.get("notice", "")),
    )
    return InPieces(text, page.status, {**HEADERS, **NOT_STORED, **page.headers}, "text/html")


def as_json(page: Page) -> Response:
    """Render a page for programs."""
    text = json.dumps(page.content, ensure_ascii=False, allow_nan=False)
    return InPieces(text, page.status, {**HEADERS, **NOT_STORED, **page.headers}, "application/json")


def _twin(request: Request) -> str:
    """Return the URL of the JSON twin of a page."""
    path = request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{'/index' if path == '/' else path}.json{query}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("temporis_dagster.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        name=formatting.shown_name,
        time=formatting.shown_time,
        field_time=formatting.field_time,
        number=formatting.number,
        short_number=formatting.short_number,
        size=formatting.size,
        counted=counted,
    )
    environment.tests["linked"] = formatting.is_linked
    environment.globals.update(
        drawing=drawing,
        version=__version__,
        name_pattern=DATA_SOURCE_NAME.pattern,
        name_rule=DATA_SOURCE_NAME_RULE,
    )
    return environment


_ENVIRONMENT = _environment()
