"""Markup: what notebooks show of data sources, reports, plans and errors, as small tables of HTML.

Comes in: texts, and cells of any type. Goes out: HTML in which every text is escaped and cut to a length. It has no
colours of its own, so it can be read in light and in dark notebooks.
Never: has a script, a style sheet or an address in it, or shows more than the first of many rows.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from temporis_dagster.wording import counted

if TYPE_CHECKING:
    import pandas as pd

FIRST_ROWS = 5
"""How many rows are shown of those that an error or a report lists."""

MOST_CHARACTERS = 120
"""How much is shown of a cell. The texts of errors are shown whole."""

# Jupyter aligns cells to the right and draws every second row darker; other notebooks do neither.
TEXT = "text-align:left;vertical-align:top"
NUMBER = "text-align:right;vertical-align:top"
MOMENT = f"{TEXT};white-space:nowrap"


def cell_text(cell: object) -> str:
    """Return a cell as text: moments in ISO 8601, the parts of a label one after the other.

    Examples:
        >>> from datetime import datetime, timezone
        >>> cell_text((datetime(2024, 6, 20, tzinfo=timezone.utc), "orders"))
        '2024-06-20T00:00:00Z, orders'
        >>> cell_text(1234567), cell_text(0.1), cell_text(None)
        ('1,234,567', '0.1', '')
    """
    if isinstance(cell, tuple):
        return cut(", ".join(map(cell_text, cell)))
    if isinstance(cell, datetime) and cell == cell:  # noqa: PLR0124  NaT is a datetime, and differs from itself
        shown = cell.isoformat()
        return f"{shown[:-6]}Z" if cell.utcoffset() == timedelta(0) else shown
    if type(cell) is int:
        return f"{cell:,}"
    return "" if cell is None else cut(str(cell))


def cut(text: str) -> str:
    """Return the beginning of a text, with a mark where it was cut."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, rest: str = "") -> str:
    """Return a table. Its columns are aligned by their first cell: numbers to the right.

    Args:
        head: The names of the columns; none for a table without a head.
        rows: The cells, row by row.
        rest: What is said of rows that are not shown.

    Examples:
        >>> table(["series"], [["<script>"]])
        "<table><thead><tr><th style='text-align:left;vertical-align:top'>series</th></tr></thead>\
<tbody><tr><td style='text-align:left;vertical-align:top'>&lt;script&gt;</td></tr></tbody></table>"
    """
    shown = [list(row) for row in rows]
    styles = [_style(cell) for cell in shown[0]] if shown else [TEXT] * len(head)
    body = "".join(_row("td", row, styles) for row in shown)
    if rest:
        body += f"<tr><td style='{TEXT}' colspan='{len(styles)}'>{html.escape(rest)}</td></tr>"
    names = f"<thead>{_row('th', head, styles)}</thead>" if head else ""
    return f"<table>{names}<tbody>{body}</tbody></table>"


def paragraph(name: str, text: str) -> str:
    """Return what stands above a table: what it is about, in bold, and a text, whose line breaks stay.

    Examples:
        >>> paragraph("store_metrics", "5 observations")
        "<p style='max-width:60em;white-space:pre-wrap;text-align:left'><b>store_metrics</b>: 5 observations</p>"
    """
    style = "max-width:60em;white-space:pre-wrap;text-align:left"
    return f"<p style='{style}'><b>{html.escape(name)}</b>: {html.escape(text)}</p>"


def first_rows(frame: pd.DataFrame, where: str) -> str:
    """Return the first rows of a frame.

    Args:
        frame: The frame.
        where: Where the reader finds all of them.
    """
    shown, more = frame.head(FIRST_ROWS), len(frame) - FIRST_ROWS
    cells = zip(*(shown[column].tolist() for column in shown.columns), strict=True)
    return table(
        [str(column) for column in shown.columns],
        cells,
        rest=f"and {counted(more, 'more row')} in {where}" if more > 0 else "",
    )


def _row(kind: str, cells: Sequence[object], styles: Sequence[str]) -> str:
    shown = (
        f"<{kind} style='{style}'>{html.escape(cell_text(cell))}</{kind}>"
        for cell, style in zip(cells, styles, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def _style(cell: object) -> str:
    if isinstance(cell, datetime):
        return MOMENT
    return NUMBER if isinstance(cell, int | float) and not isinstance(cell, bool) else TEXT
