"""The page of one data source: its series, a plot and a table of some of them, and whether it is archived.

Comes in: a visit. Goes out: what its query selects; the data source, archived or unarchived.
Never: reads more than the store's bounded answers hold; the file of all observations is made while it is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.dashboard import drawing
from temporis_dagster.dashboard.csv_rows import csv_of
from temporis_dagster.dashboard.formatting import bounded_name, is_linked, iso, short_number, shown_name
from temporis_dagster.dashboard.rendering import Page
from temporis_dagster.dashboard.selection import MOST_PLOTTED, Selection
from temporis_dagster.dashboard.visit import Answer, Download, Visit, counted, see_other
from temporis_dagster.data_source.reading.batches import in_batches
from temporis_dagster.data_source.store.plotting import Line
from temporis_dagster.data_source.store.series_pages import SeriesPage
from temporis_dagster.data_source.target import ArchiveState

SERIES_PER_PAGE = 25
ROWS_SHOWN = 200
ROWS_PER_BATCH = 50_000
PARTS = ("timestamps", "low", "high", "last")

RANGES = (("Last day", 86_400), ("Last 7 days", 7 * 86_400), ("Last 30 days", 30 * 86_400), ("Last year", 365 * 86_400))
"""Ranges, in seconds, that end where the present one ends."""


def show(visit: Visit) -> Page:
    """Show the data source."""
    name, selection = visit.data_source(), Selection.of(visit.request.query_params)
    overview = visit.store.overview_of(name)
    listed = visit.store.series_page(name, selection.search, selection.offset, SERIES_PER_PAGE)
    names = selection.series[:MOST_PLOTTED] or tuple(series.name for series in listed.series[:1])
    lines = visit.store.plot(name, names, selection.start, selection.end) if names else []
    rows = visit.store.table(name, names, selection.start, selection.end, ROWS_SHOWN + 1) if names else []
    content = {
        "data_source": name,
        "archived": overview.archived,
        "series_total": overview.series,
        "observations": counted(visit.store, name),
        "first": iso(overview.first),
        "last": iso(overview.last),
        "last_write": iso(overview.last_write),
        "selection": {**asdict(selection), "start": iso(selection.start), "end": iso(selection.end)},
        "plot": _plot(selection, lines),
        "rows": [
            {"timestamp": iso(row.timestamp), "series": bounded_name(row.name), "value": row.value}
            for row in rows[:ROWS_SHOWN]
        ],
        "more_rows": len(rows) > ROWS_SHOWN,
        "matching": listed.total,
        "series": _series(listed),
    }
    return Page("source.html", content, extras=_extras(selection, content, lines))


def csv(visit: Visit) -> Answer:
    """Download the observations of the selection: of all series, if it names none."""
    name, selection = visit.data_source(), Selection.of(visit.request.query_params)
    names = selection.series or None
    reading = visit.store.begin_reading(name, selection.start, selection.end, names, ROWS_PER_BATCH)
    batches = in_batches(reading, partial(visit.store.read_on, name))
    return Download(f"{name}.csv", "text/csv; charset=utf-8", csv_of(batches))


def ask_to_archive(visit: Visit) -> Page:
    """Ask whether the data source is to be archived."""
    return _asked(visit, archive=True)


def ask_to_unarchive(visit: Visit) -> Page:
    """Ask whether the data source is to be unarchived."""
    return _asked(visit, archive=False)


def archive(visit: Visit) -> Answer:
    """Archive the data source."""
    visit.store.set_archived(visit.data_source(), archived=True)
    return see_other(f"/sources/{visit.data_source()}?notice=archived")


def unarchive(visit: Visit) -> Answer:
    """Unarchive the data source."""
    visit.store.set_archived(visit.data_source(), archived=False)
    return see_other(f"/sources/{visit.data_source()}?notice=unarchived")


def _asked(visit: Visit, *, archive: bool) -> Page:
    name = visit.data_source()
    archived = visit.store.archive_state(name) is ArchiveState.ARCHIVED
    return Page("change_source.html", {"data_source": name, "archived": archived, "archive": archive})


def _plot(selection: Selection, lines: Sequence[Line]) -> dict[str, Any]:
    """Return the lines that have points, and the range that they are in."""
    present = [line for line in lines if len(line.timestamps)]
    start, end = _bounds(selection, present)
    return {
        "start": iso(start),
        "end": iso(end),
        "sampled": any(line.is_sample for line in present),
        "lines": [
            {"series": bounded_name(line.name), **{part: getattr(line, part).tolist() for part in PARTS}}
            for line in present
        ],
    }


def _series(listed: SeriesPage) -> list[dict[str, Any]]:
    return [
        {
            "name": bounded_name(series.name),
            "first": iso(series.first),
            "last": iso(series.last),
            "outline": {part: getattr(series.sparkline, part).tolist() for part in ("timestamps", "values")},
        }
        for series in listed.series
    ]


def _extras(selection: Selection, content: dict[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Return what only the page has: drawings, links and what its forms have to remember."""
    path, present = f"/sources/{content['data_source']}", [line for line in lines if len(line.timestamps)]
    shown = {series["name"] for series in content["series"]}
    # A name that is too long for links is in them only if the visitor's own link has it, which bounds it.
    linked = tuple(line.name for line in lines if is_linked(line.name) or line.name in selection.series)
    chosen = replace(selection, series=linked)
    return {
        "here": path,
        "query": selection.query,
        "chosen": chosen.series,
        "without_points": [shown_name(line.name) for line in lines if not len(line.timestamps)],
        "left_out": len(selection.series) > MOST_PLOTTED,
        "selected_elsewhere": [name for name in chosen.series if name not in shown],
        "plotted": {
            **content["plot"],
            "lines": [{**line, "series": shown_name(line["series"])} for line in content["plot"]["lines"]],
        },
        "previous": max(selection.offset - SERIES_PER_PAGE, 0),
        "ranges": _ranges(chosen, present),
        "csv": f"{path}/series.csv{replace(chosen, search='', offset=0).query()}",
        "drawn": _drawn(chosen, present) if present else None,
    }


