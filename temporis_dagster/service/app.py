"""The application: one route, and the order of its checks.

Comes in: a request. Goes out: 204 once every record is committed, or the first refusal that applies: 401, 413, 415,
503, 404, 409, 422.
Never: keeps anything between two requests: a deleted token, an archived data source has effect at the next one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import DataSourceArchivedError
from temporis_dagster.service import answers
from temporis_dagster.service.access_log import AccessLog
from temporis_dagster.service.body import bounded_body
from temporis_dagster.service.records import (
    MAX_RECORDS,
    Ingest,
    InvalidBodyError,
    TooManyRecordsError,
    ingest_of,
)

BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.IGNORECASE)

WRITERS = 8
"""Requests being decoded or written at once; SQLite writes one at a time, so more would only hold memory."""

PATIENCE_S = 5.0
"""How long a request waits for its turn, and then again for a lock that another process holds, before it is answered
503. Together far less than clients wait: one that gave up could not know whether it was stored. choice"""


@dataclass(frozen=True)
class Limits:
    """How much one request may bring. The number of records is bounded by ``records.MAX_RECORDS``.

    Attributes:
        body_bytes: The largest body.
    """

    body_bytes: int = 8_000_000


def application(store: SqlStore, limits: Limits | None = None) -> Starlette:
    """The service over a store, as an ASGI application.

    Args:
        store: Whose data sources, of all accounts, and tokens. From now on the service's own: it waits less for locks,
            and is closed when the server stops.
        limits: How much one request may bring.
    """
    store.wait_for_locks(PATIENCE_S)
    service = _Service(store, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    app = Starlette(
        routes=[Route(INGEST_PATH, service.ingest, methods=["POST"])],
        middleware=[Middleware(AccessLog)],
        exception_handlers={
            answers.Refusal: answers.of_refusal,
            HTTPException: answers.of_http_exception,
            Exception: answers.of_bug,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class _Service:
    def __init__(self, store: SqlStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._turns = anyio.Semaphore(WRITERS)

    async def ingest(self, request: Request) -> Response:
        token = _token(request)
        account = await run_sync(self._account, token)
        body = await bounded_body(request, self._limits.body_bytes)
        async with self._turn():
            # Nobody waits for the answer any more, and may have sent a newer value since: not to be written then.
            if await request.is_disconnected():
                raise answers.cut_body()
            await run_sync(self._write, account, body)
        return Response(status_code=204)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with anyio.move_on_after(PATIENCE_S) as wait:
            await self._turns.acquire()
        if wait.cancelled_caught:
            raise answers.busy()
        try:
            yield
        finally:
            self._turns.release()

    def _account(self, token: str) -> str:
        with answers.refused():
            account = self._store.tokens.owner(token)
        if account is None:
            raise answers.invalid_token()
        return account

    def _write(self, account: str, body: bytes) -> None:
        store = self._store.of_account(account)
        with answers.refused():
            ingest = _checked(body, store)
            if not len(ingest.observations):
                _ensure_writable(store, ingest.data_source)
                return
            store.upsert(Tally(ingest.data_source, ingest.observations))


def _checked(body: bytes, store: SqlStore) -> Ingest:
    """The request, or why it is refused: a data source that takes nothing goes before what is wrong with a record."""
    try:
        return ingest_of(body)
    except TooManyRecordsError:
        raise answers.too_many_records(MAX_RECORDS) from None
    except InvalidBodyError as invalid:
        if invalid.data_source is not None:
            _ensure_writable(store, invalid.data_source)
        raise answers.invalid_body([invalid.fault]) from None


def _ensure_writable(store: SqlStore, data_source: str) -> None:
    if store.archive_state(data_source) is ArchiveState.ARCHIVED:
        raise DataSourceArchivedError("It is archived.", data_source=data_source, report=UpsertReport(data_source))


def _token(request: Request) -> str:
    """The token of the one Authorization header. choice: two of them are malformed; "bearer" has no case."""
    given = request.headers.getlist("authorization")
    bearer = BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if bearer is None:
        raise answers.missing_token()
    return bearer[1]
