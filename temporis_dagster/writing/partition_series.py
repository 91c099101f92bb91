"""The series of each partition, if time does not tell partitions apart: static, dynamic, (day, zone).

A data source has timestamps and names, but no partitions. So each materialization of such a partition lists the series
that the partition has written so far, with their first and last second; see ``SERIES``:

    {"north": {"load_north": [1717200000, 1717282800]}}

The key is the *part* of the partition key that is not time: a static or dynamic key, the zone of (day, zone). A run
over several parts can tell which series belong to which part only if each name has exactly one of the parts in it as a
word, as ``load_north`` has ``north``. Otherwise the series are listed under all of the parts together, and these can no
longer be read apart.

Comes in: partition keys, names and moments, materializations. Goes out: lists of series by part, and conflicts.
Never: reads or writes observations, or looks at more materializations than ``LOOKED_AT``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import dagster as dg

from temporis_dagster.event_log import latest_ids, latest_of_partitions, stored
from temporis_dagster.metadata_keys import DATA_SOURCE, SERIES
from temporis_dagster.metadata_values import Value, json_value
from temporis_dagster.partition_parts import Parts
from temporis_dagster.writing.written_series import BETWEEN, Span, Spans, Written

MOST_LISTED = 1_000
"""More series than this are not listed: Dagster keeps metadata permanently, and each materialization has the list."""

LOOKED_AT = 500
"""A write compares its series with those of this many other partitions, the ones that were written last."""

MOST_SEARCHED = 1_000
"""How many materializations to search for a partition's list if its latest, say one reported by hand, has none."""


@dataclass(frozen=True)
class Conflict:
    """A series that another partition of the asset has written as well.

    Attributes:
        name: The series.
        partition: The other partition.
    """

    name: str
    partition: str


def listed(materialization: dg.AssetMaterialization) -> Written | None:
    """Return the series that a materialization lists; None if it has no list."""
    found = materialization.metadata.get(SERIES)
    if found is None or not isinstance(found.value, dict):
        return None
    return cast("Written", found.value)


def lists_series(materialization: dg.AssetMaterialization) -> bool:
    """Tell whether a materialization lists the series that its partition has written."""
    return stored(materialization) and listed(materialization) is not None


def with_earlier(
    written: Written, instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str], data_source: str
) -> Written:
    """Add to the series that a run writes those that earlier runs of its partitions wrote to the same data source."""
    ids = latest_ids(instance, asset, keys)
    merged = {part: dict(spans) for part, spans in written.items()}
    for earlier in latest_of_partitions(instance, asset, ids, lists_series, MOST_SEARCHED).values():
        if _data_source(earlier) != data_source:
            continue
        for part, spans in (listed(earlier) or {}).items():
            if part in merged:
                _join(merged[part], spans)
    return merged


def _join(spans: dict[str, Span], others: Spans) -> None:
    for name, (first, last) in others.items():
        start, end = spans.get(name, (first, last))
        spans[name] = (min(start, first), max(end, last))


def as_metadata(written: Written, part: str | None = None) -> dict[str, Value]:
    """Return the list for a materialization, of all parts or of one; nothing if it would be too long."""
    if part is not None:
        written = {part: written[part]} if part in written else {}
    if not written or sum(map(len, written.values())) > MOST_LISTED:
        return {}
    rows = {part: {name: list(span) for name, span in spans.items()} for part, spans in written.items()}
    return {SERIES: json_value(rows)}


def conflicts(
    written: Written,
    parts: Parts,
    keys: Sequence[str],
    others: Mapping[str, dg.AssetMaterialization],
    data_source: str,
) -> Iterator[Conflict]:
    """Yield the series of a run that other partitions wrote as well, at times that overlap.

    Args:
        written: The series that the run writes.
        parts: How partition keys are divided.
        keys: The partitions of the run.
        others: The latest materializations of other partitions.
        data_source: The data source to which the run writes.
    """
    mine: dict[str, Span] = {}
    for spans in written.values():
        _join(mine, spans)
    own = {parts.of(key) for key in keys}
    seen: set[str] = set()
    for key, materialization in others.items():
        if _data_source(materialization) != data_source:
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


def _data_source(materialization: dg.AssetMaterialization) -> object:
    found = materialization.metadata.get(DATA_SOURCE)
    return found.value if found is not None else None


def others_written(
    instance: dg.DagsterInstance, asset: dg.AssetKey, parts: Parts, keys: Sequence[str], after: int = 0
) -> tuple[dict[str, dg.AssetMaterialization], int]:
    """Return the latest materializations of other partitions that could have written the same rows.

    Args:
        instance: The instance that records materializations.
        asset: The asset.
        parts: How its partition keys are divided.
        keys: The partitions of the run.
        after: Only look at materializations with a higher number than this.

    Returns:
        The materializations by partition, and the number of the asset's latest one, for the next call's ``after``.
    """
    own, times = {parts.of(key) for key in keys}, {parts.time_of(key) for key in keys}
    existing = parts.all(instance)
    ids = latest_ids(instance, asset)
    candidates = [
        (number, key)
        for key, number in ids.items()
        if number > after and parts.of(key) not in own and parts.of(key) in existing and parts.time_of(key) in times
    ]
    newest = {key: number for number, key in sorted(candidates, reverse=True)[:LOOKED_AT]}
    return latest_of_partitions(instance, asset, newest, most_searched=MOST_SEARCHED), max(ids.values(), default=0)


def spans_of_keys(
    parts: Parts, keys: Sequence[str], materializations: Mapping[str, dg.AssetMaterialization], *, apart: bool = False
) -> dict[str, Spans | None]:
    """Return the series of each partition, as its materialization lists them; None if it does not tell them apart.

    Args:
        parts: How partition keys are divided.
        keys: The partitions that are read.
        materializations: For each, the latest materialization that lists series.
        apart: Whether each partition is read separately: then a list under several parts does not help.
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