def _bounds(selection: Selection, lines: Sequence[Line]) -> tuple[int | None, int | None]:
    """Return the range of the plot: where the selection is open, up to the first or the last point, if there is one."""
    first = min((int(line.timestamps[0]) for line in lines), default=None)
    last = max((int(line.timestamps[-1]) for line in lines), default=None)
    start = first if selection.start is None else selection.start
    return start, (last if last is None else last + 1) if selection.end is None else selection.end


def _ranges(selection: Selection, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Return the words and the queries of the links to other ranges."""
    ranges = list[tuple[str, int, int]]()
    start, end = selection.start, selection.end
    if start is not None and end is not None and start < end:
        span = end - start
        ranges += [("Earlier", start - span, start), ("Later", end, end + span)]
        ranges += [("Wider", start - span // 2, end + span // 2)]
    first, last = _bounds(selection, lines)
    if first is not None and last is not None:
        ranges += [(words, last - seconds, last) for words, seconds in RANGES if seconds < last - first]
    possible = ((words, max(low, FIRST_TIMESTAMP), min(high, TIMESTAMP_LIMIT - 1)) for words, low, high in ranges)
    return [
        *((words, selection.query(start=low, end=high)) for words, low, high in possible),
        *([] if start is None and end is None else [("Everything", selection.query(start=None, end=None))]),
    ]


def _drawn(selection: Selection, lines: Sequence[Line]) -> dict[str, Any]:
    start, end = _bounds(selection, lines)
    points = [zip(*(getattr(line, part).tolist() for part in PARTS), strict=True) for line in lines]
    drawn = drawing.plot(start or 0, end or 0, [list(line) for line in points])
    names = ", ".join(shown_name(line.name) for line in lines)
    edges = f"from {short_number(drawn.lowest)} to {short_number(drawn.highest)}"
    words = (
        f"Plot of {names} from {iso(start)} to {iso(end)}, with values {edges}. The table below has the newest values."
    )
    return {"plot": drawn, "words": words}
