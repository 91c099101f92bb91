"""CSRF: keep other websites from making a visitor's browser change something.

Comes in: a request that is to change something, its form, and its session. Goes out: nothing, or a refusal.
Never: trusts a cookie alone. The browser must not say that another website sent the form, and the form must have what
only a page of this session has.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from temporis_dagster.dashboard.sessions import Session
from temporis_dagster.data_source.local_service import LOOPBACK
from temporis_dagster.service.answers import Refusal

FIELD = "csrf"


def ensure_own_site(request: Request) -> None:
    """Refuse a form that another website has sent.

    Browsers state where a form comes from: in ``Sec-Fetch-Site`` over https and on this machine, and in ``Origin``
    everywhere. Other programs state neither.

    Raises:
        Refusal: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site == "same-origin"
    else:
        own = origin is None or _split(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not own:
        raise Refusal(
            403, "This form was sent by another website. Nothing was changed. Use the pages of this dashboard."
        )


def ensure_form_of(session: Session, form: Mapping[str, str]) -> None:
    """Refuse a form that is not from a page of this session.

    Raises:
        Refusal: 403.
    """
    if not hmac.compare_digest(form.get(FIELD, "").encode(), session.csrf.encode()):
        raise Refusal(
            403, "This form is not of your present login. Nothing was changed. Open the page again and repeat it."
        )


def ensure_this_machine(request: Request) -> None:
    """Refuse a request from another machine, or for another name than that of this one, where no login is needed.

    A proxy on this machine states where a request comes from. And a website can make its own name lead to this machine,
    so that browsers would take its pages for ours.

    Raises:
        Refusal: 403.
    """
    client = request.client.host if request.client else ""
    if _split(f"//{request.headers.get('host', '')}").hostname not in LOOPBACK or client not in LOOPBACK:
        raise Refusal(
            403, "Without a login, the dashboard answers only on this machine: at 127.0.0.1, [::1] and localhost."
        )


def _split(url: str) -> SplitResult:
    """Split a URL of a header; one that is malformed has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
