"""Body: the bytes of a request, never more than allowed.

Comes in: a request. Goes out: its body, or a refusal.
Never: holds more than the limit, whatever the headers say; decompresses.
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from temporis_dagster.service.answers import body_too_large, cut_body, encoded_body


async def bounded_body(request: Request, most: int) -> bytes:
    """Read the body.

    Args:
        request: Whose body was not read yet.
        most: The most bytes to take.

    Raises:
        Refusal: It is larger, cut, or encoded.
    """
    if _declared(request) > most:
        raise body_too_large(most)
    body = await _read(request, most)
    if any(encoding.strip().lower() not in ("", "identity") for encoding in _encodings(request)):
        raise encoded_body()
    return body


async def _read(request: Request, most: int) -> bytes:
    """The parts as they come: a chunked body declares no length, and a declared one may be a lie."""
    parts, size = list[bytes](), 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise body_too_large(most)
            parts.append(part)
    except ClientDisconnect:
        raise cut_body() from None
    return b"".join(parts)


def _declared(request: Request) -> int:
    """The largest length that the headers declare; what is no number is left to the count of what comes."""
    lengths = request.headers.getlist("content-length")
    return max((int(length[:20]) for length in lengths if length.isascii() and length.isdigit()), default=0)


def _encodings(request: Request) -> list[str]:
    return ",".join(request.headers.getlist("content-encoding")).split(",")
