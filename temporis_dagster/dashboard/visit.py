"""Visit: one request of a person who is logged in.

Comes in: a request, its session and its form. Goes out: what the endpoints of the pages need of them.
Never: reaches the data sources of another account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from temporis_dagster.contract import NOT_FOUND, is_data_source_name
from temporis_dagster.dashboard.formatting import iso
from temporis_dagster.dashboard.headers import HEADERS, NOT_STORED
from temporis_dagster.dashboard.rendering import Page
from temporis_dagster.dashboard.sessions import Session
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.answers import Refusal


@dataclass(frozen=True)
class Visit:
    """A request to a page.

    Attributes:
        request: The request.
        session: Who asks.
        store: The store of their account.
        form: The fields of the form that was sent; empty if none was.
    """

    request: Request
    session: Session
    store: SqlStore
    form: Mapping[str, str]

    def data_source(self) -> str:
        """Return the name of the data source in the path.

        Raises:
            Refusal: 404: no data source can have that name.
        """
        name = str(self.request.path_params["name"])
        if not is_data_source_name(name):
            raise Refusal(404, NOT_FOUND)
        return name


@dataclass(frozen=True)
class Download:
    """A file that is made while it is sent.

    Attributes:
        name: The name of the file.
        media_type: What it is.
        pieces: Its bytes; each piece is made in a thread.
    """

    name: str
    media_type: str
    pieces: Iterator[bytes]


Answer = Page | Response | Download
Endpoint = Callable[[Visit], Answer]


def counted(store: SqlStore, data_source: str) -> dict[str, Any] | None:
    """Return the number of observations when they were last counted, and when that was; None before the first count."""
    count = store.observations(data_source)
    return None if count is None else {"rows": count.rows, "counted_at": iso(count.counted_at)}


def see_other(where: str) -> Response:
    """Return the answer that leads to another page."""
    return RedirectResponse(where, 303, {**HEADERS, **NOT_STORED})
