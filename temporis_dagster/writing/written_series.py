"""The series that a run writes, by the part of the partition key that is not time.

A run over several parts can tell which series belong to which part only if each name has exactly one of the parts in it
as a word, as ``load_north`` has ``north``. Otherwise the series are listed under all of the parts together.

Comes in: observations and parts. Goes out: series with their first and last second, by part.
Never: imports Dagster, or knows what other runs wrote (``partition_series`` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from temporis_dagster.data_source.observations import Observations

BETWEEN = "\n"
"""Separates the parts of a run whose series are listed under all of them. No partition key may have a newline."""

MOST_TOGETHER = 100
"""More parts than this are not named in one key."""

Span: TypeAlias = tuple[int, int]
Spans: TypeAlias = Mapping[str, Span]
Written: TypeAlias = Mapping[str, Spans]
"""Series with their first and last second, by part."""


def series_by_part(observations: Observations, parts: Sequence[str]) -> Written:
    """Return the series that a run writes, by the part to which they belong.

    Args:
        observations: The observations that the run writes.
        parts: The parts of its partitions.

    Examples:
        >>> import pandas as pd
        >>> from temporis_dagster.data_source.observations import observe
        >>> hours = pd.date_range("2024-06-01", periods=2, freq="h", tz="UTC")
        >>> loads = observe(pd.DataFrame({"load_N": 1.0, "load_S": 2.0}, index=hours))
        >>> series_by_part(loads, ["N", "S"])
        {'N': {'load_N': (1717200000, 1717203600)}, 'S': {'load_S': (1717200000, 1717203600)}}
    """
    spans = _spans(observations)
    if len(parts) == 1:
        return {parts[0]: spans}
    owners = _owners(spans, parts)
    if owners is None:
        return {BETWEEN.join(sorted(parts)) if len(parts) <= MOST_TOGETHER else BETWEEN: spans}
    return {part: {name: spans[name] for name in spans if owners[name] == part} for part in parts}


def _spans(observations: Observations) -> dict[str, Span]:
    first = np.full(len(observations.names), np.iinfo(np.int64).max)
    last = np.full(len(observations.names), np.iinfo(np.int64).min)
    np.minimum.at(first, observations.codes, observations.timestamps)
    np.maximum.at(last, observations.codes, observations.timestamps)
    pairs = zip(observations.names, first.tolist(), last.tolist(), strict=True)
    return {name: (start, end) for name, start, end in sorted(pairs) if start <= end}


def _owners(names: Iterable[str], parts: Sequence[str]) -> dict[str, str] | None:
    """Return the one part that each name has in it as words; None if any name has none or several."""
    words = {part: frozenset(part.split("|")) for part in parts}
    known = frozenset().union(*words.values())
    parts_with: dict[str, list[str]] = {}
    for part in parts:
        parts_with.setdefault(max(words[part], key=len), []).append(part)
    lengths = sorted(set(map(len, known)))
    owners = {}
    for name in names:
        found = _words_in(name, known, lengths)
        own = [part for word in found for part in parts_with.get(word, ()) if words[part] <= found]
        if len(own) != 1:
            return None
        owners[name] = own[0]
    return owners


def _words_in(name: str, known: frozenset[str], lengths: Sequence[int]) -> set[str]:
    """Return the known words in a name: those with neither a letter nor a digit directly before or after them."""
    ends = [place for place in range(len(name) + 1) if not name[place : place + 1].isalnum()]
    starts = [place for place in range(len(name) + 1) if not place or not name[place - 1].isalnum()]
    last = frozenset(ends)
    spans = ((start, start + length) for start in starts for length in lengths if start + length in last)
    return {name[start:end] for start, end in spans} & known
