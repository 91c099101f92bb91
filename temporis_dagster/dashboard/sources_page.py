"""The page of all data sources, on which they are created.

Comes in: a visit. Goes out: the data sources of its account, or a new one.
Never: creates a data source whose name breaks the rule.
"""

from __future__ import annotations

from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, is_data_source_name
from temporis_dagster.dashboard.formatting import iso
from temporis_dagster.dashboard.rendering import Page
from temporis_dagster.dashboard.visit import Answer, Visit, counted, see_other
from temporis_dagster.data_source.store.tokens import A_TOKEN

SHOWN_CHARACTERS = 100


def show(visit: Visit) -> Page:
    """Show the data sources."""
    return _page(visit)


def create(visit: Visit) -> Answer:
    """Create a data source."""
    name = visit.form.get("name", "").strip()
    if A_TOKEN.search(name):
        return _page(visit, "", f"That is a token, not the name of a data source. Use {DATA_SOURCE_NAME_RULE}.", 422)
    if not is_data_source_name(name):
        fault = f"{name[:SHOWN_CHARACTERS]!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}."
        return _page(visit, name, fault if name else f"The name is empty. Use {DATA_SOURCE_NAME_RULE}.", 422)
    if name in visit.store.data_sources():
        return _page(visit, name, f"There is already a data source {name!r}.", 409)
    visit.store.create_data_source(name)
    return see_other(f"/sources/{name}?notice=created")


def _page(visit: Visit, name: str = "", fault: str | None = None, status: int = 200) -> Page:
    sources = [
        {
            "name": source.name,
            "archived": source.archived,
            "series": source.series,
            "observations": counted(visit.store, source.name),
            "first": iso(source.first),
            "last": iso(source.last),
            "last_write": iso(source.last_write),
        }
        for source in visit.store.overview()
    ]
    content = {"data_sources": sources, "store_bytes": visit.store.size()}
    return Page("sources.html", content, status, extras={"name": name, "fault": fault})
