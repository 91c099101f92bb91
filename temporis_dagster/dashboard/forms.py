"""Forms: what a page sends when its button is pressed.

Comes in: the body of a request. Goes out: its fields, or a refusal.
Never: reads a body that is large or slow, or of another kind than a form of ours.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from temporis_dagster.service.answers import Refusal
from temporis_dagster.service.body import bounded_body

KIND = "application/x-www-form-urlencoded"
MOST_BYTES = 16_384
MOST_FIELDS = 20

GRACE_S = 3.0
"""How long a form may take beyond the time that it needs on a slow line. It needs no login. choice"""


async def fields_of(request: Request) -> dict[str, str]:
    """Read the fields of a form, the last one of each name.

    Raises:
        Refusal: The body is not a form of ours, or is too large or too slow.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise Refusal(415, f"The Content-Type must be {KIND}.")
    body = await bounded_body(request, MOST_BYTES, GRACE_S)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:  # this includes bytes that are not ASCII
        raise Refusal(422, "The body of the request is not that of a form.") from None
