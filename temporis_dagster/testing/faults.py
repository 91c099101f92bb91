"""Faults: what a fake service does to a request instead of answering it, and scripts that say to which.

Comes in: what should go wrong. Goes out: plain values, and functions from a request to one of them.
Never: does it; the fake service does.
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
        status: The HTTP status; None for what the service itself would answer.
        body: The body of that answer.
        headers: The headers of that answer.
        applies: How many of the records are stored all the same, of a request that could be stored; ``"later"`` keeps
            them until ``FakeService.release_late()``.
        ends: Whether there is an answer, a connection that is cut, or nothing at all.
        until: Nothing is stored or answered before this event is set.
    """

    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    applies: Applies = "nothing"
    ends: Ends = "answer"
    until: threading.Event | None = None


Script: TypeAlias = Callable[[Request], "Fault | None"]
"""Asked for each request, in the order of arrival; None lets the service answer as it should. What a script raises is
answered as a 501, which nobody retries."""


def answer(
    status: int, detail: str = "", *, retry_after: float | str | None = None, applies: Applies = "nothing"
) -> Fault:
    """An answer with the API's kind of body: without a detail, the usual words of the status."""
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    detail = detail or (HTTPStatus(status).phrase if status in USUAL_STATUSES else "")
    body = orjson.dumps({"detail": detail}).decode() if detail and status != HTTPStatus.NO_CONTENT else ""
    return Fault(status, body, headers, applies)


def html_page(status: int = 502) -> Fault:
    """What a proxy answers when it cannot reach the service."""
    page = f"<html>\n<head><title>{status} Bad Gateway</title></head>\n<body><hr>nginx</body>\n</html>\n"
    return Fault(status, page, {"Content-Type": "text/html"})


def cut(*, applies: Applies = "nothing") -> Fault:
    """The connection is reset instead of an answer."""
    return Fault(ends="cut", applies=applies)


def silence(*, applies: Applies = "nothing") -> Fault:
    """No answer ever comes, and the connection stays open."""
    return Fault(ends="silence", applies=applies)


def held(until: threading.Event) -> Fault:
    """The right answer, but not before the event is set."""
    return Fault(until=until)


def in_sequence(*faults: Fault | None) -> Script:
    """The first request gets the first fault, and so on; later requests get none.

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
    """Each request gets one of the faults with this probability, the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable test, not a secret
    return lambda _request: chance.choice(faults) if chance.random() < rate else None
