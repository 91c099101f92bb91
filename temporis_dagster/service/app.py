"""App: the routes of the service, and the order of its checks.

Comes in: a request. Goes out: 204 once every record is committed, or the first refusal that applies: 401, 413, 503,
408, 415, 404, 409, 422.
Never: keeps anything between two requests: deleting a token or archiving a data source affects the next one.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from temporis_dagster.contract import INGEST_PATH, PREDICT_PATH
from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import DataSourceArchivedError, TemporisError
from temporis_dagster.service import answers
from temporis_dagster.service.access_log import AccessLog, Noted, noted
from temporis_dagster.service.body import Room, bounded_body, size_of
from temporis_dagster.service.middleware import EarlyAnswers, OriginForm
from temporis_dagster.service.records import (
    MAX_RECORDS,
    Ingest,
    InvalidBodyError,
    TooManyRecordsError,
    ingest_of,
)

T = TypeVar("T")

BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.IGNORECASE)

WRITERS = 8
"""Number of requests decoded or written at once. A file, or a data source in PostgreSQL, has one writer at a time, so
more would only hold memory."""

TURN_PATIENCE_S = 1.0
"""How long a request waits for its turn before it is answered 503. choice"""

QUEUE_PATIENCE_S = 1.5
"""How long it then waits for the requests before it that write to the same file. choice"""

LOCK_PATIENCE_S = 1.0
"""How long it then waits for a lock that another process holds. With the other waits (for its turn, in the queue, and
for room in ``body``), this stays below the 5 s that the vendor's own crawlers wait for an answer: a client that gave up
cannot know what was stored. choice"""

LOOKUP_PATIENCE_S = 3.0
"""How long a request waits for its token to be looked up, which writes nothing. It is longer than the wait above, after
which a store that cannot be reached says so, and matters only for a database that gives no answer at all. choice"""

LOOKUPS = 40
"""Number of lookups at once, in threads of their own: those that wait for a silent database do not keep others from
writing."""

HEALTH_PATH, READY_PATH = "/health", "/ready"

READY_FOR_S = 1.0
"""How many seconds a successful try at writing counts. Callers need no token, and each try takes the lock that writers
need. choice"""


@dataclass(frozen=True)
class Limits:
    """How large one request may be. The number of records is bounded by ``records.MAX_RECORDS``.

    Attributes:
        body_bytes: The largest body, in bytes.
    """

    body_bytes: int = 8_000_000


class Pages(Protocol):
    """What a service can serve besides the API, such as a dashboard."""

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The paths of the pages."""
        ...

    @property
    def middleware(self) -> Sequence[Middleware]:
        """What sees every request, also those of the API."""
        ...


