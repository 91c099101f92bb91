"""Which series are those of a partition, where time does not tell partitions apart: static, dynamic, (day, zone).

A data source knows timestamps and names, and no partitions. So each materialization of such a partition lists the
series that the partition has written so far, and from when to when; see ``SERIES``:

    {"north": {"load_north": [1717200000, 1717282800]}}

The key is the *part* of the partition key that is not time: a zone of (day, zone), a static or dynamic key. A run over
several parts says whose series are whose only if their names do: each has exactly one of the parts in it as a word, as
``load_north`` has ``north``. Otherwise they stand under all of the parts together, which cannot be read apart.

Comes in: partition keys, names and moments, materializations. Goes out: lists of series by part, and conflicts.
Never: reads or writes observations, or looks at more materializations than ``LOOKED_AT``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias, cast

import dagster as dg
import numpy as np

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.event_log import latest_ids, latest_of_partitions, stored
from temporis_dagster.metadata_keys import DATA_SOURCE, SERIES
from temporis_dagster.partition_windows import has_time

BETWEEN = "\n"
"""Stands between the parts of a run whose series' names do not say whose they are. No partition key may have one."""

MOST_TOGETHER = 100
"""More parts than this are not named together."""

MOST_LISTED = 1_000
"""More series than this are not listed: Dagster keeps metadata for good, and every materialization has the list."""

LOOKED_AT = 500
"""Of how many other partitions, the latest written, a write looks at the series."""

MOST_SEARCHED = 1_000
"""How far back to look for the list of a partition whose latest materialization has none, such as one made by hand."""

Span: TypeAlias = tuple[int, int]
Spans: TypeAlias = Mapping[str, Span]
Written: TypeAlias = Mapping[str, Spans]
"""Series and their first and last second, by part."""


@dataclass(frozen=True)
class Conflict:
    """A series that another partition of the asset has written, too.

    Attributes:
        name: The series.
        partition: The other partition.
    """

    name: str
    partition: str


@dataclass(frozen=True)
class Parts:
    """How the keys of an asset's partitions divide into time and part.

    Attributes:
        partitions_def: The asset's partitions.
        timed: Whether there is a time dimension beside the parts.
        places: The places of the part's dimensions among those of the key; None where the key is the part.
    """

    partitions_def: dg.PartitionsDefinition
    timed: bool
    places: tuple[int, ...] | None

    def of(self, key: str) -> str:
        """The part of a partition key."""
        if self.places is None:
            return str(key)
        words = str(key).split("|")
        if len(words) <= max(self.places):  # of a definition that the asset had before
            return str(key)
        return "|".join(words[place] for place in self.places)

    def time_of(self, key: str) -> str:
        """The rest of a partition key: what names the time window; empty where there is none."""
        if self.places is None:
            return ""
        return "|".join(word for place, word in enumerate(str(key).split("|")) if place not in self.places)

    def read_together(self, keys: Iterable[str]) -> Mapping[str, set[str]]:
        """The parts among partition keys, by the rest of the key: of each time window, whose rows are read."""
        read: dict[str, set[str]] = {}
        for key in keys:
            read.setdefault(self.time_of(key), set()).add(self.of(key))
        return read

    def all(self, instance: dg.DagsterInstance) -> frozenset[str]:
        """Every part that there is now: a dynamic partition may be deleted."""
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            if self.places is None:
                return frozenset(map(str, self.partitions_def.get_partition_keys()))
            several = sorted(
                cast("dg.MultiPartitionsDefinition", self.partitions_def).partitions_defs, key=attrgetter("name")
            )
            combined = [""]
            for place in self.places:
                keys = several[place].partitions_def.get_partition_keys()
                combined = [f"{first}|{key}" if first else str(key) for first in combined for key in keys]
            return frozenset(combined)


def parts_of(partitions_def: dg.PartitionsDefinition) -> Parts | None:
    """The parts of partitions, or None where time alone tells them apart."""
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return None if has_time(partitions_def) else Parts(partitions_def, timed=False, places=None)
    dimensions = sorted(partitions_def.partitions_defs, key=attrgetter("name"))  # as Dagster orders the words of a key
    places = tuple(place for place, each in enumerate(dimensions) if not has_time(each.partitions_def))
    return Parts(partitions_def, timed=len(places) < len(dimensions), places=places) if places else None


