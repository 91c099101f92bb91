"""Answers: every refusal of the service, in one place.

Comes in: what went wrong. Goes out: a status and the JSON of the API's error bodies.
Never: tells a client about the store, its path or another account.

Documented: 204, 401, 404, 409, and that every error body is ``{"detail": "..."}`` with a text. Where the API's
documentation is silent, these are a choice: 408 (a body that does not arrive), 413 (too many bytes or records), 415 (a
compressed body), 422 with the first fault in ``detail`` and FastAPI's list of faults under ``errors``, 500 and 503 (a
store that fails), and 501 (the part of the API that this service does not have).
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
from temporis_dagster.errors import DataSourceArchivedError, DataSourceNotFoundError, StoreError, UnavailableError
from temporis_dagster.service.access_log import noted

logger = logging.getLogger("temporis_dagster.service")

RETRY_AFTER_S = 1
"""How long a client is asked to wait when the store is busy or away. choice"""


class Refusal(Exception):  # noqa: N818  # an answer, not an error of the service
    """An answer that refuses a request.

    Args:
        status: The HTTP status.
        detail: The value of ``detail``: one or two sentences.
        headers: Further headers.
        errors: The value of ``errors``: the faults of a body, in FastAPI's form.
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
    """The request has no access token, or a malformed Authorization header."""
    return Refusal(401, MISSING_TOKEN, {"WWW-Authenticate": "Bearer"})


def invalid_token() -> Refusal:
    """The access token never existed, or was deleted."""
    return Refusal(401, INVALID_TOKEN, {"WWW-Authenticate": "Bearer"})


def body_too_large(most: int) -> Refusal:
    """The body has more bytes than the service reads."""
    return Refusal(413, f"The request body is larger than {most} bytes. Send fewer records per request.")


def too_many_records(most: int) -> Refusal:
    """The request has more records than the store writes in one transaction."""
    return Refusal(413, f"The request has more than {most} records. Send fewer records per request.")


def encoded_body() -> Refusal:
    """The body is compressed."""
    return Refusal(415, "Content-Encoding is not supported. Send the body uncompressed.")


def cut_body() -> Refusal:
    """The client disconnected before the end of the body, and does not see this answer."""
    return Refusal(400, "The request ended before its body was complete.")


def slow_body() -> Refusal:
    """The body did not arrive in time."""
    return Refusal(408, "The request body did not arrive in time. Send it again.")


def invalid_body(fault: Mapping[str, object]) -> Refusal:
    """The body or one of its records is invalid; nothing was stored.

    Args:
        fault: ``type``, ``loc`` and ``msg``, as in FastAPI.
    """
    return Refusal(422, f"{_place(fault['loc'])}{fault['msg']}", errors=[fault])


def not_built() -> Refusal:
    """The endpoint belongs to the API, but this service does not have it."""
    return Refusal(501, "This local service stores observations only. For predictions, use the Temporis cloud.")


def unhealthy() -> Refusal:
    """The store cannot be read."""
    return Refusal(503, "The store cannot be read. The service's log has the reason.")


def not_ready() -> Refusal:
    """The store cannot be written."""
    return Refusal(503, "The store cannot be written. The service's log has the reason.")


def busy() -> Refusal:
    """The service has no capacity now, or the store is locked; nothing was stored."""
    return Refusal(503, "The store is busy. Try again later.", {"Retry-After": str(RETRY_AFTER_S)})


def away() -> Refusal:
    """The store's database cannot be reached. If it was lost in the middle of a commit, everything may be stored."""
    return Refusal(503, "The store is not available. Try again later.", {"Retry-After": str(RETRY_AFTER_S)})


@contextmanager
def refused() -> Iterator[None]:
    """Turn the errors of a store into refusals."""
    try:
        yield
    except DataSourceNotFoundError:
        raise Refusal(404, NOT_FOUND) from None
    except DataSourceArchivedError:
        raise Refusal(409, ARCHIVED) from None
    except UnavailableError as error:
        logger.warning("%s", error)
        raise away() from None
    except StoreError as error:
        if error.retryable:
            logger.warning("%s", error)
            raise busy() from None
        logger.exception("A request failed in the store.")
        raise Refusal(500, "The store failed. The service's log has the reason.") from None


def of_refusal(request: Request, refusal: Exception) -> Response:
    """Render a refusal."""
    assert isinstance(refusal, Refusal)  # noqa: S101  # the handler is registered for this type
    noted(request.scope).refusal = refusal.detail
    return _answer(refusal.status, refusal.detail, refusal.headers, refusal.errors)


def of_http_exception(_request: Request, error: Exception) -> Response:
    """Render the answer to an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # the handler is registered for this type
    return _answer(error.status_code, error.detail, error.headers)


def of_bug(_request: Request, _error: Exception) -> Response:
    """Answer a request that hit a bug of this service. Starlette raises the exception again, for the server's log."""
    return _answer(500, "Internal Server Error", None)


def _place(path: object) -> str:
    """Spell the place of a fault: ``records[3].value`` for ``("body", "records", 3, "value")``, counted from 0."""
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
