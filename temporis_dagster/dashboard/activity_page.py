"""The page of what has happened: ingests and refusals of this process, and what a mirror has pending.

Comes in: a visit. Goes out: what concerns its account.
Never: shows a mirror to another account than that of the service's own options.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporis_dagster.dashboard.activity import Activity, Ingest
from temporis_dagster.dashboard.formatting import iso
from temporis_dagster.dashboard.pending import Pending, PendingOf
from temporis_dagster.dashboard.rendering import Page
from temporis_dagster.dashboard.visit import Endpoint, Visit


def endpoint(activity: Activity, pending: PendingOf | None, account: str) -> Endpoint:
    """Return the endpoint of the page.

    Args:
        activity: The recent ingests.
        pending: What a mirror has pending; None for no mirror.
        account: The account to which the mirror is shown.
    """

    def show(visit: Visit) -> Page:
        mine = visit.session.visitor.account
        content = {
            "since": iso(activity.since),
            "refused": _listed(activity.refused(mine)),
            "stored": _listed(activity.stored(mine)),
            "mirror": _shown(pending()) if pending is not None and mine == account else None,
        }
        return Page("activity.html", content)

    return show


def _listed(ingests: Sequence[Ingest]) -> list[dict[str, object]]:
    return [{**ingest._asdict(), "at": iso(ingest.at)} for ingest in ingests]


def _shown(pending: Pending) -> dict[str, object]:
    sources = [
        {
            "data_source": name,
            "pending": info.rows,
            "oldest": info.oldest and iso(info.oldest.timestamp()),
            "rejected": info.rejected,
            "last_error": info.last_error,
            "last_error_at": info.last_error_at and iso(info.last_error_at.timestamp()),
        }
        for name, info in sorted(pending.by_source.items())
    ]
    return {"url": pending.mirror, "fault": pending.fault, "data_sources": sources}
