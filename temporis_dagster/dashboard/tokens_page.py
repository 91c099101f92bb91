"""The page of the tokens of an account: created, shown once, deleted.

Comes in: a visit. Goes out: what is known about the tokens, and a new one on the only page that ever shows it.
Never: shows a token a second time, or shows again what was typed as a label if it looks like a token.
"""

from __future__ import annotations

from datetime import datetime

from temporis_dagster.dashboard.formatting import iso
from temporis_dagster.dashboard.rendering import Page
from temporis_dagster.dashboard.visit import Answer, Visit, see_other
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.service.access_log import ANY_TOKEN
from temporis_dagster.service.answers import Refusal

KINDS = ("ingest", "dashboard")


def show(visit: Visit) -> Page:
    """List the tokens."""
    return _page(visit)


def create(visit: Visit) -> Answer:
    """Create a token, and show it this once."""
    label, kind = visit.form.get("label", "").strip(), visit.form.get("kind", KINDS[0])
    if kind not in KINDS:
        raise Refusal(422, "The kind of a token must be ingest or dashboard.")
    try:
        token = visit.store.tokens.create(label, dashboard=kind == "dashboard")
    except ConfigurationError as error:
        return _page(visit, "" if ANY_TOKEN.search(label) else label, kind, str(error))
    content = {"label": label, "kind": kind}
    return Page("token_created.html", content, extras={"token": token})


def ask_to_delete(visit: Visit) -> Page:
    """Ask whether a token is to be deleted."""
    label = _known(visit, visit.request.query_params.get("label", ""))
    content = {"label": label, "own": label == visit.session.visitor.label}
    return Page("delete_token.html", content)


def delete(visit: Visit) -> Answer:
    """Delete a token."""
    visit.store.tokens.delete(_known(visit, visit.form.get("label", "")))
    return see_other("/tokens?notice=deleted")


def _known(visit: Visit, label: str) -> str:
    if label not in {token.label for token in visit.store.tokens.all()}:
        raise Refusal(404, "There is no token with that label. It may have been deleted already.")
    return label


def _page(visit: Visit, label: str = "", kind: str = KINDS[0], fault: str | None = None) -> Page:
    tokens = [
        {
            "label": token.label,
            "kind": "dashboard" if token.dashboard else "ingest",
            "created_at": _iso(token.created_at),
            "last_used_at": token.last_used_at and _iso(token.last_used_at),
        }
        for token in visit.store.tokens.all()
    ]
    extras = {"label": label, "kind": kind, "fault": fault}
    return Page("tokens.html", {"tokens": tokens}, 422 if fault else 200, extras=extras)


def _iso(moment: datetime) -> str | None:
    return iso(moment.timestamp())
