"""Selection: what of a data source a page shows, as the query of its URL states it.

Comes in: a query. Goes out: series, a range of time, a search and a page of its results; queries of other pages.
Never: looks anything up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT, series_name_fault
from temporis_dagster.dashboard.formatting import iso
from temporis_dagster.service.answers import Refusal

MOST_PLOTTED = 8
"""The number of series in one plot: as many as there are colours that are easily distinguished."""

MOST_SELECTED = 100
DIGITS = 12


@dataclass(frozen=True)
class Selection:
    """What a page of a data source shows.

    Attributes:
        series: The names of the series in the plot; empty for the first one.
        start: The first Unix second; None for the first observation.
        end: The Unix second after the last; None for the last observation.
        search: A part of the names to list; empty for all.
        offset: How many series to leave out at the top of the list.
    """

    series: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    search: str = ""
    offset: int = 0

    @classmethod
    def of(cls, query: QueryParams) -> Selection:
        """Read a query.

        Raises:
            Refusal: 422: a time or an offset cannot be read.
        """
        return cls(
            series=tuple(dict.fromkeys(_names(query)))[:MOST_SELECTED],
            start=_moment("start", query.get("start", "")),
            end=_moment("end", query.get("end", "")),
            search=query.get("search", "").replace("\0", ""),
            offset=_offset(query.get("offset", "")),
        )

    def query(self, **changes: Any) -> str:
        """Return the query of a page with these changes, with a question mark; empty for the whole data source.

        >>> Selection(("a&b",)).query(start=0)
        '?series=a%26b&start=1970-01-01T00%3A00%3A00Z'
        """
        other = replace(self, **changes)
        pairs = [("series", name) for name in other.series]
        pairs += [(name, text) for name in ("start", "end") if (text := iso(getattr(other, name))) is not None]
        pairs += [("search", other.search)] if other.search else []
        pairs += [("offset", str(other.offset))] if other.offset else []
        return f"?{urlencode(pairs)}" if pairs else ""


def _names(query: QueryParams) -> Iterator[str]:
    """Yield the names of series. Browsers change line breaks in forms, so there a name that has one is JSON."""
    for field, value in query.multi_items():
        name = value if field == "series" else _from_json(value) if field == "series_json" else None
        if series_name_fault(name) is None:
            yield str(name)


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _moment(field: str, text: str) -> int | None:
    """Read a time: ISO 8601, in UTC unless it has another offset, or Unix seconds."""
    text = text.strip()
    if not text:
        return None
    try:
        if text.removeprefix("-").isdecimal() and len(text) <= DIGITS and "-" not in text[1:]:
            seconds = int(text)
        else:
            moment = datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
            seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError):
        seconds = TIMESTAMP_LIMIT
    if not FIRST_TIMESTAMP <= seconds < TIMESTAMP_LIMIT:
        raise Refusal(422, f"{field} must be a time such as 2024-06-20T00:00Z, or Unix seconds, got {text[:60]!r}.")
    return seconds


def _offset(text: str) -> int:
    if text and not (text.isdecimal() and text.isascii() and len(text) < DIGITS):
        raise Refusal(422, f"offset must be an integer of at least 0, got {text[:60]!r}.")
    return int(text or 0)
