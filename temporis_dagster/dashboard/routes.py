"""Routes: the paths of the dashboard, and what is checked before the endpoint of each.

Comes in: a request. Goes out: a page, its JSON twin, or the way to the login.
Never: calls an endpoint for a request without a session, or for a form of another website or session.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from temporis_dagster.dashboard import activity_page, source_page, sources_page, tokens_page
from temporis_dagster.dashboard.activity import Activity, Watching
from temporis_dagster.dashboard.csrf import ensure_form_of, ensure_own_site, ensure_this_machine
from temporis_dagster.dashboard.forms import fields_of
from temporis_dagster.dashboard.headers import HEADERS, NOT_STORED, Secured
from temporis_dagster.dashboard.login import Login, LoginOptions
from temporis_dagster.dashboard.pending import PendingOf
from temporis_dagster.dashboard.rendering import Page, as_html, as_json
from temporis_dagster.dashboard.sessions import SESSION_S, Session
from temporis_dagster.dashboard.turns import Places, Turns
from temporis_dagster.dashboard.visit import Answer, Download, Endpoint, Visit, see_other
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.answers import Refusal, refused

STATIC = Path(__file__).parent / "static"
OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
"""A path of this dashboard, as opposed to the URL of another host."""

PAGES_AT_ONCE, PAGES_OF_ACCOUNT = 8, 3
"""Number of pages that are made at once, in threads of their own: neither ingests nor logins wait for them."""

DOWNLOADS_AT_ONCE, DOWNLOADS_OF_ACCOUNT = 8, 2
"""Number of files that are sent at once. Each holds a batch of observations for as long as its client reads."""

LOGINS_AT_ONCE = 4
"""Number of threads for logins, and for finding out who is logged in."""

ANONYMOUS_FORMS, FORMS_OF_ACCOUNT = 50, 10
"""Number of forms whose bodies are read at once: those of the login, and those of one account. Each holds a connection,
and there are not many."""

LOGIN_ENDED = "You are not logged in, or your login has ended. Nothing was changed."


class Dashboard:
    """The dashboard of a service.

    Args:
        store: The store of the service.
        login: How people get in besides with a token.
        pending: What a mirror has pending; None for no mirror.
        clock: Returns the time in Unix seconds.
    """

    def __init__(
        self,
        store: SqlStore,
        login: LoginOptions | None = None,
        *,
        pending: PendingOf | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._options = store, login or LoginOptions()
        self._login = Login(store, self._options, clock)
        self._activity = Activity(clock)
        self._pending = pending
        self._pages = Turns(PAGES_AT_ONCE, PAGES_OF_ACCOUNT)
        self._downloads = Turns(DOWNLOADS_AT_ONCE, DOWNLOADS_OF_ACCOUNT, waits=False)
        self._logins = Turns(LOGINS_AT_ONCE)
        self._anonymous_forms, self._forms = Places(ANONYMOUS_FORMS), Places(FORMS_OF_ACCOUNT)

    @property
    def middleware(self) -> Sequence[Middleware]:
        """What the service puts around its application."""
        return [Middleware(Watching, activity=self._activity)]

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """What the service serves besides its API."""
        activity = activity_page.endpoint(self._activity, self._pending, self._options.account)
        pages: list[tuple[str, Endpoint]] = [
            ("/", sources_page.show),
            ("/sources/{name}", source_page.show),
            ("/sources/{name}/archive", source_page.ask_to_archive),
            ("/sources/{name}/unarchive", source_page.ask_to_unarchive),
            ("/tokens", tokens_page.show),
            ("/tokens/delete", tokens_page.ask_to_delete),
            ("/activity", activity),
        ]
        forms: list[tuple[str, Endpoint]] = [
            ("/", sources_page.create),
            ("/sources/{name}/archive", source_page.archive),
            ("/sources/{name}/unarchive", source_page.unarchive),
            ("/tokens", tokens_page.create),
            ("/tokens/delete", tokens_page.delete),
        ]
        twins = [("/index.json" if path == "/" else f"{path}.json", endpoint) for path, endpoint in pages]
        return [
            Route("/login.json", self._answering(self._show_login, in_json=True), methods=["GET"]),
            Route("/login", self._answering(self._show_login), methods=["GET"]),
            Route("/login", self._answering(self._log_in), methods=["POST"]),
            Route("/logout", self._answering(self._log_out), methods=["POST"]),
            Route("/sources/{name}/series.csv", self._page(source_page.csv), methods=["GET"]),
            *(Route(path, self._page(endpoint, in_json=True), methods=["GET"]) for path, endpoint in twins),
            *(Route(path, self._page(endpoint), methods=["GET"]) for path, endpoint in pages),
            *(Route(path, self._form(endpoint), methods=["POST"]) for path, endpoint in forms),
            Mount("/static", Secured(StaticFiles(directory=STATIC))),
        ]

    def _page(self, endpoint: Endpoint, *, in_json: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint for visitors who are logged in; others are led to the login."""

        async def answer(request: Request, session: Session | None) -> Answer:
            if session is None:
                if in_json:
                    raise Refusal(401, LOGIN_ENDED)
                here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return see_other("/login" if here == "/" else f"/login?next={quote(here, safe='/')}")
            visited = partial(self._visited, endpoint, request, session, {}, in_json=in_json)
            return await self._pages.in_thread(visited, session.visitor.account)

        return self._answering(answer, in_json=in_json)

    def _form(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint for forms of pages of the session."""

        async def answer(request: Request, session: Session | None) -> Answer:
            ensure_own_site(request)
            if session is None:
                raise Refusal(401, LOGIN_ENDED)
            form = await self._fields(request, session)
            visited = partial(self._visited, endpoint, request, session, form)
            return await self._pages.in_thread(visited, session.visitor.account)

        return self._answering(answer)

    async def _fields(self, request: Request, session: Session) -> dict[str, str]:
        """Return the fields of a form of this session."""
        async with self._forms.place(session.visitor.account):
            form = await fields_of(request)
        ensure_form_of(session, form)
        return form

    def _visited(
        self, endpoint: Endpoint, request: Request, session: Session, form: dict[str, str], *, in_json: bool = False
    ) -> Response | Download:
        """Call an endpoint and render its page, both in the thread of the caller."""
        with refused():
            page = endpoint(Visit(request, session, self._store.of_account(session.visitor.account), form))
        return _rendered(page, request, session, in_json=in_json) if isinstance(page, Page) else page

    def _answering(
        self, work: Callable[[Request, Session | None], Awaitable[Answer]], *, in_json: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint of Starlette that finds the session, and shows refusals as pages."""

        async def answer(request: Request) -> Response:
            session = None
            try:
                if self._login.is_open:
                    ensure_this_machine(request)
                    _ensure_not_embedded(request)
                session = await self._session(request)
                page = await work(request, session)
                if isinstance(page, Page):
                    rendered = partial(_rendered, page, request, session, in_json=in_json)
                    return await self._logins.in_thread(rendered)
            except Refusal as refusal:  # a small page, which is not worth a second wait for a thread
                return _rendered(_of_refusal(refusal), request, session, in_json=in_json)
            return self._sent(page, request, session) if isinstance(page, Download) else page

        return answer

    async def _session(self, request: Request) -> Session | None:
        cookie = _sent_cookie(request)
        if cookie is None:  # nothing is looked up, so those who are not logged in take no thread
            return self._login.session(None)
        return await self._logins.in_thread(partial(self._login.session, cookie))

    def _sent(self, file: Download, request: Request, session: Session | None) -> Response:
        """Return the answer that sends a file. A client that asks for its headers only has nothing made."""
        headers = {**HEADERS, **NOT_STORED, "Content-Disposition": f'attachment; filename="{file.name}"'}
        if request.method == "HEAD":
            return Response(headers=headers, media_type=file.media_type)

        async def pieces() -> AsyncIterator[bytes]:
            while (piece := await self._downloads.within_turn(partial(next, file.pieces, None))) is not None:
                yield piece

        return _InTurn(pieces(), self._downloads, request, session, headers=headers, media_type=file.media_type)

    async def _show_login(self, request: Request, session: Session | None) -> Answer:
        return self._login_page(request) if session is None else see_other("/")

    async def _log_in(self, request: Request, _session: Session | None) -> Answer:
        ensure_own_site(request)
        async with self._anonymous_forms.place():
            form = await fields_of(request)
        address = request.client.host if request.client else ""
        try:
            cookie = await self._logins.in_thread(partial(self._login.enter, form.get("secret", ""), address))
        except Refusal as refusal:
            return self._login_page(request, refusal)
        where = form.get("next", "/")
        answer = see_other(where if OWN_PATH.fullmatch(where) else "/")
        secure = request.url.scheme == "https"
        answer.set_cookie(_cookie(request), cookie, SESSION_S, httponly=True, samesite="lax", secure=secure)
        return answer

    async def _log_out(self, request: Request, session: Session | None) -> Answer:
        ensure_own_site(request)
        if session is not None:
            await self._fields(request, session)
        answer = see_other("/login?notice=logged-out")
        secure = request.url.scheme == "https"
        answer.delete_cookie(_cookie(request), httponly=True, samesite="lax", secure=secure)
        return answer

    def _login_page(self, request: Request, refusal: Refusal | None = None) -> Page:
        content = {"password": self._login.has_password, "detail": refusal and refusal.detail}
        where = request.query_params.get("next", "/")
        extras = {"next": where if OWN_PATH.fullmatch(where) else "/"}
        if refusal is None:
            return Page("login.html", content, extras=extras)
        return Page("login.html", content, refusal.status, refusal.headers or {}, extras)


class _InTurn(StreamingResponse):
    """A file that is sent if there is a turn for it, which it has until the client has read it or is gone."""

    def __init__(
        self, pieces: AsyncIterator[bytes], turns: Turns, request: Request, session: Session | None, **options: Any
    ) -> None:
        super().__init__(pieces, **options)
        self._turns, self._request, self._session = turns, request, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or the refusal."""
        async with AsyncExitStack() as turn:
            try:
                await turn.enter_async_context(self._turns.turn(self._session.visitor.account if self._session else ""))
            except Refusal as refusal:
                answer = _rendered(_of_refusal(refusal), self._request, self._session, in_json=False)
                await answer(scope, receive, send)
                return
            await super().__call__(scope, receive, send)


def _cookie(request: Request) -> str:
    """Return the name of the cookie. With the prefix, browsers take it only over https, and from this host alone."""
    return f"{'__Host-' if request.url.scheme == 'https' else ''}temporis_dashboard"


def _sent_cookie(request: Request) -> str | None:
    """Return the value of the cookie; None if there is none.

    ``request.cookies`` also decodes all others: Python before 3.10.15, 3.11.10 and 3.12.6 takes seconds for one with
    thousands of backslashes (CVE-2024-7592), and meanwhile answers no other request.
    """
    pairs = (pair.partition("=") for pair in ";".join(request.headers.getlist("cookie")).split(";"))
    values = [value for name, _, value in pairs if name.strip() == _cookie(request)]
    return values[-1].strip().strip('"') if values else None


def _rendered(page: Page, request: Request, session: Session | None, *, in_json: bool) -> Response:
    return as_json(page) if in_json else as_html(page, request, session)


def _ensure_not_embedded(request: Request) -> None:
    """Refuse what another website's page loads where no login is needed: a link to a page of ours is followed.

    Raises:
        Refusal: 403.
    """
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    if request.method in ("GET", "HEAD") and site in ("cross-site", "same-site") and mode != "navigate":
        raise Refusal(403, "Another website asked for this page. Open it in the browser instead.")


def _of_refusal(refusal: Refusal) -> Page:
    content = {"detail": refusal.detail}
    return Page("error.html", content, refusal.status, refusal.headers or {}, {"status": refusal.status})
