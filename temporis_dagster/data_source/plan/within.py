"""Within: which stored rows an upsert is about.

Comes in: windows of time and names of series. Goes out: the ranges of stored rows to look at, series by series.
Never: asks what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Codes, Int64s, Mask, Observations, Seconds
from temporis_dagster.errors import ConfigurationError


@dataclass(frozen=True)
class Within:
    """Which stored rows an upsert is about: those that would be expected in its frame.

    A series is within if it is one of ``names`` or begins with ``prefix``; without both, if it is in the frame.

    Args:
        spans: Windows of time, half-open, in Unix seconds. They may overlap. None for the time of each series from its
            first to its last timestamp in the frame; a series without a row in the frame has no such time.
        names: Exact names of series; None for none in particular.
        prefix: How the names of further series begin: one text, or several. Empty for none.

    Raises:
        ConfigurationError: A window ends before it begins, or a name is not text.

    Examples:
        >>> Within(spans=((7200, 10800), (0, 3600), (3600, 7200))).spans
        ((0, 10800),)
        >>> Within(names=("orders",), prefix="load_").covers("load_de")
        True
    """

    spans: tuple[tuple[int, int], ...] | None = None
    names: tuple[str, ...] | None = None
    prefix: str | tuple[str, ...] = ""

    def __post_init__(self) -> None:
        if self.spans is not None:
            object.__setattr__(self, "spans", _joined(self.spans))
        given: list[object] = [*(self.names or ()), *self.prefixes]
        if wrong := [name for name in given if not isinstance(name, str)]:
            raise ConfigurationError(f"Names of series must be strings, got {wrong[0]!r}.")

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """How the names of further series begin, without the empty text."""
        given = (self.prefix,) if isinstance(self.prefix, str) else tuple(self.prefix)
        return tuple(prefix for prefix in given if prefix != "")

    @property
    def only_of_frame(self) -> bool:
        """Whether it is about the series of the frame and no others."""
        return self.names is None and not self.prefixes

    def covers(self, name: str) -> bool:
        """Return whether a series of the frame is within."""
        return self.only_of_frame or name in self._exact or name.startswith(self.prefixes)

    def covered(self, names: Sequence[str]) -> Mask:
        """Return which series of the frame are within."""
        if self.only_of_frame:
            return np.ones(len(names), dtype=np.bool_)
        return np.fromiter(map(self.covers, names), dtype=np.bool_, count=len(names))

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.names or ())

    def in_spans(self, timestamps: Seconds) -> Mask:
        """Return which timestamps lie in the windows; all of them where the frame itself says what the windows are."""
        if self.spans is None:
            return np.ones(len(timestamps), dtype=np.bool_)
        edges = np.array(self.spans, dtype=np.int64).reshape(-1)
        inside: Mask = np.searchsorted(edges, timestamps.astype(np.int64), side="right") % 2 == 1
        return inside


def own_spans(observations: Observations) -> tuple[Int64s, Int64s]:
    """Return the first timestamp of each series, and the one after its last. A series without rows gets (0, 0)."""
    used, numbers = observations.counts > 0, np.iinfo(np.int64)
    firsts, lasts = np.full(len(used), numbers.max), np.full(len(used), numbers.min)
    for start in range(0, len(observations), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        order = np.argsort(observations.codes[block], kind="stable")
        codes, stamps = observations.codes[block][order], observations.timestamps[block][order]
        starts = starts_of_runs(codes)
        series = codes[starts]
        firsts[series] = np.minimum(firsts[series], np.minimum.reduceat(stamps, starts))
        lasts[series] = np.maximum(lasts[series], np.maximum.reduceat(stamps, starts))
    return np.where(used, firsts, 0), np.where(used, lasts, -1) + 1


def starts_of_runs(codes: Codes) -> Int64s:
    """Return where each run of equal codes starts."""
    starts: Int64s = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else NOTHING
    return starts


NOTHING: Int64s = np.empty(0, dtype=np.int64)


def _joined(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the windows in order, those that touch or overlap as one, without empty ones."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((_storable(start), _storable(end)) for start, end in spans):
        if end < start:
            raise ConfigurationError(f"The window ({start}, {end}) ends before it begins.")
        if start == end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def _storable(second: int) -> int:
    """Return the nearest integer that a database can hold."""
    return min(max(int(second), -(2**63)), 2**63 - 1)