def application(store: SqlStore, limits: Limits | None = None, pages: Pages | None = None) -> Starlette:
    """Build the service over a store, as an ASGI application.

    Args:
        store: The store whose data sources, of all accounts, and tokens are served. The service takes it over: the
            store waits less for locks from now on, and is closed when the server stops.
        limits: How large one request may be.
        pages: What is served besides the API; None for nothing.
    """
    store.wait_for_locks(LOCK_PATIENCE_S)
    service = _Service(store, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    app = Starlette(
        routes=[
            Route(INGEST_PATH, service.ingest, methods=["POST"]),
            Route(PREDICT_PATH, service.predict, methods=["POST"]),
            Route(HEALTH_PATH, service.health, methods=["GET"]),
            Route(READY_PATH, service.ready, methods=["GET"]),
            *(pages.routes if pages else ()),
        ],
        middleware=[
            *(Middleware(layer) for layer in (OriginForm, AccessLog, EarlyAnswers)),
            *(pages.middleware if pages else ()),
        ],
        exception_handlers={
            answers.Refusal: answers.of_refusal,
            HTTPException: answers.of_http_exception,
            Exception: answers.of_bug,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class AllPages:
    """Several kinds of pages as one.

    Args:
        pages: The kinds, such as a dashboard and metrics.
    """

    def __init__(self, *pages: Pages) -> None:
        self.routes = [route for each in pages for route in each.routes]
        self.middleware = [layer for each in pages for layer in each.middleware]


class _Service:
    def __init__(self, store: SqlStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._turns = anyio.Semaphore(WRITERS)
        # The lock of a file goes to the request that asks at the right moment: others would wait many times as long.
        self._queue = anyio.Semaphore(1 if store.has_one_writer else WRITERS)
        self._lookups = anyio.CapacityLimiter(LOOKUPS)
        self._room = Room(self._limits.body_bytes)
        self._ready_until, self._trying = 0.0, anyio.CapacityLimiter(1)

    async def ingest(self, request: Request) -> Response:
        token, note, most = _token(request), noted(request.scope), self._limits.body_bytes
        note.account = account = await self._looked_up(lambda: self._account(token))
        async with self._room.held(account, size_of(request, most)):
            body = await bounded_body(request, most)
            async with _turn_of(self._turns, TURN_PATIENCE_S):
                store, content_type = self._store.of_account(account), request.headers.get("content-type", "")
                ingest = await run_sync(_read, body, content_type, store, note)
                async with _turn_of(self._queue, QUEUE_PATIENCE_S):
                    # A client that no longer waits may have sent a newer value since, so nothing is written.
                    if await request.is_disconnected():
                        raise answers.cut_body()
                    await run_sync(_write, ingest, store, note)
        return Response(status_code=204)

    async def predict(self, _request: Request) -> Response:
        """Refuse to make predictions."""
        raise answers.not_built()

    async def health(self, _request: Request) -> Response:
        """Tell whether the store can be read, for programs that monitor the service. This needs no token."""
        await self._looked_up(self._look)
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Tell whether the store can be reached and written, for programs that route requests. This needs no token."""
        await self._looked_up(self._try, self._trying)
        return JSONResponse({"status": "ready"})

    async def _looked_up(self, look: Callable[[], T], limiter: anyio.CapacityLimiter | None = None) -> T:
        """Look something up in the store. A database that gives no answer is left waiting: nothing depends on it."""
        with anyio.move_on_after(LOOKUP_PATIENCE_S):
            return await run_sync(look, abandon_on_cancel=True, limiter=limiter or self._lookups)
        answers.logger.warning("The store has not answered for %g s.", LOOKUP_PATIENCE_S)
        raise answers.away()

    def _look(self) -> None:
        try:
            self._store.data_sources()
        except TemporisError:
            answers.logger.exception("The store cannot be read.")
            raise answers.unhealthy() from None

    def _try(self) -> None:
        if time.monotonic() < self._ready_until:
            return
        try:
            self._store.ensure_ready()
        except TemporisError as error:
            answers.logger.warning("The store cannot be written: %s", error)
            raise answers.not_ready() from None
        self._ready_until = time.monotonic() + READY_FOR_S

    def _account(self, token: str) -> str:
        with answers.refused():
            account = self._store.tokens.owner(token)
        if account is None:
            raise answers.invalid_token()
        return account


@asynccontextmanager
async def _turn_of(turns: anyio.Semaphore, patience_s: float) -> AsyncIterator[None]:
    """Wait for a turn, first come, first served."""
    with anyio.move_on_after(patience_s) as wait:
        await turns.acquire()
    if wait.cancelled_caught:
        raise answers.busy()
    try:
        yield
    finally:
        turns.release()


def _read(body: bytes, content_type: str, store: SqlStore, note: Noted) -> Ingest:
    with answers.refused():
        ingest = _checked(body, content_type, store, note)
    note.data_source, note.records = ingest.data_source, ingest.records
    return ingest


def _write(ingest: Ingest, store: SqlStore, note: Noted) -> None:
    with answers.refused():
        if not len(ingest.observations):
            _ensure_writable(store, ingest.data_source)
            return
        tally = Tally(ingest.data_source, ingest.observations)
        store.upsert(tally)
    report = tally.report()
    note.stored, note.unchanged = report.stored, report.unchanged


def _checked(body: bytes, content_type: str, store: SqlStore, note: Noted) -> Ingest:
    """Decode a request, or refuse it. A missing or archived data source (404, 409) goes before a bad record (422)."""
    try:
        return ingest_of(body, content_type)
    except TooManyRecordsError as error:
        note.records = error.records
        raise answers.too_many_records(MAX_RECORDS) from None
    except InvalidBodyError as invalid:
        if invalid.data_source is not None:
            note.data_source = invalid.data_source
            _ensure_writable(store, invalid.data_source)
        raise answers.invalid_body(invalid.fault) from None


def _ensure_writable(store: SqlStore, data_source: str) -> None:
    if store.archive_state(data_source) is ArchiveState.ARCHIVED:
        raise DataSourceArchivedError(
            "The data source is archived.", data_source=data_source, report=UpsertReport(data_source)
        )


def _token(request: Request) -> str:
    """Return the token of the Authorization header.

    choice: two such headers are malformed; "bearer" may be in upper or lower case.
    """
    given = request.headers.getlist("authorization")
    bearer = BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if bearer is None:
        raise answers.missing_token()
    return bearer[1]
