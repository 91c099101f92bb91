"""How the keys of an asset's partitions are divided into time and the rest: static, dynamic, the zone of (day, zone).

Comes in: a partitions definition and keys. Goes out: the part of a key that is not time, its words by dimension, and
the time.
Never: knows series or observations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import cast

import dagster as dg

from temporis_dagster.partition_windows import has_time

ONLY_DIMENSION = "partition"
"""What the one dimension of static or dynamic partitions is called: Dagster has no name for it."""


@dataclass(frozen=True)
class Parts:
    """How the keys of an asset's partitions are divided into time and part.

    Attributes:
        partitions_def: The asset's partitions.
        timed: Whether there is a time dimension next to the parts.
        places: The positions of the part's dimensions in the key; None if the whole key is the part.
        dimensions: The names of the part's dimensions.
    """

    partitions_def: dg.PartitionsDefinition
    timed: bool
    places: tuple[int, ...] | None
    dimensions: tuple[str, ...] = (ONLY_DIMENSION,)

    def of(self, key: str) -> str:
        """Return the part of a partition key that is not time."""
        if self.places is None:
            return str(key)
        words = str(key).split("|")
        if len(words) <= max(self.places):  # a key of a definition that the asset had earlier
            return str(key)
        return "|".join(words[place] for place in self.places)

    def time_of(self, key: str) -> str:
        """Return the rest of a partition key, which names the time window; empty if there is none."""
        if self.places is None:
            return ""
        return "|".join(word for place, word in enumerate(str(key).split("|")) if place not in self.places)

    def words_of(self, part: str) -> Mapping[str, str]:
        """Return the words of a part, by dimension."""
        words = [part] if self.places is None else part.split("|")
        return dict(zip(self.dimensions, words, strict=True))

    def read_together(self, keys: Iterable[str]) -> Mapping[str, set[str]]:
        """Return the parts among partition keys, by time window: those whose rows are read together."""
        read: dict[str, set[str]] = {}
        for key in keys:
            read.setdefault(self.time_of(key), set()).add(self.of(key))
        return read

    @property
    def dynamic(self) -> bool:
        """Whether only an instance knows the parts."""
        return any(isinstance(each, dg.DynamicPartitionsDefinition) for each in self._definitions)

    def all(self, instance: dg.DagsterInstance | None) -> frozenset[str]:
        """Return every part that exists now; a dynamic partition may have been deleted.

        Args:
            instance: Knows the dynamic partitions; without any, it may be None.
        """
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            combined = [""]
            for each in self._definitions:
                keys = each.get_partition_keys()
                combined = [f"{first}|{key}" if first else str(key) for first in combined for key in keys]
            return frozenset(combined)

    @property
    def _definitions(self) -> list[dg.PartitionsDefinition]:
        if self.places is None:
            return [self.partitions_def]
        several = _dimensions(cast("dg.MultiPartitionsDefinition", self.partitions_def))
        return [several[place][1] for place in self.places]


def parts_of(partitions_def: dg.PartitionsDefinition) -> Parts | None:
    """Return how partition keys are divided; None if time alone tells the partitions apart."""
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return None if has_time(partitions_def) else Parts(partitions_def, timed=False, places=None)
    dimensions = _dimensions(partitions_def)
    places = tuple(place for place, (_, each) in enumerate(dimensions) if not has_time(each))
    if not places:
        return None
    names = tuple(dimensions[place][0] for place in places)
    return Parts(partitions_def, timed=len(places) < len(dimensions), places=places, dimensions=names)


def _dimensions(partitions_def: dg.MultiPartitionsDefinition) -> list[tuple[str, dg.PartitionsDefinition]]:
    """Return the dimensions in Dagster's order of a key's words: by their names."""
    return sorted(((each.name, each.partitions_def) for each in partitions_def.partitions_defs), key=itemgetter(0))
