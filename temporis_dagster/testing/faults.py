"""Faults: what a fake service does to a request instead of answering it, and scripts that choose the requests.

Comes in: what should go wrong. Goes out: plain values, and functions from a request to one of them.
Never: carries out a fault, which the fake service does.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal, TypeAlias

import orjson

from temporis_dagster.testing.requests import Request

Applies: TypeAlias = Literal["nothing", "half", "all", "later"]
Ends: TypeAlias = Literal["answer", "cut", "silence"]

USUAL_STATUSES = frozenset(HTTPStatus)


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        status: The HTTP status; None for the answer that the service itself would give.
        body: The body of the answer with this status.
        headers: The headers of the answer with this status.
        applies: Which records of a valid request are stored all the same; ``"later"`` keeps them until
            ``FakeService.release_late()``.
        ends: Whether the client gets an answer, a connection that is cut, or nothing at all.
        until: An event before which nothing is stored or answered.
    """

    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    applies: Applies = "nothing"
    ends: Ends = "answer"
    until: threading.Event | None = None


Script: TypeAlias = Callable[[Request], "Fault | None"]
"""A function that is called for each request, in the order of arrival. None lets the service answer as it should. An
exception in a script is answered 501, which clients do not retry."""


def answer(
    status: int, detail: str = "", *, retry_after: float | str | None = None, applies: Applies = "nothing"
) -> Fault:
    """Answer with a status and a body like those of the API.

    Args:
        status: The HTTP status.
        detail: The text of the body. Defaults to the usual phrase of the status.
        retry_after: The Retry-After header: seconds or an HTTP date; None for no header.
        applies: Which records are stored all the same.
    """
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    detail = detail or (HTTPStatus(status).phrase if status in USUAL_STATUSES else "")
    body = orjson.dumps({"detail": detail}).decode() if detail and status != HTTPStatus.NO_CONTENT else ""
    return Fault(status, body, headers, applies)


def html_page(status: int = 502) -> Fault:
    """Answer with an HTML page, as a proxy does that cannot reach the service."""
    page = f"<html>\n<head><title>{status} Bad Gateway</title></head>\n<body><hr>nginx</body>\n</html>\n"
    return Fault(status, page, {"Content-Type": "text/html"})


def cut(*, applies: Applies = "nothing") -> Fault:
    """Reset the connection instead of answering."""
    return Fault(ends="cut", applies=applies)


def silence(*, applies: Applies = "nothing") -> Fault:
    """Never answer, and keep the connection open."""
    return Fault(ends="silence", applies=applies)


def held(until: threading.Event) -> Fault:
    """Answer as the service should, but not before the event is set."""
    return Fault(until=until)


def in_sequence(*faults: Fault | None) -> Script:
    """Give the first request the first fault, the second the second and so on. Later requests get none.

    Examples:
        >>> from temporis_dagster import connect
        >>> from temporis_dagster.testing import FakeService, answer, in_sequence, sample_frame
        >>> with FakeService(script=in_sequence(answer(503, "busy"))) as service:
        ...     with connect(service.url, service.token) as temporis:
        ...         report = temporis.data_source("store_metrics").upsert(sample_frame())
        >>> report.stored, report.requests, report.retries
        (48, 2, 1)
    """
    waiting = iter(faults)
    return lambda _request: next(waiting, None)


def at_random(faults: Sequence[Fault], *, rate: float, seed: int) -> Script:
    """Give requests a fault at random.

    Args:
        faults: The faults to choose from.
        rate: The probability that a request gets one of them.
        seed: The seed: the same seed gives the same faults to the same sequence of requests.
    """
    chance = random.Random(seed)  # noqa: S311  # a repeatable test, not a secret
    return lambda _request: chance.choice(faults) if chance.random() < rate else None
