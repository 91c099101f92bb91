"""Error body: what the body of an error says, and whether it was the API itself that wrote it.

Comes in: the first bytes of a body, and the headers. Goes out: its text, and whether that is the API's own.
Never: decides what follows, or holds more than a part of the body.

The API's own errors are a JSON object with a text under ``detail``, or with FastAPI's list of invalid fields there.
Anything else was written by something in between, such as a proxy, and does not decide anything about records. The
table in docs/delivery.md shows what ``contract.meaning_of`` makes of it.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

ERROR_BODY_BYTES = 16_384
"""The maximum number of bytes that are read of an error's body."""

QUOTED_CHARACTERS = 300
"""The maximum number of characters that are quoted of it."""

OPENING = re.compile(rb'\s*\{\s*"detail"\s*:\s*(?=["\[])')
"""How a body of the API begins, to recognise one that was cut off: a list of 10,000 invalid fields is long."""

ANY_ZLIB = zlib.MAX_WBITS | 32
"""Unpacks gzip, and what HTTP calls deflate."""

FOREIGN_JSON = "application/problem+json"
"""The content type of errors of gateways, which have a ``detail`` as well."""


@dataclass(frozen=True)
class ErrorText:
    """The text of an error's body.

    Attributes:
        text: The whole text.
        from_api: Whether the API itself wrote it.
    """

    text: str
    from_api: bool = False


def error_text_of(body: bytes, headers: Mapping[str, str], *, is_complete: bool = True) -> ErrorText:
    """Read the body of an error.

    Args:
        body: The first bytes of the body.
        headers: The headers of the response.
        is_complete: Whether ``body`` is the whole body.

    Examples:
        >>> error_text_of(b'{"detail": "Data source is archived."}', {})
        ErrorText(text='Data source is archived.', from_api=True)
        >>> error_text_of(b"<html>400 Bad Request</html>", {}).from_api
        False
    """
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        try:
            unpacker = zlib.decompressobj(ANY_ZLIB)
            body = unpacker.decompress(body, ERROR_BODY_BYTES)
        except zlib.error:
            return ErrorText(f"a body with encoding {encoding!r}, which was not requested")
        is_complete = unpacker.eof
    said = _detail(body) if is_complete else _beginning(body)
    is_foreign = headers.get("Content-Type", "").split(";")[0].strip().lower() == FOREIGN_JSON
    if said is None or is_foreign:
        return ErrorText(said or body.decode(errors="replace"))
    return ErrorText(said, from_api=True)


def shortened(text: str) -> str:
    """Shorten a text to one line without control characters, which a terminal might obey."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"{text[:QUOTED_CHARACTERS]}…" if len(text) > QUOTED_CHARACTERS else text


def _detail(body: bytes) -> str | None:
    try:
        page = orjson.loads(body)
        detail = page.get("detail") if isinstance(page, dict) else None
        return (
            detail if isinstance(detail, str) else orjson.dumps(detail).decode() if isinstance(detail, list) else None
        )
    except (ValueError, TypeError):  # orjson raises either of them for JSON that is nested too deeply
        return None


def _beginning(body: bytes) -> str | None:
    """Return the detail of a body that was cut off; of a list, as much as is there."""
    opening = OPENING.match(body)
    if opening is None:
        return None
    text = body[opening.end() :].decode(errors="replace")
    try:
        detail, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text
    return detail if isinstance(detail, str) else text
