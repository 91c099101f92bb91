"""Words: what the body of an error says, and whether it was the API itself that said it.

Comes in: the first bytes of a body, and its headers. Goes out: one short line, and whose it is.
Never: decides what follows, or holds more than a part of the body.

The API's own errors are a JSON object with a text under ``detail``, or the list of FastAPI's validation. Everything
else was said by something in between, such as a proxy's page, and is no verdict on records. What
``contract.meaning_of`` makes of that is the table of docs/delivery.md.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

ERROR_BODY_BYTES = 16_384
"""How much of an error's body is read."""

QUOTED_CHARACTERS = 300
"""How much of it is quoted."""

OPENING = re.compile(rb'\s*\{\s*"detail"\s*:\s*(?=["\[])')
"""How a body of the API begins, for one that is not there to its end: a list of 10,000 faults is long."""

ANY_ZLIB = zlib.MAX_WBITS | 32
"""gzip, or what HTTP calls deflate."""

FOREIGN_JSON = "application/problem+json"
"""Errors of gateways, which have a ``detail`` as well."""


@dataclass(frozen=True)
class Words:
    """What a body says.

    Attributes:
        text: The words, in full.
        from_api: Whether they are the API's own.
    """

    text: str
    from_api: bool = False


def words_of(body: bytes, headers: Mapping[str, str], *, is_complete: bool = True) -> Words:
    """Read the body of an error.

    Args:
        body: Its first bytes.
        headers: The headers of the answer, with names in any case that the mapping knows.
        is_complete: Whether that is all of it.

    Examples:
        >>> words_of(b'{"detail": "Data source is archived."}', {})
        Words(text='Data source is archived.', from_api=True)
        >>> words_of(b"<html>400 Bad Request</html>", {}).from_api
        False
    """
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        try:
            unpacker = zlib.decompressobj(ANY_ZLIB)
            body = unpacker.decompress(body, ERROR_BODY_BYTES)
        except zlib.error:
            return Words(f"a body in {encoding!r}, which was not asked for")
        is_complete = unpacker.eof
    said = _detail(body) if is_complete else _beginning(body)
    is_foreign = headers.get("Content-Type", "").split(";")[0].strip().lower() == FOREIGN_JSON
    if said is None or is_foreign:
        return Words(said or body.decode(errors="replace"))
    return Words(said, from_api=True)


def shortened(text: str) -> str:
    """One line that no terminal takes for a command."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"{text[:QUOTED_CHARACTERS]}…" if len(text) > QUOTED_CHARACTERS else text


def _detail(body: bytes) -> str | None:
    try:
        page = orjson.loads(body)
        detail = page.get("detail") if isinstance(page, dict) else None
        return (
            detail if isinstance(detail, str) else orjson.dumps(detail).decode() if isinstance(detail, list) else None
        )
    except (ValueError, TypeError):  # both are also orjson's: nested too deeply
        return None


def _beginning(body: bytes) -> str | None:
    """The detail of a body that was cut off; of a list, as much as there is."""
    opening = OPENING.match(body)
    if opening is None:
        return None
    text = body[opening.end() :].decode(errors="replace")
    try:
        detail, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text
    return detail if isinstance(detail, str) else text
