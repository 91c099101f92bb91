"""A plan as metadata: what a write would change, per series, as tables that Dagster's UI shows.

Comes in: a plan. Goes out: metadata.
Never: asks what is stored, or shows more rows than a person looks at (Dagster keeps metadata permanently).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.plan import Plan
from temporis_dagster.metadata_keys import GHOST_ROWS, GHOSTS, PLAN
from temporis_dagster.metadata_values import (
    SHOWN_ROWS,
    Value,
    first_rows,
    integer,
    offending_values,
    printable,
    table,
)

SHOWN_SERIES = 100
COLUMNS = {
    "series": "string",
    "new": "int",
    "changed": "int",
    "unchanged": "int",
    "ghosts": "int",
    "largest move": "string",
    "mean shift": "string",
    "first": "string",
    "last": "string",
}


def plan_tables(plan: Plan) -> dict[str, Value]:
    """Return a table of the series, and one of the largest changes.

    Args:
        plan: What a write would change. Of more series than ``SHOWN_SERIES``, those with the most changes are shown.
    """
    affected = (plan.series["changed"] + plan.series["ghosts"]).to_numpy()
    order = np.lexsort((-plan.series["new"].to_numpy(), -affected))[:SHOWN_SERIES]
    records = [_row(row) for row in plan.series.iloc[order].to_dict("records")]
    return {
        PLAN: table(records, COLUMNS),
        **offending_values("changed", plan.largest_changes(SHOWN_ROWS), count=plan.changed),
    }


def ghost_tables(plan: Plan) -> dict[str, Value]:
    """Return the number of ghost rows, and a table of the first of them."""
    shown = {GHOSTS: first_rows(plan.ghost_rows)} if plan.ghosts else {}
    return {GHOST_ROWS: integer(plan.ghosts), **shown}


def _row(row: Mapping[Any, Any]) -> dict[str, str | int]:
    """Return the row of a series, with its largest move in the words that fit into one cell."""
    counts = {name: int(row[name]) for name in ("new", "changed", "unchanged", "ghosts")}
    moved = bool(counts["changed"])
    return {
        "series": printable(str(row["series"])),
        **counts,
        "largest move": f"{row['before']!r} to {row['after']!r} at {_moment(row['at'])}" if moved else "",
        "mean shift": _share(float(row["shift"])) if moved else "",
        "first": _moment(row["first"]),
        "last": _moment(row["last"]),
    }


def _share(shift: float) -> str:
    return f"{shift:,.3g}" if math.isfinite(shift) else "was 0"


def _moment(moment: Any) -> str:
    return "" if pd.isna(moment) else moment.strftime("%Y-%m-%d %H:%M:%SZ")
