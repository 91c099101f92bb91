"""Body: read the bytes of a request, within limits for one request and for all of them together.

Comes in: a request. Goes out: its body, or a refusal.
Never: holds more than the limits, whatever the headers declare; waits forever for a client; decompresses.
"""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager

import anyio
from starlette.requests import ClientDisconnect, Request

from temporis_dagster.service.answers import body_too_large, busy, cut_body, encoded_body, slow_body
from temporis_dagster.service.connection import most_connections
from temporis_dagster.service.shares import Shares

ROOM_FOR_BODIES = 16
"""How many of the largest bodies are held at once. One account gets half of the room, so that others get the rest."""

CONNECTIONS_WITH_BODIES = 0.8
"""The part of all connections that may send bodies at once, however small, as each takes some room. Half of it is for
one account, as with bytes."""

ROOM_PATIENCE_S = 0.5
"""How long a request waits for room before it is answered 503. choice"""

BODY_GRACE_S = 60.0
"""How long a body may take beyond the time that it needs on a slow line: longer than clients wait. choice"""

SLOWEST_BYTES_PER_S = 50_000
"""The speed of a slow line, as ``connect`` assumes it."""


class Room:
    """The memory for the bodies of all requests together.

    Args:
        largest: The size of the largest body, in bytes.
    """

    def __init__(self, largest: int) -> None:
        self._largest, self._shares = largest, Shares(busy)

    def held(self, account: str, size: int) -> AbstractAsyncContextManager[None]:
        """Reserve room for a body of an account.

        Args:
            account: The account.
            size: The size of the body, in bytes.

        Raises:
            Refusal: There was no room in time.
        """
        most = ROOM_FOR_BODIES * self._largest
        least = math.ceil(most / (CONNECTIONS_WITH_BODIES * most_connections()))
        size = max(size, min(least, self._largest))
        return self._shares.held(account, size, most=most, most_of_account=most // 2, patience_s=ROOM_PATIENCE_S)


def size_of(request: Request, most: int) -> int:
    """Return how many bytes to reserve for a request: what its headers declare, or the most if its body is chunked.

    Raises:
        Refusal: The headers declare more than the most.
    """
    if _declared(request) > most:
        raise body_too_large(most)
    chunked = "transfer-encoding" in request.headers
    return most if chunked else _declared(request)


async def bounded_body(request: Request, most: int, grace_s: float | None = None) -> bytes:
    """Read the body.

    Args:
        request: A request whose body has not been read yet.
        most: The largest number of bytes to read.
        grace_s: How long it may take beyond the time that it needs on a slow line; None for ``BODY_GRACE_S``.

    Raises:
        Refusal: The body is too large, cut, too slow, or compressed.
    """
    body = await _read(request, most, BODY_GRACE_S if grace_s is None else grace_s)
    if any(encoding.strip().lower() not in ("", "identity") for encoding in _encodings(request)):
        raise encoded_body()
    return body


async def _read(request: Request, most: int, grace_s: float) -> bytes:
    """Read part by part, because a chunked body declares no length and a declared length may be wrong."""
    parts, size, begun = list[bytes](), 0, anyio.current_time()
    with anyio.move_on_after(grace_s) as wait:
        try:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise body_too_large(most)
                parts.append(part)
                wait.deadline = begun + grace_s + size / SLOWEST_BYTES_PER_S
        except ClientDisconnect:
            raise cut_body() from None
    if wait.cancelled_caught:
        raise slow_body()
    return b"".join(parts)


def _declared(request: Request) -> int:
    """Return the largest length that the headers declare. One that is not a number counts as 0: the bytes decide."""
    lengths = request.headers.getlist("content-length")
    return max((int(length[:20]) for length in lengths if length.isascii() and length.isdigit()), default=0)


def _encodings(request: Request) -> list[str]:
    return ",".join(request.headers.getlist("content-encoding")).split(",")
