"""Answers: every refusal of the service, in one place.

Comes in: what went wrong. Goes out: a status and the JSON that the API answers with it.
Never: tells a client about the store, its path or another account.

Documented: 204, 401, 404, 409. The others are a choice where the API's documentation is silent: 413 (the body, or the
number of records), 415 (a compressed body), 422 in FastAPI's style, 500 and 503 for a store that fails.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
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
        detail: What stands under ``detail``: a sentence, or a list of faults for 422.
        headers: Further headers.
    """

    def __init__(self, status: int, detail: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.headers = status, detail, headers


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


def invalid_body(faults: list[dict[str, object]]) -> Refusal:
    """Some record is invalid; nothing was stored."""
    return Refusal(422, faults)


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
    return _answer(refusal.status, refusal.detail, refusal.headers)


def of_http_exception(_request: Request, error: Exception) -> Response:
    """The answer to another path or another method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # that is what it is registered for
    return _answer(error.status_code, error.detail, error.headers)


def of_bug(_request: Request, _error: Exception) -> Response:
    """The answer when this service is at fault. The exception goes on to the server's log."""
    return _answer(500, "Internal Server Error", None)


def _answer(status: int, detail: object, headers: Mapping[str, str] | None) -> Response:
    body = json.dumps({"detail": detail}, ensure_ascii=False)
    return Response(body, status, headers, media_type="application/json")
