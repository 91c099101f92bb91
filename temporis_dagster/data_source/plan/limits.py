"""Limits: how much of what is stored an upsert may change, shift or leave behind.

Comes in: limits, checked when they are made; a plan. Goes out: a sentence for each limit that the plan exceeds.
Never: stops anything.
"""

from __future__ import annotations

import math
import numbers
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from temporis_dagster.data_source.plan.changes import shift_in_words
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import agreeing, counted

if TYPE_CHECKING:
    from temporis_dagster.data_source.plan.plan import Plan

SHOWN_SERIES = 3


@dataclass(frozen=True)
class Limits:
    """How much of what is stored an upsert may change, shift or leave behind. Each is optional.

    Args:
        max_changed: How many stored rows may get another value: a float from 0.0 to 1.0 is a share of the rows that are
            stored within the windows, an integer is a number of rows. (1 is one row, 1.0 all of them.)
        max_ghosts: How many stored rows within the windows may be missing from the frame, in the same form.
        max_shift: How far the mean of the rows that change may move, series by series, as a share of the mean size of
            what is stored: 0.5 allows a rise by half.

    Raises:
        ConfigurationError: A limit has another form.

    Examples:
        >>> Limits(max_changed=0.1, max_shift=2)
        Limits(max_changed=0.1, max_ghosts=None, max_shift=2)
    """

    max_changed: float | None = None
    max_ghosts: float | None = None
    max_shift: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_changed", "max_ghosts"):
            _ensure_share_or_rows(name, getattr(self, name))
        _ensure_shift(self.max_shift)

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.max_changed, self.max_ghosts, self.max_shift))

    def exceeded(self, plan: Plan) -> list[str]:
        """Return a sentence for each limit that a plan exceeds; nothing if it keeps to all of them.

        Args:
            plan: What an upsert would do.
        """
        of_stored = f"{counted(plan.stored, 'row')} that {agreeing(plan.stored, 'is', 'are')} stored in the windows"
        changing = f"{agreeing(plan.changed, 'value', 'values')} would change"
        missing = f"{agreeing(plan.ghosts, 'row is', 'rows are')} missing from the frame"
        said = [
            f"{count:,} stored {what}, of {of_stored}; {name} is {_limit(limit)}."
            for name, limit, count, what in (
                ("max_changed", self.max_changed, plan.changed, changing),
                ("max_ghosts", self.max_ghosts, plan.ghosts, missing),
            )
            if limit is not None and _is_beyond(count, limit, plan.stored)
        ]
        if self.max_shift is not None:
            said += self._shifted(plan, self.max_shift)
        return said

    def _shifted(self, plan: Plan, most: float) -> list[str]:
        beyond = plan.series[plan.series["shift"] > most].sort_values("shift", ascending=False, kind="stable")
        if beyond.empty:
            return []
        each = [
            f"{row['series']!r:.60} {shift_in_words(row['shift'])} (from {row['before']!r} to {row['after']!r} at"
            f" {row['at'].replace(tzinfo=None).isoformat()}Z, for example)"
            for row in beyond.head(SHOWN_SERIES).to_dict("records")
        ]
        more = f" and {len(beyond) - SHOWN_SERIES:,} more" if len(beyond) > SHOWN_SERIES else ""
        are = agreeing(len(beyond), "mean", "means")
        said = f"The {are} of {counted(len(beyond), 'series')} would shift: {', '.join(each)}{more}"
        return [f"{said}; max_shift is {_limit(most)}."]


def _ensure_share_or_rows(name: str, limit: object) -> None:
    if limit is None:
        return
    if not _is_number(limit) or not 0 <= limit <= (math.inf if _is_rows(limit) else 1):
        raise ConfigurationError(
            f"{name} must be a share from 0.0 to 1.0 or an integer, got {limit!r}. Write 0.25 for a quarter of the"
            " stored rows, or 25 for 25 rows."
        )


def _ensure_shift(limit: object) -> None:
    if limit is None:
        return
    if not _is_number(limit) or not 0 < limit <= sys.float_info.max:
        raise ConfigurationError(
            f"max_shift must be a positive number, got {limit!r}. Write 0.5 for a mean that may move by half of the"
            " stored level, or leave it out for no limit."
        )


def _is_beyond(count: int, limit: float, stored: int) -> bool:
    if _is_rows(limit):
        return count > limit
    return count / stored > limit if stored else count > 0  # not limit * stored: 0.29 * 100 is below 29


def _limit(limit: float) -> str:
    return f"{limit:,}" if _is_rows(limit) else f"{float(limit):g}"


def _is_number(limit: object) -> TypeGuard[float]:
    return isinstance(limit, numbers.Real) and not isinstance(limit, bool)


def _is_rows(limit: object) -> bool:
    return isinstance(limit, numbers.Integral)