def series_by_part(observations: Observations, parts: Sequence[str]) -> Written:
    """The series that a run writes, by the part whose they are.

    Args:
        observations: What the run writes.
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
    """The one part that each name has in it as words; None where any has none or several."""
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
    """The known words that a name has in it, with neither a letter nor a digit just before and after."""
    ends = [place for place in range(len(name) + 1) if not name[place : place + 1].isalnum()]
    starts = [place for place in range(len(name) + 1) if not place or not name[place - 1].isalnum()]
    last = frozenset(ends)
    spans = ((start, start + length) for start in starts for length in lengths if start + length in last)
    return {name[start:end] for start, end in spans} & known


def listed(materialization: dg.AssetMaterialization) -> Written | None:
    """The series that a materialization lists; None where it lists none."""
    said = materialization.metadata.get(SERIES)
    if said is None or not isinstance(said.value, dict):
        return None
    return cast("Written", said.value)


def lists_series(materialization: dg.AssetMaterialization) -> bool:
    """Whether a materialization says which series its partition has written."""
    return stored(materialization) and listed(materialization) is not None


def with_earlier(
    written: Written, instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], data_source: str
) -> Written:
    """The series that a run writes, and those that earlier runs of its partitions wrote to the same data source."""
    ids = latest_ids(instance, asset, keys)
    merged = {part: dict(spans) for part, spans in written.items()}
    for earlier in latest_of_partitions(instance, asset, ids, lists_series, MOST_SEARCHED).values():
        if _place(earlier) != data_source:
            continue
        for part, spans in (listed(earlier) or {}).items():
            if part in merged:
                _join(merged[part], spans)
    return merged


def _join(spans: dict[str, Span], others: Spans) -> None:
    for name, (first, last) in others.items():
        start, end = spans.get(name, (first, last))
        spans[name] = (min(start, first), max(end, last))


def as_metadata(written: Written, part: str | None = None) -> dict[str, dg.MetadataValue]:
    """The list for a materialization, or of it that of one part; nothing where it would be too long."""
    if part is not None:
        written = {part: written[part]} if part in written else {}
    if not written or sum(map(len, written.values())) > MOST_LISTED:
        return {}
    rows = {part: {name: list(span) for name, span in spans.items()} for part, spans in written.items()}
    return {SERIES: dg.MetadataValue.json(rows)}


def conflicts(
    written: Written,
    parts: Parts,
    keys: Sequence[str],
    others: Mapping[str, dg.AssetMaterialization],
    data_source: str,
) -> Iterator[Conflict]:
    """The series of a run that other partitions wrote, too, at times that overlap.

    Args:
        written: What the run writes.
        parts: How partition keys divide.
        keys: The partitions of the run.
        others: The latest materializations of other partitions.
        data_source: Where the run writes.
    """
    mine: dict[str, Span] = {}
    for spans in written.values():
        _join(mine, spans)
    own = {parts.of(key) for key in keys}
    seen: set[str] = set()
    for key, materialization in others.items():
        if _place(materialization) != data_source:
            continue
        for part, spans in (listed(materialization) or {}).items():
            if own & set(part.split(BETWEEN)):
                continue
            for name in mine.keys() & spans.keys() - seen:
                if parts.timed or _overlap(mine[name], spans[name]):
                    seen.add(name)
                    yield Conflict(name, key)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _place(materialization: dg.AssetMaterialization) -> object:
    said = materialization.metadata.get(DATA_SOURCE)
    return said.value if said is not None else None


def others_written(
    instance: dg.DagsterInstance, asset: dg.AssetKey, parts: Parts, keys: Sequence[str], after: int = 0
) -> tuple[dict[str, dg.AssetMaterialization], int]:
    """The latest materializations of other partitions that could have written the same rows, and the last's number.

    Args:
        instance: Where materializations are recorded.
        asset: The asset.
        parts: How its partition keys divide.
        keys: The partitions of the run.
        after: Only what was materialized after this number.
    """
    own, times, there = {parts.of(key) for key in keys}, {parts.time_of(key) for key in keys}, parts.all(instance)
    ids = latest_ids(instance, asset)
    candidates = [
        (number, key)
        for key, number in ids.items()
        if number > after and parts.of(key) not in own and parts.of(key) in there and parts.time_of(key) in times
    ]
    newest = {key: number for number, key in sorted(candidates, reverse=True)[:LOOKED_AT]}
    return latest_of_partitions(instance, asset, newest, most_searched=MOST_SEARCHED), max(ids.values(), default=0)


def spans_of_keys(
    parts: Parts, keys: Sequence[str], materializations: Mapping[str, dg.AssetMaterialization], *, apart: bool = False
) -> dict[str, Spans | None]:
    """The series of each partition, as its materialization lists them; None where it does not say which are its own.

    Args:
        parts: How partition keys divide.
        keys: The partitions that are read.
        materializations: The latest of each that lists series.
        apart: Whether each is read by itself: then a list of several parts together says nothing.
    """
    read = parts.read_together(keys)
    return {
        key: _spans_of_key(
            parts.of(key), {parts.of(key)} if apart else read[parts.time_of(key)], materializations.get(key)
        )
        for key in keys
    }


def _spans_of_key(part: str, read: set[str], materialization: dg.AssetMaterialization | None) -> Spans | None:
    lists = (listed(materialization) if materialization else None) or {}
    together = (spans for several, spans in lists.items() if part in set(several.split(BETWEEN)) <= read)
    return lists[part] if part in lists else next(together, None)
