"""Plan: what an upsert of a frame would do, counted, series by series, with the rows that would change.

Comes in: observations compared with what is stored. Goes out: a frozen plan, as text, as HTML, as a dict.
Never: asks what is stored, or judges it (``limits`` does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from temporis_dagster import markup
from temporis_dagster.data_source.observations.model import Int64s, Observations
from temporis_dagster.data_source.plan.changes import Changes, moves, shift_in_words
from temporis_dagster.wording import agreeing, counted

SHOWN_SERIES = 20
"""How many series the text and the HTML of a plan list: those with the most changes and ghosts."""


COUNTED = ("new", "changed", "unchanged", "ghosts")
"""The columns of ``Plan.series`` that count."""


class Counts(NamedTuple):
    """What the observations of each series of a frame are, compared with what is stored."""

    new: Int64s
    changed: Int64s
    unchanged: Int64s


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """What an upsert of a frame would do, as of one moment. Nothing was written, not even a new series.

    Attributes:
        data_source: The name of the data source.
        observations_in: How many observations the frame has: ``new``, ``changed``, ``unchanged``, ``superseded`` and
            ``dropped`` add up to it.
        new: How many are not stored yet.
        changed: How many are stored with another value, bit for bit: -0.0 is not 0.0.
        unchanged: How many are stored with this value.
        superseded: How many lose to a later row of the frame with the same (timestamp, name).
        dropped: How many are invalid and would be left out (``on_invalid="drop"``).
        ghosts: How many stored rows, within the windows, have a key that the frame does not have. An upsert
            leaves them.
        stored: How many rows are stored within the windows in all: what shares of ``max_changed`` and ``max_ghosts``
            are shares of.
        unreadable: How many of the dropped rows may be one of the ghosts, because their timestamp or name could not be
            read.
        archived: Whether the data source is archived, so that an upsert would be refused.
        first_timestamp: The earliest observation time of the frame, UTC; None without observations.
        last_timestamp: The latest observation time of the frame, UTC; None without observations.
        series: A row per series of the frame, and per series with ghosts: ``series``, ``new``, ``changed``,
            ``unchanged``, ``ghosts``, ``first`` and ``last`` (of the frame), the largest change as ``at``, ``before``
            and ``after``, and ``shift``: |new mean - stored mean| / mean |stored| over the rows that change.
        changes: The rows whose value would change, by series and time: ``series``, ``timestamp``, ``before``,
            ``after``.
        ghost_rows: The first ghosts, by series and time: ``series``, ``timestamp``, ``value``.

    Examples:
        >>> import tempfile, pandas as pd
        >>> from temporis_dagster import connect
        >>> with connect(f"sqlite:///{tempfile.mkdtemp()}/temporis.db") as temporis:
        ...     source = temporis.create_data_source("store_metrics")
        ...     report = source.upsert(pd.DataFrame({"timestamp": [0, 60, 120], "name": "a", "value": [41, 42, 43]}))
        ...     plan = source.plan(pd.DataFrame({"timestamp": [0, 120, 180], "name": "a", "value": [41, 4300, 44]}))
        >>> plan.new, plan.changed, plan.unchanged, plan.ghosts
        (1, 1, 1, 1)
    """

    data_source: str
    observations_in: int
    new: int
    changed: int
    unchanged: int
    superseded: int
    dropped: int
    ghosts: int
    stored: int
    unreadable: int
    archived: bool
    first_timestamp: datetime | None
    last_timestamp: datetime | None
    series: pd.DataFrame
    changes: pd.DataFrame
    ghost_rows: pd.DataFrame

    def largest_changes(self, most: int = 20) -> pd.DataFrame:
        """Return the rows of ``changes`` that move farthest, the farthest first.

        Args:
            most: The maximum number of rows.
        """
        halves = (self.changes["after"] / 2 - self.changes["before"] / 2).abs()
        order = np.argsort(-halves.to_numpy(), kind="stable")[:most]
        return self.changes.iloc[order].reset_index(drop=True)

    def to_dict(self) -> dict[str, object]:
        """Return the plan without ``changes``, ready for JSON: times are ISO 8601 text; what has no value is None."""
        counts = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("series", "changes", "ghost_rows")
        }
        return {
            **{name: _iso(value) for name, value in counts.items()},
            "series": _records(self.series),
            "ghost_rows": _records(self.ghost_rows),
        }

    def __str__(self) -> str:
        lines = [f"{self.data_source}: {self._total()}{self._span()}"]
        shown = self._notable()
        lines += [f"  {_line(row)}" for row in _rows_of(shown)]
        if len(self.series) > len(shown):
            lines.append(f"  and {len(self.series) - len(shown):,} more series")
        return "\n".join([*lines, *self._remarks()])

    def _remarks(self) -> list[str]:
        said = []
        if self.archived:
            said.append("The data source is archived: an upsert would be refused.")
        if self.ghosts:
            said.append(
                f"{counted(self.ghosts, 'ghost')}: {agreeing(self.ghosts, 'a stored row', 'stored rows')} in these"
                " windows that the frame does not have. An upsert leaves"
                f" {agreeing(self.ghosts, 'it', 'them')} in place."
            )
        if self.unreadable:
            said.append(
                f"{counted(self.unreadable, 'dropped row')} without a readable timestamp or name may be among the"
                " ghosts."
            )
        return said

    def __repr__(self) -> str:
        return f"<Plan {self.data_source}: {self._total()}>"

    def _total(self) -> str:
        names = ("new", "changed", "unchanged", "superseded", "dropped")
        counts = [f"{getattr(self, name):,} {name}" for name in names if getattr(self, name)]
        ghosts = f"; {counted(self.ghosts, 'ghost')} among {counted(self.stored, 'stored row')}" if self.ghosts else ""
        series = counted(int(self.series["first"].notna().sum()), "series")
        return (
            f"{counted(self.observations_in, 'observation')} of {series}"
            f" ({', '.join(counts) or 'nothing to do'}{ghosts})"
        )

    def _span(self) -> str:
        if self.first_timestamp is None or self.last_timestamp is None:
            return ""
        return f", from {_moment(self.first_timestamp)} to {_moment(self.last_timestamp)}"

    def _notable(self) -> pd.DataFrame:
        """Return the series with the most changes and ghosts."""
        weight = self.series["changed"] + self.series["ghosts"]
        order = np.lexsort((-self.series["new"].to_numpy(), -weight.to_numpy()))[:SHOWN_SERIES]
        return self.series.iloc[order]

    def _repr_html_(self) -> str:
        shown = self._notable()
        columns = ["series", *COUNTED, "first", "last"]
        if self.changed:
            columns += ["at", "before", "after", "shift"]
        more = len(self.series) - len(shown)
        return markup.paragraph(
            self.data_source, " ".join([f"{self._total()}{self._span()}.", *self._remarks()])
        ) + markup.table(
            columns,
            [[_shown(name, row[name]) for name in columns] for row in _rows_of(shown)],
            rest=f"and {more:,} more series" if more > 0 else "",
        )


def plan_of(
    data_source: str,
    observations: Observations,
    counts: Counts,
    changes: Changes,
    *,
    spans: tuple[Int64s, Int64s],
    ghosts: Mapping[str, int],
    stored: int,
    unreadable: int,
    ghost_rows: pd.DataFrame,
    archived: bool,
) -> Plan:
    """Make the plan of observations that have been compared with what is stored.

    Args:
        data_source: The name of the data source.
        observations: What the frame became.
        counts: What they are, by series of the frame.
        changes: Those that are stored with another value, by series and time.
        spans: The first timestamp of each series of the frame, and the one after its last.
        ghosts: How many ghosts each series has that has any.
        stored: How many rows are stored within the windows.
        unreadable: How many dropped rows may be ghosts.
        ghost_rows: The first ghosts.
        archived: Whether the data source is archived.
    """
    stamps = observations.timestamps
    return Plan(
        data_source=data_source,
        observations_in=observations.observations_in,
        new=int(counts.new.sum()),
        changed=int(counts.changed.sum()),
        unchanged=int(counts.unchanged.sum()),
        superseded=observations.superseded,
        dropped=len(observations.dropped_rows),
        ghosts=sum(ghosts.values()),
        stored=stored,
        unreadable=unreadable,
        archived=archived,
        first_timestamp=_utc(int(stamps.min())) if len(stamps) else None,
        last_timestamp=_utc(int(stamps.max())) if len(stamps) else None,
        series=_series(observations, counts, changes, spans, ghosts),
        changes=_frame(observations, changes),
        ghost_rows=ghost_rows,
    )


def _series(
    observations: Observations,
    counts: Counts,
    changes: Changes,
    spans: tuple[Int64s, Int64s],
    ghosts: Mapping[str, int],
) -> pd.DataFrame:
    firsts, ends = spans
    present = np.flatnonzero(ends > firsts)
    in_frame = [observations.names[code] for code in present.tolist()]
    known = frozenset(in_frame)
    only_ghosts = [name for name in ghosts if name not in known]
    names, rest = [*in_frame, *only_ghosts], len(only_ghosts)
    farthest, shifts = np.full(len(names), -1, dtype=np.int64), np.zeros(len(names))
    place_of = {code: place for place, code in enumerate(present.tolist())}
    for code, move in moves(changes).items():
        farthest[place_of[code]], shifts[place_of[code]] = move
    moved = farthest >= 0
    before, after = np.full(len(names), np.nan), np.full(len(names), np.nan)
    before[moved], after[moved] = changes.before[farthest[moved]], changes.after[farthest[moved]]
    at = np.full(len(names), np.iinfo(np.int64).min)
    at[moved] = changes.timestamps[farthest[moved]]
    nat = np.full(rest, np.iinfo(np.int64).min)
    table = pd.DataFrame(
        {
            "series": pd.Series(names, dtype=str),
            **{
                name: np.concatenate([column[present], np.zeros(rest, dtype=np.int64)])
                for name, column in counts._asdict().items()
            },
            "ghosts": np.array([ghosts.get(name, 0) for name in names], dtype=np.int64),
            "first": _moments(np.concatenate([firsts[present], nat])),
            "last": _moments(np.concatenate([ends[present] - 1, nat])),
            "at": _moments(at),
            "before": before,
            "after": after,
            "shift": shifts,
        }
    )
    order = sorted(range(len(names)), key=names.__getitem__)
    return table.iloc[order].reset_index(drop=True)


def _frame(observations: Observations, changes: Changes) -> pd.DataFrame:
    names = pd.Series(observations.names, dtype=str).array
    if len(changes.codes):  # sorted by the series as they come in the frame, not by name
        rank = np.empty(len(names), dtype=np.int64)
        rank[sorted(range(len(names)), key=observations.names.__getitem__)] = np.arange(len(names))
        changes = changes.take(np.lexsort((changes.timestamps, rank[changes.codes])))
    return pd.DataFrame(
        {
            "series": names.take(changes.codes) if len(names) else names,
            "timestamp": _moments(changes.timestamps),
            "before": changes.before,
            "after": changes.after,
        }
    )


def _moments(seconds: Int64s) -> pd.DatetimeIndex:
    """Convert Unix seconds; the smallest integer stands for none."""
    return pd.DatetimeIndex(seconds.astype("datetime64[s]")).tz_localize("UTC")


def _utc(seconds: int) -> datetime:
    return pd.Timestamp(seconds, unit="s", tz="UTC").to_pydatetime()


def _rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [{name: _iso(cell) for name, cell in row.items()} for row in _rows_of(table)]


def _iso(cell: Any) -> object:
    """Return what JSON can hold: no NaT, NaN or infinity."""
    if isinstance(cell, datetime):
        return None if cell is pd.NaT else cell.isoformat()
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _moment(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def _cell(cell: Any) -> str:
    if isinstance(cell, datetime):
        return "" if cell is pd.NaT else _moment(cell)
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell!r}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _shown(column: str, cell: Any) -> object:
    """Return a cell of ``Plan.series`` as a notebook shows it, None where it has no value."""
    if cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return f"{cell:.3g}" if column == "shift" else cell


def _line(row: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{row[name]:,} {name}" for name in ("new", "changed", "unchanged") if row[name])
    if row["ghosts"]:
        counts += f"{', ' if counts else ''}{counted(row['ghosts'], 'ghost')}"
    if not row["changed"]:
        return f"{row['series']}: {counts}"
    return (
        f"{row['series']}: {counts}; the largest change is from {row['before']!r} to {row['after']!r} at"
        f" {_cell(row['at'])}; the mean shifts {shift_in_words(row['shift'])}"
    )
