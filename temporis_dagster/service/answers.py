"""Answers: every refusal of the service, in one place.

Comes in: what went wrong. Goes out: a status and the JSON that the API answers with it.
Never: tells a client about the store, its path or another account.

Documented: 204, 401, 404, 409, and that every error body is ``{"detail": "..."}`` with a text. The others are a choice
where the API's documentation is silent: 408 (a body that does not arrive), 413 (the body, or the number of records),
415 (a compressed body), 422 with the first fault in ``detail`` and FastAPI's list of faults under ``errors``, 500 and
503 for a store that fails, 501 for the half of the API that is not built.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from temporis_dagster.contract import ARCHIVED, INVALID_TOKEN, MISSING_TOKEN, NOT_FOUND
from temporis_dagster.errors import DataSourceArchivedError, DataSourceNotFoundError, StoreError

logger = logging.getLogger("temporis_dagster.service")

RETRY_AFTER_S = 1
"""How long a client is asked to wait while the store is busy. choice"""


class Refusal(Exception):  # noqa: N818  # an answer, not an error of the service
    """A request is not going to be fulfilled.

    Args:
        status: The HTTP status.
        detail: What stands under ``detail``: a sentence.
        headers: Further headers.
        errors: What stands under ``errors``: the faults of a body, in FastAPI's form.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers, errors


def missing_token() -> Refusal:
    """There is no access token in the request, or its header is malformed."""
    return Refusal(401, MISSING_TOKEN, {"WWW-Authenticate": "Bearer"})


def invalid_token() -> Refusal:
    """Nobody's access token, or one that was deleted."""
    return Refusal(401, INVALID_TOKEN, {"WWW-Authenticate": "Bearer"})


def body_too_large(most: int) -> Refusal:
    """More bytes than are read."""
    return Refusal(413, f"Request body is larger than {most} bytes. Send fewer records a request.")


def too_many_records(most: int) -> Refusal:
    """More records than one transaction of the store takes."""
    return Refusal(413, f"More than {most} records. Send fewer records a request.")


def encoded_body() -> Refusal:
    """The body is compressed."""
    return Refusal(415, "Content-Encoding is not supported. Send the body as it is.")


def cut_body() -> Refusal:
    """The client went away while it sent: nobody reads this answer."""
    return Refusal(400, "The request ended before its body did.")


def slow_body() -> Refusal:
    """The body does not arrive."""
    return Refusal(408, "The request body did not arrive in time. Send it again.")


def invalid_body(fault: Mapping[str, object]) -> Refusal:
    """Some record is invalid; nothing was stored.

    Args:
        fault: ``type``, ``loc`` and ``msg``, as FastAPI has them.
    """
    return Refusal(422, f"{_place(fault['loc'])}{fault['msg']}", errors=[fault])


def not_built() -> Refusal:
    """The endpoint is the API's, but not this service's."""
    return Refusal(501, "This local service stores observations. It does not make predictions: ask the Temporis cloud.")


def unhealthy() -> Refusal:
    """The store cannot be read."""
    return Refusal(503, "The store cannot be read. The service's log says why.")


def busy() -> Refusal:
    """Nothing was stored, and later it may be."""
    return Refusal(503, "The store is busy. Try again later.", {"Retry-After": str(RETRY_AFTER_S)})


@contextmanager
def refused() -> Iterator[None]:
    """Turn the errors of a store into refusals."""
    try:
        yield
    except DataSourceNotFoundError:
        raise Refusal(404, NOT_FOUND) from None
    except DataSourceArchivedError:
        raise Refusal(409, ARCHIVED) from None
    except StoreError as error:
        if error.retryable:
            logger.warning("%s", error)
            raise busy() from None
        logger.exception("A request failed")
        raise Refusal(500, "The store failed. The service's log says why.") from None


def of_refusal(_request: Request, refusal: Exception) -> Response:
    """The answer that a refusal is."""
    assert isinstance(refusal, Refusal)  # noqa: S101  # that is what it is registered for
    return _answer(refusal.status, refusal.detail, refusal.headers, refusal.errors)


def of_http_exception(_request: Request, error: Exception) -> Response:
    """The answer to another path or another method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # that is what it is registered for
    return _answer(error.status_code, error.detail, error.headers)


def of_bug(_request: Request, _error: Exception) -> Response:
    """The answer when this service is at fault. The exception goes on to the server's log."""
    return _answer(500, "Internal Server Error", None)


def _place(path: object) -> str:
    """Where a fault is, in words: ``("body", "records", 3, "value")`` is record 3 (counted from 0), its value."""
    match path:
        case ("body", "records", int(record), *field):
            return f"records[{record}]{''.join(f'.{name}' for name in field)}: "
        case ("body", str(field), *_):
            return f"{field}: "
    return ""


def _answer(
    status: int, detail: str, headers: Mapping[str, str] | None, errors: Sequence[Mapping[str, object]] = ()
) -> Response:
    content = {"detail": detail, "errors": errors} if errors else {"detail": detail}
    return Response(json.dumps(content, ensure_ascii=False), status, headers, media_type="application/json")
